//! Snapshots of guests that are off, their files and what is in their disks.

use std::os::unix::fs::FileExt;

use super::*;
use crate::manager::{
    clone::{self, NewClone},
    storage::{Disks, ImageFormat, source},
};

const SIZE: u64 = 256 << 10;

struct Fixture {
    _folder: tempfile::TempDir,
    paths: Paths,
    snapshots: Snapshots,
    library: Library,
}

impl Fixture {
    /// A guest "web" with a disk of each format, whose bytes are all 1.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        paths.create().unwrap();
        let (library, snapshots) = (Library::new(paths.clone()), Snapshots::new(&paths));
        let mut guest = Definition::new("web");
        let raw = paths.disks().join("web.raw");
        fs::write(&raw, vec![1; SIZE as usize]).unwrap();
        guest.add_disk(DiskDefinition::new(raw, DiskFormat::Raw));
        let pool = Pool::default_pool(&paths);
        guest.add_disk(DiskDefinition::new(pool.create("web", SIZE, DiskFormat::Qcow2).unwrap(), DiskFormat::Qcow2));
        library.create(&guest).unwrap();
        let fixture = Self { _folder: folder, paths, snapshots, library };
        fixture.write(1, 1);
        fixture
    }

    fn definition(&self) -> Definition {
        self.library.load("web").unwrap().definition
    }

    /// Fills a disk of the guest.
    fn write(&self, disk: usize, byte: u8) {
        let disk = &self.definition().disks[disk];
        if disk.format == DiskFormat::Raw {
            return File::options()
                .write(true)
                .open(&disk.path)
                .unwrap()
                .write_all_at(&vec![byte; SIZE as usize], 0)
                .unwrap();
        }
        let command = format!("write -P {byte} 0 {SIZE}");
        let mut io = std::process::Command::new("qemu-io");
        let output = io.args(["-f", "qcow2", "-c", &command]).arg(&disk.path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The first byte of each of the disks' sectors, which have to be the same.
    fn bytes(&self, definition: &Definition) -> Vec<u8> {
        let disks = Disks::new(&self.paths);
        let read = |disk: &DiskDefinition| {
            let mut layers = disk
                .layers()
                .map(|layer| disks.open(&layer.path, Some(ImageFormat::from(layer.format)), Access::Read).unwrap());
            let mut source = source::open(layers.next().unwrap(), layers.collect()).unwrap();
            let mut bytes = vec![0; source.size() as usize];
            source.read(0, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            bytes[0]
        };
        definition.disks.iter().map(read).collect()
    }

    fn create(&self, name: &str) -> Snapshot {
        let new = NewSnapshot { name: Some(name.to_owned()), description: String::new() };
        self.snapshots.create("web", &new).unwrap()
    }

    fn delete(&self, name: &str) {
        self.snapshots.delete("web", name).unwrap();
        assert!(self.snapshots.merge("web", &|_, _| true).unwrap());
    }

    fn images(&self) -> Vec<String> {
        let entries = fs::read_dir(self.paths.disks()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_guest_goes_back_to_each_of_its_snapshots() {
    let fixture = Fixture::new();
    fixture.create("one");
    (0..2).for_each(|disk| fixture.write(disk, 2));
    fixture.create("two");
    (0..2).for_each(|disk| fixture.write(disk, 3));

    for (name, byte) in [("one", 1), ("two", 2), ("one", 1)] {
        fixture.snapshots.revert("web", name).unwrap();

        assert_eq!(fixture.bytes(&fixture.definition()), [byte, byte], "{name}");
        let tree = fixture.snapshots.tree("web").unwrap();
        assert_eq!(tree.get(tree.current.unwrap()).unwrap().name, name);
    }
    assert_eq!(fixture.images().len(), 2 + 2 + 2, "two bases, the images of \"two\", and the current ones");
}

#[test]
fn a_guest_whose_snapshots_are_deleted_is_what_it_was_before_them() {
    let fixture = Fixture::new();
    let before = fixture.definition();
    fixture.create("one");
    (0..2).for_each(|disk| fixture.write(disk, 2));
    fixture.create("two");
    let preview = fixture.snapshots.preview_delete("web", "one").unwrap();
    assert_eq!((preview.merge.len(), preview.remove.len(), preview.keep.len()), (2, 2, 0));

    fixture.delete("one");
    assert_eq!(fixture.bytes(&fixture.snapshots.tree("web").unwrap().snapshots[0].definition), [2, 2]);
    fixture.write(0, 3);
    fixture.delete("two");

    assert_eq!(fixture.definition(), before);
    assert_eq!(fixture.bytes(&before), [3, 2]);
    assert_eq!(fixture.images(), ["web.qcow2", "web.raw"]);
}

#[test]
fn nothing_happens_to_what_another_guest_is_based_on() {
    let fixture = Fixture::new();
    let snapshot = fixture.create("one");
    let mut other = Definition::new("other");
    let base = &snapshot.definition.disks[1];
    let path = fixture.paths.disks().join("other.qcow2");
    make(&Overlay { path: path.clone(), below: base.layers().collect() }).unwrap();
    other.add_disk(DiskDefinition { backing: base.layers().collect(), ..DiskDefinition::new(path, DiskFormat::Qcow2) });
    fixture.library.create(&other).unwrap();
    let preview = fixture.snapshots.preview_delete("web", "one").unwrap();
    assert_eq!(preview.keep, [Kept { path: base.path.clone(), reason: "\"other\" uses it".to_owned() }]);

    fixture.delete("one");
    fixture.write(1, 2);
    assert_eq!(fixture.bytes(&other), [1]);
    let deleted = fixture.library.delete("web", true).unwrap();

    assert_eq!(deleted.kept, [(base.path.clone(), "\"other\" uses it".to_owned())]);
    assert_eq!(fixture.bytes(&other), [1]);
}

#[test]
fn a_deleted_guest_comes_back_with_its_snapshots() {
    let fixture = Fixture::new();
    fixture.create("one");
    (0..2).for_each(|disk| fixture.write(disk, 2));
    let (tree, images) = (fixture.snapshots.tree("web").unwrap(), fixture.images());

    let deleted = fixture.library.delete("web", true).unwrap();
    assert_eq!((deleted.removed.len(), fixture.images().len()), (4, 0));
    fixture.library.restore("web", Some("again")).unwrap();

    assert_eq!((fixture.snapshots.tree("again").unwrap(), fixture.images()), (tree, images));
    fixture.snapshots.revert("again", "one").unwrap();
    assert_eq!(fixture.bytes(&fixture.library.load("again").unwrap().definition), [1, 1]);
}

#[test]
fn a_clone_of_a_guest_with_snapshots_has_images_of_its_own() {
    let fixture = Fixture::new();
    fixture.create("one");
    fixture.write(0, 2);

    let made =
        clone::clone(&fixture.paths, "web", &NewClone { name: "copy".to_owned(), ..NewClone::default() }, &|_, _| true)
            .unwrap();

    assert!(made.disks.iter().all(|disk| disk.backing.is_empty()));
    assert_eq!(fixture.bytes(&made), [2, 1]);
    assert!(fixture.snapshots.tree("copy").unwrap().snapshots.is_empty());
}

#[test]
fn a_snapshot_is_refused_with_a_name_that_is_taken_or_impossible_and_while_the_guest_runs() {
    let fixture = Fixture::new();
    fixture.create("one");
    let refused = |name: &str| {
        let new = NewSnapshot { name: Some(name.to_owned()), description: String::new() };
        fixture.snapshots.create("web", &new).unwrap_err().to_string()
    };

    assert!(refused("one").contains("already"));
    assert!(refused(" ").contains("no name"));
    let lock = RunLock::acquire(&fixture.paths.run_lock("web")).unwrap().unwrap();
    assert!(refused("two").contains("running"));
    assert!(fixture.snapshots.revert("web", "one").unwrap_err().to_string().contains("running"));
    // It is off before it goes back, and needs nothing of what it has now.
    assert_eq!(fixture.snapshots.preview_revert("web", "one").unwrap().keep, []);
    drop(lock);
    assert!(fixture.snapshots.revert("web", "nine").unwrap_err().to_string().contains("no snapshot \"nine\""));
    assert_eq!(fixture.images().len(), 4);
}

#[test]
fn a_definition_that_was_changed_meanwhile_is_not_overwritten() {
    let fixture = Fixture::new();
    let (guest, _held) = fixture.snapshots.begin("web").unwrap();
    let (change, _) = fixture.snapshots.plan_create(&guest, &NewSnapshot::default()).unwrap();
    let stored = fixture.library.load("web").unwrap();
    let changed = Definition { description: "changed".to_owned(), ..stored.definition };
    fixture.library.save(&changed, &stored.revision).unwrap();

    let error = fixture.snapshots.carry_out(&guest, change).unwrap_err();

    assert!(error.to_string().contains("changed by another program"), "{error}");
    assert_eq!((fixture.definition(), fixture.images().len()), (changed, 2));
}

#[test]
fn the_list_of_an_unknown_version_keeps_everything_as_it_is() {
    let fixture = Fixture::new();
    fixture.create("one");
    let path = fixture.paths.guest_folder("web").join(FILE);
    fs::write(&path, "version = 9\n").unwrap();

    assert!(fixture.snapshots.delete("web", "one").unwrap_err().to_string().contains("version 9"));
    assert!(fixture.snapshots.create("web", &NewSnapshot::default()).is_err());
    assert_eq!(fs::read_to_string(path).unwrap(), "version = 9\n");
}
