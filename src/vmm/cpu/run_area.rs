//! The memory that a vCPU shares with KVM (`struct kvm_run` and the data pages behind it).
//!
//! kvm-ioctls maps it too, but shows port accesses without the size of their items; this is a second mapping of the same
//! pages, as bytes.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
};

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;
use rustix::mm::{MapFlags, ProtFlags};

/// A vCPU's run area.
pub struct RunArea {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only its owner touches it.
unsafe impl Send for RunArea {}

impl RunArea {
    /// Maps the run area of `vcpu`; `size` is what KVM says (`KVM_GET_VCPU_MMAP_SIZE`).
    pub fn new(vcpu: &VcpuFd, size: usize) -> io::Result<Self> {
        if size < size_of::<kvm_run>() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the descriptor is open for as long as `vcpu` is borrowed.
        let file = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0)?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, size })
    }

    /// All of it, to decode an exit from.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is that long and lives as long as `self`. KVM writes to it only while this thread is in
        // KVM_RUN, and a kick's signal handler only stores to `immediate_exit`, which nobody reads through the slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }

    /// The flag that makes the next KVM_RUN return at once. Valid as long as `self`.
    pub fn immediate_exit(&self) -> *mut u8 {
        // SAFETY: the mapping holds a whole kvm_run.
        unsafe { self.start.as_ptr().add(offset_of!(kvm_run, immediate_exit)) }
    }

    /// Sets or clears that flag.
    pub fn set_immediate_exit(&self, exit: bool) {
        // SAFETY: the pointer is valid as long as `self`; the store is volatile since KVM reads it.
        unsafe { self.immediate_exit().write_volatile(exit.into()) }
    }
}

impl Drop for RunArea {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` and nothing refers to it any more.
        let result = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.size) };
        debug_assert!(result.is_ok(), "a mapping of ours could not be removed: {result:?}");
    }
}
