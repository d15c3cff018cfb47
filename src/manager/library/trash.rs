//! Deleted guests, which can be brought back for a while.
//!
//! Each lies in a folder of its own below `$XDG_DATA_HOME/lodge/trash`: a record of what lay where, the guest's folder and
//! its disks. Disks of another file system stay in their folder, under a hidden name. The record is written first; the guest
//! is deleted when its folder moves, and back when that moves back, each in one step. So a crash leaves a guest that is
//! deleted or not, and disks that the record knows.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Library, LibraryError};
use crate::manager::{
    atomic_file,
    definition::{Definition, Problem, Problems, check_name},
    snapshots::Foreign,
};

/// How long deleted guests are kept. The next deletion after that removes them.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The version of the record's format.
const VERSION: u32 = 1;
const RECORD: &str = "record.json";
const FOLDER: &str = "guest";

/// What lay where.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// The guest's name.
    name: String,
    /// Its UUID, if its definition could be read.
    uuid: Option<Uuid>,
    /// When it was deleted.
    deleted: SystemTime,
    /// The disks that went with it.
    disks: Vec<Moved>,
    /// Disks that would have gone with it if nobody else had needed them.
    #[serde(default)]
    shared: Vec<PathBuf>,
}

/// A disk that was moved.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Moved {
    from: PathBuf,
    to: PathBuf,
}

/// A deleted guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trashed {
    /// Which of the deleted guests.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its UUID, if its definition could be read.
    pub uuid: Option<Uuid>,
    /// When it was deleted, in seconds since 1970.
    pub deleted: u64,
    /// The disks that went with it, where they were.
    pub disks: Vec<PathBuf>,
    /// What those take of their file systems, in bytes.
    pub allocated: u64,
}

/// Where a deleted guest goes.
pub(super) struct Entry {
    pub id: Uuid,
    folder: PathBuf,
    record: Record,
}

impl Entry {
    /// Prepares a place for a guest and those of its disks. Nothing has moved yet.
    pub fn prepare(
        library: &Library,
        name: &str,
        definition: Option<&Definition>,
        disks: &[PathBuf],
        shared: Vec<PathBuf>,
    ) -> Result<Self, LibraryError> {
        let id = Uuid::new_v4();
        let folder = library.paths.trash().join(id.to_string());
        let make = || -> io::Result<Self> {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let device = fs::metadata(&folder)?.dev();
            let places = disks.iter().enumerate().map(|(number, from)| {
                let file_name = from.file_name().unwrap_or_default().to_string_lossy();
                let to = match from.parent() {
                    Some(parent) if fs::metadata(parent)?.dev() != device => {
                        parent.join(format!(".lodge-deleted-{id}-{file_name}"))
                    }
                    _ => folder.join(format!("{number}-{file_name}")),
                };
                Ok(Moved { from: from.clone(), to })
            });
            let record = Record {
                version: VERSION,
                name: name.to_owned(),
                uuid: definition.map(|definition| definition.uuid),
                deleted: SystemTime::now(),
                disks: places.collect::<io::Result<_>>()?,
                shared,
            };
            atomic_file::replace(&folder.join(RECORD), &serde_json::to_vec_pretty(&record)?)?;
            Ok(Self { id, folder: folder.clone(), record })
        };
        make().map_err(|error| {
            // It is empty, or has a record without a guest, which the next deletion removes.
            let _ = fs::remove_dir_all(&folder);
            LibraryError::io(&folder, "Make room, and make the trash writable for you; or add --now")(error)
        })
    }

    /// Where the guest's folder goes.
    pub fn guest(&self) -> PathBuf {
        self.folder.join(FOLDER)
    }

