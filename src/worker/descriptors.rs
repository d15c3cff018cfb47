//! Takes over the file descriptors that the launch description names, and closes all others.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::FileTypeExt,
    },
};

use rustix::io::FdFlags;
use vmm_sys_util::eventfd::EventFd;

use super::launch::LAUNCH_LIMIT;

/// Reads the launch description that this process was started with, and closes it. What goes wrong is a sentence for people.
///
/// # Safety
///
/// As for [`Inherited::new`].
pub unsafe fn read_launch(fd: RawFd) -> Result<Vec<u8>, String> {
    // SAFETY: the first of what this process was started with, and nobody else takes it. A number that is not open only
    // makes the reading fail.
    let file = unsafe { File::from_raw_fd(fd) };
    let kind = file.metadata().map(|metadata| metadata.file_type());
    if !kind.is_ok_and(|kind| kind.is_file() || kind.is_fifo()) {
        // Not ours to close.
        std::mem::forget(file);
        return Err(format!("there is no launch description on file descriptor {fd}"));
    }
    let mut json = Vec::new();
    file.take(LAUNCH_LIMIT).read_to_end(&mut json).map_err(|error| format!("the launch description: {error}"))?;
    Ok(json)
}

/// Why a file descriptor could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// It is none of those that a launcher hands over.
    #[error(
        "the launch description gives file descriptor {fd} for {what}, which is none of those that a launcher opens"
    )]
    Reserved {
        /// What it should be.
        what: String,
        /// Its number.
        fd: RawFd,
    },
    /// It is named twice.
    #[error("the launch description gives file descriptor {fd} for {what} and for something else too")]
    Twice {
        /// What it should be.
        what: String,
        /// Its number.
        fd: RawFd,
    },
    /// It is not open.
    #[error("the launch description gives file descriptor {fd} for {what}, but it is not open")]
    Closed {
        /// What it should be.
        what: String,
        /// Its number.
        fd: RawFd,
    },
}

/// The file descriptors that this process was started with, from [`Inherited::FIRST`] on.
pub struct Inherited {
    taken: BTreeSet<RawFd>,
}

impl Inherited {
    /// The first that is not one of the three standard ones.
    pub const FIRST: RawFd = 3;

    /// All of them.
    ///
    /// # Safety
    ///
    /// This process has not opened anything yet, and calls this once: then nobody else owns what is taken over.
    pub unsafe fn new() -> Self {
        Self { taken: BTreeSet::new() }
    }

    /// Takes one over. It does not go on to programs that this process might start.
    pub fn take(&mut self, fd: RawFd, what: &str) -> Result<OwnedFd, DescriptorError> {
        let what = || what.to_owned();
        if fd < Self::FIRST {
            return Err(DescriptorError::Reserved { what: what(), fd });
        }
        if self.taken.contains(&fd) {
            return Err(DescriptorError::Twice { what: what(), fd });
        }
        // SAFETY: the number is only looked up; fcntl refuses one that is not open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)
            .map_err(|_| DescriptorError::Closed { what: what(), fd })?;
        self.taken.insert(fd);
        // SAFETY: it is open, and by the promise given to `new` and the check above nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Closes those that were not taken.
    pub fn close_others(self) -> io::Result<()> {
        let mut first = Self::FIRST;
        for fd in self.taken {
            close_range(first, fd - 1)?;
            first = fd.saturating_add(1);
        }
        close_range(first, RawFd::MAX)
    }
}

/// Closes every file descriptor from `first` to `last`.
fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: only called for descriptors that nobody owns: see `Inherited::new`. Neither number is negative.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first as u32, last as u32, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An eventfd as what std and rustix wait for.
pub fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: it is open for as long as the event lives, and the result does not live longer.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    // Closing all others would take the files of tests that run beside; tests/worker.rs looks at that from outside.

    #[test]
    fn a_descriptor_is_taken_over_once() {
        let fd = tempfile::tempfile().unwrap().into_raw_fd();
        // SAFETY: `fd` is given up above, and no other number is taken over.
        let mut inherited = unsafe { Inherited::new() };

        let owned = inherited.take(fd, "the log").unwrap();

        assert_eq!(owned.as_raw_fd(), fd);
        assert!(rustix::io::fcntl_getfd(&owned).unwrap().contains(FdFlags::CLOEXEC));
        assert!(matches!(inherited.take(fd, "disk0"), Err(DescriptorError::Twice { .. })));
    }

    #[test]
    fn what_is_not_open_or_not_the_launchers_is_named() {
        // SAFETY: nothing is taken over.
        let mut inherited = unsafe { Inherited::new() };

        let closed = inherited.take(1_000_000, "disk0").unwrap_err();
        let standard = inherited.take(2, "disk0").unwrap_err();
        let negative = inherited.take(-1, "disk0").unwrap_err();

        assert!(matches!(closed, DescriptorError::Closed { .. }), "{closed}");
        assert!(matches!(standard, DescriptorError::Reserved { .. }), "{standard}");
        assert!(matches!(negative, DescriptorError::Reserved { .. }), "{negative}");
    }
}
