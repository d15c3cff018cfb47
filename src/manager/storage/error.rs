//! Why something could not be done with a disk image.

#![forbid(unsafe_code)]

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ImageFormat, qcow2::Qcow2Error};
use crate::{manager::library::LibraryError, system_error::words};

/// Every text says what happened to which image and how to mend it, on one line.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system refused.
    #[error("{}: {}. {mend}", path.display(), words(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        mend: &'static str,
    },
    /// Somebody uses it.
    #[error("{} is in use by {user}. {mend}", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
        /// By whom, in words.
        user: String,
        /// How to mend it.
        mend: &'static str,
    },
    /// Nothing says what format it has.
    #[error("no guest's definition says what format {} has, and a raw image does not say it itself. If it is one, add \
             --format raw (--from-format raw to convert it)", .0.display())]
    FormatUnknown(PathBuf),
    /// Its content looks like a format, which is no proof.
    #[error("{} looks like {format}, but what a raw disk holds can look like that, too. If it is, add --format {format}",
            path.display())]
    FormatOffered {
        /// The image.
        path: PathBuf,
        /// What it looks like.
        format: ImageFormat,
    },
    /// A guest uses it in another format.
    #[error("{} is a {known} image for \"{guest}\", not {asked}. Leave out --format, or correct the definition",
            path.display())]
    FormatConflict {
        /// The image.
        path: PathBuf,
        /// Who uses it.
        guest: String,
        /// In which format.
        known: ImageFormat,
        /// What was asked for.
        asked: ImageFormat,
    },
    /// It is not of the format that it should have, or damaged, or has something that this program does not know.
    #[error("{}: {source}", path.display())]
    Qcow2 {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        source: Qcow2Error,
    },
    /// It cannot be done.
    #[error("{}: {reason}. {mend}", path.display())]
    Refused {
        /// The image.
        path: PathBuf,
        /// Why.
        reason: String,
        /// How to mend it.
        mend: String,
    },
    /// A person has stopped it.
    #[error("stopped, {} is as it was. Repeat the command when you want it", .0.display())]
    Stopped(PathBuf),
    /// The library could not be read.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl StorageError {
    /// Turns what the system said about the file at `path` into an error that says how to mend it.
    pub(in crate::manager) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            let mend = match source.kind() {
                // What [`super::progress::Watch`] has asked for.
                io::ErrorKind::Interrupted => return Self::Stopped(path),
                io::ErrorKind::NotFound => "Look for it with \"lodgectl disk list\", or write its whole path",
                io::ErrorKind::AlreadyExists => "Choose another name",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room, and repeat the command",
                io::ErrorKind::ResourceBusy => "The host or a guest uses it: unmount it, or end that guest",
                io::ErrorKind::FileTooLarge => "Choose less: the file system cannot hold so large a file",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "Make the file, or its folder, accessible for you"
                }
                io::ErrorKind::InvalidData | io::ErrorKind::Unsupported => "Look at its format and origin",
                _ => "Look at the file and its disk",
            };
            Self::Io { path, source, mend }
        }
    }

    /// The image at `path` is locked by somebody of whom no more is known.
    pub(in crate::manager) fn in_use(path: &Path, mend: &'static str) -> Self {
        Self::InUse { path: path.to_owned(), user: "another guest or program".to_owned(), mend }
    }

    pub(in crate::manager) fn qcow2(path: &Path) -> impl FnOnce(Qcow2Error) -> Self {
        let path = path.to_owned();
        move |source| match source {
            Qcow2Error::Io(source) => Self::io(&path)(source),
            source => Self::Qcow2 { path, source },
        }
    }

    pub(in crate::manager) fn refused(path: &Path, reason: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Refused { path: path.to_owned(), reason: reason.into(), mend: mend.into() }
    }
}
