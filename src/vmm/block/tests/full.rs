//! Images that cannot grow, at any byte: what was not written is written when it is tried again, and the image stays sound.
//!
//! The kernel's limit on the size of files stands in for a full disk: it can be moved by single bytes. It is one of the whole
//! process, so each test is its own.

use std::{env, os::unix::fs::MetadataExt, process::Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;

/// Tells the test where its image is.
const VARIABLE: &str = "LODGE_TEST_LIMITED_IMAGE";

/// Runs this test again in a process that only gets errors where it would be ended otherwise.
fn in_a_process_of_its_own(test: &str, image: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(env::current_exe().unwrap());
    command.args(["--exact", &format!("vmm::block::tests::full::{test}"), "--nocapture"]).env(VARIABLE, image);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// No file of this process may be longer.
fn limit(bytes: u64) {
    setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum: None }).unwrap();
}

/// Repeats `attempt`, with a little more room each time, until it is done; returns how often it had failed.
fn until_there_is_room(path: &Path, room: &mut fastrand::Rng, mut attempt: impl FnMut() -> io::Result<()>) -> u32 {
    let mut limited = fs::metadata(path).unwrap().size();
    for failures in 0.. {
        match attempt() {
            Ok(()) => return failures,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
                limited = limited.max(fs::metadata(path).unwrap().size()) + room.u64(1..6000);
                limit(limited);
            }
        }
    }
    unreachable!("it is tried again and again")
}

#[test]
fn a_qcow2_image_that_cannot_grow_stays_sound_and_loses_nothing() {
    if let Some(path) = env::var_os(VARIABLE) {
        return write_with_too_little_room(Path::new(&path));
    }
    for cluster in [512, 4096, 65536] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let options = format!("cluster_size={cluster}");
        qemu_img(&["create", "-q", "-f", "qcow2", "-o", &options, "disk", &SIZE.to_string()], folder.path());

        in_a_process_of_its_own("a_qcow2_image_that_cannot_grow_stays_sound_and_loses_nothing", &path);

        let check = Command::new("qemu-img").args(["check", "-q", "disk"]).current_dir(folder.path()).status().unwrap();
        // Clusters that are lost but harm nobody (3) are given back when a guest starts.
        assert!(matches!(check.code(), Some(0 | 3)), "clusters of {cluster}: {check}");
        qemu_img(&["check", "-q", "-r", "leaks", "disk"], folder.path());
        let length = fs::metadata(&path).unwrap().len();
        assert!(length < 4 * SIZE, "clusters of {cluster}: {length} bytes for {SIZE}");
    }
}

fn write_with_too_little_room(path: &Path) {
    let mut random = fastrand::Rng::with_seed(4);
    let mut model = vec![0; SIZE as usize];
    let (mut failures, buffers) = (0, Buffers::new());
    let disk = open(image(path, Format::Qcow2, true), false, vec![]).unwrap();
    limit(fs::metadata(path).unwrap().size());
    let mut room = fastrand::Rng::with_seed(5);

    for _ in 0..200 {
        let sectors = random.u64(1..=128);
        let offset = random.u64(0..=SIZE / SECTOR - sectors) * SECTOR;
        let (length, range) = (sectors * SECTOR, offset as usize..(offset + sectors * SECTOR) as usize);
        failures += match random.u32(0..10) {
            0 => {
                model[range].fill(0);
                until_there_is_room(path, &mut room, || disk.write_zeroes(offset, length, true))
            }
            1 => until_there_is_room(path, &mut room, || disk.flush()),
            _ => {
                let data = pattern(random.u8(..), length as usize);
                model[range].copy_from_slice(&data);
                until_there_is_room(path, &mut room, || buffers.write(&*disk, offset, &data))
            }
        };
    }
    failures += until_there_is_room(path, &mut room, || disk.flush());
    drop(disk);

    assert!(failures > 100, "{failures}");
    let disk = open(image(path, Format::Qcow2, true), false, vec![]).unwrap();
    assert!(buffers.read(&*disk, 0, SIZE as usize).unwrap() == model);
}
