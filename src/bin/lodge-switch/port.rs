//! A card's end of the switch: a stream of frames, each with its length before it (as in [`lodge::vmm::net::stream`]).

#![forbid(unsafe_code)]

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

use lodge::vmm::net::stream::{LONGEST, PREFIX};

/// The shortest frame: two addresses and a type.
pub const SHORTEST: usize = 14;
/// What is read at a time, in bytes: many small frames, or a few long ones.
const BUFFER: usize = 2 * (PREFIX + LONGEST);
/// Bytes that wait for a card that is slow, above which frames for it are dropped, as on a wire.
pub const WAITING_MAX: usize = 1 << 20;
/// Frames to everybody that a card may send in a second, and at once after a pause.
const FLOODS: (f64, f64) = (2000.0, 2000.0);

/// What a card has sent and was not looked at yet.
#[derive(Default)]
pub struct Input {
    bytes: Vec<u8>,
    end: usize,
}

/// See the module.
pub struct Port {
    stream: UnixStream,
    input: Input,
    /// Frames for the card, as they go over the stream.
    waiting: Vec<u8>,
    /// Frames to everybody that it may send now.
    floods: f64,
    counted: Instant,
}

impl Port {
    /// A port with this stream to its card.
    pub fn new(stream: UnixStream, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: Input::default(), waiting: Vec::new(), floods: FLOODS.1, counted: now })
    }

    /// Takes what the card has sent; [`Port::give_back`] follows. `None` when it has closed the stream.
    pub fn take(&mut self) -> io::Result<Option<Input>> {
        let Input { bytes, end } = &mut self.input;
        bytes.resize(BUFFER, 0);
        match self.stream.read(bytes.get_mut(*end..).unwrap_or_default()) {
            Ok(0) => return Ok(None),
            Ok(length) => *end += length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(Some(std::mem::take(&mut self.input)))
    }

    /// Keeps what is behind the first `done` bytes for later.
    pub fn give_back(&mut self, mut input: Input, done: usize) {
        input.bytes.copy_within(done..input.end, 0);
        input.end -= done;
        if input.end == 0 {
            // A card that is silent takes no memory.
            input.bytes = Vec::new();
        }
        self.input = input;
    }

    /// Adds a frame to those for the card; `false` when it was dropped, as too many wait.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Ok(length) = u32::try_from(frame.len()) else { return false };
        if self.waiting.len() + PREFIX + frame.len() > WAITING_MAX {
            return false;
        }
        self.waiting.extend(length.to_be_bytes());
        self.waiting.extend(frame);
        true
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = self.waiting.get(done..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(length) => done += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.waiting.drain(..done);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        Ok(())
    }

    /// Whether frames wait for the card.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Counts a frame to everybody; `false` when there were too many.
    pub fn may_flood(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.floods = (self.floods + passed * FLOODS.0).min(FLOODS.1);
        let may = self.floods >= 1.0;
        if may {
            self.floods -= 1.0;
        }
        may
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What comes next of an [`Input`].
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame, and how many bytes are done with it.
    Frame(&'a [u8], usize),
    /// More has to be read first.
    Nothing,
    /// No frame has this length.
    Impossible(usize),
}

impl Input {
    /// What comes behind the first `done` bytes.
    pub fn next(&self, done: usize) -> Next<'_> {
        let waiting = self.bytes.get(done..self.end).unwrap_or_default();
        let Some((prefix, behind)) = waiting.split_first_chunk::<PREFIX>() else { return Next::Nothing };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Next::Impossible(length);
        }
        match behind.get(..length) {
            Some(frame) => Next::Frame(frame, done + PREFIX + length),
            None => Next::Nothing,
        }
    }
}
