//! A program behind a Unix stream socket as a back end: each frame goes with its length before it, four bytes in network order,
//! as with `passt` and with QEMU's `-netdev stream`.
//!
//! The program may end and another take its place: whoever looks after it hands over a new stream through a socket of its own,
//! the feed, as a message with one file descriptor (unix(7), `SCM_RIGHTS`). Without a stream frames go nowhere, and the guest's
//! link stays as it is. A stream on which something comes that cannot be a frame is given up.

use std::{
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};

use super::{FRAME_MAX, HEADER_SIZE, NetBackend, Offloads, Sent, fill};
use crate::vmm::memory::GuestSlice;

/// Bytes of the length before each frame.
pub const PREFIX: usize = 4;
/// The longest frame, without a header.
pub const LONGEST: usize = FRAME_MAX - HEADER_SIZE;
/// What is read at a time: many small frames, or a few long ones.
const BUFFER: usize = 2 * (PREFIX + LONGEST);
/// The most pieces of a message: the kernel's limit.
const PIECES_MAX: usize = libc::UIO_MAXIOV as usize;

/// Hands a stream over through the other end of a feed.
pub fn hand_over(feed: &impl AsFd, stream: &impl AsFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [stream.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(feed, &[io::IoSlice::new(&[0])], &mut ancillary, flags))?;
    Ok(())
}

/// Takes a stream that was handed over through `feed`; `None` when there was something else in the message. An error of the kind
/// `UnexpectedEof` means that nobody is at the other end any more.
pub fn take_over(feed: &impl AsFd) -> io::Result<Option<UnixStream>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(feed, &mut [io::IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let stream = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(stream.map(UnixStream::from))
}

/// The back end.
pub struct Stream {
    // Fixed configuration
    mtu: u16,
    // Wiring
    feed: OwnedFd,
    /// Holds the stream, or the feed while there is none.
    incoming: OwnedFd,
    /// Holds the stream while it is full.
    outgoing: OwnedFd,
    // Volatile state
    stream: Option<UnixStream>,
    input: Input,
    /// The rest of a frame that the stream took in part.
    unsent: Vec<u8>,
    /// Whether the stream is in `outgoing`.
    is_full: bool,
    pieces: Vec<libc::iovec>,
}

// SAFETY: the pieces are filled and used within one call; between calls nothing reads them.
unsafe impl Send for Stream {}

/// What has been read and not been given to the guest yet.
#[derive(Default)]
struct Input {
    /// Empty until there is something to read: a card that is not used takes no memory.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Next<'a> {
    Frame(&'a [u8]),
    /// More has to be read first.
    Nothing,
    /// No frame has this length.
    Impossible(usize),
}

impl Input {
    /// The length of the next frame, if it is known.
    fn length(&self) -> Option<usize> {
        let waiting = self.bytes.get(self.start..self.end)?;
        let prefix: [u8; PREFIX] = *waiting.first_chunk()?;
        Some(usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX))
    }

    /// Whether the next frame is there with all its bytes, or is an impossible one.
    fn has_frame(&self) -> bool {
        let waiting = self.end - self.start;
        self.length().is_some_and(|length| length > LONGEST || waiting - PREFIX >= length)
    }

    /// Takes the next frame out.
    fn next(&mut self) -> Next<'_> {
        match self.length() {
            Some(length) if length > LONGEST => Next::Impossible(length),
            Some(length) if self.end - self.start - PREFIX >= length => {
                let begin = self.start + PREFIX;
                self.start = begin + length;
                Next::Frame(self.bytes.get(begin..self.start).unwrap_or_default())
            }
            _ => Next::Nothing,
        }
    }

    /// Where to read to: there is always room for a whole frame.
    fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; BUFFER];
        }
        if self.start > 0 {
            // What waits here is less than a frame.
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }
}

