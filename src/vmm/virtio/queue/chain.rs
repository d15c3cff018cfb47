//! The chains of a queue: their descriptors, followed and judged, and the buffers that they mean.

use virtio_queue::desc::split::Descriptor;
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemory as _, Permissions};

use super::QueueError;
use crate::vmm::memory::{GuestMemory, GuestSlice};

/// The most descriptors of a chain. A chain in the queue's own table is never longer than the queue; one in an indirect table
/// should not be, but drivers that go by QEMU's limit are let through.
const LONGEST_CHAIN: usize = 1024;

/// A chain of buffers: first those that the device reads, then those that it writes.
#[derive(Default)]
pub struct Chain<'m> {
    pub(super) head: u16,
    /// What the driver has sent.
    pub readable: Buffers<'m>,
    /// Where the answer goes.
    pub writable: Buffers<'m>,
}

impl<'m> Chain<'m> {
    /// The number of the first descriptor, by which the chain is given back.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Judges the descriptors of a chain of this queue, and fills in its buffers.
    pub(super) fn fill(
        &mut self,
        queue: u16,
        memory: &'m GuestMemory,
        descriptors: impl Iterator<Item = Descriptor>,
    ) -> Result<(), QueueError> {
        let broken = |reason| QueueError::Chain { queue, reason };
        self.readable.clear();
        self.writable.clear();
        // The iterator ends at the first descriptor it cannot follow, so one that announced another tells of a broken chain.
        let mut more = true;
        let mut descriptor_count = 0;
        for descriptor in descriptors {
            more = descriptor.has_next();
            descriptor_count += 1;
            if descriptor_count > LONGEST_CHAIN {
                return Err(broken("it is too long"));
            }
            let (buffers, access) = if descriptor.is_write_only() {
                (&mut self.writable, Permissions::Write)
            } else if self.writable.is_empty() {
                (&mut self.readable, Permissions::Read)
            } else {
                return Err(broken("a buffer to read follows one to write"));
            };
            let slices = memory
                .get_slices(descriptor.addr(), descriptor.len() as usize, access)
                .map_err(|_| broken("a buffer is outside of the guest's memory"))?;
            for slice in slices {
                buffers.push(slice.map_err(|_| broken("a buffer is outside of the guest's memory"))?);
            }
        }
        if more {
            return Err(broken("it loops, is cut off or leads outside of the descriptor table"));
        }
        Ok(())
    }
}

/// Pieces of guest memory that are read or written as one, from front to back.
#[derive(Default)]
pub struct Buffers<'m> {
    slices: Vec<GuestSlice<'m>>,
    /// The first slice that is not used up.
    first: usize,
    length: usize,
}

impl<'m> Buffers<'m> {
    /// The bytes that are left.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What is left, to be handed to the kernel. None of them is empty.
    pub fn slices(&self) -> &[GuestSlice<'m>] {
        self.slices.get(self.first..).unwrap_or_default()
    }

    /// Takes `data.len()` bytes from the front, or nothing when there are fewer.
    pub fn read(&mut self, data: &mut [u8]) -> Result<(), QueueError> {
        if data.len() > self.length {
            return Err(QueueError::Request("it is shorter than its header"));
        }
        let mut done = 0;
        self.advance_with(data.len(), |slice| {
            done += slice.copy_to(data.get_mut(done..).unwrap_or_default());
        });
        Ok(())
    }

    /// Takes a little-endian structure from the front.
    pub fn read_object<T: ByteValued + Default>(&mut self) -> Result<T, QueueError> {
        let mut object = T::default();
        self.read(object.as_mut_slice())?;
        Ok(object)
    }

    /// Puts `data` to the front, or nothing when there is not enough room.
    pub fn write(&mut self, data: &[u8]) -> Result<(), QueueError> {
        if data.len() > self.length {
            return Err(QueueError::Request("it has no room for its answer"));
        }
        let mut done = 0;
        self.advance_with(data.len(), |slice| {
            let rest = data.get(done..).unwrap_or_default();
            let part = slice.len().min(rest.len());
            slice.copy_from(rest.get(..part).unwrap_or_default());
            done += part;
        });
        Ok(())
    }

