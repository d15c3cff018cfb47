//! A network card that is connected to nothing.

#![forbid(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::EventfdFlags;

use super::{NetBackend, Offloads, Sent};
use crate::vmm::memory::GuestSlice;

/// The back end: what is sent is gone, and nothing comes.
pub struct NoNetwork {
    /// Never readable.
    silence: OwnedFd,
}

impl NoNetwork {
    /// Nothing.
    pub fn new() -> io::Result<Self> {
        Ok(Self { silence: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }
}

impl NetBackend for NoNetwork {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.silence.as_fd()
    }

    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn accept(&mut self, _offloads: Offloads) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, _frame: &[GuestSlice<'_>]) -> io::Result<Sent> {
        Ok(Sent::Taken)
    }

    fn receive(&mut self, _buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>> {
        Ok(None)
    }
}
