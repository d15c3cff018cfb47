//! A guest's disks as they were at one moment, to be copied or to be based on: nobody writes to them meanwhile, and merges or
//! removes none of their images.

#![forbid(unsafe_code)]

use std::{collections::HashSet, path::PathBuf};

use super::{Change, Held, Result, Snapshots, mend, tree::own_disks};
use crate::manager::{
    definition::{Definition, DiskDefinition, DiskFormat, Layer},
    snapshots::tree::{Leftover, Tree},
    storage::{self, Access, StorageError, create, qcow2::Header},
};

/// See the module.
pub struct Moment {
    /// The guest's definition then.
    pub definition: Definition,
    /// Images that belong to nobody but the guest.
    own: HashSet<PathBuf>,
    _held: Held,
}

impl Snapshots {
    /// A guest that is off, as it is.
    pub(in crate::manager) fn now(&self, guest: &str) -> Result<Moment> {
        let (guest, held) = self.begin(guest)?;
        guest.check_off()?;
        Ok(Moment::new(guest.stored.definition, &guest.tree, held))
    }

    /// A guest as it was at a snapshot.
    pub(in crate::manager) fn at(&self, guest: &str, snapshot: &str) -> Result<Moment> {
        let (guest, held) = self.begin(guest)?;
        let snapshot = guest.find(snapshot)?;
        Ok(Moment::new(snapshot.definition.clone(), &guest.tree, held))
    }

    /// Freezes the disks of a guest that is off, as they are: it goes on in new images that are based on them. Disks to which
    /// nothing was written since they were frozen last stay as they are.
    pub(in crate::manager) fn freeze(&self, guest: &str) -> Result<Moment> {
        let (guest, held) = self.begin(guest)?;
        guest.check_off()?;
        self.check_not_saved(&guest)?;
        guest.check_can_freeze()?;
        let mut frozen = guest.stored.definition.clone();
        let mut written = HashSet::new();
        for disk in frozen.disks.iter_mut().filter(|disk| !disk.is_read_only()) {
            if !go_below(disk)? {
                written.insert(disk.path.clone());
            }
        }
        let mut tree = guest.tree.clone();
        if !written.is_empty() {
            let is_written = |disk: &DiskDefinition| written.contains(&disk.path);
            let now = &guest.stored.definition;
            mend(own_disks(now).filter(|disk| is_written(disk)))?;
            own_disks(now).filter(|disk| is_written(disk)).for_each(|disk| tree.leave(disk));
            let (definition, create) = self.overlay(now.clone(), &is_written);
            let definition = Some(definition);
            let change = Change { create, definition, tree: tree.clone(), rebase: Vec::new(), remove: Vec::new() };
            self.carry_out(&guest, change)?;
        }
        Ok(Moment::new(frozen, &tree, held))
    }
}

impl Moment {
    fn new(definition: Definition, tree: &Tree, held: Held) -> Self {
        let own = tree.own_files().into_iter().map(|layer| layer.path).collect();
        Self { definition, own, _held: held }
    }

    /// The images that belong to a clone as much as to the guest: whoever of them goes last takes them along.
    pub fn shared(&self) -> Tree {
        let mut tree = Tree::default();
        for disk in own_disks(&self.definition) {
            let layers: Vec<Layer> = disk.layers().collect();
            let suffixes = (0..layers.len()).map(|from| Leftover { layers: layers[from..].to_vec() });
            for leftover in suffixes.filter(|leftover| self.own.contains(leftover.path())) {
                if !tree.leftovers.contains(&leftover) {
                    tree.leftovers.push(leftover);
                }
            }
        }
        tree
    }
}

/// Makes of a disk the one that its image is based on, if that image adds nothing to it. Returns whether it did.
fn go_below(disk: &mut DiskDefinition) -> Result<bool> {
    let own = Layer { path: disk.path.clone(), format: disk.format };
    let Some(below) = disk.backing.first().cloned().filter(|_| own.format == DiskFormat::Qcow2) else {
        return Ok(false);
    };
    let file = storage::open_file(&own.path, Access::Read).map_err(StorageError::io(&own.path))?;
    let header = Header::read(&file).map_err(StorageError::qcow2(&own.path))?;
    let stored = header.has_data(&file).map_err(StorageError::qcow2(&own.path))?;
    if stored || create::size_seen(&own)? != create::size_seen(&below)? {
        return Ok(false);
    }
    (disk.path, disk.format) = (below.path, below.format);
    disk.backing.remove(0);
    Ok(true)
}
