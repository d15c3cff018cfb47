//! The connection itself: one task that reads answers and events and writes requests.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, mpsc, oneshot},
    time::{self, Instant},
};

use super::ClientError;
use crate::qmp::{
    codec::Decoder,
    message::{Event, ServerMessage},
};

/// What is read at once, in bytes.
const CHUNK: usize = 16 << 10;
/// Events that may come at once.
const BURST: f64 = 1000.0;
/// Events a second of a worker that floods: the rest waits in its socket, and then it waits itself.
const EVENTS_A_SECOND: f64 = 2000.0;

type Answer = Result<Value, ClientError>;

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub bytes: Vec<u8>,
    /// Goes with the first byte (SCM_RIGHTS).
    pub descriptor: Option<OwnedFd>,
}

/// Who waits for which answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending(Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>);

impl Pending {
    /// Somebody waits for the answer to request `id`, until the result is dropped.
    pub fn insert(&self, id: u64, sender: oneshot::Sender<Answer>) -> Waiting<'_> {
        self.lock().insert(id, sender);
        Waiting { pending: self, id }
    }

    fn answer(&self, id: Option<&Value>, answer: Answer) {
        // An answer without a known id belongs to a request that nobody waits for any more.
        if let Some(sender) = id.and_then(Value::as_u64).and_then(|id| self.lock().remove(&id)) {
            let _ = sender.send(answer);
        }
    }

    /// Nobody will be answered any more: dropping the senders tells them.
    fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for an answer.
pub(super) struct Waiting<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}

/// Reads until the greeting has come. What was read beyond it is in the decoder.
pub(super) async fn greeting(stream: &mut UnixStream) -> Result<Decoder, ClientError> {
    let mut decoder = Decoder::new();
    loop {
        while let Some(message) = decoder.next_message() {
            let message = message.map_err(|error| ClientError::Protocol(error.desc))?;
            match serde_json::from_value(message) {
                Ok(ServerMessage::Greeting(_)) => return Ok(decoder),
                // A server may have something to tell at once.
                Ok(ServerMessage::Event(_)) => {}
                _ => return Err(ClientError::Protocol("its first message is no greeting".to_owned())),
            }
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).await {
            Ok(0) => return Err(ClientError::Closed),
            Ok(length) => decoder.push(&bytes[..length]),
            // A listener that was closed without ever accepting resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(ClientError::Closed),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Serves the connection until it is closed, by the worker or because every client is gone.
pub(super) async fn run(
    stream: UnixStream,
    decoder: Decoder,
    requests: mpsc::Receiver<Outgoing>,
    pending: Pending,
    events: broadcast::Sender<Event>,
) {
    let (reader, writer) = stream.into_split();
    tokio::select! {
        result = read(reader, decoder, &pending, &events) => {
            if let Err(error) = result {
                tracing::debug!("a control connection ended: {error}");
            }
        }
        () = write(writer, requests) => {}
    }
    pending.close();
}

async fn read(
    mut reader: OwnedReadHalf,
    mut decoder: Decoder,
    pending: &Pending,
    events: &broadcast::Sender<Event>,
) -> Result<(), ClientError> {
    let mut bytes = vec![0; CHUNK];
    let mut pace = Pace { debt: 0.0, at: Instant::now() };
    loop {
        while let Some(message) = decoder.next_message() {
            let message = message.map_err(|error| ClientError::Protocol(error.desc))?;
            match serde_json::from_value(message) {
                Ok(ServerMessage::Return(response)) => pending.answer(response.id.as_ref(), Ok(response.value)),
                Ok(ServerMessage::Error(response)) => {
                    let (class, description) = (response.error.class, response.error.desc);
                    pending.answer(response.id.as_ref(), Err(ClientError::Refused { class, description }));
                }
                Ok(ServerMessage::Event(event)) => {
                    pace.debt += 1.0;
                    // Nobody may be listening.
                    drop(events.send(event));
                }
                // What is new in QMP is not ours to complain about.
                Ok(ServerMessage::Greeting(_)) | Err(_) => {}
            }
        }
        pace.keep().await;
        match reader.read(&mut bytes).await? {
            0 => return Ok(()),
            length => decoder.push(bytes.get(..length).unwrap_or_default()),
        }
    }
}

/// Has a worker that floods with events wait, instead of keeping the host busy.
struct Pace {
    /// Events of the last while.
    debt: f64,
    at: Instant,
}

impl Pace {
    async fn keep(&mut self) {
        self.debt = (self.debt - self.at.elapsed().as_secs_f64() * EVENTS_A_SECOND).max(0.0);
        self.at = Instant::now();
        if self.debt > BURST {
            time::sleep(Duration::from_secs_f64((self.debt - BURST) / EVENTS_A_SECOND)).await;
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut requests: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { bytes, descriptor }) = requests.recv().await {
        let sent = match descriptor {
            Some(descriptor) => send_with(writer.as_ref(), &bytes, &descriptor).await,
            None => Ok(0),
        };
        let Ok(sent) = sent else { return };
        if writer.write_all(bytes.get(sent..).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}

/// Sends the first bytes together with the descriptor, and says how many they were.
async fn send_with(stream: &UnixStream, bytes: &[u8], descriptor: &OwnedFd) -> io::Result<usize> {
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, flags)?)
        })
        .await
}
