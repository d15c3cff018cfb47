//! Writes to a device's memory that KVM collects in a ring instead of leaving the guest for each
//! (Linux, `Documentation/virt/kvm/api.rst`, `KVM_REGISTER_COALESCED_MMIO`).
//!
//! It suits memory that a guest fills by many small writes without side effects that it waits for: the VGA's window. The ring
//! is emptied before anything else that could see the writes' absence: before an exit of a vCPU is handled (so the order of
//! what a vCPU does is kept), before a vCPU obeys a command, and before somebody looks at the screen.

use std::{
    io,
    mem::offset_of,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use kvm_bindings::{KVM_COALESCED_MMIO_PAGE_OFFSET, kvm_coalesced_mmio, kvm_coalesced_mmio_ring};
use kvm_ioctls::{Cap, IoEventAddress, VcpuFd};
use rustix::mm::{MapFlags, ProtFlags};

use super::{KvmError, Vm, refused};
use crate::vmm::bus::Bus;

const PAGE: usize = 4096;
/// Where the entries begin in the ring's page, and how many there are.
const ENTRIES: usize = offset_of!(kvm_coalesced_mmio_ring, coalesced_mmio);
const ENTRY_COUNT: u32 = ((PAGE - ENTRIES) / size_of::<kvm_coalesced_mmio>()) as u32;

/// The collected writes of a machine.
pub struct CoalescedWrites {
    /// Where they go.
    memory: Arc<Bus>,
    /// All vCPUs of a machine have the same ring; it is mapped when there is the first.
    ring: OnceLock<Ring>,
    /// One at a time empties the ring.
    delivering: Mutex<()>,
}

impl CoalescedWrites {
    /// Has KVM collect what is written to `range` of `memory`, if it can.
    pub fn new(vm: &Vm, memory: Arc<Bus>, range: Range<u64>) -> Result<Self, KvmError> {
        if vm.system.check_extension(Cap::CoalescedMmio) {
            let len = (range.end - range.start) as u32;
            let registered = vm.fd.register_coalesced_mmio(IoEventAddress::Mmio(range.start), len);
            registered.map_err(refused("collect writes to video memory"))?;
        }
        Ok(Self { memory, ring: OnceLock::new(), delivering: Mutex::new(()) })
    }

    /// Finds the ring by one of the machine's vCPUs.
    pub fn find_ring(&self, vcpu: &VcpuFd) -> io::Result<()> {
        if self.ring.get().is_none() {
            let _ = self.ring.set(Ring::new(vcpu)?);
        }
        Ok(())
    }

    /// Carries out the writes that have been collected so far. Returns when they are done, whoever does them.
    pub fn deliver(&self) {
        let Some(ring) = self.ring.get().filter(|ring| !ring.is_empty()) else { return };
        let _one = self.delivering.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((address, data, len)) = ring.first() {
            self.memory.write(address, &data[..len]);
            ring.advance();
        }
    }
}

/// The page that KVM puts the writes into.
struct Ring {
    page: NonNull<u8>,
}

// SAFETY: the mapping belongs to the process; its indices are used atomically, and an entry is read only between KVM's
// publication of it and our giving it back, under a lock.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn new(vcpu: &VcpuFd) -> io::Result<Self> {
        // SAFETY: the descriptor is open for as long as `vcpu` is borrowed.
        let file = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
        let offset = u64::from(KVM_COALESCED_MMIO_PAGE_OFFSET) * PAGE as u64;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let page = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(std::ptr::null_mut(), PAGE, access, MapFlags::SHARED, file, offset)?
        };
        Ok(Self { page: NonNull::new(page.cast()).ok_or(io::ErrorKind::OutOfMemory)? })
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: both indices lie aligned in the page, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.page.as_ptr().add(offset).cast()) }
    }

    /// The entry that is delivered next; ours to move on.
    fn head(&self) -> &AtomicU32 {
        self.index(offset_of!(kvm_coalesced_mmio_ring, first))
    }

    /// Behind the entry that KVM has added last.
    fn tail(&self) -> &AtomicU32 {
        self.index(offset_of!(kvm_coalesced_mmio_ring, last))
    }

    fn is_empty(&self) -> bool {
        // An entry counts until it has been carried out: `head` moves on only then.
        self.head().load(Ordering::Acquire) == self.tail().load(Ordering::Acquire)
    }

    /// The address, the data and their length of the next write.
    fn first(&self) -> Option<(u64, [u8; 8], usize)> {
        let head = self.head().load(Ordering::Acquire);
        if head == self.tail().load(Ordering::Acquire) {
            return None;
        }
        let at = ENTRIES + (head % ENTRY_COUNT) as usize * size_of::<kvm_coalesced_mmio>();
        // SAFETY: the entry is inside the page, any bytes are a valid one, and KVM leaves it alone until `head` has passed it.
        let entry: kvm_coalesced_mmio = unsafe { self.page.as_ptr().add(at).cast::<kvm_coalesced_mmio>().read() };
        Some((entry.phys_addr, entry.data, entry.data.len().min(entry.len as usize)))
    }

    /// Gives the entry that [`Ring::first`] has shown back to KVM.
    fn advance(&self) {
        let head = self.head().load(Ordering::Acquire);
        self.head().store((head + 1) % ENTRY_COUNT, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` and nothing refers to it any more.
        let result = unsafe { rustix::mm::munmap(self.page.as_ptr().cast(), PAGE) };
        debug_assert!(result.is_ok(), "a mapping of ours could not be removed: {result:?}");
    }
}
