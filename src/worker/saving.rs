//! Saving the guest's state: the machine stands still, and a thread of its own writes, so that the driver goes on to answer.
//!
//! A state that is saved *for later* belongs to the guest: the worker ends once it is complete, and the guest goes on from it at its
//! next start. It is worth something only as long as the guest has not run since. So its file is emptied when saving it fails, and
//! by the worker that has restored it right before the guest runs ([`consume`]); whoever finds a complete state may use it,
//! whatever was killed in between.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::machine::{MachineFault, SavedState};
use crate::{
    qmp::types::{MigrationInfo, MigrationStatistics, MigrationStatus, RunState},
    vmm::snapshot::Progress,
};

/// What is done once the state is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The guest stands still until it is told to go on. The state is a copy, whatever becomes of the guest.
    Stay,
    /// The worker ends. The state is the guest's.
    End,
}

/// A state that is being written.
pub struct Saving {
    /// What is done afterwards.
    pub then: Then,
    /// What the guest did before.
    pub before: RunState,
    begun: Instant,
    progress: Arc<Progress>,
}

/// How the last saving has ended, for `query-migrate`.
#[derive(Debug, Clone)]
pub struct Ended {
    status: MigrationStatus,
    reason: Option<String>,
    took: Duration,
    progress: Arc<Progress>,
}

impl Saving {
    /// Has a thread write `state` to `file`; `tell` is called with the outcome.
    pub fn begin(
        state: Box<dyn SavedState>,
        file: File,
        then: Then,
        before: RunState,
        tell: impl FnOnce(Result<(), MachineFault>) + Send + 'static,
    ) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let write = move || tell(write(&*state, &file, then, &shared));
        thread::Builder::new().name("save".to_owned()).spawn(write)?;
        Ok(Self { then, before, begun: Instant::now(), progress })
    }

    /// Has it end as soon as it can.
    pub fn cancel(&self) {
        self.progress.cancel();
    }

    /// How far it is.
    pub fn info(&self) -> MigrationInfo {
        let status = if self.progress.is_cancelled() { MigrationStatus::Cancelling } else { MigrationStatus::Active };
        info(status, &self.progress, self.begun.elapsed(), None)
    }

    /// It has ended like this.
    pub fn ended(self, outcome: &Result<(), MachineFault>) -> Ended {
        let (status, reason) = match outcome {
            Ok(()) => (MigrationStatus::Completed, None),
            Err(_) if self.progress.is_cancelled() => (MigrationStatus::Cancelled, None),
            Err(fault) => (MigrationStatus::Failed, Some(fault.to_string())),
        };
        Ended { status, reason, took: self.begun.elapsed(), progress: self.progress }
    }
}

impl Ended {
    /// How it went.
    pub fn info(&self) -> MigrationInfo {
        info(self.status, &self.progress, self.took, self.reason.clone())
    }
}

fn info(status: MigrationStatus, progress: &Progress, took: Duration, error_desc: Option<String>) -> MigrationInfo {
    let (total, done) = (progress.total(), progress.done());
    let ram = MigrationStatistics { transferred: progress.written(), remaining: total.saturating_sub(done), total };
    let total_time = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    MigrationInfo { status: Some(status), ram: Some(ram), total_time: Some(total_time), error_desc }
}

fn write(state: &dyn SavedState, file: &File, then: Then, progress: &Progress) -> Result<(), MachineFault> {
    let written = state.write(&mut &*file, progress).and_then(|()| Ok(sync(file)?));
    if written.is_err()
        && then == Then::End
        && let Err(error) = file.set_len(0)
    {
        // What is there has no end, and is not taken for a state.
        tracing::warn!("what was written of the guest's state could not be removed: {error}");
    }
    written
}

/// Has what was written on the disk; a pipe has none.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Empties a state that has been restored: the guest is about to run, and it fits no longer.
pub fn consume(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    // Before anything that the guest writes to its disks.
    file.sync_all()
}
