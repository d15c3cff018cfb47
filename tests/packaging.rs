//! What a distribution or a software centre reads: the desktop file, the description, the icons.

use std::{fs, process::Command};

/// Runs a checker over a file; where it is not installed, skips, except in CI.
fn check(program: &str, arguments: &[&str]) {
    match Command::new(program).args(arguments).output() {
        Ok(output) => assert!(
            output.status.success(),
            "{program} {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if std::env::var_os("CI").is_some() => panic!("{program} cannot be run: {error}"),
        Err(error) => println!("skipped: {program} cannot be run: {error}"),
    }
}

#[test]
fn the_desktop_file_is_valid() {
    check("desktop-file-validate", &["resources/org.lodgevm.Lodge.desktop"]);
}

#[test]
fn the_desktops_search_is_told_where_it_finds_guests() {
    let provider = fs::read_to_string("resources/org.lodgevm.Lodge.search-provider.ini").unwrap();
    let source = fs::read_to_string("src/ui/search_provider.rs").unwrap();
    let value = |key: &str| provider.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();

    assert!(source.contains(&format!("{:?}", value("ObjectPath"))));
    assert!(fs::exists(format!("resources/{}", value("DesktopId"))).unwrap());
    assert_eq!((value("BusName"), value("Version")), ("org.lodgevm.Lodge", "2"));
}

#[test]
fn the_description_is_valid() {
    check("appstreamcli", &["validate", "--no-net", "resources/org.lodgevm.Lodge.metainfo.xml"]);
}

#[test]
fn the_description_names_this_version_as_the_newest() {
    let description = fs::read_to_string("resources/org.lodgevm.Lodge.metainfo.xml").unwrap();
    let newest = description.split("<release version=\"").nth(1).and_then(|rest| rest.split('"').next());

    assert_eq!(newest, Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_icon_that_the_desktop_file_needs_is_there() {
    let desktop_file = fs::read_to_string("resources/org.lodgevm.Lodge.desktop").unwrap();
    let icon = desktop_file.lines().find_map(|line| line.strip_prefix("Icon=")).unwrap();

    assert!(fs::exists(format!("resources/icons/scalable/apps/{icon}.svg")).unwrap());
    assert!(fs::exists(format!("resources/icons/symbolic/apps/{icon}-symbolic.svg")).unwrap());
}
