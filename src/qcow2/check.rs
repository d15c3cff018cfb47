//! Checking an image: whether its reference counts are what the walk over its tables finds.

use std::fs::File;

use serde::Serialize;

use super::{
    Header, Qcow2Error,
    census::{Census, Findings, StoredCounts},
    header::{CORRUPT, DIRTY},
    tables::Refcounts,
};
use crate::progress::Watch;

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What can lose data: counts that are too low, wrong flags, entries that lead nowhere, clusters with two purposes.
    pub corruptions: u64,
    /// Clusters that nobody uses and that are counted as used: lost room, no lost data.
    pub leaks: u64,
    /// Of the corruptions, those that no repair mends: entries that lead nowhere, clusters with two purposes.
    pub damage: u64,
    /// Whether the image says of itself that it was not closed properly.
    pub dirty: bool,
    /// Whether the image says of itself that it is damaged.
    pub marked_corrupt: bool,
    /// Bytes of a cluster.
    pub cluster_size: u64,
    /// The disk's clusters.
    pub total_clusters: u64,
    /// Those that are stored.
    pub allocated_clusters: u64,
    /// Those of them that are compressed.
    pub compressed_clusters: u64,
    /// The first findings in words, corruptions before leaks.
    pub findings: Vec<String>,
}

impl Report {
    /// Whether all is as it should be.
    pub fn is_clean(&self) -> bool {
        self.corruptions == 0 && self.leaks == 0 && !self.dirty && !self.marked_corrupt
    }
}

/// What the walk has found, and how the counts differ from it.
#[derive(Debug)]
pub(super) struct Comparison {
    pub header: Header,
    pub refcounts: Refcounts,
    pub census: Census,
    /// Counts that are too low.
    pub low: Findings,
    /// Counts that are too high.
    pub leaks: Findings,
}

/// Checks the image. It must not change meanwhile.
pub fn check(file: &File, watch: Watch<'_>) -> Result<Report, Qcow2Error> {
    Ok(compare(file, watch)?.report())
}

pub(super) fn compare(file: &File, watch: Watch<'_>) -> Result<Comparison, Qcow2Error> {
    let header = Header::read(file)?;
    let refcounts = Refcounts::read(file, &header)?;
    let census = Census::take(file, &header, &refcounts, watch)?;
    let (mut low, mut leaks) = (Findings::default(), Findings::default());
    let mut stored = StoredCounts::new(file, &refcounts)?;
    for (cluster, &users) in census.users.iter().enumerate() {
        let count = stored.get(cluster as u64)?;
        match count.min(u16::MAX.into()).cmp(&users.into()) {
            std::cmp::Ordering::Less => {
                low.add(|| format!("cluster {cluster} has {users} users and a reference count of {count}"));
            }
            std::cmp::Ordering::Greater => {
                leaks
                    .add(|| format!("cluster {cluster} has {users} users and a reference count of {count}: lost room"));
            }
            std::cmp::Ordering::Equal => {}
        }
    }
    Ok(Comparison { header, refcounts, census, low, leaks })
}

impl Comparison {
    pub fn report(self) -> Report {
        let Self { header, census, low, leaks, .. } = self;
        let findings = [census.damage.texts, low.texts, census.flags.texts, leaks.texts].concat();
        Report {
            corruptions: census.damage.count + low.count + census.flags.count,
            leaks: leaks.count,
            damage: census.damage.count,
            dirty: header.incompatible & DIRTY != 0,
            marked_corrupt: header.incompatible & CORRUPT != 0,
            cluster_size: header.cluster_size(),
            total_clusters: header.clusters(header.size),
            allocated_clusters: census.allocated,
            compressed_clusters: census.compressed,
            findings,
        }
    }
}
