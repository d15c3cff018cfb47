//! Why something could not be done with a pool or a volume.

#![forbid(unsafe_code)]

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{PoolError, lvm::LvmError};
use crate::{manager::storage::StorageError, system_error::words};

/// Every text says what happened and how to mend it, on one line.
#[derive(Debug, thiserror::Error)]
pub enum PoolsError {
    /// There is no such pool.
    #[error("there is no pool \"{0}\". See them all with \"lodgectl pool list\"")]
    NotFound(String),
    /// There is no such volume.
    #[error("there is no volume \"{volume}\" in \"{pool}\". See them all with \"lodgectl volume list {pool}\"")]
    NoVolume {
        /// The pool.
        pool: String,
        /// What was asked for.
        volume: String,
    },
    /// The name is taken.
    #[error("there is already a pool \"{0}\". Choose another name")]
    Exists(String),
    /// It is in a pool already.
    #[error("{what} is the pool \"{pool}\" already. Use that one")]
    SameTarget {
        /// The folder or volume group.
        what: String,
        /// The pool.
        pool: String,
    },
    /// The name of a pool or volume cannot be one.
    #[error("{name:?} cannot be a name here: {reason}. Choose another name")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It cannot be done.
    #[error("{what}: {reason}. {mend}")]
    Refused {
        /// The pool or volume.
        what: String,
        /// Why.
        reason: String,
        /// How to mend it.
        mend: String,
    },
    /// The list of pools, or a folder, could not be read or written.
    #[error("{}: {}. {mend}", path.display(), words(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        mend: &'static str,
    },
    /// The list of pools makes no sense.
    #[error("the list of pools {} cannot be read: {reason}. Mend it, or remove it", path.display())]
    Registry {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// LVM refused.
    #[error(transparent)]
    Lvm(#[from] LvmError),
    /// Something could not be done with an image.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An image could not be made.
    #[error(transparent)]
    Image(#[from] PoolError),
}

impl PoolsError {
    pub(super) fn io(path: &Path, mend: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source, mend }
    }

    pub(super) fn refused(what: impl Into<String>, reason: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), reason: reason.into(), mend: mend.into() }
    }
}
