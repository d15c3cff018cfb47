//! Why a guest could not be started, reached or ended.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::manager::{client::ClientError, definition::Problems, library::LibraryError};

/// Why a guest could not be started, reached or ended.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The library does not have it.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// This host cannot run it.
    #[error("\"{name}\" cannot start: {problems}")]
    Unfit {
        /// The guest.
        name: String,
        /// All that is wrong.
        problems: Problems,
    },
    /// It runs already, or another program starts it at this moment.
    #[error("\"{name}\" is already running. Look at it, or end it with \"lodgectl destroy {name}\"")]
    AlreadyRunning {
        /// The guest.
        name: String,
    },
    /// It does not run.
    #[error("\"{name}\" is not running. Start it with \"lodgectl start {name}\"")]
    NotRunning {
        /// The guest.
        name: String,
    },
    /// Something on the host is missing or not allowed.
    #[error("\"{name}\" cannot start: {what}. {mend}")]
    Host {
        /// The guest.
        name: String,
        /// What is missing.
        what: String,
        /// How to mend it.
        mend: String,
    },
    /// The worker started and gave up.
    #[error("\"{name}\" did not start: {reason} (the log is {})", log.display())]
    Worker {
        /// The guest.
        name: String,
        /// What the worker says.
        reason: String,
        /// Where to read more.
        log: PathBuf,
    },
    /// The worker cannot be reached.
    #[error("\"{name}\": {source}")]
    Client {
        /// The guest.
        name: String,
        /// Why.
        source: ClientError,
    },
    /// The worker lives and cannot be ended.
    #[error("\"{name}\" could not be ended: {reason}. End its process \"lodge-worker\" by hand")]
    Unstoppable {
        /// The guest.
        name: String,
        /// Why.
        reason: String,
    },
    /// Its saved state does not fit its disks any more.
    #[error(
        "the state of \"{name}\" was saved, but {disk} was changed since: going on would destroy what is on it. Put the disk back \
         as it was, or start the guest from its disks with \"lodgectl start --discard-saved {name}\""
    )]
    Stale {
        /// The guest.
        name: String,
        /// The disk.
        disk: String,
    },
    /// It ended before its state was saved.
    #[error("\"{name}\" has ended before its state was saved. Look why with \"lodgectl info {name}\"")]
    NotSaved {
        /// The guest.
        name: String,
    },
    /// This program itself is ending.
    #[error("the program is ending. Repeat this when it runs again")]
    Ending,
}
