//! Requests that are in flight together, through the host's page cache and past it.

use std::{
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    process::Command,
};

use super::*;
use crate::vmm::{block::ring::Ring, virtio::testing::WRITE};

fn drive(disk: Box<dyn Disk>, durability: Durability) -> Arc<Drive> {
    Arc::new(Drive::new("virtio-blk0", disk).with_durability(durability))
}

/// A disk whose sectors hold their own numbers, with a ring; past the page cache if `direct`. `None`, which it says, where the
/// host does not allow that.
fn in_flight(direct: bool, durability: Durability) -> Option<Fixture> {
    let (disk, file) = disk(false);
    let disk = if direct {
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let opened = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(again);
        let Ok(file) = opened.map_err(|error| println!("skipped: no O_DIRECT in the temporary folder: {error}")) else {
            return None;
        };
        block::open(Image { file, format: Format::Raw }, false, vec![]).unwrap()
    } else {
        disk
    };
    let ring = Ring::new().map_err(|error| println!("skipped: no io_uring: {error}")).ok()?;
    let block = Block::with_rings(drive(disk, durability), "", vec![Some(ring)]);
    let statistics = block.statistics();
    let features = if durability == Durability::OnWrite { 0 } else { FLUSH };
    let (bench, queues) = Bench::started(block, features, 64);
    Some(Fixture { bench, queues, file, statistics })
}

#[test]
fn what_is_written_is_read_and_counted_in_both_ways() {
    for direct in [false, true] {
        let Some(mut fixture) = in_flight(direct, Durability::OnFlush) else { continue };

        assert_eq!(fixture.request(OUT, 9, &[&[0xaa; 512], &[0xbb; 512]], &[]).1, OK);
        assert_eq!(fixture.request(FLUSH_REQUEST, 0, &[], &[]).1, OK);
        let (data, outcome, written) = fixture.request(IN, 8, &[], &[1024, 1024]);

        assert_eq!((outcome, written), (OK, 2049), "direct: {direct}");
        assert_eq!([data[0], data[512], data[1024], data[1536]], [8, 0xaa, 0xbb, 11]);
        assert_eq!(fixture.sector(10), [0xbb; 512]);
        let counts = [Operation::Read, Operation::Write, Operation::Flush].map(|of| fixture.statistics.counts(of));
        assert_eq!(counts.map(|counts| (counts.operations, counts.bytes)), [(1, 2048), (1, 1024), (1, 0)]);
        assert_eq!(fixture.statistics.highest_written(), 11 * SECTOR);
    }
}

#[test]
fn buffers_that_the_file_system_wants_aligned_are_served_all_the_same() {
    let Some(mut fixture) = in_flight(true, Durability::OnFlush) else { return };

    let (_, wrote, _) = fixture.request(OUT, 9, &[&[0xaa; 500], &[0xbb; 12]], &[]);
    let (data, read, _) = fixture.request(IN, 9, &[], &[7, 505]);

    assert_eq!((wrote, read), (OK, OK));
    assert_eq!([data[0], data[499], data[500], data[511]], [0xaa, 0xaa, 0xbb, 0xbb]);
    assert_eq!((fixture.sector(8)[0], fixture.sector(10)[0]), (8, 10));
}

#[test]
fn the_order_of_completion_does_not_matter() {
    for direct in [false, true] {
        let Some(mut fixture) = in_flight(direct, Durability::OnFlush) else { continue };
        for round in 0..50u64 {
            let sent: Vec<_> =
                (0..20).map(|step| fixture.queues[0].send(&[&header(IN, round + step)], &[512, 1])).collect();
            fixture.bench.kick(0);
            let mut completed: Vec<_> = sent.iter().map(|_| fixture.queues[0].wait()).collect();

            completed.sort_unstable();
            let mut expected: Vec<_> = sent.iter().map(|sent| (sent.head, 513)).collect();
            expected.sort_unstable();
            assert_eq!(completed, expected);
            for (step, sent) in sent.iter().enumerate() {
                assert_eq!(sent.answer(), [&[(round + step as u64) as u8; 512][..], &[OK]].concat());
            }
        }
    }
}

