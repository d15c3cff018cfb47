//! Making an image larger.
//!
//! Everything new (a longer L1 table, L2 tables, and what counts their references) is written into one run of clusters
//! behind the file's end and is on the disk before one write of the header makes it count. Interrupted before that, the
//! image is what it was, with some lost room at most; after that, it has the new size.
//!
//! What is new reads as zeroes: what an interrupted shrinking has left behind the end is cleared first, and where the image
//! has a backing file, which may be longer, the new clusters are marked as zero.

use std::{fs::File, io};

use rustix::{fs::FallocateFlags, io::Errno};

use super::{
    Header, Qcow2Error,
    header::{L1_MAX, REFCOUNT_TABLE_MAX},
    shrink::{clear_tail, drop_behind, give_back},
    tables::{COPIED, L1Entry, Refcounts, ZERO, read_l1, read_l2},
    write_table,
};
use crate::progress::Watch;

/// Makes the disk larger.
pub fn grow(file: &File, size: u64, watch: Watch<'_>) -> Result<(), Qcow2Error> {
    let header = Header::read(file)?;
    header.check_resizable()?;
    let entries = size.div_ceil(header.l2_reach());
    if entries * 8 > L1_MAX {
        let most = L1_MAX / 8 * header.l2_reach();
        return Err(Qcow2Error::Refused(format!(
            "with clusters of {} bytes it can have {most} bytes at most. Convert it with a larger --cluster-size",
            header.cluster_size()
        )));
    }
    let based = header.backing_file.is_some();
    if based && (header.version < 3 || !header.size.is_multiple_of(header.cluster_size())) {
        let reason = "it is based on another image and cannot say where the new part reads as zeroes. Convert it first";
        return Err(Qcow2Error::Refused(reason.to_owned()));
    }
    drop_behind(file, &header, watch)?;
    clear_tail(file, &header)?;
    Growth::new(file, &header, size, entries as usize, based)?.carry_out(file, header)
}

/// What is to be written.
struct Growth {
    size: u64,
    /// The L1 table as it will be.
    l1: Vec<u64>,
    /// Whether it needs another place.
    moves: bool,
    /// The indices of its entries that get a new L2 table, and the first entry of that which is new.
    new_tables: Vec<(usize, usize)>,
    /// L2 tables that get marks: their place and content.
    marked: Vec<(u64, Vec<u64>)>,
    refcounts: Refcounts,
}

impl Growth {
    fn new(file: &File, header: &Header, size: u64, entries: usize, based: bool) -> Result<Self, Qcow2Error> {
        let mut l1 = read_l1(file, header)?;
        let room = header.clusters(u64::from(header.l1_entries) * 8) * header.l2_entries();
        let moves = entries as u64 > room;
        l1.resize(entries.max(l1.len()), 0);
        let mut growth = Self {
            size,
            l1,
            moves,
            new_tables: Vec::new(),
            marked: Vec::new(),
            refcounts: Refcounts::read(file, header)?,
        };
        if based {
            let (first, end) = (header.clusters(header.size), header.clusters(size));
            let per_table = header.l2_entries();
            for index in first / per_table..end.div_ceil(per_table) {
                let place = growth.l1.get(index as usize).map_or(0, |&entry| L1Entry(entry).offset());
                // What lies before it is not new, and shows the backing file.
                let from = first.saturating_sub(index * per_table) as usize;
                if place == 0 {
                    growth.new_tables.push((index as usize, from));
                    continue;
                }
                let mut table = read_l2(file, header, place)?;
                table.get_mut(from..).unwrap_or_default().fill(ZERO);
                growth.marked.push((place, table));
            }
        }
        Ok(growth)
    }

    fn carry_out(mut self, file: &File, mut header: Header) -> Result<(), Qcow2Error> {
        let cluster = header.cluster_size();
        let old = header.clone();
        let l1_clusters = if self.moves { header.clusters(self.l1.len() as u64 * 8) } else { 0 };
        let wanted = l1_clusters + self.new_tables.len() as u64;
        let first = header.clusters(super::length(file)?);
        let run = Run::plan(&self.refcounts, &header, first, wanted)?;
        run.reserve(file, &header)?;

        if self.moves {
            header.l1_offset = first * cluster;
        }
        header.l1_entries = self.l1.len() as u32;
        header.size = self.size;
        for (number, &(index, from)) in self.new_tables.iter().enumerate() {
            let place = (first + l1_clusters + number as u64) * cluster;
            let mut table = vec![ZERO; header.l2_entries() as usize];
            table.iter_mut().take(from).for_each(|entry| *entry = 0);
            write_table(file, place, &table)?;
            if let Some(entry) = self.l1.get_mut(index) {
                *entry = place | COPIED;
            }
        }
        run.write_counts(file, &mut self.refcounts, &mut header)?;
        for (place, table) in &self.marked {
            write_table(file, *place, table)?;
        }
        if self.moves {
            write_table(file, header.l1_offset, &self.l1)?;
        }
        file.sync_data()?;
        if !self.moves {
            // Only entries behind the disk's size change: of tables that are counted by now.
            write_table(file, header.l1_offset, &self.l1)?;
            file.sync_data()?;
        }
        header.write_geometry(file)?;
        file.sync_data()?;

        let mut left = Vec::new();
        if self.moves {
            let start = old.l1_offset >> old.cluster_bits;
            left.extend(start..start + old.clusters(u64::from(old.l1_entries) * 8));
        }
        if header.refcount_table_offset != old.refcount_table_offset {
            let start = old.refcount_table_offset >> old.cluster_bits;
            left.extend(start..start + u64::from(old.refcount_table_clusters));
        }
        give_back(file, &header, &self.refcounts, &mut left)
    }
}