    /// Splits off everything from byte `at` on: `self` keeps the front.
    pub fn split_off(&mut self, at: usize) -> Result<Buffers<'m>, QueueError> {
        if at > self.length {
            return Err(QueueError::Request("it is shorter than its parts"));
        }
        let mut kept = Vec::new();
        let mut front = std::mem::take(self);
        front.advance_with(at, |slice| kept.push(slice));
        *self = Buffers { slices: kept, first: 0, length: at };
        Ok(front)
    }

    /// Takes the last byte away: many devices have their answer's status there.
    pub fn split_last(&mut self) -> Result<GuestSlice<'m>, QueueError> {
        let missing = QueueError::Request("it has no room for its status");
        let Some(slice) = self.slices.last_mut().filter(|_| self.length > 0) else { return Err(missing) };
        let Ok((rest, last)) = slice.split_at(slice.len().saturating_sub(1)) else { return Err(missing) };
        *slice = rest;
        if rest.is_empty() {
            self.slices.pop();
        }
        self.length -= 1;
        Ok(last)
    }

    /// Forgets everything after the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        let mut excess = self.length.saturating_sub(length);
        self.length -= excess;
        while excess > 0 {
            let Some(last) = self.slices.pop() else { return };
            let keep = last.len().saturating_sub(excess);
            excess = excess.saturating_sub(last.len());
            if let Ok(kept) = last.subslice(0, keep)
                && keep > 0
            {
                self.slices.push(kept);
            }
        }
    }

    /// Uses up `length` bytes at the front.
    pub fn skip(&mut self, length: usize) {
        self.advance_with(length.min(self.length), |_| ());
    }

    fn clear(&mut self) {
        self.slices.clear();
        self.first = 0;
        self.length = 0;
    }

    pub(in crate::vmm::virtio) fn push(&mut self, slice: GuestSlice<'m>) {
        if !slice.is_empty() {
            // A chain has fewer than 2^32 bytes, so the sum fits.
            self.length += slice.len();
            self.slices.push(slice);
        }
    }

    /// Goes forward by `length` bytes, at most what is left, calling `visit` with each piece that is passed.
    fn advance_with(&mut self, length: usize, mut visit: impl FnMut(GuestSlice<'m>)) {
        let mut rest = length.min(self.length);
        self.length -= rest;
        while rest > 0 {
            let Some(slice) = self.slices.get_mut(self.first) else { return };
            if slice.len() <= rest {
                rest -= slice.len();
                self.first += 1;
                visit(*slice);
            } else if let Ok((front, back)) = slice.split_at(rest) {
                rest = 0;
                *slice = back;
                visit(front);
            }
        }
    }
}

/// A table of descriptors.
pub(super) struct Table {
    pub address: u64,
    pub size: u32,
    pub is_indirect: bool,
}

/// The descriptors of a chain, from its head on. It ends at the first that it cannot follow.
pub(super) struct Walk<'m> {
    pub memory: &'m GuestMemory,
    pub table: Table,
    pub next: Option<u16>,
}

impl Iterator for Walk<'_> {
    type Item = Descriptor;

    fn next(&mut self) -> Option<Descriptor> {
        const SIZE: u32 = size_of::<Descriptor>() as u32;
        loop {
            let index = self.next.take().filter(|&index| u32::from(index) < self.table.size)?;
            let address = self.table.address.checked_add(u64::from(index) * u64::from(SIZE))?;
            let descriptor: Descriptor = self.memory.read_obj(GuestAddress(address)).ok()?;
            if !descriptor.refers_to_indirect_table() {
                self.next = descriptor.has_next().then(|| descriptor.next());
                return Some(descriptor);
            }
            // An indirect table lies in no other (section 2.7.5.3.1).
            let length = descriptor.len();
            if self.table.is_indirect || length == 0 || !length.is_multiple_of(SIZE) {
                return None;
            }
            self.table = Table { address: descriptor.addr().0, size: length / SIZE, is_indirect: true };
            self.next = Some(0);
        }
    }
}
