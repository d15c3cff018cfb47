//! Which cluster of an image is used by what: a walk over everything that the header leads to.
//!
//! Specification: QEMU's docs/interop/qcow2.rst, "Snapshots", "Bitmaps" and "Cluster mapping".

use std::{collections::HashMap, fs::File};

use super::{
    Header, Qcow2Error,
    header::{u16_at, u32_at, u64_at},
    malformed, read_padded, read_table,
    tables::{Block, COPIED, Cluster, L1Entry, Refcounts, read_l2},
};
use crate::progress::{self, Watch};

/// What is looked at at most, so that the walk's memory stays bounded: 2^32 clusters are 256 TiB in clusters of 64 KiB.
const CLUSTERS_MAX: u64 = 1 << 32;
/// How many findings are kept in words.
const TEXTS_MAX: usize = 1000;
/// How many refcount blocks are kept in memory.
const BLOCKS_MAX: usize = 64;
/// Bytes of an entry of the snapshot table, and of the bitmap directory, without what follows it.
const SNAPSHOT_ENTRY: usize = 40;
const BITMAP_ENTRY: usize = 24;
/// The largest snapshot table and bitmap directory, as in QEMU.
const SNAPSHOT_TABLE_MAX: u64 = 64 << 20;
const BITMAP_DIRECTORY_MAX: u64 = 32 << 20;
/// Where a bitmap table's entry says that a cluster lies.
const BITMAP_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What a cluster is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The header.
    Header = 1,
    /// An L1 table.
    L1 = 1 << 1,
    /// An L2 table.
    L2 = 1 << 2,
    /// The disk's data.
    Data = 1 << 3,
    /// The refcount table.
    RefcountTable = 1 << 4,
    /// A refcount block.
    RefcountBlock = 1 << 5,
    /// The snapshot table.
    Snapshots = 1 << 6,
    /// Bitmaps and the encryption's header.
    Other = 1 << 7,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Header => "the header",
            Self::L1 => "an L1 table",
            Self::L2 => "an L2 table",
            Self::Data => "data",
            Self::RefcountTable => "the refcount table",
            Self::RefcountBlock => "a refcount block",
            Self::Snapshots => "the snapshot table",
            Self::Other => "bitmaps or keys",
        }
    }
}

/// What is wrong, counted, and the first of it in words.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub texts: Vec<String>,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text());
        }
    }
}

/// The result of the walk.
#[derive(Debug)]
pub struct Census {
    /// How often each cluster of the file is used; the highest count stands for itself and everything above.
    pub users: Vec<u16>,
    /// What each is used for: bits of [`Role`].
    roles: Vec<u8>,
    cluster_bits: u32,
    /// Entries that lead nowhere, and clusters with two purposes: no counting mends these.
    pub damage: Findings,
    /// Entries of active tables whose flag for "one user" is wrong.
    pub flags: Findings,
    /// Clusters of the disk that are stored.
    pub allocated: u64,
    /// Those of them that are compressed.
    pub compressed: u64,
}

/// Reads reference counts as they stand in the file, a few blocks at a time.
#[derive(Debug)]
pub struct StoredCounts<'a> {
    file: &'a File,
    /// The table.
    pub refcounts: &'a Refcounts,
    /// The block that was looked at last, which is mostly the next one, too.
    current: (usize, Option<Block>),
    others: HashMap<usize, Option<Block>>,
}

impl<'a> StoredCounts<'a> {
    /// The counts of this image.
    pub fn new(file: &'a File, refcounts: &'a Refcounts) -> Result<Self, Qcow2Error> {
        Ok(Self { file, refcounts, current: (0, refcounts.block(file, 0)?), others: HashMap::new() })
    }

    /// The count of a cluster.
    pub fn get(&mut self, cluster: u64) -> Result<u64, Qcow2Error> {
        let (block, index) = self.refcounts.locate(cluster);
        if block != self.current.0 {
            let next = match self.others.remove(&block) {
                Some(next) => next,
                None => self.refcounts.block(self.file, block)?,
            };
            let (number, last) = std::mem::replace(&mut self.current, (block, next));
            if self.others.len() >= BLOCKS_MAX {
                self.others.clear();
            }
            self.others.insert(number, last);
        }
        Ok(self.current.1.as_ref().map_or(0, |block| block.count(index)))
    }
}

