//! QEMU's own tools for disk images, to agree with.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    output.unwrap_or_else(|error| panic!("{program}: {error}. install qemu-utils (resources/setup.sh does)"))
}

/// Runs `qemu-img`, which must succeed.
#[track_caller]
pub fn img(arguments: &[&str]) -> String {
    let output = run("qemu-img", arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "qemu-img {arguments:?}: {text}");
    text
}

/// What `qemu-img check` says of a qcow2 image: corruptions and leaks.
#[track_caller]
pub fn check(path: &Path) -> (u64, u64) {
    let path = path.to_str().unwrap();
    let output = run("qemu-img", &["check", "-f", "qcow2", "--output", "json", path]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("qemu-img check {path}: {}", String::from_utf8_lossy(&output.stderr)));
    let count = |key: &str| report[key].as_u64().unwrap_or(0);
    assert_eq!(count("check-errors"), 0, "{report}");
    (count("corruptions"), count("leaks"))
}

/// Writes, discards and so on: `qemu-io`'s commands.
#[track_caller]
pub fn io(path: &Path, format: &str, commands: &[String]) {
    let mut arguments = vec!["-f", format];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(path.to_str().unwrap());
    let output = run("qemu-io", &arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !text.contains("failed"), "qemu-io {arguments:?}: {text}");
}

/// The two disks must be equal to the byte, also in size.
#[track_caller]
pub fn assert_equal(one: (&Path, &str), other: (&Path, &str)) {
    let sizes = [one, other].map(|(path, format)| {
        let info = img(&["info", "-f", format, "--output", "json", path.to_str().unwrap()]);
        serde_json::from_str::<Value>(&info).unwrap()["virtual-size"].as_u64().unwrap()
    });
    assert_eq!(sizes[0], sizes[1], "{one:?} and {other:?}");
    img(&["compare", "-f", one.1, "-F", other.1, one.0.to_str().unwrap(), other.0.to_str().unwrap()]);
}
