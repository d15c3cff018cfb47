//! The message catalogues: the template has every text of the application, and every language of `po/LINGUAS` has all of
//! them, with the same placeholders. `po/update` mends what these tests find, but for the translations themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files that a catalogue is made from.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("src/ui is there") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("i18n.rs") {
            found.push(path);
        }
    }
    found
}

/// The string literal that `text` begins with, and what follows it.
fn literal(text: &str) -> Option<(String, &str)> {
    let body = text.trim_start().strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &body[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// The texts that the source hands to gettext.
fn texts(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for call in ["gettext(", "gettext_f("] {
        for (at, _) in source.match_indices(call) {
            let plural = source[..at].ends_with('n');
            let mut rest = &source[at + call.len()..];
            for _ in 0..=usize::from(plural) {
                let Some((text, after)) = literal(rest) else { break };
                found.push(text);
                rest = after.trim_start().trim_start_matches(',');
            }
        }
    }
    found
}

/// A catalogue: translations by their texts (the plural's text too, with the same translations).
fn catalogue(path: &Path) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(path).expect("the catalogue can be read");
    let mut entries = BTreeMap::new();
    for block in text.split("\n\n") {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for line in block.lines().filter(|line| !line.starts_with('#')) {
            let Some(at) = line.find('"') else { continue };
            let (value, _) = literal(&line[at..]).expect("a line of a catalogue ends its string");
            match line[..at].trim() {
                "" => *last(&mut keys, &mut values) += &value,
                word if word.starts_with("msgid") => keys.push(value),
                _ => values.push(value),
            }
        }
        keys.into_iter().for_each(|key| drop(entries.insert(key, values.clone())));
    }
    entries
}

fn last<'a>(keys: &'a mut [String], values: &'a mut [String]) -> &'a mut String {
    values.last_mut().or(keys.last_mut()).expect("a catalogue's block begins with a msgid")
}

fn languages() -> Vec<String> {
    let list = fs::read_to_string(root().join("po/LINGUAS")).expect("po/LINGUAS is there");
    list.split_whitespace().map(str::to_owned).collect()
}

/// The `{names}` in a text.
fn placeholders(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

#[test]
fn the_template_has_every_text_of_the_application() {
    let template = catalogue(&root().join("po/lodge.pot"));

    for path in sources(&root().join("src/ui")) {
        for text in texts(&fs::read_to_string(&path).expect("a source can be read")) {
            assert!(template.contains_key(&text), "{}: {text:?} is not in po/lodge.pot: run po/update", path.display());
        }
    }
}

#[test]
fn every_language_is_complete() {
    let template = catalogue(&root().join("po/lodge.pot"));

    for language in languages() {
        let translated = catalogue(&root().join(format!("po/{language}.po")));
        for text in template.keys() {
            let there = translated.get(text).is_some_and(|values| values.iter().all(|value| !value.is_empty()));
            assert!(there, "po/{language}.po does not translate {text:?}");
        }
    }
}

#[test]
fn translations_have_the_placeholders_of_their_texts() {
    for language in languages() {
        for (text, values) in catalogue(&root().join(format!("po/{language}.po"))) {
            for value in values.iter().filter(|_| !text.is_empty()) {
                assert_eq!(placeholders(&text), placeholders(value), "po/{language}.po: {text:?}");
            }
        }
    }
}

#[test]
fn mnemonics_are_kept() {
    for language in languages() {
        for (text, values) in catalogue(&root().join(format!("po/{language}.po"))) {
            let has_mnemonic = |text: &str| text.contains('_');
            for value in values.iter().filter(|_| !text.is_empty() && !text.contains('-')) {
                assert_eq!(has_mnemonic(&text), has_mnemonic(value), "po/{language}.po: {text:?} is {value:?}");
            }
        }
    }
}

#[test]
fn gettext_finds_no_fault_with_the_catalogues() {
    for language in languages() {
        let check = Command::new("msgfmt")
            .args(["--check", "--output-file=/dev/null"])
            .arg(root().join(format!("po/{language}.po")))
            .status();
        assert!(check.expect("msgfmt is there: install gettext").success(), "po/{language}.po");
    }
}
