//! Definitions as TOML.

use std::ops::Range;

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Definition, Problem, Problems, VERSION};

/// Characters of a line that an error shows.
const SHOWN: usize = 60;

/// Why a text is no definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// It is no TOML, or a field has the wrong type.
    #[error("the definition cannot be read: {0}. Mend that place")]
    Syntax(String),
    /// It was written by a newer Lodge.
    #[error("the definition has version {found}, this Lodge knows up to {VERSION}. Use the newer Lodge that wrote it")]
    Newer {
        /// The version in the text.
        found: i64,
    },
    /// Fields are unknown or hold impossible values: all of them.
    #[error("the definition is wrong: {0}")]
    Invalid(Problems),
}

impl Definition {
    /// Reads a definition and checks all of it. The name is not in the text.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, DefinitionError> {
        let syntax = |error| syntax(error, text);
        let table: toml::Table = text.parse().map_err(syntax)?;
        if let Some(found) =
            table.get("version").and_then(toml::Value::as_integer).filter(|&found| found > VERSION.into())
        {
            return Err(DefinitionError::Newer { found });
        }
        // From the text and not from the table, so that an error can name the line.
        let mut definition = Self::deserialize(toml::Deserializer::parse(text).map_err(syntax)?).map_err(syntax)?;
        name.clone_into(&mut definition.name);
        definition.name_disks();
        definition.attach_cdroms_by_ide();
        definition.address_networks();
        let mut problems = unknown_fields(&definition, &table);
        if let Err(more) = definition.validate() {
            problems.extend(more.0);
        }
        if problems.is_empty() {
            return Ok(definition);
        }
        for problem in &mut problems {
            problem.line = line_of(text, &problem.field);
        }
        Err(DefinitionError::Invalid(Problems(problems)))
    }

    /// The text that [`Definition::from_toml`] reads.
    pub fn to_toml(&self) -> String {
        let body = without_empty_arrays(toml::to_string_pretty(self).unwrap_or_default());
        format!(
            "# A guest of Lodge. `lodgectl edit` checks what you write, and `lodgectl edit --help` says what there is to write.\n\
             # The guest's name is the name of this folder.\n{body}"
        )
    }
}

/// Who writes `[[network]]` below a text that has `network = []` has it twice: what is empty is left out.
fn without_empty_arrays(mut text: String) -> String {
    fn find(table: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
        for value in table.values() {
            match value.get_ref() {
                DeValue::Array(array) if array.is_empty() => found.push(value.span()),
                DeValue::Array(array) => {
                    array.iter().filter_map(|item| item.get_ref().as_table()).for_each(|table| find(table, found));
                }
                DeValue::Table(table) => find(table, found),
                _ => {}
            }
        }
    }
    let mut empty = Vec::new();
    if let Ok(table) = DeTable::parse(&text) {
        find(table.get_ref(), &mut empty);
    }
    empty.sort_by_key(|place| std::cmp::Reverse(place.start));
    for Range { start, end } in empty {
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
        text.replace_range(begin..end, "");
    }
    text
}

/// The line of a field like `disk[0].path`, or of what it is in when it is not written down itself.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut value = &DeValue::Table(table.get_ref().clone());
    let mut place = None;
    for step in field.split('.') {
        let (name, index) = step.split_once('[').map_or((step, None), |(name, index)| (name, index.strip_suffix(']')));
        let Some((key, found)) = value.as_table().and_then(|table| table.get_key_value(name)) else { break };
        (place, value) = (Some(key.span()), found.get_ref());
        if let Some(index) = index {
            let item = value.as_array().zip(index.parse().ok()).and_then(|(array, index): (_, usize)| array.get(index));
            let Some(item) = item else { break };
            (place, value) = (Some(Spanned::span(item)), item.get_ref());
        }
    }
    Some(text.get(..place?.start)?.matches('\n').count() + 1)
}

/// toml's message spans several lines with a picture of the place; ours is one line.
fn syntax(error: toml::de::Error, text: &str) -> DefinitionError {
    let whole = error.to_string();
    let place = whole.lines().next().and_then(|line| line.strip_prefix("TOML parse error at "));
    // It speaks of Rust's types.
    let message = error.message().replace('\n', ", ").replace("expected u32", "expected a whole number");
    let message = message.replace("duplicate key", "an earlier line has this key already");
    let start = error.span().map_or(0, |span| span.start);
    let line = text.get(..start).and_then(|before| text.get(before.rfind('\n').map_or(0, |at| at + 1)..));
    let line = line.and_then(|rest| rest.lines().next()).map(str::trim).filter(|line| !line.is_empty());
    // What is missing from the whole text is missing nowhere in particular.
    let place = place.filter(|_| start > 0 || !message.starts_with("missing"));
    DefinitionError::Syntax(match (place, line) {
        (Some(place), Some(line)) => {
            let shown: String = line.chars().take(SHOWN).collect();
            format!("{place} (`{shown}`): {message}")
        }
        (Some(place), None) => format!("{place}: {message}"),
        (None, _) => message,
    })
}

/// Every key of the text that has no place in a definition. A definition as JSON has all known keys (`null` for what is
/// not set), so what is not in there is unknown.
fn unknown_fields(definition: &Definition, table: &toml::Table) -> Vec<Problem> {
    let known = serde_json::to_value(definition).unwrap_or_default();
    let mut problems = Vec::new();
    compare(&toml::Value::Table(table.clone()), &known, "", &mut problems);
    problems
}

