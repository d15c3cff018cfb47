//! One port: its queues on the guest's side, a terminal or a program on the host's.

#![forbid(unsafe_code)]

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
};

use rustix::net::RecvFlags;
use vmm_sys_util::epoll::EventSet;

use super::{PortState, program::ProgramPort, terminal::Terminal};
use crate::vmm::virtio::{
    queue::{Buffers, QueueError},
    worker::Io,
};

/// Bytes that are copied at once.
const PIECE: usize = 4096;

/// A port.
pub struct Port {
    /// The host's side.
    pub host: Host,
    /// The driver uses the port.
    pub ready: bool,
    /// A program of the guest has opened it.
    pub open: bool,
    /// How much of the chain at the front of the queue has been sent already.
    sent: usize,
}

/// The host's side of a port.
pub enum Host {
    /// A terminal.
    Terminal(Terminal),
    /// A socket for a program.
    Named(NamedPort),
    /// A part of this process.
    Program(ProgramPort),
}

impl Host {
    /// Whether somebody is there.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Terminal(_) => true,
            Self::Named(named) => named.stream.is_some(),
            Self::Program(program) => program.program().is_open(),
        }
    }
}

impl Port {
    /// A port that no driver uses yet.
    pub fn new(host: Host) -> Self {
        Self { host, ready: false, open: false, sent: 0 }
    }

    /// Forgets the driver.
    pub fn reset(&mut self) {
        (self.ready, self.sent) = (false, 0);
        self.set_open(false);
    }

    /// A program of the guest has opened the port or closed it.
    pub fn set_open(&mut self, open: bool) {
        self.open = open;
        if let Host::Program(program) = &self.host {
            program.program().guest_opened(open);
        }
    }

    /// The state to save.
    pub fn save(&self) -> PortState {
        let sent = u32::try_from(self.sent).unwrap_or(u32::MAX);
        PortState { ready: self.ready, open: self.open, connected: self.host.is_connected(), sent }
    }

    /// Takes over a saved state.
    pub fn restore(&mut self, state: &PortState) {
        (self.ready, self.open, self.sent) = (state.ready, state.open, state.sent as usize);
        if let Host::Program(program) = &mut self.host {
            program.program().restored(state.open);
            program.change();
        }
    }

    /// Whether input may go to the guest. A terminal's always may; a program's waits until one in the guest listens.
    pub fn takes_input(&self, multiport: bool) -> bool {
        match &self.host {
            Host::Terminal(_) => true,
            Host::Named(_) | Host::Program(_) => multiport && self.open,
        }
    }

    /// Moves what waits into the buffers of queue `index`, as far as there are any.
    pub fn deliver(&mut self, index: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(index) else { return Ok(()) };
        while self.host.may_have_input() {
            let Some(mut chain) = queue.pop(memory)? else {
                if queue.want_kicks(memory)? {
                    continue;
                }
                break;
            };
            let count = match &mut self.host {
                Host::Terminal(terminal) => Some(terminal.read(&mut chain.writable)?).filter(|&count| count > 0),
                Host::Program(program) => Some(program.read(&mut chain.writable)?).filter(|&count| count > 0),
                Host::Named(named) => named.read(&mut chain.writable)?,
            };
            match count {
                Some(count) => queue.complete(memory, chain.head(), count)?,
                None if chain.writable.is_empty() => queue.complete(memory, chain.head(), 0)?,
                None => {
                    queue.undo_pop();
                    break;
                }
            }
        }
        queue.announce(memory)
    }

    /// Passes on what the guest has put into queue `index`, as far as the host's side takes it.
    pub fn collect(&mut self, index: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(index) else { return Ok(()) };
        loop {
            queue.suppress_kicks(memory)?;
            while let Some(mut chain) = queue.pop(memory)? {
                chain.readable.skip(self.sent);
                let all = match &mut self.host {
                    Host::Terminal(terminal) => terminal.write(&mut chain.readable).map(|()| true)?,
                    Host::Program(program) => program.write(&mut chain.readable).map(|()| true)?,
                    Host::Named(named) => named.write(&mut chain.readable, &mut self.sent)?,
                };
                if !all {
                    // The rest goes when the program has read some; its socket tells.
                    queue.undo_pop();
                    return queue.announce(memory);
                }
                self.sent = 0;
                queue.complete(memory, chain.head(), 0)?;
            }
            queue.announce(memory)?;
            if !queue.want_kicks(memory)? {
                return Ok(());
            }
        }
    }
}

