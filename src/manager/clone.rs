//! A second guest of a guest that is off, or of one of its snapshots: its definition with a name, a UUID and addresses of its
//! own, and its disks. Snapshots are not cloned.
//!
//! A full clone has copies of the disks. Where the file system can (Btrfs, XFS, bcachefs), copies share their blocks with the
//! originals until one of them is written; elsewhere the stored parts are copied and the holes stay holes. A disk that is
//! based on other images, as after a snapshot, becomes one qcow2 image of its own.
//!
//! A linked clone has new, empty images over those of the original. These are frozen by that, as by a snapshot: the original
//! goes on in new images, too. The frozen ones then belong to both guests: no change of the snapshots of one touches what the
//! other needs, and they are deleted with the last of the two.
//!
//! The copies have no names until all of them are whole; then they get them, and then there is the new guest. What the
//! original only reads (CD-ROMs, read-only disks, kernels) both use.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, FileTypeExt},
    path::PathBuf,
};

use rustix::{fs::copy_file_range, io::Errno};
use uuid::Uuid;

use super::{
    definition::{Definition, DiskDefinition, DiskFormat, Layer, Problem, Problems, check_name},
    library::{Library, LibraryError},
    media,
    paths::Paths,
    snapshots::{Moment, SnapshotError, Snapshots, Tree, lock_layers},
    storage::{
        self, Disks, StorageError, convert, create,
        lock::Access,
        new_file::NewFile,
        progress::{self, Watch},
        resize::next_data,
    },
};

/// So much is copied in one step, in bytes.
const CHUNK: u64 = 4 << 20;

/// Why a guest was not cloned.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The library refused.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A disk could not be copied.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A disk could not be frozen, or there is no such snapshot.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// What a guest writes while it is copied would be in the copy by half.
    #[error("\"{0}\" is running. Turn it off, or clone one of its snapshots with --snapshot")]
    Running(String),
}

impl From<SnapshotError> for CloneError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Library(LibraryError::Running(name)) => Self::Running(name),
            SnapshotError::Library(error) => Self::Library(error),
            other => Self::Snapshot(other),
        }
    }
}

/// A clone to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewClone {
    /// Its name.
    pub name: String,
    /// Whether its disks are based on those of the original, instead of being copies.
    pub linked: bool,
    /// The snapshot that it is made of; the original as it is, if left out.
    pub snapshot: Option<String>,
}

/// A disk that is copied.
struct Source {
    /// Which disk of the definition.
    index: usize,
    format: DiskFormat,
    image: storage::Image,
    /// What that is based on.
    below: Vec<storage::Image>,
}

impl Source {
    /// How many bytes of it are stored, at most.
    fn stored(&self) -> io::Result<u64> {
        std::iter::once(&self.image).chain(&self.below).map(|image| stored(&image.file)).sum()
    }

    fn copy(self, to: &File, step: &mut dyn FnMut(u64) -> io::Result<()>) -> Result<(), StorageError> {
        let path = self.image.path.clone();
        match self.below.is_empty() {
            true => copy(&self.image.file, to, step).map_err(StorageError::io(&path)),
            false => convert::flatten(self.image, self.below, to, step),
        }
    }
}

/// An image for a disk of the clone, that has no name yet.
struct Copy {
    /// Which disk of the definition.
    index: usize,
    file: NewFile,
    format: DiskFormat,
    /// What it is based on.
    backing: Vec<Layer>,
}

/// Clones the guest `name`, which must be off unless one of its snapshots is cloned, and is kept from starting meanwhile.
pub fn clone(paths: &Paths, name: &str, new: &NewClone, watch: Watch<'_>) -> Result<Definition, CloneError> {
    let (library, snapshots) = (Library::new(paths.clone()), Snapshots::new(paths));
    // Before anything is copied: these are the usual slips.
    if let Err(message) = check_name(&new.name) {
        return Err(LibraryError::from(Problems(vec![Problem::new("name", message)])).into());
    }
    if library.names()?.contains(&new.name) {
        return Err(LibraryError::Exists(new.name.clone()).into());
    }
    let moment = match &new.snapshot {
        Some(snapshot) => snapshots.at(name, snapshot)?,
        None if new.linked => snapshots.freeze(name)?,
        None => snapshots.now(name)?,
    };
    let made = clone_moment(paths, &library, &moment, new, watch);
    drop(moment);
    if made.is_err() && new.linked && new.snapshot.is_none() {
        // What was frozen for nothing. The next change of its snapshots tries again.
        let _ = snapshots.merge(name, watch);
    }
    made
}

