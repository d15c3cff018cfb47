//! What the windows ask for about snapshots.

use std::path::PathBuf;

use anyhow::Result;
use lodge::manager::{
    snapshots::{SnapshotError, Snapshots},
    supervisor::{Begin, StartOptions},
};
use uuid::Uuid;

use super::{Backend, blocking};
use crate::ui::progress::Progress;

pub use lodge::manager::snapshots::{Edit, NewSnapshot, Preview, Snapshot, Tree};

impl Backend {
    /// The snapshots of the guest.
    pub async fn snapshots(&self, guest: String) -> Result<Tree> {
        self.with_snapshots(move |snapshots| snapshots.tree(&guest)).await
    }

    /// The folder in which the guest's list of snapshots lies.
    pub fn snapshots_folder(&self, guest: &str) -> PathBuf {
        self.paths.guest_folder(guest)
    }

    /// Where the snapshot's picture lies, if it has one.
    pub fn thumbnail(&self, guest: &str, snapshot: &Snapshot) -> Option<PathBuf> {
        Some(Snapshots::new(&self.paths).folder(guest).join(snapshot.thumbnail.as_ref()?))
    }

    /// Makes a snapshot of the guest; of one that runs, with its memory when asked.
    pub async fn take_snapshot(
        &self,
        guest: String,
        new: NewSnapshot,
        memory: bool,
        progress: Progress,
    ) -> Result<Snapshot> {
        let library = self.library.clone();
        let name = guest.clone();
        if blocking(move || Ok(library.is_running(&name)?)).await? {
            let snapshots = Snapshots::new(&self.paths);
            let watch = |done, total| progress.tell(done, total);
            return Ok(snapshots.create_running(self.guests.supervisor(), &guest, &new, memory, &watch).await?);
        }
        self.with_snapshots(move |snapshots| snapshots.create(&guest, &new)).await
    }

    /// What going back would do to files.
    pub async fn preview_revert(&self, guest: String, snapshot: Uuid) -> Result<Preview> {
        self.with_snapshots(move |snapshots| snapshots.preview_revert(&guest, &snapshot.to_string())).await
    }

    /// Goes back to the snapshot, forcing the guest off before. With `go_on` it runs on from there, if its memory is known.
    pub async fn revert(&self, guest: String, snapshot: Uuid, go_on: bool) -> Result<()> {
        let (library, name) = (self.library.clone(), guest.clone());
        if blocking(move || Ok(library.is_running(&name)?)).await? {
            self.guests.supervisor().force_off(&guest).await?;
        }
        let name = guest.clone();
        let revert = move |snapshots: Snapshots| {
            let snapshot = snapshots.revert(&name, &snapshot.to_string())?;
            snapshots.state(&name, &snapshot)
        };
        let state = self.with_snapshots(revert).await?;
        if let Some(state) = state.filter(|_| go_on) {
            let options = StartOptions { begin: Begin::State(state), paused: false };
            self.guests.supervisor().start_with(&guest, options).await?;
        }
        Ok(())
    }

    /// What deleting the snapshot, and merging what is left over, would do to files.
    pub async fn preview_delete_snapshot(&self, guest: String, snapshot: Uuid) -> Result<Preview> {
        self.with_snapshots(move |snapshots| snapshots.preview_delete(&guest, &snapshot.to_string())).await
    }

    /// Deletes the snapshot. Its images stay until [`Backend::merge_snapshots`].
    pub async fn delete_snapshot(&self, guest: String, snapshot: Uuid) -> Result<()> {
        self.with_snapshots(move |snapshots| snapshots.delete(&guest, &snapshot.to_string()).map(drop)).await
    }

    /// Merges the images of deleted snapshots. `false` when some have to wait until the guest is off.
    pub async fn merge_snapshots(&self, guest: String, progress: Progress) -> Result<bool> {
        let merge = || {
            let (guest, progress) = (guest.clone(), progress.clone());
            self.with_snapshots(move |snapshots| snapshots.merge(&guest, &|done, total| progress.tell(done, total)))
        };
        // A running guest may still have to be told of a merging that was interrupted right after it was decided.
        if merge().await? && !self.library.is_running(&guest)? {
            return Ok(true);
        }
        let watch = |done, total| progress.tell(done, total);
        Snapshots::new(&self.paths).merge_running(self.guests.supervisor(), &guest, &watch).await?;
        merge().await
    }

    /// Gives the snapshot another name and description.
    pub async fn edit_snapshot(&self, guest: String, snapshot: Uuid, edit: Edit) -> Result<()> {
        self.with_snapshots(move |snapshots| snapshots.edit(&guest, &snapshot.to_string(), &edit).map(drop)).await
    }

    async fn with_snapshots<T: Send + 'static>(
        &self,
        work: impl FnOnce(Snapshots) -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<T> {
        let paths = self.paths.clone();
        blocking(move || Ok(work(Snapshots::new(&paths))?)).await
    }
}
