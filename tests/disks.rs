//! Disk images as `lodgectl disk` makes, resizes, converts and mends them: QEMU's tools agree after every step.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use common::{code, home::Home, kvm, qemu};
use fastrand::Rng;
use serde_json::json;

const MIB: u64 = 1 << 20;
/// Every size that a cluster can have.
const CLUSTERS: [u64; 13] =
    [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072, 262_144, 524_288, 1_048_576, 2_097_152];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Both find nothing wrong.
#[track_caller]
fn assert_clean(home: &Home, path: &Path) {
    assert_eq!(qemu::check(path), (0, 0), "{}", path.display());
    let report = home.json(&["disk", "check", text(path), "--format", "qcow2", "--json"]);
    assert_eq!((&report["corruptions"], &report["leaks"]), (&json!(0), &json!(0)), "{report}");
}

/// Writes compressed clusters into an empty image.
fn compress(rng: &mut Rng, path: &Path, size: u64, cluster: u64) {
    let clusters = rng.choose_multiple(0..size / cluster, 3);
    let write = |index: u64| format!("write -c -P {} {} {cluster}", index % 255 + 1, index * cluster);
    qemu::io(path, "qcow2", &clusters.into_iter().map(write).collect::<Vec<_>>());
}

/// Writes at random: data, zeroes, discards.
fn scribble(rng: &mut Rng, path: &Path, size: u64) {
    let commands: Vec<String> = (0..6)
        .map(|_| {
            let (offset, length) = (rng.u64(0..size / 512) * 512, rng.u64(1..256) * 512);
            let length = length.min(size - offset);
            match rng.u8(0..6) {
                0 => format!("write -z {offset} {length}"),
                1 => format!("discard {offset} {length}"),
                _ => format!("write -P {} {offset} {length}", rng.u8(1..)),
            }
        })
        .collect();
    qemu::io(path, "qcow2", &commands);
}

#[test]
fn qemu_agrees_with_every_resize_of_images_of_either_side() {
    let home = Home::default();
    for (number, cluster) in CLUSTERS.into_iter().enumerate() {
        for compat in ["0.10", "1.1", "ours"] {
            let mut rng = Rng::with_seed(number as u64);
            let (disk, model) = (home.path().join("disk.qcow2"), home.path().join("model.raw"));
            fs::remove_file(&disk).ok();
            let mut size = 8 * MIB - rng.u64(0..100) * 512;
            let (sized, clustered) = (size.to_string(), cluster.to_string());
            if compat == "ours" {
                home.done(&["disk", "create", text(&disk), "--size", &sized, "--cluster-size", &clustered]);
            } else {
                let options = format!("compat={compat},cluster_size={cluster}");
                qemu::img(&["create", "-q", "-f", "qcow2", "-o", &options, text(&disk), &sized]);
            }
            assert_clean(&home, &disk);
            compress(&mut rng, &disk, size, cluster);
            scribble(&mut rng, &disk, size);
            qemu::img(&["convert", "-f", "qcow2", "-O", "raw", text(&disk), text(&model)]);
            for _ in 0..4 {
                // What is cut off must not come back, so smaller and larger take turns.
                size =
                    if size > 10 * MIB { rng.u64(1..8 * MIB / 512) } else { rng.u64(20 * MIB / 512..80 * MIB / 512) }
                        * 512;
                home.done(&["disk", "resize", text(&disk), &size.to_string(), "--format", "qcow2", "--shrink"]);
                OpenOptions::new().write(true).open(&model).unwrap().set_len(size).unwrap();

                assert_clean(&home, &disk);
                qemu::assert_equal((&disk, "qcow2"), (&model, "raw"));
            }
            // The other side goes on with what we have left.
            scribble(&mut rng, &disk, size);
            assert_clean(&home, &disk);
        }
    }
}

