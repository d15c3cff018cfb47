//! Finding and opening images; what the operations do is tested against qemu-img in tests/disks.rs.

use std::fs;

use super::*;
use crate::manager::definition::{Definition, DiskDefinition};

struct Fixture {
    folder: tempfile::TempDir,
    library: Library,
    disks: Disks,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        fs::create_dir_all(paths.disks()).unwrap();
        Self { library: Library::new(paths.clone()), disks: Disks::new(&paths), folder }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Makes a guest with this disk.
    fn guest(&self, name: &str, path: &Path, format: DiskFormat) {
        let mut guest = Definition::new(name);
        guest.add_disk(DiskDefinition::new(path, format));
        self.library.create(&guest).unwrap();
    }
}

/// The beginning of a qcow2 header that names a backing file.
fn overlay(backing: &str) -> Vec<u8> {
    let mut header = vec![0; 65536];
    header[..4].copy_from_slice(MAGIC);
    header[7] = 2;
    header[15] = 200;
    header[19] = backing.len() as u8;
    header[23] = 16;
    header[29] = 1;
    header[53] = 1;
    header[59] = 1;
    header[200..200 + backing.len()].copy_from_slice(backing.as_bytes());
    header
}

const MAGIC: &[u8] = qcow2::MAGIC;

#[test]
fn a_word_means_an_image_of_the_pool_and_a_path_means_itself() {
    let fixture = Fixture::new();
    let pool = fixture.disks.pool().folder().to_owned();
    for name in ["web.qcow2", "db.raw", "db.qcow2", "odd.img"] {
        fs::write(pool.join(name), "").unwrap();
    }

    let find = |word: &str| fixture.disks.find(Path::new(word));
    let target = |word: &str| fixture.disks.target(Path::new(word), DiskFormat::Raw).unwrap();

    assert_eq!(find("web").unwrap(), pool.join("web.qcow2"));
    assert_eq!(find("odd.img").unwrap(), pool.join("odd.img"));
    assert_eq!(find("db.raw").unwrap(), pool.join("db.raw"));
    assert!(find("db").unwrap_err().to_string().contains("Write the ending"));
    assert!(find("nothing").unwrap_err().to_string().contains("disk list"));
    assert_eq!(find("/a/b").unwrap(), Path::new("/a/b"));
    assert_eq!(
        (target("new"), target("new.img"), target("/x/new")),
        (pool.join("new.raw"), pool.join("new.img"), "/x/new".into())
    );
}

#[test]
fn what_may_be_written_is_never_of_the_format_that_its_content_suggests() {
    let fixture = Fixture::new();
    let disguised = fixture.file("disguised.img", &overlay("/etc/passwd"));
    let plain = fixture.file("plain.img", &[0; 512]);

    let open = |path: &Path, format, access| fixture.disks.open(path, format, access).map(|image| image.format);

    assert!(matches!(open(&plain, None, Access::Read), Err(StorageError::FormatUnknown(_))));
    assert!(matches!(open(&disguised, None, Access::Write), Err(StorageError::FormatOffered { .. })));
    assert_eq!(open(&disguised, None, Access::Read).unwrap(), ImageFormat::Qcow2);
    assert_eq!(open(&disguised, Some(ImageFormat::Raw), Access::Write).unwrap(), ImageFormat::Raw);
    fixture.guest("web", &disguised, DiskFormat::Raw);
    assert_eq!(open(&disguised, None, Access::Read).unwrap(), ImageFormat::Raw);
    let conflict = open(&disguised, Some(ImageFormat::Qcow2), Access::Read).unwrap_err();
    assert!(conflict.to_string().contains("raw image for \"web\""), "{conflict}");
}

#[test]
fn an_image_in_use_is_refused_with_the_name_of_its_guest() {
    let fixture = Fixture::new();
    let disk = fixture.file("disk.raw", &[0; 512]);
    fixture.guest("web", &disk, DiskFormat::Raw);
    let worker = fixture.disks.open(&disk, None, Access::Write).unwrap();

    let told = fixture.disks.open(&disk, None, Access::Read).unwrap_err().to_string();
    assert!(told.contains("another program"), "{told}");
    let _lock = crate::manager::run_lock::RunLock::acquire(&fixture.library.paths().run_lock("web")).unwrap().unwrap();
    for access in [Access::Read, Access::Write] {
        let told = fixture.disks.open(&disk, None, access).unwrap_err().to_string();
        assert!(told.contains("in use by \"web\", which runs. Shut it down"), "{told}");
    }
    drop(worker);
    assert!(fixture.disks.open(&disk, None, Access::Write).is_ok());
}

#[test]
fn what_another_disk_is_based_on_is_not_changed() {
    let fixture = Fixture::new();
    let base = fixture.file("base.raw", &[0; 512]);
    let above = fixture.file("above.qcow2", &overlay("base.raw"));
    fixture.guest("web", &above, DiskFormat::Qcow2);

    let refused = fixture.disks.open(&base, Some(ImageFormat::Raw), Access::Write).unwrap_err().to_string();

    assert!(refused.contains("a disk of \"web\" is based on it"), "{refused}");
    assert!(fixture.disks.open(&base, Some(ImageFormat::Raw), Access::Read).is_ok());
    let info = fixture.disks.info(&above, None).unwrap();
    assert_eq!((info.backing_chain[0].name.as_str(), info.backing_chain[0].found), ("base.raw", true));
    assert_eq!(info.users[0].guest, "web");
}

#[test]
fn only_files_and_block_devices_are_images() {
    let fixture = Fixture::new();

    for path in [fixture.folder.path(), Path::new("/dev/null")] {
        let refused = fixture.disks.open(path, Some(ImageFormat::Raw), Access::Read).unwrap_err().to_string();
        assert!(refused.contains("neither a file nor a block device"), "{refused}");
    }
}
