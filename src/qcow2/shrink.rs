//! Making an image smaller, and giving clusters back.
//!
//! First the header gets the new size, in one step. What is stored behind it is not part of the disk from then on; the
//! entries that lead to it are cleared next, and then the clusters' counts. Interrupted, this leaves stored clusters behind
//! the end, which growing clears before anything else, or lost room, which a check finds.

use std::{fs::File, io, os::unix::fs::FileExt};

use rustix::fs::FallocateFlags;

use super::{
    Header, Qcow2Error,
    tables::{COPIED, Cluster, L1Entry, Refcounts, read_l1, read_l2, write_entry},
    write_table,
};
use crate::progress::{self, Watch};

/// So many clusters are given back in one step: each step waits for the disk.
const BATCH: usize = 1 << 20;

/// How many bytes are stored behind `size`.
pub fn stored_behind(file: &File, header: &Header, size: u64) -> Result<u64, Qcow2Error> {
    header.check_walkable()?;
    let mut stored = 0;
    let first = header.clusters(size);
    for (index, entry) in read_l1(file, header)?.into_iter().enumerate() {
        let range = guest_clusters(header, index);
        if range.end <= first || L1Entry(entry).offset() == 0 {
            continue;
        }
        let table = read_l2(file, header, L1Entry(entry).offset())?;
        let behind = table.iter().skip(first.saturating_sub(range.start) as usize);
        let is_stored =
            |entry: &&u64| matches!(Cluster::new(**entry, header), Cluster::Data(_) | Cluster::Compressed(..));
        stored += behind.filter(is_stored).count() as u64;
    }
    Ok(stored << header.cluster_bits)
}

/// Makes the disk smaller.
pub fn shrink(file: &File, size: u64, watch: Watch<'_>) -> Result<(), Qcow2Error> {
    let mut header = Header::read(file)?;
    header.check_resizable()?;
    // What another program has left there must not be taken for this disk's when something fails below.
    header.size = size;
    header.write_geometry(file)?;
    file.sync_data()?;
    drop_behind(file, &header, watch)
}

/// Clears what is stored behind the disk's size.
pub(super) fn drop_behind(file: &File, header: &Header, watch: Watch<'_>) -> Result<(), Qcow2Error> {
    let refcounts = Refcounts::read(file, header)?;
    let first = header.clusters(header.size);
    let l1 = read_l1(file, header)?;
    let mut freed = Vec::new();
    for (index, &entry) in l1.iter().enumerate() {
        let (range, place) = (guest_clusters(header, index), L1Entry(entry).offset());
        if range.end <= first || place == 0 {
            continue;
        }
        // An interruption here is no harm; see above.
        progress::step(watch, index as u64, l1.len() as u64)?;
        let mut table = read_l2(file, header, place)?;
        let keep = first.saturating_sub(range.start) as usize;
        let behind = table.get_mut(keep..).unwrap_or_default();
        for entry in behind.iter_mut() {
            match Cluster::new(*entry, header) {
                Cluster::Compressed(offset, length) => {
                    freed.extend(offset >> header.cluster_bits..=(offset + length - 1) >> header.cluster_bits);
                }
                cluster => freed.extend(cluster.place().map(|offset| offset >> header.cluster_bits)),
            }
            *entry = 0;
        }
        if keep == 0 {
            freed.push(place >> header.cluster_bits);
            write_entry(file, header.l1_offset, index, 0)?;
        } else {
            write_table(file, place, &table)?;
        }
        if freed.len() >= BATCH {
            give_back(file, header, &refcounts, &mut freed)?;
        }
    }
    give_back(file, header, &refcounts, &mut freed)
}

/// Clears what the disk's last cluster holds behind the disk's size, so that it does not come to light when the disk grows.
pub(super) fn clear_tail(file: &File, header: &Header) -> Result<(), Qcow2Error> {
    let used = header.size % header.cluster_size();
    if used == 0 {
        return Ok(());
    }
    let index = (header.size >> header.cluster_bits) / header.l2_entries();
    let l1 = read_l1(file, header)?;
    let Some(place) = l1.get(index as usize).map(|&entry| L1Entry(entry).offset()).filter(|&place| place != 0) else {
        return Ok(());
    };
    let table = read_l2(file, header, place)?;
    let index = (header.size >> header.cluster_bits) % header.l2_entries();
    let entry = table.get(index as usize).copied().unwrap_or(0);
    if let Cluster::Data(offset) = Cluster::new(entry, header) {
        if entry & COPIED == 0 {
            return Err(Qcow2Error::Unclean("its last cluster has several users".to_owned()));
        }
        file.write_all_at(&vec![0; (header.cluster_size() - used) as usize], offset + used)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Lowers the counts of clusters that no entry leads to any more, and gives their room back.
pub(super) fn give_back(
    file: &File,
    header: &Header,
    refcounts: &Refcounts,
    clusters: &mut Vec<u64>,
) -> Result<(), Qcow2Error> {
    if clusters.is_empty() {
        return Ok(());
    }
    // From here on nothing leads to them, whatever happens.
    file.sync_data()?;
    clusters.sort_unstable();
    for group in clusters.chunk_by(|one, other| refcounts.locate(*one).0 == refcounts.locate(*other).0) {
        let number = group.first().map_or(0, |&cluster| refcounts.locate(cluster).0);
        let Some(mut block) = refcounts.block(file, number)? else { continue };
        let mut free = Vec::new();
        for &cluster in group {
            let (_, index) = refcounts.locate(cluster);
            let count = block.count(index).saturating_sub(1);
            block.set_count(index, count);
            if count == 0 {
                free.push(cluster);
            }
        }
        block.write(file)?;
        for run in free.chunk_by(|one, other| one + 1 == *other) {
            punch(file, header, run);
        }
    }
    clusters.clear();
    file.sync_data()?;
    Ok(())
}

/// Gives the room of free clusters back to the file system, where it can take it.
fn punch(file: &File, header: &Header, run: &[u64]) {
    let Some(&first) = run.first() else { return };
    let (offset, length) = (first << header.cluster_bits, (run.len() as u64) << header.cluster_bits);
    let _ = rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length)
        .map_err(io::Error::from);
}

/// The disk's clusters that an entry of the L1 table stands for.
fn guest_clusters(header: &Header, index: usize) -> std::ops::Range<u64> {
    let start = index as u64 * header.l2_entries();
    start..start + header.l2_entries()
}
