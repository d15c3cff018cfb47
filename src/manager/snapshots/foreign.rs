//! Which files other guests need: none of them is ever changed or removed.

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{FILE, tree::Tree};
use crate::manager::{
    atomic_file,
    definition::{Definition, DiskDefinition, DiskFormat},
    library::Library,
    media,
};

/// The files of all guests but one.
#[derive(Debug, Default)]
pub struct Foreign {
    /// By device and inode: a file can have several names.
    files: HashMap<(u64, u64), String>,
    /// A guest that cannot be read: it may need any file.
    unreadable: Option<String>,
    /// Where files of the guest that is being added are no longer.
    moved: Vec<PathBuf>,
}

impl Foreign {
    /// The files that others than the guest `name` need, also those that were deleted and can come back.
    pub fn of_others(library: &Library, name: &str) -> Self {
        Self::of(library, |other| other != name)
    }

    /// The files that any guest needs, also one that was deleted.
    pub fn of_all(library: &Library) -> Self {
        Self::of(library, |_| true)
    }

    fn of(library: &Library, is_meant: impl Fn(&str) -> bool) -> Self {
        let mut foreign = Self::of_deleted(library);
        for entry in library.list().unwrap_or_default().into_iter().filter(|entry| is_meant(&entry.name)) {
            let owner = format!("\"{}\"", entry.name);
            match entry.definition {
                Ok(stored) => foreign.add(&stored.definition, &library.paths().guest_folder(&entry.name), &owner),
                Err(_) => foreign.unreadable = Some(owner),
            }
        }
        foreign
    }

    /// The files that deleted guests need, which can come back.
    pub fn of_deleted(library: &Library) -> Self {
        let mut foreign = Self::default();
        for (folder, moved) in library.deleted_guests() {
            foreign.moved = moved;
            let definition = atomic_file::read_text(&folder.join("guest.toml")).ok();
            if let Some(Ok(definition)) = definition.map(|text| Definition::from_toml(&text, "deleted")) {
                foreign.add(&definition, &folder, "a deleted guest");
            }
        }
        foreign.moved.clear();
        foreign
    }

    fn add(&mut self, definition: &Definition, folder: &Path, owner: &str) {
        self.add_files(definition, owner);
        match atomic_file::read_text(&folder.join(FILE)).map(|text| Tree::from_toml(&text)) {
            Ok(Ok(tree)) => {
                tree.snapshots.iter().for_each(|snapshot| self.add_files(&snapshot.definition, owner));
                let leftovers = tree.leftovers.into_iter().flat_map(|leftover| leftover.layers);
                leftovers.for_each(|layer| self.insert(&layer.path, owner));
            }
            Ok(Err(_)) => self.unreadable = Some(owner.to_owned()),
            Err(_) => {}
        }
    }

    fn add_files(&mut self, definition: &Definition, owner: &str) {
        for layer in definition.disks.iter().flat_map(DiskDefinition::layers) {
            self.insert(&layer.path, owner);
            if layer.format == DiskFormat::Qcow2 {
                media::backing_files(&layer.path).iter().for_each(|path| self.insert(path, owner));
            }
        }
    }

    fn insert(&mut self, path: &Path, owner: &str) {
        if let Some(identity) = identity(path).filter(|_| !self.moved.iter().any(|moved| moved == path)) {
            self.files.entry(identity).or_insert_with(|| owner.to_owned());
        }
    }

    /// Why the file at `path` has to stay as it is, if it has.
    pub fn reason(&self, path: &Path) -> Option<String> {
        let owner = identity(path).and_then(|identity| self.files.get(&identity));
        match (owner, &self.unreadable) {
            (Some(owner), _) => Some(format!("{owner} uses it")),
            (None, Some(unreadable)) => Some(format!("{unreadable} cannot be read and may use it")),
            (None, None) => None,
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata::<PathBuf>(path.into()).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