impl Host {
    fn may_have_input(&self) -> bool {
        match self {
            Self::Terminal(terminal) => terminal.has_input(),
            Self::Named(named) => named.stream.is_some(),
            Self::Program(program) => program.program().has_output(),
        }
    }
}

/// A port for a program of the host, which connects to a socket.
pub struct NamedPort {
    /// By which the guest knows it.
    pub name: String,
    listener: UnixListener,
    stream: Option<UnixStream>,
    /// A connection that has ended, until the thread no longer waits for it.
    ended: Option<UnixStream>,
    /// What the thread waits for now.
    watched: Watched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Nothing,
    Listener,
    Stream,
}

impl NamedPort {
    /// A port named `name`, for whoever connects to `listener`.
    pub fn new(name: String, listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { name, listener, stream: None, ended: None, watched: Watched::Nothing })
    }

    /// The thread has begun anew and waits for nothing.
    pub fn forget_watches(&mut self) {
        self.watched = Watched::Nothing;
        self.ended = None;
    }

    /// Takes a program that wants to connect, if there is none yet.
    pub fn accept(&mut self) {
        if self.stream.is_none()
            && let Ok((stream, _)) = self.listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            self.stream = Some(stream);
        }
    }

    /// Looks whether the program has gone. What it has sent before stays for the guest, if one in the guest listens.
    pub fn notice_end(&mut self, events: EventSet, listened_to: bool) {
        let Some(stream) = &self.stream else { return };
        let gone = events.contains(EventSet::HANG_UP) && !listened_to;
        let peeked = rustix::net::recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        if gone || matches!(peeked, Ok((_, 0))) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = self.stream.take();
    }

    /// Waits for a program, or for the one that is there. Returns whether one is, when that has changed.
    pub fn watch(&mut self, io: &mut Io<'_, '_>, listener: u16, stream: u16) -> io::Result<Option<bool>> {
        let before = self.watched;
        if let Some(ended) = self.ended.take().filter(|_| before == Watched::Stream) {
            io.remove_source(&ended)?;
        }
        let wanted = if self.stream.is_some() { Watched::Stream } else { Watched::Listener };
        if before == wanted {
            return Ok(None);
        }
        if before == Watched::Listener {
            io.remove_source(&self.listener)?;
        }
        match &self.stream {
            // Edge-triggered, since neither side's data need be taken at once.
            Some(peer) => {
                let events = EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
                io.add_source(peer, stream, events)?;
            }
            None => io.add_source(&self.listener, listener, EventSet::IN)?,
        }
        self.watched = wanted;
        Ok((before != Watched::Nothing).then_some(wanted == Watched::Stream))
    }

    /// Moves what the program has sent into `buffers`. `None` when there is nothing, for now or because it has gone.
    fn read(&mut self, buffers: &mut Buffers<'_>) -> Result<Option<usize>, QueueError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let mut piece = [0; PIECE];
        let room = buffers.len().min(PIECE);
        let piece = piece.get_mut(..room).unwrap_or_default();
        if piece.is_empty() {
            return Ok(None);
        }
        match retry(|| stream.read(piece)) {
            Ok(0) => {
                self.end();
                Ok(None)
            }
            Ok(count) => {
                buffers.write(piece.get(..count).unwrap_or_default())?;
                Ok(Some(count))
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.end();
                }
                Ok(None)
            }
        }
    }

    /// Sends what is in `buffers` and counts it in `sent`. Returns whether that was all. Without a program it goes nowhere.
    fn write(&mut self, buffers: &mut Buffers<'_>, sent: &mut usize) -> Result<bool, QueueError> {
        let mut piece = [0; PIECE];
        while !buffers.is_empty() {
            let Some(stream) = &mut self.stream else { return Ok(true) };
            // Looked at first and used up after, since the program may take a part of it.
            let Some(slice) = buffers.slices().first() else { return Ok(true) };
            let length = slice.copy_to(&mut piece[..]);
            match retry(|| stream.write(piece.get(..length).unwrap_or_default())) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    buffers.skip(count);
                    *sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(_) => self.end(),
            }
        }
        Ok(true)
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
