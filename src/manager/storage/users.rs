//! Who needs a file: which guests, and for what.

#![forbid(unsafe_code)]

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use serde::Serialize;

use crate::manager::{
    definition::{Definition, DiskFormat},
    library::Library,
    media, snapshots,
};

/// What a guest needs a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "as", content = "format")]
pub enum Use {
    /// A disk or a CD-ROM, in this format.
    Disk(DiskFormat),
    /// One of its disks is based on it.
    Backing,
    /// One of its snapshots needs it.
    Snapshot,
    /// The kernel or initial RAM disk that it boots.
    Boot,
}

/// A guest that needs a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Its name.
    pub guest: String,
    /// What for.
    #[serde(flatten)]
    pub purpose: Use,
    /// Whether it runs.
    pub running: bool,
}

/// The guests of the library that need the file at `path`, by whatever name. Those whose definitions cannot be read are
/// left out.
pub fn users(library: &Library, path: &Path) -> Vec<User> {
    let mut users = Vec::new();
    for entry in library.list().unwrap_or_default() {
        let Ok(stored) = entry.definition else { continue };
        let purposes = purposes(library, &stored.definition, path);
        let running = !purposes.is_empty() && library.is_running(&entry.name).unwrap_or(false);
        users.extend(purposes.into_iter().map(|purpose| User { guest: entry.name.clone(), purpose, running }));
    }
    users
}

/// What a guest needs the file at `path` for.
pub fn purposes(library: &Library, definition: &Definition, path: &Path) -> Vec<Use> {
    let mut purposes = Vec::new();
    if let Some(disk) = definition.disks.iter().find(|disk| same_file(&disk.path, path)) {
        purposes.push(Use::Disk(disk.format));
    }
    let named = definition.disks.iter().flat_map(|disk| &disk.backing).any(|layer| same_file(&layer.path, path));
    let mut based = definition.disks.iter().filter(|disk| disk.format == DiskFormat::Qcow2);
    // The images may know of more than the definition does.
    if named || based.any(|disk| media::backing_files(&disk.path).iter().any(|file| same_file(file, path))) {
        purposes.push(Use::Backing);
    }
    let tree = snapshots::read_tree(&library.paths().guest_folder(&definition.name));
    // A list that cannot be read may have any file in it.
    if tree.map_or(true, |tree| tree.needs(path, &same_file)) {
        purposes.push(Use::Snapshot);
    }
    if let Some(kernel) = &definition.kernel
        && [Some(&kernel.path), kernel.initrd.as_ref()].into_iter().flatten().any(|file| same_file(file, path))
    {
        purposes.push(Use::Boot);
    }
    purposes
}

/// Whether both names mean one file.
pub fn same_file(one: &Path, other: &Path) -> bool {
    // A device can have several nodes.
    let identity = |path: &Path| {
        fs::metadata(path).map(|metadata| match metadata.file_type().is_block_device() {
            true => (metadata.rdev(), None),
            false => (metadata.dev(), Some(metadata.ino())),
        })
    };
    one == other || matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
