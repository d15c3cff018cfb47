//! Virtio 1.2 over PCI: transport, queue helpers and one file per device.
//!
//! <https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html>

pub mod balloon;
pub mod block;
#[cfg(test)]
mod conformance;
pub mod console;
pub mod device;
pub mod entropy;
pub mod gpu;
pub mod input;
pub mod interrupt;
pub mod net;
pub mod pci;
pub mod queue;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
pub mod vsock;
pub mod worker;
