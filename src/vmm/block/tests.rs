//! Every format does the same to the disk's bytes. qcow2 images are made and looked at by QEMU's own `qemu-img`.

pub mod faults;
mod full;
mod merging;

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command};

use tempfile::TempDir;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{drive::Drive, *};
use crate::vmm::{memory::GuestMemory, virtio::testing};

const SIZE: u64 = 1 << 20;

/// Guest memory that disks read into and write from.
struct Buffers(std::sync::Arc<GuestMemory>);

impl Buffers {
    fn new() -> Self {
        Self(testing::memory())
    }

    /// Pieces of guest memory with gaps between them, filled with `bytes`.
    fn pieces(&self, lengths: &[usize], bytes: &[u8]) -> Vec<GuestSlice<'_>> {
        let (mut address, mut at) = (0x1000, 0);
        let mut pieces = Vec::new();
        for &length in lengths {
            self.0.write_slice(&bytes[at..at + length], GuestAddress(address)).unwrap();
            pieces.push(self.0.get_slice(GuestAddress(address), length).unwrap());
            address += length as u64 + 17;
            at += length;
        }
        pieces
    }

    fn write(&self, disk: &dyn Disk, offset: u64, bytes: &[u8]) -> io::Result<()> {
        disk.write(offset, &self.pieces(&[bytes.len()], bytes))
    }

    fn read(&self, disk: &dyn Disk, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let pieces = self.pieces(&[length], &vec![0xee; length]);
        disk.read(offset, &pieces)?;
        Ok(contents(&pieces))
    }
}

fn contents(pieces: &[GuestSlice<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        let start = bytes.len();
        bytes.resize(start + piece.len(), 0);
        piece.copy_to(&mut bytes[start..]);
    }
    bytes
}

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

