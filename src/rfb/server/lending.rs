//! The memory in which one viewer on this machine finds its pixels: see [`memory`](crate::rfb::memory).

use crate::rfb::memory::{Memory, MemoryError};
use crate::rfb::protocol::{Encoding, WireRect};
use crate::screen::{Rect, Surface};
use std::os::fd::OwnedFd;

/// What a viewer has been lent, if anything.
#[derive(Default)]
pub(super) struct Lending {
    memory: Option<Memory>,
    /// What is to be sent with the next bytes.
    due: Option<OwnedFd>,
}

impl Lending {
    /// Has memory for a screen of this size ready. Tells whether that is new, and as yet black.
    pub(super) fn prepare(&mut self, width: u32, height: u32) -> Result<bool, MemoryError> {
        if self.memory.as_ref().is_some_and(|memory| memory.size() == (width, height)) {
            return Ok(false);
        }
        // The old one makes room first.
        *self = Self::default();
        let (memory, descriptor) = Memory::create(width, height)?;
        *self = Self { memory: Some(memory), due: Some(descriptor) };
        Ok(true)
    }

    /// Whether the viewer must be told of new memory.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Appends the rectangle that tells of it, if there is any; `whole` is the screen.
    pub(super) fn write_notice(&self, whole: WireRect, out: &mut Vec<u8>) {
        if self.is_due() {
            whole.write_header(Encoding::SHARED_MEMORY, out);
        }
    }

    /// The descriptor that goes along with that rectangle.
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.due.take()
    }

    /// Puts a rectangle's pixels into the memory.
    pub(super) fn copy(&self, surface: &Surface, rect: Rect) {
        if let Some(memory) = &self.memory {
            memory.write(surface, rect);
        }
    }
}
