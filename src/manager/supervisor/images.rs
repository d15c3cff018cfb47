//! Opening disk images with those below them, and keeping others from them for as long as the guest runs: the worker
//! inherits the locks with the descriptors. What is below is only read, so that several guests can be based on it.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use crate::{
    manager::{
        definition::{DiskDefinition, DiskFormat, Layer},
        media::{self, MediaKind},
        storage::{
            device,
            lock::{self, Access},
        },
    },
    system_error::words,
};

/// Opens the images of a disk, its own first, and locks them; says what is wrong and how to mend it otherwise.
pub(super) fn open(disk: &DiskDefinition) -> Result<Vec<File>, String> {
    let last = disk.backing.len();
    let open = |(number, layer): (usize, Layer)| {
        let access = match (number > 0 || disk.is_read_only(), disk.shareable) {
            (true, _) => Access::Read,
            (false, true) => Access::Share,
            (false, false) => Access::Write,
        };
        open_layer(&layer, access, number < last, disk.cache.is_direct())
    };
    disk.layers().enumerate().map(open).collect()
}

/// Opens and locks the medium of a CD-ROM drive; says what is wrong and how to mend it otherwise.
pub fn open_medium(medium: &DiskDefinition) -> Result<File, String> {
    open_layer(&Layer { path: medium.path.clone(), format: medium.format }, Access::Read, false, false)
}

/// Opens one image. `based`: the definition names one below it.
fn open_layer(layer: &Layer, access: Access, based: bool, direct: bool) -> Result<File, String> {
    let path = layer.path.display();
    let refused = |error: io::Error| refused(&layer.path, direct, &error);
    let kind = fs::metadata(&layer.path).map_err(refused)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(format!("{path} is not a file. Choose a disk image"));
    }
    let flags = if direct { libc::O_DIRECT } else { 0 };
    let image = if kind.is_block_device() {
        device::open(&layer.path, access, flags).map_err(refused)?
    } else {
        let mut options = OpenOptions::new();
        let image = options.read(true).write(access.writes()).custom_flags(flags).open(&layer.path).map_err(refused)?;
        check_content(layer, based)?;
        image
    };
    match lock::acquire(&image, access) {
        Ok(true) => Ok(image),
        Ok(false) => Err(format!("{path} is in use by another guest or program. End that one, or use a copy")),
        Err(error) => Err(format!("{path} cannot be locked: {}. Look at its file system", words(&error))),
    }
}

fn refused(path: &Path, direct: bool, error: &io::Error) -> String {
    if device::is_device(path)
        && let Some(mend) = device::mend(path, error)
    {
        return format!("{}: {}. {mend}", path.display(), words(error));
    }
    let mend = match error.kind() {
        io::ErrorKind::NotFound => "Put it back, or choose another one",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Make it readable for you, and writable unless read_only = true"
        }
        io::ErrorKind::InvalidInput if direct => {
            "Its file system may need the host's page cache: choose another cache mode than none"
        }
        _ => "Look at the file and its disk",
    };
    format!("{}: {}. {mend}", path.display(), words(error))
}

