//! Snapshots of a running guest: its worker goes on in the new images, all disks at one point.
//!
//! The images are made and opened here, and handed over. Whether the worker has taken them is seen by their locks, whatever ends
//! this program: that is what the journal's phase `exchanging` is for.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use super::{
    Change, FOLDER, Guest, Held, NewSnapshot, Result, Snapshot, SnapshotError, Snapshots, journal,
    journal::{Journal, Phase},
    stage,
    tree::own_disks,
    undo,
};
use crate::manager::{
    client::DiskSnapshot,
    definition::Definition,
    drives::Media,
    storage::{
        StorageError,
        lock::{self, Access},
        progress::Watch,
    },
    supervisor::{Supervisor, SupervisorError},
};

/// A snapshot for which everything is ready but the worker.
struct Prepared {
    guest: Guest,
    snapshot: Snapshot,
    journal: Journal,
    disks: Vec<DiskSnapshot>,
    /// The images that are frozen, again: for their locks.
    frozen: Vec<File>,
    /// Where the state of memory and devices goes.
    state: Option<File>,
    _held: Held,
}

impl Snapshots {
    /// Makes a snapshot of a guest that runs or is paused: its disks at one point, and with `memory` the state of its memory and
    /// devices at that point. The guest stands still for the moment in which all that it has written goes to its images, and while
    /// its memory is saved; `watch` is told how far that is.
    pub async fn create_running(
        &self,
        supervisor: &Supervisor,
        guest: &str,
        new: &NewSnapshot,
        memory: bool,
        watch: Watch<'_>,
    ) -> Result<Snapshot> {
        let client = supervisor.attach(guest).await?;
        let failed = |source| SnapshotError::Client { guest: guest.to_owned(), source };
        self.settle_merge(&client, guest).await?;
        let files = client.disk_files().await.map_err(failed)?;
        // A picture is nice to have.
        let picture = client.screenshot().await.ok();
        let runs = client.status().await.map_err(failed)?.running;
        // Going back, its memory finds in its drives what was in them.
        let media = if memory { Some(client.media().await.map_err(failed)?) } else { None };
        let (this, name, new) = (self.clone(), guest.to_owned(), new.clone());
        let prepared = blocking(move || this.prepare(&name, &new, &files, picture.as_deref(), media.as_ref())).await?;
        let Prepared { guest: prepared_guest, snapshot, mut journal, disks, frozen, state, _held } = prepared;
        if let Some(file) = state
            && let Err(error) = client.save_state(file.into(), watch).await
        {
            // The guest does again what it did before.
            undo(&journal, &prepared_guest);
            return Err(failed(error));
        }
        let exchanged = match self.decide(&prepared_guest, &mut journal, Phase::Exchanging) {
            Ok(()) => client.snapshot_disks(disks).await.map_err(failed),
            Err(error) => Err(error),
        };
        let this = self.clone();
        blocking(move || {
            // Everything that can have happened is seen by the images' locks.
            let result = this.finish(&prepared_guest, &journal, exchanged, &frozen);
            drop(_held);
            result
        })
        .await
        .and(match runs && memory {
            true => client.resume().await.map_err(failed),
            false => Ok(()),
        })?;
        Ok(snapshot)
    }

    /// Makes all files, opens those that the worker gets, and writes down that it gets them. `media`: what is in the drives, for a
    /// snapshot with memory.
    fn prepare(
        &self,
        guest: &str,
        new: &NewSnapshot,
        files: &[(String, PathBuf)],
        picture: Option<&[u8]>,
        media: Option<&Media>,
    ) -> Result<Prepared> {
        let (guest, held) = self.begin(guest)?;
        if !guest.running {
            return Err(SupervisorError::NotRunning { name: guest.name.clone() }.into());
        }
        check_files(&guest, files)?;
        let (mut change, mut snapshot) = self.plan_create(&guest, new)?;
        let mut create: Vec<PathBuf> = change.create.iter().map(|overlay| overlay.path.clone()).collect();
        let thumbnail = format!("{}.png", snapshot.id);
        if picture.is_some() {
            create.push(guest.folder.join(FOLDER).join(&thumbnail));
            snapshot.thumbnail = Some(thumbnail.clone());
            if let Some(last) = change.tree.snapshots.last_mut() {
                last.thumbnail = Some(thumbnail);
            }
        }
        let picture_path = picture.and(create.last().cloned());
        let state_path = media.map(|_| guest.folder.join(FOLDER).join(format!("{}.state", snapshot.id)));
        if let Some(path) = &state_path {
            create.push(path.clone());
            snapshot.state = path.file_name().map(|name| name.to_string_lossy().into_owned());
            if let Some(last) = change.tree.snapshots.last_mut() {
                last.state.clone_from(&snapshot.state);
            }
        }
        if let (Some(media), Some(last)) = (media, change.tree.snapshots.last_mut()) {
            media.put_into(&mut snapshot.definition);
            media.put_into(&mut last.definition);
        }
        let journal = Journal::new(create, Vec::new(), Vec::new());
        journal.begin(&guest.folder).map_err(SnapshotError::io(&guest.folder))?;
        let made = self.make_running(&guest, &change, &journal, picture.zip(picture_path.as_ref())).and_then(|made| {
            let state = state_path.map(|path| make(&path).map_err(SnapshotError::io(&path))).transpose()?;
            Ok((made, state))
        });
        match made {
            Ok(((disks, frozen), state)) => {
                Ok(Prepared { guest, snapshot, journal, disks, frozen, state, _held: held })
            }
            Err(error) => {
                undo(&journal, &guest);
                Err(error)
            }
        }
    }

