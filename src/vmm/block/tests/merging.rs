//! A disk whose topmost image goes into the one below it while somebody writes to it: at every moment it is whole in both together,
//! and at the end in the lower one alone.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::vmm::block::merge::{Merge, MergeImages, Phase};

/// The disk's size in bytes: several steps of the copier.
const LENGTH: usize = 4 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// An image over another one over a base, and what the disk in them has.
struct Fixture {
    folder: TempDir,
    lower: Format,
    model: Vec<u8>,
}

impl Fixture {
    /// `cluster`: the size of the lower image's clusters in bytes; `None` for a raw one, which has nothing below it.
    fn new(rng: &mut fastrand::Rng, cluster: Option<u64>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base: Vec<u8> = (0..LENGTH).map(|at| (at / 512 % 251) as u8 | 1).collect();
        let lower = match cluster {
            None => {
                fs::write(folder.path().join("lower"), &base).unwrap();
                Format::Raw
            }
            Some(cluster) => {
                fs::write(folder.path().join("base"), &base).unwrap();
                let options = format!("cluster_size={cluster}");
                let over = ["create", "-q", "-f", "qcow2", "-o", &options, "-b", "base", "-F", "raw", "lower"];
                qemu_img(&over, folder.path());
                Format::Qcow2
            }
        };
        let lower_format = lower.to_string();
        qemu_img(&["create", "-q", "-f", "qcow2", "-b", "lower", "-F", &lower_format, "upper"], folder.path());
        let mut fixture = Self { folder, lower, model: base };
        for part in 0..2 {
            let disk = if part == 0 { fixture.open_lower() } else { fixture.open_both() };
            fixture.scribble(rng, &*disk, 40);
            disk.flush().unwrap();
        }
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn below(&self) -> Vec<Image> {
        if self.lower == Format::Raw { Vec::new() } else { vec![image(&self.path("base"), Format::Raw, false)] }
    }

    fn open_lower(&self) -> Box<dyn Disk> {
        open(image(&self.path("lower"), self.lower, true), false, self.below()).unwrap()
    }

    fn open_both(&self) -> Box<dyn Disk> {
        let mut backing = vec![image(&self.path("lower"), self.lower, false)];
        backing.extend(self.below());
        open(image(&self.path("upper"), Format::Qcow2, true), false, backing).unwrap()
    }

    fn merge(&self) -> Merge {
        let (upper, lower) = (Format::Qcow2, self.lower);
        let images = MergeImages {
            upper: image(&self.path("upper"), upper, true),
            lower: image(&self.path("lower"), lower, true),
            below: self.below(),
        };
        Merge::new(images).unwrap()
    }

    /// Changes the disk at random, as a guest would.
    fn scribble(&mut self, rng: &mut fastrand::Rng, disk: &dyn Disk, times: u32) {
        for _ in 0..times {
            let first = rng.usize(0..LENGTH / 512);
            let count = rng.usize(1..400).min(LENGTH / 512 - first);
            let (offset, length) = (first as u64 * SECTOR, count as u64 * SECTOR);
            let range = &mut self.model[first * 512..(first + count) * 512];
            match rng.u8(0..8) {
                0 => {
                    disk.write_zeroes(offset, length, rng.bool()).unwrap();
                    range.fill(0);
                }
                1 => {
                    // What it reads as afterwards is not defined, but stays as it is.
                    disk.discard(offset, length).unwrap();
                    disk.read(offset, &[GuestSlice::from(range)]).unwrap();
                }
                2 => disk.flush().unwrap(),
                _ => {
                    rng.fill(range);
                    disk.write(offset, &[GuestSlice::from(range)]).unwrap();
                }
            }
        }
    }

    fn assert_has(&self, disk: &dyn Disk, what: &str) {
        let mut found = vec![0; LENGTH];
        disk.read(0, &[GuestSlice::from(found.as_mut_slice())]).unwrap();
        let other = found.iter().zip(&self.model).position(|(one, other)| one != other);
        assert_eq!(other, None, "{what}: the first byte that is another one");
    }

    fn assert_sound(&self) {
        for name in ["upper", "lower"].into_iter().filter(|name| *name == "upper" || self.lower == Format::Qcow2) {
            qemu_img(&["check", "-q", "-f", "qcow2", name], self.folder.path());
        }
    }
}

fn kinds() -> [Option<u64>; 3] {
    [None, Some(4096), Some(65536)]
}

#[test]
fn a_disk_is_whole_at_every_moment_of_merging_and_in_the_lower_image_at_the_end() {
    let mut rng = fastrand::Rng::with_seed(3);
    for cluster in kinds() {
        let mut fixture = Fixture::new(&mut rng, cluster);
        let mut merge = fixture.merge();
        let disk = merge.disk();
        fixture.scribble(&mut rng, &*disk, 10);
        assert_eq!(merge.progress(), (Phase::Waiting, 0));
        assert!(!merge.seal() && merge.lower().is_none());
        merge.start().unwrap();
        let deadline = Instant::now() + DEADLINE;
        while merge.progress().0 != Phase::Ready {
            assert!(Instant::now() < deadline, "{:?}", merge.progress());
            fixture.scribble(&mut rng, &*disk, 5);
            fixture.assert_has(&*disk, "while it is merged");
            disk.flush().unwrap();
            fixture.assert_has(&*fixture.open_both(), "both images as a killed worker leaves them");
        }
        for sealed in [false, true] {
            fixture.scribble(&mut rng, &*disk, 20);
            disk.flush().unwrap();
            fixture.assert_has(&*fixture.open_both(), "both images when all is copied");
            fixture.assert_has(&*fixture.open_lower(), "the lower image when all is copied");
            assert!(sealed || merge.seal());
        }
        let lower = merge.lower().unwrap();
        drop((disk, merge));
        fixture.scribble(&mut rng, &*lower, 20);
        lower.flush().unwrap();
        drop(lower);
        fixture.assert_has(&*fixture.open_lower(), "the lower image, when the guest has gone on in it");
        fixture.assert_sound();
    }
}

#[test]
fn a_merging_that_is_ended_anywhere_leaves_the_disk_in_both_images() {
    let mut rng = fastrand::Rng::with_seed(4);
    for (number, cluster) in kinds().into_iter().cycle().take(6).enumerate() {
        let mut fixture = Fixture::new(&mut rng, cluster);
        let mut merge = fixture.merge();
        let disk = merge.disk();
        merge.start().unwrap();
        let until = LENGTH as u64 * number as u64 / 6;
        while matches!(merge.progress(), (Phase::Copying, cursor) if cursor < until) {
            fixture.scribble(&mut rng, &*disk, 2);
        }
        let upper = merge.upper().unwrap();
        assert_eq!(merge.progress().0, Phase::Ended { failure: None });
        drop((disk, merge));

        fixture.scribble(&mut rng, &*upper, 30);
        fixture.assert_has(&*upper, "when it was ended");
        upper.flush().unwrap();
        drop(upper);
        fixture.assert_has(&*fixture.open_both(), "both images");
        fixture.assert_sound();
    }
}

#[test]
fn a_lower_image_that_fails_ends_the_merging_and_the_guest_learns_nothing_of_it() {
    let mut rng = fastrand::Rng::with_seed(5);
    for operation in [faults::Operation::Write, faults::Operation::Flush] {
        let mut struck = 0;
        for after in 0..4 {
            let mut fixture = Fixture::new(&mut rng, Some(4096));
            let lower = fixture.path("lower");
            let (fault, mut merge) = faults::strike(&lower, operation, after * after * 5, || fixture.merge());
            let disk = merge.disk();
            merge.start().unwrap();
            let deadline = Instant::now() + DEADLINE;
            while matches!(merge.progress().0, Phase::Copying | Phase::Settling) {
                assert!(Instant::now() < deadline, "{:?}", merge.progress());
                fixture.scribble(&mut rng, &*disk, 3);
            }
            fixture.scribble(&mut rng, &*disk, 10);
            let failed = matches!(merge.progress().0, Phase::Ended { failure: Some(_) });
            assert!(fault.has_struck() || !failed, "{fault:?}");
            assert_eq!(merge.seal(), !failed);
            struck += u32::from(failed);
            let upper = merge.upper().unwrap();
            drop((disk, merge));
            fixture.assert_has(&*upper, "the guest goes on");
        }
        assert!(struck > 0, "{operation:?}");
    }
}

/// Several threads write to the same places: both images agree which write was the last.
#[test]
fn both_images_have_the_same_order_of_writes() {
    let mut rng = fastrand::Rng::with_seed(6);
    let mut fixture = Fixture::new(&mut rng, Some(4096));
    let mut merge = fixture.merge();
    let disk = merge.disk();
    merge.start().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let disk = Arc::clone(&disk);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..600 {
                    let mut bytes = vec![rng.u8(..); 4096];
                    disk.write(rng.u64(0..8) * 4096, &[GuestSlice::from(bytes.as_mut_slice())]).unwrap();
                }
            });
        }
    });
    let deadline = Instant::now() + DEADLINE;
    while !merge.seal() {
        assert!(Instant::now() < deadline, "{:?}", merge.progress());
        std::thread::yield_now();
    }
    disk.read(0, &[GuestSlice::from(fixture.model.as_mut_slice())]).unwrap();

    disk.flush().unwrap();

    fixture.assert_has(&*fixture.open_lower(), "the lower image");
}
