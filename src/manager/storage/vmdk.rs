//! Reading VMware's images: sparse ones in one file (`monolithicSparse` and `streamOptimized`, as in OVA archives) here,
//! descriptors of flat files by imago.
//!
//! A sparse image is a header, a descriptor (text), and grains of 64 KiB or so, found through a directory of tables. Those of
//! a stream are compressed, and its directory may be at its end.
//!
//! Specification: VMware, "Virtual Disk Format 5.0".

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::ZlibDecoder;
use imago::{
    FormatAccess, FormatDriverBuilder, StorageOpenOptions, file::File as ImageFile, format::gate::ImplicitOpenGate,
    vmdk::Vmdk,
};

use super::{
    Access, Image, Result, StorageError, length, open_file,
    source::{ImagoSource, Source},
};

/// What sparse images begin with.
const MAGIC: &[u8] = b"KDMV";
const SECTOR: u64 = 512;
/// A directory's place that says: look into the footer, which is in the last but one sector.
const AT_END: u64 = u64::MAX;
const FOOTER_FROM_END: u64 = 1024;
/// Header flags: entries of 1 mean zeroes; grains are compressed, with markers.
const FLAG_ZERO_GRAINS: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;
/// Limits on what a header may ask for.
const GRAIN_SECTORS_MAX: u64 = 1 << 14;
const DIRECTORY_MAX: u64 = 1 << 22;
const DESCRIPTOR_MAX: u64 = 1 << 20;

/// The size of the disk in the image, in bytes.
pub(super) fn size(image: &Image) -> Result<u64> {
    let image = Image { path: image.path.clone(), file: clone(image)?, format: image.format };
    Ok(open(image)?.size())
}

/// Opens the disk in the image.
pub(super) fn open(image: Image) -> Result<Box<dyn Source>> {
    let path = image.path.clone();
    let mut magic = [0; 4];
    image.file.read_exact_at(&mut magic, 0).map_err(StorageError::io(&path))?;
    if magic == MAGIC {
        return Ok(Box::new(Sparse::open(image.file).map_err(StorageError::io(&path))?));
    }
    let options = StorageOpenOptions::new().filename(&path);
    let file = ImageFile::from_open_file(clone(&image)?, options).map_err(StorageError::io(&path))?;
    let mut vmdk =
        Vmdk::<ImageFile, Arc<FormatAccess<ImageFile>>>::open_image(file, false).map_err(StorageError::io(&path))?;
    vmdk.open_implicit_dependencies_gated(Beside(path.clone())).map_err(StorageError::io(&path))?;
    Ok(Box::new(ImagoSource::new(FormatAccess::new(vmdk))))
}

fn clone(image: &Image) -> Result<File> {
    image.file.try_clone().map_err(StorageError::io(&image.path))
}

/// Opens only files that lie beside the descriptor: a descriptor from a stranger could name any file of this host.
struct Beside(PathBuf);

impl ImplicitOpenGate<ImageFile> for Beside {
    fn open_format<F: FormatDriverBuilder<ImageFile>>(&mut self, _: F) -> io::Result<FormatAccess<ImageFile>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "it is based on another image"))
    }

    fn open_storage(&mut self, options: StorageOpenOptions) -> io::Result<ImageFile> {
        let path = options.get_filename().map(Path::to_owned).unwrap_or_default();
        let beside = |path: &Path| Some((path.parent()?.canonicalize().ok()?, path.canonicalize().ok()?));
        let (Some((folder, file)), Some((own, _))) = (beside(&path), beside(&self.0)) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("its data in {} are missing", path.display())));
        };
        // The second: a link to another folder is another folder.
        if folder != own || file.parent() != Some(&own) {
            let reason = format!("its data are in {}, which is not beside it", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        ImageFile::from_open_file(open_file(&path, Access::Read)?, options.write(false))
    }
}

/// A sparse image.
struct Sparse {
    file: File,
    /// In bytes.
    size: u64,
    /// Bytes of a grain.
    grain: u64,
    /// Whether entries of 1 mean zeroes.
    zero_grains: bool,
    compressed: bool,
    /// Grains that one table describes.
    per_table: u64,
    /// Where the tables lie, in sectors.
    directory: Vec<u32>,
    /// The table that was looked at last, and its number.
    table: Option<(u64, Vec<u32>)>,
    /// The grain that was unpacked last, and its number.
    unpacked: Option<(u64, Vec<u8>)>,
}

impl Sparse {
    fn open(file: File) -> io::Result<Self> {
        let mut header = Header::read(&file, 0)?;
        if header.directory == AT_END {
            let end = length(&file)?.checked_sub(FOOTER_FROM_END).ok_or_else(|| damaged("it is too short"))?;
            header = Header::read(&file, end)?;
        }
        header.check()?;
        check_descriptor(&file, &header)?;
        let grain = header.grain * SECTOR;
        let size = header.capacity.checked_mul(SECTOR).ok_or_else(|| damaged("its size is too large"))?;
        let tables = size.div_ceil(grain).div_ceil(header.per_table.into());
        if tables > DIRECTORY_MAX {
            return Err(damaged("its directory is too large"));
        }
        Ok(Self {
            directory: read_entries(&file, header.directory, tables as usize)?,
            file,
            size,
            grain,
            zero_grains: header.flags & FLAG_ZERO_GRAINS != 0,
            compressed: header.flags & FLAG_COMPRESSED != 0,
            per_table: header.per_table.into(),
            table: None,
            unpacked: None,
        })
    }

