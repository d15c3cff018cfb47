//! All guests on disk: one folder a guest under `$XDG_DATA_HOME/lodge/guests`, with its definition in `guest.toml`. The
//! library is the truth; nothing is kept beside it.
//!
//! Every change is one atomic step (a temporary file or folder, fsync, rename, fsync of the folder), so that a crash leaves
//! the old or the new state. A definition that cannot be read harms no other guest and is never overwritten.
//!
//! Changes hold a lock on the library's folder (flock(2)), so that two programs never change it at once. Folders that
//! begin with a dot are changes that were not finished; the next change removes them.

#![forbid(unsafe_code)]

mod addresses;
mod autostart;
mod delete;
mod error;
mod running;
mod trash;

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::FlockOperation;
use uuid::Uuid;

use super::{
    atomic_file,
    definition::{Definition, DefinitionError, Problem, Problems, check_name},
    paths::Paths,
    run_lock::{self, RunLock},
    snapshots::{
        self, Tree,
        journal::{self, Settled},
    },
};

pub use delete::Deleted;
pub use error::LibraryError;
pub use trash::{KEPT, Trashed};

/// Shortest prefix of a UUID that stands for a guest, in characters.
const PREFIX_MIN: usize = 4;

/// The library. Its calls do a few small reads and writes; from the user interface call them on a blocking thread.
#[derive(Debug, Clone)]
pub struct Library {
    paths: Paths,
}

/// A guest as listed.
#[derive(Debug)]
pub struct Entry {
    /// The guest's name: that of its folder.
    pub name: String,
    /// The definition, or why it cannot be read.
    pub definition: Result<Stored, LibraryError>,
}

/// A definition as read, with what is needed to write it back without undoing another's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The definition.
    pub definition: Definition,
    /// Which text it was read from.
    pub revision: Revision,
}

