//! The guest's physical memory: where RAM lies around the holes of a PC, and what is behind it.
//!
//! ```text
//!   0          0xA0000   0xC0000           below_4g         ROM    4 GiB
//!   ├── RAM ───┤ VGA     ├──── RAM ────────┤ PCI, APICs ... ┤ BIOS ├──── RAM ────┤
//! ```
//!
//! In a memfd, offsets below the PCI hole are guest physical addresses; what lies above 4 GiB follows without a gap. Pages
//! that nobody has written cost nothing; reading a page through a mapping makes it cost, so nothing here does.

mod backing;
mod saved;

use std::{fs::File, io, ops::Range};

use rustix::{
    fs::{FallocateFlags, MemfdFlags, SealFlags},
    io::Errno,
    mm::{Advice, madvise},
};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, bitmap::BS};

pub use backing::{HugePages, MemoryBacking, MemoryError, allocate};
pub use saved::RamPages;

/// What remembers the pages that devices write, for the live migration of a guest. Nothing does so yet.
pub type GuestBitmap = ();

/// The guest's RAM as devices see it. A clone is a handle to the same memory.
pub type GuestMemory = GuestMemoryMmap<GuestBitmap>;

/// A piece of guest memory.
pub type GuestSlice<'a> = vm_memory::VolatileSlice<'a, BS<'a, GuestBitmap>>;

/// The window of the VGA, where there is no RAM.
pub const VGA_WINDOW: Range<u64> = 0xa_0000..0xc_0000;
/// Where RAM below 4 GiB ends at the latest, and the PCI hole begins.
pub const PCI_HOLE: u64 = 0xc000_0000;
/// Where PCI memory ends: the I/O APIC follows.
pub const PCI_END: u64 = 0xfec0_0000;
/// 4 GiB, where RAM goes on.
pub const HIGH_MEMORY: u64 = 1 << 32;

/// Where the RAM of a machine lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The end of RAM below the PCI hole; counts the window of the VGA too.
    pub below_4g: u64,
    /// RAM above 4 GiB, in bytes.
    pub above_4g: u64,
}

/// A contiguous range of RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RamRange {
    /// Guest physical address.
    pub address: u64,
    /// Length in bytes.
    pub len: u64,
    /// Where it is in the memfd.
    pub offset: u64,
}

impl Layout {
    /// The layout of `memory` bytes.
    pub fn new(memory: u64) -> Self {
        let below_4g = memory.min(PCI_HOLE);
        Self { below_4g, above_4g: memory - below_4g }
    }

    /// The ranges of RAM, in ascending order.
    pub fn ranges(&self) -> Vec<RamRange> {
        let below = [0..VGA_WINDOW.start.min(self.below_4g), VGA_WINDOW.end..self.below_4g];
        let below = below.map(|range| RamRange {
            address: range.start,
            len: range.end.saturating_sub(range.start),
            offset: range.start,
        });
        let above = RamRange { address: HIGH_MEMORY, len: self.above_4g, offset: self.below_4g };
        below.into_iter().chain([above]).filter(|range| range.len > 0).collect()
    }

    /// The ranges with the window of the VGA, for memory that can only be mapped in large pieces. The guest sees the window
    /// itself all the same: see [`without_vga_window`].
    fn whole_ranges(&self) -> Vec<RamRange> {
        let below = RamRange { address: 0, len: self.below_4g, offset: 0 };
        let above = RamRange { address: HIGH_MEMORY, len: self.above_4g, offset: self.below_4g };
        [below, above].into_iter().filter(|range| range.len > 0).collect()
    }
}

/// Makes a memfd of `len` bytes that nobody can shrink, so that a mapping of it never faults. `name` shows in
/// `/proc/PID/smaps` as `/memfd:NAME`.
pub fn memfd(name: &str, len: u64) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(len)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
    Ok(file)
}

/// The parts of the range from `start` to `end` that the guest sees as RAM.
pub fn without_vga_window(start: u64, end: u64) -> impl Iterator<Item = Range<u64>> {
    let parts = [start..end.min(VGA_WINDOW.start), start.max(VGA_WINDOW.end)..end];
    parts.into_iter().filter(|part| part.start < part.end)
}