fn qemu_img(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new("qemu-img").args(arguments).current_dir(folder).output();
    let output = output.expect("qemu-img is missing. install the package qemu-utils (resources/setup.sh does)");
    assert!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn image(path: &Path, format: Format, writable: bool) -> Image {
    Image { file: fs::File::options().read(true).write(writable).open(path).unwrap(), format }
}

/// An empty disk of [`SIZE`] bytes of every format.
fn disks() -> Vec<(Format, TempDir, Box<dyn Disk>)> {
    [Format::Raw, Format::Qcow2]
        .into_iter()
        .map(|format| {
            let folder = tempfile::tempdir().unwrap();
            qemu_img(&["create", "-q", "-f", &format.to_string(), "disk", "1M"], folder.path());
            let disk = open(image(&folder.path().join("disk"), format, true), false, vec![]).unwrap();
            (format, folder, disk)
        })
        .collect()
}

#[test]
fn what_was_written_is_read_whatever_the_pieces() {
    for (format, _folder, disk) in disks() {
        let buffers = Buffers::new();
        let data = pattern(1, 8192);

        disk.write(1536, &buffers.pieces(&[1, 511, 4096, 3000, 584], &data)).unwrap();
        let pieces = buffers.pieces(&[100, 8000, 92], &vec![0; 8192]);
        disk.read(1536, &pieces).unwrap();

        assert_eq!(contents(&pieces), data, "{format}");
        assert_eq!(buffers.read(&*disk, 1024, 512).unwrap(), [0; 512], "{format}: in front of it");
        assert_eq!(disk.capacity(), SIZE);
    }
}

#[test]
fn more_pieces_than_one_call_takes_are_no_problem() {
    for (format, _folder, disk) in disks() {
        let buffers = Buffers::new();
        let data = pattern(2, 512 * 150);
        let many = vec![512; 150];

        disk.write(0, &buffers.pieces(&many, &data)).unwrap();

        assert_eq!(buffers.read(&*disk, 0, data.len()).unwrap(), data, "{format}");
    }
}

#[test]
fn requests_outside_of_the_disk_or_between_sectors_are_refused() {
    for (format, _folder, disk) in disks() {
        let buffers = Buffers::new();
        for (offset, length) in [(SIZE, 512), (SIZE - 512, 1024), (u64::MAX - 511, 512), (1, 512), (0, 511)] {
            let data = vec![1; length];
            let kinds = [
                buffers.read(&*disk, offset, length).unwrap_err().kind(),
                buffers.write(&*disk, offset, &data).unwrap_err().kind(),
                disk.discard(offset, length as u64).unwrap_err().kind(),
                disk.write_zeroes(offset, length as u64, true).unwrap_err().kind(),
                disk.write_zeroes(offset, length as u64, false).unwrap_err().kind(),
            ];

            assert_eq!(kinds, [io::ErrorKind::InvalidInput; 5], "{format} {offset} {length}");
        }
    }
}

#[test]
fn zeroes_and_discards_reach_exactly_their_range() {
    for (format, _folder, disk) in disks() {
        let buffers = Buffers::new();
        let data = pattern(3, SIZE as usize);
        buffers.write(&*disk, 0, &data).unwrap();

        disk.write_zeroes(512, 1024, false).unwrap();
        disk.write_zeroes(65536 + 512, 3 * 65536, true).unwrap();
        disk.discard(10 * 65536, 65536).unwrap();
        disk.write_zeroes(0, 0, true).unwrap();
        disk.flush().unwrap();

        let read = buffers.read(&*disk, 0, data.len()).unwrap();
        let zeroed = [512..1536, 66048..66048 + 3 * 65536];
        for (at, byte) in read.iter().enumerate() {
            if zeroed.iter().any(|range| range.contains(&at)) {
                assert_eq!(*byte, 0, "{format} at {at}");
            } else if !(10 * 65536..11 * 65536).contains(&at) {
                assert_eq!(*byte, data[at], "{format} at {at}");
            }
        }
    }
}

#[test]
fn a_read_only_disk_is_read_and_nothing_else() {
    for (format, folder, disk) in disks() {
        let buffers = Buffers::new();
        buffers.write(&*disk, 0, &pattern(4, 512)).unwrap();
        drop(disk);

        let disk = open(image(&folder.path().join("disk"), format, false), true, vec![]).unwrap();

        assert!(disk.read_only());
        assert_eq!(buffers.read(&*disk, 0, 512).unwrap(), pattern(4, 512), "{format}");
        let refused = io::ErrorKind::ReadOnlyFilesystem;
        assert_eq!(buffers.write(&*disk, 0, &[1; 512]).unwrap_err().kind(), refused);
        assert_eq!(disk.discard(0, 512).unwrap_err().kind(), refused);
        assert_eq!(disk.write_zeroes(0, 512, false).unwrap_err().kind(), refused);
        disk.flush().unwrap();
    }
}

#[test]
fn a_raw_file_that_ends_within_a_sector_is_used_up_to_that_sector() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, [7; 1124]).unwrap();
    let buffers = Buffers::new();

    let disk = open(image(&path, Format::Raw, true), false, vec![]).unwrap();
    assert_eq!(disk.capacity(), 1024);
    assert!(buffers.read(&*disk, 1024, 512).is_err());
    buffers.write(&*disk, 512, &[8; 512]).unwrap();
    disk.write_zeroes(0, 1024, true).unwrap();
    disk.discard(0, 1024).unwrap();

    let after = fs::read(&path).unwrap();
    assert_eq!(after.len(), 1124);
    assert_eq!(after[1024..], [7; 100], "nothing behind the disk is touched");
}

#[test]
fn a_file_that_was_cut_off_is_an_error_and_not_zeroes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, [7; 4096]).unwrap();
    let disk = open(image(&path, Format::Raw, true), false, vec![]).unwrap();

    fs::File::options().write(true).open(&path).unwrap().set_len(1024).unwrap();

    let error = Buffers::new().read(&*disk, 512, 1024).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_punched_hole_gives_its_space_back() {
    use std::os::unix::fs::MetadataExt;
    let (_, folder, disk) = disks().remove(0);
    let buffers = Buffers::new();
    buffers.write(&*disk, 0, &pattern(5, SIZE as usize)).unwrap();
    disk.flush().unwrap();
    let before = fs::metadata(folder.path().join("disk")).unwrap().blocks();

    disk.discard(0, SIZE).unwrap();

    let after = fs::metadata(folder.path().join("disk")).unwrap().blocks();
    assert!(after < before, "{after} of {before} blocks");
}

