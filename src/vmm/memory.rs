//! The guest's physical memory: RAM around the PCI hole, the firmware's read-only slot and video memory.

/// What remembers the pages that devices write, for the live migration of a guest. Nothing does so yet.
pub type GuestBitmap = ();

/// The guest's RAM as devices see it. A clone is a handle to the same memory.
pub type GuestMemory = vm_memory::GuestMemoryMmap<GuestBitmap>;

/// A piece of the guest's RAM, to be read, written or handed to the kernel.
pub type GuestSlice<'a> = vm_memory::VolatileSlice<'a, vm_memory::bitmap::BS<'a, GuestBitmap>>;
