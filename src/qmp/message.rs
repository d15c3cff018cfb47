//! The messages of QMP: greeting, command, response, event.
//!
//! Specification: QEMU Machine Protocol Specification, section 2.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The greeting's content.
    #[serde(rename = "QMP")]
    pub qmp: GreetingBody,
}

/// The content of a [`Greeting`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GreetingBody {
    /// What the server is.
    pub version: VersionInfo,
    /// What can be negotiated; `oob` (out-of-band commands) is the only one that QEMU knows.
    pub capabilities: Vec<String>,
}

/// The answer to `query-version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// The release of QEMU whose protocol is spoken.
    pub qemu: VersionTriple,
    /// The program that speaks it, with its own version.
    pub package: String,
}

/// A version in three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionTriple {
    /// Incompatible changes.
    pub major: u32,
    /// Additions.
    pub minor: u32,
    /// Corrections.
    pub micro: u32,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// The command's name.
    pub execute: String,
    /// Its arguments.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
    /// Comes back with the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
}

/// What a server says; told apart by the member that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ServerMessage {
    /// The first message of a connection.
    Greeting(Greeting),
    /// The command was carried out.
    Return(Return),
    /// The command failed.
    Error(ErrorResponse),
    /// Something has happened.
    Event(Event),
}

/// The response to a command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// The result; an empty object when there is nothing to say.
    #[serde(rename = "return")]
    pub value: Value,
    /// The command's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
}

/// The response to a command that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// Why.
    pub error: Error,
    /// The command's; missing when the command could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{desc}")]
pub struct Error {
    /// The kind, for programs.
    pub class: ErrorClass,
    /// The description, for people.
    pub desc: String,
}

impl Error {
    /// An error of the class that says nothing.
    pub fn generic(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::GenericError, desc: desc.into() }
    }
}

/// QEMU's error classes (`QapiErrorClass`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Any other error.
    GenericError,
    /// There is no such command, or not at this time.
    CommandNotFound,
    /// The device is there, but not usable now.
    DeviceNotActive,
    /// There is no such device.
    DeviceNotFound,
    /// KVM lacks something that the command needs.
    KVMMissingCap,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The event's name.
    pub event: String,
    /// What there is to say about it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
    /// When.
    pub timestamp: Timestamp,
}

impl Event {
    /// An event of now.
    pub fn now(event: impl Into<String>, data: Map<String, Value>) -> Self {
        Self { event: event.into(), data, timestamp: Timestamp::now() }
    }
}

/// A moment, since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds; -1 when the time is not known.
    pub seconds: i64,
    /// Microseconds beyond them.
    pub microseconds: i64,
}

impl Timestamp {
    /// This moment.
    pub fn now() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Self {
                seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                microseconds: i64::from(since.subsec_micros()),
            },
            Err(_) => Self { seconds: -1, microseconds: -1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_message_of_a_server_is_told_apart() {
        let greeting = json!({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "x"},
            "capabilities": ["oob"]}});
        let event = json!({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}});

        let kinds: Vec<ServerMessage> = [
            greeting,
            json!({"return": {}, "id": 3}),
            json!({"error": {"class": "CommandNotFound", "desc": "no"}}),
            event,
        ]
        .into_iter()
        .map(|value| serde_json::from_value(value).unwrap())
        .collect();

        assert!(matches!(
            &kinds[..],
            [
                ServerMessage::Greeting(_),
                ServerMessage::Return(Return { id: Some(_), .. }),
                ServerMessage::Error(ErrorResponse { error: Error { class: ErrorClass::CommandNotFound, .. }, .. }),
                ServerMessage::Event(_)
            ]
        ));
    }
}
