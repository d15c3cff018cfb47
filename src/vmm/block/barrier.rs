//! Flushing a file, once and for all: when the kernel could not write what is in its page cache, it says so once, and drops it.
//! The next flush would say that all is well. So the first that fails is the last.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicBool, Ordering},
};

/// What becomes of the flushes of a file.
#[derive(Debug)]
pub struct Barrier {
    /// Whether it goes past the page cache: then nothing can be lost between a write and a flush, which may be tried again.
    direct: bool,
    lost: AtomicBool,
}

impl Barrier {
    /// A barrier for a file that is opened with O_DIRECT, or not.
    pub fn new(direct: bool) -> Self {
        Self { direct, lost: AtomicBool::new(false) }
    }

    /// Brings to stable storage what was written to the file, by `sync`.
    pub fn flush(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.is_lost() {
            return Err(io::Error::other("an earlier flush has failed, and what was written before it may be lost"));
        }
        sync().inspect_err(|_| self.failed())
    }

    /// A flush has failed.
    pub fn failed(&self) {
        if !self.direct {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Whether something may be lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Brings the data of `file` to stable storage.
    pub fn flush_file(&self, file: &File) -> io::Result<()> {
        self.flush(|| file.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_flush_that_failed_no_flush_of_cached_data_succeeds() {
        let cached = Barrier::new(false);

        let outcomes = [
            cached.flush(|| Ok(())).is_ok(),
            cached.flush(|| Err(io::ErrorKind::StorageFull.into())).is_ok(),
            cached.flush(|| Ok(())).is_ok(),
        ];

        assert_eq!(outcomes, [true, false, false]);
        assert!(cached.is_lost());
    }

    #[test]
    fn without_a_cache_a_flush_can_be_tried_again() {
        let direct = Barrier::new(true);

        let failed = direct.flush(|| Err(io::ErrorKind::StorageFull.into()));

        assert!(failed.is_err() && direct.flush(|| Ok(())).is_ok() && !direct.is_lost());
    }
}
