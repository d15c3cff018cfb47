//! Imports point down only: what each part of the crate may know of the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The parts, and what each may import besides itself. `ui` is the application's own code.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("ui", &["manager", "rfb", "clipboard", "screen", "input"]),
    ("cli", &["manager", "worker::launch", "nat", "qmp", "rfb", "screen", "input"]),
    ("manager", &["worker::launch", "worker::exit_report", "nat", "switch", "qmp", "rfb", "qcow2", "screen", "input"]),
    ("worker", &["vmm", "nat", "switch", "qmp", "rfb", "clipboard", "screen", "input"]),
    ("nat", &[]),
    ("switch", &["nat"]),
    ("qmp", &["input"]),
    ("rfb", &["clipboard", "screen", "input"]),
    ("vmm", &["qcow2", "screen", "input"]),
    ("qcow2", &[]),
    ("clipboard", &[]),
    ("screen", &[]),
    ("input", &[]),
];

#[test]
fn imports_point_down_only() {
    let mut found = BTreeMap::new();
    for (part, allowed) in MAY_IMPORT {
        let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(part));
        assert!(!files.is_empty(), "src/{part} has no sources");
        // In tests a part may play another.
        for file in files.into_iter().filter(|file| !file.ends_with("testing.rs")) {
            let text = without_comments(&fs::read_to_string(&file).expect("a source can be read"));
            let imports: BTreeSet<_> = ["crate", "lodge"].iter().flat_map(|root| paths_from(&text, root)).collect();
            for import in imports {
                let module = import.split("::").next().unwrap_or_default();
                let of_the_crate = MAY_IMPORT.iter().any(|(name, _)| *name == module);
                let is_allowed = |allowed: &&str| import == **allowed || import.starts_with(&format!("{allowed}::"));
                if of_the_crate && module != part && !allowed.iter().any(is_allowed) {
                    found.entry(file.clone()).or_insert_with(Vec::new).push(import);
                }
            }
        }
    }
    assert!(found.is_empty(), "these imports point up: {found:#?}");
}

#[test]
fn paths_are_found_in_groups_and_in_expressions() {
    let text = "use crate::{a::{b, c::{d as z}}, e};\nfn f() -> crate::g::H { crate::i::j() }\nuse other_crate::k;";

    let paths: Vec<_> = paths_from(text, "crate").collect();

    assert_eq!(paths, ["a::b", "a::c::d", "e", "g::H", "i::j"]);
}

/// Every Rust source below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources can be listed") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            files.append(&mut sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths that begin with `root::`, without it; those of a group one by one.
fn paths_from(text: &str, root: &str) -> impl Iterator<Item = String> {
    let root = format!("{root}::");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let starts: Vec<_> = text
        .match_indices(&root)
        .filter(|(at, _)| !text[..*at].ends_with(|c| is_word(c) || c == ':'))
        .map(|(at, _)| at + root.len())
        .collect();
    starts
        .into_iter()
        .flat_map(move |at| expand(&mut text[at..].chars().peekable(), ""))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Reads one path or group of paths, each behind `prefix`.
fn expand(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, prefix: &str) -> Vec<String> {
    let mut path = prefix.to_owned();
    while let Some(&c) = rest.peek() {
        match c {
            '{' => {
                rest.next();
                let mut paths = Vec::new();
                while let Some(&c) = rest.peek() {
                    match c {
                        '}' => {
                            rest.next();
                            break;
                        }
                        ',' => drop(rest.next()),
                        c if c.is_whitespace() => drop(rest.next()),
                        _ => {
                            paths.append(&mut expand(rest, &path));
                            // What an `as` says does not matter.
                            while rest.next_if(|c| !matches!(c, ',' | '}')).is_some() {}
                        }
                    }
                }
                return paths;
            }
            c if c.is_alphanumeric() || c == '_' || c == ':' || c == '*' => {
                path.push(c);
                rest.next();
            }
            _ => break,
        }
    }
    if path == prefix {
        // Something that is no path: let it pass.
        rest.next();
        return Vec::new();
    }
    vec![path.trim_end_matches(':').to_owned()]
}
