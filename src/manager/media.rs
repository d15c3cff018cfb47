//! What a file is that a person chose as medium, disk or kernel. The format found here is stored in the definition and
//! never guessed again.
//!
//! Specifications: ECMA-119 (ISO 9660), El Torito 1.0, QEMU's docs/interop/qcow2, Linux' x86 boot protocol.

#![forbid(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::system_error::words;
use rustix::fs::OFlags;
use serde::Serialize;

/// Bytes of a disk's sector.
const SECTOR: u64 = 512;
/// Where the volume descriptors of an ISO image begin: block 16 of 2,048 bytes.
const DESCRIPTORS: usize = 16 * 2048;
/// How much of the file's beginning is looked at: up to the ISO image's boot record.
const HEAD: usize = DESCRIPTORS + 2 * 2048;
/// The longest chain of backing files that is followed.
const CHAIN_MAX: usize = 64;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaKind {
    /// An ISO 9660 image that also boots as a disk.
    HybridIso,
    /// An ISO 9660 image that boots only from a CD-ROM drive.
    BootableIso,
    /// An ISO 9660 image that does not boot.
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
    /// What was chosen as initial RAM disk: kernels take several formats, compressed or not.
    InitialRamDisk,
}

impl MediaKind {
    /// What it is, for a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::HybridIso => "ISO image, boots as CD-ROM and as disk",
            Self::BootableIso => "ISO image, boots only from a CD-ROM drive",
            Self::Iso => "ISO image, does not boot",
            Self::BootableDisk => "raw disk image with a boot record",
            Self::Disk => "raw disk image without a boot record",
            Self::Qcow2 => "qcow2 disk image",
            Self::Vmdk => "VMDK disk image",
            Self::Vdi => "VirtualBox disk image",
            Self::Vhdx => "Hyper-V disk image",
            Self::LinuxKernel => "Linux kernel",
            Self::Elf => "ELF program or kernel",
            Self::InitialRamDisk => "initial RAM disk",
        }
    }
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
    /// The file that a qcow2 image is based on.
    pub backing: Option<PathBuf>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It cannot be opened or read.
    #[error("{}: {}. Choose a file that exists and that you may read", path.display(), words(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a folder, a socket or the like.
    #[error("{} is {what}, not an image. Choose a file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is empty.
    #[error("{} is empty. Download or copy it again", .0.display())]
    Empty(PathBuf),
    /// It must be unpacked first.
    #[error("{} is compressed ({what}). Unpack it and choose what was in it", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// By which program.
        what: &'static str,
    },
    /// Its end is missing.
    #[error("{} is cut off: {detail}. Download or copy it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How that is known.
        detail: String,
    },
}

