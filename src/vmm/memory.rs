//! The guest's physical memory: where RAM lies around the holes of a PC, and the memfd behind it.
//!
//! ```text
//!   0          0xA0000   0xC0000           below_4g         ROM    4 GiB
//!   ├── RAM ───┤ VGA     ├──── RAM ────────┤ PCI, APICs ... ┤ BIOS ├──── RAM ────┤
//! ```
//!
//! The memfd's offsets below the PCI hole are guest physical addresses; what lies above 4 GiB follows without a gap. Pages
//! that nobody has written cost nothing; reading a page through a mapping makes it cost, so nothing here does.

use std::{fs::File, io, ops::Range, os::fd::AsRawFd, sync::Arc};

use rustix::{
    fs::{FallocateFlags, MemfdFlags, SealFlags},
    io::Errno,
};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, bitmap::BS};

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
}

/// Makes a memfd of `len` bytes that nobody can shrink, so that a mapping of it never faults. `name` shows in
/// `/proc/PID/smaps` as `/memfd:NAME`.
pub fn memfd(name: &str, len: u64) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(len)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
    Ok(file)
}

/// Makes the RAM of `layout`: a memfd, mapped range by range.
pub fn allocate(layout: &Layout) -> io::Result<Arc<GuestMemory>> {
    let file = Arc::new(memfd("guest-ram", layout.below_4g + layout.above_4g)?);
    let ranges = layout.ranges().into_iter().map(|range| {
        let len = usize::try_from(range.len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let place = FileOffset::from_arc(file.clone(), range.offset);
        Ok((GuestAddress(range.address), len, Some(place)))
    });
    let ranges: Vec<_> = ranges.collect::<io::Result<_>>()?;
    let memory = GuestMemory::from_ranges_with_files(ranges).map_err(io::Error::other)?;
    tracing::debug!(memfd = file.as_raw_fd(), ?layout, "allocated guest memory");
    Ok(Arc::new(memory))
}

/// Gives the pages that lie wholly within `piece` back to the host; they read as zeroes afterwards. Does nothing for memory
/// that is not backed by a file, or by one that cannot have holes.
pub fn give_back(memory: &GuestMemory, piece: &GuestSlice<'_>) -> io::Result<()> {
    const PAGE: u64 = 4096;
    let wanted = piece.ptr_guard().as_ptr() as u64;
    let found = memory.iter().find_map(|region| {
        let base = region.as_ptr() as u64;
        let offset = wanted.checked_sub(base).filter(|&offset| offset < region.size() as u64)?;
        Some((region.file_offset()?, offset))
    });
    let Some((place, offset)) = found else { return Ok(()) };
    let start = place.start() + offset;
    let end = start + piece.len() as u64;
    let (start, end) = (start.next_multiple_of(PAGE), end - end % PAGE);
    if start >= end {
        return Ok(());
    }
    match rustix::fs::fallocate(
        place.file(),
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        start,
        end - start,
    ) {
        // Huge pages go back only as wholes.
        Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

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
    fn the_least_memory_has_both_low_ranges() {
        assert_eq!(
            Layout::new(MIB).ranges().last(),
            Some(&RamRange { address: 0xc_0000, len: 0x4_0000, offset: 0xc_0000 })
        );
    }

    #[test]
    fn allocated_memory_is_zero_and_costs_nothing_until_written() {
        let memory = allocate(&Layout::new(5 * GIB)).unwrap();
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
        let memory = allocate(&Layout::new(5 * GIB)).unwrap();
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
