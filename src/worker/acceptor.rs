//! Takes connections from a listening socket inside a loop that waits for several things.

#![forbid(unsafe_code)]

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags};

/// How long a socket is left alone after an error: those that do not pass by themselves (no file descriptors left) would
/// otherwise keep the loop busy.
const PAUSE: Duration = Duration::from_secs(1);

/// A listening socket that does not block.
pub struct Acceptor {
    listener: UnixListener,
    resume: Option<Instant>,
}

impl Acceptor {
    /// Takes over a listening socket.
    pub fn new(listener: OwnedFd) -> io::Result<Self> {
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        Ok(Self { listener, resume: None })
    }

    /// What to wait for: nothing, while the socket is left alone.
    pub fn interest(&mut self) -> PollFd<'_> {
        let paused = self.resume.is_some_and(|resume| Instant::now() < resume);
        if !paused {
            self.resume = None;
        }
        PollFd::new(&self.listener, if paused { PollFlags::empty() } else { PollFlags::IN })
    }

    /// How long the loop may wait at most, to look at the socket again.
    pub fn patience(&self) -> Option<Duration> {
        self.resume.map(|resume| resume.saturating_duration_since(Instant::now()))
    }

    /// The next connection, if there is one.
    pub fn accept(&mut self) -> Option<UnixStream> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => None,
            Err(error) => {
                tracing::warn!("a connection could not be taken: {error}");
                self.resume = Some(Instant::now() + PAUSE);
                None
            }
        }
    }
}
