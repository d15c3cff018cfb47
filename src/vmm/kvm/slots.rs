//! KVM's memory slots: which host memory lies at which guest physical address.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress, MmapRegion};

use crate::vmm::memory::{GuestMemory, without_vga_window};

/// Hands out the numbers of a virtual machine's memory slots.
pub struct MemorySlots {
    vm: Arc<VmFd>,
    taken: Mutex<BTreeSet<u32>>,
}

impl MemorySlots {
    /// The slots of `vm`, none of them used yet.
    pub fn new(vm: Arc<VmFd>) -> Arc<Self> {
        Arc::new(Self { vm, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> u32 {
        let mut taken = self.taken();
        let free = (0..).find(|number| !taken.contains(number)).expect("there are fewer slots than numbers");
        taken.insert(free);
        free
    }

    /// Maps all ranges of `memory` at their addresses, for as long as the virtual machine lives.
    ///
    /// The caller keeps `memory` until the last vCPU has ended.
    pub fn map_ram(&self, memory: &GuestMemory) -> io::Result<()> {
        for region in memory.iter() {
            let start = region.start_addr().0;
            for part in without_vga_window(start, start + region.len()) {
                let offset = MemoryRegionAddress(part.start - start);
                let host = region.get_host_address(offset).map_err(io::Error::other)?;
                self.set(self.take(), part.start, host as u64, part.end - part.start, 0)?;
            }
        }
        Ok(())
    }

    fn set(&self, slot: u32, address: u64, host: u64, len: u64, flags: u32) -> io::Result<()> {
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: address,
            memory_size: len,
            userspace_addr: host,
        };
        // SAFETY: the range is one mapping that its owner (the machine's RAM, or a MappedMemory) keeps until the slot is
        // removed or no vCPU runs any more. What the guest does in it is seen through volatile accesses only.
        unsafe { self.vm.set_user_memory_region(region) }.map_err(Into::into)
    }
}

/// Host memory with a memory slot of its own, which can be mapped, moved and unmapped while the guest runs.
pub struct MappedMemory {
    slots: Arc<MemorySlots>,
    slot: u32,
    flags: u32,
    memory: MmapRegion,
    address: Option<u64>,
}

impl MappedMemory {
    /// Memory that the guest cannot write. Its writes reach the memory bus instead.
    pub fn read_only(slots: &Arc<MemorySlots>, memory: MmapRegion) -> Self {
        Self::new(slots, memory, KVM_MEM_READONLY)
    }

    /// Memory whose pages are logged when the guest writes them.
    pub fn logged(slots: &Arc<MemorySlots>, memory: MmapRegion) -> Self {
        Self::new(slots, memory, KVM_MEM_LOG_DIRTY_PAGES)
    }

    fn new(slots: &Arc<MemorySlots>, memory: MmapRegion, flags: u32) -> Self {
        Self { slots: slots.clone(), slot: slots.take(), flags, memory, address: None }
    }

    /// The memory.
    pub fn memory(&self) -> &MmapRegion {
        &self.memory
    }

    /// Where it is mapped.
    pub fn address(&self) -> Option<u64> {
        self.address
    }

    /// Maps it at guest physical `address`, or nowhere. When KVM refuses (something else is there), it is unmapped.
    pub fn map(&mut self, address: Option<u64>) -> io::Result<()> {
        if self.address == address {
            return Ok(());
        }
        let host = self.memory.as_ptr() as u64;
        if let Some(old) = self.address.take() {
            self.slots.set(self.slot, old, host, 0, 0)?;
        }
        if let Some(new) = address {
            self.slots.set(self.slot, new, host, self.memory.size() as u64, self.flags)?;
            self.address = Some(new);
        }
        Ok(())
    }

    /// The pages written since the last call, one bit each; `None` when it is not mapped.
    pub fn take_log(&self) -> io::Result<Option<Vec<u64>>> {
        if self.address.is_none() {
            return Ok(None);
        }
        Ok(Some(self.slots.vm.get_dirty_log(self.slot, self.memory.size())?))
    }
}

impl Drop for MappedMemory {
    fn drop(&mut self) {
        // The slot must be gone before the memory is. KVM has no reason to refuse; if it did, the number stays taken.
        match self.map(None) {
            Ok(()) => drop(self.slots.taken().remove(&self.slot)),
            Err(error) => tracing::error!(%error, slot = self.slot, "a memory slot could not be removed"),
        }
    }
}
