//! Raw images: a file or a block device whose bytes are the disk's, through the host's page cache.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, FileTypeExt},
    },
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, SeekFrom},
    io::Errno,
};

use super::{
    Base, BlockError, Disk, Format, Image, SECTOR,
    barrier::Barrier,
    check_range, grow,
    place::{Place, Transfer},
    vectored,
};
use crate::vmm::memory::GuestSlice;

/// A raw disk.
pub struct RawDisk {
    file: File,
    barrier: Barrier,
    capacity: u64,
    read_only: bool,
}

impl RawDisk {
    /// A disk of `file`, which must be a regular file or a block device. Bytes behind its last whole sector are not part of the
    /// disk and are never touched.
    pub fn new(file: File, read_only: bool) -> Result<Self, BlockError> {
        let kind = file.metadata().map_err(BlockError::Examine)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(BlockError::Kind);
        }
        // Block devices tell their size only by seeking. Nothing else uses the file's position.
        let size = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|error| BlockError::Examine(error.into()))?;
        Ok(Self { file, barrier: Barrier::new(false), capacity: size - size % SECTOR, read_only })
    }

    fn check_write(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        check_range(self.capacity, offset, length)
    }

    fn allocate(&self, mode: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        loop {
            match rustix::fs::fallocate(&self.file, mode | FallocateFlags::KEEP_SIZE, offset, length) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Writes zeroes where the file system has no quicker way.
    fn write_plain_zeroes(&self, mut offset: u64, mut length: u64) -> io::Result<()> {
        static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
        while length > 0 {
            let part = length.min(ZEROES.len() as u64);
            self.file.write_all_at(&ZEROES[..part as usize], offset)?;
            offset += part;
            length -= part;
        }
        Ok(())
    }
}

impl Disk for RawDisk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        check_range(self.capacity, offset, super::total(buffers))?;
        vectored::read(self.file.as_fd(), offset, buffers)
    }

    fn write(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.check_write(offset, super::total(buffers))?;
        vectored::write(self.file.as_fd(), offset, buffers)
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.barrier.flush_file(&self.file)
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check_write(offset, length)?;
        match self.allocate(FallocateFlags::PUNCH_HOLE, offset, length) {
            // A discard is a hint: what cannot be given back is kept.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NODEV | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.check_write(offset, length)?;
        if length == 0 {
            return Ok(());
        }
        let modes: &[_] = match unmap {
            true => &[FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE],
            false => &[FallocateFlags::ZERO_RANGE],
        };
        if modes.iter().any(|&mode| self.allocate(mode, offset, length).is_ok()) {
            return Ok(());
        }
        self.write_plain_zeroes(offset, length)
    }

    fn freeze(&self, image: Image) -> Result<Base, BlockError> {
        self.flush().map_err(BlockError::Flush)?;
        Base::new(image, None)
    }

    fn grow(&self, size: u64) -> Result<(), BlockError> {
        self.flush().map_err(BlockError::Flush)?;
        let file = self.file.try_clone().map_err(BlockError::Examine)?;
        grow::grow(&Image { file, format: Format::Raw }, size)
    }

    fn reopen(&self) -> Result<Arc<dyn Disk>, BlockError> {
        let file = self.file.try_clone().map_err(BlockError::Examine)?;
        Ok(Arc::new(Self::new(file, self.read_only)?))
    }

    fn place(&self, transfer: Transfer, offset: u64, _length: u64) -> Option<Place<'_>> {
        (transfer == Transfer::Read).then(|| Place { file: self.file.as_fd(), offset, hold: None })
    }

    fn flush_file(&self) -> Option<BorrowedFd<'_>> {
        (!self.barrier.is_lost()).then(|| self.file.as_fd())
    }

    fn flush_failed(&self) {
        self.barrier.failed();
    }
}
