//! Reads a command's arguments into typed structs and says what is wrong in QEMU's words: `Parameter 'filename' is
//! missing`, `Parameter 'keys[0].x' is unexpected`.
//!
//! serde_json's own errors name neither the place nor the kind in a form that could be turned into these, so this is a
//! small deserializer over [`Value`] with an error type of its own. Argument structs use `deny_unknown_fields`.

use std::fmt::{self, Display};

use serde::{
    Deserialize,
    de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use super::message::Error;

/// Reads a command's arguments.
pub fn parse<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, Error> {
    parse_part(Value::Object(arguments), "")
}

/// Reads a part of a command's arguments that is found at `path` (`keys[0].data`).
pub fn parse_part<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, Error> {
    T::deserialize(Part { value: &value, path: path.to_owned() }).map_err(|problem| Error::generic(problem.message()))
}

/// A member of a QAPI union: a word that says what `data` is, which [`UnionMember::data`] then reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnionMember<Kind> {
    /// What `data` is.
    #[serde(rename = "type")]
    pub kind: Kind,
    data: Value,
}

impl<Kind> UnionMember<Kind> {
    /// The data of the union at `path`.
    pub fn data<T: DeserializeOwned>(self, path: impl Display) -> Result<T, Error> {
        parse_part(self.data, &format!("{path}.data"))
    }
}

/// What is wrong with an argument.
#[derive(Debug)]
struct Problem {
    path: String,
    kind: ProblemKind,
}

#[derive(Debug)]
enum ProblemKind {
    Missing,
    Unexpected,
    Type(String),
    Range(String),
    Word(String),
    Other(String),
}

impl Problem {
    fn new(kind: ProblemKind) -> Self {
        Self { path: String::new(), kind }
    }

    /// Puts the place in front, unless a part further in has done so.
    fn at(mut self, path: &str) -> Self {
        if self.path.is_empty() {
            self.path = path.to_owned();
        }
        self
    }

    /// The problem is with the field `name` of the struct in hand, whose place is not known yet.
    fn with_field(name: &str, kind: ProblemKind) -> Self {
        Self { path: format!("{FIELD}{name}"), kind }
    }

    /// Puts the struct's place in front of a field's name.
    fn in_struct(mut self, path: &str) -> Self {
        if let Some(field) = self.path.strip_prefix(FIELD) {
            self.path = join(path, field);
        }
        self
    }

    fn message(&self) -> String {
        let path = &self.path;
        match &self.kind {
            ProblemKind::Missing => format!("Parameter '{path}' is missing"),
            ProblemKind::Unexpected => format!("Parameter '{path}' is unexpected"),
            ProblemKind::Type(expected) => format!("Invalid parameter type for '{path}', expected: {expected}"),
            ProblemKind::Range(expected) => format!("Parameter '{path}' expects {expected}"),
            ProblemKind::Word(word) => format!("Parameter '{path}' does not accept value '{word}'"),
            ProblemKind::Other(text) => format!("Parameter '{path}': {text}"),
        }
    }
}

/// Marks a path that begins with a field of the struct in hand. No argument's name has it.
const FIELD: char = '\u{0}';

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

impl Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message())
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: Display>(text: T) -> Self {
        Self::new(ProblemKind::Other(text.to_string()))
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(ProblemKind::Type(qapi_type(&expected.to_string()).to_owned()))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(ProblemKind::Range(expected.to_string()))
    }

    fn unknown_variant(word: &str, _: &'static [&'static str]) -> Self {
        Self::new(ProblemKind::Word(word.to_owned()))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::with_field(field, ProblemKind::Unexpected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::with_field(field, ProblemKind::Missing)
    }
}

/// QAPI's word for what serde expected.
fn qapi_type(expected: &str) -> &str {
    match expected {
        "a string" => "string",
        "a boolean" => "boolean",
        "a sequence" => "array",
        "f32" | "f64" => "number",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "integer",
        _ if expected.starts_with("struct") || expected == "a map" => "object",
        _ if expected.starts_with("variant identifier") || expected.contains("enum") => "string",
        other => other,
    }
}

/// A value and its place among the arguments.
struct Part<'a> {
    value: &'a Value,
    path: String,
}