impl Census {
    /// Walks over the whole image.
    pub fn take(file: &File, header: &Header, refcounts: &Refcounts, watch: Watch<'_>) -> Result<Self, Qcow2Error> {
        header.check_walkable()?;
        let clusters = header.clusters(super::length(file)?);
        if clusters > CLUSTERS_MAX {
            return Err(Qcow2Error::Unsupported(format!("{clusters} clusters")));
        }
        let mut census = Self {
            users: vec![0; clusters as usize],
            roles: vec![0; clusters as usize],
            cluster_bits: header.cluster_bits,
            damage: Findings::default(),
            flags: Findings::default(),
            allocated: 0,
            compressed: 0,
        };
        census.add(0, header.cluster_size(), Role::Header);
        let mut walk = Walk { file, header, census, stored: StoredCounts::new(file, refcounts)?, watch };
        walk.refcount_structures(refcounts);
        walk.l1(header.l1_offset, header.l1_entries, true)?;
        walk.snapshots()?;
        walk.bitmaps()?;
        if let Some((offset, length)) = header.encryption_header {
            walk.census.add(offset, length, Role::Other);
        }
        Ok(walk.census)
    }

    /// Notes a user of a range of bytes; `false` when it is not in the file.
    fn add(&mut self, offset: u64, length: u64, role: Role) -> bool {
        if length == 0 {
            return true;
        }
        let Some(last) = offset.checked_add(length - 1) else {
            self.damage.add(|| format!("{} at {offset} leads nowhere", role.name()));
            return false;
        };
        let (first, last) = (offset >> self.cluster_bits, last >> self.cluster_bits);
        // The file's last cluster may be shorter than the others.
        if last >= self.users.len() as u64 {
            self.damage.add(|| format!("{} at {offset} is behind the file's end", role.name()));
            return false;
        }
        for cluster in first as usize..=last as usize {
            self.users[cluster] = self.users[cluster].saturating_add(1);
            let others = self.roles[cluster] & !(role as u8);
            if others != 0 {
                self.damage.add(|| format!("cluster {cluster} is used as {} and for something else, too", role.name()));
            }
            self.roles[cluster] |= role as u8;
        }
        true
    }

    fn is_aligned(&self, offset: u64) -> bool {
        offset.is_multiple_of(1 << self.cluster_bits)
    }
}

/// The walk's state.
struct Walk<'a> {
    file: &'a File,
    header: &'a Header,
    census: Census,
    stored: StoredCounts<'a>,
    watch: Watch<'a>,
}

