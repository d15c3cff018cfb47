//! Making an empty image.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use imago::{FormatCreateBuilder, file::File as ImageFile, format::PreallocateMode, qcow2::Qcow2};
use rustix::{fs::FallocateFlags, io::Errno};

use super::{
    Access, Disks, Image, ImageFormat, Result, StorageError, info::virtual_size, new_file::NewFile, open_file,
};
use crate::manager::{
    definition::{DiskFormat, Layer},
    size::{Size, TIB},
};

/// Bytes of a disk's sector; sizes are whole ones.
pub const SECTOR: u64 = 512;
/// The largest disk.
pub const MOST: u64 = 1024 * TIB;
/// What qcow2 images have when nobody says otherwise, as QEMU's.
pub const CLUSTER_SIZE: u64 = 64 << 10;
/// QEMU's limit on the L1 table, in entries.
const L1_ENTRIES_MAX: u64 = 4 << 20;

/// What of an image takes its room at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Preallocation {
    /// Nothing: it grows as its guest writes
    #[default]
    Off,
    /// The tables of a qcow2 image: its guest's first writes are quicker
    Metadata,
    /// All: the guest never finds the host's disk full
    Full,
}

/// The image that another one is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
}

/// An image to be made.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its size in bytes; without one, that of its backing file.
    pub size: Option<u64>,
    /// Its format.
    pub format: DiskFormat,
    /// What it is based on; qcow2 only.
    pub backing: Option<BackingFile>,
    /// What takes its room at once.
    pub preallocation: Preallocation,
    /// Bytes of a cluster, a power of two from 512 B to 2 MiB; qcow2 only.
    pub cluster_size: Option<u64>,
}

impl Disks {
    /// Makes an image at `path`, where nothing may be, and returns its size.
    pub fn create(&self, path: &Path, image: &NewImage) -> Result<u64> {
        let size = self.size_of(path, image)?;
        check(path, size, image.format, image.cluster_size)?;
        if image.format == DiskFormat::Raw {
            if image.backing.is_some() {
                return Err(StorageError::refused(path, "a raw image has no backing file", "Make it qcow2"));
            }
            if image.preallocation == Preallocation::Metadata {
                let mend = "Leave out --preallocate, or say full";
                return Err(StorageError::refused(path, "a raw image has no metadata", mend));
            }
        }
        if image.backing.is_some() && image.preallocation != Preallocation::Off {
            let reason = "an image with a backing file takes its room as it is written";
            return Err(StorageError::refused(path, reason, "Leave out --preallocate"));
        }
        let mut new = self.new_file(path)?;
        fill(new.file(), size, image).and_then(|()| new.publish(path, false)).map_err(StorageError::io(path))?;
        Ok(size)
    }

    fn size_of(&self, path: &Path, image: &NewImage) -> Result<u64> {
        let below = match &image.backing {
            None => None,
            Some(backing) => {
                let below = self.examine(&backing.path, Some(backing.format.into()), Access::Read)?;
                Some(virtual_size(&below)?)
            }
        };
        let Some(size) = image.size.or(below) else {
            return Err(StorageError::refused(path, "its size is missing", "Add --size, like --size 20GiB"));
        };
        Ok(size.checked_next_multiple_of(SECTOR).unwrap_or(size))
    }

    /// A file that becomes `path` when it is whole. The pool's folder is made when it is needed.
    pub(super) fn new_file(&self, path: &Path) -> Result<NewFile> {
        let folder = path.parent().ok_or_else(|| StorageError::io(path)(io::ErrorKind::IsADirectory.into()))?;
        if path.symlink_metadata().is_ok() {
            return Err(StorageError::io(path)(Errno::EXIST.into()));
        }
        let new = match folder == self.pool().folder() {
            true => self.pool().new_file(),
            false => NewFile::create(folder),
        };
        new.map_err(StorageError::io(folder))
    }
}

/// Refuses what cannot be made.
pub(super) fn check(path: &Path, size: u64, format: DiskFormat, cluster_size: Option<u64>) -> Result {
    if size == 0 {
        return Err(StorageError::refused(path, "a disk of no size holds nothing", "Choose a size like 20GiB"));
    }
    if size > MOST {
        return Err(StorageError::refused(path, format!("{} are too many", Size(size)), "Choose less"));
    }
    let cluster = match (format, cluster_size) {
        (DiskFormat::Raw, None) => return Ok(()),
        (DiskFormat::Raw, Some(_)) => {
            return Err(StorageError::refused(path, "a raw image has no clusters", "Leave out --cluster-size"));
        }
        (DiskFormat::Qcow2, cluster) => cluster.unwrap_or(CLUSTER_SIZE),
    };
    if !cluster.is_power_of_two() || !(512..=2 << 20).contains(&cluster) {
        let reason = format!("there are no clusters of {}", Size(cluster));
        return Err(StorageError::refused(path, reason, "Choose a power of two from 512 to 2MiB"));
    }
    let reach = L1_ENTRIES_MAX * (cluster / 8) * cluster;
    if size > reach {
        let reason = format!("with clusters of {} it can have {} at most", Size(cluster), Size(reach));
        return Err(StorageError::refused(path, reason, "Choose larger clusters, or a smaller size"));
    }
    Ok(())
}

pub(in crate::manager) fn fill(file: &File, size: u64, image: &NewImage) -> io::Result<()> {
    if image.format == DiskFormat::Raw {
        file.set_len(size)?;
        return match image.preallocation {
            Preallocation::Full => allocate(file, size),
            _ => Ok(()),
        };
    }
    let mode = match image.preallocation {
        Preallocation::Off => PreallocateMode::None,
        Preallocation::Metadata => PreallocateMode::FormatAllocate,
        Preallocation::Full => PreallocateMode::FullAllocate,
    };
    let cluster = image.cluster_size.unwrap_or(CLUSTER_SIZE) as usize;
    let storage = ImageFile::try_from(file.try_clone()?)?;
    let mut builder = Qcow2::<ImageFile>::create_builder(storage).size(size).cluster_size(cluster).preallocate(mode);
    if let Some(backing) = &image.backing {
        // The whole path: an image that is moved stays whole, and what lies beside it is not taken for what it is based on.
        let name = std::path::absolute(&backing.path)?;
        let name = name.into_os_string().into_string().map_err(|_| io::Error::other("a name is not UTF-8"))?;
        builder = builder.backing(name, ImageFormat::from(backing.format).to_string());
    }
    builder.create()
}

/// Makes of the empty `file`, which is to be `path`, a qcow2 image over `below`, as large as a guest sees that: whole sectors.
pub(in crate::manager) fn fill_over(file: &File, path: &Path, below: &Layer) -> Result {
    let size = size_seen(below)?;
    let image = NewImage {
        size: None,
        format: DiskFormat::Qcow2,
        backing: Some(BackingFile { path: below.path.clone(), format: below.format }),
        preallocation: Preallocation::Off,
        cluster_size: None,
    };
    fill(file, size, &image).map_err(StorageError::io(path))
}

/// The size of the disk in an image as a guest sees it: whole sectors.
pub(in crate::manager) fn size_seen(layer: &Layer) -> Result<u64> {
    let file = open_file(&layer.path, Access::Read).map_err(StorageError::io(&layer.path))?;
    let size = virtual_size(&Image { path: layer.path.clone(), file, format: layer.format.into() })?;
    Ok(size - size % SECTOR)
}

/// Takes all the room of a raw image.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::NOTSUP | Errno::NOSYS) => {
                return Err(io::Error::other("its file system cannot promise room"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
