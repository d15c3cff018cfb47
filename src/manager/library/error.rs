//! Why the library refused.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    manager::definition::{DefinitionError, Problems},
    system_error::words,
};

/// Why the library refused.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no such guest.
    #[error("there is no guest \"{0}\". See them all with \"lodgectl list --all\"")]
    NotFound(String),
    /// There is no such deleted guest.
    #[error("there is no deleted guest \"{0}\". See them all with \"lodgectl trash list\"")]
    NotDeleted(String),
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
    /// Its snapshots are being changed.
    #[error("the snapshots of \"{0}\" are being changed at this moment. Repeat this when that is done")]
    Busy(String),
    /// The guest runs, so this cannot be done.
    #[error("\"{0}\" is running. Turn it off first")]
    Running(String),
    /// A file could not be read or written.
    #[error("{}: {}. {mend}", path.display(), words(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        mend: &'static str,
    },
}

impl LibraryError {
    /// Turns what the system said about `path` into an error that says how to mend it.
    pub(super) fn io(path: &Path, mend: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source, mend }
    }
}
