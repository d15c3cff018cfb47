//! What a disk has been asked for and how long it took: the counters behind QMP's `query-blockstats`.

#![forbid(unsafe_code)]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What a disk can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To read.
    Read,
    /// To write, zeroes too.
    Write,
    /// To bring everything to stable storage.
    Flush,
    /// To forget a range.
    Discard,
}

/// Counts what a disk does. Several threads may count at once.
#[derive(Debug, Default)]
pub struct Statistics {
    kinds: [Counters; 4],
    highest_written: AtomicU64,
}

#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    failed: AtomicU64,
    invalid: AtomicU64,
}

/// The counts for one kind of operation.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How many succeeded.
    pub operations: u64,
    /// How many bytes they moved.
    pub bytes: u64,
    /// How long all of them took, failed ones too, in nanoseconds.
    pub nanos: u64,
    /// How many failed on the host.
    pub failed: u64,
    /// How many made no sense: beyond the end of the disk, or writes to one that is read-only.
    pub invalid: u64,
}

impl Statistics {
    /// An operation on `bytes` bytes succeeded.
    pub fn succeeded(&self, operation: Operation, bytes: u64, took: Duration) {
        let counters = self.counters(operation);
        add(&counters.operations, 1);
        add(&counters.bytes, bytes);
        add(&counters.nanos, nanos(took));
    }

    /// An operation failed on the host.
    pub fn failed(&self, operation: Operation, took: Duration) {
        let counters = self.counters(operation);
        add(&counters.failed, 1);
        add(&counters.nanos, nanos(took));
    }

    /// An operation was refused because it made no sense.
    pub fn invalid(&self, operation: Operation) {
        add(&self.counters(operation).invalid, 1);
    }

    /// A write ended at byte `end` of the disk.
    pub fn written_up_to(&self, end: u64) {
        // Nearly always below: a look is cheaper than a change.
        if end > self.highest_written.load(Ordering::Relaxed) {
            self.highest_written.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// The counts for one kind of operation.
    pub fn counts(&self, operation: Operation) -> Counts {
        let counters = self.counters(operation);
        Counts {
            operations: counters.operations.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            nanos: counters.nanos.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            invalid: counters.invalid.load(Ordering::Relaxed),
        }
    }

    /// The end of the highest write, in bytes (`wr_highest_offset`).
    pub fn highest_written(&self) -> u64 {
        self.highest_written.load(Ordering::Relaxed)
    }

    fn counters(&self, operation: Operation) -> &Counters {
        &self.kinds[operation as usize]
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_apart() {
        let statistics = Statistics::default();

        statistics.succeeded(Operation::Read, 4096, Duration::from_nanos(10));
        statistics.succeeded(Operation::Read, 512, Duration::from_nanos(5));
        statistics.failed(Operation::Write, Duration::from_nanos(7));
        statistics.invalid(Operation::Discard);

        let read = Counts { operations: 2, bytes: 4608, nanos: 15, ..Counts::default() };
        assert_eq!(statistics.counts(Operation::Read), read);
        assert_eq!(statistics.counts(Operation::Write), Counts { failed: 1, nanos: 7, ..Counts::default() });
        assert_eq!(statistics.counts(Operation::Discard), Counts { invalid: 1, ..Counts::default() });
        assert_eq!(statistics.counts(Operation::Flush), Counts::default());
    }

    #[test]
    fn the_highest_write_stays() {
        let statistics = Statistics::default();

        statistics.written_up_to(1000);
        statistics.written_up_to(500);

        assert_eq!(statistics.highest_written(), 1000);
    }
}
