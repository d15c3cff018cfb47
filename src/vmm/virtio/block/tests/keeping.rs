//! Requests that the host could not carry out, and that wait for it.

use std::{
    os::fd::AsFd,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use super::*;
use crate::vmm::block::{
    errors::{DiskError, ErrorPolicy, ReadErrors, Verdict, WriteErrors},
    place::{Place, Transfer},
    ring::Ring,
};

/// A disk in memory that fails as it is told, and the error of every failure.
struct Moody {
    sectors: Mutex<Vec<u8>>,
    error: AtomicU32,
    /// For a ring: a file that is always full, or the like.
    file: Option<File>,
    /// Whether requests go to the file.
    uses_file: AtomicBool,
}

impl Moody {
    fn new(file: Option<&str>) -> Arc<Self> {
        let file = file.map(|path| File::options().read(true).write(true).open(path).unwrap());
        let uses_file = AtomicBool::new(file.is_some());
        Arc::new(Self { sectors: Mutex::new(vec![0; CAPACITY as usize]), error: AtomicU32::new(0), file, uses_file })
    }

    fn set(&self, error: i32) {
        self.error.store(error as u32, Ordering::SeqCst);
        self.uses_file.store(error != 0 && self.file.is_some(), Ordering::SeqCst);
    }

    fn answer(&self) -> io::Result<()> {
        match self.error.load(Ordering::SeqCst) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error as i32)),
        }
    }
}

impl Disk for Arc<Moody> {
    fn capacity(&self) -> u64 {
        CAPACITY
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.answer()?;
        let (sectors, mut at) = (self.sectors.lock().unwrap(), offset as usize);
        for buffer in buffers {
            buffer.copy_from(&sectors[at..at + buffer.len()]);
            at += buffer.len();
        }
        Ok(())
    }
    fn write(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.answer()?;
        let (mut sectors, mut at) = (self.sectors.lock().unwrap(), offset as usize);
        for buffer in buffers {
            buffer.copy_to(&mut sectors[at..at + buffer.len()]);
            at += buffer.len();
        }
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        self.answer()
    }
    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        self.answer()
    }
    fn write_zeroes(&self, _offset: u64, _length: u64, _unmap: bool) -> io::Result<()> {
        self.answer()
    }
    fn place(&self, _transfer: Transfer, offset: u64, _length: u64) -> Option<Place<'_>> {
        let file = self.file.as_ref().filter(|_| self.uses_file.load(Ordering::SeqCst))?;
        Some(Place { file: file.as_fd(), offset, hold: None })
    }
}

struct Kept {
    fixture: Fixture,
    disk: Arc<Moody>,
    drive: Arc<Drive>,
    told: Arc<Mutex<Vec<DiskError>>>,
}

fn start(policy: ErrorPolicy, file: Option<&str>, ring: Option<Ring>) -> Kept {
    let disk = Moody::new(file);
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = Arc::clone(&told);
    let drive = Drive::new("virtio-blk0", Box::new(disk.clone()) as Box<dyn Disk>)
        .with_policy(policy, Arc::new(move |error| observer.lock().unwrap().push(error)));
    let drive = Arc::new(drive);
    let block = Block::with_rings(drive.clone(), "", vec![ring]);
    let statistics = block.statistics();
    let (bench, queues) = Bench::started(block, FLUSH, 64);
    Kept { fixture: Fixture { bench, queues, file: tempfile::tempfile().unwrap(), statistics }, disk, drive, told }
}

impl Kept {
    /// As the machine does once it was told.
    fn pause_and_resume(&mut self) {
        self.fixture.bench.pci.pause();
        self.drive.retry();
        self.fixture.bench.pci.resume();
    }

    fn wait_told(&self, count: usize) {
        wait_for("word of the error", || self.told.lock().unwrap().len() >= count);
    }
}

#[test]
fn writes_to_a_full_disk_wait_for_room_and_nothing_is_lost() {
    let ring = || Ring::new().map_err(|error| println!("skipped: no io_uring: {error}")).ok();
    for (file, ring) in [(None, None), (Some("/dev/full"), ring())] {
        let mut kept = start(ErrorPolicy::default(), file, ring);
        kept.disk.set(libc::ENOSPC);

        let sent: Vec<_> = (1..20u8)
            .map(|sector| kept.fixture.queues[0].send(&[&header(OUT, sector.into()), &[sector; 512]], &[1]))
            .collect();
        kept.fixture.bench.kick(0);
        kept.wait_told(1);
        // Still no room.
        kept.pause_and_resume();
        kept.wait_told(2);
        kept.fixture.bench.pci.pause();
        assert_eq!(kept.fixture.queues[0].used_index(), 0, "nothing is done");
        kept.disk.set(0);
        kept.pause_and_resume();

        let mut heads: Vec<_> = sent.iter().map(|_| kept.fixture.queues[0].wait().0).collect();
        heads.sort_unstable();
        let mut expected: Vec<_> = sent.iter().map(|sent| sent.head).collect();
        expected.sort_unstable();
        assert_eq!(heads, expected);
        assert!(sent.iter().all(|sent| sent.answer() == [OK]));
        for sector in 1..20u8 {
            let (data, ..) = kept.fixture.request(IN, sector.into(), &[], &[512]);
            assert_eq!(data, [sector; 512]);
        }
        let told = kept.told.lock().unwrap();
        let all_stop =
            told.iter().all(|error| error.full && error.verdict == Verdict::Keep && error.disk == "virtio-blk0");
        assert!(told.len() == 2 && all_stop, "{told:?}");
        assert_eq!(kept.drive.trouble(), None);
        let counts = kept.fixture.statistics.counts(Operation::Write);
        assert_eq!((counts.operations, counts.failed), (19, 0));
    }
}