impl<'de> de::Deserializer<'de> for Part<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let visited = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter().enumerate(), path: &self.path }),
            Value::Object(members) => {
                visitor.visit_map(Members { members: members.iter(), value: None, path: &self.path })
            }
        };
        visited.map_err(|problem| problem.in_struct(&self.path).at(&self.path))
    }

    /// An optional argument is left out or given; null is as wrong as any other type.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let Value::String(word) = self.value else {
            return Err(Problem::new(ProblemKind::Type("string".to_owned())).at(&self.path));
        };
        visitor.visit_enum(word.as_str().into_deserializer()).map_err(|problem: Problem| problem.at(&self.path))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a, 'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
    path: &'a str,
}

impl<'de> de::SeqAccess<'de> for Items<'_, 'de> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Part { value, path: format!("{}[{index}]", self.path) }).map(Some)
    }
}

struct Members<'a, 'de> {
    members: serde_json::map::Iter<'de>,
    value: Option<(&'de str, &'de Value)>,
    path: &'a str,
}

impl<'de> de::MapAccess<'de> for Members<'_, 'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        self.value = Some((name, value));
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (name, value) =
            self.value.take().ok_or_else(|| de::Error::custom("a value was asked for before its name"))?;
        seed.deserialize(Part { value, path: join(self.path, name) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Qcode,
        Number,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only whether it can be read is of interest")]
    struct Arguments {
        filename: String,
        hold_time: Option<i64>,
        head: Option<u8>,
        down: Option<bool>,
        #[serde(default)]
        keys: Vec<UnionMember<Kind>>,
    }

    fn complaint(arguments: Value) -> String {
        let Value::Object(map) = arguments else { panic!("arguments are an object") };
        parse::<Arguments>(map).unwrap_err().desc
    }

    /// What QEMU 7.2 says to the like, word by word.
    #[test]
    fn complaints_are_qemus() {
        let cases = [
            (json!({}), "Parameter 'filename' is missing"),
            (json!({"filename": 3}), "Invalid parameter type for 'filename', expected: string"),
            (json!({"filename": null}), "Invalid parameter type for 'filename', expected: string"),
            (json!({"filename": "f", "bogus": 3}), "Parameter 'bogus' is unexpected"),
            (json!({"filename": "f", "hold-time": "s"}), "Invalid parameter type for 'hold-time', expected: integer"),
            (json!({"filename": "f", "down": 1}), "Invalid parameter type for 'down', expected: boolean"),
            (json!({"filename": "f", "keys": "a"}), "Invalid parameter type for 'keys', expected: array"),
            (json!({"filename": "f", "keys": [3]}), "Invalid parameter type for 'keys[0]', expected: object"),
            (json!({"filename": "f", "keys": [{"data": 1}]}), "Parameter 'keys[0].type' is missing"),
            (json!({"filename": "f", "keys": [{"type": "qcode"}]}), "Parameter 'keys[0].data' is missing"),
            (
                json!({"filename": "f", "keys": [{"type": "qcode", "data": 1, "x": 1}]}),
                "Parameter 'keys[0].x' is unexpected",
            ),
            (
                json!({"filename": "f", "keys": [{"type": "zz", "data": 1}]}),
                "Parameter 'keys[0].type' does not accept value 'zz'",
            ),
            (
                json!({"filename": "f", "keys": [{"type": 1, "data": 1}]}),
                "Invalid parameter type for 'keys[0].type', expected: string",
            ),
            (json!({"filename": "f", "head": 300}), "Parameter 'head' expects u8"),
        ];

        for (arguments, expected) in cases {
            assert_eq!(complaint(arguments), expected);
        }
    }

    #[test]
    fn good_arguments_are_read() {
        let Value::Object(map) = json!({"filename": "f", "hold-time": -5, "keys": [{"type": "number", "data": 30}]})
        else {
            panic!("arguments are an object")
        };

        let mut arguments: Arguments = parse(map).unwrap();

        assert_eq!((arguments.filename.as_str(), arguments.hold_time, arguments.down), ("f", Some(-5), None));
        let key = arguments.keys.remove(0);
        assert!(matches!(key.kind, Kind::Number));
        assert_eq!(key.data::<u16>("keys[0]").unwrap(), 30);
    }

    #[test]
    fn a_complaint_about_a_union_names_the_whole_way() {
        let key = UnionMember { kind: Kind::Number, data: json!({"axis": 1}) };

        assert_eq!(
            key.data::<u16>("keys[2]").unwrap_err().desc,
            "Invalid parameter type for 'keys[2].data', expected: integer"
        );
    }
}
