//! Open-file-description locks on bytes of a file: they belong to the open file, so that a process which inherits it holds them,
//! and the kernel frees them when its last descriptor is closed.
//!
//! Specification: fcntl_locking(2), "Open file description locks (non-POSIX)".

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

/// What kind of lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes with other shared ones. The file must be open for reading.
    Shared,
    /// Goes with no other. The file must be open for writing to take one, not to ask.
    Exclusive,
}

/// How long a lock of somebody else is waited for, and how often it is looked at.
const GRACE: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The whole file, however long it gets.
pub const WHOLE: Range<i64> = 0..i64::MAX;

/// Takes a lock. `false`: somebody else has one that does not go with it.
pub fn acquire(file: &File, kind: Kind, bytes: Range<i64>) -> io::Result<bool> {
    match fcntl(file, libc::F_OFD_SETLK, kind.number(), bytes) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives locks back.
pub fn release(file: &File, bytes: Range<i64>) -> io::Result<()> {
    fcntl(file, libc::F_OFD_SETLK, libc::F_UNLCK, bytes).map(drop)
}

/// Attempts to take locks until `attempt` has what it wants or half a second is over. Between its fork and its execve a process
/// that is being started has a copy of every descriptor of its parent, and so holds for a moment what the parent has just
/// given back.
pub fn within_grace<T>(mut attempt: impl FnMut() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let deadline = Instant::now() + GRACE;
    loop {
        match attempt()? {
            None if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
            outcome => return Ok(outcome),
        }
    }
}

/// Whether [`acquire`] would find a lock of somebody else. Takes nothing.
pub fn is_held(file: &File, kind: Kind, bytes: Range<i64>) -> io::Result<bool> {
    let found = fcntl(file, libc::F_OFD_GETLK, kind.number(), bytes)?;
    Ok(libc::c_int::from(found.l_type) != libc::F_UNLCK)
}

impl Kind {
    fn number(self) -> libc::c_int {
        match self {
            Self::Shared => libc::F_RDLCK,
            Self::Exclusive => libc::F_WRLCK,
        }
    }
}

fn fcntl(file: &File, command: libc::c_int, kind: libc::c_int, bytes: Range<i64>) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: bytes.start,
        l_len: bytes.end - bytes.start,
        l_pid: 0,
    };
    // SAFETY: both commands take a pointer to a `flock`, which lives for the whole call; the descriptor is open.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result == 0 { Ok(lock) } else { Err(io::Error::last_os_error()) }
}
