//! Definitions as TOML.

use serde::Deserialize;

use super::{Definition, Problem, Problems, VERSION};

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
        let mut problems = unknown_fields(&definition, &table);
        if let Err(more) = definition.validate() {
            problems.extend(more.0);
        }
        if problems.is_empty() { Ok(definition) } else { Err(DefinitionError::Invalid(Problems(problems))) }
    }

    /// The text that [`Definition::from_toml`] reads.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string_pretty(self).unwrap_or_default();
        format!(
            "# A guest of Lodge. `lodgectl edit` checks what you write; the guest's name is the name of this folder.\n{body}"
        )
    }
}

fn syntax(error: toml::de::Error) -> DefinitionError {
    // toml's message spans several lines with a picture of the place; ours is one line.
    let whole = error.to_string();
    let place = whole.lines().next().and_then(|line| line.strip_prefix("TOML parse error at ")).map(str::to_owned);
    let message = error.message().replace('\n', ", ");
    DefinitionError::Syntax(match place {
        Some(place) => format!("{place}: {message}"),
        None => message,
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