/// A run of new clusters behind the file's end: first what was wanted, then the refcount blocks that are needed to count all
/// of them, then, if the refcount table has no room for those blocks, a longer one.
#[derive(Debug)]
struct Run {
    first: u64,
    /// The numbers of the new blocks.
    blocks: Vec<usize>,
    /// Where the new blocks begin.
    blocks_at: u64,
    /// Clusters of the new table; 0: the old one will do.
    table: u64,
    end: u64,
}

impl Run {
    fn plan(refcounts: &Refcounts, header: &Header, first: u64, wanted: u64) -> Result<Self, Qcow2Error> {
        let blocks_at = first + wanted;
        let mut run = Self { first, blocks: Vec::new(), blocks_at, table: 0, end: blocks_at };
        if wanted == 0 {
            return Ok(run);
        }
        // Each block may need another one to count it; as one counts thousands, this soon ends.
        loop {
            let (start, last) = (refcounts.locate(first).0, refcounts.locate(run.end - 1).0);
            run.blocks = (start..=last).filter(|&block| refcounts.place(block).is_none()).collect();
            run.table = match last < refcounts.blocks.len() {
                true => 0,
                // Half as many again, so that this does not come often.
                false => header.clusters((last as u64 + 1) * 12),
            };
            let end = blocks_at + run.blocks.len() as u64 + run.table;
            if run.table << header.cluster_bits > REFCOUNT_TABLE_MAX {
                let reason = "its reference counts have no room left. Convert it with a larger --cluster-size";
                return Err(Qcow2Error::Refused(reason.to_owned()));
            }
            if end == run.end {
                return Ok(run);
            }
            run.end = end;
        }
    }

    /// Makes sure of the room before anything changes.
    fn reserve(&self, file: &File, header: &Header) -> io::Result<()> {
        if self.end == self.first {
            return Ok(());
        }
        let length = super::length(file)?;
        let (start, bytes) = (self.first << header.cluster_bits, (self.end - self.first) << header.cluster_bits);
        match rustix::fs::fallocate(file, FallocateFlags::empty(), start, bytes) {
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NODEV) => Ok(()),
            Err(error) => {
                // It may have got a part of it.
                let _ = file.set_len(length);
                Err(error.into())
            }
        }
    }

    /// Counts one reference to each of the clusters.
    fn write_counts(&self, file: &File, refcounts: &mut Refcounts, header: &mut Header) -> Result<(), Qcow2Error> {
        if self.end == self.first {
            return Ok(());
        }
        let (start, last) = (refcounts.locate(self.first).0, refcounts.locate(self.end - 1).0);
        let mut places = Vec::new();
        for number in start..=last {
            let new = self.blocks.iter().position(|&block| block == number);
            let mut block = match new {
                Some(position) => refcounts.empty((self.blocks_at + position as u64) << header.cluster_bits),
                None => match refcounts.block(file, number)? {
                    Some(block) => block,
                    None => return Err(Qcow2Error::Malformed("its refcount table changes".to_owned())),
                },
            };
            let per_block = header.counts_per_block();
            let range = number as u64 * per_block..(number as u64 + 1) * per_block;
            for cluster in range.start.max(self.first)..range.end.min(self.end) {
                let index = refcounts.locate(cluster).1;
                if block.count(index) != 0 {
                    return Err(Qcow2Error::Unclean("it counts references behind its end".to_owned()));
                }
                block.set_count(index, 1);
            }
            if new.is_some() {
                places.push((number, block.place));
            }
            block.write(file)?;
        }
        // The blocks are whole before anything leads to them.
        file.sync_data()?;
        let entries = refcounts.blocks.len();
        if self.table > 0 {
            refcounts.blocks.resize(((self.table << header.cluster_bits) / 8) as usize, 0);
        }
        for &(number, place) in &places {
            if let Some(entry) = refcounts.blocks.get_mut(number) {
                *entry = place;
            }
        }
        if self.table > 0 {
            header.refcount_table_offset = (self.blocks_at + self.blocks.len() as u64) << header.cluster_bits;
            header.refcount_table_clusters = self.table as u32;
            write_table(file, header.refcount_table_offset, &refcounts.blocks)?;
        } else if !places.is_empty() {
            write_table(file, header.refcount_table_offset, refcounts.blocks.get(..entries).unwrap_or_default())?;
        }
        Ok(())
    }
}
