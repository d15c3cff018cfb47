//! Talks to one worker over its control socket (QMP). Requests are pipelined, every request has a deadline, so that a worker
//! that hangs never hangs its caller.

#![forbid(unsafe_code)]

mod commands;
mod connection;
mod disks;
mod screen;
mod typing;

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::timeout,
};

pub use crate::qmp::message::{ErrorClass, Event};
pub use commands::HostEnd;
use connection::{Outgoing, Pending};
pub use disks::{DiskFile, DiskSnapshot, MergeFiles};
pub use typing::TYPING_INTERVAL;

use super::socket;
use crate::{
    qmp::{codec, message::Command},
    system_error::words,
};

/// How long a request may take when the caller does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Events that a receiver may be behind before it misses the oldest ones.
const EVENTS_KEPT: usize = 256;
/// Requests that may wait to be sent.
const REQUESTS_KEPT: usize = 64;

/// A connection to a worker. Clones share it; it closes with the last one.
#[derive(Debug, Clone)]
pub struct Client {
    outgoing: mpsc::Sender<Outgoing>,
    pending: Pending,
    events: broadcast::WeakSender<Event>,
    last_id: Arc<AtomicU64>,
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
        /// QMP's error class.
        class: ErrorClass,
        /// What the worker says.
        description: String,
    },
    /// The other side does not speak QMP.
    #[error("the guest's worker answers nonsense ({0}). Force it off and start it again")]
    Protocol(String),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Connect(words(&error))
    }
}

impl Client {
    /// Connects to the control socket at `path`, waits for the greeting and negotiates, at most [`DEFAULT_TIMEOUT`].
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::connect_within(path, DEFAULT_TIMEOUT).await
    }

    /// [`Client::connect`], waiting at most `limit`.
    pub async fn connect_within(path: &Path, limit: Duration) -> Result<Self, ClientError> {
        let connect = async {
            let mut stream = socket::connect_async(path).await?;
            let decoder = connection::greeting(&mut stream).await?;
            let (outgoing, requests) = mpsc::channel(REQUESTS_KEPT);
            let (events, _) = broadcast::channel(EVENTS_KEPT);
            let pending = Pending::default();
            let client =
                Self { outgoing, pending: pending.clone(), events: events.downgrade(), last_id: Arc::default() };
            tokio::spawn(connection::run(stream, decoder, requests, pending, events));
            client.execute_within("qmp_capabilities", Value::Null, limit).await?;
            Ok(client)
        };
        let late = || ClientError::Timeout { command: "qmp_capabilities".to_owned(), after: limit };
        timeout(limit, connect).await.map_err(|_| late())?
    }

    /// Sends a command and waits for its answer, at most [`DEFAULT_TIMEOUT`].
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, ClientError> {
        self.execute_within(command, arguments, DEFAULT_TIMEOUT).await
    }

    /// Sends a command and waits for its answer, at most `limit`. `arguments` is an object, or null for none.
    pub async fn execute_within(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value, ClientError> {
        self.request(command, arguments, None, limit).await
    }

    /// The events from now on. A receiver that falls behind misses the oldest ones and is told so; one that has missed the
    /// end is told that it is closed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// Resolves when the connection is closed: the worker has ended, or hung up.
    pub async fn closed(&self) {
        self.outgoing.closed().await;
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.outgoing.is_closed()
    }

    /// Sends a command, with a file descriptor beside it, and waits for the answer.
    async fn request(
        &self,
        command: &str,
        arguments: Value,
        descriptor: Option<OwnedFd>,
        limit: Duration,
    ) -> Result<Value, ClientError> {
        let arguments = match arguments {
            Value::Null => Map::new(),
            Value::Object(arguments) => arguments,
            other => return Err(ClientError::Protocol(format!("arguments must be an object, not {other}"))),
        };
        let id = self.last_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut message = Command::new(command);
        message.arguments = arguments;
        message.id = Some(id.into());
        let (sender, answer) = oneshot::channel();
        // Forgets the request when the caller stops waiting, for whatever reason.
        let _waiting = self.pending.insert(id, sender);
        let exchange = async {
            let outgoing = Outgoing { bytes: codec::encode(&message), descriptor };
            self.outgoing.send(outgoing).await.map_err(|_| ClientError::Closed)?;
            answer.await.map_err(|_| ClientError::Closed)?
        };
        let late = || ClientError::Timeout { command: command.to_owned(), after: limit };
        timeout(limit, exchange).await.map_err(|_| late())?
    }
}

#[cfg(test)]
mod tests;
