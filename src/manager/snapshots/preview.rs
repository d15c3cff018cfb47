//! What an operation will do with which files, to be shown before it is done.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::Serialize;

use super::{Change, FILE, Guest};
use crate::manager::definition::Definition;

/// The files that an operation touches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// New files. The names of images have a part that is chosen anew each time.
    pub create: Vec<PathBuf>,
    /// Files whose content changes.
    pub change: Vec<PathBuf>,
    /// Images that go into others, one after the other.
    pub merge: Vec<Merging>,
    /// Files that go.
    pub remove: Vec<PathBuf>,
    /// Files that could be expected to go, and why they stay.
    pub keep: Vec<Kept>,
}

/// An image that goes into the one that it is based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Merging {
    /// It is removed afterwards.
    pub from: PathBuf,
    /// It gets what the other one has.
    pub into: PathBuf,
}

/// A file that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl Guest {
    /// What `change` does, and what is merged after it.
    pub(super) fn preview(&self, change: &Change, keep: Vec<Kept>) -> Preview {
        let mut definition = change.definition.clone().unwrap_or_else(|| self.stored.definition.clone());
        let mut tree = change.tree.clone();
        let mut preview = Preview {
            create: change.create.iter().map(|overlay| overlay.path.clone()).collect(),
            remove: change.remove.clone(),
            keep,
            ..Preview::default()
        };
        // Only deleting leads to merging.
        while change.create.is_empty()
            && let Some(pair) = self.next_merge(&tree, &definition)
            && let Some(lower) = pair.lower.first()
        {
            tree.merged(&mut definition, &pair);
            preview.merge.push(Merging { from: pair.upper.path.clone(), into: lower.path.clone() });
            preview.remove.push(pair.upper.path);
        }
        let is_new = |definition: &Definition| definition.disks != self.stored.definition.disks;
        if change.definition.is_some() || is_new(&definition) {
            preview.change.push(self.folder.join("guest.toml"));
        }
        preview.change.push(self.folder.join(FILE));
        let merged = preview.merge.iter().map(|merging| merging.into.clone());
        let merged: Vec<_> = merged.filter(|path| !preview.remove.contains(path)).collect();
        preview.change.extend(merged);
        preview.change.dedup();
        let stays = |path: PathBuf| {
            let reason = self.pin(&path).unwrap_or_else(|| "others are based on it".to_owned());
            Kept { path, reason }
        };
        let leftovers = tree.leftovers.iter().map(|leftover| leftover.path().to_owned());
        preview.keep.extend(leftovers.map(stays));
        preview
    }
}