fn compare(given: &toml::Value, known: &serde_json::Value, place: &str, problems: &mut Vec<Problem>) {
    match given {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let field = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                match known.get(key) {
                    Some(known) => compare(value, known, &field, problems),
                    None => problems.push(Problem::new(field, unknown(key))),
                }
            }
        }
        toml::Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                compare(
                    value,
                    known.get(index).unwrap_or(&serde_json::Value::Null),
                    &format!("{place}[{index}]"),
                    problems,
                );
            }
        }
        _ => {}
    }
}

fn unknown(key: &str) -> String {
    match key {
        "name" => "the name is that of the guest's folder. Remove the line and use \"lodgectl rename\"".to_owned(),
        _ => "this field is unknown. Remove it, correct its spelling, or use the newer Lodge that wrote it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        definition::{DiskDefinition, DiskFormat, EXAMPLE, KernelDefinition, NetworkDefinition, NetworkKind},
        size::Size,
    };

    fn full() -> Definition {
        let mut guest = Definition::new("web");
        guest.os = Some("debian".into());
        guest.memory = Size::mib(1536);
        guest.kernel = Some(KernelDefinition {
            path: "/boot/vmlinuz".into(),
            initrd: Some("/boot/initrd".into()),
            cmdline: "quiet".into(),
        });
        guest.add_disk(DiskDefinition { boot: Some(1), ..DiskDefinition::new("/web.qcow2", DiskFormat::Qcow2) });
        guest.add_disk(DiskDefinition::cdrom("/debian.iso"));
        guest.add_network(NetworkDefinition::new(NetworkKind::Nat));
        guest.devices.vsock = Some(3);
        guest
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let guest = full();

        let read = Definition::from_toml(&guest.to_toml(), "web").unwrap();

        assert_eq!(read, guest);
    }

    #[test]
    fn what_is_empty_is_not_written_so_that_people_can_add_to_it() {
        let mut guest = Definition::new("web");
        guest.description = "one\nnetwork = []\n".to_owned();

        let text = guest.to_toml();
        let more = format!("{text}\n[[network]]\nkind = \"bridge\"\nbridge = \"br0\"\n");

        assert_eq!(text.matches("[]").count(), 1, "{text}");
        assert_eq!(Definition::from_toml(&text, "web").unwrap(), guest);
        assert_eq!(Definition::from_toml(&more, "web").unwrap().networks.len(), 1);
    }

    #[test]
    fn the_example_has_everything_and_is_good() {
        let example = Definition::from_toml(EXAMPLE, "web").unwrap();

        let mut written = serde_json::to_value(&example).unwrap();
        let table: toml::Table = EXAMPLE.parse().unwrap();
        for (key, value) in table {
            let known = written.as_object_mut().unwrap().remove(&key).unwrap();
            if let (Some(known), toml::Value::Table(table)) = (known.as_object(), value) {
                assert!(known.keys().all(|key| table.contains_key(key)), "{key}");
            }
        }
        assert_eq!(written, serde_json::json!({}), "what the example does not have");
    }

    #[test]
    fn people_may_leave_out_what_is_usual_and_write_sizes_as_they_like() {
        let text = "version = 1\nuuid = \"abcd1234-0000-4000-8000-000000000001\"\nmemory = 1073741824\n\
                    [[disk]]\npath = \"/web.raw\"\nformat = \"raw\"\n";

        let guest = Definition::from_toml(text, "web").unwrap();

        assert_eq!((guest.memory, guest.vcpus, guest.disks[0].id.as_str()), (Size::gib(1), 1, "disk0"));
    }

    #[test]
    fn every_unknown_field_and_every_bad_value_is_named_at_once() {
        let text = full()
            .to_toml()
            .replace("vcpus = 1", "vcpus = 0\ncolour = \"red\"\nname = \"x\"")
            .replace("format = \"qcow2\"", "format = \"qcow2\"\ncolour = \"red\"");

        let DefinitionError::Invalid(problems) = Definition::from_toml(&text, "a/b").unwrap_err() else { panic!() };

        let mut fields: Vec<_> = problems.0.iter().map(|problem| problem.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["colour", "disk[0].colour", "name", "name", "vcpus"]);
        for problem in &problems.0 {
            let line = text.lines().nth(problem.line.unwrap() - 1).unwrap();
            let key = problem.field.rsplit('.').next().unwrap();
            assert!(line.starts_with(key), "{problem}: {line}");
        }
        assert!(problems.to_string().contains("vcpus (line "), "{problems}");
    }

    #[test]
    fn a_cdrom_that_an_older_version_attached_as_virtio_disk_becomes_a_drive() {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::cdrom("/debian.iso"));
        let older = guest.to_toml().replace("bus = \"ide\"", "bus = \"virtio\"");
        assert!(older.contains("virtio"), "{older}");

        assert_eq!(Definition::from_toml(&older, "web").unwrap(), guest);
    }

    #[test]
    fn a_newer_version_is_named_before_anything_else_is_complained_about() {
        let error = Definition::from_toml("version = 2\nnovelty = true", "web").unwrap_err();

        assert_eq!(error, DefinitionError::Newer { found: 2 });
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let error = Definition::from_toml("version = 1\nmemory = \"much\"", "web").unwrap_err().to_string();

        assert!(error.contains("line 2, column 10 (`memory = \"much\"`)"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn random_damage_never_panics() {
        let text = full().to_toml().into_bytes();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] = damaged[at].wrapping_add(1);
            let _ = Definition::from_toml(&String::from_utf8_lossy(&damaged), "web");
            let _ = Definition::from_toml(&String::from_utf8_lossy(&text[..at]), "web");
        }
    }
}