/// Gives the pages that lie wholly within `piece` back to the host; they read as zeroes afterwards. Does nothing for memory
/// whose file cannot have holes, nor for huge pages: the host might have given them away when the guest wants them again, and
/// there is no way to wait for others. Returns whether they were given back.
pub fn give_back(memory: &GuestMemory, piece: &GuestSlice<'_>) -> io::Result<bool> {
    const PAGE: u64 = 4096;
    let wanted = piece.ptr_guard().as_ptr() as u64;
    let found = memory.iter().find_map(|region| {
        let base = region.as_ptr() as u64;
        let offset = wanted.checked_sub(base).filter(|&offset| offset < region.size() as u64)?;
        Some((region, offset))
    });
    let Some((region, offset)) = found else { return Ok(false) };
    // Ranges begin at whole pages of the guest, of its file and of the host.
    let (start, end) = (offset.next_multiple_of(PAGE), offset + piece.len() as u64);
    let end = end.min(region.size() as u64);
    let end = end - end % PAGE;
    if start >= end {
        return Ok(true);
    }
    let Some(place) = region.file_offset() else {
        // SAFETY: the range lies in the region's mapping, which is private memory. What devices and the guest read from it
        // at the same time are zeroes or what was there; they look through volatile accesses.
        unsafe { madvise(region.as_ptr().add(start as usize).cast(), (end - start) as usize, Advice::LinuxDontNeed) }?;
        return Ok(true);
    };
    if rustix::fs::fstatfs(place.file())?.f_type == libc::HUGETLBFS_MAGIC {
        return Ok(false);
    }
    let (start, end) = (place.start() + start, place.start() + end);
    match rustix::fs::fallocate(
        place.file(),
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        start,
        end - start,
    ) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const SHARED: MemoryBacking = MemoryBacking { huge_pages: None, mergeable: false, shared: true };

    #[test]
    fn small_memory_leaves_out_the_window_of_the_vga() {
        let ranges = Layout::new(64 * MIB).ranges();

        assert_eq!(
            ranges,
            [
                RamRange { address: 0, len: 0xa_0000, offset: 0 },
                RamRange { address: 0xc_0000, len: 64 * MIB - 0xc_0000, offset: 0xc_0000 },
            ]
        );
    }

    #[test]
    fn memory_beyond_the_pci_hole_goes_on_at_4_gib() {
        assert_eq!(Layout::new(3 * GIB).ranges().len(), 2);
        assert_eq!(
            Layout::new(5 * GIB).ranges().last(),
            Some(&RamRange { address: HIGH_MEMORY, len: 2 * GIB, offset: 3 * GIB })
        );
    }

    #[test]
    fn sizes_around_the_pci_hole_lose_nothing() {
        for (memory, below_4g, above_4g) in [
            (3 * GIB - MIB, 3 * GIB - MIB, 0),
            (3 * GIB, 3 * GIB, 0),
            (3 * GIB + MIB, 3 * GIB, MIB),
            (4 * GIB, 3 * GIB, GIB),
            (5 * GIB, 3 * GIB, 2 * GIB),
        ] {
            let layout = Layout::new(memory);
            assert_eq!(layout, Layout { below_4g, above_4g });
            let usable: u64 = layout.ranges().iter().map(|range| range.len).sum();
            assert_eq!(usable, memory - (VGA_WINDOW.end - VGA_WINDOW.start));
            assert!(layout.ranges().iter().all(|range| range.address + range.len <= PCI_HOLE
                || range.address == HIGH_MEMORY && range.offset == PCI_HOLE));
            let whole: u64 = layout.whole_ranges().iter().map(|range| range.len).sum();
            assert_eq!(whole, memory);
        }
    }

    #[test]
    fn the_window_of_the_vga_is_cut_out() {
        let parts = |start, end| without_vga_window(start, end).collect::<Vec<_>>();

        assert_eq!(parts(0, MIB), [0..VGA_WINDOW.start, VGA_WINDOW.end..MIB]);
        assert_eq!(parts(0, 0xa_0000), [0..0xa_0000]);
        assert_eq!(parts(HIGH_MEMORY, HIGH_MEMORY + MIB), [HIGH_MEMORY..HIGH_MEMORY + MIB]);
    }

    #[test]
    fn the_least_memory_has_both_low_ranges() {
        assert_eq!(
            Layout::new(MIB).ranges().last(),
            Some(&RamRange { address: 0xc_0000, len: 0x4_0000, offset: 0xc_0000 })
        );
    }

    #[test]
    fn allocated_memory_is_zero_and_costs_nothing_until_written() {
        let memory = allocate(&Layout::new(5 * GIB), SHARED).unwrap();
        let file = memory.iter().next().unwrap().file_offset().unwrap().arc().clone();

        memory.write_obj(7u64, GuestAddress(HIGH_MEMORY)).unwrap();

        use std::os::unix::fs::MetadataExt;
        assert_eq!(file.metadata().unwrap().blocks() * 512, 4096);
        assert_eq!(memory.read_obj::<u64>(GuestAddress(HIGH_MEMORY)).unwrap(), 7);
        assert!(memory.read_obj::<u8>(GuestAddress(VGA_WINDOW.start)).is_err());
    }

    #[test]
    fn pages_that_are_given_back_are_zero_and_cost_nothing() {
        use std::os::unix::fs::MetadataExt;
        let memory = allocate(&Layout::new(5 * GIB), SHARED).unwrap();
        let file = memory.iter().next().unwrap().file_offset().unwrap().arc().clone();
        let at = GuestAddress(HIGH_MEMORY + 8192);
        memory.write_slice(&[7; 3 * 4096], at).unwrap();

        give_back(&memory, &memory.get_slice(GuestAddress(at.0 + 1), 2 * 4096).unwrap()).unwrap();

        assert_eq!(file.metadata().unwrap().blocks() * 512, 2 * 4096, "only the page that is whole");
        let bytes =
            [0, 4095, 4096, 8191, 8192].map(|offset| memory.read_obj::<u8>(GuestAddress(at.0 + offset)).unwrap());
        assert_eq!(bytes, [7, 7, 0, 0, 7]);
    }
}