    fn make_running(
        &self,
        guest: &Guest,
        change: &Change,
        journal: &Journal,
        picture: Option<(&[u8], &PathBuf)>,
    ) -> Result<(Vec<DiskSnapshot>, Vec<File>)> {
        self.make(guest, &change.create)?;
        if let Some((picture, path)) = picture {
            write_picture(path, picture).map_err(SnapshotError::io(path))?;
        }
        let definition = change.definition.as_ref();
        stage(journal, guest, definition, &change.tree)?;
        let (mut disks, mut frozen) = (Vec::new(), Vec::new());
        for disk in definition.into_iter().flat_map(own_disks) {
            let Some(below) = disk.backing.first() else { continue };
            let image = open(&disk.path, true, disk.cache.is_direct())?;
            if !lock::acquire(&image, Access::Write).map_err(StorageError::io(&disk.path))? {
                return Err(guest.refused(format!("{} is in use", disk.path.display()), "Repeat the command"));
            }
            let file = open(&below.path, false, disk.cache.is_direct())?;
            frozen.push(file.try_clone().map_err(StorageError::io(&below.path))?);
            disks.push(DiskSnapshot { disk: disk.id.clone(), image, path: disk.path.clone(), frozen: file });
        }
        Ok((disks, frozen))
    }

    fn finish(&self, guest: &Guest, journal: &Journal, exchanged: Result, frozen: &[File]) -> Result {
        let _library = self.library.lock()?;
        match exchanged {
            Ok(()) => {
                for file in frozen {
                    // The worker has let its own go: from now on they are only read.
                    if !lock::acquire(file, Access::Read).unwrap_or(false) {
                        tracing::warn!("a frozen image of {:?} is still locked by somebody who writes", guest.name);
                    }
                }
                journal.redo(&guest.folder).map_err(SnapshotError::io(&guest.folder))?;
                self.library.record_images(&guest.name);
                Ok(())
            }
            Err(error) => {
                journal::settle_locked(&guest.folder).map_err(SnapshotError::io(&guest.folder))?;
                Err(error)
            }
        }
    }
}

/// Refuses when the running guest has other disks than its definition says: then that was changed after its start.
pub(super) fn check_files(guest: &Guest, files: &[(String, PathBuf)]) -> Result {
    let definition: &Definition = &guest.stored.definition;
    let has = |id: &str, path: &Path| files.iter().any(|(disk, file)| disk == id && file == path);
    match own_disks(definition).find(|disk| !has(&disk.id, &disk.path)) {
        None => Ok(()),
        Some(disk) => {
            let reason = format!("it runs with another {} than its definition says", disk.id);
            Err(guest.refused(reason, "Turn it off and on, and repeat the command"))
        }
    }
}

pub(super) fn open(path: &Path, write: bool, direct: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    if direct {
        options.custom_flags(libc::O_DIRECT);
    }
    Ok(options.open(path).map_err(StorageError::io(path))?)
}

fn write_picture(path: &Path, picture: &[u8]) -> std::io::Result<()> {
    let mut file = make(path)?;
    file.write_all(picture)?;
    file.sync_all()
}

/// Makes a file that nobody else can read, and its folder.
fn make(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Does what reads and writes files away from the tasks that must not wait for a slow disk.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(SupervisorError::Ending.into()),
    }
}
