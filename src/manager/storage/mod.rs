//! Disk images outside of guests: making, examining, resizing, converting and checking them.
//!
//! [`Disks`] finds images by the words that people use for them, and opens them: always with the [`lock`] that workers
//! take too, and with a format that a definition or a person has named. [`users`] tells which guests need a file.
//! [`create`], [`info`], [`resize`], [`convert`] and [`check`] are the operations; [`source`] reads any image, [`qcow2`] knows the structures of that
//! format that imago keeps to itself, [`vmdk`] reads VMware's sparse images. Whatever is new is a [`new_file`] until it is
//! whole; whatever is changed in place is changed in steps of which each leaves the old or the new state.

pub mod check;
pub mod convert;
pub mod create;
pub mod device;
pub mod error;
pub mod info;
pub mod lock;
pub mod new_file;
pub mod resize;
pub mod source;
pub mod users;
pub mod vmdk;

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};
use serde::Serialize;

use self::users::Use;
pub use self::{error::StorageError, lock::Access, users::User};
use super::{definition::DiskFormat, library::Library, paths::Paths, pool::Pool};
pub(in crate::manager) use crate::qcow2::length;
pub use crate::{progress, qcow2};

/// What operations return.
pub type Result<T = ()> = std::result::Result<T, StorageError>;

/// The format of an image that is read; guests run from fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// The disk's bytes, one after the other.
    Raw,
    /// QEMU's format.
    Qcow2,
    /// VMware's format.
    Vmdk,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
        })
    }
}

impl From<DiskFormat> for ImageFormat {
    fn from(format: DiskFormat) -> Self {
        match format {
            DiskFormat::Raw => Self::Raw,
            DiskFormat::Qcow2 => Self::Qcow2,
        }
    }
}

/// An image that is open and locked.
#[derive(Debug)]
pub struct Image {
    /// Where it lies.
    pub path: PathBuf,
    /// The file.
    pub file: File,
    /// Its format.
    pub format: ImageFormat,
}

/// The images of a person: those in the default pool, and any others by their paths.
#[derive(Debug, Clone)]
pub struct Disks {
    library: Library,
    pool: Pool,
}

impl Disks {
    /// The images in these folders.
    pub fn new(paths: &Paths) -> Self {
        Self { library: Library::new(paths.clone()), pool: Pool::default_pool(paths) }
    }

    /// The default pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The image that a person means by `word`: a path when there is a slash in it, otherwise the name of an image in the
    /// default pool (with or without the ending), otherwise a file in the current folder.
    pub fn find(&self, word: &Path) -> Result<PathBuf> {
        let absolute = std::path::absolute(word).map_err(StorageError::io(word))?;
        if is_path(word) {
            return Ok(absolute);
        }
        let endings = ["", ".qcow2", ".raw"];
        let named = endings.iter().map(|ending| self.pool.folder().join(format!("{}{ending}", word.display())));
        let mut found = named.filter(|path| path.is_file());
        match (found.next(), found.next()) {
            (Some(path), None) => Ok(path),
            (Some(one), Some(other)) if one.file_name() != word.file_name() => {
                let reason = format!("it can be {} or {}", one.display(), other.display());
                Err(StorageError::refused(word, reason, "Write the ending, too"))
            }
            (Some(path), Some(_)) => Ok(path),
            (None, _) if absolute.exists() => Ok(absolute),
            (None, _) => Err(StorageError::io(word)(Errno::NOENT.into())),
        }
    }

    /// Where a new image goes that a person calls `word`: a path when there is a slash in it, otherwise a name in the
    /// default pool, with the format's ending if it has none.
    pub fn target(&self, word: &Path, format: DiskFormat) -> Result<PathBuf> {
        if is_path(word) {
            return std::path::absolute(word).map_err(StorageError::io(word));
        }
        let mut path = self.pool.folder().join(word);
        if path.extension().is_none() {
            path.set_extension(format.name());
        }
        Ok(path)
    }

    /// The guests that need the file at `path`.
    pub fn users(&self, path: &Path) -> Vec<User> {
        users::users(&self.library, path)
    }

    /// Opens and locks the image at `path`. Its format is what the definition of a guest says, or what the caller says. Only
    /// when it is to be read, and nobody says anything, its first bytes are believed.
    pub fn open(&self, path: &Path, format: Option<ImageFormat>, access: Access) -> Result<Image> {
        let users = self.users(path);
        let file = open_file(path, access).map_err(StorageError::io(path))?;
        let format = known_format(path, &file, format, &users, access)?;
        let based = |user: &&User| matches!(user.purpose, Use::Backing | Use::Snapshot);
        if let (Access::Write, Some(user)) = (access, users.iter().find(based)) {
            let what = if user.purpose == Use::Backing { "a disk" } else { "a snapshot" };
            let reason = format!("{what} of \"{}\" is based on it, and would be damaged by any change", user.guest);
            return Err(StorageError::refused(path, reason, "Make a copy with \"lodgectl disk convert\""));
        }
        if !lock::acquire(&file, access).map_err(StorageError::io(path))? {
            let (user, mend) = match users.iter().find(|user| user.running) {
                Some(user) => (format!("\"{}\", which runs", user.guest), "Shut it down first"),
                None => ("another program".to_owned(), "End that one first"),
            };
            return Err(StorageError::InUse { path: path.to_owned(), user, mend });
        }
        Ok(Image { path: path.to_owned(), file, format })
    }
}

fn is_path(word: &Path) -> bool {
    word.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// Opens a file or a block device; nothing else is an image, and a pipe would be waited for.
pub(in crate::manager) fn open_file(path: &Path, access: Access) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    if device::is_device(path) {
        return device::open(path, access, flags);
    }
    let file = OpenOptions::new().read(true).write(access.writes()).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_block_device() {
        true => Ok(file),
        false => Err(io::Error::other("it is neither a file nor a block device")),
    }
}

fn known_format(
    path: &Path,
    file: &File,
    asked: Option<ImageFormat>,
    users: &[User],
    access: Access,
) -> Result<ImageFormat> {
    let defined = users.iter().find_map(|user| match user.purpose {
        Use::Disk(format) => Some((&user.guest, ImageFormat::from(format))),
        _ => None,
    });
    match (asked, defined) {
        (Some(asked), Some((guest, known))) if asked != known => {
            let (path, guest) = (path.to_owned(), guest.clone());
            Err(StorageError::FormatConflict { path, guest, known, asked })
        }
        (Some(format), _) | (None, Some((_, format))) => Ok(format),
        (None, None) => match (looks_like(file), access) {
            (Some(format), Access::Read) => Ok(format),
            (Some(format), _) => Err(StorageError::FormatOffered { path: path.to_owned(), format }),
            (None, _) => Err(StorageError::FormatUnknown(path.to_owned())),
        },
    }
}

/// The format that a file's first bytes speak for.
fn looks_like(file: &File) -> Option<ImageFormat> {
    let mut head = [0; 32];
    let length = file.read_at(&mut head, 0).ok()?;
    let head = &head[..length];
    let is = |magic: &[u8]| head.starts_with(magic);
    match () {
        () if is(qcow2::MAGIC) => Some(ImageFormat::Qcow2),
        () if is(b"KDMV") || is(b"# Disk DescriptorFile") => Some(ImageFormat::Vmdk),
        () => None,
    }
}

#[cfg(test)]
mod tests;
