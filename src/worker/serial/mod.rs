//! The serial server: what the guest's serial port says goes to any number of clients, what they send goes to the port.
//!
//! A client that connects gets the [`history`] first and then what comes. Each client has a place in the history and is
//! served from there at its own pace: a slow one costs nothing to the guest or to the others, and when it is so slow that
//! its place is no longer kept, a line tells it how much is missing. One thread serves all.

#![forbid(unsafe_code)]

pub mod history;

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use self::history::{History, Piece};
use super::{acceptor::Acceptor, descriptors::borrow};
use crate::vmm::devices::serial::{SerialInput, SerialOutput};

/// How many clients there can be at once.
pub const CLIENTS: usize = 16;

/// What is read from a client or written to it in one go, in bytes.
const PIECE: usize = 4096;

/// The thread's stack, in bytes.
const STACK: usize = 64 << 10;

/// What the guest's side and the server share.
struct Shared {
    state: Mutex<State>,
    /// Wakes the server.
    wake: EventFd,
}

#[derive(Default)]
struct State {
    history: History,
    /// A client has seen everything and waits for more.
    awaited: bool,
    /// When the server is to end, whether every client has seen everything or not.
    closing: Option<Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It can only fail when the counter is full, and then the server is awake.
        let _ = self.wake.write(1);
    }
}

/// The guest's way to the server: never waits for a client.
pub struct Output(Arc<Shared>);

impl SerialOutput for Output {
    fn write(&mut self, bytes: &[u8]) {
        let mut state = self.0.lock();
        state.history.push(bytes);
        if std::mem::take(&mut state.awaited) {
            drop(state);
            self.0.wake();
        }
    }
}

/// A server that has not started yet: the machine needs its output first, and it needs the machine's input.
pub struct Unstarted {
    shared: Arc<Shared>,
    acceptor: Acceptor,
}

impl Unstarted {
    /// A server for the clients that connect to `listener`.
    pub fn new(listener: OwnedFd) -> io::Result<Self> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let shared = Arc::new(Shared { state: Mutex::default(), wake });
        Ok(Self { shared, acceptor: Acceptor::new(listener)? })
    }

    /// What the guest's port writes to.
    pub fn output(&self) -> Output {
        Output(Arc::clone(&self.shared))
    }

    /// Starts to serve; what clients send goes to `input`.
    pub fn start(self, input: Arc<dyn SerialInput>) -> io::Result<SerialServer> {
        let shared = Arc::clone(&self.shared);
        let mut server = Loop { shared: self.shared, acceptor: self.acceptor, input, clients: Vec::new() };
        let thread = thread::Builder::new().name("serial".to_owned()).stack_size(STACK).spawn(move || server.run())?;
        Ok(SerialServer { shared, thread })
    }
}

/// The running server.
pub struct SerialServer {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl SerialServer {
    /// Ends the server when every client has got everything, at the latest at the deadline.
    pub fn drain(self, deadline: Instant) {
        self.shared.lock().closing = Some(deadline);
        self.shared.wake();
        if self.thread.join().is_err() {
            tracing::error!("the serial server has failed");
        }
    }
}

/// A client.
struct Client {
    stream: UnixStream,
    /// How far it has come in the history.
    place: u64,
    /// What is to be written before the history goes on: the note about what is missing.
    note: Vec<u8>,
    /// What it has sent and the guest had no room for.
    input: Vec<u8>,
    /// It sends nothing more.
    input_ended: bool,
}

impl Client {
    /// Does what its socket is ready for. An error means that it has gone.
    fn serve(&mut self, ready: PollFlags, shared: &Shared, input: &dyn SerialInput) -> io::Result<()> {
        let readable = ready.contains(PollFlags::IN);
        if readable {
            self.receive(input)?;
        }
        match ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            // What it sent before it went is still read.
            true if readable && !self.input_ended => Ok(()),
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => self.advance(shared),
        }
    }