impl Walk<'_> {
    fn refcount_structures(&mut self, refcounts: &Refcounts) {
        let table = u64::from(self.header.refcount_table_clusters) << self.header.cluster_bits;
        self.census.add(self.header.refcount_table_offset, table, Role::RefcountTable);
        for (index, &entry) in refcounts.blocks.iter().enumerate() {
            let Some(place) = refcounts.place(index) else { continue };
            if Refcounts::has_reserved_bits(entry) || !self.census.is_aligned(place) {
                self.census.damage.add(|| format!("refcount block {index} is at {entry:#x}, where none can be"));
                continue;
            }
            self.census.add(place, self.header.cluster_size(), Role::RefcountBlock);
        }
    }

    fn l1(&mut self, offset: u64, entries: u32, active: bool) -> Result<(), Qcow2Error> {
        if !self.census.is_aligned(offset) {
            self.census.damage.add(|| format!("the L1 table at {offset} does not begin a cluster"));
            return Ok(());
        }
        if !self.census.add(offset, u64::from(entries) * 8, Role::L1) {
            return Ok(());
        }
        for (index, entry) in read_table(self.file, offset, entries as usize)?.into_iter().enumerate() {
            progress::step(self.watch, index as u64, entries.into())?;
            let (entry, place) = (L1Entry(entry), offset + index as u64 * 8);
            if entry.has_reserved_bits() {
                self.census.damage.add(|| format!("entry {index} of the L1 table at {offset} has unknown bits"));
            }
            let table = entry.offset();
            if table == 0 {
                continue;
            }
            if !self.census.is_aligned(table) {
                self.census.damage.add(|| format!("the L2 table at {table} does not begin a cluster"));
                continue;
            }
            if !self.census.add(table, self.header.cluster_size(), Role::L2) {
                continue;
            }
            if active {
                self.check_flag(place, entry.0, table)?;
            }
            self.l2(table, active)?;
        }
        Ok(())
    }

    fn l2(&mut self, table: u64, active: bool) -> Result<(), Qcow2Error> {
        for (index, entry) in read_l2(self.file, self.header, table)?.into_iter().enumerate() {
            let place = table + index as u64 * 8;
            let cluster = Cluster::new(entry, self.header);
            let stored = u64::from(active && !matches!(cluster, Cluster::Unallocated | Cluster::Zero(None)));
            self.census.allocated += stored;
            match cluster {
                Cluster::Unallocated | Cluster::Zero(None) => {}
                Cluster::Compressed(offset, length) => {
                    self.census.compressed += stored;
                    if entry & COPIED != 0 {
                        self.census.damage.add(|| format!("a compressed cluster at {offset} is marked as writable"));
                    }
                    // What is counted in whole sectors may go beyond the file's end, by less than one.
                    let end = self.census.users.len() as u64 * self.header.cluster_size();
                    self.census.add(offset, length.min(end.saturating_sub(offset)).max(1), Role::Data);
                }
                Cluster::Data(_) | Cluster::Zero(Some(_)) if self.header.has_external_data() => {}
                Cluster::Data(offset) | Cluster::Zero(Some(offset)) => {
                    if !self.census.is_aligned(offset) {
                        self.census.damage.add(|| format!("data at {offset} do not begin a cluster"));
                        continue;
                    }
                    if self.census.add(offset, self.header.cluster_size(), Role::Data) && active {
                        self.check_flag(place, entry, offset)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the flag for "one user" in the entry at `place` says what the count of the cluster at `offset` says.
    fn check_flag(&mut self, place: u64, entry: u64, offset: u64) -> Result<(), Qcow2Error> {
        let cluster = offset >> self.header.cluster_bits;
        let count = self.stored.get(cluster)?;
        if (count == 1) != (entry & COPIED != 0) {
            let flags = &mut self.census.flags;
            flags.add(|| format!("the entry at {place} has the wrong flag for a cluster with {count} users"));
        }
        Ok(())
    }

    fn snapshots(&mut self) -> Result<(), Qcow2Error> {
        let start = self.header.snapshots_offset;
        let mut offset = start;
        for _ in 0..self.header.snapshots {
            let entry = read_padded(self.file, offset, SNAPSHOT_ENTRY)?;
            let lengths = [u32_at(&entry, 36), u16_at(&entry, 12).into(), u16_at(&entry, 14).into()];
            let length = SNAPSHOT_ENTRY as u64 + lengths.into_iter().map(u64::from).sum::<u64>();
            offset = match offset.checked_add(length.next_multiple_of(8)) {
                Some(next) if next - start <= SNAPSHOT_TABLE_MAX => next,
                _ => return malformed("its snapshot table has no end"),
            };
            self.l1(u64_at(&entry, 0), u32_at(&entry, 8), false)?;
        }
        self.census.add(start, offset - start, Role::Snapshots);
        Ok(())
    }

    fn bitmaps(&mut self) -> Result<(), Qcow2Error> {
        let Some((start, length, count)) = self.header.bitmaps else { return Ok(()) };
        if length > BITMAP_DIRECTORY_MAX || !self.census.add(start, length, Role::Other) {
            return malformed("its bitmap directory is nowhere");
        }
        let directory = read_padded(self.file, start, length as usize)?;
        let mut rest = directory.as_slice();
        for _ in 0..count {
            let (table, entries) = (u64_at(rest, 0), u32_at(rest, 8));
            let names = usize::from(u16_at(rest, 18)) + u32_at(rest, 20) as usize;
            if self.census.add(table, u64::from(entries) * 8, Role::Other) {
                for entry in read_table(self.file, table, entries as usize)? {
                    let offset = entry & BITMAP_OFFSET;
                    if offset != 0 {
                        self.census.add(offset, self.header.cluster_size(), Role::Other);
                    }
                }
            }
            rest = rest.get((BITMAP_ENTRY + names).next_multiple_of(8)..).unwrap_or_default();
        }
        Ok(())
    }
}
