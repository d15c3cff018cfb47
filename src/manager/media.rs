//! What a file is that a person chose as medium, disk or kernel. The format found here is stored in the definition and
//! never guessed again.

#![forbid(unsafe_code)]

use std::{io, path::Path};

use serde::Serialize;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaKind {
    /// An ISO 9660 image that also boots as a disk.
    HybridIso,
    /// An ISO 9660 image that boots only from a CD-ROM drive, or not at all.
    Iso,
    /// A raw disk image with a boot record.
    BootableDisk,
    /// Anything else of whole sectors: a raw disk without a boot record.
    Disk,
    /// A qcow2 image.
    Qcow2,
    /// A VMDK image.
    Vmdk,
    /// A VirtualBox image.
    Vdi,
    /// A Hyper-V image.
    Vhdx,
    /// A Linux kernel as bzImage.
    LinuxKernel,
    /// An ELF file.
    Elf,
}

/// A file that can be of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// The file's size in bytes; for qcow2 the disk's.
    pub size: u64,
    /// The volume's name on an ISO image.
    pub label: Option<String>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It cannot be opened or read.
    #[error("{path}: {source}. Choose a file that exists and that you may read")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is a folder, a socket or the like.
    #[error("{path} is {what}, not an image. Choose a file")]
    NotAFile {
        /// The file.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// It is empty.
    #[error("{0} is empty. Download or copy it again")]
    Empty(String),
    /// Its end is missing.
    #[error("{path} is cut off: {detail}. Download or copy it again")]
    Truncated {
        /// The file.
        path: String,
        /// How that is known.
        detail: String,
    },
}

/// Looks at the file. Reads some kilobytes; call it on a blocking thread.
pub fn inspect(path: &Path) -> Result<Media, MediaError> {
    Err(MediaError::Empty(path.display().to_string()))
}
