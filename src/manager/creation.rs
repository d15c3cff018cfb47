//! Making a guest together with its disks: both or neither.

#![forbid(unsafe_code)]

use std::{fs, io, path::PathBuf};

use super::{
    definition::{CacheMode, Definition, DiskBus, DiskDefinition, DiskFormat, KernelDefinition, Problem, Problems},
    host::{self, Root},
    library::{Library, LibraryError},
    media::{self, Media, MediaError, MediaKind},
    network::{self, NetworkError},
    pool::{Pool, PoolError},
    storage::{Access, device},
    testcard,
};
use crate::system_error::words;

/// A disk image to be made in the default pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewDisk {
    /// An empty one.
    Empty {
        /// Its size, in bytes.
        size: u64,
        /// Its format.
        format: DiskFormat,
        /// How the host's page cache is used for it.
        cache: CacheMode,
        /// How it is attached.
        bus: DiskBus,
    },
    /// A copy of the test card.
    TestCard,
}

/// Why a guest was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreationError {
    /// The definition is wrong, or this host cannot run it.
    #[error("the guest is not well defined: {0}")]
    Unfit(Problems),
    /// A disk image could not be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The library refused.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A file that was chosen cannot be used.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// A device that was chosen cannot be opened.
    #[error("{}: {}. {}", path.display(), words(error), device::mend(path, error).as_deref().unwrap_or("Choose another one"))]
    Device {
        /// The device.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file that was chosen is of another kind.
    #[error("{} is a {}. {mend}", path.display(), kind.describe())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: MediaKind,
        /// How to mend it.
        mend: &'static str,
    },
}

/// Adds a guest to the library, with new disks behind those that its definition has. The problems that come back are no
/// hindrance, only worth knowing.
pub fn create(
    library: &Library,
    pool: &Pool,
    definition: Definition,
    disks: &[NewDisk],
) -> Result<(Definition, Problems), CreationError> {
    create_with(library, pool, definition, disks, |_| ())
}

/// Like [`create`], but `arrange` changes the definition when its new disks are in it.
pub fn create_with(
    library: &Library,
    pool: &Pool,
    mut definition: Definition,
    disks: &[NewDisk],
    arrange: impl FnOnce(&mut Definition),
) -> Result<(Definition, Problems), CreationError> {
    let review = definition.review(&host::limits());
    if !review.errors.0.is_empty() {
        return Err(CreationError::Unfit(review.errors));
    }
    // Before the disks are made: this is the usual slip.
    if library.names()?.contains(&definition.name) {
        return Err(LibraryError::Exists(definition.name).into());
    }
    let mut made = Vec::new();
    let result = disks.iter().try_for_each(|disk| {
        let disk = make(pool, &definition.name, *disk)?;
        made.push(disk.path.clone());
        definition.add_disk(disk);
        Ok(())
    });
    arrange(&mut definition);
    match result.and_then(|()| Ok(library.create(&definition)?)) {
        Ok(()) => {
            let mut warnings = review.warnings;
            let new = definition.boot_warnings().into_iter().filter(|warning| !warnings.0.contains(warning));
            let new: Vec<_> = new.collect();
            warnings.0.extend(new);
            // They can be made before the guest is started.
            let missing =
                definition.networks.iter().map(|card| network::look(card, &Root::default()).err()).enumerate();
            warnings.0.extend(missing.filter_map(|(index, error)| {
                let NetworkError { field, message } = error?;
                Some(Problem::new(format!("network[{index}].{field}"), message))
            }));
            Ok((definition, warnings))
        }
        Err(error) => {
            for path in made {
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!("the new disk image {} could not be removed again: {error}", path.display());
                }
            }
            Err(error)
        }
    }
}

fn make(pool: &Pool, stem: &str, disk: NewDisk) -> Result<DiskDefinition, CreationError> {
    Ok(match disk {
        NewDisk::Empty { size, format, cache, bus } => {
            DiskDefinition { cache, bus, ..DiskDefinition::new(pool.create(stem, size, format)?, format) }
        }
        NewDisk::TestCard => DiskDefinition::new(pool.create_filled(stem, testcard::image())?, DiskFormat::Raw),
    })
}

/// The disk that the existing image at `path` makes, and what it is. This is the one time that a format is read from an
/// image: from now on it stands in the definition.
pub fn import(path: PathBuf) -> Result<(DiskDefinition, Media), CreationError> {
    if device::is_device(&path) {
        let size = device::open(&path, Access::Read, 0).and_then(|device| device::size(&device));
        let size = size.map_err(|error| CreationError::Device { path: path.clone(), error })?;
        let media = Media { kind: MediaKind::Disk, size, label: None, backing: None };
        return Ok((DiskDefinition::new(path, DiskFormat::Raw), media));
    }
    let media = media::inspect(&path)?;
    let mend = match media.kind {
        MediaKind::Disk | MediaKind::BootableDisk | MediaKind::HybridIso => {
            return Ok((DiskDefinition::new(path, DiskFormat::Raw), media));
        }
        MediaKind::Qcow2 => return Ok((DiskDefinition::new(path, DiskFormat::Qcow2), media)),
        MediaKind::Vmdk => "Convert it: \"lodgectl disk convert OLD NEW --format qcow2\"",
        MediaKind::Vdi | MediaKind::Vhdx => "Convert it: \"qemu-img convert -O qcow2\"",
        MediaKind::Iso | MediaKind::BootableIso => "Use it as CD-ROM",
        MediaKind::LinuxKernel | MediaKind::Elf | MediaKind::InitialRamDisk => "Choose a disk image",
    };
    Err(CreationError::WrongKind { path, kind: media.kind, mend })
}

