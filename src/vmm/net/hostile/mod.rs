//! Attacks on network cards, by their guests and by what they are connected to: what both cards' attackers have in common. Chance
//! plays them in tests, and a fuzzer (`fuzz/` has its targets) when somebody runs it.

mod frames;

use std::{
    io::{ErrorKind, Read, Write},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

#[cfg(test)]
pub use frames::each_attack;
pub use frames::{Choices, frame};

use super::{
    FRAME_MAX, HEADER_SIZE, NetBackend,
    finishing::Finishing,
    stream::{LONGEST, PREFIX, Stream, hand_over},
    testing::Wire,
};
use crate::vmm::limits::{Limit, Limits};

/// What an honest driver sends in the end. It is long enough for every wire.
pub const HONEST: &[u8] = b"an honest frame of sixty bytes, as a wire wants to have them";

/// The other end of what the card is connected to.
pub enum Far {
    Wire(UnixDatagram),
    Stream { stream: UnixStream, feed: OwnedFd, waiting: Vec<u8> },
}

impl Far {
    /// One of all kinds, and what the card gets.
    pub fn choose(choices: &mut Choices<'_>) -> (Self, Box<dyn NetBackend>) {
        match choices.byte() % 3 {
            0 => Self::wire(),
            kind => Self::stream(kind == 1),
        }
    }

    fn wire() -> (Self, Box<dyn NetBackend>) {
        let (wire, backend) = Wire::new();
        wire.set_nonblocking(true).unwrap();
        (Self::Wire(wire), Box::new(backend))
    }

    /// A stream that is one's own, or one that a card was switched to whose driver leaves checksums and division to it.
    fn stream(finishing: bool) -> (Self, Box<dyn NetBackend>) {
        let flags = SocketFlags::CLOEXEC;
        let (feed, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let backend: Box<dyn NetBackend> = Box::new(Stream::new(theirs, 32_768).unwrap());
        let far = Self::Stream { stream: Self::connect(&feed), feed, waiting: Vec::new() };
        (far, if finishing { Box::new(Finishing::new(backend)) } else { backend })
    }

    fn connect(feed: &OwnedFd) -> UnixStream {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        hand_over(feed, &theirs).unwrap();
        stream
    }

    /// Takes what has come from the card; says whether the honest frame was there. Whatever comes is a frame.
    pub fn drain(&mut self) -> bool {
        let mut is_honest = false;
        match self {
            Self::Wire(wire) => {
                let mut bytes = vec![0; FRAME_MAX + 1];
                while let Ok(length) = wire.recv(&mut bytes) {
                    assert!((HEADER_SIZE..=FRAME_MAX).contains(&length), "{length} bytes are no frame");
                    is_honest |= bytes[HEADER_SIZE..length] == *HONEST;
                }
            }
            Self::Stream { stream, waiting, .. } => {
                match stream.read_to_end(waiting) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => panic!("the card has given its stream up: {other:?}"),
                }
                let mut done = 0;
                while let Some((prefix, behind)) = waiting[done..].split_first_chunk::<PREFIX>() {
                    let length = u32::from_be_bytes(*prefix) as usize;
                    assert!(length <= LONGEST, "{length} bytes are no frame");
                    let Some(frame) = behind.get(..length) else { break };
                    is_honest |= frame == HONEST;
                    done += PREFIX + length;
                }
                waiting.drain(..done);
            }
        }
        is_honest
    }

    /// Has something come for the card, which may be no frame.
    pub fn send(&mut self, frame: &[u8], is_torn: bool) {
        // There may be no room.
        match self {
            Self::Wire(wire) => drop(wire.send(frame)),
            Self::Stream { stream, feed, waiting } => {
                let content = frame.get(HEADER_SIZE..).unwrap_or_default();
                let length = content.len() as u32 + u32::from(is_torn);
                let written = stream.write(&[&length.to_be_bytes()[..], content].concat());
                if is_torn || written.is_ok_and(|written| written < PREFIX + content.len()) {
                    // What comes next could not be told from this.
                    *stream = Self::connect(feed);
                    waiting.clear();
                }
            }
        }
    }
}

/// Limits for a card: none, hardly anything, few, or more than anybody has.
pub fn limits(choices: &mut Choices<'_>) -> Limits {
    Limits { bytes: Limit::of(choices.one_of(&[0, 1, 1000, 1 << 40])), ..Limits::default() }
}
