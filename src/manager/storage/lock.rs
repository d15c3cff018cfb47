//! Locks on disk images, so that nobody changes an image that another program uses.
//!
//! They are those of QEMU's image locking (block/file-posix.c): shared open-file-description locks on one byte for each
//! kind of access, at 100 for what a user of the image does and at 200 for what it cannot bear others to do. So QEMU,
//! qemu-img and libguestfs keep away from a running guest's disk, and Lodge from theirs. They are held until the last copy
//! of the descriptor is closed: a worker inherits them with it.

#![forbid(unsafe_code)]

use std::{fs::File, io};

use crate::manager::file_lock::{self, Kind};

/// Reading what is consistent: bit 0 of QEMU's permissions.
const CONSISTENT_READ: i64 = 0;
/// Writing: bit 1.
const WRITE: i64 = 1;
/// Changing the size: bit 3.
const RESIZE: i64 = 3;
/// Bytes that are locked by those who do something.
const USED: i64 = 100;
/// Bytes that are locked by those who cannot bear that others do it.
const NOT_SHARED: i64 = 200;

/// What an image is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its content is read, and must not change meanwhile.
    Read,
    /// It is changed.
    Write,
    /// It is changed, by others too: they have to know how, as cluster file systems do.
    Share,
}

impl Access {
    /// Whether it is for changing the image.
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

/// Takes the locks for `access`. `false`: somebody else uses the image in a way that does not go with that.
pub fn acquire(image: &File, access: Access) -> io::Result<bool> {
    match file_lock::within_grace(|| Ok(try_acquire(image, access)?.then_some(()))) {
        // Some network file systems have no locks.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(true),
        other => Ok(other?.is_some()),
    }
}

fn try_acquire(image: &File, access: Access) -> io::Result<bool> {
    let used: &[i64] = match access {
        Access::Read => &[CONSISTENT_READ],
        Access::Write => &[CONSISTENT_READ, WRITE, RESIZE],
        Access::Share => &[CONSISTENT_READ, WRITE],
    };
    let not_shared: &[i64] = if access == Access::Share { &[RESIZE] } else { &[WRITE, RESIZE] };
    for byte in used.iter().map(|bit| USED + bit).chain(not_shared.iter().map(|bit| NOT_SHARED + bit)) {
        if !file_lock::acquire(image, Kind::Shared, byte..byte + 1)? {
            return Ok(false);
        }
    }
    // Ours are in place: of two who come at once, at least one sees the other.
    for byte in used.iter().map(|bit| NOT_SHARED + bit).chain(not_shared.iter().map(|bit| USED + bit)) {
        if file_lock::is_held(image, Kind::Exclusive, byte..byte + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}
