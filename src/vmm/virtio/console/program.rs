//! A port whose host's side is a part of this process, as the terminal's is.

#![forbid(unsafe_code)]

use std::{io, sync::Arc};

use vmm_sys_util::{epoll::EventSet, eventfd::EventFd};

use crate::vmm::virtio::{
    queue::{Buffers, QueueError},
    worker::Io,
};

/// Bytes that are passed on at once.
const PIECE: usize = 4096;

/// What is at the host's side. None of its methods blocks.
pub trait PortProgram: Send + Sync {
    /// Written to when there is something new for the guest: output, or an end or beginning of [`Self::is_open`].
    fn news(&self) -> &EventFd;

    /// Whether the program has its side open. The guest is told.
    fn is_open(&self) -> bool;

    /// A program of the guest has opened the port, or has closed it: then what was under way is lost.
    fn guest_opened(&self, open: bool);

    /// The guest goes on from a saved state. If it has the port `open` it is in the midst of something that the program knows
    /// nothing of.
    fn restored(&self, open: bool);

    /// Takes what the guest has sent.
    fn receive(&self, bytes: &[u8]);

    /// Whether something waits for the guest.
    fn has_output(&self) -> bool;

    /// Moves what waits for the guest to the front of `buffer`, and returns how many bytes.
    fn take_output(&self, buffer: &mut [u8]) -> usize;
}

/// The port.
pub struct ProgramPort {
    /// By which the guest knows it.
    pub name: String,
    program: Arc<dyn PortProgram>,
    /// Whether the guest was told last that the host's side is open.
    told: bool,
}

impl ProgramPort {
    /// A port named `name`.
    pub fn new(name: String, program: Arc<dyn PortProgram>) -> Self {
        Self { name, program, told: false }
    }

    /// The program.
    pub fn program(&self) -> &dyn PortProgram {
        &*self.program
    }

    /// Waits for news as source `source`.
    pub fn watch(&self, io: &mut Io<'_, '_>, source: u16) -> io::Result<()> {
        io.add_source(self.program.news(), source, EventSet::IN | EventSet::EDGE_TRIGGERED)
    }

    /// Whether the host's side is open now, if the guest believes something else. It is told.
    pub fn change(&mut self) -> Option<bool> {
        let open = self.program.is_open();
        (std::mem::replace(&mut self.told, open) != open).then_some(open)
    }

    /// Moves output into `buffers` and returns how much.
    pub fn read(&self, buffers: &mut Buffers<'_>) -> Result<usize, QueueError> {
        let mut piece = [0; PIECE];
        let room = buffers.len().min(PIECE);
        let count = self.program.take_output(piece.get_mut(..room).unwrap_or_default()).min(room);
        buffers.write(piece.get(..count).unwrap_or_default())?;
        Ok(count)
    }

    /// Passes on what the guest has sent.
    pub fn write(&self, buffers: &mut Buffers<'_>) -> Result<(), QueueError> {
        let mut piece = [0; PIECE];
        while !buffers.is_empty() {
            let length = buffers.len().min(PIECE);
            let bytes = piece.get_mut(..length).unwrap_or_default();
            buffers.read(bytes)?;
            self.program.receive(bytes);
        }
        Ok(())
    }
}
