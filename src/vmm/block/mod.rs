//! Disks as the devices see them: one trait over every image format.
//!
//! Nothing here opens a file by name or guesses a format: a disk is made of files that are open already, and its format is
//! what the caller says.

mod barrier;
pub mod drive;
pub mod errors;
mod grow;
mod image;
pub mod merge;
pub mod place;
mod raw;
pub mod ring;
mod slot;
pub mod statistics;
#[cfg(test)]
mod tests;
mod vectored;

use std::{fmt, fs::File, io, os::fd::BorrowedFd, sync::Arc};

pub use super::limits;

pub use self::{
    image::Base,
    slot::{NoDisk, Slot},
};
use self::{
    image::ImageDisk,
    place::{Place, Transfer},
    raw::RawDisk,
};
use rustix::fs::OFlags;

use super::memory::GuestSlice;
use crate::qcow2::Qcow2Error;

/// The size of a sector, the unit of every address on a disk, in bytes.
pub const SECTOR: u64 = 512;

/// A disk. All methods may be called from several threads at once.
///
/// Offsets and lengths are in bytes. Requests are multiples of [`SECTOR`] and inside the capacity; whatever is not is
/// refused with [`io::ErrorKind::InvalidInput`].
pub trait Disk: Send + Sync {
    /// The size in bytes, a multiple of [`SECTOR`].
    fn capacity(&self) -> u64;

    /// Whether writes are refused.
    fn read_only(&self) -> bool;

    /// Fills `buffers` from `offset` on.
    fn read(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()>;

    /// Writes `buffers` from `offset` on.
    fn write(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()>;

    /// Returns when everything written so far is on stable storage.
    fn flush(&self) -> io::Result<()>;

    /// Tells that the range's content is no longer needed. What it reads as afterwards is not defined.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes the range read as zeroes; with `unmap` its space may be given back.
    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()>;

    /// Brings all that was written to the file, and makes the disk one that another disk can be based on: nothing may be written
    /// to this one from then on. `image` is its own file again, open for reading only.
    fn freeze(&self, _image: Image) -> Result<Base, BlockError> {
        Err(BlockError::Fixed)
    }

    /// Brings all that was written to the image, and makes that larger. Whatever comes of it, this disk must not be used any more:
    /// [`reopen`](Self::reopen) gives the one to go on with.
    fn grow(&self, _size: u64) -> Result<(), BlockError> {
        Err(BlockError::NoImage)
    }

    /// The disk in the same open image, as that is now.
    fn reopen(&self) -> Result<Arc<dyn Disk>, BlockError> {
        Err(BlockError::NoImage)
    }

    /// Where these bytes can be transferred past the disk, beside other transfers. `None`: they lie in several places or in none,
    /// or it is quickest done at once, as a write that is only a copy to the host's page cache.
    fn place(&self, _transfer: Transfer, _offset: u64, _length: u64) -> Option<Place<'_>> {
        None
    }

    /// The file that can be flushed past the disk, if that is all that a flush of the disk is.
    fn flush_file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// A flush of that file has failed.
    fn flush_failed(&self) {}
}

/// When what a guest writes is on stable storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the guest asks for it.
    #[default]
    OnFlush,
    /// When the write is done.
    OnWrite,
    /// When the host likes: a guest that is told it is may lose it.
    Never,
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// One file of a disk: the image itself or one of its backing files.
#[derive(Debug)]
pub struct Image {
    /// The open file.
    pub file: File,
    /// Its format.
    pub format: Format,
}

impl Image {
    /// The same open file again.
    pub fn try_clone(&self) -> Result<Self, BlockError> {
        Ok(Self { file: self.file.try_clone().map_err(BlockError::Examine)?, format: self.format })
    }
}

/// Why a disk image could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The file's metadata could not be read.
    #[error("the disk image could not be examined")]
    Examine(#[source] io::Error),
    /// It is a directory, a pipe or the like.
    #[error("the disk image is neither a file nor a block device. choose another")]
    Kind,
    /// The image is damaged or not of the format it is said to be.
    #[error("the disk image is not a usable {format} image. check its format in the guest's definition")]
    Format {
        /// The format it should have.
        format: Format,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// What was written could not be brought to the file.
    #[error("what was written to the disk could not be brought to its image")]
    Flush(#[source] io::Error),
    /// It is no image that another one could be based on.
    #[error("no image can be based on this disk")]
    Fixed,
    /// The disk would have another size.
    #[error("the new image has {new} bytes, the disk has {old}. make it as large as the disk")]
    Size {
        /// The disk's size.
        old: u64,
        /// The new image's.
        new: u64,
    },
    /// There is no image that it could be.
    #[error("the disk's image cannot be opened again. shut the guest down, and start it again")]
    NoImage,
    /// It is not a disk, or not a size, for that.
    #[error("{0}")]
    Refused(String),
    /// The image could not be made larger.
    #[error("the disk's image could not be made larger")]
    Grow(#[source] io::Error),
    /// What a qcow2 image has stands against it.
    #[error(transparent)]
    Qcow2(#[from] Qcow2Error),
    /// An image of the chain has a backing file and none was given, or the other way round.
    #[error(
        "image {level} of the disk's chain (0 is the disk itself) does not fit the {given} backing files that were given. \
         the guest's definition must name all of them"
    )]
    Backing {
        /// Which image.
        level: usize,
        /// How many backing files were given.
        given: usize,
    },
}

/// Makes a disk of `image` over `backing`, the chain of its backing files, nearest first. A raw image has none.
pub fn open(image: Image, read_only: bool, backing: Vec<Image>) -> Result<Box<dyn Disk>, BlockError> {
    match image.format {
        Format::Raw if backing.is_empty() && !is_direct(&image.file).map_err(BlockError::Examine)? => {
            Ok(Box::new(RawDisk::new(image.file, read_only)?))
        }
        _ => Ok(Box::new(ImageDisk::new(image, read_only, backing)?)),
    }
}

/// Makes a disk of `image`, which is empty, over `base`.
pub fn open_over(image: Image, base: Base) -> Result<Box<dyn Disk>, BlockError> {
    Ok(Box::new(ImageDisk::over_base(image, base)?))
}

/// Whether a file was opened to go past the host's page cache.
fn is_direct(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_getfl(file)?.contains(OFlags::DIRECT))
}

/// Refuses what is not whole sectors inside a disk of `capacity` bytes.
fn check_range(capacity: u64, offset: u64, length: u64) -> io::Result<()> {
    let inside = offset.checked_add(length).is_some_and(|end| end <= capacity);
    match inside && offset.is_multiple_of(SECTOR) && length.is_multiple_of(SECTOR) {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// The bytes of all buffers. They come from a chain, which has fewer than 2^32.
fn total(buffers: &[GuestSlice<'_>]) -> u64 {
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}