    /// Writes what it has not got yet, until it takes nothing more. An error means that it has gone.
    fn advance(&mut self, shared: &Shared) -> io::Result<()> {
        let mut copy = [0; PIECE];
        loop {
            if self.note.is_empty() {
                let state = shared.lock();
                match state.history.at(self.place) {
                    Piece::End => return Ok(()),
                    Piece::Gap(length) => {
                        self.note = format!("\r\n[{length} bytes are missing here]\r\n").into_bytes();
                        self.place += length;
                    }
                    Piece::Bytes(bytes) => {
                        let piece = copy.get_mut(..bytes.len()).unwrap_or_default();
                        piece.copy_from_slice(bytes);
                        drop(state);
                        match self.write(piece)? {
                            0 => return Ok(()),
                            written => self.place += written as u64,
                        }
                    }
                }
            } else {
                let note = std::mem::take(&mut self.note);
                let written = self.write(&note)?;
                self.note = note.get(written..).unwrap_or_default().to_vec();
                if written == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Writes what it takes; 0 when it takes nothing now.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Err(error) if is_passing(&error) => Ok(0),
            written => written,
        }
    }

    fn is_behind(&self, history: &History) -> bool {
        !self.note.is_empty() || self.place < history.end()
    }

    /// Reads what it has sent.
    fn receive(&mut self, input: &dyn SerialInput) -> io::Result<()> {
        let mut bytes = [0; PIECE];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.input_ended = true,
            Ok(length) => {
                self.input.extend_from_slice(bytes.get(..length).unwrap_or_default());
                self.hand_over(input);
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Gives the guest what it has room for.
    fn hand_over(&mut self, input: &dyn SerialInput) {
        if !self.input.is_empty() {
            let taken = input.enqueue(&self.input).min(self.input.len());
            self.input.drain(..taken);
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The server's thread.
struct Loop {
    shared: Arc<Shared>,
    acceptor: Acceptor,
    input: Arc<dyn SerialInput>,
    clients: Vec<Client>,
}

impl Loop {
    fn run(&mut self) {
        loop {
            let behind = self.look();
            let closing = self.shared.lock().closing;
            if closing.is_some_and(|deadline| Instant::now() >= deadline || !behind.contains(&true)) {
                return;
            }
            match self.wait(&behind, closing) {
                Ok(ready) => self.serve(&ready),
                Err(error) => {
                    tracing::error!("the serial server cannot wait for its clients: {error}");
                    return;
                }
            }
        }
    }

    /// Which clients have not got everything; when one has, the guest's next output wakes the server.
    fn look(&self) -> Vec<bool> {
        let mut state = self.shared.lock();
        let behind: Vec<bool> = self.clients.iter().map(|client| client.is_behind(&state.history)).collect();
        state.awaited = behind.contains(&false);
        behind
    }

    /// Waits for something to do. The clients' flags come last, in their order.
    fn wait(&mut self, behind: &[bool], closing: Option<Instant>) -> io::Result<Ready> {
        let limits = [self.acceptor.patience(), closing.map(|end| end.saturating_duration_since(Instant::now()))];
        let timeout = limits.into_iter().flatten().min().and_then(|limit| Timespec::try_from(limit).ok());
        let full = self.clients.iter().any(|client| !client.input.is_empty());
        let mut waits = vec![
            PollFd::from_borrowed_fd(borrow(&self.shared.wake), PollFlags::IN),
            PollFd::from_borrowed_fd(borrow(self.input.room()), if full { PollFlags::IN } else { PollFlags::empty() }),
            self.acceptor.interest(),
        ];
        for (client, behind) in self.clients.iter().zip(behind) {
            let mut interest = PollFlags::empty();
            interest.set(PollFlags::IN, !client.input_ended && client.input.is_empty());
            interest.set(PollFlags::OUT, *behind);
            waits.push(PollFd::new(&client.stream, interest));
        }
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut flags = waits.iter().map(PollFd::revents);
        let mut next = || flags.next().unwrap_or(PollFlags::empty());
        Ok(Ready { wake: next(), room: next(), listener: next(), clients: flags.collect() })
    }

    fn serve(&mut self, ready: &Ready) {
        if !ready.wake.is_empty() {
            // Only to make it quiet again.
            let _ = self.shared.wake.read();
        }
        if !ready.room.is_empty() {
            let _ = self.input.room().read();
            self.clients.iter_mut().for_each(|client| client.hand_over(&*self.input));
        }
        let mut flags = ready.clients.iter();
        self.clients.retain_mut(|client| {
            let flags = flags.next().copied().unwrap_or(PollFlags::empty());
            client.serve(flags, &self.shared, &*self.input).is_ok()
        });
        if !ready.listener.is_empty() {
            self.accept();
        }
    }

    fn accept(&mut self) {
        let Some(stream) = self.acceptor.accept() else { return };
        if self.clients.len() >= CLIENTS || stream.set_nonblocking(true).is_err() {
            tracing::warn!("a client of the serial port was turned away: there are {CLIENTS} already");
            return;
        }
        self.clients.push(Client { stream, place: 0, note: Vec::new(), input: Vec::new(), input_ended: false });
    }
}

/// What is ready.
struct Ready {
    wake: PollFlags,
    room: PollFlags,
    listener: PollFlags,
    clients: Vec<PollFlags>,
}

#[cfg(test)]
mod tests;