/// What a file holds where a disk says that 4 KiB of it lie.
fn read_place(disk: &dyn Disk, offset: u64) -> Option<Vec<u8>> {
    let place = disk.place(Transfer::Read, offset, 4096)?;
    let mut bytes = vec![0; 4096];
    let file = fs::File::from(place.file.try_clone_to_owned().unwrap());
    file.read_exact_at(&mut bytes, place.offset).unwrap();
    Some(bytes)
}

#[test]
fn the_place_of_what_was_written_has_its_bytes_whatever_the_format() {
    for (format, _folder, disk) in disks() {
        let buffers = Buffers::new();
        buffers.write(&*disk, 128 << 10, &pattern(7, 64 << 10)).unwrap();
        disk.flush().unwrap();

        let found = read_place(&*disk, 132 << 10);

        assert!(found.is_some_and(|found| found == pattern(7, 64 << 10)[4096..8192]), "{format}");
        // A write through the page cache is done at once.
        assert!(disk.place(Transfer::Write, 132 << 10, 4096).is_none());
    }
}

#[test]
fn what_was_never_written_has_a_place_in_the_backing_file_if_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("base"), pattern(3, SIZE as usize)).unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "top"], folder.path());
    qemu_img(&["create", "-q", "-f", "qcow2", "alone", "1M"], folder.path());
    let over = |name: &str, backing| open(image(&path(name), Format::Qcow2, true), false, backing).unwrap();
    let top = over("top", vec![image(&path("base"), Format::Raw, false)]);

    assert_eq!(read_place(&*top, 8192).unwrap(), pattern(3, SIZE as usize)[8192..12288]);
    assert!(over("alone", vec![]).place(Transfer::Read, 8192, 4096).is_none());
    assert!(top.flush_file().is_none());

    Buffers::new().write(&*top, 8192, &pattern(9, 4096)).unwrap();
    top.flush().unwrap();
    assert_eq!(read_place(&*top, 8192).unwrap(), pattern(9, 4096));
}

#[test]
fn a_disk_that_has_grown_has_what_it_had_and_zeroes_behind_that() {
    let memory = Buffers::new();
    for (format, folder, disk) in disks() {
        memory.write(&*disk, SIZE - 4096, &pattern(3, 4096)).unwrap();

        disk.grow(4 * SIZE).unwrap();
        let grown = disk.reopen().unwrap();

        assert_eq!(grown.capacity(), 4 * SIZE, "{format}");
        assert_eq!(memory.read(&*grown, SIZE - 4096, 4096).unwrap(), pattern(3, 4096));
        assert_eq!(memory.read(&*grown, SIZE, 8192).unwrap(), [0; 8192]);
        memory.write(&*grown, 4 * SIZE - 512, &pattern(4, 512)).unwrap();
        grown.flush().unwrap();
        if format == Format::Qcow2 {
            qemu_img(&["check", "-q", "disk"], folder.path());
        }
    }
}

#[test]
fn a_disk_that_cannot_grow_is_what_it_was() {
    let (memory, folder) = (Buffers::new(), tempfile::tempdir().unwrap());
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "disk", "1M"], folder.path());
    let disk = open(image(&folder.path().join("disk"), Format::Qcow2, true), false, vec![]).unwrap();
    let drive = Drive::new("disk", disk);
    memory.write(&*drive.disk(), 0, &pattern(5, 4096)).unwrap();

    let refused = drive.grow(1 << 50).unwrap_err();

    assert!(refused.to_string().contains("cluster-size"), "{refused}");
    assert!(!drive.take_has_grown());
    assert_eq!((drive.disk().capacity(), memory.read(&*drive.disk(), 0, 4096).unwrap()), (1 << 20, pattern(5, 4096)));
    memory.write(&*drive.disk(), 8192, &pattern(6, 4096)).unwrap();
    drive.disk().flush().unwrap();
    qemu_img(&["check", "-q", "disk"], folder.path());
}

