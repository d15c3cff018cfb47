//! Opening disk images, and keeping others from them for as long as the guest runs: the worker inherits the locks with the
//! descriptor.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
};

use crate::manager::{
    definition::{DiskDefinition, DiskFormat},
    media::{self, MediaKind},
    storage::lock::{self, Access},
};

/// Opens the image of a disk and locks it; says what is wrong and how to mend it otherwise.
pub(super) fn open(disk: &DiskDefinition) -> Result<File, String> {
    let path = disk.path.display();
    let kind = fs::metadata(&disk.path).map_err(|error| refused(disk, &error))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(format!("{path} is not a file. Choose a disk image"));
    }
    let read_only = disk.is_read_only();
    let mut options = OpenOptions::new();
    options.read(true).write(!read_only);
    if disk.cache.is_direct() {
        options.custom_flags(libc::O_DIRECT);
    }
    let image = options.open(&disk.path).map_err(|error| refused(disk, &error))?;
    if kind.is_file() {
        check_content(disk)?;
    }
    match lock::acquire(&image, if read_only { Access::Read } else { Access::Write }) {
        Ok(true) => Ok(image),
        Ok(false) => Err(format!("{path} is in use by another guest or program. End that one, or use a copy")),
        Err(error) => Err(format!("{path} cannot be locked: {error}. Look at its file system")),
    }
}

fn refused(disk: &DiskDefinition, error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::NotFound => "Put it back, or choose another one",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Make it readable for you, and writable unless read_only = true"
        }
        io::ErrorKind::InvalidInput if disk.cache.is_direct() => {
            "Its file system may need the host's page cache: choose another cache mode than none"
        }
        _ => "Look at the file and its disk",
    };
    format!("{}: {error}. {mend}", disk.path.display())
}

/// What would only fail later, and less clearly. A raw image is taken as it is, whatever its content looks like.
fn check_content(disk: &DiskDefinition) -> Result<(), String> {
    let media = media::inspect(&disk.path);
    match (disk.format, media) {
        (DiskFormat::Qcow2, Ok(media)) if media.kind != MediaKind::Qcow2 => {
            Err(format!("{} is no qcow2 image. Correct its format", disk.path.display()))
        }
        // Whoever made the image could name any file of this host as the one below it.
        (DiskFormat::Qcow2, Ok(media)) if media.backing.is_some() => Err(format!(
            "{} is based on another image, which this version does not open. Make it whole: \"qemu-img rebase -b ''\"",
            disk.path.display()
        )),
        (DiskFormat::Qcow2, Err(error)) => Err(error.to_string()),
        (DiskFormat::Raw, Err(error @ (media::MediaError::Empty(_) | media::MediaError::Truncated { .. }))) => {
            Err(error.to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        let inherited = first.try_clone().unwrap();
        drop(first);

        assert!(open(&disk).unwrap_err().contains("in use"));
        assert!(open(&reader).unwrap_err().contains("in use"));
        drop(inherited);
        assert!(open(&disk).is_ok());
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
    fn bad_images_are_refused_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        let mut based = vec![0; 1024];
        based[..4].copy_from_slice(b"QFI\xfb");
        based[15] = 0x80;
        based[19] = 4;
        based[128..132].copy_from_slice(b"base");
        let qcow2 = |disk| DiskDefinition { format: DiskFormat::Qcow2, ..disk };

        for (disk, reason) in [
            (image(folder.path(), "empty", b""), "is empty"),
            (image(folder.path(), "odd", &[0; 700]), "cut off"),
            (DiskDefinition::new(folder.path(), DiskFormat::Raw), "is not a file"),
            (DiskDefinition::new("/dev/null", DiskFormat::Raw), "is not a file"),
            (DiskDefinition::new(folder.path().join("missing"), DiskFormat::Raw), "Put it back"),
            (qcow2(image(folder.path(), "raw", &[0; 512])), "is no qcow2 image"),
            (qcow2(image(folder.path(), "based", &based)), "based on another image"),
        ] {
            let message = open(&disk).unwrap_err();

            assert!(message.contains(reason) && message.contains(". "), "{message}");
        }
    }
}