fn clone_moment(
    paths: &Paths,
    library: &Library,
    moment: &Moment,
    new: &NewClone,
    watch: Watch<'_>,
) -> Result<Definition, CloneError> {
    let disks = Disks::new(paths);
    let mut definition = moment.definition.clone();
    definition.name.clone_from(&new.name);
    definition.uuid = Uuid::new_v4();
    definition.autostart = false;
    // Nobody has said that the copy may be seen by others, and the port is taken.
    definition.display.listen = None;
    definition.networks.iter_mut().for_each(|network| network.mac = None);
    definition.address_networks();
    let (copies, tree) = match new.linked {
        true => (overlay(&disks, &definition)?, moment.shared()),
        false => (copy_all(&disks, &definition, watch)?, Tree::default()),
    };
    let mut named = Vec::new();
    let made = publish(&disks, &mut definition, copies, &mut named)
        .and_then(|()| Ok(library.create_with(&definition, &tree)?));
    if made.is_err() && !paths.guest_folder(&new.name).exists() {
        for path in named {
            // What stays is a whole image that no guest uses; "disk list" shows it.
            let _ = fs::remove_file(path);
        }
    }
    made.map(|()| definition)
}

/// Copies of the disks that the guest writes to.
fn copy_all(disks: &Disks, definition: &Definition, watch: Watch<'_>) -> Result<Vec<Copy>, StorageError> {
    let sources = open_sources(disks, definition)?;
    let total = sources.iter().map(Source::stored).sum::<io::Result<u64>>();
    let total = total.map_err(StorageError::io(disks.pool().folder()))?;
    let (mut copies, mut done) = (Vec::new(), 0);
    for source in sources {
        let (index, format) = (source.index, source.format);
        let file = disks.pool().new_file().map_err(StorageError::io(disks.pool().folder()))?;
        source.copy(file.file(), &mut |bytes| {
            done += bytes;
            progress::step(watch, done.min(total), total)
        })?;
        copies.push(Copy { index, file, format, backing: Vec::new() });
    }
    Ok(copies)
}

/// Empty images over the disks that the guest writes to.
fn overlay(disks: &Disks, definition: &Definition) -> Result<Vec<Copy>, CloneError> {
    let mut copies = Vec::new();
    for (index, disk) in definition.disks.iter().enumerate().filter(|(_, disk)| !disk.is_read_only()) {
        let backing: Vec<Layer> = disk.layers().collect();
        let _locks = lock_layers(&backing)?;
        let file = disks.pool().new_file().map_err(StorageError::io(disks.pool().folder()))?;
        if let Some(below) = backing.first() {
            create::fill_over(file.file(), disks.pool().folder(), below)?;
        }
        copies.push(Copy { index, file, format: DiskFormat::Qcow2, backing });
    }
    Ok(copies)
}

/// The images that are copied, locked, with their places in the definition.
fn open_sources(disks: &Disks, definition: &Definition) -> Result<Vec<Source>, StorageError> {
    let mut sources = Vec::new();
    for (index, disk) in definition.disks.iter().enumerate().filter(|(_, disk)| !disk.is_read_only()) {
        let path = &disk.path;
        let image = disks.open(path, Some(disk.format.into()), Access::Read)?;
        if image.file.metadata().map_err(StorageError::io(path))?.file_type().is_block_device() {
            let mend = "Copy it with \"lodgectl disk convert\", and make a guest with the copy";
            return Err(StorageError::refused(path, "it is a block device", mend));
        }
        let is_based = || media::inspect(path).is_ok_and(|media| media.backing.is_some());
        if disk.format == DiskFormat::Qcow2 && disk.backing.is_empty() && is_based() {
            let mend = "Name that in the definition, or make it whole with \"lodgectl disk convert\" first";
            return Err(StorageError::refused(path, "it is based on another image", mend));
        }
        let open = |layer: &Layer| disks.open(&layer.path, Some(layer.format.into()), Access::Read);
        let below = disk.backing.iter().map(open).collect::<Result<_, _>>()?;
        sources.push(Source { index, format: disk.format, image, below });
    }
    Ok(sources)
}

/// Gives the copies names in the default pool, and the definition those names.
fn publish(
    disks: &Disks,
    definition: &mut Definition,
    copies: Vec<Copy>,
    named: &mut Vec<PathBuf>,
) -> Result<(), CloneError> {
    for mut copy in copies {
        let Some(disk) = definition.disks.get_mut(copy.index) else { continue };
        let path = disks
            .pool()
            .publish(&mut copy.file, &definition.name, copy.format)
            .map_err(StorageError::io(disks.pool().folder()))?;
        named.push(path.clone());
        *disk = DiskDefinition { path, format: copy.format, backing: copy.backing, ..disk.clone() };
    }
    Ok(())
}

/// How many bytes of a file are stored.
fn stored(file: &File) -> io::Result<u64> {
    let (mut sum, mut from, end) = (0, 0, file.metadata()?.len());
    while let Some((start, hole)) = next_data(file, from)?.filter(|_| from < end) {
        sum += hole.min(end).saturating_sub(start);
        from = hole;
    }
    Ok(sum)
}

/// Makes `to`, an empty file, equal to `from`. `step` is told how many bytes have become equal.
fn copy(from: &File, to: &File, step: &mut dyn FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return step(stored(from)?);
    }
    let end = from.metadata()?.len();
    to.set_len(end)?;
    let mut offset = 0;
    while let Some((start, hole)) = next_data(from, offset)?.filter(|_| offset < end) {
        offset = start;
        let hole = hole.min(end);
        while offset < hole {
            let count = copy_part(from, to, offset, (hole - offset).min(CHUNK))?;
            offset += count;
            step(count)?;
        }
    }
    Ok(())
}