impl Stream {
    /// A back end whose streams come through `feed`, a SEQPACKET socket, and take packets of up to `mtu` bytes.
    pub fn new(feed: OwnedFd, mtu: u16) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&feed, true)?;
        let [incoming, outgoing] = [epoll::create(CreateFlags::CLOEXEC)?, epoll::create(CreateFlags::CLOEXEC)?];
        watch(&incoming, &feed, EventFlags::IN)?;
        Ok(Self {
            mtu,
            feed,
            incoming,
            outgoing,
            stream: None,
            input: Input::default(),
            unsent: Vec::new(),
            is_full: false,
            pieces: Vec::new(),
        })
    }

    /// Takes a stream from the feed, if one waits. Returns whether there is one.
    fn take_stream(&mut self) -> io::Result<bool> {
        if self.stream.is_some() {
            return Ok(true);
        }
        let stream = match take_over(&self.feed) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // What has no stream now will have none.
                forget(&self.incoming, &self.feed);
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(stream) = stream else { return Ok(false) };
        // What is no stream is let go.
        let watched = stream.set_nonblocking(true).and_then(|()| watch(&self.incoming, &stream, EventFlags::IN));
        if watched.is_ok() {
            forget(&self.incoming, &self.feed);
            self.stream = Some(stream);
        }
        Ok(watched.is_ok())
    }

    /// Gives the stream up and waits for another.
    fn lose(&mut self, why: impl std::fmt::Display) -> io::Result<()> {
        if let Some(stream) = self.stream.take() {
            tracing::info!("the network's stream has ended ({why}): frames go nowhere until there is another");
            forget(&self.incoming, &stream);
            forget(&self.outgoing, &stream);
            watch(&self.incoming, &self.feed, EventFlags::IN)?;
        }
        self.is_full = false;
        self.input = Input::default();
        self.unsent = Vec::new();
        Ok(())
    }

    /// Reads as much as there is room for. Returns whether anything came.
    fn read(&mut self) -> io::Result<bool> {
        while self.take_stream()? {
            let Some(stream) = &self.stream else { break };
            match rustix::io::retry_on_intr(|| rustix::io::read(stream, self.input.room())) {
                Ok(0) => self.lose("its other end was closed")?,
                Ok(length) => {
                    self.input.end += length;
                    return Ok(true);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(error) => self.lose(error)?,
            }
        }
        Ok(false)
    }

    /// Sends all pieces in one call; returns how many bytes the stream took.
    fn send_pieces(&mut self) -> io::Result<usize> {
        let Some(stream) = &self.stream else { return Err(io::ErrorKind::BrokenPipe.into()) };
        // SAFETY: all of it are plain numbers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = self.pieces.as_mut_ptr();
        message.msg_iovlen = self.pieces.len();
        // SAFETY: the pieces are the caller's prefix and guest memory that stays mapped while the caller borrows it; the kernel only
        // reads them, and nothing else is in the message.
        let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for room, or no longer does.
    fn set_full(&mut self, full: bool) -> io::Result<()> {
        if let Some(stream) = self.stream.as_ref().filter(|_| full != self.is_full) {
            match full {
                true => watch(&self.outgoing, stream, EventFlags::OUT)?,
                false => forget(&self.outgoing, stream),
            }
            self.is_full = full;
        }
        Ok(())
    }
}

impl NetBackend for Stream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.incoming.as_fd()
    }

    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn accept(&mut self, _offloads: Offloads) -> io::Result<()> {
        Ok(())
    }

    fn mtu(&self) -> Option<u16> {
        Some(self.mtu)
    }

    fn send(&mut self, frame: &[GuestSlice<'_>]) -> io::Result<Sent> {
        if !self.flush()? {
            return Ok(Sent::Full);
        }
        let total = frame.iter().map(|slice| slice.len()).sum::<usize>();
        // Cut off, it would be taken for the beginning of another.
        if !self.take_stream()? || total < HEADER_SIZE || frame.len() >= PIECES_MAX {
            return Ok(Sent::Taken);
        }
        let length = total - HEADER_SIZE;
        let Ok(Ok(prefix)) = u32::try_from(length).map(|length| Ok::<_, ()>(length.to_be_bytes())) else {
            return Ok(Sent::Taken);
        };
        self.pieces.clear();
        self.pieces.push(libc::iovec { iov_base: prefix.as_ptr().cast_mut().cast(), iov_len: PREFIX });
        let content = without(HEADER_SIZE, frame);
        self.pieces.extend(
            content
                .iter()
                .map(|slice| libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() }),
        );
        match self.send_pieces() {
            Ok(sent) if sent == PREFIX + length => {}
            Ok(sent) => {
                self.unsent.extend(prefix.iter().skip(sent));
                for slice in without(sent.saturating_sub(PREFIX), &content) {
                    let start = self.unsent.len();
                    self.unsent.resize(start + slice.len(), 0);
                    slice.copy_to(self.unsent.get_mut(start..).unwrap_or_default());
                }
                self.set_full(true)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.set_full(true)?;
                return Ok(Sent::Full);
            }
            Err(error) => self.lose(error)?,
        }
        Ok(Sent::Taken)
    }

    fn room(&self) -> Option<BorrowedFd<'_>> {
        Some(self.outgoing.as_fd())
    }

    fn flush(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            self.pieces.clear();
            self.pieces.push(libc::iovec { iov_base: self.unsent.as_mut_ptr().cast(), iov_len: self.unsent.len() });
            match self.send_pieces() {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.set_full(true)?;
                    return Ok(false);
                }
                Err(error) => self.lose(error)?,
            }
        }
        self.set_full(false)?;
        Ok(true)
    }

    fn receive(&mut self, buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>> {
        loop {
            match self.input.next() {
                // Nobody needs it, but it does no harm.
                Next::Frame([]) => {}
                Next::Frame(frame) => {
                    let header = fill(buffers, 0, &[0; HEADER_SIZE]);
                    return Ok(Some(header + fill(buffers, header, frame)));
                }
                Next::Impossible(length) => self.lose(format_args!("it says that a frame has {length} bytes"))?,
                Next::Nothing => {
                    if !self.read()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn holds_frames(&self) -> bool {
        self.input.has_frame()
    }
}

/// What `slices` hold behind the first `skipped` bytes.
fn without<'a>(skipped: usize, slices: &[GuestSlice<'a>]) -> Vec<GuestSlice<'a>> {
    let mut left = skipped;
    let rest = slices.iter().filter_map(|slice| {
        let now = left.min(slice.len());
        left -= now;
        slice.offset(now).ok().filter(|slice| !slice.is_empty())
    });
    rest.collect()
}

fn watch(epoll: &OwnedFd, what: &impl AsFd, events: EventFlags) -> io::Result<()> {
    match epoll::add(epoll, what, EventData::new_u64(0), events) {
        // It is watched already.
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn forget(epoll: &OwnedFd, what: &impl AsFd) {
    // It may not be watched.
    let _ = epoll::delete(epoll, what);
}

#[cfg(test)]
mod tests;