/// Looks at the file. Reads some kilobytes; call it on a blocking thread.
pub fn inspect(path: &Path) -> Result<Media, MediaError> {
    let io_error = |source| MediaError::Io { path: path.to_owned(), source };
    let mut file = open(path)?;
    let length = file.metadata().map_err(io_error)?.len();
    if length == 0 {
        return Err(MediaError::Empty(path.to_owned()));
    }
    let mut head = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(io_error)?;
    let plain = |kind| Ok(Media { kind, size: length, label: None, backing: None });
    let cut_off = |detail: String| Err(MediaError::Truncated { path: path.to_owned(), detail });

    for (magic, what) in [
        (&b"\x1f\x8b"[..], "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"PK\x03\x04", "zip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    ] {
        if head.starts_with(magic) {
            return Err(MediaError::Compressed { path: path.to_owned(), what });
        }
    }
    if head.starts_with(QCOW2_MAGIC) {
        return match Qcow2Header::parse(&head) {
            Some(header) => {
                let backing = header.backing(&mut file).map_err(io_error)?;
                Ok(Media { kind: MediaKind::Qcow2, size: header.size, label: None, backing })
            }
            None => cut_off("the qcow2 header is not whole".to_owned()),
        };
    }
    if head.starts_with(b"\x7fELF") {
        return plain(MediaKind::Elf);
    }
    if has(&head, 0x202, b"HdrS") && has_boot_signature(&head) {
        return plain(MediaKind::LinuxKernel);
    }
    if head.starts_with(b"KDMV") || head.starts_with(b"# Disk DescriptorFile") {
        return plain(MediaKind::Vmdk);
    }
    if has(&head, 0x40, &[0x7f, 0x10, 0xda, 0xbe]) {
        return plain(MediaKind::Vdi);
    }
    if head.starts_with(b"vhdxfile") {
        return plain(MediaKind::Vhdx);
    }
    if has(&head, DESCRIPTORS, b"\x01CD001") {
        return inspect_iso(path, &head, length);
    }
    if !length.is_multiple_of(SECTOR) {
        return cut_off(format!("its {length} bytes are not whole sectors of {SECTOR}"));
    }
    plain(if has_boot_code(&head) { MediaKind::BootableDisk } else { MediaKind::Disk })
}

/// Looks at a file that is to be a kernel's initial RAM disk.
pub fn inspect_initial_ram_disk(path: &Path) -> Result<Media, MediaError> {
    let size = open(path)?.metadata().map_err(|source| MediaError::Io { path: path.to_owned(), source })?.len();
    match size {
        0 => Err(MediaError::Empty(path.to_owned())),
        _ => Ok(Media { kind: MediaKind::InitialRamDisk, size, label: None, backing: None }),
    }
}

fn inspect_iso(path: &Path, head: &[u8], length: u64) -> Result<Media, MediaError> {
    let descriptor = head.get(DESCRIPTORS..).unwrap_or_default();
    let number = |range: std::ops::Range<usize>| {
        let bytes = descriptor.get(range).unwrap_or_default();
        bytes.iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
    };
    // ECMA-119, 8.4: the volume space in logical blocks, and their size; both also stand there big-endian.
    let expected = number(80..84) * number(128..130).max(1);
    if length < expected {
        let detail = format!("it has {length} of {expected} bytes");
        return Err(MediaError::Truncated { path: path.to_owned(), detail });
    }
    let label = descriptor.get(40..72).map(|label| String::from_utf8_lossy(label).trim().to_owned());
    let el_torito = has(head, DESCRIPTORS + 2048, b"\0CD001\x01EL TORITO SPECIFICATION");
    let kind = match (has_boot_code(head), el_torito) {
        (true, _) => MediaKind::HybridIso,
        (false, true) => MediaKind::BootableIso,
        (false, false) => MediaKind::Iso,
    };
    Ok(Media { kind, size: length, label: label.filter(|label| !label.is_empty()), backing: None })
}

/// The files below the qcow2 image at `path`, down to the base; nothing when it cannot be read.
pub fn backing_files(path: &Path) -> Vec<PathBuf> {
    let mut chain = Vec::new();
    let mut image = path.to_owned();
    while chain.len() < CHAIN_MAX {
        let Ok(Media { backing: Some(name), .. }) = inspect(&image) else { break };
        // A relative name counts from the folder of the image that names it.
        image = image.parent().map_or(name.clone(), |folder| folder.join(&name));
        chain.push(image.clone());
    }
    chain
}

fn open(path: &Path) -> Result<File, MediaError> {
    let io_error = |source| MediaError::Io { path: path.to_owned(), source };
    // A pipe would be waited for.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let kind = std::fs::metadata(path).map_err(io_error)?.file_type();
    let what = match kind {
        _ if kind.is_file() => return OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io_error),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_fifo() => "a pipe",
        _ => "a device",
    };
    Err(MediaError::NotAFile { path: path.to_owned(), what })
}

