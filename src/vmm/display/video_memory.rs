//! Video memory as the display device sees it: shared with the guest, with a log of the pages that the guest has written.

#![forbid(unsafe_code)]

use vm_memory::VolatileSlice;

/// Memory that the guest writes pixels to. The engine maps it into the guest while its BAR is enabled and logs the guest's
/// writes; what the device itself writes through [`VideoMemory::slice`] is not in the log.
pub trait VideoMemory: Send + Sync {
    /// Its size in bytes, a multiple of 4 KiB.
    fn size(&self) -> usize;

    /// All of it. Pages nobody has written to cost no memory until they are written; reading them gives zeroes.
    fn slice(&self) -> VolatileSlice<'_>;

    /// Adds to `bitmap` the 4 KiB pages that the guest has written since the last call, one bit a page, the lowest bit of
    /// element 0 first. `bitmap` is made as long as needed; bits that are already set stay.
    fn take_dirty(&self, bitmap: &mut Vec<u64>);
}

/// A stand-in for tests without KVM.
pub mod testing {
    use std::sync::Mutex;

    use vm_memory::{Bytes, VolatileMemory};

    use super::*;

    /// Video memory on the heap; what [`FakeVideoMemory::guest_write`] writes is dirty.
    pub struct FakeVideoMemory {
        memory: vm_memory::MmapRegion,
        dirty: Mutex<Vec<u64>>,
    }

    impl FakeVideoMemory {
        /// `size` bytes of zeroes, a multiple of 4 KiB.
        pub fn new(size: usize) -> Self {
            let memory = vm_memory::MmapRegion::new(size).expect("no memory for a test");
            Self { memory, dirty: Mutex::new(vec![0; size.div_ceil(4096 * 64)]) }
        }

        /// Writes as the guest does: the pages become dirty.
        pub fn guest_write(&self, offset: usize, data: &[u8]) {
            self.slice().write_slice(data, offset).expect("a test wrote beyond the video memory");
            let mut dirty = self.dirty.lock().unwrap();
            for page in offset / 4096..(offset + data.len()).div_ceil(4096) {
                dirty[page / 64] |= 1 << (page % 64);
            }
        }
    }

    impl VideoMemory for FakeVideoMemory {
        fn size(&self) -> usize {
            self.memory.size()
        }

        fn slice(&self) -> VolatileSlice<'_> {
            self.memory.as_volatile_slice()
        }

        fn take_dirty(&self, bitmap: &mut Vec<u64>) {
            let mut dirty = self.dirty.lock().unwrap();
            bitmap.resize(bitmap.len().max(dirty.len()), 0);
            for (all, new) in bitmap.iter_mut().zip(dirty.iter_mut()) {
                *all |= std::mem::take(new);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn pages_are_dirty_once() {
            let memory = FakeVideoMemory::new(1 << 20);
            memory.guest_write(4095, &[1, 2]);
            memory.guest_write(65 * 4096, &[3]);

            let mut first = Vec::new();
            memory.take_dirty(&mut first);
            let mut second = Vec::new();
            memory.take_dirty(&mut second);

            assert_eq!(first, [3, 2, 0, 0]);
            assert_eq!(second, [0; 4]);
        }
    }
}
