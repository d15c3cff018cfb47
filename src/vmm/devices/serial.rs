//! A 16550A serial port (National Semiconductor PC16550D).

#![forbid(unsafe_code)]

use vmm_sys_util::eventfd::EventFd;

/// Where a serial port sends what the guest writes.
pub trait SerialOutput: Send {
    /// Takes the guest's bytes. Never blocks, since it is called by a vCPU.
    fn write(&mut self, bytes: &[u8]);
}

/// The way into a serial port.
pub trait SerialInput: Send + Sync {
    /// Hands bytes to the guest and returns how many were taken; the queue is bounded, since a guest need not read.
    fn enqueue(&self, bytes: &[u8]) -> usize;

    /// Becomes readable when there is room again after an [`SerialInput::enqueue`] that could not take everything.
    fn room(&self) -> &EventFd;
}
