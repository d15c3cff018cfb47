//! The host's face of the socket device: what a program says on `vsock.sock` before bytes flow.
//!
//! One line, at most [`LINE_MAX`] bytes, in ASCII:
//!
//! - `CONNECT port`: connect me to that port of the guest. Answered by `OK hostport` once the guest has accepted; then the
//!   socket carries the stream. Refused by closing.
//! - `LISTEN port`: give me the guest's connections to that port of the host. Answered by `OK port`; then each connection comes
//!   as a file descriptor (SCM_RIGHTS) with the one byte `+`. Ends when the program closes its end.
//!
//! So the worker needs no name of a file in either direction. `CONNECT` is as Firecracker and cloud-hypervisor have it.

#![forbid(unsafe_code)]

use std::{
    io::{self, IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixStream},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// The longest line, with its line feed, in bytes.
pub const LINE_MAX: usize = 32;

/// What a program asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A connection to this port of the guest.
    Connect(u32),
    /// The guest's connections to this port of the host.
    Listen(u32),
}

/// A program that has not said its line yet.
pub struct Greeting {
    stream: UnixStream,
    line: Vec<u8>,
}

/// How far a greeting is.
pub enum Progress {
    /// The line is not complete.
    Waiting(Greeting),
    /// The program has said what it wants.
    Understood(Wish, UnixStream),
    /// The program has gone, or speaks another language.
    Refused,
}

impl Greeting {
    /// A program that has just connected; `stream` is non-blocking.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, line: Vec::new() }
    }

    /// Reads what has come. Not a byte more than the line is read: what follows belongs to the stream.
    pub fn advance(mut self) -> Progress {
        let mut byte = [0];
        while self.line.len() < LINE_MAX {
            match self.stream.read(&mut byte) {
                Ok(1) if byte == *b"\n" => {
                    return parse(&self.line).map_or(Progress::Refused, |wish| Progress::Understood(wish, self.stream));
                }
                Ok(1) => self.line.extend(byte),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waiting(self),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return Progress::Refused,
            }
        }
        Progress::Refused
    }
}

fn parse(line: &[u8]) -> Option<Wish> {
    let line = std::str::from_utf8(line).ok()?;
    let (verb, port) = line.trim_end_matches('\r').split_once(' ')?;
    let port = port.parse().ok()?;
    match verb {
        "CONNECT" => Some(Wish::Connect(port)),
        "LISTEN" => Some(Wish::Listen(port)),
        _ => None,
    }
}

/// A program that takes the guest's connections to a port.
pub struct Listener {
    stream: UnixStream,
}

impl Listener {
    /// Tells the program that it listens now.
    pub fn new(mut stream: UnixStream, port: u32) -> io::Result<Self> {
        writeln!(stream, "OK {port}").map(|()| Self { stream })
    }

    /// Makes a connection: the program gets one end, the other is returned, non-blocking.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let descriptors = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.stream, &[IoSlice::new(b"+")], &mut ancillary, flags)?;
        Ok(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> (Greeting, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Greeting::new(ours), theirs)
    }

    #[test]
    fn a_line_may_come_in_pieces_and_what_follows_stays_in_the_stream() {
        let (greeting, mut program) = greeting();
        program.write_all(b"CONN").unwrap();
        let Progress::Waiting(greeting) = greeting.advance() else { panic!("not a whole line yet") };
        program.write_all(b"ECT 52\nhello").unwrap();

        let Progress::Understood(wish, mut stream) = greeting.advance() else { panic!("a whole line") };

        let mut rest = [0; 5];
        stream.read_exact(&mut rest).unwrap();
        assert_eq!((wish, &rest), (Wish::Connect(52), b"hello"));
    }

    #[test]
    fn other_languages_are_refused() {
        for line in
            ["GET / HTTP/1.1\n", "CONNECT\n", "CONNECT -1\n", "CONNECT 4294967296\n", "\n", &"9".repeat(LINE_MAX)]
        {
            let (greeting, mut program) = greeting();
            program.write_all(line.as_bytes()).unwrap();

            assert!(matches!(greeting.advance(), Progress::Refused), "{line:?}");
        }
    }

    #[test]
    fn a_program_that_hangs_up_is_refused() {
        let (greeting, program) = greeting();
        drop(program);

        assert!(matches!(greeting.advance(), Progress::Refused));
    }

    #[test]
    fn a_listener_gets_each_connection_as_a_descriptor() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let listener = Listener::new(ours, 7).unwrap();

        let mut device_end = listener.connect().unwrap();

        let mut answer = [0; 5];
        (&theirs).read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"OK 7\n");
        let mut program_end = received(&theirs);
        program_end.write_all(b"hi").unwrap();
        let mut heard = [0; 2];
        device_end.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hi");
    }

    fn received(stream: &UnixStream) -> UnixStream {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(stream, &mut [io::IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::empty()).unwrap();
        assert_eq!(&byte, b"+");
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        UnixStream::from(descriptor.expect("a descriptor"))
    }
}
