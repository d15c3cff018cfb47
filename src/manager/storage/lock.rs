//! Locks on disk images, so that nobody changes an image that another program uses.
//!
//! They are those of QEMU's image locking (block/file-posix.c): shared open-file-description locks on one byte for each
//! kind of access, at 100 for what a user of the image does and at 200 for what it cannot bear others to do. So QEMU,
//! qemu-img and libguestfs keep away from a running guest's disk, and Lodge from theirs. They are held until the last copy
//! of the descriptor is closed: a worker inherits them with it.
//!
//! Specification: fcntl_locking(2), "Open file description locks (non-POSIX)".

use std::{fs::File, io, os::fd::AsRawFd};

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
    match try_acquire(image, access) {
        // Some network file systems have no locks.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(true),
        other => other,
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
        fcntl_lock(image, libc::F_OFD_SETLK, libc::F_RDLCK, byte)?;
    }
    // Ours are in place: of two who come at once, at least one sees the other.
    for byte in used.iter().map(|bit| NOT_SHARED + bit).chain(not_shared.iter().map(|bit| USED + bit)) {
        if fcntl_lock(image, libc::F_OFD_GETLK, libc::F_WRLCK, byte)? != libc::F_UNLCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Asks for, or about, a lock on one byte, and returns the kind of lock that is said to be there.
fn fcntl_lock(file: &File, command: libc::c_int, kind: libc::c_int, byte: i64) -> io::Result<libc::c_int> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: both commands take a pointer to a `flock`, which lives for the whole call; the descriptor is open.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result == 0 { Ok(lock.l_type.into()) } else { Err(io::Error::last_os_error()) }
}
