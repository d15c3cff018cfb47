//! LVM's programs are stand-ins here, over files in a folder: they take and print what lvm2's do.

use std::os::unix::fs::{FileExt, MetadataExt};

use super::*;
use crate::manager::{
    definition::{Definition, DiskDefinition},
    library::Library,
    paths::Paths,
    pool::lvm::{Lvm, LvmError},
    size::MIB,
    testing::write_program,
};

/// Each is `vgs`, `lvs` and so on by its name. A volume group is a folder of files, of 64 MiB.
const PROGRAM: &str = r#"#!/bin/sh
here=$(dirname "$0")
program=$(basename "$0")
for last; do :; done
if [ "$last" = vg_name ]; then echo '{ "report": [ { "vg": [ {"vg_name":"vg0"} ] } ] }'; exit; fi
case $last in *[!-a-zA-Z0-9/]*) echo "  odd name" >&2; exit 5 ;; esac
size() { for word; do case $word in *[0-9]b) echo "${word%b}" ;; esac; done; }
name() { while [ "$1" != --name ]; do shift; done; echo "$2"; }
group=$here/groups/${last%%/*}
if [ "$last" = secret ]; then
    echo "  WARNING: Running as a non-root user. Functionality may be unavailable." >&2
    echo "  /run/lock/lvm/P_global:aux: open failed: Permission denied" >&2
    exit 5
fi
if [ ! -d "$group" ]; then
    echo "  Volume group \"$last\" not found" >&2
    echo "  Cannot process volume group $last" >&2
    exit 5
fi
used() { cat "$group"/* 2>/dev/null | wc -c; }
case $program in
vgs)
    echo '  { "report": [ { "vg": [ {"vg_size":"67108864", "vg_free":"'$((67108864 - $(used)))'", "vg_extent_size":"4194304"} ] } ] }' ;;
lvs)
    echo '  { "report": [ { "lv": ['
    comma=
    for volume in "$group"/*; do
        [ -e "$volume" ] || continue
        echo "$comma"'{"lv_name":"'$(basename "$volume")'", "lv_path":"'$volume'", "lv_size":"'$(stat -c %s "$volume")'", "lv_attr":"-wi-a-----"}'
        comma=,
    done
    echo '], "hidden": [] } ] }' ;;
lvcreate) head -c $((($(size "$@") + 4194303) / 4194304 * 4194304)) /dev/zero | tr '\0' '\377' >"$group/$(name "$@")" ;;
lvextend | lvreduce) truncate -s "$(size "$@")" "$here/groups/$last" ;;
lvremove) rm "$here/groups/$last" ;;
esac
"#;

struct Fixture {
    folder: tempfile::TempDir,
    pools: Pools,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        let programs = folder.path().join("programs");
        fs::create_dir_all(programs.join("groups/vg0")).unwrap();
        fs::create_dir_all(folder.path().join("more")).unwrap();
        write_program(&programs.join("lvm"), PROGRAM).unwrap();
        for program in ["vgs", "lvs", "lvcreate", "lvextend", "lvreduce", "lvremove"] {
            fs::hard_link(programs.join("lvm"), programs.join(program)).unwrap();
        }
        let pools = Pools::with_lvm(&paths, Lvm::in_folder(&programs));
        pools.add("more", Target::Path(folder.path().join("more"))).unwrap();
        pools.add("lvm", Target::VolumeGroup("vg0".into())).unwrap();
        Self { folder, pools }
    }

    fn create(&self, pool: &str, name: &str, size: u64) -> Result<Volume, PoolsError> {
        let preallocation = Preallocation::Off;
        self.pools.create_volume(pool, &NewVolume { name: name.into(), size, format: None, preallocation })
    }

    fn names(&self, pool: &str) -> Vec<String> {
        self.pools.volumes(pool).unwrap().into_iter().map(|volume| volume.name).collect()
    }

    fn guest(&self, disk: &Volume, format: DiskFormat) {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::new(&disk.path, format));
        Library::new(self.pools.paths.clone()).create(&guest).unwrap();
    }

    fn import(&self, pool: &str, source: &Path, format: Option<ImageFormat>) -> Result<Volume, PoolsError> {
        let import = Import { source: source.to_owned(), source_format: format, name: None, format: None };
        self.pools.import_volume(pool, &import, &|_, _| true)
    }
}

const ANYHOW: Watch<'static> = &|_, _| true;

#[test]
fn volumes_are_made_listed_resized_and_deleted_in_every_kind_of_pool() {
    let fixture = Fixture::new();
    assert_eq!(fixture.pools.volume_groups(), ["vg0"]);
    for (pool, name, size) in
        [("default", "web.qcow2", 5 * MIB), ("more", "web.qcow2", 5 * MIB), ("lvm", "web", 8 * MIB)]
    {
        let made = fixture.create(pool, "web", 5 * MIB).unwrap();
        let again = fixture.create(pool, "web", 5 * MIB);
        let (from, to) = fixture.pools.resize_volume(pool, "web", NewSize::Added(4 * MIB), false, ANYHOW).unwrap();

        assert_eq!((made.name.as_str(), made.capacity, made.users.len()), (name, size, 0));
        assert!(again.is_err(), "{pool} has it twice");
        assert_eq!((from, to), (size, size + 4 * MIB));
        assert_eq!(fixture.names(pool), [name]);
        assert_eq!(fixture.pools.info(pool).unwrap().volumes, Some(1));
        fixture.pools.delete_volume(pool, "web").unwrap();
        assert!(fixture.names(pool).is_empty());
        assert!(matches!(fixture.pools.volume(pool, "web"), Err(PoolsError::NoVolume { .. })));
    }
}

#[test]
fn nothing_is_made_smaller_without_being_told_to() {
    let fixture = Fixture::new();
    for pool in ["more", "lvm"] {
        fixture.create(pool, "web", 8 * MIB).unwrap();

        let refused = fixture.pools.resize_volume(pool, "web", NewSize::Whole(4 * MIB), false, ANYHOW);
        let (_, to) = fixture.pools.resize_volume(pool, "web", NewSize::Whole(4 * MIB), true, ANYHOW).unwrap();

        assert!(refused.unwrap_err().to_string().contains("--shrink"));
        assert_eq!(to, 4 * MIB);
    }
}

#[test]
fn a_pool_says_what_it_has_or_why_it_cannot() {
    let fixture = Fixture::new();
    fixture.create("lvm", "web", 8 * MIB).unwrap();

    let lvm = fixture.pools.info("lvm").unwrap();
    let folder = fixture.pools.info("more").unwrap();
    fs::remove_dir(fixture.folder.path().join("more")).unwrap();
    let gone = fixture.pools.info("more").unwrap();

    assert_eq!((lvm.kind, lvm.capacity, lvm.allocation), ("lvm", Some(64 * MIB), Some(8 * MIB)));
    assert_eq!((folder.kind, folder.volumes, folder.problem), ("folder", Some(0), None));
    assert!(folder.capacity > folder.free);
    // Its file system is that of the folder above; what is in it is not known.
    assert_eq!(gone.volumes, Some(0));
}

#[test]
fn what_a_guest_or_an_image_needs_is_not_deleted() {
    let fixture = Fixture::new();
    let used = fixture.create("more", "used", MIB).unwrap();
    fixture.guest(&used, DiskFormat::Qcow2);
    let base = fixture.create("more", "base", MIB).unwrap();
    let above = NewImage {
        size: None,
        format: DiskFormat::Qcow2,
        backing: Some(crate::manager::storage::create::BackingFile {
            path: base.path.clone(),
            format: DiskFormat::Qcow2,
        }),
        preallocation: Preallocation::Off,
        cluster_size: None,
    };
    fixture.pools.disks.create(&fixture.folder.path().join("more/above.qcow2"), &above).unwrap();

    let by_guest = fixture.pools.delete_volume("more", "used").unwrap_err().to_string();
    let by_image = fixture.pools.delete_volume("more", "base").unwrap_err().to_string();

    assert!(by_guest.contains("\"web\""), "{by_guest}");
    assert!(by_image.contains("above.qcow2 is based on it"), "{by_image}");
    assert_eq!(fixture.names("more"), ["above.qcow2", "base.qcow2", "used.qcow2"]);
    assert_eq!(fixture.pools.volume("more", "used").unwrap().users[0].guest, "web");
}

#[test]
fn what_another_program_uses_is_left_alone() {
    let fixture = Fixture::new();
    for pool in ["more", "lvm"] {
        let volume = fixture.create(pool, "web", 4 * MIB).unwrap();
        let theirs = fixture.pools.disks.open(&volume.path, volume.format, Access::Write).unwrap();

        let deleted = fixture.pools.delete_volume(pool, "web").unwrap_err().to_string();
        let resized = fixture.pools.resize_volume(pool, "web", NewSize::Added(MIB), false, ANYHOW);

        assert!(deleted.contains("in use") && resized.unwrap_err().to_string().contains("in use"), "{deleted}");
        drop(theirs);
        fixture.pools.delete_volume(pool, "web").unwrap();
    }
}

#[test]
fn an_image_is_imported_with_all_that_is_in_it_and_its_zeroes() {
    let fixture = Fixture::new();
    let source = fixture.folder.path().join("old.img");
    let file = File::create(&source).unwrap();
    file.set_len(6 * MIB).unwrap();
    file.write_all_at(&[7; 8192], 3 * MIB).unwrap();

    let image = fixture.import("more", &source, Some(ImageFormat::Raw)).unwrap();
    let logical = fixture.import("lvm", &image.path, Some(ImageFormat::Raw)).unwrap();

    assert_eq!((image.name.as_str(), image.capacity, logical.name.as_str()), ("old.raw", 6 * MIB, "old"));
    assert!(fs::metadata(&image.path).unwrap().blocks() * 512 < MIB, "its holes are holes");
    let expected = fs::read(&source).unwrap();
    assert!(fs::read(&image.path).unwrap() == expected);
    assert!(fs::read(&logical.path).unwrap()[..6 << 20] == expected[..], "what was there before is gone");
}

#[test]
fn an_import_that_is_stopped_leaves_nothing() {
    let fixture = Fixture::new();
    let source = fixture.folder.path().join("old.raw");
    fs::write(&source, vec![7; 6 << 20]).unwrap();
    let import = Import { source, source_format: Some(ImageFormat::Raw), name: Some("new".into()), format: None };
    for pool in ["more", "lvm"] {
        let stopped = fixture.pools.import_volume(pool, &import, &|_, _| false);

        assert!(stopped.unwrap_err().to_string().contains("stopped"));
        assert!(fixture.names(pool).is_empty());
    }
}

#[test]
fn what_lvm_says_is_told_with_how_to_mend_it() {
    let fixture = Fixture::new();
    let add = |group: &str| fixture.pools.add("x", Target::VolumeGroup(group.into())).unwrap_err();

    assert!(matches!(add("missing"), PoolsError::Lvm(LvmError::NoGroup(_))));
    assert!(matches!(add("secret"), PoolsError::Lvm(LvmError::Rights(_))));
    assert!(matches!(add("--all"), PoolsError::Lvm(LvmError::Name { .. })));
    assert!(matches!(add("a b"), PoolsError::Lvm(LvmError::Name { .. })));
    for name in ["-y", "a/b", "snapshot1", "x_rimage_0", ""] {
        assert!(matches!(fixture.create("lvm", name, MIB), Err(PoolsError::Lvm(LvmError::Name { .. }))), "{name}");
    }
    let large = fixture.create("lvm", "large", 65 * MIB).unwrap_err().to_string();
    assert!(large.contains("64.0 MiB of the volume group are free"), "{large}");
    let none = Lvm::in_folder(fixture.folder.path()).group("vg0").unwrap_err();
    assert!(matches!(none, LvmError::Missing("vgs")) && none.to_string().contains("lvm2"));
}

#[test]
fn names_stay_inside_their_pool() {
    let fixture = Fixture::new();

    for name in ["", "../x", "a/b", ".x", "-x"] {
        assert!(matches!(fixture.create("more", name, MIB), Err(PoolsError::Name { .. })), "{name}");
    }
}
