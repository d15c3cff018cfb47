//! Opening disk images, and keeping others from them for as long as the guest runs.
//!
//! The locks are those of QEMU's image locking (block/file-posix.c): shared open-file-description locks on one byte for each
//! kind of access, at 100 for what a user of the image does and at 200 for what it cannot bear others to do. So QEMU,
//! qemu-img and libguestfs keep away from a running guest's disk, and Lodge from theirs. The worker inherits the locks with
//! the descriptor.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileTypeExt},
};

use crate::manager::{
    definition::{DiskDefinition, DiskFormat},
    media::{self, MediaKind},
};

/// Reading what is consistent: bit 0 of QEMU's permissions.
const CONSISTENT_READ: i64 = 0;
/// Writing: bit 1.
const WRITE: i64 = 1;
/// Changing the size: bit 3.
const RESIZE: i64 = 3;
/// Bytes that are locked by those who do something.
const USED: i64 = 100;
/// Bytes that are locked by those who cannot bear that others do it.
const NOT_SHARED: i64 = 200;

/// Opens the image of a disk and locks it; says what is wrong and how to mend it otherwise.
pub(super) fn open(disk: &DiskDefinition) -> Result<File, String> {
    let path = disk.path.display();
    let kind = fs::metadata(&disk.path).map_err(|error| refused(disk, &error))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(format!("{path} is not a file. Choose a disk image"));
    }
    let read_only = disk.is_read_only();
    let image =
        OpenOptions::new().read(true).write(!read_only).open(&disk.path).map_err(|error| refused(disk, &error))?;
    if kind.is_file() {
        check_content(disk)?;
    }
    match lock(&image, !read_only) {
        Ok(true) => Ok(image),
        Ok(false) => Err(format!("{path} is in use by another guest or program. End that one, or use a copy")),
        // Some network file systems have no locks.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(image),
        Err(error) => Err(format!("{path} cannot be locked: {error}. Look at its file system")),
    }
}

fn refused(disk: &DiskDefinition, error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::NotFound => "Put it back, or choose another one",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Make it readable for you, and writable unless read_only = true"
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

/// Takes the locks of a guest that reads, or reads and writes. `false`: somebody else uses the image in a way that does
/// not go with that. They are freed when the last copy of the descriptor is closed.
fn lock(image: &File, writes: bool) -> io::Result<bool> {
    let used: &[i64] = if writes { &[CONSISTENT_READ, WRITE, RESIZE] } else { &[CONSISTENT_READ] };
    let not_shared = [WRITE, RESIZE];
    for byte in used.iter().map(|bit| USED + bit).chain(not_shared.iter().map(|bit| NOT_SHARED + bit)) {
        fcntl_lock(image, libc::F_OFD_SETLK, libc::F_RDLCK, byte)?;
    }
    // Ours are in place: of two who come at once, at least one sees the other.
    for byte in used.iter().map(|bit| NOT_SHARED + bit).chain(not_shared.iter().map(|bit| USED + bit)) {
        if fcntl_lock(image, libc::F_OFD_GETLK, libc::F_WRLCK, byte)? != libc::F_UNLCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Asks for, or about, a lock on one byte, and returns the kind of lock that is said to be there.
fn fcntl_lock(file: &File, command: libc::c_int, kind: libc::c_int, byte: i64) -> io::Result<libc::c_int> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: both commands take a pointer to a `flock`, which lives for the whole call; the descriptor is open.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result == 0 { Ok(lock.l_type.into()) } else { Err(io::Error::last_os_error()) }
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
