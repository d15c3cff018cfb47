//! A guest's disks: adding one together with its image, taking one out, and what becomes of its image then.

use std::{fs, path::PathBuf};

use crate::{
    manager::{
        creation::{self, CreationError},
        definition::{Definition, DiskBus, DiskDefinition, DiskFormat},
        library::{Library, LibraryError},
        pool::{NewVolume, Pool, PoolError, Pools, PoolsError, Target},
        storage::{
            create::Preallocation,
            users::{Use, users},
        },
    },
    system_error::words,
};

/// What a new disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An empty volume that is made.
    Volume {
        /// Its pool's name.
        pool: String,
        /// Its size, in bytes.
        size: u64,
        /// Its format; in a volume group it is raw.
        format: DiskFormat,
    },
    /// An image that is there already.
    File(PathBuf),
}

/// Why a disk was not added or taken out.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The library refused.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The volume could not be made.
    #[error(transparent)]
    Pools(#[from] PoolsError),
    /// The image could not be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] CreationError),
    /// The guest has no such disk.
    #[error("\"{name}\" has no disk \"{id}\" any more. Look at what it has now")]
    Gone {
        /// The guest.
        name: String,
        /// The disk.
        id: String,
    },
    /// The image is needed.
    #[error("{} is kept: {reason}. Take the disk out without it", path.display())]
    Needed {
        /// The image.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The image is still there.
    #[error("the disk was taken out, but {} could not be deleted: {}. Delete it by hand", path.display(), words(error))]
    Left {
        /// The image.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Gives the guest `name` another disk, from its next start. Returns the disk's id. Where that fails, no image is left.
pub fn add_disk(
    library: &Library,
    pools: &Pools,
    name: &str,
    source: &Source,
    bus: DiskBus,
) -> Result<String, DiskError> {
    let mut stored = library.load(name)?;
    // Before an image is made: too many disks are the usual slip.
    let mut trial = stored.definition.clone();
    trial.add_disk(DiskDefinition { bus, ..DiskDefinition::new("/trial", DiskFormat::Raw) });
    trial.validate().map_err(LibraryError::from)?;
    let disk = match source {
        Source::File(path) => creation::import(path.clone())?.0,
        Source::Volume { pool, size, format } => make(pools, pool, name, *size, *format)?,
    };
    let path = disk.path.clone();
    stored.definition.add_disk(DiskDefinition { bus, ..disk });
    let id = stored.definition.disks.last().map(|disk| disk.id.clone()).unwrap_or_default();
    if let Err(error) = library.save(&stored.definition, &stored.revision) {
        if let Source::Volume { pool, .. } = source {
            let volume = path.file_name().unwrap_or_default().to_string_lossy();
            if let Err(error) = pools.delete_volume(pool, &volume) {
                tracing::warn!("the new disk image {} could not be removed again: {error}", path.display());
            }
        }
        return Err(error.into());
    }
    Ok(id)
}

fn make(pools: &Pools, pool: &str, stem: &str, size: u64, format: DiskFormat) -> Result<DiskDefinition, DiskError> {
    match pools.find(pool)?.target {
        Target::Path(folder) => Ok(DiskDefinition::new(Pool::at(&folder).create(stem, size, format)?, format)),
        Target::VolumeGroup(_) => {
            // LVM's names have letters, digits and a few signs only.
            let stem: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
            let stem = if stem.is_empty() { "disk" } else { stem.trim_start_matches(['-', '.']) };
            let taken: Vec<_> = pools.volumes(pool)?.into_iter().map(|volume| volume.name).collect();
            let name = (0..).map(|number| format!("{stem}-{number}")).find(|name| !taken.contains(name));
            let wanted = NewVolume {
                name: name.unwrap_or_default(),
                size,
                format: Some(DiskFormat::Raw),
                preallocation: Preallocation::Off,
            };
            Ok(DiskDefinition::new(pools.create_volume(pool, &wanted)?.path, DiskFormat::Raw))
        }
    }
}

/// Why the image of a guest's disk is to be kept when the disk is taken out; `None` when it may be deleted.
pub fn reason_to_keep(library: &Library, pools: &Pools, definition: &Definition, id: &str) -> Option<String> {
    let disk = definition.disks.iter().find(|disk| disk.id == id)?;
    let name = &definition.name;
    if disk.cdrom {
        return Some("it is a CD-ROM image".to_owned());
    }
    match fs::symlink_metadata(&disk.path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Some("it is not a plain file".to_owned()),
        Err(error) => return Some(words(&error)),
    }
    if library.is_running(name).unwrap_or(true) {
        return Some(format!("\"{name}\" runs"));
    }
    if library.list().is_ok_and(|entries| entries.iter().any(|entry| entry.definition.is_err())) {
        return Some("a guest cannot be read and may use it".to_owned());
    }
    let all = users(library, &disk.path);
    let other = all.iter().find(|user| user.guest != *name || !matches!(user.purpose, Use::Disk(_)));
    if let Some(user) = other {
        return Some(match user.purpose {
            Use::Snapshot => format!("a snapshot of \"{}\" needs it", user.guest),
            Use::Backing => format!("a disk of \"{}\" is based on it", user.guest),
            Use::Disk(_) | Use::Boot => format!("\"{}\" uses it", user.guest),
        });
    }
    match pools.image_above(&disk.path) {
        Ok(None) => None,
        Ok(Some(above)) => Some(format!("{} is based on it", above.display())),
        Err(error) => Some(error.to_string()),
    }
}

/// Takes a disk or drive out of the guest `name`, from its next start; with `image` its image is deleted, too.
pub fn remove_disk(library: &Library, pools: &Pools, name: &str, id: &str, image: bool) -> Result<(), DiskError> {
    let mut stored = library.load(name)?;
    let reason = image.then(|| reason_to_keep(library, pools, &stored.definition, id)).flatten();
    // Nobody starts it while its image is being deleted.
    let _off = image.then(|| library.keep_off(name)).transpose()?;
    let Some(place) = stored.definition.disks.iter().position(|disk| disk.id == id) else {
        return Err(DiskError::Gone { name: name.to_owned(), id: id.to_owned() });
    };
    let disk = stored.definition.disks.remove(place);
    if let Some(reason) = reason {
        return Err(DiskError::Needed { path: disk.path, reason });
    }
    library.save(&stored.definition, &stored.revision)?;
    if image {
        fs::remove_file(&disk.path).map_err(|error| DiskError::Left { path: disk.path, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        paths::Paths,
        size::{GIB, MIB},
    };

    fn library() -> (tempfile::TempDir, Library, Pools) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        let (library, pools) = (Library::new(paths.clone()), Pools::new(&paths));
        library.create(&Definition::new("web")).unwrap();
        (folder, library, pools)
    }

    fn volume(size: u64) -> Source {
        Source::Volume { pool: "default".into(), size, format: DiskFormat::Qcow2 }
    }

    #[test]
    fn a_disk_is_added_with_its_image_and_taken_out_with_or_without_it() {
        let (_folder, library, pools) = library();

        let first = add_disk(&library, &pools, "web", &volume(GIB), DiskBus::Virtio).unwrap();
        let second = add_disk(&library, &pools, "web", &volume(MIB), DiskBus::Ide).unwrap();
        let definition = library.load("web").unwrap().definition;
        let images: Vec<_> = definition.disks.iter().map(|disk| disk.path.clone()).collect();
        let before = images.iter().all(|image| image.is_file());
        remove_disk(&library, &pools, "web", &first, true).unwrap();
        remove_disk(&library, &pools, "web", &second, false).unwrap();

        assert_eq!((first.as_str(), second.as_str(), before), ("disk0", "disk1", true));
        assert_eq!((definition.disks[1].bus, definition.disks[1].format), (DiskBus::Ide, DiskFormat::Qcow2));
        assert!(!images[0].exists() && images[1].exists());
        assert!(library.load("web").unwrap().definition.disks.is_empty());
    }

    #[test]
    fn a_disk_that_cannot_be_attached_leaves_no_image() {
        let (_folder, library, pools) = library();
        for _ in 0..4 {
            add_disk(&library, &pools, "web", &volume(MIB), DiskBus::Ide).unwrap();
        }

        let refused = add_disk(&library, &pools, "web", &volume(MIB), DiskBus::Ide).unwrap_err().to_string();

        assert!(refused.contains("too many"), "{refused}");
        assert_eq!(pools.volumes("default").unwrap().len(), 4);
    }

    #[test]
    fn an_image_that_another_guest_needs_is_kept() {
        let (_folder, library, pools) = library();
        let id = add_disk(&library, &pools, "web", &volume(MIB), DiskBus::Virtio).unwrap();
        let image = library.load("web").unwrap().definition.disks[0].path.clone();
        library.create(&Definition::new("mail")).unwrap();
        add_disk(&library, &pools, "mail", &Source::File(image.clone()), DiskBus::Virtio).unwrap();

        let reason = reason_to_keep(&library, &pools, &library.load("web").unwrap().definition, &id);
        let refused = remove_disk(&library, &pools, "web", &id, true).unwrap_err().to_string();

        assert_eq!(reason.as_deref(), Some("\"mail\" uses it"));
        assert!(refused.contains("\"mail\" uses it") && image.exists(), "{refused}");
        assert_eq!(library.load("web").unwrap().definition.disks.len(), 1);
    }
}