    /// Moves a disk; it has to be one that the entry was made for.
    pub fn take(&self, disk: &Path) -> io::Result<()> {
        match self.record.disks.iter().find(|moved| moved.from == disk) {
            Some(moved) => atomic_file::move_to_free(&moved.from, &moved.to),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Removes everything for good, also what it had together with others that are all gone.
    fn remove(self, library: &Library) -> Result<(), LibraryError> {
        const MEND: &str = "Make the trash writable for you";
        for disk in &self.record.disks {
            match fs::remove_file(&disk.to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LibraryError::io(&disk.to, MEND)(error));
                }
                _ => {}
            }
        }
        fs::remove_dir_all(&self.folder).map_err(LibraryError::io(&self.folder, MEND))?;
        if !self.record.shared.is_empty() {
            let needed = Foreign::of_all(library);
            for path in self.record.shared.iter().filter(|path| needed.reason(path).is_none()) {
                // What stays is an image that no guest uses; "disk list" shows it.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    fn describe(&self) -> Trashed {
        let record = &self.record;
        let allocated = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
        Trashed {
            id: self.id,
            name: record.name.clone(),
            uuid: record.uuid,
            deleted: record.deleted.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            disks: record.disks.iter().map(|moved| moved.from.clone()).collect(),
            allocated: record.disks.iter().map(|moved| allocated(&moved.to)).sum(),
        }
    }
}

impl Library {
    /// The deleted guests, the last one first.
    pub fn trash(&self) -> Vec<Trashed> {
        self.entries().iter().filter(|entry| entry.guest().is_dir()).map(Entry::describe).collect()
    }

    /// What deleted guests consist of that can come back: the folder of each, and where its disks were that went with it. What is
    /// there now is another's.
    pub fn deleted_guests(&self) -> Vec<(PathBuf, Vec<PathBuf>)> {
        let parts = |entry: Entry| (entry.guest(), entry.record.disks.into_iter().map(|disk| disk.from).collect());
        self.entries().into_iter().map(parts).collect()
    }

    /// Brings a deleted guest back, with its disks, and returns its name. `word` is its name (the last one of that name),
    /// or an id of [`Library::trash`]; with `new_name` it comes back under another name.
    pub fn restore(&self, word: &str, new_name: Option<&str>) -> Result<String, LibraryError> {
        let _change = self.lock()?;
        let entry = self.find_deleted(word)?;
        let name = new_name.unwrap_or(&entry.record.name);
        if let Err(message) = check_name(name) {
            return Err(Problems(vec![Problem::new("name", message)]).into());
        }
        let folder = self.paths.guest_folder(name);
        if folder.symlink_metadata().is_ok() {
            return Err(LibraryError::Exists(name.to_owned()));
        }
        if let Some(uuid) = entry.record.uuid
            && let Some(other) = self.with_uuid(uuid)?
        {
            return Err(LibraryError::SameUuid { name: name.to_owned(), other });
        }
        // A crash may have left some of them moved already.
        let moved: Vec<_> = entry.record.disks.iter().filter(|disk| disk.to.symlink_metadata().is_ok()).collect();
        for disk in &moved {
            if disk.from.symlink_metadata().is_ok() {
                let taken = LibraryError::io(&disk.from, "Give the file that is there another name");
                return Err(taken(rustix::io::Errno::EXIST.into()));
            }
        }
        for disk in moved {
            atomic_file::move_to_free(&disk.to, &disk.from)
                .map_err(LibraryError::io(&disk.from, "Make its folder writable for you"))?;
        }
        atomic_file::move_to_free(&entry.guest(), &folder)
            .map_err(LibraryError::io(&folder, "Make the library writable for you"))?;
        let name = name.to_owned();
        if self.load(&name).is_ok_and(|stored| stored.definition.autostart) {
            self.prepare_login()?;
        }
        // What stays is a record without a guest, which the next deletion removes.
        let _ = fs::remove_dir_all(&entry.folder);
        Ok(name)
    }

    /// Removes a deleted guest for good, or with `None` all of them, and returns what was removed.
    pub fn empty_trash(&self, word: Option<&str>) -> Result<Vec<Trashed>, LibraryError> {
        let _change = self.lock()?;
        let entries = match word {
            Some(word) => vec![self.find_deleted(word)?],
            None => self.entries(),
        };
        let mut removed = Vec::new();
        for entry in entries {
            let described = entry.guest().is_dir().then(|| entry.describe());
            entry.remove(self)?;
            removed.extend(described);
        }
        Ok(removed)
    }

    /// Removes what was deleted long ago, and what a crash has left. The library's lock is held.
    pub(super) fn remove_old(&self) {
        let now = SystemTime::now();
        for entry in self.entries() {
            let is_old = now.duration_since(entry.record.deleted).is_ok_and(|age| age >= KEPT);
            if is_old || !entry.guest().is_dir() {
                // What cannot be removed now is tried again by the next deletion.
                let _ = entry.remove(self);
            }
        }
    }

    fn find_deleted(&self, word: &str) -> Result<Entry, LibraryError> {
        let mut entries = self.entries().into_iter().filter(|entry| entry.guest().is_dir());
        let found = entries.find(|entry| entry.record.name == word || entry.id.to_string() == word);
        found.ok_or_else(|| LibraryError::NotDeleted(word.to_owned()))
    }

    /// What lies in the trash, the last one first.
    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for file in fs::read_dir(self.paths.trash()).into_iter().flatten().flatten() {
            let folder = file.path();
            let Ok(id) = file.file_name().to_string_lossy().parse() else { continue };
            let Ok(text) = atomic_file::read_text(&folder.join(RECORD)) else { continue };
            match serde_json::from_str::<Record>(&text) {
                Ok(record) if record.version == VERSION => entries.push(Entry { id, folder, record }),
                _ => tracing::warn!("{} in the trash cannot be read", folder.display()),
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.record.deleted));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        definition::{DiskDefinition, DiskFormat},
        paths::Paths,
    };

    struct Fixture {
        folder: tempfile::TempDir,
        library: Library,
    }

    impl Fixture {
        /// A library with the guest "web" and its disk.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let library = Library::new(Paths::new(folder.path().join("data"), folder.path().join("run")));
            let fixture = Self { folder, library };
            fixture.add();
            fixture
        }

        fn disk(&self) -> PathBuf {
            self.folder.path().join("disk.raw")
        }

        fn add(&self) {
            fs::write(self.disk(), "content").unwrap();
            let mut guest = Definition::new("web");
            guest.add_disk(DiskDefinition::new(self.disk(), DiskFormat::Raw));
            self.library.create(&guest).unwrap();
        }

        /// How many folders the trash has, whatever is in them.
        fn entries(&self) -> usize {
            fs::read_dir(self.library.paths().trash()).map_or(0, Iterator::count)
        }
    }

