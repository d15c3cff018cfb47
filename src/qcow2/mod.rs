//! The structures of qcow2 images, as far as checking and resizing need them; reading and writing disks is imago's. The engine
//! uses it for disks of running guests, the manager for all others.
//!
//! - [`header`]: the header and its extensions.
//! - [`tables`]: entries of the L1, L2 and refcount tables.
//! - [`census`]: which cluster is used by what, by walking everything the header leads to.
//! - [`check`]: compares that with the reference counts. [`repair`]: makes them agree.
//! - [`grow`], [`shrink`]: other sizes. [`rebase`]: another backing file's name.
//!
//! Nothing that a file says is trusted: offsets are checked against the file's length, sizes of tables against limits.
//!
//! Specification: QEMU's docs/interop/qcow2.rst.

#![forbid(unsafe_code)]

pub mod census;
pub mod check;
pub mod grow;
pub mod header;
pub mod rebase;
pub mod repair;
pub mod shrink;
pub mod tables;

use crate::system_error::words;
use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

pub use self::header::Header;

/// What qcow2 images begin with.
pub const MAGIC: &[u8] = b"QFI\xfb";

/// Why an image cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// It could not be read or written.
    #[error("{}", words(.0))]
    Io(#[from] io::Error),
    /// It is no qcow2 image, or its header or one of its tables makes no sense.
    #[error("{0}. Restore it from a backup, or try to save what it holds with \"lodgectl disk convert\"")]
    Malformed(String),
    /// It has something that this program does not know.
    #[error("it has {0}, which this program cannot work with. Use \"qemu-img\" for it")]
    Unsupported(String),
    /// It must be mended first.
    #[error("{0}. Run \"lodgectl disk check --repair all\" on it first")]
    Unclean(String),
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
}

/// The length of a file or block device, in bytes.
pub fn length(mut file: &File) -> io::Result<u64> {
    // Nothing here uses the file's position.
    file.seek(SeekFrom::End(0))
}

fn malformed<T>(what: impl Into<String>) -> Result<T, Qcow2Error> {
    Err(Qcow2Error::Malformed(what.into()))
}

/// Big-endian numbers of 8 bytes from `offset` on; those behind the file's end are zero.
fn read_table(file: &File, offset: u64, entries: usize) -> io::Result<Vec<u64>> {
    let bytes = read_padded(file, offset, entries.saturating_mul(8))?;
    Ok(bytes.as_chunks().0.iter().map(|&entry| u64::from_be_bytes(entry)).collect())
}

/// Bytes from `offset` on; those behind the file's end are zero: the last cluster of an image may be shorter than the others.
fn read_padded(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Writes big-endian numbers of 8 bytes from `offset` on.
fn write_table(file: &File, offset: u64, entries: &[u64]) -> io::Result<()> {
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    file.write_all_at(&bytes, offset)
}
