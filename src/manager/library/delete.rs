//! Deleting guests, and their disks where nobody else needs them.

use std::{fs, path::PathBuf};

use uuid::Uuid;

use super::{Entry, Library, LibraryError, trash};
use crate::manager::{
    atomic_file,
    definition::{Definition, DiskDefinition},
    snapshots::{self, Tree},
    storage::users,
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
        let mut plan = match definition {
            Some(definition) if disks => self.plan(definition)?,
            _ => Deleted::default(),
        };
        let entry = trash::Entry::prepare(self, name, definition, &plan.removed)?;
        let folder = self.paths.guest_folder(name);
        let refused = LibraryError::io(&folder, "Make the library writable for you");
        atomic_file::move_to_free(&folder, &entry.guest()).map_err(&refused)?;
        // The guest is gone now.
        if let Some(definition) = definition {
            let _ = fs::remove_dir_all(self.paths.running(definition.uuid).folder);
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
        self.plan(&self.load(name)?.definition)
    }

    fn plan(&self, definition: &Definition) -> Result<Deleted, LibraryError> {
        let others: Vec<Entry> = self.list()?.into_iter().filter(|entry| entry.name != definition.name).collect();
        let mut plan = Deleted::default();
        let tree = snapshots::read_tree(&self.paths.guest_folder(&definition.name));
        let frozen = tree.as_ref().map(Tree::own_files).unwrap_or_default();
        let frozen = frozen.into_iter().map(|layer| DiskDefinition::new(layer.path, layer.format));
        let own = definition.disks.iter().filter(|disk| disk.has_medium()).cloned();
        for disk in own.chain(frozen) {
            if plan.removed.contains(&disk.path) || plan.kept.iter().any(|(path, _)| *path == disk.path) {
                continue;
            }
            match self.reason_to_keep(&disk, &others) {
                Some(reason) => plan.kept.push((disk.path, reason)),
                None => plan.removed.push(disk.path),
            }
        }
        Ok(plan)
    }

    fn reason_to_keep(&self, disk: &DiskDefinition, others: &[Entry]) -> Option<String> {
        if disk.cdrom {
            return Some("it is a CD-ROM image".to_owned());
        }
        if disk.read_only {
            return Some("the guest could only read it".to_owned());
        }
        match fs::symlink_metadata(&disk.path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Some("it is not a plain file".to_owned()),
            Err(error) => return Some(error.to_string()),
        }
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