fn has(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

fn has_boot_signature(head: &[u8]) -> bool {
    has(head, 510, &[0x55, 0xaa])
}

/// Whether a PC's firmware would find something to run in the first sector: an ISO image can have a partition table there
/// without any code.
fn has_boot_code(head: &[u8]) -> bool {
    has_boot_signature(head) && head.iter().take(440).any(|&byte| byte != 0)
}

const QCOW2_MAGIC: &[u8] = b"QFI\xfb";

struct Qcow2Header {
    size: u64,
    backing_offset: u64,
    backing_length: u32,
}

impl Qcow2Header {
    fn parse(head: &[u8]) -> Option<Self> {
        // Version 2's header has 72 bytes, and version 3's begins with the same.
        let header = head.get(..72)?;
        let u64_at = |offset: usize| header.get(offset..offset + 8)?.try_into().ok().map(u64::from_be_bytes);
        let u32_at = |offset: usize| header.get(offset..offset + 4)?.try_into().ok().map(u32::from_be_bytes);
        Some(Self { size: u64_at(24)?, backing_offset: u64_at(8)?, backing_length: u32_at(16)? })
    }

    fn backing(&self, file: &mut File) -> io::Result<Option<PathBuf>> {
        // The specification: at most 1,023 bytes.
        if self.backing_offset == 0 || self.backing_length == 0 || self.backing_length > 1023 {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(self.backing_offset))?;
        let mut name = Vec::new();
        file.take(self.backing_length.into()).read_to_end(&mut name)?;
        Ok(Some(PathBuf::from(String::from_utf8_lossy(&name).into_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn kind_of(content: &[u8]) -> MediaKind {
        inspect(file_with(content).path()).unwrap().kind
    }

    fn iso(blocks: u32, boot_code: bool, el_torito: bool) -> Vec<u8> {
        let mut image = vec![0; blocks as usize * 2048];
        image[DESCRIPTORS..DESCRIPTORS + 7].copy_from_slice(b"\x01CD001\x01");
        image[DESCRIPTORS + 40..DESCRIPTORS + 72].copy_from_slice(b"DEBIAN 12                       ");
        image[DESCRIPTORS + 80..DESCRIPTORS + 84].copy_from_slice(&blocks.to_le_bytes());
        image[DESCRIPTORS + 128..DESCRIPTORS + 130].copy_from_slice(&2048u16.to_le_bytes());
        if boot_code {
            image[0] = 0xfa;
            image[510..512].copy_from_slice(&[0x55, 0xaa]);
        }
        if el_torito {
            image[DESCRIPTORS + 2048..DESCRIPTORS + 2078].copy_from_slice(b"\0CD001\x01EL TORITO SPECIFICATION");
        }
        image
    }

    fn qcow2(backing: Option<&str>) -> Vec<u8> {
        let mut image = vec![0; 4096];
        image[..4].copy_from_slice(QCOW2_MAGIC);
        image[4..8].copy_from_slice(&3u32.to_be_bytes());
        image[24..32].copy_from_slice(&(20u64 << 30).to_be_bytes());
        if let Some(name) = backing {
            image[8..16].copy_from_slice(&512u64.to_be_bytes());
            image[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
            image[512..512 + name.len()].copy_from_slice(name.as_bytes());
        }
        image
    }

    #[test]
    fn iso_images_are_told_apart_by_how_they_boot() {
        assert_eq!(kind_of(&iso(20, true, true)), MediaKind::HybridIso);
        assert_eq!(kind_of(&iso(20, false, true)), MediaKind::BootableIso);
        assert_eq!(kind_of(&iso(20, false, false)), MediaKind::Iso);
        assert_eq!(inspect(file_with(&iso(20, true, true)).path()).unwrap().label.as_deref(), Some("DEBIAN 12"));
    }

    #[test]
    fn an_iso_image_shorter_than_its_volume_is_cut_off() {
        let whole = iso(40, true, true);

        let error = inspect(file_with(&whole[..60_000]).path()).unwrap_err();

        assert!(error.to_string().contains("60000 of 81920 bytes"), "{error}");
    }

    #[test]
    fn disks_and_kernels_are_known_by_their_magic() {
        let mut boot_sector = vec![0; 1024];
        boot_sector[0] = 0xeb;
        boot_sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        let mut kernel = boot_sector.clone();
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel.push(1);

        assert_eq!(kind_of(&boot_sector), MediaKind::BootableDisk);
        assert_eq!(kind_of(&[0; 512]), MediaKind::Disk);
        assert_eq!(kind_of(&kernel), MediaKind::LinuxKernel);
        assert_eq!(kind_of(b"\x7fELF and so on"), MediaKind::Elf);
        assert_eq!(kind_of(b"KDMV...."), MediaKind::Vmdk);
        assert_eq!(kind_of(b"vhdxfile"), MediaKind::Vhdx);
    }

    #[test]
    fn the_size_of_a_qcow2_image_is_its_disks() {
        let media = inspect(file_with(&qcow2(None)).path()).unwrap();

        assert_eq!((media.kind, media.size, media.backing), (MediaKind::Qcow2, 20 << 30, None));
    }

    #[test]
    fn backing_files_are_followed_to_the_base_and_never_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let (top, middle) = (folder.path().join("top"), folder.path().join("middle"));
        std::fs::write(&top, qcow2(Some("middle"))).unwrap();
        std::fs::write(&middle, qcow2(Some("/nonexistent/base"))).unwrap();

        assert_eq!(backing_files(&top), [middle.clone(), "/nonexistent/base".into()]);
        std::fs::write(&middle, qcow2(Some("top"))).unwrap();
        assert_eq!(backing_files(&top).len(), CHAIN_MAX);
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        for (path, reason) in [
            (folder.path().to_owned(), "is a folder"),
            (folder.path().join("missing.iso"), "No such file"),
            ("/dev/null".into(), "is a device"),
            (file_with(b"").into_temp_path().keep().unwrap(), "is empty"),
            (file_with(&[0; 700]).into_temp_path().keep().unwrap(), "not whole sectors"),
            (file_with(b"QFI\xfb\0\0\0\x03").into_temp_path().keep().unwrap(), "cut off"),
            (file_with(b"\xfd7zXZ\0 and so on").into_temp_path().keep().unwrap(), "compressed (xz)"),
        ] {
            let error = inspect(&path).unwrap_err().to_string();

            assert!(error.contains(reason) && error.contains(&path.display().to_string()), "{error}");
            if path.starts_with(std::env::temp_dir()) && path.is_file() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}
