//! A guest whose disks and snapshots are held against a model of what they must contain.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
};

use fastrand::Rng;
use lodge::{
    manager::{
        definition::{Definition, DiskDefinition, DiskFormat, Layer},
        library::Library,
        paths::Paths,
        snapshots::{NewSnapshot, Snapshots, Tree},
        storage::{
            Access, Disks, ImageFormat,
            create::{NewImage, Preallocation},
            source,
        },
    },
    vmm::{
        block::{self, Disk, Format, Image},
        memory::GuestSlice,
    },
};

use crate::common::qemu;

/// A guest's disks, byte by byte.
pub type Content = Vec<Vec<u8>>;

/// What a guest and its snapshots must contain.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub current: Content,
    pub snapshots: BTreeMap<String, Content>,
    /// The snapshot that the guest goes on from.
    pub parent: Option<String>,
}

/// A guest, at first "web", with a raw disk and a qcow2 disk with small clusters.
pub struct Fixture {
    pub name: String,
    pub paths: Paths,
    pub library: Library,
    pub disks: Disks,
    pub snapshots: Snapshots,
    pub model: Model,
}

impl Fixture {
    pub fn new(folder: &Path, size: u64) -> Self {
        let paths = Paths::new(folder.join("data/lodge"), folder.join("run/lodge"));
        paths.create().unwrap();
        let (library, disks, snapshots) = (Library::new(paths.clone()), Disks::new(&paths), Snapshots::new(&paths));
        let mut guest = Definition::new("web");
        for (name, format) in [("web.raw", DiskFormat::Raw), ("web.qcow2", DiskFormat::Qcow2)] {
            let path = paths.disks().join(name);
            let cluster_size = (format == DiskFormat::Qcow2).then_some(4096);
            let preallocation = Preallocation::Off;
            let image = NewImage { size: Some(size), format, backing: None, preallocation, cluster_size };
            disks.create(&path, &image).unwrap();
            guest.add_disk(DiskDefinition::new(path, format));
        }
        library.create(&guest).unwrap();
        let current = vec![vec![0; size as usize]; 2];
        let model = Model { current, ..Model::default() };
        Self { name: "web".to_owned(), paths, library, disks, snapshots, model }
    }

    pub fn definition(&self) -> Definition {
        self.library.load(&self.name).unwrap().definition
    }

    pub fn tree(&self) -> Tree {
        self.snapshots.tree(&self.name).unwrap()
    }

    /// Writes, zeroes and gives back ranges of a disk at random, as a guest would.
    pub fn scribble(&mut self, rng: &mut Rng, times: u32) {
        let number = rng.usize(0..2);
        let definition = self.definition();
        let disk = open(&definition.disks[number], true);
        let model = &mut self.model.current[number];
        assert_eq!(disk.capacity(), model.len() as u64);
        for _ in 0..times {
            let (offset, length) = (rng.u64(0..disk.capacity() / 512) * 512, rng.u64(1..200) * 512);
            let length = length.min(disk.capacity() - offset);
            let range = &mut model[offset as usize..(offset + length) as usize];
            match rng.u8(0..6) {
                0 => {
                    disk.write_zeroes(offset, length, rng.bool()).unwrap();
                    range.fill(0);
                }
                1 => {
                    // What it reads as afterwards is not defined.
                    disk.discard(offset, length).unwrap();
                    disk.read(offset, &[GuestSlice::from(&mut *range)]).unwrap();
                }
                _ => {
                    let first = rng.u8(..);
                    range.iter_mut().enumerate().for_each(|(at, byte)| *byte = first.wrapping_add((at / 512) as u8));
                    disk.write(offset, &[GuestSlice::from(&mut *range)]).unwrap();
                }
            }
        }
        disk.flush().unwrap();
    }

    pub fn create(&mut self, name: &str) {
        let new = NewSnapshot { name: Some(name.to_owned()), description: String::new() };
        self.snapshots.create(&self.name, &new).unwrap();
        self.model.create(name);
    }

    pub fn delete(&mut self, name: &str) {
        self.snapshots.delete(&self.name, name).unwrap();
        self.model.delete(name, &self.tree());
    }

