//! The guest's RAM as a saved state sees it.

#![forbid(unsafe_code)]

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc};

use rustix::{fs::SeekFrom, io::Errno};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{GuestMemory, Layout, give_back};
use crate::vmm::snapshot::pages::Pages;

/// Bytes that are cleared together.
const PIECE: usize = 1 << 20;

/// All of a machine's RAM.
pub struct RamPages {
    memory: Arc<GuestMemory>,
    ranges: Vec<Range<u64>>,
}

impl RamPages {
    /// The RAM `memory`, which lies as `layout` says.
    pub fn new(memory: Arc<GuestMemory>, layout: &Layout) -> Self {
        let ranges = layout.ranges().into_iter().map(|range| range.address..range.address + range.len).collect();
        Self { memory, ranges }
    }

    /// The file behind `address`, and where in it that is.
    fn file(&self, address: u64) -> Option<(&File, u64)> {
        let region = self.memory.find_region(GuestAddress(address))?;
        let place = region.file_offset()?;
        Some((place.file(), place.start() + (address - region.start_addr().0)))
    }
}

impl Pages for RamPages {
    fn ranges(&self) -> Vec<Range<u64>> {
        self.ranges.clone()
    }

    /// A file tells where its holes are. Private memory that nobody has used is the host's page of zeroes.
    fn next_data(&self, range: Range<u64>) -> Option<Range<u64>> {
        if range.is_empty() {
            return None;
        }
        let Some((file, start)) = self.file(range.start) else { return Some(range) };
        let end = start + (range.end - range.start);
        match rustix::fs::seek(file, SeekFrom::Data(start)) {
            Ok(data) if data >= end => None,
            Ok(data) => Some(range.start + (data - start)..range.end),
            Err(Errno::NXIO) => None,
            // Files of huge pages do not tell.
            Err(_) => Some(range),
        }
    }

    /// A file is read as such: through the mapping, holes would become pages.
    fn read(&self, address: u64, to: &mut [u8]) -> io::Result<()> {
        match self.file(address) {
            Some((file, offset)) => file.read_exact_at(to, offset),
            None => self.memory.read_slice(to, GuestAddress(address)).map_err(io::Error::other),
        }
    }

    fn write(&self, address: u64, from: &[u8]) -> io::Result<()> {
        self.memory.write_slice(from, GuestAddress(address)).map_err(io::Error::other)
    }

    fn clear(&self) -> io::Result<()> {
        for range in &self.ranges {
            let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
            let slice = self.memory.get_slice(GuestAddress(range.start), len).map_err(io::Error::other)?;
            if !give_back(&self.memory, &slice)? {
                let zeroes = vec![0; PIECE];
                for at in (range.start..range.end).step_by(PIECE) {
                    let len = PIECE.min((range.end - at) as usize);
                    self.write(at, &zeroes[..len])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::memory::{MemoryBacking, VGA_WINDOW, allocate};
    use crate::vmm::snapshot::pages::PAGE;

    const MIB: u64 = 1 << 20;

    fn pages(size: u64, shared: bool) -> RamPages {
        let layout = Layout::new(size);
        let backing = MemoryBacking { shared, ..MemoryBacking::default() };
        RamPages::new(allocate(&layout, backing).unwrap(), &layout)
    }

    #[test]
    fn memory_is_written_read_and_cleared_around_the_holes() {
        for shared in [false, true] {
            let pages = pages(64 * MIB, shared);
            let places = [0, VGA_WINDOW.end, 63 * MIB];
            for at in places {
                pages.write(at, &[7; PAGE]).unwrap();
            }

            let read = |at| {
                let mut page = [1; PAGE];
                pages.read(at, &mut page).unwrap();
                page
            };
            assert!(places.iter().all(|&at| read(at) == [7; PAGE]));
            pages.clear().unwrap();
            assert!(places.iter().all(|&at| read(at) == [0; PAGE]));
            assert!(pages.ranges().iter().all(|range| range.end <= VGA_WINDOW.start || range.start >= VGA_WINDOW.end));
        }
    }

    #[test]
    fn a_file_tells_where_its_pages_are() {
        let pages = pages(64 * MIB, true);
        pages.write(5 * MIB, &[7; PAGE]).unwrap();

        let high = VGA_WINDOW.end..64 * MIB;
        assert_eq!(pages.next_data(high.clone()), Some(5 * MIB..high.end));
        assert_eq!(pages.next_data(0..VGA_WINDOW.start), None);
        assert_eq!(pages.next_data(5 * MIB + PAGE as u64..high.end), None);
    }
}
