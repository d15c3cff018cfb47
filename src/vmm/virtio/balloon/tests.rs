//! The balloon as a driver sees it. What giving pages back does to them is tested with the memory.

use vm_memory::{Bytes, GuestMemoryBackend};

use super::*;
use crate::vmm::{
    device::Device,
    memory::{Layout, MemoryBacking},
    virtio::testing::{Bench, EVENT_INDEX, TestQueue, WRITE, wait_for},
};

const ALL: u64 = STATISTICS | DEFLATE_ON_OOM | FREE_PAGE_HINT | PAGE_POISON | PAGE_REPORTING;

fn started(features: u64) -> (Bench, Vec<TestQueue>, BalloonHandle) {
    let balloon = Balloon::new("balloon0").unwrap();
    let handle = balloon.handle();
    let (bench, queues) = Bench::started(balloon, features, 16);
    (bench, queues, handle)
}

fn pages(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn entry(tag: u16, value: u64) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat()
}

#[test]
fn the_driver_is_told_of_a_new_target_and_tells_how_far_it_is() {
    let (mut bench, _, handle) = started(ALL);
    let generation = bench.common(0x15, 1);

    handle.set_target(10 * PAGE + 17);
    wait_for("the interrupt", || bench.line.is_high());
    bench.write_config(4, 4, 7);

    assert_eq!(bench.isr(), 2);
    assert_ne!(bench.common(0x15, 1), generation);
    assert_eq!(bench.config(0, 4), 10);
    assert_eq!((handle.target(), handle.actual()), (10 * PAGE, 7 * PAGE));
}

#[test]
fn a_change_is_told_once_until_it_was_looked_at() {
    let (mut bench, _, handle) = started(ALL);
    let told = Arc::new(AtomicU32::new(0));
    let count = told.clone();
    handle.observe(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });

    for size in [0, 7, 9, 7] {
        bench.write_config(4, 4, size);
    }
    let before = (told.load(Ordering::Relaxed), handle.actual_after_change());
    bench.write_config(4, 4, 7);
    bench.write_config(4, 4, 8);

    assert_eq!(before, (1, 7 * PAGE));
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

#[test]
fn a_target_that_was_set_before_the_driver_came_is_there() {
    let balloon = Balloon::new("balloon0").unwrap();
    balloon.handle().set_target(1 << 50);

    let (mut bench, _) = Bench::started(balloon, ALL, 16);

    assert_eq!(bench.config(0, 4), u64::from(u32::MAX), "as much as can be told");
}

#[test]
fn the_host_gets_the_pages_of_the_balloon() {
    use std::os::unix::fs::MetadataExt;
    let memory =
        memory::allocate(&Layout::new(16 << 20), MemoryBacking { shared: true, ..MemoryBacking::default() }).unwrap();
    let file = memory.iter().next().unwrap().file_offset().unwrap().arc().clone();
    for page in 1024..1032u64 {
        memory.write_slice(&[7; 4096], GuestAddress(page * PAGE)).unwrap();
    }
    let list = pages(&[1026, 1024, 1025, 1030, 0xffff_ffff, 160, 1024]);
    memory.write_slice(&list, GuestAddress(0x1000)).unwrap();
    let mut chain = Chain::default();
    chain.readable = buffers(&memory, 0x1000, list.len());

    Worker::inflate(&mut chain, &memory).unwrap();

    assert_eq!(file.metadata().unwrap().blocks() * 512, (8 - 4 + 1) * PAGE);
    let kept = [1024, 1027, 1030, 1031].map(|page| memory.read_obj::<u8>(GuestAddress(page * PAGE)).unwrap());
    assert_eq!(kept, [0, 7, 0, 7]);
}

fn buffers(memory: &GuestMemory, address: u64, length: usize) -> crate::vmm::virtio::queue::Buffers<'_> {
    let mut buffers = crate::vmm::virtio::queue::Buffers::default();
    buffers.push(memory.get_slice(GuestAddress(address), length).unwrap());
    buffers
}

#[test]
fn pages_go_in_and_out_and_nonsense_is_let_go() {
    let (mut bench, mut queues, _) = started(ALL);

    for (queue, numbers) in [(0, vec![16, 17, 18]), (0, vec![u32::MAX, 0x10_0000]), (0, vec![]), (1, vec![16])] {
        let sent = queues[queue].send(&[&pages(&numbers)], &[]);
        bench.kick(queue as u16);
        assert_eq!(queues[queue].wait(), (sent.head, 0));
    }

    assert_eq!(bench.status() & 0x40, 0);
}

