//! What the machine's virtio devices are connected to.

#![forbid(unsafe_code)]

use std::{io, sync::Arc};

use super::MachineError;
use crate::vmm::{
    interrupt::{Doorbells, MsiAllocator},
    memory::GuestMemory,
    virtio::{device::VirtioDevice, pci::VirtioPci},
};

/// The wires of a virtio device.
pub struct VirtioWiring {
    /// The guest's RAM.
    pub memory: Arc<GuestMemory>,
    /// Where interrupts come from.
    pub vectors: Arc<dyn MsiAllocator>,
    /// Where devices hear of requests.
    pub doorbells: Arc<dyn Doorbells>,
}

impl VirtioWiring {
    /// A device as a PCI function.
    pub fn function(&self, device: Box<dyn VirtioDevice>) -> Result<VirtioPci, MachineError> {
        self.named(device, |device| {
            VirtioPci::new(device, self.memory.clone(), self.vectors.clone(), self.doorbells.clone())
        })
    }

    /// A GPU as a PCI function that is a VGA with this much video memory, in bytes.
    pub fn vga_function(&self, gpu: Box<dyn VirtioDevice>, video_memory: u64) -> Result<VirtioPci, MachineError> {
        self.named(gpu, |gpu| {
            let (vectors, doorbells) = (self.vectors.clone(), self.doorbells.clone());
            VirtioPci::with_video_memory(gpu, self.memory.clone(), vectors, doorbells, video_memory)
        })
    }

    fn named(
        &self,
        device: Box<dyn VirtioDevice>,
        make: impl FnOnce(Box<dyn VirtioDevice>) -> io::Result<VirtioPci>,
    ) -> Result<VirtioPci, MachineError> {
        let label = device.label().to_owned();
        make(device).map_err(|source| MachineError::Device { label, source })
    }
}
