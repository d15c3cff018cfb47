//! What a drawing round works with: the video memory, what of it has changed, and the surface.

#![forbid(unsafe_code)]

use std::ops::Range;

use vm_memory::{Bytes, VolatileSlice};

use super::damage::DirtyPages;
use crate::screen::shadow::Shadow;

/// Source and target of a drawing round.
pub struct Canvas<'a> {
    /// The video memory.
    pub memory: VolatileSlice<'a>,
    /// The pages that have changed since the last round; `None`: everything is drawn.
    pub pages: Option<&'a DirtyPages>,
    /// The surface.
    pub shadow: &'a mut Shadow,
}

impl Canvas<'_> {
    /// The part of `range` (bytes of video memory) that may have changed, if any.
    pub fn changed(&self, range: Range<usize>) -> Option<Range<usize>> {
        match self.pages {
            None => Some(range),
            Some(pages) => pages.within(range),
        }
    }

    /// Copies video memory from `offset` on; what is beyond it is 0.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        read(&self.memory, offset, bytes);
    }

    /// Copies the planes' bytes from address `address` on, four bytes an address, beginning again at 0 after `addresses`
    /// (a power of two).
    pub fn read_planes(&self, address: u32, addresses: u32, bytes: &mut [u8]) {
        let mut address = address & (addresses - 1);
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.len().min((addresses - address) as usize * 4);
            let (now, later) = rest.split_at_mut(len);
            self.read(address as usize * 4, now);
            rest = later;
            address = 0;
        }
    }

    /// Whether `count` addresses of the planes from `address` on may have changed.
    pub fn planes_changed(&self, address: u32, count: u32, addresses: u32) -> bool {
        let first = address & (addresses - 1);
        let wrapped = (first + count).saturating_sub(addresses).min(addresses);
        let range = |from: u32, to: u32| from as usize * 4..to as usize * 4;
        self.changed(range(first, (first + count).min(addresses))).is_some()
            || wrapped > 0 && self.changed(range(0, wrapped)).is_some()
    }
}

fn read(memory: &VolatileSlice, offset: usize, bytes: &mut [u8]) {
    let read = memory.read(bytes, offset).unwrap_or(0);
    bytes[read..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::display::video_memory::{VideoMemory, testing::FakeVideoMemory};

    #[test]
    fn planes_begin_again_after_the_last_address() {
        let memory = FakeVideoMemory::new(1 << 18);
        memory.guest_write((1 << 18) - 4, &[1, 2, 3, 4]);
        memory.guest_write(0, &[5, 6, 7, 8]);
        let mut shadow = Shadow::default();
        let canvas = Canvas { memory: memory.slice(), pages: None, shadow: &mut shadow };

        let mut bytes = [0; 8];
        canvas.read_planes(0x1_ffff, 0x1_0000, &mut bytes);

        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn wrapped_addresses_are_looked_for_in_the_dirty_pages() {
        let memory = FakeVideoMemory::new(1 << 18);
        let mut pages = DirtyPages::new(1 << 18);
        pages.mark(0);
        let mut shadow = Shadow::default();
        let canvas = Canvas { memory: memory.slice(), pages: Some(&pages), shadow: &mut shadow };

        assert!(canvas.planes_changed(0xffff, 2, 0x1_0000));
        assert!(!canvas.planes_changed(0xffff, 1, 0x1_0000));
        assert!(canvas.planes_changed(0x1_0000, 1, 0x1_0000));
    }

    #[test]
    fn beyond_the_video_memory_is_black() {
        let memory = FakeVideoMemory::new(4096);
        memory.guest_write(4094, &[1, 2]);
        let mut shadow = Shadow::default();
        let canvas = Canvas { memory: memory.slice(), pages: None, shadow: &mut shadow };

        let mut bytes = [9; 4];
        canvas.read(4094, &mut bytes);
        assert_eq!(bytes, [1, 2, 0, 0]);
        canvas.read(usize::MAX, &mut bytes);
        assert_eq!(bytes, [0; 4]);
    }
}
