//! Guests whose state is saved, memory included: they go on from it at their next start.
//!
//! The state lies in the guest's folder. It is worth something only as long as the guest has not run since it was saved and its disks
//! are as they were. The first the workers see to: a worker ends as soon as the state is complete, and empties it right before the
//! guest runs again. The second is looked at before a start.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{GIVE_UP_TIMEOUT, Supervisor, SupervisorError, blocking};
use crate::{
    manager::{
        atomic_file, client::ClientError, definition::Definition, drives::Media, library::LibraryError, paths::Paths,
        run_lock, storage::progress::Watch,
    },
    worker::{exit_report::Outcome, launch::is_complete_state},
};

/// Where a guest begins.
#[derive(Debug, Default)]
pub enum Begin {
    /// In its saved state, if it has one; else at power-on.
    #[default]
    Saved,
    /// At power-on. A saved state is removed.
    PowerOn,
    /// In this state, open for reading, as that of a snapshot. A saved state is removed.
    State(File),
}

/// How a guest is started.
#[derive(Debug, Default)]
pub struct StartOptions {
    /// Where it begins.
    pub begin: Begin,
    /// Whether it waits, paused, to be resumed.
    pub paused: bool,
}

impl Supervisor {
    /// Saves the running guest's state, memory included, and ends it. `watch` is told how far that is, in bytes of memory. When it
    /// fails, or `watch` says to stop, the guest goes on as if nothing had been.
    pub async fn save(&self, name: &str, watch: Watch<'_>) -> Result<(), SupervisorError> {
        let client = self.attach(name).await?;
        let failed = |source| SupervisorError::Client { name: name.to_owned(), source };
        let media = client.media().await.map_err(failed)?;
        let (this, guest) = (self.clone(), name.to_owned());
        let file = blocking(move || make(&this.paths().saved_state(&guest), &media)).await?;
        match client.save_and_end(file.into(), watch).await {
            // It can be gone before it has said that it is done.
            Ok(()) | Err(ClientError::Closed) => {}
            Err(source) => return Err(failed(source)),
        }
        let gone = self.gone_within(name, GIVE_UP_TIMEOUT).await;
        let (uuid, _) = self.look(name).await?;
        self.clean(name, uuid).await;
        let outcome = self.last_exit(name).await.map(|report| report.outcome);
        match gone && outcome == Some(Outcome::Saved) {
            true => Ok(()),
            false => Err(SupervisorError::NotSaved { name: name.to_owned() }),
        }
    }

    /// Removes the state of a guest that is off. `false` when it had none.
    pub async fn discard_saved(&self, name: &str) -> Result<bool, SupervisorError> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking(move || {
            let _lock = this.take_lock(&name)?;
            let path = this.paths().saved_state(&name);
            let had_one = is_complete(&path);
            remove(&path)?;
            Ok(had_one)
        })
        .await
    }

    /// Whether the guest, which is off, has a saved state.
    pub async fn has_saved(&self, name: &str) -> bool {
        let path = self.paths().saved_state(name);
        blocking(move || Ok(is_complete(&path))).await.unwrap_or(false)
    }
}

/// The saved state of the guest of `definition`, for a worker to take it over; `None` when there is none. The caller holds the
/// guest's run lock.
pub(super) fn open(paths: &Paths, definition: &Definition) -> Result<Option<File>, SupervisorError> {
    let name = &definition.name;
    let path = paths.saved_state(name);
    if !is_complete(&path) {
        // Half a state, or one that was used.
        remove(&path)?;
        return Ok(None);
    }
    let failed = |source| library_error(&path, source);
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
    let saved = file.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
    match changed_disk(definition, saved) {
        Some(disk) => Err(SupervisorError::Stale { name: name.clone(), disk }),
        None => Ok(Some(file)),
    }
}

/// What is in the drives of a guest whose state is saved; `None` when it has no such state.
pub(super) fn media(paths: &Paths, name: &str) -> Result<Option<Media>, SupervisorError> {
    let state = paths.saved_state(name);
    if !is_complete(&state) {
        return Ok(None);
    }
    let path = media_of(&state);
    match atomic_file::read_text(&path).and_then(|text| Ok(serde_json::from_str(&text)?)) {
        Ok(media) => Ok(Some(media)),
        // Older versions did not write it down.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(library_error(&path, error)),
    }
}

/// Removes a guest's state. The caller holds the guest's run lock.
pub(super) fn remove(state: &Path) -> Result<(), SupervisorError> {
    for path in [state, &media_of(state)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(library_error(path, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Where it lies what is in the drives at that state.
fn media_of(state: &Path) -> PathBuf {
    state.with_extension("media.json")
}

/// Removes a state that a worker has emptied.
pub(super) fn remove_used(paths: &Paths, name: &str) {
    let path = paths.saved_state(name);
    let held = || run_lock::is_held(&paths.run_lock(name)).unwrap_or(false);
    if held() && fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0) {
        // An empty one is none; it goes with the next start at the latest.
        let _ = remove(&path);
    }
}

/// Whether there is a state at `path`.
fn is_complete(path: &Path) -> bool {
    File::open(path).and_then(|file| is_complete_state(&file)).unwrap_or(false)
}

/// A disk that was written to after `saved`.
fn changed_disk(definition: &Definition, saved: SystemTime) -> Option<String> {
    let is_newer = |path: &Path| {
        // Of block devices the host does not know when they were written to.
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        file.and_then(|metadata| metadata.modified().ok()).is_some_and(|modified| modified > saved)
    };
    let changed = definition.disks.iter().find(|disk| !disk.is_read_only() && is_newer(&disk.path));
    changed.map(|disk| disk.id.clone())
}

/// Makes an empty file for a state, which nobody else can read: the guest's memory goes there. What is in its drives is written
/// down beside it.
fn make(path: &Path, media: &Media) -> Result<File, SupervisorError> {
    let failed = |source| library_error(path, source);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    let list = media_of(path);
    let written = serde_json::to_vec(media).map_err(Into::into).and_then(|text| atomic_file::replace(&list, &text));
    written.map_err(|error| library_error(&list, error))?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(file)
}

fn library_error(path: &Path, source: io::Error) -> SupervisorError {
    LibraryError::Io { path: path.to_owned(), source, mend: "Make this file writable for you" }.into()
}
