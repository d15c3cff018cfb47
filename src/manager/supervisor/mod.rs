//! Starts workers, finds those that run, and ends them. Nobody owns a worker: whoever looks finds it by its folder in the
//! runtime folder and by the lock that it holds in the library.
//!
//! ```text
//!              start                greeting
//!    Off ───────────────▶ Starting ──────────▶ Running ◀──▶ Paused
//!     ▲  takes run.lock,                          │
//!     │  spawns the worker                        │ quit, shutdown, crash, kill
//!     └───────────────────────────────────────────┘ the kernel frees run.lock;
//!            whoever looks next moves exit.json to last-exit.json
//!
//! A guest that was saved is Off with a state in its folder, in which it begins at its next start.
//! ```

mod carriers;
mod companions;
mod demand;
mod devices;
mod ending;
mod error;
mod gate;
mod images;
mod launch;
mod reconnect;
mod runtime;
mod saved;
mod state;

use std::{path::PathBuf, time::Duration};

use tokio::{process::Child, task::spawn_blocking, time::sleep};
use uuid::Uuid;

pub use error::SupervisorError;
pub use images::open_medium;
pub use saved::{Begin, StartOptions};
pub use state::GuestState;

pub use crate::worker::exit_report::{ExitReport, Outcome};

use super::{
    client::{Client, ClientError},
    host::Root,
    library::Library,
    paths::Paths,
    run_lock,
};

/// How long a worker may take until it answers for the first time.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// What the slowest disk reads of a saved state in a second, in bytes.
const SLOWEST_DISK: u64 = 20 << 20;
/// How long a worker that has closed its socket may take to end.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a running worker may take to answer when its state is asked for.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait between two looks at something that no event tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Starts, finds and ends the workers of one person's guests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor {
    library: Library,
    worker: Option<PathBuf>,
    root: Root,
}

impl Supervisor {
    /// A supervisor that starts the `lodge-worker` beside the current program (or the one that `LODGE_WORKER` names).
    pub fn new(paths: Paths) -> Self {
        Self { library: Library::new(paths), worker: None, root: Root::default() }
    }

    /// Starts this program as the worker instead.
    pub fn with_worker(self, worker: impl Into<PathBuf>) -> Self {
        Self { worker: Some(worker.into()), ..self }
    }

    /// Finds `/dev/kvm` and the firmware below this root instead.
    pub fn with_root(self, root: Root) -> Self {
        Self { root, ..self }
    }

    /// The folders it works in.
    pub fn paths(&self) -> &Paths {
        self.library.paths()
    }

    /// The library that it starts guests of.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Starts the guest and waits until its worker answers. Of several who start it at once, one succeeds. It goes on from its saved
    /// state, if it has one.
    pub async fn start(&self, name: &str) -> Result<Client, SupervisorError> {
        self.start_with(name, StartOptions::default()).await
    }

    /// [`Supervisor::start`] as `options` say.
    pub async fn start_with(&self, name: &str, options: StartOptions) -> Result<Client, SupervisorError> {
        let (this, guest) = (self.clone(), name.to_owned());
        let mut launch = blocking(move || this.prepare(&guest, options)).await?;
        if let Err(error) = launch.start_companions().await {
            let uuid = launch.uuid;
            // With the lock.
            drop(launch);
            self.clean(name, uuid).await;
            return Err(error);
        }
        let control = self.paths().running(launch.uuid).control();
        let (uuid, state_size) = (launch.uuid, launch.state_size);
        let limit = START_TIMEOUT + Duration::from_secs(state_size / SLOWEST_DISK);
        let mut worker = match launch.spawn() {
            Ok(worker) => worker,
            Err(error) => {
                self.clean(name, uuid).await;
                return Err(error);
            }
        };
        match Client::connect_within(&control, limit).await {
            Ok(client) => {
                if state_size > 0 {
                    let (paths, guest) = (self.paths().clone(), name.to_owned());
                    // Nobody needs to wait for that.
                    drop(spawn_blocking(move || saved::remove_used(&paths, &guest)));
                }
                // A child that has ended stays in the process table until its parent has asked for it.
                tokio::spawn(async move { worker.wait().await });
                Ok(client)
            }
            Err(error) => Err(self.not_started(name, uuid, worker, error).await),
        }
    }

    /// Why the worker has not come up; nothing is left of it.
    async fn not_started(&self, name: &str, uuid: Uuid, mut worker: Child, error: ClientError) -> SupervisorError {
        // One that has given up ends by itself once it has written why.
        if matches!(error, ClientError::Closed | ClientError::Connect(_)) {
            let _ = tokio::time::timeout(GIVE_UP_TIMEOUT, worker.wait()).await;
        }
        // One that is stuck is of no use; one that has ended is not hurt.
        let killed = worker.start_kill();
        if let Err(error) = killed.and(worker.wait().await.map(drop)) {
            tracing::warn!("the worker of {name:?} could not be ended: {error}");
        }
        self.clean(name, uuid).await;
        // The report of an earlier run was removed before this one.
        let reason = match (self.last_exit(name).await, error) {
            (Some(report), ClientError::Closed | ClientError::Connect(_)) => report.message,
            (_, error) => error.to_string(),
        };
        SupervisorError::Worker { name: name.to_owned(), reason, log: self.paths().log(name) }
    }

