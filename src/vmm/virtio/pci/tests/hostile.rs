//! Drivers that break the rules.

use super::*;

#[test]
fn a_request_without_room_for_its_answer_stops_the_device_until_it_is_reset() {
    let (mut bench, mut queues) = started(0);
    queues[0].send(&[b"four"], &[3]);

    bench.kick(0);
    bench.wait_failed();
    wait_for("the driver is told", || bench.isr() & 2 != 0);
    queues[1].send(&[b"x"], &[1]);
    bench.kick(1);
    bench.pci.pause();
    bench.pci.resume();
    assert!(queues[1].take_used().is_none(), "the other queue was served");

    bench.write_common(0x14, 1, 0);
    assert_eq!(bench.status(), 0);
    let mut queues = bench.start(0, 16);
    echoes(&mut bench, &mut queues[0], b"works again");
}

/// Each request's answer makes the next one available, and has the next answer prepared for it.
#[test]
fn a_queue_that_feeds_itself_for_ever_can_still_be_stopped() {
    const BLOCK: u64 = 32;
    let (mut bench, mut queues) = started(0);
    let queue = &mut queues[0];
    let blocks = queue.allocate(BLOCK << 16);
    let block = |index: u16| blocks + BLOCK * u64::from(index);
    for index in 0..=u16::MAX {
        // The available ring's index, then the descriptor that leads to the next block.
        let mut bytes = index.wrapping_add(2).to_le_bytes().to_vec();
        bytes.extend(block(index.wrapping_add(1)).to_le_bytes());
        bytes.extend([18, 0, 0, 0, NEXT as u8, 0, 1, 0]);
        queue.write_bytes(block(index), &bytes);
    }
    queue.write_descriptor(0, block(0), 18, NEXT, 1);
    queue.write_descriptor(1, queue.available + 2, 2, NEXT | WRITE, 2);
    queue.write_descriptor(2, queue.descriptors, 16, WRITE, 0);

    queue.make_available(0);
    bench.kick(0);
    wait_for("more than a turn", || queue.used_index() > 1000);
    bench.pci.pause();

    let used = queue.used_index();
    bench.pci.resume();
    wait_for("more of it", || queue.used_index() != used);
    bench.write_common(0x14, 1, 0);
    assert_eq!(bench.status(), 0);
}
