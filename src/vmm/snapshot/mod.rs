//! The state of a machine that stands still, as a stream of bytes: written while nothing changes, and read into a new machine of
//! the same make, which then goes on where the first one stood.
//!
//! The stream is made of records with checksums ([`container`]). It begins with what must be equal in both machines
//! ([`description`]); then come devices and vCPUs, and the memory by [`pages`].
//!
//! Whoever reads a state trusts nothing in it. What is damaged, cut off, of a newer version or of another machine is refused,
//! with the reason, before the machine runs.

#![forbid(unsafe_code)]

pub mod container;
pub mod description;
mod error;
pub mod pages;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use container::is_complete;
pub use description::Description;
pub use error::SnapshotError;

/// How far the saving of a state has come. Shared between who saves and who watches.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    done: AtomicU64,
    written: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Memory to be looked at, in bytes.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Memory that has been looked at, in bytes.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes that have been written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Has the saving end as soon as it can.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`Progress::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    fn count_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), SnapshotError> {
        if self.is_cancelled() { Err(SnapshotError::Cancelled) } else { Ok(()) }
    }
}