    /// Connects to the running guest.
    pub async fn attach(&self, name: &str) -> Result<Client, SupervisorError> {
        self.attach_within(name, super::client::DEFAULT_TIMEOUT).await
    }

    async fn attach_within(&self, name: &str, limit: Duration) -> Result<Client, SupervisorError> {
        let (uuid, running) = self.look(name).await?;
        if !running {
            return Err(SupervisorError::NotRunning { name: name.to_owned() });
        }
        Client::connect_within(&self.paths().running(uuid).control(), limit)
            .await
            .map_err(|source| SupervisorError::Client { name: name.to_owned(), source })
    }

    /// What the guest is doing. Asks the worker, so it can take two seconds when that hangs.
    pub async fn state(&self, name: &str) -> Result<GuestState, SupervisorError> {
        match self.attach_within(name, STATE_TIMEOUT).await {
            Ok(client) => Ok(self.state_of(name, &client).await),
            Err(SupervisorError::NotRunning { .. }) => Ok(self.state_at_rest(name).await),
            Err(SupervisorError::Client { source, .. }) => Ok(match source {
                ClientError::Timeout { .. } | ClientError::Protocol(_) => GuestState::NotResponding,
                // The lock is held, but nobody listens yet, or nobody any more.
                _ => GuestState::Starting,
            }),
            Err(error) => Err(error),
        }
    }

    /// What the guest at the other end of `client` is doing.
    pub async fn state_of(&self, name: &str, client: &Client) -> GuestState {
        match client.status().await {
            Ok(status) => {
                let report = match status.status {
                    crate::qmp::types::RunState::InternalError => self.live_report(name).await,
                    _ => None,
                };
                GuestState::from_status(status.status, status.reason, report)
            }
            Err(error) => GuestState::without_status(&error),
        }
    }

    /// What a guest without a worker is: off, saved, or crashed.
    pub async fn state_at_rest(&self, name: &str) -> GuestState {
        if self.has_saved(name).await {
            return GuestState::Saved;
        }
        GuestState::at_rest(self.last_exit(name).await)
    }

    /// How the guest's last run ended, when that is known. A run that has just begun has no such end.
    pub async fn last_exit(&self, name: &str) -> Option<ExitReport> {
        let path = self.paths().last_exit(name);
        blocking(move || Ok::<_, SupervisorError>(runtime::read_report(&path))).await.ok().flatten()
    }

    /// The process id of the guest's worker.
    pub fn pid(&self, uuid: Uuid) -> Option<u32> {
        runtime::read_pid(&self.paths().running(uuid))
    }

    /// Cleans up behind every worker that is gone, so that how it ended can be read.
    pub async fn sweep(&self) {
        let this = self.clone();
        let swept = blocking(move || {
            for name in this.library.names()? {
                // One that cannot be read is left as it is.
                let Ok(stored) = this.library.load(&name) else { continue };
                this.clean_blocking(&name, stored.definition.uuid);
            }
            Ok(())
        });
        if let Err(error) = swept.await {
            tracing::warn!("cleaning up behind ended guests failed: {error}");
        }
    }

    /// The report that a worker which still lives has written, because it holds its guest for a look.
    async fn live_report(&self, name: &str) -> Option<ExitReport> {
        let (library, name) = (self.library.clone(), name.to_owned());
        let read = move || {
            let uuid = library.load(&name)?.definition.uuid;
            Ok::<_, SupervisorError>(runtime::read_report(&library.paths().running(uuid).exit_report()))
        };
        blocking(read).await.ok().flatten()
    }

    /// The guest's UUID and whether its worker lives. Cleans up when it does not.
    async fn look(&self, name: &str) -> Result<(Uuid, bool), SupervisorError> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let uuid = this.library.load(&name)?.definition.uuid;
            let running = this.library.is_running(&name)?;
            if !running {
                this.clean_blocking(&name, uuid);
            }
            Ok((uuid, running))
        })
        .await
    }

    async fn clean(&self, name: &str, uuid: Uuid) {
        let (this, name) = (self.clone(), name.to_owned());
        // It has told of its own troubles.
        let _ = spawn_blocking(move || this.clean_blocking(&name, uuid)).await;
    }

    fn clean_blocking(&self, name: &str, uuid: Uuid) {
        if let Err(error) = runtime::clean(self.paths(), name, uuid) {
            tracing::warn!("cleaning up behind {name:?} failed: {error}");
        }
    }

    /// Waits until the guest's worker is gone; `false` when it is still there after `limit`.
    async fn gone_within(&self, name: &str, limit: Duration) -> bool {
        let lock = self.paths().run_lock(name);
        let wait = async {
            // No event tells of a lock that becomes free.
            while run_lock::is_held(&lock).unwrap_or(false) {
                sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}

/// Does what reads and writes files away from the tasks that must not wait for a slow disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SupervisorError> + Send + 'static,
) -> Result<T, SupervisorError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(SupervisorError::Ending),
    }
}

#[cfg(test)]
mod tests;