#[test]
fn conversions_keep_every_byte_and_every_hole() {
    let home = Home::default();
    let mut rng = Rng::with_seed(7);
    let (first, second, raw) =
        (home.path().join("first.qcow2"), home.path().join("second.qcow2"), home.path().join("disk.raw"));
    for cluster in CLUSTERS {
        for compat in ["0.10", "1.1"] {
            // Whole sectors, not whole clusters.
            let size = 6 * MIB + 512 * rng.u64(1..1000);
            let options = format!("compat={compat},cluster_size={cluster}");
            qemu::img(&["create", "-q", "-f", "qcow2", "-o", &options, text(&first), &size.to_string()]);
            compress(&mut rng, &first, size, cluster);
            scribble(&mut rng, &first, size);

            home.done(&["disk", "convert", text(&first), text(&raw), "--format", "raw", "--force"]);
            let clustered = cluster.to_string();
            home.done(&[
                "disk",
                "convert",
                text(&raw),
                text(&second),
                "--from-format",
                "raw",
                "--format",
                "qcow2",
                "--cluster-size",
                &clustered,
                "--force",
            ]);

            qemu::assert_equal((&first, "qcow2"), (&raw, "raw"));
            qemu::assert_equal((&first, "qcow2"), (&second, "qcow2"));
            assert_clean(&home, &second);
        }
    }
    // What is zero takes no room, whether it was a hole or not.
    let sparse = home.file("sparse.raw", &vec![0; 4 << 20]);
    OpenOptions::new().write(true).open(&sparse).unwrap().write_all_at(&[1; 4096], MIB).unwrap();
    OpenOptions::new().write(true).open(&sparse).unwrap().set_len(1 << 30).unwrap();
    home.done(&["disk", "convert", &sparse, text(&raw), "--from-format", "raw", "--format", "raw", "--force"]);
    home.done(&["disk", "convert", &sparse, text(&second), "--from-format", "raw", "--format", "qcow2", "--force"]);
    qemu::assert_equal((Path::new(&sparse), "raw"), (&raw, "raw"));
    for path in [&raw, &second] {
        assert!(fs::metadata(path).unwrap().blocks() * 512 < MIB, "{}", path.display());
    }
}

#[test]
fn disks_of_vmware_are_read() {
    let home = Home::default();
    let (vmdk, copy) = (home.path().join("old.vmdk"), home.path().join("new.qcow2"));
    let source = home.path().join("source.qcow2");
    qemu::img(&["create", "-q", "-f", "qcow2", text(&source), "70M"]);
    scribble(&mut Rng::with_seed(3), &source, 70 * MIB);
    qemu::io(&source, "qcow2", &["write -P 9 40M 3M".to_owned()]);
    for kind in ["monolithicSparse", "streamOptimized", "monolithicFlat"] {
        qemu::img(&["convert", "-O", "vmdk", "-o", &format!("subformat={kind}"), text(&source), text(&vmdk)]);

        home.done(&["disk", "convert", text(&vmdk), text(&copy), "--format", "qcow2", "--force"]);

        qemu::assert_equal((&source, "qcow2"), (&copy, "qcow2"));
        assert_eq!(home.json(&["disk", "info", text(&vmdk), "--json"])["virtual_size"], 70 * MIB, "{kind}");
    }
    // A descriptor that names a file elsewhere is not believed.
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let secret = elsewhere.join("secret");
    fs::write(&secret, [b's'; 4096]).unwrap();
    let descriptor = fs::read_to_string(&vmdk).unwrap();
    for name in [text(&secret), "elsewhere/secret", "../secret"] {
        let lines = descriptor.lines().map(|line| match line.starts_with("RW ") {
            true => format!("RW 8 FLAT \"{name}\" 0\n"),
            false => format!("{line}\n"),
        });
        fs::write(&vmdk, lines.collect::<String>()).unwrap();
        home.refused(&["disk", "convert", text(&vmdk), text(&copy), "--format", "raw", "--force"]);
    }
}

