//! How far a long operation is, and whether it is to go on.

#![forbid(unsafe_code)]

use std::io;

/// Is told how much is done of how much, and answers whether to go on.
pub type Watch<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// Tells `watch`; an error of the kind [`io::ErrorKind::Interrupted`] when it says to stop.
pub(crate) fn step(watch: Watch<'_>, done: u64, total: u64) -> io::Result<()> {
    match watch(done, total) {
        true => Ok(()),
        false => Err(io::ErrorKind::Interrupted.into()),
    }
}