#[test]
fn other_requests_wait_too() {
    let mut kept = start(ErrorPolicy::default(), None, None);
    for (kind, data) in [(FLUSH_REQUEST, vec![]), (DISCARD, range(0, 1, 0)), (WRITE_ZEROES, range(0, 1, 0))] {
        kept.disk.set(libc::EDQUOT);
        let before = kept.told.lock().unwrap().len();
        let header = header(kind, 0);
        let readable: Vec<&[u8]> = [&header[..], &data].into_iter().filter(|part| !part.is_empty()).collect();

        let sent = kept.fixture.queues[0].send(&readable, &[1]);
        kept.fixture.bench.kick(0);
        kept.wait_told(before + 1);
        kept.disk.set(0);
        kept.pause_and_resume();

        assert_eq!(kept.fixture.queues[0].wait(), (sent.head, 1));
        assert_eq!(sent.answer(), [OK]);
    }
}

#[test]
fn each_policy_does_what_it_says() {
    let of = |write, read| ErrorPolicy { write, read };
    for (policy, kind, outcome) in [
        (of(WriteErrors::Enospace, ReadErrors::Report), OUT, ERROR),
        (of(WriteErrors::Report, ReadErrors::Stop), OUT, ERROR),
        (of(WriteErrors::Ignore, ReadErrors::Report), OUT, OK),
        (of(WriteErrors::Stop, ReadErrors::Report), IN, ERROR),
        (of(WriteErrors::Stop, ReadErrors::Ignore), IN, OK),
    ] {
        let mut kept = start(policy, None, None);
        kept.disk.set(libc::EIO);

        let answer = match kind {
            IN => kept.fixture.request(IN, 0, &[], &[512]).1,
            _ => kept.fixture.request(OUT, 0, &[&[0; 512]], &[]).1,
        };

        assert_eq!(answer, outcome, "{policy:?}");
        assert_eq!(kept.drive.trouble(), None);
    }
    let mut kept = start(of(WriteErrors::Enospace, ReadErrors::Stop), None, None);
    kept.disk.set(libc::EIO);
    let sent = kept.fixture.queues[0].send(&[&header(IN, 0)], &[512, 1]);
    kept.fixture.bench.kick(0);
    kept.wait_told(1);
    assert!(!kept.drive.trouble().unwrap().full);
    kept.disk.set(0);
    kept.pause_and_resume();
    assert_eq!(kept.fixture.queues[0].wait(), (sent.head, 513));
}

#[test]
fn a_guest_that_asks_a_broken_disk_again_and_again_is_told_of_once() {
    let mut kept = start(ErrorPolicy::default(), None, None);
    kept.disk.set(libc::EIO);

    for _ in 0..20 {
        assert_eq!(kept.fixture.request(OUT, 0, &[&[0; 512]], &[]).1, ERROR);
    }

    // One a second, and this took less than the test's own deadline of many.
    assert!(kept.told.lock().unwrap().len() < 20);
    assert_eq!(kept.fixture.statistics.counts(Operation::Write).failed, 20);
}

#[test]
fn what_is_kept_is_saved_and_served_by_the_machine_that_it_is_restored_to() {
    let mut kept = start(ErrorPolicy::default(), None, None);
    kept.disk.set(libc::ENOSPC);
    let sent = kept.fixture.queues[0].send(&[&header(OUT, 3), &[7; 512]], &[1]);
    kept.fixture.bench.kick(0);
    kept.wait_told(1);
    kept.fixture.bench.pci.pause();

    let state = kept.fixture.bench.pci.save().unwrap();
    kept.fixture.bench.pci.restore(state.clone()).unwrap();
    let again = kept.fixture.bench.pci.save().unwrap();
    kept.disk.set(0);
    kept.pause_and_resume();

    assert_eq!(state, again);
    assert_eq!(kept.fixture.queues[0].wait(), (sent.head, 1));
    assert_eq!(kept.disk.sectors.lock().unwrap()[3 * 512], 7);
}

#[test]
fn a_damaged_list_of_kept_requests_is_refused() {
    for kept in [serde_json::json!([[256]]), serde_json::json!([]), serde_json::json!([[], []])] {
        let mut block = Block::new("virtio-blk0", disk(false).0, "", 1);

        let restored = block.restore(serde_json::json!({ "version": 1, "state": { "kept": kept } }));

        assert!(matches!(restored, Err(StateError::Damaged { .. })), "{kept}");
    }
}

#[test]
fn a_reset_forgets_what_was_kept() {
    let mut kept = start(ErrorPolicy::default(), None, None);
    kept.disk.set(libc::ENOSPC);
    kept.fixture.queues[0].send(&[&header(OUT, 3), &[7; 512]], &[1]);
    kept.fixture.bench.kick(0);
    kept.wait_told(1);

    kept.fixture.bench.pci.pause();
    kept.fixture.bench.pci.reset();
    kept.disk.set(0);
    kept.pause_and_resume();

    assert_eq!(kept.disk.sectors.lock().unwrap()[3 * 512], 0);
    kept.fixture.bench.pci.pause();
    let state = kept.fixture.bench.pci.save().unwrap().to_string();
    assert!(state.contains("\"kept\":[[]]"), "{state}");
}
