//! Block devices of the host as disks: a partition, an LVM volume, an iSCSI LUN.
//!
//! A device that a guest writes to is opened with O_EXCL, which the kernel refuses while it, or a part of it, is mounted,
//! is swapped to, or belongs to another device (LVM, RAID); and while it is open the kernel refuses that to others. Locks on the
//! node would only keep those away who use the same node.
//!
//! Specification: open(2), O_EXCL on block devices.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::lock::Access;

/// Where udev keeps names of devices that stay the same, the best first.
const STABLE: [&str; 4] = ["/dev/disk/by-id", "/dev/mapper", "/dev/disk/by-partuuid", "/dev/disk/by-path"];
/// Names of devices that depend on the order in which they are found.
const UNSTABLE: [&str; 6] = ["sd", "hd", "vd", "nvme", "mmcblk", "dm-"];

/// Whether the file at `path` is a block device.
pub fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// Opens a block device; refused when the host uses it and it is to be written to.
pub fn open(path: &Path, access: Access, flags: libc::c_int) -> io::Result<File> {
    let open =
        |more: libc::c_int| OpenOptions::new().read(true).write(access.writes()).custom_flags(flags | more).open(path);
    match access {
        Access::Read => open(0),
        Access::Write => open(libc::O_EXCL),
        // Several may have it, but not the host: that is only looked at.
        Access::Share => open(libc::O_EXCL).and_then(|_alone| open(0)),
    }
}

/// The size of a device, in bytes.
pub fn size(device: &File) -> io::Result<u64> {
    super::length(device)
}

/// How to mend it that a device could not be opened.
pub fn mend(path: &Path, error: &io::Error) -> Option<String> {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::ResourceBusy => Some(format!(
            "The host has {path}, or a part of it, mounted or in use, or another guest has it. Unmount it (\"lsblk {path}\" \
             shows what is there), or end that guest"
        )),
        io::ErrorKind::PermissionDenied => Some(format!(
            "Only root may use devices until it gives them away: \"sudo setfacl -m u:$USER:rw {path}\", or a udev rule to \
             make that last"
        )),
        _ => None,
    }
}

/// A name of the device at `path` that stays the same when devices come and go, if `path` is none and there is one.
pub fn stable_name(path: &Path) -> Option<PathBuf> {
    let name = path.strip_prefix("/dev").ok()?.to_str()?;
    if !UNSTABLE.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let device = fs::metadata(path).ok()?.rdev();
    let named = |folder: &str| {
        let mut names: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
        names.sort();
        names.into_iter().find(|name| fs::metadata(name).is_ok_and(|found| is_node(&found) && found.rdev() == device))
    };
    STABLE.into_iter().find_map(named)
}

fn is_node(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_block_device()
}

#[cfg(test)]
pub(in crate::manager) mod testing {
    use std::{
        path::{Path, PathBuf},
        process::Command,
    };

    /// A block device over a file. Only root can have one.
    pub struct Loop {
        pub path: PathBuf,
        _file: tempfile::NamedTempFile,
    }

    impl Loop {
        /// One of `size` bytes; `None`, which it says, where that cannot be.
        pub fn new(size: u64) -> Option<Self> {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(size).unwrap();
            let made = Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output();
            match made {
                Ok(made) if made.status.success() => {
                    let path = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
                    Some(Self { path, _file: file })
                }
                other => {
                    println!("skipped: there are no loop devices: {other:?}");
                    None
                }
            }
        }

        pub fn path(&self) -> &Path {
            &self.path
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            let detached = Command::new("losetup").arg("--detach").arg(&self.path).status();
            assert!(std::thread::panicking() || detached.is_ok_and(|status| status.success()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::{testing::Loop, *};

    #[test]
    fn a_device_is_written_by_one_and_never_beside_the_host() {
        let Some(device) = Loop::new(1 << 20) else { return };

        let mut first = open(device.path(), Access::Write, 0).unwrap();
        let second = open(device.path(), Access::Write, 0).unwrap_err();
        let shared = open(device.path(), Access::Share, 0).unwrap_err();
        assert_eq!(first.seek(io::SeekFrom::End(0)).unwrap(), 1 << 20);
        drop(first);
        let several = [Access::Share, Access::Share, Access::Read].map(|access| open(device.path(), access, 0));

        for refused in [second, shared] {
            assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
            assert!(mend(device.path(), &refused).unwrap().contains("Unmount it"));
        }
        assert!(is_device(device.path()) && several.iter().all(Result::is_ok));
    }

    #[test]
    fn only_names_that_change_are_replaced() {
        assert_eq!(stable_name(Path::new("/dev/mapper/vg-web")), None);
        assert_eq!(stable_name(Path::new("/dev/vg0/web")), None);
        assert_eq!(stable_name(Path::new("/srv/sda")), None);
        assert_eq!(stable_name(Path::new("/dev/sd-that-is-not-there")), None);
    }
}
