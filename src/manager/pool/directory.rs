//! Disk images: creating them in the default pool. An image takes room only as its guest writes, and is there whole or not
//! at all.

#![forbid(unsafe_code)]

use std::{
    fs::{DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    manager::{
        definition::DiskFormat,
        paths::Paths,
        size::{MIB, Size},
        storage::{
            create::{self, MOST, NewImage, Preallocation, SECTOR},
            new_file::NewFile,
        },
    },
    system_error::words,
};

/// Room for an image's first tables, below which none is made.
const LEAST_FREE: u64 = 4 * MIB;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Of the file system, in bytes.
    pub total: u64,
    /// Free for this user, in bytes.
    pub free: u64,
}

impl Space {
    /// What is to be said before an image of `size` bytes is made that may outgrow the room; nothing when there is enough.
    pub fn warning(&self, size: u64) -> Option<String> {
        (size > self.free).then(|| {
            format!(
                "only {} are free: the guest will stop when it has written them. Choose less, or make room",
                Size(self.free).approximate()
            )
        })
    }
}

impl Pool {
    /// The default pool.
    pub fn default_pool(paths: &Paths) -> Self {
        Self { folder: paths.disks() }
    }

    /// The images in another folder.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The room in it.
    pub fn space(&self) -> io::Result<Space> {
        // Before the first image there is no folder; its file system is that of the nearest one above.
        let nearest = self.folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        let figures = rustix::fs::statvfs(nearest)?;
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        Ok(Space { total: bytes(figures.f_blocks), free: bytes(figures.f_bavail) })
    }

    /// Makes an empty image of `size` bytes (rounded up to whole sectors) named after `stem` (`web.qcow2`, `web-1.qcow2`, …)
    /// and returns its path. It takes room only as the guest writes.
    pub fn create(&self, stem: &str, size: u64, format: DiskFormat) -> Result<PathBuf, PoolError> {
        self.check(stem, size, format)?;
        let size = size.checked_next_multiple_of(SECTOR).unwrap_or(size);
        let preallocation = Preallocation::Off;
        let image = NewImage { size: Some(size), format, backing: None, preallocation, cluster_size: None };
        self.make(stem, format, |file| create::fill(file, size, &image))
    }

    /// Makes a raw image with this content, named as by [`Pool::create`].
    pub fn create_filled(&self, stem: &str, content: &[u8]) -> Result<PathBuf, PoolError> {
        self.make(stem, DiskFormat::Raw, |mut file| file.write_all(content))
    }

    fn check(&self, stem: &str, size: u64, format: DiskFormat) -> Result<(), PoolError> {
        let error = |reason: String, mend: &str| {
            let path = self.path_for(stem, 0, format);
            Err(PoolError { path, reason, mend: mend.to_owned() })
        };
        if size == 0 {
            return error("a disk of no size holds nothing".to_owned(), "Choose a size like 20GiB");
        }
        if size > MOST {
            return error(format!("{} are too many", Size(size)), "Choose less");
        }
        // A disk larger than the room is warned of by [`Space::warning`]; it may never be filled.
        if self.space().is_ok_and(|space| space.free < LEAST_FREE) {
            return error("its file system is full".to_owned(), "Make room");
        }
        Ok(())
    }

    fn make(
        &self,
        stem: &str,
        format: DiskFormat,
        fill: impl Fn(&File) -> io::Result<()>,
    ) -> Result<PathBuf, PoolError> {
        self.write(stem, format, fill).map_err(|error| {
            let mend = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room",
                io::ErrorKind::FileTooLarge => "Choose less: the file system cannot hold so large a file",
                io::ErrorKind::PermissionDenied => "Make the folder writable for you",
                _ => "Look at the folder and its disk",
            };
            let path = self.path_for(stem, 0, format);
            PoolError { path, reason: words(&error), mend: mend.to_owned() }
        })
    }

    /// Writes an image and gives it the first free name.
    fn write(&self, stem: &str, format: DiskFormat, fill: impl Fn(&File) -> io::Result<()>) -> io::Result<PathBuf> {
        let mut new = self.new_file()?;
        fill(new.file())?;
        self.publish(&mut new, stem, format)
    }

    /// A file that becomes an image in the pool when it is whole. The pool's folder is made when it is needed.
    pub(in crate::manager) fn new_file(&self) -> io::Result<NewFile> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        NewFile::create(&self.folder)
    }

    /// Gives an image that is whole the first free name.
    pub(in crate::manager) fn publish(&self, new: &mut NewFile, stem: &str, format: DiskFormat) -> io::Result<PathBuf> {
        let mut number = 0;
        loop {
            let path = self.path_for(stem, number, format);
            match new.publish(&path, false) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn path_for(&self, stem: &str, number: u32, format: DiskFormat) -> PathBuf {
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        self.folder.join(format!("{stem}{number}.{}", format.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use super::*;
    use crate::manager::{
        media::{self, MediaKind},
        size::{GIB, TIB},
    };

    fn pool() -> (tempfile::TempDir, Pool) {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::default_pool(&Paths::new(folder.path().join("data"), folder.path().join("run")));
        (folder, pool)
    }

    #[test]
    fn an_empty_image_is_private_and_takes_no_room() {
        let (_folder, pool) = pool();

        let raw = pool.create("web", GIB + 1, DiskFormat::Raw).unwrap();
        let qcow2 = pool.create("web", GIB, DiskFormat::Qcow2).unwrap();

        let metadata = fs::metadata(&raw).unwrap();
        assert_eq!(metadata.len(), GIB + SECTOR);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.blocks() * 512 < MIB && fs::metadata(&qcow2).unwrap().len() < MIB);
        let media = media::inspect(&qcow2).unwrap();
        assert_eq!((media.kind, media.size), (MediaKind::Qcow2, GIB));
    }

    #[test]
    fn no_image_replaces_another() {
        let (_folder, pool) = pool();

        let paths: Vec<_> = (0..3).map(|_| pool.create_filled("web", b"content").unwrap()).collect();

        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["web.raw", "web-1.raw", "web-2.raw"]);
        assert_eq!(fs::read_dir(pool.folder()).unwrap().count(), 3, "nothing temporary is left");
    }

    #[test]
    fn an_impossible_size_is_refused_and_leaves_nothing() {
        let (_folder, pool) = pool();

        for size in [0, u64::MAX, 1 << 60] {
            let error = pool.create("web", size, DiskFormat::Qcow2).unwrap_err();
            assert!(error.to_string().contains("Choose"), "{error}");
        }

        assert!(!pool.folder().exists());
    }

    #[test]
    fn a_disk_that_may_outgrow_the_room_is_warned_of() {
        let space = Space { total: TIB, free: 10 * GIB };

        assert_eq!(space.warning(10 * GIB), None);
        assert!(space.warning(20 * GIB).unwrap().contains("10.0 GiB"));
    }
}