/// A definition's text as it was read, so that a later change by somebody else is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Library {
    /// The library in these folders.
    pub fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// The folders it lies in.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// All guests, by name. One that cannot be read is listed with the reason.
    pub fn list(&self) -> Result<Vec<Entry>, LibraryError> {
        let mut entries: Vec<_> = self
            .names()?
            .into_iter()
            .map(|name| {
                let definition = self.load(&name);
                Entry { name, definition }
            })
            .collect();
        self.mark_copies(&mut entries);
        Ok(entries)
    }

    /// The names of all guests, sorted.
    pub fn names(&self) -> Result<Vec<String>, LibraryError> {
        let folder = self.paths.guests();
        let unreadable = LibraryError::io(&folder, "Make this folder readable for you");
        let found = match fs::read_dir(&folder) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut names = Vec::new();
        for entry in found {
            let entry = entry.map_err(&unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // `path().is_dir()` follows links: a guest's folder may be one.
            if !name.starts_with('.') && entry.path().is_dir() {
                names.push(name);
            }
        }
        names.sort_by_cached_key(|name| (name.to_lowercase(), name.clone()));
        Ok(names)
    }

    /// The guest `name`.
    pub fn load(&self, name: &str) -> Result<Stored, LibraryError> {
        let revision = self.read(name)?;
        let definition = parse(name, revision.text())?;
        Ok(Stored { definition, revision })
    }

    /// The text of the definition of `name`, even when it is no good definition.
    pub fn read(&self, name: &str) -> Result<Revision, LibraryError> {
        if check_name(name).is_err() || !self.paths.guest_folder(name).is_dir() {
            return Err(LibraryError::NotFound(name.to_owned()));
        }
        // A change of its snapshots that was interrupted. One that goes on has not changed anything yet.
        self.settle(name)?;
        let path = self.paths.definition(name);
        let mend = "Mend or delete this guest's folder";
        atomic_file::read_text(&path).map(Revision).map_err(LibraryError::io(&path, mend))
    }

    /// The name of the guest that a person means by `word`: a name, a UUID or a unique prefix of one (at least 4
    /// characters).
    pub fn resolve(&self, word: &str) -> Result<String, LibraryError> {
        if check_name(word).is_ok() && self.paths.guest_folder(word).is_dir() {
            return Ok(word.to_owned());
        }
        let not_found = || LibraryError::NotFound(word.to_owned());
        let prefix = word.to_ascii_lowercase();
        if prefix.len() < PREFIX_MIN || !prefix.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            return Err(not_found());
        }
        let fitting = |entry: Entry| match entry.definition {
            Ok(stored) if stored.definition.uuid.to_string().starts_with(&prefix) => Some(entry.name),
            _ => None,
        };
        let mut names: Vec<String> = self.list()?.into_iter().filter_map(fitting).collect();
        match names.len() {
            0 => Err(not_found()),
            1 => Ok(names.remove(0)),
            _ => Err(LibraryError::Ambiguous { prefix: word.to_owned(), names }),
        }
    }

    /// Adds a new guest.
    pub fn create(&self, definition: &Definition) -> Result<(), LibraryError> {
        self.create_with(definition, &Tree::default())
    }

    /// Adds a new guest with snapshots, or with images that are its own below its disks.
    pub(in crate::manager) fn create_with(&self, definition: &Definition, tree: &Tree) -> Result<(), LibraryError> {
        definition.validate()?;
        let _change = self.lock()?;
        let folder = self.paths.guest_folder(&definition.name);
        let exists = || LibraryError::Exists(definition.name.clone());
        if folder.symlink_metadata().is_ok() {
            return Err(exists());
        }
        if let Some(other) = self.with_uuid(definition.uuid)? {
            return Err(LibraryError::SameUuid { name: definition.name.clone(), other });
        }
        self.check_addresses(definition, None)?;
        if definition.autostart {
            self.prepare_login()?;
        }
        let temporary = self.paths.guests().join(format!(".new-{}", definition.uuid));
        let (text, snapshots) = (definition.to_toml(), tree.to_toml());
        let mut files = vec![("guest.toml", text.as_bytes())];
        if *tree != Tree::default() {
            files.push((snapshots::FILE, snapshots.as_bytes()));
        }
        let made = atomic_file::create_folder(&folder, &temporary, &files);
        made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => LibraryError::io(&folder, "Make room, and make the library writable for you")(error),
        })
    }

    /// Replaces the definition of a guest, if nobody else has changed it since `revision` was read. What a person has written
    /// stays as it is where it still holds, comments too.
    pub fn save(&self, definition: &Definition, revision: &Revision) -> Result<Revision, LibraryError> {
        definition.validate()?;
        let text = definition.to_toml_after(revision.text());
        self.save_text(&definition.name, &text, revision).map(|stored| stored.revision)
    }

    /// Replaces the text of a definition by one that a person has edited, after checking it, if nobody else has changed it
    /// since `revision` was read. This also mends a definition that could not be read.
    pub fn save_text(&self, name: &str, text: &str, revision: &Revision) -> Result<Stored, LibraryError> {
        let definition = parse(name, text)?;
        let _change = self.lock()?;
        self.settled(name)?;
        if self.read(name)? != *revision {
            return Err(LibraryError::Changed(name.to_owned()));
        }
        let before = parse(name, revision.text()).ok();
        self.check_addresses(&definition, before.as_ref())?;
        let started_at_login = before.as_ref().is_some_and(|before| before.autostart);
        if before.map(|before| before.uuid) != Some(definition.uuid) {
            // A running guest is found by its UUID.
            if self.is_running(name)? {
                let problem = Problem::new("uuid", "it cannot change while the guest runs. Turn it off first");
                return Err(Problems(vec![problem]).into());
            }
            if let Some(other) = self.with_uuid(definition.uuid)?.filter(|other| other != name) {
                return Err(LibraryError::SameUuid { name: name.to_owned(), other });
            }
        }
        if definition.autostart {
            self.prepare_login()?;
        }
        let path = self.paths.definition(name);
        atomic_file::replace(&path, text.as_bytes())
            .map_err(LibraryError::io(&path, "Make room, and make the library writable for you"))?;
        if started_at_login && !definition.autostart {
            self.tidy_login();
        }
        Ok(Stored { definition, revision: Revision(text.to_owned()) })
    }

    /// Gives a guest that does not run another name.
    pub fn rename(&self, name: &str, new_name: &str) -> Result<(), LibraryError> {
        if let Err(message) = check_name(new_name) {
            return Err(Problems(vec![Problem::new("name", message)]).into());
        }
        let _change = self.lock()?;
        let _off = self.keep_off(name)?;
        self.settled(name)?;
        let (from, to) = (self.paths.guest_folder(name), self.paths.guest_folder(new_name));
        atomic_file::move_to_free(&from, &to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => LibraryError::Exists(new_name.to_owned()),
            _ => LibraryError::io(&from, "Make the library writable for you")(error),
        })
    }

    /// Whether the guest's worker lives, or is just being started.
    pub fn is_running(&self, name: &str) -> Result<bool, LibraryError> {
        let path = self.paths.run_lock(name);
        run_lock::is_held(&path).map_err(LibraryError::io(&path, "Make this file readable for you"))
    }

    /// Keeps a guest from being started for as long as the result lives.
    pub(in crate::manager) fn keep_off(&self, name: &str) -> Result<RunLock, LibraryError> {
        self.keep_off_by(name, RunLock::acquire)
    }

    /// As [`keep_off`](Self::keep_off), for a guest that may well be running: then that is said at once.
    pub(in crate::manager) fn keep_off_unless_running(&self, name: &str, uuid: Uuid) -> Result<RunLock, LibraryError> {
        let has_worker = self.paths.running(uuid).folder.exists();
        self.keep_off_by(name, if has_worker { RunLock::acquire_now } else { RunLock::acquire })
    }

    fn keep_off_by(
        &self,
        name: &str,
        acquire: impl FnOnce(&Path) -> io::Result<Option<RunLock>>,
    ) -> Result<RunLock, LibraryError> {
        if check_name(name).is_err() || !self.paths.guest_folder(name).is_dir() {
            return Err(LibraryError::NotFound(name.to_owned()));
        }
        let path = self.paths.run_lock(name);
        acquire(&path)
            .map_err(LibraryError::io(&path, "Make this file writable for you"))?
            .ok_or_else(|| LibraryError::Running(name.to_owned()))
    }

    /// Brings a change of a guest's snapshots to its end that was interrupted.
    fn settle(&self, name: &str) -> Result<Settled, LibraryError> {
        let folder = self.paths.guest_folder(name);
        let mend =
            "Make room, and make the guest's folder writable for you: a change of its snapshots waits to be finished";
        journal::settle(&folder).map_err(LibraryError::io(&folder, mend))
    }

    /// Refuses while a guest's snapshots are being changed: its definition is about to change.
    pub(in crate::manager) fn settled(&self, name: &str) -> Result<(), LibraryError> {
        match self.settle(name)? {
            Settled::Clean => Ok(()),
            Settled::Busy => Err(LibraryError::Busy(name.to_owned())),
        }
    }

    /// Takes the library's lock and removes what a crash has left.
    pub(in crate::manager) fn lock(&self) -> Result<File, LibraryError> {
        let folder = self.paths.guests();
        let refused = LibraryError::io(&folder, "Make the library writable for you");
        self.paths.create().map_err(|error| refused(io::Error::other(error)))?;
        let lock = File::open(&folder).map_err(&refused)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| refused(error.into()))?;
        for entry in fs::read_dir(&folder).map_err(&refused)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".new-") || name.starts_with(".deleted-") {
                // What cannot be removed now is tried again by the next change.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(lock)
    }

    fn with_uuid(&self, uuid: Uuid) -> Result<Option<String>, LibraryError> {
        let names = self.names()?;
        Ok(names.into_iter().find(|name| self.load(name).is_ok_and(|stored| stored.definition.uuid == uuid)))
    }

    /// A folder that was copied by hand has its origin's UUID. The younger one is not usable until it gets its own.
    fn mark_copies(&self, entries: &mut [Entry]) {
        let mut first: HashMap<Uuid, (SystemTime, usize)> = HashMap::new();
        for index in 0..entries.len() {
            let Ok(stored) = &entries[index].definition else { continue };
            let born = self.birth(&entries[index].name);
            let uuid = stored.definition.uuid;
            let copy = match first.get(&uuid).copied() {
                None => None,
                Some((other_born, other)) if other_born <= born => Some((index, other)),
                Some((_, other)) => Some((other, index)),
            };
            let origin = copy.map_or(index, |(_, origin)| origin);
            if let Some((copy, origin)) = copy {
                let error =
                    LibraryError::SameUuid { name: entries[copy].name.clone(), other: entries[origin].name.clone() };
                entries[copy].definition = Err(error);
            }
            first.insert(uuid, (self.birth(&entries[origin].name), origin));
        }
    }

    fn birth(&self, name: &str) -> SystemTime {
        let metadata = fs::metadata::<PathBuf>(self.paths.guest_folder(name));
        metadata.and_then(|metadata| metadata.created()).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

fn parse(name: &str, text: &str) -> Result<Definition, LibraryError> {
    Definition::from_toml(text, name)
        .map_err(|source: DefinitionError| LibraryError::Definition { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests;
