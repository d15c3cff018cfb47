//! A full copy of a guest that is off: its definition with a name, a UUID and addresses of its own, and its disks. Where the
//! file system can (Btrfs, XFS, bcachefs), copies share their blocks with the originals until one of them is written;
//! elsewhere the stored parts are copied and the holes stay holes.
//!
//! A disk that is based on other images, as after a snapshot, becomes one qcow2 image of its own. Snapshots are not copied.
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
    definition::{Definition, DiskDefinition, DiskFormat, Layer},
    library::{Library, LibraryError},
    media,
    paths::Paths,
    storage::{
        self, Disks, StorageError, convert,
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
}

/// A disk that is copied.
struct Source {
    /// Which disk of the definition.
    index: usize,
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

/// A copy of a disk that has no name yet.
struct Copy {
    /// Which disk of the definition.
    index: usize,
    file: NewFile,
}

/// Copies the guest `name`, which must be off and is kept from starting meanwhile.
pub fn clone(paths: &Paths, name: &str, new_name: &str, watch: Watch<'_>) -> Result<Definition, CloneError> {
    let (library, disks) = (Library::new(paths.clone()), Disks::new(paths));
    let _off = library.keep_off(name)?;
    let mut definition = library.load(name)?.definition;
    definition.name = new_name.to_owned();
    definition.uuid = Uuid::new_v4();
    definition.networks.iter_mut().for_each(|network| network.mac = None);
    definition.address_networks();
    // Before anything is copied: these are the usual slips.
    definition.validate().map_err(LibraryError::from)?;
    if library.names()?.iter().any(|taken| taken == new_name) {
        return Err(LibraryError::Exists(new_name.to_owned()).into());
    }
    let sources = open_sources(&disks, &definition)?;
    let total = sources.iter().map(Source::stored).sum::<io::Result<u64>>();
    let total = total.map_err(StorageError::io(disks.pool().folder()))?;
    let (mut copies, mut done) = (Vec::new(), 0);
    for source in sources {
        let index = source.index;
        let file = disks.pool().new_file().map_err(StorageError::io(disks.pool().folder()))?;
        source.copy(file.file(), &mut |bytes| {
            done += bytes;
            progress::step(watch, done.min(total), total)
        })?;
        copies.push(Copy { index, file });
    }
    let mut named = Vec::new();
    let made = publish(&disks, &mut definition, copies, &mut named).and_then(|()| Ok(library.create(&definition)?));
    if made.is_err() {
        for path in named {
            // What stays is a whole image that no guest uses; "disk list" shows it.
            let _ = fs::remove_file(path);
        }
    }
    made.map(|()| definition)
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
        sources.push(Source { index, image, below });
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
            .publish(&mut copy.file, &definition.name, disk.format)
            .map_err(StorageError::io(disks.pool().folder()))?;
        named.push(path.clone());
        *disk = DiskDefinition { path, backing: Vec::new(), ..disk.clone() };
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
            clone(&self.paths, "web", new_name, &|_, _| true)
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
    fn what_cannot_be_cloned_leaves_nothing() {
        let fixture = Fixture::new();
        let refused = |new_name: &str| fixture.clone(new_name).unwrap_err().to_string();
        assert!(refused("web").contains("already a guest"));
        assert!(refused("a/b").contains("slash"));
        let stopped = clone(&fixture.paths, "web", "copy", &|_, _| false).unwrap_err();
        assert!(stopped.to_string().contains("stopped"), "{stopped}");
        let lock = RunLock::acquire(&fixture.paths.run_lock("web")).unwrap().unwrap();
        assert!(refused("copy").contains("running. Turn it off"));
        drop(lock);
        fs::remove_file(fixture.folder.path().join("original.raw")).unwrap();
        assert!(refused("copy").contains("original.raw"));

        assert_eq!(fixture.library.names().unwrap(), ["web"]);
        assert_eq!(fs::read_dir(fixture.paths.disks()).unwrap().count(), 0);
    }
}