#[test]
fn half_a_page_number_stops_the_device() {
    let (mut bench, mut queues, _) = started(ALL);

    queues[0].send(&[&[1, 2, 3, 4, 5]], &[]);
    bench.kick(0);

    bench.wait_failed();
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    let (mut bench, mut queues, handle) = started(ALL);
    let first = queues[2].send(&[&[]], &[]);
    bench.kick(2);
    handle.request_statistics();
    assert_eq!(queues[2].wait(), (first.head, 0), "giving the chain back asks for them");
    assert_eq!(handle.statistics(), None);

    let sent = [entry(4, 1000), entry(5, 4000), entry(6, 2000), entry(999, 1), vec![1, 2, 3]].concat();
    queues[2].send(&[&sent], &[]);
    bench.kick(2);
    wait_for("statistics", || handle.statistics().is_some());
    bench.pci.pause();

    let statistics = handle.statistics().unwrap();
    assert_eq!((statistics.free(), statistics.total(), statistics.available()), (Some(1000), Some(4000), Some(2000)));
    let names: Vec<_> = statistics.values().map(|(name, _)| name).collect();
    assert_eq!(names, ["stat-free-memory", "stat-total-memory", "stat-available-memory"]);
    assert!(queues[2].take_used().is_none(), "the chain is kept until it is asked for again");
}

#[test]
fn each_answer_is_wanted_with_a_kick() {
    let (mut bench, mut queues, handle) = started(ALL | EVENT_INDEX);

    for round in 1..4 {
        queues[2].send(&[&entry(4, u64::from(round))], &[]);
        bench.kick(2);
        wait_for("a kick to be wanted", || queues[2].kick_event() == round);
        handle.request_statistics();
        queues[2].wait();
    }

    assert_eq!(handle.statistics().unwrap().free(), Some(3));
}

#[test]
fn a_kept_chain_survives_a_pause_and_a_saved_state() {
    let (mut bench, mut queues, handle) = started(ALL);
    let sent = queues[2].send(&[&entry(4, 5)], &[]);
    bench.kick(2);
    wait_for("statistics", || handle.statistics().is_some());
    bench.pci.pause();
    let state = bench.pci.save().unwrap();

    bench.pci.restore(state.clone()).unwrap();
    let again = bench.pci.save().unwrap();
    handle.request_statistics();
    bench.pci.resume();

    assert_eq!(again, state);
    assert_eq!(queues[2].wait(), (sent.head, 0));
}

#[test]
fn surplus_chains_for_statistics_come_back() {
    let (mut bench, mut queues, _) = started(ALL);
    let first = queues[2].send(&[&entry(4, 1)], &[]);
    queues[2].send(&[&entry(4, 2)], &[]);

    bench.kick(2);

    assert_eq!(queues[2].wait(), (first.head, 0));
}

#[test]
fn reported_pages_are_taken_unless_the_guest_fills_them_with_something() {
    use std::os::unix::fs::MetadataExt;
    let memory =
        memory::allocate(&Layout::new(16 << 20), MemoryBacking { shared: true, ..MemoryBacking::default() }).unwrap();
    let file = memory.iter().next().unwrap().file_offset().unwrap().arc().clone();
    let worker = Worker { shared: Balloon::new("balloon0").unwrap().shared, told: 0, held: None };
    let mut left = Vec::new();
    for (features, poison) in [(ALL, 0xaa), (ALL, 0), (PAGE_REPORTING, 0xaa)] {
        memory.write_slice(&[7; 8192], GuestAddress(0x10_0000)).unwrap();
        worker.shared.poison.store(poison, Ordering::Release);
        let mut chain = Chain::default();
        chain.writable = buffers(&memory, 0x10_0000, 8192);

        worker.take_reported(features, &chain, &memory).unwrap();

        left.push(file.metadata().unwrap().blocks() * 512);
    }

    assert_eq!(left, [8192, 0, 0]);
}

#[test]
fn queues_are_numbered_by_what_was_negotiated() {
    // Without hints a driver's fourth queue is the one for reports.
    let (mut bench, mut queues, _) = started(STATISTICS | PAGE_REPORTING);
    let page = queues[3].allocate(8192).next_multiple_of(4096);

    let head = queues[3].send_raw(&[(page, 4096, WRITE)]);
    bench.kick(3);

    assert_eq!(queues[3].wait(), (head, 0));
    assert_eq!(bench.status() & 0x40, 0);
}

#[test]
fn a_reset_empties_the_balloon_but_keeps_what_the_host_wants() {
    let (mut bench, _, handle) = started(ALL);
    handle.set_target(3 * PAGE);
    bench.write_config(4, 4, 3);
    bench.write_config(12, 4, 0xaa);

    bench.write_common(0x14, 1, 0);

    assert_eq!((handle.target(), handle.actual()), (3 * PAGE, 0));
    assert_eq!(bench.config(12, 4), 0);
}

#[test]
fn the_host_knows_whether_there_is_a_driver() {
    let balloon = Balloon::new("balloon0").unwrap();
    let handle = balloon.handle();
    let before = handle.has_driver();

    let (mut bench, _) = Bench::started(balloon, ALL, 16);
    let started = handle.has_driver();
    bench.write_common(0x14, 1, 0);

    assert_eq!((before, started, handle.has_driver()), (false, true, false));
}

#[test]
fn a_damaged_state_is_refused() {
    let mut balloon = Balloon::new("balloon0").unwrap();

    assert!(balloon.restore(serde_json::json!({"version": 1, "target": -1})).is_err());
    assert!(balloon.restore(Value::Null).is_err());
}