#[test]
fn folders_are_no_disks() {
    let folder = tempfile::tempdir().unwrap();

    let opened = open(image(folder.path(), Format::Raw, false), true, vec![]);

    assert!(matches!(opened, Err(BlockError::Kind)));
}

#[test]
fn a_written_qcow2_image_is_sound_to_qemu() {
    let (_, folder, disk) = disks().remove(1);
    let buffers = Buffers::new();
    let data = pattern(6, 300 * 1024);
    buffers.write(&*disk, 4096, &data).unwrap();
    disk.write_zeroes(65536, 65536, true).unwrap();
    drop(disk);

    qemu_img(&["check", "-q", "disk"], folder.path());
    qemu_img(&["convert", "-O", "raw", "disk", "raw"], folder.path());

    let raw = fs::read(folder.path().join("raw")).unwrap();
    let mut expected = vec![0; SIZE as usize];
    expected[4096..4096 + data.len()].copy_from_slice(&data);
    expected[65536..2 * 65536].fill(0);
    assert!(raw == expected);
}

#[test]
fn a_damaged_or_foreign_image_is_refused_with_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    qemu_img(&["create", "-q", "-f", "qcow2", "good", "1M"], folder.path());
    let good = fs::read(folder.path().join("good")).unwrap();
    let mut damaged_table = good.clone();
    damaged_table[40..48].fill(0xff);
    for (name, bytes) in [
        ("empty", vec![]),
        ("zeroes", vec![0; 4096]),
        ("cut off in the header", good[..60].to_vec()),
        ("a table at an impossible place", damaged_table),
    ] {
        fs::write(&path, bytes).unwrap();

        let opened = open(image(&path, Format::Qcow2, true), false, vec![]);

        let error = opened.err().unwrap_or_else(|| panic!("{name} was opened"));
        assert!(error.to_string().contains("qcow2"), "{name}: {error}");
    }
}

#[test]
fn a_chain_of_backing_files_is_read_through_and_only_its_top_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("base"), pattern(7, SIZE as usize)).unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "middle"], folder.path());
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "middle", "-F", "qcow2", "top", "2M"], folder.path());
    let buffers = Buffers::new();
    let backing = || vec![image(&path("middle"), Format::Qcow2, false), image(&path("base"), Format::Raw, false)];

    let disk = open(image(&path("top"), Format::Qcow2, true), false, backing()).unwrap();
    buffers.write(&*disk, 1024, &[9; 512]).unwrap();
    let mut expected = pattern(7, 2048);
    expected[1024..1536].fill(9);

    assert_eq!(disk.capacity(), 2 * SIZE);
    assert_eq!(buffers.read(&*disk, 0, 2048).unwrap(), expected);
    assert_eq!(buffers.read(&*disk, SIZE, 512).unwrap(), [0; 512], "behind the end of its backing file");
    assert!(fs::read(path("base")).unwrap() == pattern(7, SIZE as usize));
}

#[test]
fn a_chain_that_is_not_what_the_images_say_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("base"), vec![0; SIZE as usize]).unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "top"], folder.path());
    qemu_img(&["create", "-q", "-f", "qcow2", "alone", "1M"], folder.path());
    let base = || image(&path("base"), Format::Raw, false);

    let missing = open(image(&path("top"), Format::Qcow2, true), false, vec![]);
    let surplus = open(image(&path("alone"), Format::Qcow2, true), false, vec![base()]);
    let under_raw = open(image(&path("base"), Format::Raw, true), false, vec![base()]);
    let too_deep = open(image(&path("top"), Format::Qcow2, true), false, vec![base(), base()]);

    for opened in [missing, surplus, under_raw, too_deep] {
        assert!(matches!(opened, Err(BlockError::Backing { .. })));
    }
}

