//! The host's side of the terminal: output goes to whoever keeps its history, input waits in a bounded queue.

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vmm_sys_util::{epoll::EventSet, eventfd::EventFd};

use crate::vmm::{
    devices::serial::{SerialInput, SerialOutput},
    virtio::{
        queue::{Buffers, QueueError},
        worker::Io,
    },
};

/// Bytes that wait for a guest that does not read.
const BACKLOG: usize = 64 * 1024;
/// Bytes that are passed on at once.
const PIECE: usize = 1024;

/// The terminal.
pub struct Terminal {
    output: Box<dyn SerialOutput>,
    input: Arc<TerminalInput>,
}

/// The way into the terminal.
pub struct TerminalInput {
    room: EventFd,
    /// Wakes the device's thread.
    filled: EventFd,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    bytes: VecDeque<u8>,
    room_wanted: bool,
}

impl Terminal {
    /// A terminal that shows on `output`.
    pub fn new(output: Box<dyn SerialOutput>) -> io::Result<Self> {
        let event = || EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        let input = TerminalInput { room: event()?, filled: event()?, queue: Mutex::default() };
        Ok(Self { output, input: Arc::new(input) })
    }

    /// The way in.
    pub fn input(&self) -> Arc<TerminalInput> {
        self.input.clone()
    }

    /// Waits for input as source `source`.
    pub fn watch(&self, io: &mut Io<'_, '_>, source: u16) -> io::Result<()> {
        io.add_source(&self.input.filled, source, EventSet::IN | EventSet::EDGE_TRIGGERED)
    }

    /// Whether something waits for the guest.
    pub fn has_input(&self) -> bool {
        !self.input.lock().bytes.is_empty()
    }

    /// Moves input into `buffers` and returns how much.
    pub fn read(&self, buffers: &mut Buffers<'_>) -> Result<usize, QueueError> {
        let mut queue = self.input.lock();
        let count = buffers.len().min(queue.bytes.len());
        let (front, back) = queue.bytes.as_slices();
        let from_front = count.min(front.len());
        buffers.write(front.get(..from_front).unwrap_or_default())?;
        buffers.write(back.get(..count - from_front).unwrap_or_default())?;
        queue.bytes.drain(..count);
        if queue.room_wanted && queue.bytes.len() <= BACKLOG / 2 {
            queue.room_wanted = false;
            // The counter cannot overflow: it grows once for each time that someone has found the queue full.
            let _ = self.input.room.write(1);
        }
        Ok(count)
    }

    /// Passes on what the guest has written.
    pub fn write(&mut self, buffers: &mut Buffers<'_>) -> Result<(), QueueError> {
        let mut piece = [0; PIECE];
        while !buffers.is_empty() {
            let length = buffers.len().min(PIECE);
            let bytes = piece.get_mut(..length).unwrap_or_default();
            buffers.read(bytes)?;
            self.output.write(bytes);
        }
        Ok(())
    }
}

impl TerminalInput {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for the guest.
    pub fn waiting(&self) -> Vec<u8> {
        self.lock().bytes.iter().copied().collect()
    }

    /// Takes over what waited; `false` when it is too much.
    pub fn restore(&self, bytes: Vec<u8>) -> bool {
        let fits = bytes.len() <= BACKLOG;
        if fits {
            self.lock().bytes = bytes.into();
        }
        fits
    }
}

impl SerialInput for TerminalInput {
    fn enqueue(&self, bytes: &[u8]) -> usize {
        let mut queue = self.lock();
        let taken = bytes.len().min(BACKLOG.saturating_sub(queue.bytes.len()));
        queue.bytes.extend(bytes.iter().take(taken));
        queue.room_wanted |= taken < bytes.len();
        drop(queue);
        // Nobody has to read it: each write is an edge. A counter that is full has been written to long enough.
        let _ = self.filled.write(1);
        taken
    }

    fn room(&self) -> &EventFd {
        &self.room
    }
}
