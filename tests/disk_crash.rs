//! What `lodgectl disk` does is done or not done, whatever happens meanwhile: the program is killed, the file system is full,
//! a person presses Ctrl+C.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs::{self, OpenOptions},
    hint,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    home::{Home, signal},
    qemu,
};
use fastrand::Rng;

const MIB: u64 = 1 << 20;
/// So often each operation is killed.
const KILLS: u32 = 25;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How long the operation takes when nobody disturbs it.
fn duration(home: &Home, arguments: &[&str]) -> Duration {
    let start = Instant::now();
    home.done(arguments);
    start.elapsed()
}

/// Runs the operation and kills it after `moment`. Whether it was done by then does not matter.
fn kill(home: &Home, arguments: &[&str], moment: Duration) {
    let start = Instant::now();
    let mut command = home.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A sleep would be too coarse: the steps are some microseconds apart.
    while start.elapsed() < moment {
        hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Moments from before the operation's first step to after its last.
fn moments(rng: &mut Rng, whole: Duration) -> Vec<Duration> {
    (0..KILLS).map(|_| whole.mul_f64(rng.f64() * 1.2)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn virtual_size(home: &Home, path: &Path) -> u64 {
    home.json(&["disk", "info", text(path), "--format", "qcow2", "--json"])["virtual_size"].as_u64().unwrap()
}

/// A qcow2 image with small clusters, so that everything takes many steps, and its content.
fn image(home: &Home, size: u64) -> (std::path::PathBuf, std::path::PathBuf) {
    let (disk, model) = (home.path().join("disk.qcow2"), home.path().join("model.raw"));
    home.done(&["disk", "create", text(&disk), "--size", &size.to_string(), "--cluster-size", "512"]);
    let writes = (0..8u64).map(|part| format!("write -P {} {} 200k", part + 1, part * size / 8));
    qemu::io(&disk, "qcow2", &writes.collect::<Vec<_>>());
    qemu::img(&["convert", "-f", "qcow2", "-O", "raw", text(&disk), text(&model)]);
    (disk, model)
}

#[test]
fn a_new_image_is_there_whole_or_not_at_all() {
    let home = Home::default();
    let mut rng = Rng::with_seed(1);
    let (source, model) = image(&home, 8 * MIB);
    let folder = home.path().join("new");
    let target = folder.join("new.qcow2");
    let create = ["disk", "create", text(&target), "--size", "2GiB", "--preallocate", "metadata"];
    let convert = ["disk", "convert", text(&source), text(&target), "--format", "qcow2", "--cluster-size", "512"];
    for arguments in [&create[..], &convert] {
        fs::create_dir(&folder).unwrap();
        let whole = duration(&home, arguments);
        for moment in moments(&mut rng, whole) {
            fs::remove_file(&target).ok();
            kill(&home, arguments, moment);
            if names(&folder).is_empty() {
                continue;
            }
            assert_eq!(names(&folder), ["new.qcow2"], "{moment:?} of {whole:?}");
            assert_eq!(qemu::check(&target), (0, 0), "{moment:?} of {whole:?}");
            if arguments[1] == "convert" {
                qemu::assert_equal((&target, "qcow2"), (&model, "raw"));
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_replaced_image_is_the_old_or_the_new_one() {
    let home = Home::default();
    let mut rng = Rng::with_seed(2);
    let (source, model) = image(&home, 8 * MIB);
    let folder = home.path().join("new");
    fs::create_dir(&folder).unwrap();
    let target = folder.join("disk.raw");
    let replace = ["disk", "convert", text(&source), text(&target), "--format", "raw", "--force"];
    fs::write(&target, "old").unwrap();
    let whole = duration(&home, &replace);
    for moment in moments(&mut rng, whole) {
        fs::write(&target, "old").unwrap();
        kill(&home, &replace, moment);
        if fs::metadata(&target).unwrap().len() > 3 {
            qemu::assert_equal((&target, "raw"), (&model, "raw"));
        } else {
            assert_eq!(fs::read(&target).unwrap(), b"old");
        }
    }
    home.done(&replace);
    assert_eq!(names(&folder), ["disk.raw"], "the last one has removed what the others left");
}

#[test]
fn a_resized_image_has_the_old_or_the_new_size_and_loses_nothing() {
    let home = Home::default();
    let mut rng = Rng::with_seed(3);
    let (disk, model) = image(&home, 8 * MIB);
    let (before, content) = (fs::read(&disk).unwrap(), fs::read(&model).unwrap());
    for size in [600 * MIB, 2 * MIB + 512] {
        let sized = size.to_string();
        let resize = ["disk", "resize", text(&disk), &sized, "--format", "qcow2", "--shrink"];
        let whole = duration(&home, &resize);
        for moment in moments(&mut rng, whole) {
            fs::write(&disk, &before).unwrap();
            kill(&home, &resize, moment);

            let (corruptions, leaks) = qemu::check(&disk);
            assert_eq!(corruptions, 0, "{moment:?} of {whole:?}");
            let now = virtual_size(&home, &disk);
            assert!(now == 8 * MIB || now == size, "{now}");
            fs::write(&model, &content).unwrap();
            let shape = OpenOptions::new().write(true).open(&model).unwrap();
            shape.set_len(now).unwrap();
            qemu::assert_equal((&disk, "qcow2"), (&model, "raw"));
            if leaks > 0 {
                home.done(&["disk", "check", text(&disk), "--format", "qcow2", "--repair", "leaks"]);
            }
            assert_eq!(qemu::check(&disk), (0, 0));
            // What was cut off does not come back when the disk grows again.
            home.done(&["disk", "resize", text(&disk), "700MiB", "--format", "qcow2"]);
            shape.set_len(700 * MIB).unwrap();
            assert_eq!(qemu::check(&disk), (0, 0));
            qemu::assert_equal((&disk, "qcow2"), (&model, "raw"));
        }
        fs::write(&disk, &before).unwrap();
    }
}

#[test]
fn a_clone_has_its_disk_or_is_not_there() {
    let home = Home::default();
    let mut rng = Rng::with_seed(4);
    let (disk, model) = image(&home, 8 * MIB);
    home.done(&["create", "web", "--disk", text(&disk)]);
    let clone = ["clone", "web", "copy"];
    let whole = duration(&home, &clone);
    let made = home.path().join("data/lodge/disks/copy.qcow2");
    for moment in moments(&mut rng, whole) {
        // An image that has its name already, and no guest yet, is whole, too.
        match home.run(&["delete", "copy", "--disks"]).status.success() {
            true => assert!(!made.exists()),
            false => drop(fs::remove_file(&made)),
        }
        kill(&home, &clone, moment);

        let cloned = home.run(&["info", "copy"]).status.success();
        assert!(made.exists() || !cloned, "{moment:?} of {whole:?}");
        if made.exists() {
            qemu::assert_equal((&made, "qcow2"), (&model, "raw"));
        }
        assert!(names(made.parent().unwrap()).len() <= 1);
    }
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let home = Home::default();
    let source = home.file("source.raw", &vec![7; 64 << 20]);
    let folder = home.path().join("new");
    fs::create_dir(&folder).unwrap();
    let target = folder.join("new.qcow2");
    let mut command = home.command(&[
        "disk",
        "convert",
        &source,
        text(&target),
        "--from-format",
        "raw",
        "--format",
        "qcow2",
        "--cluster-size",
        "512",
    ]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = child.id();
    home.wait_for("the new image to be written", || {
        let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
        files.into_iter().any(|file| {
            let new = fs::read_link(file.path()).is_ok_and(|path| path.starts_with(&folder));
            new && fs::metadata(file.path()).is_ok_and(|metadata| metadata.len() > MIB)
        })
    });

    signal(&process.to_string(), "INT");

    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: stopped") && stderr.lines().count() == 1, "{stderr:?}");
    assert!(names(&folder).is_empty());
}

/// Runs a script with a small file system of its own as current folder, and returns what it writes. Only root can have one;
/// for others the test is skipped, which it says.
fn on_a_small_file_system(home: &Home, script: &str) -> Option<String> {
    let folder = home.path().join("small");
    fs::create_dir_all(&folder).unwrap();
    let whole = format!("mount -t tmpfs -o size=4m tmpfs . && cd \"$PWD\" || exit 77\n{script}");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &whole])
        .current_dir(&folder)
        .envs(home.command(&[]).get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
    let output = command.env("LODGECTL", env!("CARGO_BIN_EXE_lodgectl")).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        return Some(format!("{stdout}{stderr}"));
    }
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    assert!(!is_root && stderr.contains("unshare"), "{stdout}{stderr}");
    println!("skipped: only root has file systems of its own");
    None
}

#[test]
fn a_full_file_system_is_told_and_keeps_nothing_half_made() {
    let home = Home::default();
    let (source, _) = image(&home, 8 * MIB);
    fs::rename(&source, home.path().join("source.qcow2")).unwrap();
    home.file("data.raw", &vec![7; 8 << 20]);
    let script = r#"
        refuse() { "$LODGECTL" disk "$@" && echo "DONE: $*"; ls -A; }
        refuse create ./full.raw --size 8MiB --format raw --preallocate full
        refuse create ./full.qcow2 --size 8MiB --preallocate full
        refuse convert ../data.raw ./full.qcow2 --from-format raw --format qcow2
        refuse convert ../data.raw ./full.raw --from-format raw --format raw
        echo old >kept
        refuse convert ../data.raw ./kept --from-format raw --format raw --force
        cat kept; rm kept
        cp ../source.qcow2 disk.qcow2
        head -c 8M /dev/zero >filler 2>/dev/null
        "$LODGECTL" disk resize ./disk.qcow2 900MiB --format qcow2 && echo "DONE: resize"
        "$LODGECTL" disk info ./disk.qcow2
        cmp disk.qcow2 ../source.qcow2 && echo unchanged
        rm filler
        "$LODGECTL" disk resize ./disk.qcow2 900MiB --format qcow2
        "$LODGECTL" disk check ./disk.qcow2
    "#;

    let Some(told) = on_a_small_file_system(&home, script) else { return };

    let errors: Vec<_> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 6, "{told}");
    assert!(errors.iter().all(|error| error.contains("Make room")), "{told}");
    let rest: Vec<_> = told.lines().filter(|line| !line.starts_with("error: ")).collect();
    assert_eq!(rest[..2], ["kept", "old"], "nothing else was left: {told}");
    assert!(told.contains("Size          8 MiB") && told.contains("unchanged"), "{told}");
    assert!(told.contains("has 900 MiB now") && told.contains("Nothing is wrong"), "{told}");
}
