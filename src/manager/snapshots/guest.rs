//! A guest with its snapshots, and what may be done with them.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{
    Change, Foreign, Result, Snapshot, SnapshotError, Tree,
    journal::Rebase,
    tree::{Pair, own_disks},
};
use crate::manager::{
    definition::{Layer, MAX_LAYERS, NAME_MAX_CHARACTERS},
    library::{LibraryError, Stored},
};

/// A guest with its snapshots, as read.
pub(super) struct Guest {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) stored: Stored,
    pub(super) tree: Tree,
    pub(super) foreign: Foreign,
    /// Whether its worker lives: then its images are not touched.
    pub(super) running: bool,
}

impl Guest {
    pub(super) fn refused(&self, reason: impl Into<String>, mend: impl Into<String>) -> SnapshotError {
        SnapshotError::refused(&self.name, reason, mend)
    }

    pub(super) fn check_off(&self) -> Result {
        if self.running { Err(LibraryError::Running(self.name.clone()).into()) } else { Ok(()) }
    }

    /// What is left to do when `pair.upper` has gone into the image below it.
    pub(super) fn merged(&self, pair: &Pair) -> Change {
        let (mut definition, mut tree) = (self.stored.definition.clone(), self.tree.clone());
        let above = tree.merged(&mut definition, pair);
        let onto = pair.lower.first();
        let rebase = |layer: Layer| Some(Rebase { path: layer.path, onto: onto?.clone() });
        Change {
            create: Vec::new(),
            definition: (definition != self.stored.definition).then_some(definition),
            tree,
            rebase: above.into_iter().filter_map(rebase).collect(),
            remove: vec![pair.upper.path.clone()],
        }
    }

    /// Refuses when a disk can get no image over it.
    pub(super) fn check_can_freeze(&self) -> Result {
        let disks = || own_disks(&self.stored.definition);
        if let Some(disk) = disks().find(|disk| disk.shareable) {
            let reason = format!("{} is shared with other guests, which go on writing to it", disk.id);
            return Err(self.refused(reason, "Take it out of the definition, or make no snapshots"));
        }
        if let Some(disk) = disks().find(|disk| disk.backing.len() >= MAX_LAYERS) {
            let reason = format!("{} has {MAX_LAYERS} images below it already", disk.id);
            return Err(self.refused(reason, "Delete snapshots that you do not need any more"));
        }
        Ok(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tree.snapshots.iter().any(|snapshot| snapshot.name == name)
    }

    pub(super) fn find(&self, word: &str) -> Result<&Snapshot> {
        let not_found = || SnapshotError::NotFound { guest: self.name.clone(), word: word.to_owned() };
        self.tree.find(word).ok_or_else(not_found)
    }

    /// Refuses what cannot be the name of a snapshot, or is that of another one than `own`.
    pub(super) fn check_name(&self, name: &str, own: Option<Uuid>) -> Result<String> {
        let too_long = name.chars().count() > NAME_MAX_CHARACTERS;
        if name.trim().is_empty() || name.trim() != name || too_long || name.chars().any(char::is_control) {
            let mend = format!("Write 1 to {NAME_MAX_CHARACTERS} characters without line breaks");
            return Err(self.refused(format!("{name:?} is no name for a snapshot"), mend));
        }
        match self.tree.snapshots.iter().find(|snapshot| snapshot.name == name && Some(snapshot.id) != own) {
            Some(_) => Err(SnapshotError::Exists { guest: self.name.clone(), name: name.to_owned() }),
            None => Ok(name.to_owned()),
        }
    }

    /// Whether a file has to stay as it is, whatever becomes of this guest's snapshots.
    pub(super) fn is_pinned(&self, path: &Path) -> bool {
        self.pin(path).is_some()
    }

    /// Why.
    pub(super) fn pin(&self, path: &Path) -> Option<String> {
        let mut disks = self.stored.definition.disks.iter().filter(|_| self.running);
        match disks.any(|disk| disk.layers().any(|layer| layer.path == path)) {
            true => Some(format!("\"{}\" is running and uses it", self.name)),
            false => self.foreign.reason(path),
        }
    }
}