    /// The content is what the model says, read by our own reader.
    pub fn assert_content(&self, definition: &Definition, expected: &Content, what: &str) {
        for (disk, expected) in definition.disks.iter().zip(expected) {
            let mut images = disk.layers().map(|layer| {
                self.disks.open(&layer.path, Some(ImageFormat::from(layer.format)), Access::Read).unwrap()
            });
            let mut source = source::open(images.next().unwrap(), images.collect()).unwrap();
            let mut found = vec![0; source.size() as usize];
            source.read(0, &mut found).unwrap();
            if found != *expected {
                let at = found.iter().zip(expected).position(|(one, other)| one != other);
                panic!("{what}, {}: {} bytes, {} expected, other at {at:?}", disk.id, found.len(), expected.len());
            }
        }
    }

    pub fn assert_all(&self) {
        self.assert_content(&self.definition(), &self.model.current, "the guest");
        let tree = self.tree();
        let names: BTreeSet<_> = tree.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
        assert_eq!(names, self.model.snapshots.keys().cloned().collect());
        let parent = tree.current.and_then(|id| tree.get(id)).map(|snapshot| snapshot.name.clone());
        assert_eq!(parent, self.model.parent);
        for snapshot in &tree.snapshots {
            self.assert_content(&snapshot.definition, &self.model.snapshots[&snapshot.name], &snapshot.name);
        }
    }

    /// Every image is in use, and every image that is in use is there.
    pub fn assert_no_file_is_lost_or_left(&self) {
        assert_eq!(self.images(), self.used());
    }

    pub fn images(&self) -> BTreeSet<PathBuf> {
        fs::read_dir(self.paths.disks()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// The images that the guest and its snapshots use.
    pub fn used(&self) -> BTreeSet<PathBuf> {
        let tree = self.tree();
        let definitions = tree.snapshots.iter().map(|snapshot| &snapshot.definition);
        let current = self.definition();
        let disks = definitions.chain([&current]).flat_map(|definition| &definition.disks);
        let leftovers = tree.leftovers.iter().flat_map(|leftover| leftover.layers.clone());
        disks.flat_map(DiskDefinition::layers).chain(leftovers).map(|layer: Layer| layer.path).collect()
    }

    /// QEMU's tools agree: each image is whole, and each disk is what the model says, as the images themselves name those
    /// below them.
    pub fn assert_qemu_agrees(&self) {
        let raw = self.paths.data().join("model.raw");
        let tree = self.tree();
        let snapshots =
            tree.snapshots.iter().map(|snapshot| (&snapshot.definition, &self.model.snapshots[&snapshot.name]));
        let current = self.definition();
        for (definition, content) in snapshots.chain([(&current, &self.model.current)]) {
            for (disk, expected) in definition.disks.iter().zip(content) {
                fs::write(&raw, expected).unwrap();
                qemu::assert_equal((&disk.path, disk.format.name()), (&raw, "raw"));
            }
        }
        for entry in fs::read_dir(self.paths.disks()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "qcow2") {
                assert_eq!(qemu::check(&path), (0, 0), "{}", path.display());
            }
        }
    }
}

impl Model {
    pub fn create(&mut self, name: &str) {
        self.snapshots.insert(name.to_owned(), self.current.clone());
        self.parent = Some(name.to_owned());
    }

    pub fn revert(&mut self, name: &str) {
        self.current = self.snapshots[name].clone();
        self.parent = Some(name.to_owned());
    }

    /// Who comes next is the tree's to know.
    pub fn delete(&mut self, name: &str, tree: &Tree) {
        self.snapshots.remove(name);
        if self.parent.as_deref() == Some(name) {
            self.parent = tree.current.and_then(|id| tree.get(id)).map(|snapshot| snapshot.name.clone());
        }
    }
}

/// The disk as the engine opens it.
pub fn open(disk: &DiskDefinition, writable: bool) -> Box<dyn Disk> {
    let mut images = disk.layers().enumerate().map(|(number, layer)| {
        let file = File::options().read(true).write(writable && number == 0).open(&layer.path).unwrap();
        let format = if layer.format == DiskFormat::Raw { Format::Raw } else { Format::Qcow2 };
        Image { file, format }
    });
    block::open(images.next().unwrap(), !writable, images.collect()).unwrap()
}

/// A folder whose files need no disk.
pub fn folder() -> tempfile::TempDir {
    let shared_memory = Path::new("/dev/shm");
    let parent = if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("lodge").tempdir_in(parent).unwrap()
}
