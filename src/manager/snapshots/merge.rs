//! What an image has goes into the one that it is based on, when nothing else needs that.
//!
//! What is seen through the upper image is the same before, after and in between: whatever it has, it hides in the lower
//! one. So this can be stopped or fail at any moment, and be begun again; only afterwards the upper image goes.

#![forbid(unsafe_code)]

use std::{fs::File, io, sync::Arc};

use imago::{FormatAccess, ShallowMapping, StorageOpenOptions, file::File as ImageFile, qcow2::Qcow2, raw::Raw};

use super::tree::Pair;
use crate::manager::{
    definition::{DiskFormat, Layer},
    storage::{
        self, Access as Purpose, StorageError, check, lock,
        progress::{self, Watch},
        qcow2::{Header, grow, shrink},
    },
};

/// So much is copied in one step, in bytes.
const CHUNK: u64 = 1 << 20;

type Access = FormatAccess<ImageFile>;

/// Copies what `pair.upper` has into the image below it.
pub fn merge(pair: &Pair, watch: Watch<'_>) -> Result<(), StorageError> {
    let Some((lower, below)) = pair.lower.split_first() else { return Ok(()) };
    let upper_file = open(&pair.upper, Purpose::Read)?;
    let lower_file = open(lower, Purpose::Write)?;
    if lower.format == DiskFormat::Qcow2 {
        // An earlier attempt may have been interrupted.
        check::mend_before_use(&lower.path)?;
    }
    let below = below.iter().map(|layer| open(layer, Purpose::Read)).collect::<Result<Vec<_>, _>>()?;
    let size = Header::read(&upper_file).map_err(StorageError::qcow2(&pair.upper.path))?.size;
    let had = resize(lower, &lower_file, size, watch)?;
    copy(pair, upper_file, lower_file, below, had, watch).map_err(StorageError::io(&lower.path))
}

/// Opens an image and keeps others from changing it.
fn open(layer: &Layer, purpose: Purpose) -> Result<File, StorageError> {
    let file = storage::open_file(&layer.path, purpose).map_err(StorageError::io(&layer.path))?;
    match lock::acquire(&file, purpose).map_err(StorageError::io(&layer.path))? {
        true => Ok(file),
        false => Err(StorageError::in_use(&layer.path, "End that one, and repeat the command")),
    }
}

/// Gives the lower image the upper one's size if it is smaller, and returns the one that it had. A larger one is cut off only
/// at the end: the upper one never shows that.
fn resize(lower: &Layer, file: &File, size: u64, watch: Watch<'_>) -> Result<u64, StorageError> {
    let path = &lower.path;
    let had = match lower.format {
        DiskFormat::Raw => storage::length(file).map_err(StorageError::io(path))?,
        DiskFormat::Qcow2 => Header::read(file).map_err(StorageError::qcow2(path))?.size,
    };
    match lower.format {
        DiskFormat::Raw if had < size => file.set_len(size).map_err(StorageError::io(path))?,
        DiskFormat::Qcow2 if had < size => grow::grow(file, size, watch).map_err(StorageError::qcow2(path))?,
        _ => {}
    }
    Ok(had)
}

fn copy(pair: &Pair, upper: File, lower: File, below: Vec<File>, had: u64, watch: Watch<'_>) -> io::Result<()> {
    let Some(format) = pair.lower.first().map(|layer| layer.format) else { return Ok(()) };
    let file = lower.try_clone()?;
    // On its own: what it does not have is not looked for anywhere.
    let upper = open_image(upper, DiskFormat::Qcow2, false, None)?;
    let mut base = None;
    for (file, layer) in below.into_iter().zip(pair.lower.iter().skip(1)).rev() {
        base = Some(Arc::new(open_image(file, layer.format, false, base)?));
    }
    let cluster = match format {
        DiskFormat::Raw => 1,
        DiskFormat::Qcow2 => Header::read(&file).map_err(io::Error::other)?.cluster_size(),
    };
    let size = upper.size();
    let mut target = Target { image: open_image(lower, format, true, base)?, cluster, size, zeroes: Vec::new() };
    let mut buffer = vec![0; CHUNK as usize];
    let mut offset = 0;
    while offset < size {
        progress::step(watch, offset, size)?;
        let (mapping, length) = upper.get_shallow_mapping(offset, size - offset)?;
        let length = match mapping {
            _ if length == 0 => return Err(io::Error::other("the image has a place that is nowhere")),
            ShallowMapping::Zero { explicit: false, .. } => length,
            ShallowMapping::Zero { .. } => {
                target.zero(offset, length)?;
                length
            }
            _ => {
                let part = buffer.get_mut(..length.min(CHUNK) as usize).unwrap_or_default();
                upper.read(&mut *part, offset)?;
                target.image.write(&*part, offset)?;
                part.len() as u64
            }
        };
        offset += length;
    }
    target.finish()?;
    // The end of a larger one, which the upper one does not have.
    match format {
        DiskFormat::Raw if had > size && file.metadata()?.is_file() => {
            file.set_len(size).and_then(|()| file.sync_data())
        }
        DiskFormat::Qcow2 if had > size => shrink::shrink(&file, size, watch).map_err(io::Error::other),
        _ => Ok(()),
    }
}

/// The image that is written.
struct Target {
    image: Access,
    /// Bytes of a cluster.
    cluster: u64,
    /// The disk's size, in bytes.
    size: u64,
    /// Whole clusters that are to read as zeroes: from where up to where.
    zeroes: Vec<(u64, u64)>,
}

impl Target {
    /// Parts of clusters become zero now. Whole ones are given back when nothing is written any more: so no cluster is used
    /// again while it is not known on the disk that it is free.
    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let end = offset + length;
        let first = offset.next_multiple_of(self.cluster).min(end);
        let last = if end == self.size { end } else { (end - end % self.cluster).max(first) };
        self.write_zeroes(offset, first)?;
        self.write_zeroes(last, end)?;
        match self.zeroes.last_mut() {
            Some(before) if before.1 == first => before.1 = last,
            _ if first < last => self.zeroes.push((first, last)),
            _ => {}
        }
        Ok(())
    }

    fn write_zeroes(&self, mut from: u64, to: u64) -> io::Result<()> {
        static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
        while from < to {
            let part = ZEROES.get(..(to - from).min(ZEROES.len() as u64) as usize).unwrap_or_default();
            self.image.write(part, from)?;
            from += part.len() as u64;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.image.flush()?;
        for (from, to) in std::mem::take(&mut self.zeroes) {
            match self.image.discard_to_zero(from, to - from) {
                // Images of version 2 have no mark for zeroes.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeroes(from, to)?,
                other => other?,
            }
        }
        self.image.flush()?;
        self.image.sync()
    }
}

fn open_image(file: File, format: DiskFormat, writable: bool, below: Option<Arc<Access>>) -> io::Result<Access> {
    let file = ImageFile::from_open_file(file, StorageOpenOptions::new().write(writable))?;
    match format {
        DiskFormat::Raw => Ok(Access::new(Raw::open_image(file, writable)?)),
        DiskFormat::Qcow2 => {
            let mut image = Qcow2::<ImageFile, Arc<Access>>::open_image(file, writable)?;
            if image.requires_external_data_file() {
                return Err(io::Error::other("it keeps its data in another file"));
            }
            image.set_data_file(None);
            image.set_backing(below);
            Ok(Access::new(image))
        }
    }
}
