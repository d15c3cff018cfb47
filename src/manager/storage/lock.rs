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
    or_no_locks(file_lock::within_grace(|| Ok(try_acquire(image, access)?.then_some(()))).map(|taken| taken.is_some()))
}

/// Takes the locks for `access` without looking whether somebody else uses the image: for one that takes the place of another
/// descriptor, whose locks go soon. `false`: somebody who is no user of images has locked it.
pub fn place(image: &File, access: Access) -> io::Result<bool> {
    or_no_locks(try_place(image, access))
}

/// From now on an image that was locked for writing is only read.
pub fn only_read(image: &File) -> io::Result<()> {
    let released = [WRITE, RESIZE].map(|bit| file_lock::release(image, USED + bit..USED + bit + 1));
    or_no_locks(released.into_iter().collect::<io::Result<()>>().map(|()| true)).map(drop)
}

/// Some network file systems have no locks.
fn or_no_locks(outcome: io::Result<bool>) -> io::Result<bool> {
    match outcome {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(true),
        other => other,
    }
}

impl Access {
    /// What is done, and what others must not do, as QEMU's permissions.
    fn permissions(self) -> (&'static [i64], &'static [i64]) {
        match self {
            Self::Read => (&[CONSISTENT_READ], &[WRITE, RESIZE]),
            Self::Write => (&[CONSISTENT_READ, WRITE, RESIZE], &[WRITE, RESIZE]),
            Self::Share => (&[CONSISTENT_READ, WRITE], &[RESIZE]),
        }
    }
}

fn try_place(image: &File, access: Access) -> io::Result<bool> {
    let (used, not_shared) = access.permissions();
    for byte in used.iter().map(|bit| USED + bit).chain(not_shared.iter().map(|bit| NOT_SHARED + bit)) {
        if !file_lock::acquire(image, Kind::Shared, byte..byte + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn try_acquire(image: &File, access: Access) -> io::Result<bool> {
    if !try_place(image, access)? {
        return Ok(false);
    }
    let (used, not_shared) = access.permissions();
    // Ours are in place: of two who come at once, at least one sees the other.
    for byte in used.iter().map(|bit| NOT_SHARED + bit).chain(not_shared.iter().map(|bit| USED + bit)) {
        if file_lock::is_held(image, Kind::Exclusive, byte..byte + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}