#[test]
fn a_disk_can_be_used_by_several_threads_at_once() {
    for (format, _folder, disk) in disks() {
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let disk = &disk;
                scope.spawn(move || {
                    let buffers = Buffers::new();
                    for round in 0..32 {
                        let offset = (round * 4 + thread) * 8192;
                        buffers.write(&**disk, offset, &pattern(thread as u8, 8192)).unwrap();
                        assert_eq!(buffers.read(&**disk, offset, 8192).unwrap(), pattern(thread as u8, 8192));
                        disk.write_zeroes(offset, 4096, round % 2 == 0).unwrap();
                    }
                });
            }
        });
        disk.flush().unwrap();

        assert_eq!(Buffers::new().read(&*disk, 4096, 4096).unwrap(), pattern(0, 8192)[4096..], "{format}");
    }
}

#[test]
fn random_requests_leave_what_a_model_says() {
    for (format, folder, mut disk) in disks() {
        let buffers = Buffers::new();
        let mut model = vec![0; SIZE as usize];
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |limit: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % limit
        };
        for round in 0..2000 {
            let magnitude = random(8);
            let length = (random(1 << magnitude) + 1) * SECTOR;
            let offset = random((SIZE - length) / SECTOR + 1) * SECTOR;
            let range = offset as usize..(offset + length) as usize;
            match random(10) {
                0..=4 => {
                    let data = pattern(random(256) as u8, length as usize);
                    buffers.write(&*disk, offset, &data).unwrap();
                    model[range].copy_from_slice(&data);
                }
                5 => {
                    disk.write_zeroes(offset, length, random(2) == 0).unwrap();
                    model[range].fill(0);
                }
                6 => {
                    disk.discard(offset, length).unwrap();
                    // What a discarded range reads as is whatever it reads as, but nothing else may change.
                    model[range.clone()].copy_from_slice(&buffers.read(&*disk, offset, length as usize).unwrap());
                }
                7 if random(10) == 0 => disk.flush().unwrap(),
                8 if random(50) == 0 => {
                    drop(disk);
                    disk = open(image(&folder.path().join("disk"), format, true), false, vec![]).unwrap();
                }
                _ => {
                    assert!(buffers.read(&*disk, offset, length as usize).unwrap() == model[range], "{format} {round}")
                }
            }
        }
        assert!(buffers.read(&*disk, 0, SIZE as usize).unwrap() == model, "{format}");
    }
}

/// Detaches its device at the end.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_is_a_disk_of_its_size_that_takes_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    fs::write(&path, pattern(9, SIZE as usize)).unwrap();
    let made = Command::new("losetup").args(["--find", "--show"]).arg(&path).output();
    let Some(made) = made.ok().filter(|made| made.status.success()) else {
        return println!("skipped: there are no loop devices");
    };
    let device = Loop(String::from_utf8(made.stdout).unwrap().trim().to_owned());
    for direct in [false, true] {
        let mut options = fs::File::options();
        let flags = if direct { libc::O_DIRECT } else { 0 };
        let file = std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true).write(true), flags);
        let file = file.open(&device.0).unwrap();
        let disk = open(Image { file, format: Format::Raw }, false, vec![]).unwrap();
        let buffers = Buffers::new();

        buffers.write(&*disk, 8192, &pattern(3, 4096)).unwrap();
        disk.write_zeroes(65536, 65536, false).unwrap();
        disk.write_zeroes(3 * 65536, 65536, true).unwrap();
        disk.discard(5 * 65536, 65536).unwrap();
        disk.flush().unwrap();

        assert_eq!(disk.capacity(), SIZE);
        assert_eq!(buffers.read(&*disk, 8192, 4096).unwrap(), pattern(3, 4096), "direct: {direct}");
        for zeroed in [65536, 3 * 65536] {
            assert_eq!(buffers.read(&*disk, zeroed, 65536).unwrap(), [0; 65536], "direct: {direct}");
        }
        assert_eq!(buffers.read(&*disk, 2 * 65536, 512).unwrap(), pattern(9, SIZE as usize)[131072..131584]);
        assert!(buffers.read(&*disk, SIZE, 512).is_err());
    }
}
