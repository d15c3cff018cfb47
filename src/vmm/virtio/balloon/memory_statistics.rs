//! What a guest tells about its memory (virtio 1.2, section 5.5.6.3).

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, time::SystemTime};

use crate::vmm::virtio::queue::Buffers;

/// Bytes of one entry: a tag of two and a value of eight.
const ENTRY: usize = 10;
/// The most entries that are read of one message; there are 16 tags.
const MAX_ENTRIES: usize = 64;

/// QMP's names of the tags, by their numbers.
const NAMES: [&str; 16] = [
    "stat-swap-in",
    "stat-swap-out",
    "stat-major-faults",
    "stat-minor-faults",
    "stat-free-memory",
    "stat-total-memory",
    "stat-available-memory",
    "stat-disk-caches",
    "stat-htlb-pgalloc",
    "stat-htlb-pgfail",
    "stat-oom-kills",
    "stat-alloc-stalls",
    "stat-async-scans",
    "stat-direct-scans",
    "stat-async-reclaims",
    "stat-direct-reclaims",
];

/// The statistics of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryStatistics {
    /// When they came.
    pub time: SystemTime,
    values: BTreeMap<u16, u64>,
}

impl MemoryStatistics {
    /// Reads what a driver has sent; of two values for one tag the last counts.
    pub(super) fn read(buffers: &mut Buffers<'_>) -> Self {
        let mut values = BTreeMap::new();
        let mut entry = [0; ENTRY];
        for _ in 0..MAX_ENTRIES {
            if buffers.read(&mut entry).is_err() {
                break;
            }
            let [a, b, value @ ..] = entry;
            values.insert(u16::from_le_bytes([a, b]), u64::from_le_bytes(value));
        }
        Self { time: SystemTime::now(), values }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values that the guest has sent, by QMP's names. Amounts of memory are in bytes, the rest are counts.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.values.iter().filter_map(|(&tag, &value)| Some((*NAMES.get(usize::from(tag))?, value)))
    }

    /// Memory that has come back from the guest's swap space since it began, in bytes.
    pub fn swapped_in(&self) -> Option<u64> {
        self.values.get(&0).copied()
    }

    /// Memory that has gone to the guest's swap space since it began, in bytes.
    pub fn swapped_out(&self) -> Option<u64> {
        self.values.get(&1).copied()
    }

    /// Memory that nobody uses, in bytes.
    pub fn free(&self) -> Option<u64> {
        self.values.get(&4).copied()
    }

    /// All the memory that the guest's kernel knows of, in bytes.
    pub fn total(&self) -> Option<u64> {
        self.values.get(&5).copied()
    }

    /// Memory that programs could have without swapping, in bytes.
    pub fn available(&self) -> Option<u64> {
        self.values.get(&6).copied()
    }
}