/// What would only fail later, and less clearly. A raw image is taken as it is, whatever its content looks like.
fn check_content(layer: &Layer, based: bool) -> Result<(), String> {
    let path = layer.path.display();
    match (layer.format, media::inspect(&layer.path)) {
        (DiskFormat::Qcow2, Ok(media)) if media.kind != MediaKind::Qcow2 => {
            Err(format!("{path} is no qcow2 image. Correct its format"))
        }
        (DiskFormat::Qcow2, Ok(media)) => match (media.backing, based) {
            // Whoever made the image could name any file of this host as the one below it.
            (Some(below), false) => Err(format!(
                "{path} is based on {}, which the definition does not name. If you trust it, name it as backing, or make \
                 the disk whole with \"lodgectl disk convert\"",
                below.display()
            )),
            (None, true) => {
                Err(format!("{path} is based on nothing, but the definition names a backing file. Remove that"))
            }
            _ => Ok(()),
        },
        (DiskFormat::Qcow2, Err(error)) => Err(error.to_string()),
        (DiskFormat::Raw, Err(error @ (media::MediaError::Empty(_) | media::MediaError::Truncated { .. }))) => {
            Err(error.to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path, name: &str, content: &[u8]) -> DiskDefinition {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        DiskDefinition::new(path, DiskFormat::Raw)
    }

    #[test]
    fn a_disk_that_one_guest_writes_is_refused_to_others_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let disk = image(folder.path(), "disk.raw", &[0; 512]);
        let reader = DiskDefinition { read_only: true, ..disk.clone() };
        let first = open(&disk).unwrap();
        let inherited = first[0].try_clone().unwrap();
        drop(first);

        assert!(open(&disk).unwrap_err().contains("in use"));
        assert!(open(&reader).unwrap_err().contains("in use"));
        drop(inherited);
        assert!(open(&disk).is_ok());
    }

    #[test]
    fn a_shareable_disk_is_written_by_those_who_share_it_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let alone = image(folder.path(), "disk.raw", &[0; 512]);
        let shared = DiskDefinition { shareable: true, ..alone.clone() };
        let reader = DiskDefinition { read_only: true, ..alone.clone() };

        let several = [open(&shared).unwrap(), open(&shared).unwrap()];

        assert!(open(&alone).unwrap_err().contains("in use") && open(&reader).unwrap_err().contains("in use"));
        drop(several);
        let _alone = open(&alone).unwrap();
        assert!(open(&shared).unwrap_err().contains("in use"));
    }

    #[test]
    fn a_device_that_the_host_uses_is_refused() {
        let Some(device) = device::testing::Loop::new(1 << 20) else { return };
        let disk = DiskDefinition::new(device.path(), DiskFormat::Raw);
        let host = device::open(device.path(), Access::Write, 0).unwrap();

        let refused = open(&disk).unwrap_err();
        drop(host);
        let opened = open(&disk).unwrap();

        assert!(refused.contains("lsblk"), "{refused}");
        assert!(open(&disk).unwrap_err().contains("another guest"));
        drop(opened);
    }

    #[test]
    fn a_medium_can_be_read_by_many_and_written_by_none() {
        let folder = tempfile::tempdir().unwrap();
        let disk = image(folder.path(), "medium.raw", &[0; 512]);
        let reader = DiskDefinition { read_only: true, ..disk.clone() };

        let readers = [open(&reader).unwrap(), open(&reader).unwrap()];

        assert!(open(&disk).unwrap_err().contains("in use"));
        drop(readers);
    }

    #[test]
    fn what_is_below_a_disk_can_be_read_by_many_and_written_by_none() {
        let folder = tempfile::tempdir().unwrap();
        let base = image(folder.path(), "base.raw", &[0; 512]);
        let mut header = vec![0; 1024];
        header[..4].copy_from_slice(b"QFI\xfb");
        (header[15], header[19]) = (128, 4);
        header[128..132].copy_from_slice(b"base");
        let overlay = |name: &str| DiskDefinition {
            format: DiskFormat::Qcow2,
            backing: vec![Layer { path: base.path.clone(), format: DiskFormat::Raw }],
            ..image(folder.path(), name, &header)
        };

        let (one, other) = (open(&overlay("one")).unwrap(), open(&overlay("other")).unwrap());

        assert_eq!((one.len(), other.len()), (2, 2));
        assert!(open(&base).unwrap_err().contains("in use"));
        drop((one, other));
        let written = open(&base).unwrap();
        assert!(open(&overlay("one")).unwrap_err().contains("base.raw is in use"));
        drop(written);
    }

    #[test]
    fn bad_images_are_refused_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        let mut based = vec![0; 1024];
        based[..4].copy_from_slice(b"QFI\xfb");
        based[15] = 0x80;
        based[19] = 4;
        based[128..132].copy_from_slice(b"base");
        let mut whole = based.clone();
        whole[8..20].fill(0);
        let base = image(folder.path(), "base", &[0; 512]);
        let qcow2 = |disk| DiskDefinition { format: DiskFormat::Qcow2, ..disk };

        for (disk, reason) in [
            (image(folder.path(), "empty", b""), "is empty"),
            (image(folder.path(), "odd", &[0; 700]), "cut off"),
            (DiskDefinition::new(folder.path(), DiskFormat::Raw), "is not a file"),
            (DiskDefinition::new("/dev/null", DiskFormat::Raw), "is not a file"),
            (DiskDefinition::new(folder.path().join("missing"), DiskFormat::Raw), "Put it back"),
            (qcow2(image(folder.path(), "raw", &[0; 512])), "is no qcow2 image"),
            (qcow2(image(folder.path(), "based", &based)), "which the definition does not name"),
            (
                DiskDefinition {
                    backing: vec![Layer { path: base.path.clone(), format: DiskFormat::Raw }],
                    ..qcow2(image(folder.path(), "whole", &whole))
                },
                "is based on nothing",
            ),
        ] {
            let message = open(&disk).unwrap_err();

            assert!(message.contains(reason) && message.contains(". "), "{message}");
        }
    }
}