#[test]
fn chains_are_read_only_as_a_person_names_them() {
    let home = Home::default();
    let path = |name: &str| home.path().join(name);
    let (base, middle, top) = (path("base.raw"), path("middle.qcow2"), path("top.qcow2"));
    fs::write(&base, (0..3 * MIB).map(|at| (at / 512) as u8).collect::<Vec<_>>()).unwrap();
    let layer = |path: &Path, below: &Path, format: &str, size: &[&str]| {
        let arguments = ["disk", "create", text(path), "--backing", text(below), "--backing-format", format];
        home.done(&[&arguments[..], size].concat());
    };
    layer(&middle, &base, "raw", &[]);
    qemu::io(&middle, "qcow2", &["write -P 1 1M 100k".to_owned()]);
    // Smaller than what is below it: growing must not show that.
    layer(&top, &middle, "qcow2", &["--size", "2MiB"]);
    qemu::io(&top, "qcow2", &["write -P 2 1000k 200k".to_owned()]);

    let info = home.json(&["disk", "info", text(&top), "--json"]);
    assert_eq!(info["virtual_size"], 2 * MIB);
    let names: Vec<_> = info["backing_chain"].as_array().unwrap().iter().map(|below| &below["name"]).collect();
    assert_eq!(names, [text(&middle), text(&base)]);
    let convert = ["disk", "convert", text(&top), text(&path("whole.raw")), "--format", "raw"].map(str::to_owned);
    let convert: Vec<&str> = convert.iter().map(String::as_str).collect();
    assert!(
        home.refused(&convert).contains("If you trust it, add --backing"),
        "nothing is read that only a header names"
    );
    let middle_only = [&convert[..], &["--backing", text(&middle), "--backing-format", "qcow2"]].concat();
    assert!(home.refused(&middle_only).contains("it is based on"));
    let chain = [&middle_only[..], &["--backing", text(&base), "--backing-format", "raw"]].concat();
    home.done(&chain);
    qemu::assert_equal((&top, "qcow2"), (&path("whole.raw"), "raw"));

    let before = fs::read(path("whole.raw")).unwrap();
    home.done(&["disk", "resize", text(&top), "200MiB", "--format", "qcow2"]);
    assert_clean(&home, &top);
    home.done(&[&chain[..], &["--force"]].concat());
    let after = fs::read(path("whole.raw")).unwrap();
    assert!(after[..before.len()] == before && after[before.len()..].iter().all(|&byte| byte == 0));
    qemu::assert_equal((&top, "qcow2"), (&path("whole.raw"), "raw"));
}

#[test]
fn the_largest_disks_cost_no_more_than_small_ones() {
    let home = Home::default();
    let (ours, theirs) = (home.path().join("ours.qcow2"), home.path().join("theirs.qcow2"));
    home.done(&["disk", "create", text(&ours), "--size", "4TiB"]);
    qemu::img(&["create", "-q", "-f", "qcow2", text(&theirs), "4T"]);
    for disk in [&ours, &theirs] {
        for offset in ["0", "1T", "4398046510080"] {
            qemu::io(disk, "qcow2", &[format!("write -P 5 {offset} 1k")]);
        }
        assert_clean(&home, disk);
        home.done(&["disk", "resize", text(disk), "+60TiB", "--format", "qcow2"]);
        qemu::io(disk, "qcow2", &["write -P 6 60T 64k".to_owned()]);
        assert_clean(&home, disk);
        home.done(&["disk", "resize", text(disk), "4TiB", "--format", "qcow2", "--shrink"]);
        assert_clean(&home, disk);
        let copy = home.path().join("copy.qcow2");
        home.done(&["disk", "convert", text(disk), text(&copy), "--format", "qcow2", "--force"]);
        assert_clean(&home, &copy);
        qemu::assert_equal((disk, "qcow2"), (&copy, "qcow2"));
        assert!(fs::metadata(&copy).unwrap().blocks() * 512 < MIB);
    }
}

