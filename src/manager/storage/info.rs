//! What an image is. Looking takes no lock and changes nothing; a guest may be using it.

#![forbid(unsafe_code)]

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    Access, Disks, Image, ImageFormat, Result, StorageError, User, known_format, length, looks_like, open_file,
    qcow2::{
        Header,
        header::{CORRUPT, DIRTY},
    },
    vmdk,
};

/// The longest chain of backing files that is followed.
const CHAIN_MAX: usize = 64;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageInfo {
    /// Where it lies.
    pub path: PathBuf,
    /// Its format; `None` when nothing says it.
    pub format: Option<ImageFormat>,
    /// The disk's size, in bytes.
    pub virtual_size: u64,
    /// The file's length, in bytes.
    pub file_size: u64,
    /// What it takes of its file system, in bytes.
    pub allocated: u64,
    /// What only qcow2 images have.
    #[serde(flatten)]
    pub qcow2: Option<Qcow2Info>,
    /// The files below it, nearest first, as the headers name them. Nothing but this list follows those names.
    pub backing_chain: Vec<Below>,
    /// The guests that need it.
    pub users: Vec<User>,
}

/// What a qcow2 image's header says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Qcow2Info {
    /// Of the format.
    pub version: u32,
    /// In bytes.
    pub cluster_size: u64,
    /// Of a reference count.
    pub refcount_bits: u32,
    /// How many internal snapshots it has.
    pub snapshots: u32,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Whether it was not closed properly.
    pub dirty: bool,
    /// Whether it is marked as damaged.
    pub corrupt: bool,
}

/// A file that an image is based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Below {
    /// Its name, as it is written in the image above it.
    pub name: String,
    /// Its format, as it is written there.
    pub format: Option<String>,
    /// The file that this means.
    pub path: PathBuf,
    /// Whether it is there.
    pub found: bool,
}

impl Disks {
    /// Opens the image at `path` as [`Disks::open`] does, without locking it.
    pub(super) fn examine(&self, path: &Path, format: Option<ImageFormat>, access: Access) -> Result<Image> {
        let file = open_file(path, access).map_err(StorageError::io(path))?;
        let format = known_format(path, &file, format, &self.users(path), access)?;
        Ok(Image { path: path.to_owned(), file, format })
    }

    /// What the image at `path` is.
    pub fn info(&self, path: &Path, format: Option<ImageFormat>) -> Result<ImageInfo> {
        describe(&self.examine(path, format, Access::Read)?, self.users(path))
    }

    /// What the images in the default pool are, by name; for those that cannot be examined, why.
    pub fn list(&self) -> Result<Vec<Result<ImageInfo>>> {
        let folder = self.pool().folder();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StorageError::io(folder)(error)),
        };
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
            .map(|entry| entry.path())
            .filter(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
            .collect();
        paths.sort();
        Ok(paths.iter().map(|path| self.volume(path)).collect())
    }

    /// What a file in a pool is, even when nothing says its format.
    pub fn volume(&self, path: &Path) -> Result<ImageInfo> {
        match self.info(path, None) {
            Err(StorageError::FormatUnknown(_)) => {
                let raw = self.info(path, Some(ImageFormat::Raw))?;
                Ok(ImageInfo { format: None, ..raw })
            }
            other => other,
        }
    }
}

impl Disks {
    /// The size of the disk in an image, in bytes.
    pub fn size_of_image(&self, image: &Image) -> Result<u64> {
        virtual_size(image)
    }
}

/// The size of the disk in an image, in bytes.
pub(super) fn virtual_size(image: &Image) -> Result<u64> {
    match image.format {
        ImageFormat::Raw => length(&image.file).map_err(StorageError::io(&image.path)),
        ImageFormat::Qcow2 => Ok(Header::read(&image.file).map_err(StorageError::qcow2(&image.path))?.size),
        ImageFormat::Vmdk => vmdk::size(image),
    }
}

fn describe(image: &Image, users: Vec<User>) -> Result<ImageInfo> {
    let header = match image.format {
        ImageFormat::Qcow2 => Some(Header::read(&image.file).map_err(StorageError::qcow2(&image.path))?),
        _ => None,
    };
    let metadata = image.file.metadata().map_err(StorageError::io(&image.path))?;
    Ok(ImageInfo {
        path: image.path.clone(),
        format: Some(image.format),
        virtual_size: virtual_size(image)?,
        file_size: length(&image.file).map_err(StorageError::io(&image.path))?,
        // In units of 512 bytes, whatever the file system's blocks are.
        allocated: metadata.blocks() * 512,
        backing_chain: header.as_ref().map_or_else(Vec::new, |header| backing_chain(&image.path, header)),
        qcow2: header.map(|header| Qcow2Info {
            version: header.version,
            cluster_size: header.cluster_size(),
            refcount_bits: 1 << header.refcount_order,
            snapshots: header.snapshots,
            encrypted: header.encryption != 0,
            dirty: header.incompatible & DIRTY != 0,
            corrupt: header.incompatible & CORRUPT != 0,
        }),
        users,
    })
}

fn backing_chain(path: &Path, header: &Header) -> Vec<Below> {
    let mut chain: Vec<Below> = Vec::new();
    let mut above = (path.to_owned(), header.clone());
    while chain.len() < CHAIN_MAX {
        let Some(name) = above.1.backing_file.take() else { break };
        // A relative name counts from the folder of the image that names it.
        let path = above.0.parent().map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name));
        let file = open_file(&path, Access::Read);
        chain.push(Below { name, format: above.1.backing_format.take(), path: path.clone(), found: file.is_ok() });
        let Ok(file) = file else { break };
        match Header::read(&file) {
            Ok(header) if looks_like(&file) == Some(ImageFormat::Qcow2) => above = (path, header),
            _ => break,
        }
    }
    chain
}