    #[test]
    fn a_deleted_guest_comes_back_as_it_was() {
        let fixture = Fixture::new();
        let before = fixture.library.load("web").unwrap();
        fixture.library.delete("web", true).unwrap();
        assert!(!fixture.disk().exists() && fixture.library.names().unwrap().is_empty());
        let listed = fixture.library.trash();
        assert_eq!((listed.len(), listed[0].name.as_str(), &listed[0].disks[0]), (1, "web", &fixture.disk()));

        let name = fixture.library.restore("web", None).unwrap();

        assert_eq!(fixture.library.load(&name).unwrap(), before);
        assert_eq!(fs::read_to_string(fixture.disk()).unwrap(), "content");
        assert_eq!(fixture.entries(), 0);
    }

    #[test]
    fn nothing_is_overwritten_by_what_comes_back() {
        let fixture = Fixture::new();
        fixture.library.delete("web", true).unwrap();
        fixture.add();

        let taken_name = fixture.library.restore("web", None).unwrap_err();
        let taken_disk = fixture.library.restore("web", Some("old")).unwrap_err();

        assert!(matches!(taken_name, LibraryError::Exists(_)));
        assert!(taken_disk.to_string().contains("another name"), "{taken_disk}");
        fs::rename(fixture.disk(), fixture.folder.path().join("other.raw")).unwrap();
        assert_eq!(fixture.library.restore("web", Some("old")).unwrap(), "old");
        assert!(matches!(fixture.library.restore("web", None), Err(LibraryError::NotDeleted(_))));
    }

    #[test]
    fn a_disk_in_the_place_of_one_that_was_deleted_is_nobody_elses() {
        let fixture = Fixture::new();
        fixture.library.delete("web", true).unwrap();
        fixture.add();

        fixture.library.delete("web", true).unwrap();

        assert!(!fixture.disk().exists());
        assert_eq!(fixture.library.trash().len(), 2);
    }

    #[test]
    fn what_is_removed_for_good_takes_only_its_own_disks() {
        let fixture = Fixture::new();
        let first = fixture.library.delete("web", true).unwrap().trash.unwrap();
        fixture.add();
        fixture.library.delete("web", false).unwrap();

        let removed = fixture.library.empty_trash(Some(&first.to_string())).unwrap();

        assert_eq!((removed.len(), removed[0].id), (1, first));
        assert!(fixture.disk().exists(), "the second one was deleted without its disk");
        assert_eq!(fixture.library.empty_trash(None).unwrap().len(), 1);
        assert!(fixture.disk().exists() && fixture.entries() == 0);
    }

    #[test]
    fn a_crash_between_two_steps_loses_nothing() {
        let fixture = Fixture::new();
        // After the guest's folder, before its disk.
        let definition = fixture.library.load("web").unwrap().definition;
        let entry = Entry::prepare(&fixture.library, "web", Some(&definition), &[fixture.disk()], Vec::new()).unwrap();
        fs::rename(fixture.library.paths().guest_folder("web"), entry.guest()).unwrap();
        assert_eq!(fixture.library.restore("web", None).unwrap(), "web");
        assert!(fixture.disk().exists());
        // After the record.
        Entry::prepare(&fixture.library, "web", Some(&definition), &[fixture.disk()], Vec::new()).unwrap();
        assert!(fixture.library.trash().is_empty());
        fixture.library.delete("web", false).unwrap();
        assert!(fixture.entries() == 1 && fixture.disk().exists());
    }

    #[test]
    fn after_a_week_it_is_gone() {
        let fixture = Fixture::new();
        let id = fixture.library.delete("web", true).unwrap().trash.unwrap();
        let path = fixture.library.paths().trash().join(id.to_string()).join(RECORD);
        let mut record: Record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record.deleted -= KEPT;
        fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        fixture.library.create(&Definition::new("next")).unwrap();
        assert_eq!(fixture.library.trash().len(), 1, "only a deletion removes");

        fixture.library.delete("next", false).unwrap();

        let left: Vec<_> = fixture.library.trash().into_iter().map(|guest| guest.name).collect();
        assert_eq!(left, ["next"]);
    }
}