#[test]
fn an_image_gets_more_room_for_its_reference_counts_when_it_needs_it() {
    let home = Home::default();
    let (disk, model) = (home.path().join("disk.qcow2"), home.path().join("model.raw"));
    // One cluster of the refcount table counts 8 MiB of clusters of 512 bytes.
    for written in (6 * MIB + 300 * 1024..8 * MIB).step_by(350 << 10) {
        fs::remove_file(&disk).ok();
        home.done(&["disk", "create", text(&disk), "--size", "8MiB", "--cluster-size", "512"]);
        qemu::io(&disk, "qcow2", &[format!("write -P 3 0 {}", written / 512 * 512)]);
        qemu::img(&["convert", "-f", "qcow2", "-O", "raw", text(&disk), text(&model)]);
        for size in [2048 * MIB, 4096 * MIB] {
            home.done(&["disk", "resize", text(&disk), &size.to_string(), "--format", "qcow2"]);
            assert_clean(&home, &disk);
        }
        OpenOptions::new().write(true).open(&model).unwrap().set_len(4096 * MIB).unwrap();
        qemu::assert_equal((&disk, "qcow2"), (&model, "raw"));
    }
    let refused = home.refused(&["disk", "resize", text(&disk), "1TiB", "--format", "qcow2"]);
    assert!(refused.contains("larger --cluster-size"), "{refused}");
}

/// Overwrites 8 bytes somewhere in a table.
fn corrupt(rng: &mut Rng, path: &Path, at: u64, value: impl Fn(u64) -> u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let place = at + rng.u64(0..8) * 8;
    let mut entry = [0; 8];
    file.read_exact_at(&mut entry, place).unwrap();
    file.write_all_at(&value(u64::from_be_bytes(entry)).to_be_bytes(), place).unwrap();
}