#[test]
fn a_driver_that_offers_a_request_in_flight_again_has_to_reset() {
    let Some(mut fixture) = in_flight(true, Durability::OnFlush) else { return };

    let sent = fixture.queues[0].send(&[&header(IN, 0)], &[512, 1]);
    fixture.queues[0].make_available(sent.head);
    fixture.bench.kick(0);

    fixture.bench.wait_failed();
}

#[test]
fn a_pause_waits_for_what_is_in_flight() {
    let Some(mut fixture) = in_flight(true, Durability::OnFlush) else { return };
    for _ in 0..20 {
        let sent: Vec<_> = (0..16).map(|sector| fixture.queues[0].send(&[&header(IN, sector)], &[512, 1])).collect();
        fixture.bench.kick(0);
        fixture.bench.pci.pause();
        let used = fixture.queues[0].used_index();
        fixture.bench.pci.save().unwrap();
        assert_eq!(fixture.queues[0].used_index(), used);
        fixture.bench.pci.resume();

        for _ in &sent {
            fixture.queues[0].wait();
        }
        assert!(sent.iter().enumerate().all(|(sector, sent)| sent.answer()[..512] == [sector as u8; 512]));
    }
}

#[test]
fn a_disk_that_writes_through_has_nothing_to_flush_and_an_unsafe_one_never_does() {
    let faulty = || Arc::new(Faulty { works: true, ..Faulty::default() });
    let flushes = |faulty: &Faulty| faulty.flushes.load(std::sync::atomic::Ordering::SeqCst);
    let start = |faulty: &Arc<Faulty>, durability, features| {
        let disk = Box::new(faulty.clone()) as Box<dyn Disk>;
        let block = Block::with_rings(drive(disk, durability), "", vec![None]);
        let offered = block.features() & FLUSH != 0;
        let statistics = block.statistics();
        let (bench, queues) = Bench::started(block, features, 64);
        (Fixture { bench, queues, file: tempfile::tempfile().unwrap(), statistics }, offered)
    };

    let through = faulty();
    let (mut fixture, offered) = start(&through, Durability::OnWrite, 0);
    assert_eq!(fixture.request(OUT, 0, &[&[0; 512]], &[]).1, OK);
    assert_eq!((offered, flushes(&through)), (false, 1));

    let never = faulty();
    let (mut fixture, offered) = start(&never, Durability::Never, FLUSH);
    assert_eq!(fixture.request(OUT, 0, &[&[0; 512]], &[]).1, OK);
    assert_eq!(fixture.request(FLUSH_REQUEST, 0, &[], &[]).1, OK);
    assert_eq!((offered, flushes(&never)), (true, 0));
}

/// 4 KiB of guest memory where a file system wants it, and a request's header and outcome beside it.
struct Slot {
    header: u64,
    data: u64,
}

impl Slot {
    fn new(queue: &TestQueue) -> Self {
        let data = queue.allocate(8192).next_multiple_of(4096);
        Self { header: queue.allocate(32), data }
    }

    fn send(&self, queue: &mut TestQueue, kind: u32, sector: u64, data: Option<&[u8]>, length: u32) {
        queue.write_bytes(self.header, &header(kind, sector));
        data.into_iter().for_each(|data| queue.write_bytes(self.data, data));
        let direction = if kind == IN { WRITE } else { 0 };
        queue.send_raw(&[(self.header, 16, 0), (self.data, length, direction), (self.header + 16, 1, WRITE)]);
    }
}

