//! Starts workers, finds those that run, and ends them. Nobody owns a worker: whoever looks finds it by its folder and by
//! the lock it holds.

mod state;

use std::path::PathBuf;

use uuid::Uuid;

use super::{
    client::{Client, ClientError},
    definition::Problems,
    library::LibraryError,
    paths::Paths,
};

pub use state::GuestState;

pub use crate::worker::exit_report::{ExitReport, Outcome};

/// Starts, finds and ends the workers of one person's guests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor {
    paths: Paths,
    worker: Option<PathBuf>,
}

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
    #[error("\"{name}\" did not start: {reason}. The log is {}", log.display())]
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
}

impl Supervisor {
    /// A supervisor that starts the `lodge-worker` beside the current program (or the one that `LODGE_WORKER` names).
    pub fn new(paths: Paths) -> Self {
        Self { paths, worker: None }
    }

    /// Starts this program as the worker instead.
    pub fn with_worker(self, worker: impl Into<PathBuf>) -> Self {
        Self { worker: Some(worker.into()), ..self }
    }

    /// The folders it works in.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Starts the guest and waits until its worker answers.
    pub async fn start(&self, name: &str) -> Result<Client, SupervisorError> {
        let _ = &self.worker;
        Err(SupervisorError::NotRunning { name: name.to_owned() })
    }

    /// Connects to the running guest.
    pub async fn attach(&self, name: &str) -> Result<Client, SupervisorError> {
        Err(SupervisorError::NotRunning { name: name.to_owned() })
    }

    /// What the guest is doing. Asks the worker, so it can take until the client's timeout.
    pub async fn state(&self, name: &str) -> Result<GuestState, SupervisorError> {
        Err(SupervisorError::NotRunning { name: name.to_owned() })
    }

    /// Ends the guest: asks the worker to quit, and kills it when it does not within a few seconds. Returns when it is gone.
    pub async fn force_off(&self, name: &str) -> Result<(), SupervisorError> {
        Err(SupervisorError::NotRunning { name: name.to_owned() })
    }

    /// How the guest's last run ended, when that was told.
    pub async fn last_exit(&self, name: &str) -> Option<ExitReport> {
        let _ = name;
        None
    }

    /// The process id of the guest's worker.
    pub fn pid(&self, uuid: Uuid) -> Option<u32> {
        let text = std::fs::read_to_string(self.paths.running(uuid).pid()).ok()?;
        text.trim().parse().ok()
    }
}
