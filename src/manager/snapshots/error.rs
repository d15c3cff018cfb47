//! Why something could not be done with a snapshot.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    manager::{client::ClientError, library::LibraryError, storage::StorageError, supervisor::SupervisorError},
    system_error::words,
};

/// Every text says what happened to which guest and how to mend it, on one line.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The library refused.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A disk image could not be worked with.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The running guest cannot be reached.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The guest's worker refused.
    #[error("\"{guest}\": {source}")]
    Client {
        /// The guest.
        guest: String,
        /// Why.
        source: ClientError,
    },
    /// There is no such snapshot.
    #[error("\"{guest}\" has no snapshot \"{word}\". See them all with \"lodgectl snapshot list {guest}\"")]
    NotFound {
        /// The guest.
        guest: String,
        /// What was asked for.
        word: String,
    },
    /// The name is taken.
    #[error("\"{guest}\" has a snapshot \"{name}\" already. Choose another name")]
    Exists {
        /// The guest.
        guest: String,
        /// The name.
        name: String,
    },
    /// The list of snapshots cannot be read.
    #[error("{}: {reason}. Mend or restore this file; until then the guest's snapshots cannot be used", path.display())]
    Tree {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It cannot be done.
    #[error("\"{guest}\": {reason}. {mend}")]
    Refused {
        /// The guest.
        guest: String,
        /// Why.
        reason: String,
        /// How to mend it.
        mend: String,
    },
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

impl SnapshotError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            let mend = match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Make room, and repeat the command",
                _ => "Make its folder writable for you",
            };
            Self::Io { path: path.clone(), source, mend }
        }
    }

    pub(super) fn refused(guest: &str, reason: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Refused { guest: guest.to_owned(), reason: reason.into(), mend: mend.into() }
    }
}