/// Copies up to `length` bytes at `offset`, inside the kernel where it can.
fn copy_part(from: &File, to: &File, offset: u64, length: u64) -> io::Result<u64> {
    let (mut source, mut target) = (offset, offset);
    match copy_file_range(from, Some(&mut source), to, Some(&mut target), length as usize) {
        Ok(count) if count > 0 => return Ok(count as u64),
        Ok(_) | Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let mut buffer = vec![0; length as usize];
    from.read_exact_at(&mut buffer, offset)?;
    to.write_all_at(&buffer, offset)?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{definition::NetworkDefinition, run_lock::RunLock};

    struct Fixture {
        folder: tempfile::TempDir,
        paths: Paths,
        library: Library,
    }

    impl Fixture {
        /// A guest "web" with a disk that has a hole, a network card and a CD-ROM.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
            let library = Library::new(paths.clone());
            let disk = folder.path().join("original.raw");
            let file = File::create(&disk).unwrap();
            file.write_all_at(&[1; 9000], 0).unwrap();
            file.write_all_at(&[2; 5000], 40 << 20).unwrap();
            file.set_len(64 << 20).unwrap();
            let mut guest = Definition::new("web");
            guest.add_disk(DiskDefinition::new(disk, DiskFormat::Raw));
            guest.add_disk(DiskDefinition::cdrom("/install.iso"));
            guest.add_network(NetworkDefinition::bridge("br0"));
            library.create(&guest).unwrap();
            Self { folder, paths, library }
        }

        fn clone(&self, new_name: &str) -> Result<Definition, CloneError> {
            clone(&self.paths, "web", &NewClone { name: new_name.to_owned(), ..NewClone::default() }, &|_, _| true)
        }
    }

    #[test]
    fn a_clone_has_the_same_disks_and_nothing_else_that_identifies_it() {
        use std::os::unix::fs::MetadataExt;
        let fixture = Fixture::new();
        let original = fixture.library.load("web").unwrap().definition;

        let made = fixture.clone("copy").unwrap();

        assert_eq!(fixture.library.load("copy").unwrap().definition, made);
        assert_ne!(made.uuid, original.uuid);
        assert_ne!(made.networks[0].mac, original.networks[0].mac);
        assert_eq!(made.disks[1], original.disks[1], "media are shared");
        assert_eq!(made.disks[0].path, fixture.paths.disks().join("copy.raw"));
        assert_eq!(fs::read(&made.disks[0].path).unwrap(), fs::read(&original.disks[0].path).unwrap());
        assert!(fs::metadata(&made.disks[0].path).unwrap().blocks() * 512 < 1 << 20, "holes stay holes");
    }

    #[test]
    fn clones_that_are_linked_one_after_the_other_are_based_on_the_same_image() {
        let fixture = Fixture::new();
        let linked = |name: &str| {
            let new = NewClone { name: name.to_owned(), linked: true, snapshot: None };
            clone(&fixture.paths, "web", &new, &|_, _| true).unwrap()
        };
        let original = fixture.library.load("web").unwrap().definition;

        let made = [linked("one"), linked("two")];

        let base = Layer { path: original.disks[0].path.clone(), format: DiskFormat::Raw };
        let now = fixture.library.load("web").unwrap().definition;
        for guest in made.iter().chain([&now]) {
            assert_eq!(guest.disks[0].backing, std::slice::from_ref(&base));
        }
        assert_eq!(now.disks[1], original.disks[1], "media are shared");
        let plan = fixture.library.preview_delete("two").unwrap();
        assert_eq!(plan.removed, [made[1].disks[0].path.clone()]);
        assert!(
            plan.kept.iter().any(|(path, reason)| *path == base.path && reason.contains("\"one\" uses it")),
            "{plan:?}"
        );
    }

    #[test]
    fn what_cannot_be_cloned_leaves_nothing() {
        let fixture = Fixture::new();
        let refused = |new_name: &str| fixture.clone(new_name).unwrap_err().to_string();
        assert!(refused("web").contains("already a guest"));
        assert!(refused("a/b").contains("slash"));
        let stopped =
            clone(&fixture.paths, "web", &NewClone { name: "copy".to_owned(), ..NewClone::default() }, &|_, _| false)
                .unwrap_err();
        assert!(stopped.to_string().contains("stopped"), "{stopped}");
        let lock = RunLock::acquire(&fixture.paths.run_lock("web")).unwrap().unwrap();
        assert!(refused("copy").contains("running. Turn it off, or"));
        drop(lock);
        fs::remove_file(fixture.folder.path().join("original.raw")).unwrap();
        assert!(refused("copy").contains("original.raw"));

        assert_eq!(fixture.library.names().unwrap(), ["web"]);
        assert_eq!(fs::read_dir(fixture.paths.disks()).unwrap().count(), 0);
    }
}
