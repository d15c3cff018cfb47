//! What a virtio device is to its transport (virtio 1.2, chapters 2 and 3).
//!
//! The transport owns the registers and hands the device its queues when the driver says DRIVER_OK ([`VirtioDevice::activate`]).
//! From then on they belong to the device's own threads until the transport takes them back
//! ([`VirtioDevice::deactivate`]): for a reset, for a pause and for a saved state alike. So there is one way to stop, and
//! after it nothing is in flight.

#![forbid(unsafe_code)]

use std::{io, sync::Arc};

use serde_json::Value;

use super::{interrupt::VirtioInterrupt, queue::Queues};
use crate::vmm::{device::StateError, memory::GuestMemory};

/// The kinds of virtio devices (section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceType {
    /// Network card.
    Network = 1,
    /// Block device.
    Block = 2,
    /// Console.
    Console = 3,
    /// Entropy source.
    Entropy = 4,
    /// Traditional memory balloon.
    Balloon = 5,
    /// GPU.
    Gpu = 16,
    /// Input device.
    Input = 18,
    /// Socket.
    Vsock = 19,
}

/// A virtio device without its transport.
///
/// Everything a driver passes in is hostile: no method may panic.
pub trait VirtioDevice: Send {
    /// The device's name in logs and saved states, unique in a machine: `virtio-blk0`.
    fn label(&self) -> &str;

    /// What it is.
    fn device_type(&self) -> DeviceType;

    /// The largest size of each queue, in descriptors: powers of two, up to 32768.
    fn queue_sizes(&self) -> &[u16];

    /// The device's own feature bits (0 to 23 and 50 and up); the transport adds the general ones.
    fn features(&self) -> u64;

    /// Reads its configuration at `offset` (bytes); what is beyond its end reads as zero. See [`read_config_bytes`].
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// The driver writes to its configuration. Most devices have nothing to write.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// The driver is ready: takes over the queues and starts to serve them.
    fn activate(&mut self, activation: Activation) -> io::Result<()>;

    /// Completes what is in flight, stops and gives the queues back. Nothing when it is not active.
    fn deactivate(&mut self) -> Queues;

    /// Forgets everything the driver has set up. Comes after [`VirtioDevice::deactivate`].
    fn reset(&mut self) {}

    /// The volatile state beyond the transport's and the queues'. Called while the device is not active.
    fn save(&self) -> Result<Value, StateError> {
        Ok(Value::Null)
    }

    /// Takes over a saved state. Called while the device is not active.
    fn restore(&mut self, _state: Value) -> Result<(), StateError> {
        Ok(())
    }
}

/// What a device gets when its driver is ready.
pub struct Activation {
    /// The features that were negotiated, general ones included.
    pub features: u64,
    /// The guest's memory.
    pub memory: Arc<GuestMemory>,
    /// The queues that the driver has enabled.
    pub queues: Queues,
    /// The way to the driver: configuration changes and device failures. Each queue has its own interrupt.
    pub interrupt: Arc<VirtioInterrupt>,
}

/// Reads from a configuration structure given as bytes; zeroes beyond its end.
pub fn read_config_bytes(config: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    if let Some(rest) = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)) {
        for (to, from) in data.iter_mut().zip(rest) {
            *to = *from;
        }
    }
}
