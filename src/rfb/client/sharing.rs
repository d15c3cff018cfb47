//! A connection over which descriptors come along: see [`memory`](crate::rfb::memory).

use crate::rfb::memory::receive;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// More descriptors than these do not wait for the messages that they belong to.
const MAX_WAITING: usize = 4;

/// The descriptors that have come, in their order.
#[derive(Debug, Default)]
pub(super) struct Received(Mutex<VecDeque<OwnedFd>>);

impl Received {
    fn queue(&self) -> MutexGuard<'_, VecDeque<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        self.queue().pop_front()
    }

    fn add(&self, descriptor: OwnedFd) -> io::Result<()> {
        let mut queue = self.queue();
        if queue.len() == MAX_WAITING {
            return Err(io::Error::other("the server sends descriptors without end"));
        }
        queue.push_back(descriptor);
        Ok(())
    }
}

/// A stream that keeps the descriptors which come with its bytes.
pub(super) struct Sharing {
    stream: UnixStream,
    received: Arc<Received>,
}

impl Sharing {
    /// Keeps them in `received`.
    pub(super) fn new(stream: UnixStream, received: Arc<Received>) -> Self {
        Self { stream, received }
    }
}

impl AsyncRead for Sharing {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let read = || receive(self.stream.as_fd(), buffer.initialize_unfilled());
            match self.stream.try_io(Interest::READABLE, read) {
                Ok((length, descriptor)) => {
                    descriptor.map_or(Ok(()), |descriptor| self.received.add(descriptor))?;
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Sharing {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{greeting, update, wire};
    use super::super::{Client, ClientError, Event, Options};
    use super::*;
    use crate::rfb::encoding::tests::noise;
    use crate::rfb::memory::{Memory, MemoryError, send_with};
    use crate::rfb::protocol::{Encoding, ProtocolError};
    use crate::screen::Rect;
    use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
    use std::os::fd::BorrowedFd;
    use tokio::sync::mpsc::Receiver;

    /// A server that says what we want, with what we want.
    struct Server(UnixStream);

    impl Server {
        async fn connect(width: u16, height: u16) -> (Self, Client, Receiver<Event>) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut server = Self(ours);
            server.say(&greeting(width, height), None).await;
            let (client, events) = Client::connect_sharing(theirs, Options::local()).await.unwrap();
            (server, client, events)
        }

        async fn say(&mut self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) {
            // All that is said here fits into the socket.
            self.0.writable().await.unwrap();
            let stream = self.0.as_fd().try_clone_to_owned().unwrap().into();
            match descriptor {
                Some(descriptor) => send_with(&stream, bytes, descriptor).unwrap(),
                None => std::io::Write::write_all(&mut &stream, bytes).unwrap(),
            }
        }
    }

    const SCREEN: (crate::rfb::protocol::WireRect, Encoding, &[u8]) =
        (wire(0, 0, 16, 16), Encoding::SHARED_MEMORY, &[]);
    const NEWS: (crate::rfb::protocol::WireRect, Encoding, &[u8]) = (wire(4, 0, 8, 16), Encoding::IN_MEMORY, &[]);

    fn memfd(length: u64, seals: SealFlags) -> OwnedFd {
        let file = std::fs::File::from(rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap());
        file.set_len(length).unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        file.into()
    }

    /// What becomes of a server that says this.
    async fn refusal(bytes: &[u8], descriptor: Option<OwnedFd>) -> ClientError {
        let (mut server, _client, mut events) = Server::connect(16, 16).await;
        server.say(bytes, descriptor.as_ref().map(AsFd::as_fd)).await;
        match events.recv().await {
            Some(Event::Closed(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_picture_is_in_the_memory_that_has_come() {
        let (mut server, client, mut events) = Server::connect(16, 16).await;
        let (memory, descriptor) = Memory::create(16, 16).unwrap();
        let picture = noise(1, 16, 16, 500, 1);
        memory.write(&picture, Rect { x: 0, y: 0, width: 16, height: 16 });

        server.say(&update(&[SCREEN, NEWS]), Some(descriptor.as_fd())).await;

        let damage = events.recv().await;
        assert!(matches!(damage, Some(Event::Damaged(rects)) if rects == [Rect { x: 4, y: 0, width: 8, height: 16 }]));
        assert!(client.with_picture(|seen| *seen == picture));
        let pixels = client.pixels();
        assert_eq!((client.size(), pixels.width, pixels.height, pixels.bytes.len()), ((16, 16), 16, 16, 1024));
        let corner = client.pixels_of(Rect { x: 14, y: 15, width: 9, height: 9 }).unwrap();
        assert_eq!((corner.width, corner.height, &corner.bytes[..]), (2, 1, &pixels.bytes[1016..]));
        assert_eq!(client.pixels_of(Rect { x: 16, y: 0, width: 1, height: 1 }), None);
        let shared = client.shared_pixels().expect("it is shared");
        assert_eq!(shared.size(), (16, 16));
        assert!(client.shared_pixels() == Some(shared), "the same memory as long as the size is the same");

        server.say(&update(&[(wire(0, 0, 8, 8), Encoding::DESKTOP_SIZE, &[])]), None).await;
        assert!(matches!(events.recv().await, Some(Event::Resized { width: 8, height: 8 })));
        assert_eq!(client.pixels().bytes, [0; 256], "the memory was that of the old size");
        assert!(client.shared_pixels().is_none());
        server.say(&update(&[(wire(0, 0, 1, 1), Encoding::RAW, &[1, 2, 3, 4])]), None).await;
        assert!(matches!(events.recv().await, Some(Event::Damaged(_))));
        assert_eq!(client.pixels().bytes[..8], [1, 2, 3, 0, 0, 0, 0, 0]);
        let corner = client.pixels_of(Rect { x: 0, y: 0, width: 1, height: 2 }).unwrap();
        assert_eq!(corner.bytes, [1, 2, 3, 0, 0, 0, 0, 0]);
    }

    #[tokio::test]
    async fn memory_that_is_none_or_of_another_size_is_refused() {
        let good = || Some(memfd(1024, SealFlags::SHRINK));
        let news = update(&[SCREEN]);

        let unsealed = refusal(&news, Some(memfd(1024, SealFlags::empty()))).await;
        assert!(matches!(unsealed, ClientError::Memory(MemoryError::NotSealed)), "{unsealed}");
        let small = refusal(&news, Some(memfd(1023, SealFlags::SHRINK))).await;
        assert!(matches!(small, ClientError::Memory(MemoryError::TooSmall)), "{small}");
        let pipe = refusal(&news, Some(std::io::pipe().unwrap().0.into())).await;
        assert!(matches!(pipe, ClientError::Memory(MemoryError::NotSealed)), "{pipe}");
        let none = refusal(&news, None).await;
        assert!(matches!(none, ClientError::Protocol(ProtocolError::Malformed(_))), "{none}");
        for rect in
            [wire(0, 0, 16, 17), wire(0, 0, 8, 8), wire(1, 0, 16, 16), wire(0, 0, 0, 0), wire(0, 0, 65535, 65535)]
        {
            let other = refusal(&update(&[(rect, Encoding::SHARED_MEMORY, &[])]), good()).await;
            assert!(matches!(other, ClientError::Protocol(ProtocolError::Malformed(_))), "{other}");
        }
        let outside = update(&[SCREEN, (wire(9, 0, 8, 1), Encoding::IN_MEMORY, &[])]);
        assert!(matches!(refusal(&outside, good()).await, ClientError::Decode(_)));
        let early = refusal(&update(&[NEWS]), None).await;
        assert!(matches!(early, ClientError::UnknownEncoding(Encoding::IN_MEMORY)), "{early}");
    }

    #[tokio::test]
    async fn memory_that_is_emptied_or_rewritten_reads_as_what_it_is() {
        let (mut server, client, mut events) = Server::connect(16, 16).await;
        let memory = memfd(1024, SealFlags::SHRINK);
        server.say(&update(&[SCREEN, NEWS]), Some(memory.as_fd())).await;
        events.recv().await;

        rustix::io::pwrite(&memory, &[0xAB; 1024], 0).unwrap();
        assert_eq!(client.pixels().bytes, [0xAB; 1024]);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&memory, hole, 0, 1024).unwrap();
        assert!(rustix::fs::ftruncate(&memory, 0).is_err());
        assert_eq!(client.pixels().bytes, [0; 1024]);
    }

    #[tokio::test]
    async fn descriptors_without_end_or_use_are_not_collected() {
        let (mut server, _client, mut events) = Server::connect(16, 16).await;
        let memory = memfd(1024, SealFlags::SHRINK);

        for _ in 0..=MAX_WAITING {
            server.say(&[2], Some(memory.as_fd())).await;
        }

        while !matches!(events.recv().await, Some(Event::Closed(ClientError::Protocol(ProtocolError::Io(_))))) {}
    }

    #[tokio::test]
    async fn whoever_does_not_share_takes_no_memory() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut server = Server(ours);
        server.say(&greeting(16, 16), None).await;
        let (_client, mut events) = Client::connect(theirs, Options::local()).await.unwrap();

        server.say(&update(&[SCREEN]), Some(memfd(1024, SealFlags::SHRINK).as_fd())).await;

        let refused = events.recv().await;
        assert!(matches!(refused, Some(Event::Closed(ClientError::UnknownEncoding(Encoding::SHARED_MEMORY)))));
    }
}
