//! Making the image of a disk larger that nothing reads or writes at this moment.

#![forbid(unsafe_code)]

use std::{fs::File, io};

use rustix::fs::OFlags;

use super::{BlockError, Format, Image, is_direct};
use crate::qcow2;

/// Gives the disk in `image`, whose file is up to date, `size` bytes: more than it has. What is new reads as zeroes. A block device
/// must have grown before.
pub(super) fn grow(image: &Image, size: u64) -> Result<(), BlockError> {
    let file = &image.file;
    match image.format {
        Format::Raw => grow_raw(file, size).map_err(BlockError::Grow),
        // Tables are no whole blocks.
        Format::Qcow2 => past_no_cache(file, || Ok(qcow2::grow::grow(file, size, &|_, _| true)?)),
    }
}

fn grow_raw(file: &File, size: u64) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(size)?;
        return file.sync_all();
    }
    match qcow2::length(file)? {
        length if length >= size => Ok(()),
        length => Err(io::Error::other(format!("the device has {length} bytes. make that larger first"))),
    }
}

/// Does `work` by the host's page cache, even where the file is open to go past it.
fn past_no_cache(file: &File, work: impl FnOnce() -> Result<(), BlockError>) -> Result<(), BlockError> {
    if !is_direct(file).map_err(BlockError::Examine)? {
        return work();
    }
    let set = |change: fn(OFlags) -> OFlags| {
        let flags = rustix::fs::fcntl_getfl(file)?;
        rustix::fs::fcntl_setfl(file, change(flags))
    };
    let failed = |error: rustix::io::Errno| BlockError::Examine(error.into());
    set(|flags| flags - OFlags::DIRECT).map_err(failed)?;
    let done = work();
    set(|flags| flags | OFlags::DIRECT).map_err(failed)?;
    done
}
