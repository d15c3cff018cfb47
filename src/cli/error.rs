//! Errors of verbs, and how they are told.

use std::{fmt::Display, io, process::ExitCode};

use crate::{
    input::keys::UnknownKey,
    manager::{
        certificate::CertificateError, client::ClientError, clone::CloneError, creation::CreationError,
        drives::DriveError, editing::EditError, library::LibraryError, paths::PathsError, pool::PoolsError,
        snapshots::SnapshotError, storage::StorageError, supervisor::SupervisorError,
        virtual_networks::VirtualNetworkError,
    },
    system_error::words,
};

/// Why a verb did not do what it was to do. Every text says what happened and how to mend it, on one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// There is no place for guests.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The library refused.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A guest could not be made.
    #[error(transparent)]
    Creation(#[from] CreationError),
    /// A guest could not be cloned.
    #[error(transparent)]
    Clone(#[from] CloneError),
    /// Something could not be done with a snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The medium of a drive could not be changed.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// Something could not be done with a disk image.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Something could not be done with a pool or a volume.
    #[error(transparent)]
    Pools(#[from] PoolsError),
    /// Something of a guest could not be changed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Something could not be done with a network of the host.
    #[error(transparent)]
    VirtualNetwork(#[from] VirtualNetworkError),
    /// A guest could not be started, reached or ended.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// A guest's worker refused.
    #[error("\"{name}\": {source}")]
    Client {
        /// The guest.
        name: String,
        /// Why.
        source: ClientError,
    },
    /// A key is not known.
    #[error(transparent)]
    Key(#[from] UnknownKey),
    /// A file or the terminal could not be read or written.
    #[error("{what}: {}. {mend}", words(source))]
    Io {
        /// What was read or written.
        what: String,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        mend: &'static str,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
    /// Each of several guests has had its own error, told already.
    #[error("{failed} of {all} guests refused. The lines above say why")]
    Several {
        /// So many refused.
        failed: usize,
        /// So many were asked.
        all: usize,
    },
    /// What was found is the error; it has been told already.
    #[error("")]
    Told,
    /// Whoever read the output has stopped.
    #[error("")]
    Unread,
}

impl CliError {
    /// Turns what the system said about `what` into an error that says how to mend it.
    pub fn io(what: impl Display, mend: &'static str) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source, mend }
    }
}

/// Tells the error on stderr and says with which status to end.
pub(super) fn report(error: &CliError) -> ExitCode {
    match error {
        CliError::Unread => ExitCode::SUCCESS,
        CliError::Told => ExitCode::FAILURE,
        error => {
            say("error", error);
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr.
pub(super) fn say(kind: &str, text: impl Display) {
    let text = text.to_string().replace('\n', " ");
    // A stderr that is closed cannot be told about.
    let _ = io::Write::write_all(&mut io::stderr(), format!("{kind}: {text}\n").as_bytes());
}