#[test]
fn what_is_wrong_is_found_as_qemu_finds_it_and_mended_where_nothing_can_be_lost() {
    let home = Home::default();
    let disk = home.path().join("disk.qcow2");
    let whole = home.path().join("whole.raw");
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let bits = 1 << rng.u32(0..7);
        fs::remove_file(&disk).ok();
        qemu::img(&["create", "-q", "-f", "qcow2", "-o", &format!("refcount_bits={bits}"), text(&disk), "4M"]);
        qemu::io(&disk, "qcow2", &["write -P 7 0 1M".to_owned()]);
        fs::copy(&disk, &whole).unwrap();
        // As qemu-img lays images out: header, refcount table, refcount block, L1 table, then the L2 table.
        let (tables, (at, mask)) = match rng.u8(0..5) {
            0 => (true, (3 << 16, 1 << 63)),  // a flag in the L1 table
            1 => (true, (4 << 16, 1 << 63)),  // flags in the L2 table
            2 => (false, (4 << 16, 1 << 40)), // data behind the file's end
            3 => (true, (2 << 16, rng.u64(1..) & 0x0101_0101_0101_0101)),
            _ => (true, (2 << 16, u64::MAX)), // reference counts
        };
        for _ in 0..rng.u8(1..4) {
            corrupt(&mut rng, &disk, at, |entry| if entry == 0 && at == 4 << 16 { 0 } else { entry ^ mask });
        }

        let (corruptions, leaks) = qemu::check(&disk);
        let output = home.run(&["disk", "check", text(&disk), "--format", "qcow2", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

        assert_eq!(report["leaks"], leaks, "seed {seed}: {report}");
        assert_eq!(report["corruptions"].as_u64().unwrap() > 0, corruptions > 0, "seed {seed}: {report}");
        assert_eq!(output.status.success(), corruptions == 0, "seed {seed}");
        let repair =
            |what: &str| ["disk", "check", text(&disk), "--format", "qcow2", "--repair", what].map(str::to_owned);
        let (all, only_leaks) = (repair("all"), repair("leaks"));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        if report["damage"] == 0 {
            if corruptions == 0 {
                let only_leaks: Vec<&str> = only_leaks.iter().map(String::as_str).collect();
                home.done(&only_leaks);
                assert_clean(&home, &disk);
            }
            home.done(&all);
            assert_clean(&home, &disk);
            qemu::assert_equal((&disk, "qcow2"), (&whole, "qcow2"));
        } else {
            assert!(!tables || bits < 16, "seed {seed}: {report}");
            let before = fs::read(&disk).unwrap();
            assert!(home.refused(&all).contains("backup"), "seed {seed}");
            assert_eq!(fs::read(&disk).unwrap(), before, "what cannot be mended is left alone");
        }
    }
}

#[test]
fn an_image_that_was_not_closed_is_mended_before_it_is_changed() {
    let home = Home::default();
    let disk = home.path().join("disk.qcow2");
    qemu::img(&["create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", text(&disk), "4M"]);
    qemu::io(&disk, "qcow2", &["write -P 7 0 1M".to_owned()]);
    let file = File::options().write(true).open(&disk).unwrap();
    file.write_all_at(&[1], 79).unwrap();
    file.write_all_at(&[0; 64], (2 << 16) + 8).unwrap();

    let resize = ["disk", "resize", text(&disk), "8MiB", "--format", "qcow2"];
    assert!(home.refused(&resize).contains("--repair all"));
    home.refused(&["disk", "check", text(&disk), "--format", "qcow2"]);
    home.done(&["disk", "check", text(&disk), "--format", "qcow2", "--repair", "all"]);

    assert_clean(&home, &disk);
    home.done(&resize);
    assert_clean(&home, &disk);
}

#[test]
fn preallocated_images_have_their_room() {
    let home = Home::default();
    for (format, preallocate, least) in
        [("raw", "off", 0), ("raw", "full", 8 * MIB), ("qcow2", "metadata", 0), ("qcow2", "full", 8 * MIB)]
    {
        let name = format!("{format}-{preallocate}");
        let arguments = ["disk", "create", &name, "--size", "8MiB", "--format", format, "--preallocate", preallocate];
        home.done(&arguments);

        let path: PathBuf = home.path().join("data/lodge/disks").join(format!("{name}.{format}"));
        let info = home.json(&["disk", "info", &name, "--format", format, "--json"]);
        assert_eq!(info["virtual_size"], 8 * MIB);
        assert!(info["allocated"].as_u64().unwrap() >= least, "{info}");
        if format == "qcow2" {
            assert_clean(&home, &path);
            assert_eq!(home.json(&["disk", "check", text(&path), "--json"])["allocated_clusters"], 128);
        }
    }
}

#[test]
fn a_disk_of_a_guest_is_known_and_left_alone_while_it_runs() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let boot = home.path().join("boot.img");
    let mut image = code::boot_disk(&[code::HALT]);
    std::io::Seek::rewind(&mut image).unwrap();
    std::io::copy(&mut image, &mut File::create(&boot).unwrap()).unwrap();
    home.done(&["create", "web", "--memory", "16MiB", "--disk", text(&boot), "--disk", "size=1GiB", "--start"]);
    home.done(&["disk", "create", "spare", "--size", "1MiB", "--format", "raw"]);

    let listed = home.json(&["disk", "list", "--json"]);
    assert_eq!(listed[0]["format"], serde_json::Value::Null, "nothing says what a raw image is: {listed}");
    assert_eq!((&listed[1]["format"], &listed[1]["users"][0]["guest"]), (&json!("qcow2"), &json!("web")), "{listed}");
    assert_eq!(home.json(&["disk", "info", "web", "--json"])["users"][0]["running"], true);
    for arguments in [&["disk", "check", "web"][..], &["disk", "convert", "web", "copy", "--format", "raw"]] {
        assert!(home.refused(arguments).contains("in use by \"web\", which runs. Shut it down"), "{arguments:?}");
    }
    assert!(home.done(&["disk", "resize", "web", "2GiB"]).contains("2 GiB now, before 1 GiB. The guest sees that"));
    home.done(&["volume", "resize", "default", "web", "+1GiB"]);
    home.done(&["disk", "resize", text(&boot), "+1MiB"]);
    assert!(
        home.refused(&["disk", "resize", "web", "1GiB", "--shrink"]).contains("\"web\" runs: its disk can only grow")
    );
    let sizes: Vec<_> = home
        .json(&["qmp", "web", "query-block"])
        .as_array()
        .unwrap()
        .iter()
        .map(|disk| disk["inserted"]["image"]["virtual-size"].clone())
        .collect();
    assert_eq!(sizes, [json!(fs::metadata(&boot).unwrap().len()), json!(3u64 << 30)]);
    assert!(home.refused(&["disk", "resize", "spare", "2MiB"]).contains("--format raw"));
    home.done(&["disk", "resize", "spare", "2MiB", "--format", "raw"]);
    let replace = ["disk", "convert", "spare", "web.qcow2", "--from-format", "raw", "--format", "raw", "--force"];
    assert!(home.refused(&replace).contains("\"web\" uses it"));

    home.done(&["destroy", "web"]);
    assert!(home.done(&["disk", "resize", "web", "+1GiB"]).contains("4 GiB now"));
    assert!(home.refused(&["disk", "resize", "web", "1GiB"]).contains("Shrink the partitions"));
    assert_clean(&home, &home.path().join("data/lodge/disks/web.qcow2"));
    home.done(&["start", "web"]);
}

