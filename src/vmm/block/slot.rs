//! The place of a disk in a machine: another disk with the same content can be put there.

#![forbid(unsafe_code)]

use std::{
    io, mem,
    sync::{Arc, PoisonError, RwLock},
};

use super::Disk;
use crate::vmm::memory::GuestSlice;

/// A place for a disk. Clones are the same place.
///
/// It is a disk itself, for those who look at it now and then; a device takes the disk out for as long as it serves requests.
#[derive(Clone)]
pub struct Slot(Arc<RwLock<Arc<dyn Disk>>>);

impl Slot {
    /// The disk of the moment.
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another disk there, and returns the one that was there.
    pub fn exchange(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        mem::replace(&mut self.0.write().unwrap_or_else(PoisonError::into_inner), disk)
    }
}

impl From<Arc<dyn Disk>> for Slot {
    fn from(disk: Arc<dyn Disk>) -> Self {
        Self(Arc::new(RwLock::new(disk)))
    }
}

impl From<Box<dyn Disk>> for Slot {
    fn from(disk: Box<dyn Disk>) -> Self {
        Arc::<dyn Disk>::from(disk).into()
    }
}

/// What a device has that has taken no disk out. Whatever it is asked for, it refuses.
pub struct NoDisk;

impl Disk for NoDisk {
    fn capacity(&self) -> u64 {
        0
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read(&self, _offset: u64, _buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn write(&self, _offset: u64, _buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn flush(&self) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn write_zeroes(&self, _offset: u64, _length: u64, _unmap: bool) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Disk for Slot {
    fn capacity(&self) -> u64 {
        self.disk().capacity()
    }

    fn read_only(&self) -> bool {
        self.disk().read_only()
    }

    fn read(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.disk().read(offset, buffers)
    }

    fn write(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.disk().write(offset, buffers)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk().flush()
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk().discard(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.disk().write_zeroes(offset, length, unmap)
    }
}
