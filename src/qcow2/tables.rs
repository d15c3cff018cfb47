//! Entries of qcow2's tables.
//!
//! Specification: QEMU's docs/interop/qcow2.rst, "Host cluster management" and "Cluster mapping".

use std::{fs::File, io};

use super::{Header, Qcow2Error, read_padded, read_table, write_table};

/// "Refcount is exactly one", in L1 and L2 entries.
pub const COPIED: u64 = 1 << 63;
/// A compressed cluster, in L2 entries.
const COMPRESSED: u64 = 1 << 62;
/// Reads as zeroes, in L2 entries of version 3.
pub const ZERO: u64 = 1;
/// Where a cluster lies.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bits of an L1 entry that must be 0.
const L1_RESERVED: u64 = !(COPIED | OFFSET);
/// Bits of an entry of the refcount table that must be 0.
const REFCOUNT_RESERVED: u64 = 0x1ff;

/// What an entry of an L1 table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L1Entry(pub u64);

impl L1Entry {
    /// Where the L2 table lies; 0: there is none.
    pub fn offset(self) -> u64 {
        self.0 & OFFSET
    }

    /// Whether bits are set that must not be.
    pub fn has_reserved_bits(self) -> bool {
        self.0 & L1_RESERVED != 0
    }

    /// Whether the L2 table is said to have one user.
    pub fn is_copied(self) -> bool {
        self.0 & COPIED != 0
    }
}

/// What an entry of an L2 table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// Nothing is stored: zeroes, or what the backing file has.
    Unallocated,
    /// Reads as zeroes, whatever lies at the place, if there is one.
    Zero(Option<u64>),
    /// Data, at this place.
    Data(u64),
    /// Compressed data: at this place, so many bytes, neither of which has to fit clusters.
    Compressed(u64, u64),
}

impl Cluster {
    /// Reads an entry.
    pub fn new(entry: u64, header: &Header) -> Self {
        if entry & COMPRESSED != 0 {
            // The place takes the lower bits, the number of further sectors the rest.
            let bits = 62 - (header.cluster_bits - 8);
            let offset = entry & ((1 << bits) - 1);
            let sectors = ((entry & !(COPIED | COMPRESSED)) >> bits) + 1;
            return Self::Compressed(offset, sectors * 512 - offset % 512);
        }
        let offset = entry & OFFSET;
        match header.version >= 3 && entry & ZERO != 0 {
            true => Self::Zero((offset != 0).then_some(offset)),
            // With the data in another file even offset 0 is data.
            false if offset == 0 && !(header.has_external_data() && entry & COPIED != 0) => Self::Unallocated,
            false => Self::Data(offset),
        }
    }

    /// Where the cluster lies as a whole, if it does.
    pub fn place(self) -> Option<u64> {
        match self {
            Self::Data(offset) | Self::Zero(Some(offset)) => Some(offset),
            _ => None,
        }
    }
}

/// The refcount table, and the blocks it leads to.
#[derive(Debug)]
pub struct Refcounts {
    /// Where the blocks lie; 0: there is none, and its counts are 0.
    pub blocks: Vec<u64>,
    order: u32,
    block_bytes: usize,
    per_block: u64,
}

impl Refcounts {
    /// Reads the refcount table.
    pub fn read(file: &File, header: &Header) -> Result<Self, Qcow2Error> {
        let entries = (u64::from(header.refcount_table_clusters) << header.cluster_bits) / 8;
        Ok(Self {
            blocks: read_table(file, header.refcount_table_offset, entries as usize)?,
            order: header.refcount_order,
            block_bytes: header.cluster_size() as usize,
            per_block: header.counts_per_block(),
        })
    }

    /// Whether an entry of the table has bits set that must not be.
    pub fn has_reserved_bits(entry: u64) -> bool {
        entry & REFCOUNT_RESERVED != 0
    }

    /// Which block has the count of a cluster, and at which place there.
    pub fn locate(&self, cluster: u64) -> (usize, usize) {
        ((cluster / self.per_block) as usize, (cluster % self.per_block) as usize)
    }

    /// Where the block lies that has this number.
    pub fn place(&self, block: usize) -> Option<u64> {
        self.blocks.get(block).map(|entry| entry & !REFCOUNT_RESERVED).filter(|&place| place != 0)
    }

    /// The highest count that can be written.
    pub fn most(&self) -> u64 {
        u64::MAX >> (64 - (1u32 << self.order))
    }

    /// Reads a block.
    pub fn block(&self, file: &File, block: usize) -> io::Result<Option<Block>> {
        let Some(place) = self.place(block) else { return Ok(None) };
        let bytes = read_padded(file, place, self.block_bytes)?;
        Ok(Some(Block { place, bytes, order: self.order }))
    }

    /// An empty block to be written at `place`.
    pub fn empty(&self, place: u64) -> Block {
        Block { place, bytes: vec![0; self.block_bytes], order: self.order }
    }
}

/// A refcount block.
#[derive(Debug)]
pub struct Block {
    /// Where it lies.
    pub place: u64,
    bytes: Vec<u8>,
    order: u32,
}

impl Block {
    /// The count at a place in the block. Counts smaller than a byte begin with the lowest bits.
    pub fn count(&self, index: usize) -> u64 {
        let bits = 1usize << self.order;
        if bits < 8 {
            let byte = self.bytes.get(index * bits / 8).copied().unwrap_or(0);
            return u64::from(byte >> (index * bits % 8)) & ((1 << bits) - 1);
        }
        let bytes = bits / 8;
        let count = self.bytes.get(index * bytes..(index + 1) * bytes).unwrap_or_default();
        count.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    }

    /// Changes the count at a place in the block, which [`Block::write`] makes known.
    pub fn set_count(&mut self, index: usize, count: u64) {
        let bits = 1usize << self.order;
        if bits < 8 {
            if let Some(byte) = self.bytes.get_mut(index * bits / 8) {
                let shift = index * bits % 8;
                let mask = ((1u8 << bits) - 1) << shift;
                *byte = *byte & !mask | ((count as u8) << shift) & mask;
            }
            return;
        }
        let bytes = bits / 8;
        if let Some(place) = self.bytes.get_mut(index * bytes..(index + 1) * bytes) {
            place.copy_from_slice(&count.to_be_bytes()[8 - bytes..]);
        }
    }

    /// Writes the block.
    pub fn write(&self, file: &File) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(file, &self.bytes, self.place)
    }
}

/// Reads the active L1 table.
pub fn read_l1(file: &File, header: &Header) -> io::Result<Vec<u64>> {
    read_table(file, header.l1_offset, header.l1_entries as usize)
}

/// Reads an L2 table.
pub fn read_l2(file: &File, header: &Header, offset: u64) -> io::Result<Vec<u64>> {
    read_table(file, offset, header.l2_entries() as usize)
}

/// Writes one entry of a table.
pub fn write_entry(file: &File, table: u64, index: usize, entry: u64) -> io::Result<()> {
    write_table(file, table + index as u64 * 8, &[entry])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width_are_kept_apart() {
        for order in 0..=6 {
            let mut block = Block { place: 0, bytes: vec![0; 512], order };
            let most = u64::MAX >> (64 - (1u32 << order));

            block.set_count(3, most);
            block.set_count(5, 1);
            block.set_count(3, most - 1);

            let counts: Vec<_> = (2..7).map(|index| block.count(index)).collect();
            assert_eq!(counts, [0, most - 1, 0, 1, 0], "2^{order} bits");
        }
    }
}
