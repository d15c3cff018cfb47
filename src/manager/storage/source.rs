//! Reading the disk in an image of any format, with its holes.

#![forbid(unsafe_code)]

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use imago::{FormatAccess, Mapping, StorageOpenOptions, file::File as ImageFile, qcow2::Qcow2, raw::Raw};

use super::{Image, ImageFormat, Result, StorageError, create::SECTOR, length, qcow2::Header, resize::next_data, vmdk};

pub(super) type Access = FormatAccess<ImageFile>;

/// A disk that is read.
pub trait Source: Send {
    /// Its size in bytes, whole sectors.
    fn size(&self) -> u64;

    /// Whether something is stored from `offset` on, and up to where that is so; `false`: it reads as zeroes.
    fn extent(&mut self, offset: u64) -> io::Result<(bool, u64)>;

    /// Fills `buffer` from `offset` on; both inside the disk.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Opens the disk in `image` over `backing`, the chain of its backing files, nearest first. What the image says about them
/// is only compared with that: no image makes this program read a file that a person has not named.
pub fn open(image: Image, backing: Vec<Image>) -> Result<Box<dyn Source>> {
    let given = backing.len();
    if image.format != ImageFormat::Qcow2 && given > 0 {
        let reason = format!("{} images have no backing file", image.format);
        return Err(StorageError::refused(&image.path, reason, "Leave out --backing"));
    }
    match image.format {
        ImageFormat::Raw => Ok(Box::new(RawSource::new(image)?)),
        ImageFormat::Vmdk => vmdk::open(image),
        ImageFormat::Qcow2 => {
            let mut below = None;
            for layer in backing.into_iter().rev() {
                below = Some(Arc::new(open_layer(layer, below)?));
            }
            Ok(Box::new(ImagoSource::new(open_layer(image, below)?)))
        }
    }
}

fn open_layer(image: Image, below: Option<Arc<Access>>) -> Result<Access> {
    let path = &image.path;
    let file =
        ImageFile::from_open_file(image.file.try_clone().map_err(StorageError::io(path))?, StorageOpenOptions::new())
            .map_err(StorageError::io(path))?;
    if image.format != ImageFormat::Qcow2 {
        if below.is_some() || image.format == ImageFormat::Vmdk {
            let reason = format!("a {} image cannot be in the middle of a chain", image.format);
            return Err(StorageError::refused(path, reason, "Name the backing files from the nearest to the base"));
        }
        return Ok(Access::new(Raw::open_image(file, false).map_err(StorageError::io(path))?));
    }
    let header = Header::read(&image.file).map_err(StorageError::qcow2(path))?;
    match (&header.backing_file, &below) {
        (Some(name), None) => {
            let format = header.backing_format.as_deref().unwrap_or("its format");
            let mend = format!("If you trust it, add --backing {name} --backing-format {format}");
            return Err(StorageError::refused(path, format!("it is based on {name}"), mend));
        }
        (None, Some(_)) => {
            return Err(StorageError::refused(path, "it is not based on another image", "Leave out --backing"));
        }
        _ => {}
    }
    if header.has_external_data() {
        return Err(StorageError::refused(path, "it keeps its data in another file", "Use \"qemu-img convert\""));
    }
    let mut qcow2 = Qcow2::<ImageFile, Arc<Access>>::open_image(file, false).map_err(StorageError::io(path))?;
    qcow2.set_data_file(None);
    qcow2.set_backing(below);
    Ok(Access::new(qcow2))
}

/// A raw image.
struct RawSource {
    file: File,
    length: u64,
}

impl RawSource {
    fn new(image: Image) -> Result<Self> {
        let length = length(&image.file).map_err(StorageError::io(&image.path))?;
        Ok(Self { file: image.file, length })
    }
}

impl Source for RawSource {
    fn size(&self) -> u64 {
        self.length.next_multiple_of(SECTOR)
    }

    fn extent(&mut self, offset: u64) -> io::Result<(bool, u64)> {
        match next_data(&self.file, offset)? {
            Some((start, end)) if start <= offset => Ok((true, end.min(self.size()))),
            Some((start, _)) => Ok((false, start.min(self.size()))),
            None => Ok((false, self.size())),
        }
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        // The last sector may be cut off.
        let there = self.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (stored, rest) = buffer.split_at_mut(there);
        rest.fill(0);
        self.file.read_exact_at(stored, offset)
    }
}

/// An image that imago reads.
pub(super) struct ImagoSource(Access);

impl ImagoSource {
    pub fn new(access: Access) -> Self {
        Self(access)
    }
}

impl Source for ImagoSource {
    fn size(&self) -> u64 {
        self.0.size().next_multiple_of(SECTOR)
    }

    fn extent(&mut self, offset: u64) -> io::Result<(bool, u64)> {
        let (mapping, length) = self.0.get_mapping(offset, self.0.size().saturating_sub(offset))?;
        match (mapping, length) {
            (Mapping::Eof { .. }, _) => Ok((false, self.size())),
            (_, 0) => Err(io::Error::other("the image has a place that is nowhere")),
            (Mapping::Zero { .. }, length) => Ok((false, offset + length)),
            (_, length) => Ok((true, offset + length)),
        }
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = self.0.size().saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (stored, rest) = buffer.split_at_mut(there);
        rest.fill(0);
        if stored.is_empty() { Ok(()) } else { self.0.read(stored, offset) }
    }
}
