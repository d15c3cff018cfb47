//! Checks that a message is a command, and says what is wrong with it in QEMU's words.

use serde_json::{Map, Value};

use super::message::{Command, Error, ErrorResponse};

impl Command {
    /// A command without arguments.
    pub fn new(execute: impl Into<String>) -> Self {
        Self { execute: execute.into(), arguments: Map::new(), id: None }
    }

    /// Reads a client's message. The error carries the message's `id`, if it has one.
    pub fn from_message(message: Value) -> Result<Self, ErrorResponse> {
        let Value::Object(mut members) = message else {
            return Err(ErrorResponse { error: Error::generic("QMP input must be a JSON object"), id: None });
        };
        let id = members.remove("id");
        match Self::from_members(members) {
            Ok((execute, arguments)) => Ok(Self { execute, arguments, id }),
            Err(desc) => Err(ErrorResponse { error: Error::generic(desc), id }),
        }
    }

    fn from_members(mut members: Map<String, Value>) -> Result<(String, Map<String, Value>), String> {
        let execute = members.remove("execute");
        let arguments = members.remove("arguments");
        if let Some(unexpected) = members.keys().next() {
            return Err(format!("QMP input member '{unexpected}' is unexpected"));
        }
        let execute = match execute {
            None => return Err("QMP input lacks member 'execute'".to_owned()),
            Some(Value::String(execute)) => execute,
            Some(_) => return Err("QMP input member 'execute' must be a string".to_owned()),
        };
        match arguments {
            None => Ok((execute, Map::new())),
            Some(Value::Object(arguments)) => Ok((execute, arguments)),
            Some(_) => Err("QMP input member 'arguments' must be an object".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_is_read_with_its_id() {
        let command = Command::from_message(json!({"execute": "stop", "arguments": {"a": 1}, "id": {"n": 2}})).unwrap();

        assert_eq!(command.execute, "stop");
        assert_eq!(command.arguments.get("a"), Some(&json!(1)));
        assert_eq!(command.id, Some(json!({"n": 2})));
    }

    /// What QEMU 7.2 says, word by word.
    #[test]
    fn complaints_are_qemus() {
        let cases = [
            (json!([]), "QMP input must be a JSON object"),
            (json!({}), "QMP input lacks member 'execute'"),
            (json!({"execute": 3}), "QMP input member 'execute' must be a string"),
            (json!({"execute": "stop", "arguments": 3}), "QMP input member 'arguments' must be an object"),
            (json!({"execute": "stop", "bogus": 1}), "QMP input member 'bogus' is unexpected"),
        ];

        for (message, expected) in cases {
            assert_eq!(Command::from_message(message).unwrap_err().error.desc, expected);
        }
    }

    #[test]
    fn a_complaint_keeps_the_id() {
        let response = Command::from_message(json!({"id": 7})).unwrap_err();

        assert_eq!(response.id, Some(json!(7)));
    }
}