/// The CD-ROM with the ISO image at `path`, and what that is.
pub fn insert(path: PathBuf) -> Result<(DiskDefinition, Media), CreationError> {
    let media = media::inspect(&path)?;
    match media.kind {
        MediaKind::HybridIso | MediaKind::BootableIso | MediaKind::Iso => Ok((DiskDefinition::cdrom(path), media)),
        kind => Err(CreationError::WrongKind { path, kind, mend: "Choose an ISO image, or use it as disk" }),
    }
}

/// The kernel at `path`, to be booted directly, with its initial RAM disk.
pub fn boot(path: PathBuf, initrd: Option<PathBuf>, cmdline: String) -> Result<KernelDefinition, CreationError> {
    let media = media::inspect(&path)?;
    if !matches!(media.kind, MediaKind::LinuxKernel | MediaKind::Elf) {
        let mend = "Choose a Linux kernel for x86-64 (vmlinuz or vmlinux)";
        return Err(CreationError::WrongKind { path, kind: media.kind, mend });
    }
    if let Some(initrd) = &initrd {
        media::inspect_initial_ram_disk(initrd)?;
    }
    Ok(KernelDefinition { path, initrd, cmdline })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        definition::{NetworkDefinition, NetworkKind},
        paths::Paths,
        size::{MIB, Size, TIB},
    };

    fn fixture() -> (tempfile::TempDir, Library, Pool) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        (folder, Library::new(paths.clone()), Pool::default_pool(&paths))
    }

    fn small(name: &str) -> Definition {
        Definition { memory: Size::mib(64), ..Definition::new(name) }
    }

    #[test]
    fn a_guest_comes_with_its_disks() {
        let (_folder, library, pool) = fixture();
        let disks = [
            NewDisk::TestCard,
            NewDisk::Empty { size: MIB, format: DiskFormat::Qcow2, cache: CacheMode::None, bus: DiskBus::Ide },
        ];

        let (made, _) = create(&library, &pool, small("web"), &disks).unwrap();

        assert_eq!(library.load("web").unwrap().definition, made);
        assert_eq!(fs::read(&made.disks[0].path).unwrap(), testcard::image());
        assert_eq!(made.disks[1].format, DiskFormat::Qcow2);
    }

    #[test]
    fn a_network_that_is_not_there_yet_is_only_warned_of() {
        let (_folder, library, pool) = fixture();
        let mut definition = small("web");
        definition.add_network(NetworkDefinition::new(NetworkKind::None));
        definition.add_network(NetworkDefinition::bridge("no-such-bridge"));

        let (_, warnings) = create(&library, &pool, definition, &[]).unwrap();

        assert!(warnings.about("network[1].bridge").unwrap().contains("ip link add no-such-bridge"), "{warnings}");
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing() {
        let (_folder, library, pool) = fixture();
        create(&library, &pool, small("web"), &[]).unwrap();
        let disks = [
            NewDisk::TestCard,
            NewDisk::Empty { size: u64::MAX, format: DiskFormat::Raw, cache: CacheMode::None, bus: DiskBus::Ide },
        ];

        let refused = [
            create(&library, &pool, small("web"), &disks),
            create(&library, &pool, small("a/b"), &disks),
            create(&library, &pool, small("db"), &disks),
            create(&library, &pool, Definition { memory: Size(TIB), ..small("big") }, &disks),
        ];

        assert!(refused.iter().all(Result::is_err));
        let images = fs::read_dir(pool.folder()).into_iter().flatten().count();
        assert_eq!((library.names().unwrap(), images), (vec!["web".to_owned()], 0));
    }

    #[test]
    fn what_is_chosen_must_be_of_its_kind() {
        let (folder, ..) = fixture();
        let image = folder.path().join("disk.img");
        fs::write(&image, [0; 512]).unwrap();
        let vmdk = folder.path().join("disk.vmdk");
        fs::write(&vmdk, "KDMV").unwrap();

        assert_eq!(import(image.clone()).unwrap().0.format, DiskFormat::Raw);
        assert!(insert(image).unwrap_err().to_string().contains("Choose an ISO image"));
        assert!(import(vmdk).unwrap_err().to_string().contains("lodgectl disk convert"));
    }
}
