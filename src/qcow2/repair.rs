//! Mending reference counts.
//!
//! Counts only follow what the tables say; the tables themselves are never guessed at. Therefore an image whose tables are
//! damaged is left as it is: what looks unused there may be what a damaged entry has meant.
//!
//! The order makes every step safe to be the last: counts that are too low are raised before anything else (nothing is
//! overwritten from then on), then the flags are set, then counts that are too high are lowered, and at the end the marks
//! of an unclean image are taken away.

use std::fs::File;

use super::{
    Qcow2Error,
    check::{Comparison, Report, check, compare},
    header::{CORRUPT, DIRTY},
    tables::{COPIED, Cluster, L1Entry, read_l1, read_l2, write_entry},
};
use crate::progress::Watch;

/// What to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Repair {
    /// Give lost room back
    Leaks,
    /// Correct reference counts and their flags, too
    All,
}

/// Mends the image and checks it again.
pub fn repair(file: &File, what: Repair, watch: Watch<'_>) -> Result<Report, Qcow2Error> {
    let found = compare(file, watch)?;
    if found.census.damage.count > 0 {
        return Err(Qcow2Error::Malformed(format!(
            "its tables are damaged in {} places, and what they have meant cannot be known",
            found.census.damage.count
        )));
    }
    if what == Repair::Leaks && (found.low.count > 0 || found.census.flags.count > 0) {
        return Err(Qcow2Error::Unclean("it has more wrong than lost room".to_owned()));
    }
    if what == Repair::All {
        found.check_blocks()?;
        found.write_counts(file, |count, users| count < users)?;
        file.sync_data()?;
        found.write_flags(file)?;
        file.sync_data()?;
    }
    found.write_counts(file, |count, users| count > users)?;
    file.sync_data()?;
    let mut header = found.header;
    if what == Repair::All && header.incompatible & (DIRTY | CORRUPT) != 0 {
        header.incompatible &= !(DIRTY | CORRUPT);
        header.write_incompatible(file)?;
    }
    file.sync_all()?;
    // It is mended by now: too late to stop.
    check(file, &|_, _| true)
}

impl Comparison {
    /// Refuses when a count that is to be raised has no block, or is too narrow.
    fn check_blocks(&self) -> Result<(), Qcow2Error> {
        let most = self.refcounts.most();
        let mut users = self.census.users.iter().enumerate().filter(|&(_, &users)| users > 0);
        let impossible = users.any(|(cluster, &users)| {
            let (block, _) = self.refcounts.locate(cluster as u64);
            self.refcounts.place(block).is_none() || u64::from(users) > most || users == u16::MAX
        });
        match impossible {
            true => Err(Qcow2Error::Malformed("it has no room for the reference counts that it needs".to_owned())),
            false => Ok(()),
        }
    }

    /// Sets those counts to what the walk has found that `which` says are to be.
    fn write_counts(&self, file: &File, which: impl Fn(u64, u64) -> bool) -> Result<(), Qcow2Error> {
        let mut clusters = self.census.users.iter().enumerate().peekable();
        while let Some(&(first, _)) = clusters.peek() {
            let (number, _) = self.refcounts.locate(first as u64);
            let mut block = self.refcounts.block(file, number)?;
            let mut changed = false;
            while let Some((cluster, &users)) =
                clusters.next_if(|&(cluster, _)| self.refcounts.locate(cluster as u64).0 == number)
            {
                let (_, index) = self.refcounts.locate(cluster as u64);
                if let Some(block) = &mut block
                    && users < u16::MAX
                    && which(block.count(index), users.into())
                {
                    block.set_count(index, users.into());
                    changed = true;
                }
            }
            if let Some(block) = block.filter(|_| changed) {
                block.write(file)?;
            }
        }
        Ok(())
    }

    /// Sets the flag for "one user" in all entries of the active tables.
    fn write_flags(&self, file: &File) -> Result<(), Qcow2Error> {
        let header = &self.header;
        let right = |entry: u64, offset: u64| {
            let users = self.census.users.get((offset >> header.cluster_bits) as usize);
            if users == Some(&1) { entry | COPIED } else { entry & !COPIED }
        };
        for (index, entry) in read_l1(file, header)?.into_iter().enumerate() {
            let table = L1Entry(entry).offset();
            if table == 0 {
                continue;
            }
            if right(entry, table) != entry {
                write_entry(file, header.l1_offset, index, right(entry, table))?;
            }
            if header.has_external_data() {
                continue;
            }
            for (index, entry) in read_l2(file, header, table)?.into_iter().enumerate() {
                if let Some(offset) = Cluster::new(entry, header).place()
                    && right(entry, offset) != entry
                {
                    write_entry(file, table, index, right(entry, offset))?;
                }
            }
        }
        Ok(())
    }
}
