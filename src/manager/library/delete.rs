//! Deleting guests, and their disks where nobody else needs them.

use std::{fs, path::PathBuf};

use uuid::Uuid;

use super::{Entry, Library, LibraryError, trash};
use crate::{
    manager::{
        atomic_file,
        definition::{Definition, DiskDefinition},
        snapshots::{self, Foreign, Tree},
        storage::users,
    },
    system_error::words,
};

/// What [`Library::delete`] did with the disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Disk images that are gone.
    pub removed: Vec<PathBuf>,
    /// Disk images that are kept, and why.
    pub kept: Vec<(PathBuf, String)>,
    /// Which of the deleted guests it is, for [`Library::restore`].
    pub trash: Option<Uuid>,
}

impl Library {
    /// Moves a guest that does not run into the trash, from where [`Library::restore`] brings it back for a while. With
    /// `disks` also its disk images that no other guest uses; never CD-ROM images and kernels. The definition goes first: a
    /// crash may leave a disk without a guest, never a guest without its disk.
    pub fn delete(&self, name: &str, disks: bool) -> Result<Deleted, LibraryError> {
        let _change = self.lock()?;
        let _off = self.keep_off(name)?;
        self.settled(name)?;
        self.remove_old();
        let stored = self.load(name).ok();
        let definition = stored.as_ref().map(|stored| &stored.definition);
        let (mut plan, shared) = match definition {
            Some(definition) if disks => self.plan(definition)?,
            _ => (Deleted::default(), Vec::new()),
        };
        let entry = trash::Entry::prepare(self, name, definition, &plan.removed, shared)?;
        let folder = self.paths.guest_folder(name);
        let refused = LibraryError::io(&folder, "Make the library writable for you");
        atomic_file::move_to_free(&folder, &entry.guest()).map_err(&refused)?;
        // The guest is gone now.
        if let Some(definition) = definition {
            let _ = fs::remove_dir_all(self.paths.running(definition.uuid).folder);
            if definition.autostart {
                self.tidy_login();
            }
        }
        let removed = std::mem::take(&mut plan.removed);
        for path in removed {
            match entry.take(&path) {
                Ok(()) => plan.removed.push(path),
                Err(error) => plan.kept.push((path, error.to_string())),
            }
        }
        plan.trash = Some(entry.id);
        Ok(plan)
    }

    /// What [`Library::delete`] with `disks` would remove and keep.
    pub fn preview_delete(&self, name: &str) -> Result<Deleted, LibraryError> {
        Ok(self.plan(&self.load(name)?.definition)?.0)
    }

    /// What goes and what stays, and of that what others need at this moment.
    fn plan(&self, definition: &Definition) -> Result<(Deleted, Vec<PathBuf>), LibraryError> {
        let others: Vec<Entry> = self.list()?.into_iter().filter(|entry| entry.name != definition.name).collect();
        let deleted = Foreign::of_deleted(self);
        let (mut plan, mut shared) = (Deleted::default(), Vec::new());
        let tree = snapshots::read_tree(&self.paths.guest_folder(&definition.name));
        let frozen = tree.as_ref().map(Tree::own_files).unwrap_or_default();
        let frozen = frozen.into_iter().map(|layer| DiskDefinition::new(layer.path, layer.format));
        let own = definition.disks.iter().filter(|disk| disk.has_medium()).cloned();
        for disk in own.chain(frozen) {
            if plan.removed.contains(&disk.path) || plan.kept.iter().any(|(path, _)| *path == disk.path) {
                continue;
            }
            let needed = || self.who_needs(&disk, &others).or_else(|| deleted.reason(&disk.path));
            match (why_never(&disk), needed()) {
                (Some(reason), _) => plan.kept.push((disk.path, reason)),
                (None, Some(reason)) => {
                    shared.push(disk.path.clone());
                    plan.kept.push((disk.path, reason));
                }
                (None, None) => plan.removed.push(disk.path),
            }
        }
        Ok((plan, shared))
    }

    fn who_needs(&self, disk: &DiskDefinition, others: &[Entry]) -> Option<String> {
        for other in others {
            match &other.definition {
                Ok(stored) if !users::purposes(self, &stored.definition, &disk.path).is_empty() => {
                    return Some(format!("\"{}\" uses it", other.name));
                }
                Ok(_) => {}
                Err(_) => {
                    return Some(format!("\"{}\" cannot be read and may use it", other.name));
                }
            }
        }
        None
    }
}

/// Why a disk is nothing that goes with its guest.
fn why_never(disk: &DiskDefinition) -> Option<String> {
    if disk.cdrom {
        return Some("it is a CD-ROM image".to_owned());
    }
    if disk.read_only {
        return Some("the guest could only read it".to_owned());
    }
    match fs::symlink_metadata(&disk.path) {
        Ok(metadata) if metadata.is_file() => None,
        Ok(_) => Some("it is not a plain file".to_owned()),
        Err(error) => Some(words(&error)),
    }
}