    /// Where a grain lies, in bytes; `None` when it reads as zeroes.
    fn place(&mut self, grain: u64) -> io::Result<Option<u64>> {
        let number = grain / self.per_table;
        if self.table.as_ref().is_none_or(|(current, _)| *current != number) {
            let entries = match self.directory.get(number as usize) {
                None | Some(0) => Vec::new(),
                Some(&sector) => read_entries(&self.file, sector.into(), self.per_table as usize)?,
            };
            self.table = Some((number, entries));
        }
        let entries = self.table.as_ref().map(|(_, entries)| entries.as_slice()).unwrap_or_default();
        match entries.get((grain % self.per_table) as usize) {
            None | Some(0) => Ok(None),
            Some(1) if self.zero_grains => Ok(None),
            Some(&sector) => Ok(Some(u64::from(sector) * SECTOR)),
        }
    }

    /// Unpacks the grain at `place`: a marker (its first sector on the disk, its length), and a zlib stream.
    fn unpack(&self, place: u64) -> io::Result<Vec<u8>> {
        let mut marker = [0; 12];
        self.file.read_exact_at(&mut marker, place)?;
        let length = number(&marker, 8, 4);
        // Packed, random data are longer than before, by little.
        if length > 2 * self.grain {
            return Err(damaged("a grain is longer than it can be"));
        }
        let mut packed = vec![0; length as usize];
        self.file.read_exact_at(&mut packed, place + marker.len() as u64)?;
        let mut grain = Vec::new();
        ZlibDecoder::new(packed.as_slice()).take(self.grain).read_to_end(&mut grain)?;
        grain.resize(self.grain as usize, 0);
        Ok(grain)
    }
}

impl Source for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn extent(&mut self, offset: u64) -> io::Result<(bool, u64)> {
        let mut grain = offset / self.grain;
        let stored = self.place(grain)?.is_some();
        while grain * self.grain < self.size {
            let without_table = self.directory.get((grain / self.per_table) as usize).is_none_or(|&sector| sector == 0);
            if self.place(grain)?.is_some() != stored {
                break;
            }
            grain = if without_table { (grain / self.per_table + 1) * self.per_table } else { grain + 1 };
        }
        Ok((stored, (grain * self.grain).min(self.size)))
    }

    fn read(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let (number, inside) = (offset / self.grain, (offset % self.grain) as usize);
            let count = buffer.len().min(self.grain as usize - inside);
            let (part, rest) = buffer.split_at_mut(count);
            match self.place(number)? {
                None => part.fill(0),
                Some(place) if self.compressed => {
                    if self.unpacked.as_ref().is_none_or(|(current, _)| *current != number) {
                        self.unpacked = Some((number, self.unpack(place)?));
                    }
                    let grain = self.unpacked.as_ref().and_then(|(_, grain)| grain.get(inside..inside + count));
                    part.copy_from_slice(grain.ok_or_else(|| damaged("a grain is too short"))?);
                }
                Some(place) => self.file.read_exact_at(part, place + inside as u64)?,
            }
            buffer = rest;
            offset += count as u64;
        }
        Ok(())
    }
}

/// The header of a sparse image; places and lengths in sectors.
struct Header {
    version: u32,
    flags: u32,
    capacity: u64,
    grain: u64,
    descriptor: u64,
    descriptor_length: u64,
    per_table: u32,
    directory: u64,
    compression: u64,
}

impl Header {
    fn read(file: &File, offset: u64) -> io::Result<Self> {
        let mut bytes = [0; 79];
        file.read_exact_at(&mut bytes, offset)?;
        if !bytes.starts_with(MAGIC) {
            return Err(damaged("its footer is missing"));
        }
        Ok(Self {
            version: number(&bytes, 4, 4) as u32,
            flags: number(&bytes, 8, 4) as u32,
            capacity: number(&bytes, 12, 8),
            grain: number(&bytes, 20, 8),
            descriptor: number(&bytes, 28, 8),
            descriptor_length: number(&bytes, 36, 8),
            per_table: number(&bytes, 44, 4) as u32,
            directory: number(&bytes, 56, 8),
            compression: number(&bytes, 77, 2),
        })
    }

    fn check(&self) -> io::Result<()> {
        let is_fine = (1..=3).contains(&self.version)
            && self.grain.is_power_of_two()
            && self.grain <= GRAIN_SECTORS_MAX
            && (1..=4096).contains(&self.per_table)
            && self.compression <= 1;
        if is_fine { Ok(()) } else { Err(damaged("its header makes no sense")) }
    }
}

/// Refuses images that are only a part of a disk.
fn check_descriptor(file: &File, header: &Header) -> io::Result<()> {
    let length = header.descriptor_length.saturating_mul(SECTOR);
    if header.descriptor == 0 || length > DESCRIPTOR_MAX {
        return Ok(());
    }
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, header.descriptor.saturating_mul(SECTOR))?;
    let text = String::from_utf8_lossy(&text);
    let parent = text.lines().filter_map(|line| line.trim_end_matches('\0').strip_prefix("parentCID=")).next();
    match parent.map(str::trim) {
        None | Some("ffffffff") => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "it holds only changes to another image")),
    }
}

fn read_entries(file: &File, sector: u64, count: usize) -> io::Result<Vec<u32>> {
    let mut bytes = vec![0; count * 4];
    file.read_exact_at(&mut bytes, sector.saturating_mul(SECTOR))?;
    Ok(bytes.as_chunks().0.iter().map(|&entry| u32::from_le_bytes(entry)).collect())
}

/// The little-endian number of `length` bytes at `offset`.
fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    let bytes = bytes.get(offset..offset + length).unwrap_or_default();
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