#[test]
fn two_queues_write_to_a_qcow2_image_and_empty_parts_of_it_at_a_time() {
    const BLOCK: u64 = 4096;
    const CLUSTER: u64 = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let qemu_img = |arguments: &[&str]| {
        let done = Command::new("qemu-img").args(arguments).arg(&path).status().unwrap();
        assert!(done.success(), "{arguments:?}");
    };
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "size=1M"]);
    let opened = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(&path);
    let Ok(file) = opened.map_err(|error| println!("skipped: no O_DIRECT in the temporary folder: {error}")) else {
        return;
    };
    let disk = block::open(Image { file, format: Format::Qcow2 }, false, vec![]).unwrap();
    let Ok(rings) = (0..2).map(|_| Ring::new()).collect::<Result<Vec<_>, _>>() else {
        return println!("skipped: no io_uring");
    };
    let block = Block::with_rings(drive(disk, Durability::OnFlush), "", rings.into_iter().map(Some).collect());
    let (mut bench, mut queues) = Bench::started(block, FLUSH, 64);
    let slots: Vec<_> = (0..16).map(|index| Slot::new(&queues[index % 2])).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut model = vec![0u8; CAPACITY as usize];

    for round in 0..100u8 {
        // Every other cluster may be emptied, and blocks of the others are written.
        let mut clusters: Vec<_> = (0..CAPACITY / CLUSTER).collect();
        random.shuffle(&mut clusters);
        let (emptied, written) = clusters.split_at(2);
        for (index, slot) in slots.iter().enumerate() {
            let queue = &mut queues[index % 2];
            match emptied.get(index / 3).filter(|_| index % 3 == 0) {
                Some(cluster) => {
                    let range = range(cluster * CLUSTER / SECTOR, (CLUSTER / SECTOR) as u32, 1);
                    slot.send(queue, WRITE_ZEROES, 0, Some(&range), 16);
                    model[(cluster * CLUSTER) as usize..][..CLUSTER as usize].fill(0);
                }
                None => {
                    let at = written[index % written.len()] * CLUSTER
                        + index as u64 / 14 * BLOCK
                        + random.u64(..8) * 2 * BLOCK;
                    let bytes = vec![round.wrapping_mul(16) ^ index as u8 | 1; BLOCK as usize];
                    slot.send(queue, OUT, at / SECTOR, Some(&bytes), BLOCK as u32);
                    model[at as usize..][..BLOCK as usize].copy_from_slice(&bytes);
                }
            }
        }
        finish(&mut bench, &mut queues, &slots);

        let places: Vec<_> = slots.iter().map(|_| random.u64(..CAPACITY / BLOCK) * BLOCK).collect();
        for (index, (slot, at)) in slots.iter().zip(&places).enumerate() {
            slot.send(&mut queues[index % 2], IN, at / SECTOR, None, BLOCK as u32);
        }
        finish(&mut bench, &mut queues, &slots);
        let memory = bench.contents();
        for (slot, at) in slots.iter().zip(&places) {
            let (found, expected) = (&memory[slot.data as usize..], &model[*at as usize..]);
            assert!(found[..BLOCK as usize] == expected[..BLOCK as usize], "round {round}, byte {at}");
        }
    }
    drop(bench);

    qemu_img(&["check", "-q", "-f", "qcow2"]);
    let flat = folder.path().join("flat");
    let converted =
        Command::new("qemu-img").args(["convert", "-O", "raw", "-f", "qcow2"]).args([&path, &flat]).status();
    assert!(converted.unwrap().success() && std::fs::read(flat).unwrap() == model);
}

/// Has what was sent done, and looks at the outcomes.
fn finish(bench: &mut Bench, queues: &mut [TestQueue], slots: &[Slot]) {
    (0..).zip(queues.iter()).for_each(|(index, _)| bench.kick(index));
    for index in 0..slots.len() {
        queues[index % 2].wait();
    }
    let memory = bench.contents();
    assert!(slots.iter().all(|slot| memory[slot.header as usize + 16] == OK));
}
