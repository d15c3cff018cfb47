//! A network without a network, for tests.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    sync::{Arc, Mutex},
};

use crate::vmm::{
    memory::GuestSlice,
    net::{FRAME_MAX, NetBackend, Offloads, Sent},
};

/// A back end over a pair of datagram sockets: one datagram is one frame.
pub struct Wire {
    socket: UnixDatagram,
    /// What it can do.
    pub offloads: Offloads,
    /// What the driver takes.
    pub accepted: Arc<Mutex<Offloads>>,
}

impl Wire {
    /// A back end, and the wire's other end.
    pub fn new() -> (UnixDatagram, Self) {
        let (socket, wire) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let offloads = Offloads { checksum: true, tso4: true, tso6: true, ecn: true };
        (wire, Self { socket, offloads, accepted: Arc::default() })
    }
}

impl NetBackend for Wire {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn accept(&mut self, offloads: Offloads) -> io::Result<()> {
        *self.accepted.lock().unwrap() = offloads;
        Ok(())
    }

    fn send(&mut self, frame: &[GuestSlice<'_>]) -> io::Result<Sent> {
        let mut bytes = vec![0; frame.iter().map(|slice| slice.len()).sum()];
        let mut done = 0;
        for slice in frame {
            done += slice.copy_to(&mut bytes[done..]);
        }
        match self.socket.send(&bytes) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            // What has no room is lost, as at a TAP interface.
            _ => Ok(Sent::Taken),
        }
    }

    fn receive(&mut self, buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>> {
        let mut bytes = vec![0; FRAME_MAX];
        let length = match self.socket.recv(&mut bytes) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut rest = &bytes[..length];
        for slice in buffers {
            let part = rest.len().min(slice.len());
            slice.copy_from(&rest[..part]);
            rest = &rest[part..];
        }
        Ok(Some(length - rest.len()))
    }
}
