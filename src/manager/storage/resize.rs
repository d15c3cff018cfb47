//! Giving a disk another size.

#![forbid(unsafe_code)]

use std::{io, os::unix::fs::FileTypeExt};

use rustix::fs::SeekFrom;

use super::{
    Access, Disks, Image, ImageFormat, Result, StorageError,
    create::{self, SECTOR},
    info::virtual_size,
    length,
    progress::Watch,
    qcow2::{Header, grow, shrink},
};
use crate::manager::{definition::DiskFormat, size::Size};

/// What a resize did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// The size before, in bytes.
    pub from: u64,
    /// The size now, in bytes.
    pub to: u64,
    /// So many of the bytes that are cut off are stored in the image: they may be data.
    pub lost: u64,
}

impl Disks {
    /// Makes a disk larger, or smaller with `shrink`. Nobody may be using it.
    pub fn resize(&self, image: &Image, size: u64, shrink: bool, watch: Watch<'_>) -> Result<Resized> {
        let path = &image.path;
        let size = size.checked_next_multiple_of(SECTOR).unwrap_or(size);
        if image.file.metadata().map_err(StorageError::io(path))?.file_type().is_block_device() {
            let mend = "Use the program that has made it, like lvresize";
            return Err(StorageError::refused(path, "it is a block device, whose size is not Lodge's", mend));
        }
        let from = virtual_size(image)?;
        let disk_format = if image.format == ImageFormat::Qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw };
        // Its clusters are what they are; growing looks at their reach.
        create::check(path, size, DiskFormat::Raw, None)?;
        let mut resized = Resized { from, to: size, lost: 0 };
        if size < from {
            resized.lost = stored_behind(image, size)?;
            if !shrink {
                return Err(StorageError::refused(
                    path,
                    format!(
                        "it has {}. Made {}, it loses its last {}, of which {} are written",
                        Size(from),
                        Size(size),
                        Size(from - size),
                        Size(resized.lost).approximate()
                    ),
                    "Shrink the partitions and file systems in it first, and then add --shrink",
                ));
            }
        }
        match disk_format {
            DiskFormat::Raw => {
                image.file.set_len(size).and_then(|()| image.file.sync_all()).map_err(StorageError::io(path))?
            }
            DiskFormat::Qcow2 if size < from => {
                shrink::shrink(&image.file, size, watch).map_err(StorageError::qcow2(path))?;
            }
            DiskFormat::Qcow2 if size > from => {
                grow::grow(&image.file, size, watch).map_err(StorageError::qcow2(path))?;
            }
            DiskFormat::Qcow2 => {}
        }
        Ok(resized)
    }

    /// Opens a disk to be resized.
    pub fn open_resizable(&self, path: &std::path::Path, format: Option<ImageFormat>) -> Result<Image> {
        let image = self.open(path, format, Access::Write)?;
        match image.format {
            ImageFormat::Vmdk => {
                let mend = "Make a qcow2 image of it with \"lodgectl disk convert\"";
                Err(StorageError::refused(path, "VMDK images can only be read", mend))
            }
            _ => Ok(image),
        }
    }
}

/// How much of what lies behind `size` takes room.
fn stored_behind(image: &Image, size: u64) -> Result<u64> {
    if image.format == ImageFormat::Qcow2 {
        let header = Header::read(&image.file).map_err(StorageError::qcow2(&image.path))?;
        return shrink::stored_behind(&image.file, &header, size).map_err(StorageError::qcow2(&image.path));
    }
    let mut stored = 0;
    let mut from = size;
    let end = length(&image.file).map_err(StorageError::io(&image.path))?;
    while from < end {
        let Some((start, hole)) = next_data(&image.file, from).map_err(StorageError::io(&image.path))? else { break };
        stored += hole.min(end) - start;
        from = hole;
    }
    Ok(stored)
}

/// The next part of a file that is stored: from where up to where. File systems that do not tell say that all is.
pub(in crate::manager) fn next_data(file: &std::fs::File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(rustix::io::Errno::INVAL) => return Ok(Some((from, u64::MAX))),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end.max(start + 1))))
}
