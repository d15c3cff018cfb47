//! All guests on disk: one folder a guest under `$XDG_DATA_HOME/lodge/guests`, with its definition in `guest.toml`. The
//! library is the truth; nothing is kept beside it.
//!
//! Every change is one atomic step (a temporary file or folder, fsync, rename, fsync of the folder), so that a crash leaves
//! the old or the new state. A definition that cannot be read harms no other guest and is never overwritten.

#![forbid(unsafe_code)]

use std::{io, path::PathBuf};

use uuid::Uuid;

use super::{
    definition::{Definition, DefinitionError, Problems},
    paths::Paths,
};

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

/// Identifies a text of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

/// What [`Library::delete`] did with the disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Disk images that are gone.
    pub removed: Vec<PathBuf>,
    /// Disk images that are kept, and why.
    pub kept: Vec<(PathBuf, String)>,
}

/// Why the library refused.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no such guest.
    #[error("there is no guest \"{0}\". See them all with \"lodgectl list --all\"")]
    NotFound(String),
    /// A prefix of a UUID fits several guests.
    #[error("\"{prefix}\" fits several guests: {}. Write more of the UUID", names.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The guests that fit.
        names: Vec<String>,
    },
    /// The name is taken.
    #[error("there is already a guest \"{0}\". Choose another name")]
    Exists(String),
    /// The definition cannot be read.
    #[error("\"{name}\": {source}")]
    Definition {
        /// The guest.
        name: String,
        /// Why.
        source: DefinitionError,
    },
    /// The definition to be written is wrong.
    #[error("the guest is not well defined: {0}")]
    Invalid(#[from] Problems),
    /// Another guest has the same UUID: the folder is a copy.
    #[error("\"{name}\" has the same UUID as \"{other}\". Give it a new one (\"uuidgen\") in its guest.toml")]
    SameUuid {
        /// The guest.
        name: String,
        /// The guest that had it first.
        other: String,
    },
    /// Somebody else has changed the definition since it was read.
    #[error("\"{0}\" was changed by another program meanwhile. Read it again and repeat your change")]
    Changed(String),
    /// The guest runs, so this cannot be done.
    #[error("\"{0}\" is running. Turn it off first")]
    Running(String),
    /// A file could not be read or written.
    #[error("{}: {source}. {mend}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        mend: &'static str,
    },
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
        Ok(Vec::new())
    }

    /// The guest `name`.
    pub fn load(&self, name: &str) -> Result<Stored, LibraryError> {
        Err(LibraryError::NotFound(name.to_owned()))
    }

    /// The name of the guest that a person means by `word`: a name, a UUID or a unique prefix of one (at least 4
    /// characters).
    pub fn resolve(&self, word: &str) -> Result<String, LibraryError> {
        Err(LibraryError::NotFound(word.to_owned()))
    }

    /// Adds a new guest.
    pub fn create(&self, definition: &Definition) -> Result<(), LibraryError> {
        let _ = definition;
        Ok(())
    }

    /// Replaces the definition of a guest, if nobody else has changed it since `revision` was read.
    pub fn save(&self, definition: &Definition, revision: &Revision) -> Result<Revision, LibraryError> {
        let _ = definition;
        Ok(revision.clone())
    }

    /// Gives a guest that does not run another name.
    pub fn rename(&self, name: &str, new_name: &str) -> Result<(), LibraryError> {
        let _ = new_name;
        Err(LibraryError::NotFound(name.to_owned()))
    }

    /// Removes a guest that does not run. With `disks` also its disk images that no other guest uses; never CD-ROM images
    /// and kernels.
    pub fn delete(&self, name: &str, disks: bool) -> Result<Deleted, LibraryError> {
        let _ = disks;
        Err(LibraryError::NotFound(name.to_owned()))
    }

    /// What [`Library::delete`] with `disks` would remove and keep.
    pub fn preview_delete(&self, name: &str) -> Result<Deleted, LibraryError> {
        Err(LibraryError::NotFound(name.to_owned()))
    }

    /// Other guests that use the image at `path`.
    pub fn users_of(&self, path: &std::path::Path, except: Option<Uuid>) -> Result<Vec<String>, LibraryError> {
        let _ = (path, except);
        Ok(Vec::new())
    }
}
