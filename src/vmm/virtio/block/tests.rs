//! The device as a driver sees it.

mod in_flight;
mod keeping;
mod limited;

use std::{fs::File, io::Write, os::unix::fs::FileExt};

use super::*;
use crate::vmm::{
    block::{
        self, Format, Image,
        statistics::{Counts, Operation},
    },
    device::Device,
    memory::GuestSlice,
    virtio::testing::{Bench, EVENT_INDEX, TestQueue, wait_for},
};

const CAPACITY: u64 = 1 << 20;
const FLUSH: u64 = 1 << VIRTIO_BLK_F_FLUSH;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH_REQUEST: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// A disk whose sectors hold their own numbers, and its file.
fn disk(read_only: bool) -> (Box<dyn Disk>, File) {
    let mut file = tempfile::tempfile().unwrap();
    for sector in 0..CAPACITY / SECTOR {
        file.write_all(&[sector as u8; SECTOR as usize]).unwrap();
    }
    let image = Image { file: file.try_clone().unwrap(), format: Format::Raw };
    (block::open(image, read_only, vec![]).unwrap(), file)
}

struct Fixture {
    bench: Bench,
    queues: Vec<TestQueue>,
    file: File,
    statistics: Arc<Statistics>,
}

fn fixture(read_only: bool, queues: u16, features: u64) -> Fixture {
    let (disk, file) = disk(read_only);
    let block = Block::new("virtio-blk0", disk, "a serial number of more than 20", queues);
    let statistics = block.statistics();
    let (bench, queues) = Bench::started(block, features, 64);
    Fixture { bench, queues, file, statistics }
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    bytes
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

impl Fixture {
    /// Sends a request and returns its data, its outcome and how much the device says it has written.
    fn request(&mut self, kind: u32, sector: u64, data: &[&[u8]], room: &[u32]) -> (Vec<u8>, u8, u32) {
        self.request_on(0, kind, sector, data, room)
    }

    fn request_on(&mut self, queue: usize, kind: u32, sector: u64, data: &[&[u8]], room: &[u32]) -> (Vec<u8>, u8, u32) {
        let header = header(kind, sector);
        let readable: Vec<&[u8]> = std::iter::once(&header[..]).chain(data.iter().copied()).collect();
        let writable = [room, &[1]].concat();
        let sent = self.queues[queue].send(&readable, &writable);
        self.bench.kick(queue as u16);
        let (head, written) = self.queues[queue].wait();
        assert_eq!(head, sent.head);
        let mut answer = sent.answer();
        let outcome = answer.pop().unwrap();
        (answer, outcome, written)
    }

    fn sector(&self, sector: u64) -> [u8; SECTOR as usize] {
        let mut bytes = [0; SECTOR as usize];
        self.file.read_exact_at(&mut bytes, sector * SECTOR).unwrap();
        bytes
    }
}

#[test]
fn reads_fill_all_their_buffers() {
    let mut fixture = fixture(false, 1, FLUSH);

    let (data, outcome, written) = fixture.request(IN, 7, &[], &[100, 924, 512]);

    assert_eq!((outcome, written), (OK, 1537));
    assert_eq!([data[0], data[511], data[512], data[1535]], [7, 7, 8, 9]);
    let counts = fixture.statistics.counts(Operation::Read);
    assert_eq!((counts.operations, counts.bytes), (1, 1536));
}

#[test]
fn writes_reach_the_file_and_nothing_beside_it() {
    let mut fixture = fixture(false, 1, FLUSH);

    let (_, outcome, written) = fixture.request(OUT, 9, &[&[0xaa; 500], &[0xbb; 12]], &[]);

    assert_eq!((outcome, written), (OK, 1));
    let sector = fixture.sector(9);
    assert_eq!((sector[499], sector[500]), (0xaa, 0xbb));
    assert_eq!((fixture.sector(8)[0], fixture.sector(10)[0]), (8, 10));
    assert_eq!(fixture.statistics.highest_written(), 10 * SECTOR);
}

#[test]
fn requests_beyond_the_end_or_of_broken_length_fail_and_are_counted() {
    let mut fixture = fixture(false, 1, FLUSH);
    let sectors = CAPACITY / SECTOR;

    for (sector, length) in [(sectors, 512), (sectors - 1, 1024), (u64::MAX, 512), (u64::MAX / 512, 512), (0, 511)] {
        let (data, read, _) = fixture.request(IN, sector, &[], &[length]);
        let (_, write, _) = fixture.request(OUT, sector, &[&vec![1; length as usize]], &[]);

        assert_eq!((read, write), (ERROR, ERROR), "{sector} {length}");
        assert!(data.iter().all(|&byte| byte == 0));
    }
    assert_eq!(fixture.statistics.counts(Operation::Read), Counts { invalid: 5, ..Counts::default() });
    assert_eq!(fixture.statistics.counts(Operation::Write), Counts { invalid: 5, ..Counts::default() });
}

#[test]
fn empty_reads_and_writes_do_nothing_well() {
    let mut fixture = fixture(false, 1, FLUSH);

    assert_eq!(fixture.request(IN, 0, &[], &[]).1, OK);
    assert_eq!(fixture.request(OUT, 0, &[], &[]).1, OK);
}

#[test]
fn the_serial_number_is_cut_or_padded_to_20_bytes() {
    let mut fixture = fixture(false, 1, FLUSH);

    let (id, outcome, written) = fixture.request(GET_ID, 0, &[], &[20]);
    let (short, _, short_written) = fixture.request(GET_ID, 0, &[], &[5]);

    assert_eq!((id.as_slice(), outcome, written), (&b"a serial number of m"[..], OK, 21));
    assert_eq!((short.as_slice(), short_written), (&b"a ser"[..], 6));
}

#[test]
fn flushes_are_done_and_counted() {
    let mut fixture = fixture(false, 1, FLUSH);

    assert_eq!(fixture.request(FLUSH_REQUEST, 0, &[], &[]).1, OK);

    assert_eq!(fixture.statistics.counts(Operation::Flush).operations, 1);
}

#[test]
fn ranges_are_zeroed_and_discarded() {
    let mut fixture = fixture(false, 1, FLUSH);

    let zeroes = [range(1, 2, 0), range(16, 8, 1)].concat();
    let (_, zeroed, _) = fixture.request(WRITE_ZEROES, 0, &[&zeroes], &[]);
    let (_, discarded, _) = fixture.request(DISCARD, 0, &[&range(32, 8, 0)], &[]);

    assert_eq!((zeroed, discarded), (OK, OK));
    let first_bytes = [0, 1, 2, 3, 16, 23, 24].map(|sector| fixture.sector(sector)[0]);
    assert_eq!(first_bytes, [0, 0, 0, 3, 0, 0, 24]);
    assert_eq!(fixture.statistics.counts(Operation::Write).bytes, 10 * SECTOR);
    assert_eq!(fixture.statistics.counts(Operation::Discard).bytes, 8 * SECTOR);
}

#[test]
fn no_range_is_touched_when_one_of_them_is_wrong() {
    let mut fixture = fixture(false, 1, FLUSH);
    let end = CAPACITY / SECTOR;
    for (wrong, expected) in [
        (range(end, 1, 0), ERROR),
        (range(u64::MAX, u32::MAX, 0), ERROR),
        (range(0, MAX_RANGE_SECTORS + 1, 0), ERROR),
        (range(0, 1, 2), UNSUPPORTED),
        (vec![0; 15], ERROR),
        (range(0, 0, 0).repeat(32), ERROR),
    ] {
        let (_, outcome, _) = fixture.request(WRITE_ZEROES, 0, &[&range(5, 1, 0), &wrong], &[]);

        assert_eq!(outcome, expected);
        assert_eq!(fixture.sector(5)[0], 5);
    }
    assert_eq!(fixture.request(WRITE_ZEROES, 0, &[], &[]).1, ERROR, "no range at all");
    assert_eq!(fixture.request(DISCARD, 0, &[&range(5, 1, 1)], &[]).1, UNSUPPORTED, "a discard has no flags");
}

#[test]
fn unknown_requests_are_unsupported() {
    let mut fixture = fixture(false, 1, FLUSH);

    for kind in [2, 3, 14, 99, u32::MAX] {
        assert_eq!(fixture.request(kind, 0, &[&[1; 512]], &[512]).1, UNSUPPORTED);
    }
}

#[test]
fn a_read_only_disk_says_so_and_refuses_every_change() {
    let mut fixture = fixture(true, 1, FLUSH);
    let offered = fixture.bench.offered();

    assert_eq!(offered & (1 << 5 | 1 << 13 | 1 << 14), 1 << 5);
    assert_eq!(fixture.request(OUT, 0, &[&[1; 512]], &[]).1, ERROR);
    assert_eq!(fixture.request(DISCARD, 0, &[&range(0, 1, 0)], &[]).1, ERROR);
    assert_eq!(fixture.request(WRITE_ZEROES, 0, &[&range(0, 1, 0)], &[]).1, ERROR);
    assert_eq!(fixture.request(IN, 3, &[], &[512]).0, [3; 512]);
    assert_eq!(fixture.request(FLUSH_REQUEST, 0, &[], &[]).1, OK);
}

#[test]
fn a_request_without_header_or_room_for_its_outcome_stops_the_device() {
    for (readable, writable) in [(&[][..], &[1][..]), (&[&[0u8; 15][..]][..], &[1]), (&[&[0; 16]], &[])] {
        let mut fixture = fixture(false, 1, FLUSH);

        fixture.queues[0].send(readable, writable);
        fixture.bench.kick(0);

        fixture.bench.wait_failed();
    }
}

#[test]
fn the_configuration_describes_the_disk() {
    let mut fixture = fixture(false, 4, FLUSH);
    let bench = &mut fixture.bench;

    assert_eq!(bench.config(0, 8), CAPACITY / SECTOR);
    assert_eq!(bench.config(12, 4), 254, "segments");
    assert_eq!((bench.config(16, 2), bench.config(18, 1), bench.config(19, 1)), (2, 16, 63), "geometry");
    assert_eq!((bench.config(20, 4), bench.config(24, 1)), (512, 3), "sectors of 512 bytes, pages of 8 sectors");
    assert_eq!(bench.config(34, 2), 4, "queues");
    assert_eq!((bench.config(36, 4), bench.config(40, 4)), (1 << 21, 32), "discard");
    assert_eq!((bench.config(48, 4), bench.config(52, 4), bench.config(56, 1)), (1 << 21, 32, 1), "zeroes");
    let expected = [1, 2, 4, 5, 6, 9, 10, 12, 13, 14].map(|bit| bench.offered() >> bit & 1);
    assert_eq!(expected, [0, 1, 1, 0, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn every_queue_serves_on_its_own() {
    let mut fixture = fixture(false, 3, FLUSH | EVENT_INDEX | 1 << 12);
    for queue in [2, 0, 1] {
        let (data, outcome, _) = fixture.request_on(queue, IN, queue as u64 + 40, &[], &[512]);

        assert_eq!((data, outcome), (vec![queue as u8 + 40; 512], OK));
    }
}

#[test]
fn a_pause_lets_nothing_in_flight_and_loses_nothing() {
    let mut fixture = fixture(false, 2, FLUSH);
    for _ in 0..10 {
        let sent = fixture.queues[1].send(&[&header(IN, 1)], &[512, 1]);
        fixture.bench.kick(1);
        fixture.bench.pci.pause();
        let used = fixture.queues[1].used_index();
        fixture.bench.pci.save().unwrap();
        assert_eq!(fixture.queues[1].used_index(), used);
        fixture.bench.pci.resume();

        assert_eq!(fixture.queues[1].wait(), (sent.head, 513));
    }
}

/// A disk that fails as hosts' disks do, and counts its flushes.
#[derive(Default)]
struct Faulty {
    flushes: std::sync::atomic::AtomicU32,
    works: bool,
}

impl Faulty {
    fn answer(&self) -> io::Result<()> {
        if self.works { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOSPC)) }
    }
}

impl Disk for Arc<Faulty> {
    fn capacity(&self) -> u64 {
        CAPACITY
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read(&self, _offset: u64, _buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.answer()
    }
    fn write(&self, _offset: u64, _buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.answer()
    }
    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.answer()
    }
    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        self.answer()
    }
    fn write_zeroes(&self, _offset: u64, _length: u64, _unmap: bool) -> io::Result<()> {
        self.answer()
    }
}

fn with_faulty(works: bool, features: u64) -> (Fixture, Arc<Faulty>) {
    let faulty = Arc::new(Faulty { works, ..Faulty::default() });
    let block = Block::new("virtio-blk0", Box::new(faulty.clone()) as Box<dyn Disk>, "", 1);
    let statistics = block.statistics();
    let (bench, queues) = Bench::started(block, features, 64);
    (Fixture { bench, queues, file: tempfile::tempfile().unwrap(), statistics }, faulty)
}

#[test]
fn the_hosts_errors_reach_the_guest_and_are_counted() {
    let (mut fixture, _) = with_faulty(false, FLUSH);

    assert_eq!(fixture.request(IN, 0, &[], &[512]).1, ERROR);
    assert_eq!(fixture.request(OUT, 0, &[&[0; 512]], &[]).1, ERROR);
    assert_eq!(fixture.request(FLUSH_REQUEST, 0, &[], &[]).1, ERROR);
    assert_eq!(fixture.request(DISCARD, 0, &[&range(0, 1, 0)], &[]).1, ERROR);
    assert_eq!(fixture.request(WRITE_ZEROES, 0, &[&range(0, 1, 0)], &[]).1, ERROR);

    let failed = [Operation::Read, Operation::Write, Operation::Flush, Operation::Discard]
        .map(|operation| fixture.statistics.counts(operation).failed);
    assert_eq!(failed, [1, 2, 1, 1]);
}

#[test]
fn a_driver_that_cannot_flush_has_every_write_flushed_for_it() {
    for (features, flushes) in [(FLUSH, 0), (0, 2)] {
        let (mut fixture, faulty) = with_faulty(true, features);

        fixture.request(OUT, 0, &[&[0; 512]], &[]);
        fixture.request(WRITE_ZEROES, 0, &[&range(0, 1, 0)], &[]);
        fixture.request(IN, 0, &[], &[512]);

        assert_eq!(faulty.flushes.load(std::sync::atomic::Ordering::SeqCst), flushes);
    }
}

#[test]
fn many_requests_at_once_are_all_served() {
    let mut fixture = fixture(false, 1, FLUSH | EVENT_INDEX);
    fixture.bench.enable_msix();
    for round in 0..100u64 {
        let sent: Vec<_> =
            (0..20).map(|step| fixture.queues[0].send(&[&header(IN, round + step)], &[512, 1])).collect();
        fixture.bench.kick(0);
        for (step, sent) in sent.iter().enumerate() {
            assert_eq!(fixture.queues[0].wait(), (sent.head, 513));
            assert_eq!(sent.answer()[0], (round + step as u64) as u8);
        }
    }
    wait_for("the interrupt", || fixture.bench.delivered(1) > 0);
}