#[test]
fn what_a_killed_worker_has_left_is_mended_before_the_guest_writes_again() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    home.done(&["create", "web", "--memory", "16MiB", "--disk", "size=64MiB"]);
    let disk = home.path().join("data/lodge/disks/web.qcow2");
    let (whole, cluster) = (home.path().join("whole.qcow2"), 1u64 << 16);
    qemu::io(&disk, "qcow2", &["write -P 7 0 1M".to_owned()]);
    fs::copy(&disk, &whole).unwrap();
    let file = OpenOptions::new().write(true).open(&disk).unwrap();
    // The counts of the L2 table and the data, which a worker may not have written yet: the block is in the third cluster.
    file.write_all_at(&[0; 32], 2 * cluster + 8).unwrap();
    assert!(qemu::check(&disk).0 > 0);

    home.done(&["start", "web"]);
    home.done(&["destroy", "web"]);

    assert_clean(&home, &disk);
    qemu::assert_equal((&disk, "qcow2"), (&whole, "qcow2"));
    // A table that leads nowhere cannot be mended: better no start than more damage.
    let info = home.json(&["disk", "info", "web", "--json"]);
    assert_eq!(info["cluster_size"], cluster);
    let mut header = [0; 8];
    File::open(&disk).unwrap().read_exact_at(&mut header, 40).unwrap();
    file.write_all_at(&(1u64 << 40).to_be_bytes(), u64::from_be_bytes(header)).unwrap();
    let refused = home.refused(&["start", "web"]);
    assert!(refused.contains("web.qcow2") && refused.contains("backup"), "{refused}");
}

#[test]
fn a_disk_over_another_one_that_grows_keeps_what_it_shows_of_it() {
    let home = Home::default();
    let path = |name: &str| home.path().join(name);
    let (base, disk, model) = (path("base.raw"), path("disk.qcow2"), path("model.raw"));
    // The base is longer than the disk: what is new is empty all the same.
    fs::write(&base, vec![7; 3 << 20]).unwrap();
    let below = ["--backing", text(&base), "--backing-format", "raw"];
    for written in [false, true] {
        fs::remove_file(&disk).ok();
        home.done(&[&["disk", "create", text(&disk), "--size", "1MiB"][..], &below].concat());
        let mut content = vec![7; 1 << 20];
        if written {
            qemu::io(&disk, "qcow2", &["write -P 9 0 64k".to_owned()]);
            content[..64 << 10].fill(9);
        }

        home.done(&["disk", "resize", text(&disk), "2MiB", "--format", "qcow2"]);

        content.resize(2 << 20, 0);
        fs::write(&model, content).unwrap();
        qemu::assert_equal((&disk, "qcow2"), (&model, "raw"));
        assert_eq!(qemu::check(&disk), (0, 0));
    }
}
