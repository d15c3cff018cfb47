//! Video memory over a memory slot with a dirty log.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::fs::FallocateFlags;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

use super::{MappedMemory, MemorySlots};
use crate::vmm::{display::video_memory::VideoMemory, memory, pci::BarMemory, snapshot::pages::Pages};

/// Video memory that the guest sees where its BAR is, while that is enabled.
pub struct KvmVideoMemory {
    /// The device's own mapping. The guest's is another one of the same memfd, so that looking at it needs no lock.
    memory: MmapRegion,
    state: Mutex<State>,
}

struct State {
    mapped: MappedMemory,
    /// Pages written before the slot was last unmapped, since KVM forgets its log then.
    earlier: Vec<u64>,
}

impl KvmVideoMemory {
    /// `size` bytes of zeroes, a multiple of 4 KiB.
    pub fn new(slots: &Arc<MemorySlots>, size: u32) -> io::Result<Self> {
        let file = memory::memfd("guest-video", u64::from(size))?;
        let map = |file: File| MmapRegion::from_file(FileOffset::new(file, 0), size as usize).map_err(io::Error::other);
        let mapped = MappedMemory::logged(slots, map(file.try_clone()?)?);
        Ok(Self { memory: map(file)?, state: Mutex::new(State { mapped, earlier: Vec::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves KVM's log to `earlier`.
    fn collect(&mut self) -> io::Result<()> {
        if let Some(log) = self.mapped.take_log()? {
            merge(&mut self.earlier, &log);
        }
        Ok(())
    }
}

impl VideoMemory for KvmVideoMemory {
    fn size(&self) -> usize {
        self.memory.size()
    }

    fn slice(&self) -> VolatileSlice<'_> {
        self.memory.as_volatile_slice()
    }

    fn take_dirty(&self, bitmap: &mut Vec<u64>) {
        let mut state = self.state();
        bitmap.resize(bitmap.len().max(self.memory.size().div_ceil(4096 * 64)), 0);
        if let Err(error) = state.collect() {
            tracing::error!(%error, "the dirty log of the video memory could not be read");
        }
        merge(bitmap, &state.earlier);
        state.earlier.fill(0);
    }
}

impl BarMemory for KvmVideoMemory {
    fn map(&self, address: Option<u64>) -> io::Result<()> {
        let mut state = self.state();
        state.collect()?;
        state.mapped.map(address)
    }
}

impl KvmVideoMemory {
    fn file(&self) -> io::Result<&File> {
        self.memory.file_offset().map(FileOffset::file).ok_or(io::ErrorKind::Unsupported.into())
    }
}

/// Who restores it tells the card, which then looks at all of it.
impl Pages for KvmVideoMemory {
    fn ranges(&self) -> Vec<Range<u64>> {
        vec![0..self.memory.size() as u64]
    }

    /// Through the mapping, pages that nobody has used would come to be.
    fn read(&self, address: u64, to: &mut [u8]) -> io::Result<()> {
        self.file()?.read_exact_at(to, address)
    }

    fn write(&self, address: u64, from: &[u8]) -> io::Result<()> {
        self.slice().write_slice(from, address as usize).map_err(io::Error::other)
    }

    fn clear(&self) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(self.file()?, flags, 0, self.memory.size() as u64)?)
    }
}

/// Sets the bits of `new` in `all`.
fn merge(all: &mut Vec<u64>, new: &[u64]) {
    all.resize(all.len().max(new.len()), 0);
    for (all, new) in all.iter_mut().zip(new) {
        *all |= new;
    }
}
