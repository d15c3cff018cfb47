//! A disk with limits, in real time. What the limits are exactly is tested where they are, by a clock of its own.

use std::time::Instant;

use super::*;
use crate::vmm::block::{
    limits::{Limit, Limits},
    ring::Ring,
};

/// A disk that is asked so often a second, of which a tenth may be at once.
fn limited(reads: u64, ring: Option<Ring>) -> (Fixture, Arc<Drive>) {
    let (disk, file) = disk(false);
    let limits = Limits { reads: Limit::of(reads), ..Limits::default() };
    let drive = Arc::new(Drive::new("virtio-blk0", disk).with_limits(limits));
    let block = Block::with_rings(drive.clone(), "", vec![ring]);
    let statistics = block.statistics();
    let (bench, queues) = Bench::started(block, FLUSH, 64);
    (Fixture { bench, queues, file, statistics }, drive)
}

#[test]
fn requests_wait_for_their_turn_and_the_wait_is_counted() {
    let ring = Ring::new().map_err(|error| println!("skipped: no io_uring: {error}")).ok();
    for ring in [None, ring] {
        let (mut fixture, _) = limited(100, ring);

        let begun = Instant::now();
        let sent: Vec<_> = (0..20).map(|sector| fixture.queues[0].send(&[&header(IN, sector)], &[512, 1])).collect();
        fixture.bench.kick(0);
        fixture.bench.pci.pause();
        fixture.bench.pci.resume();
        for _ in &sent {
            fixture.queues[0].wait();
        }
        let took = begun.elapsed();

        // 11 go at once; the others come a hundredth of a second apart.
        assert!(took.as_millis() >= 80, "{took:?}");
        assert!(sent.iter().enumerate().all(|(sector, sent)| sent.answer()[..512] == [sector as u8; 512]));
        let counts = fixture.statistics.counts(Operation::Read);
        assert_eq!(counts.operations, 20);
        assert!(counts.nanos >= 60_000_000, "{counts:?}");
        // What is not limited does not wait behind it.
        assert_eq!(fixture.request(OUT, 0, &[&[0; 512]], &[]).1, OK);
    }
}

#[test]
fn a_limit_that_is_lifted_lets_go_what_waits_for_it() {
    let (mut fixture, drive) = limited(1, None);
    let sent: Vec<_> = (0..20).map(|sector| fixture.queues[0].send(&[&header(IN, sector)], &[512, 1])).collect();
    fixture.bench.kick(0);
    fixture.queues[0].wait();

    drive.throttle().set(Limits::default());

    // Sooner than in the 18 seconds that they would have to wait.
    let begun = Instant::now();
    for _ in &sent[1..] {
        fixture.queues[0].wait();
    }
    assert!(begun.elapsed().as_secs() < 15);
}
