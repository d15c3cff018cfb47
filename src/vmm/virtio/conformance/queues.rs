//! The rings: drivers that go by the rules are served, others stop their device and nothing else.

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::vmm::{
    device::Device,
    virtio::testing::{INDIRECT, MEMORY, NEXT, WRITE, wait_for},
};

/// What a hostile driver does to a queue before it kicks.
type Attack = (&'static str, fn(&mut TestQueue));

const ATTACKS: [Attack; 18] = [
    ("a loop", |queue| {
        queue.write_descriptor(0, 0x1000, 1, NEXT, 1);
        queue.write_descriptor(1, 0x1000, 1, NEXT, 0);
        queue.make_available(0);
    }),
    ("a descriptor that leads to itself", |queue| {
        queue.write_descriptor(3, 0x1000, 1, NEXT | WRITE, 3);
        queue.make_available(3);
    }),
    ("a head outside of the table", |queue| queue.make_available(999)),
    ("a next outside of the table", |queue| {
        queue.write_descriptor(0, 0x1000, 1, NEXT, 500);
        queue.make_available(0);
    }),
    ("a buffer outside of memory", |queue| {
        queue.send_raw(&[(MEMORY, 1, 0), (0x1000, 1, WRITE)]);
    }),
    ("a buffer across the end of memory", |queue| {
        queue.send_raw(&[(MEMORY - 1, 2, 0)]);
    }),
    ("a buffer across the end of addresses", |queue| {
        queue.send_raw(&[(u64::MAX - 1, 16, WRITE)]);
    }),
    ("a huge buffer", |queue| {
        queue.send_raw(&[(0, u32::MAX, WRITE)]);
    }),
    ("huge buffers whose lengths overflow", |queue| {
        queue.send_raw(&[(0, MEMORY as u32, 0), (0, u32::MAX, 0)]);
    }),
    ("a buffer to read behind one to write", |queue| {
        queue.send_raw(&[(0x1000, 1, WRITE), (0x1000, 1, 0)]);
    }),
    ("an indirect table of a broken length", |queue| {
        queue.send_raw(&[(0x1000, 17, INDIRECT)]);
    }),
    ("an empty indirect table", |queue| {
        queue.send_raw(&[(0x1000, 0, INDIRECT)]);
    }),
    ("an indirect table outside of memory", |queue| {
        queue.send_raw(&[(MEMORY, 32, INDIRECT)]);
    }),
    ("an indirect table within one", |queue| {
        queue.send_indirect(&[(0x1000, 16, INDIRECT)]);
    }),
    ("an indirect table with a loop", |queue| {
        let table = queue.allocate(16);
        queue.write_bytes(table, &[0, 0x10, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, NEXT as u8, 0, 0, 0]);
        queue.send_raw(&[(table, 16, INDIRECT)]);
    }),
    ("an endless indirect chain", |queue| {
        queue.send_indirect(&[(0x1000, 1, 0); 1025]);
    }),
    ("an index far ahead", |queue| queue.set_available_index(queue.made_available().wrapping_add(SIZE + 1))),
    ("an index behind", |queue| queue.set_available_index(queue.made_available().wrapping_sub(1))),
];

#[test]
fn a_broken_queue_stops_the_device_until_it_is_reset() {
    for candidate in &CANDIDATES {
        let count = candidate.started(0).queues.len();
        for (index, (what, attack)) in (0..count).flat_map(|index| ATTACKS.iter().map(move |attack| (index, attack))) {
            let what = format!("{what} in queue {index}");
            let mut running = candidate.started(INDIRECT_DESCRIPTORS);
            running.let_host_act();
            attack(&mut running.queues[index]);
            let before = running.bench.contents();

            running.bench.kick(index as u16);
            if candidate.unread.contains(&(index as u16)) {
                running.settle();
            } else {
                let what = format!("{}: {what}", candidate.name);
                wait_for(&format!("{what}: DEVICE_NEEDS_RESET"), || running.bench.status() & 0x40 != 0);
                wait_for(&format!("{what}: the configuration's interrupt"), || running.bench.isr() & 2 != 0);
                (0..count).for_each(|queue| running.bench.kick(queue as u16));
                running.settle();
                assert_eq!(running.bench.status() & 0x40, 0x40, "{what}: a pause does not mend it");
            }
            running.assert_untouched(&before, &[], &what);

            running.reset();
            running.start(0);
            running.serve();
        }
    }
}

#[test]
fn a_queue_set_up_wrongly_stops_the_device() {
    let wrong: [(u64, usize, u64); 9] = [
        (0x18, 2, 0),
        (0x18, 2, 5),
        (0x20, 8, 0x1008),
        (0x20, 8, MEMORY - 16),
        (0x20, 8, u64::MAX - 15),
        (0x28, 8, 0),
        (0x28, 8, 0x1001),
        (0x30, 8, u64::MAX - 3),
        (0x30, 8, 0x1002),
    ];
    for candidate in &CANDIDATES {
        let count = candidate.started(0).queues.len();
        for (queue, (offset, width, value)) in (0..count).flat_map(|queue| wrong.map(|wrong| (queue, wrong))) {
            let mut running = candidate.plugged();
            let bench = &mut running.bench;
            bench.negotiate(0);
            bench.write_common(0x16, 2, queue as u64);
            bench.write_common(0x18, 2, SIZE.into());
            bench.write_common(0x20, 8, 0x1000);
            bench.write_common(0x28, 8, 0x2000);
            bench.write_common(0x30, 8, 0x3000);
            bench.write_common(offset, width, value);
            bench.write_common(0x1c, 2, 1);

            bench.write_common(0x14, 1, 15);

            let what = format!("{}: register {offset:#x} of queue {queue} is {value:#x}", candidate.name);
            assert_eq!(bench.status() & 0x40, 0x40, "{what}");
            assert_eq!(bench.isr() & 2, 2, "{what}");
            running.reset();
            running.start(0);
            running.serve();
        }
    }
}

#[test]
fn nothing_is_touched_before_the_driver_is_ready_and_no_kick_is_lost() {
    for candidate in &CANDIDATES {
        let mut running = candidate.plugged();
        (0..20).for_each(|queue| running.bench.kick(queue));
        let own = running.bench.offered() & !GENERAL;
        running.bench.negotiate(own);
        let count = running.bench.common(0x12, 2) as u16;
        running.queues = (0..count).map(|index| running.bench.set_up_queue(index, SIZE)).collect();
        let head = running.send_request();
        let before = running.bench.contents();
        running.bench.kick(candidate.request.queue);
        running.settle();
        assert_eq!(running.bench.contents(), before, "{}", candidate.name);

        running.bench.write_common(0x14, 1, 15);

        running.wait_served(head);
    }
}

#[test]
fn a_driver_may_do_without_any_of_the_queues() {
    for candidate in &CANDIDATES {
        let count = candidate.started(0).queues.len() as u16;
        for absent in 0..=count {
            let mut running = candidate.plugged();
            let own = running.bench.offered() & !GENERAL;
            running.bench.negotiate(own);
            // All but one; at last none at all.
            for index in (0..count).filter(|&index| absent < count && index != absent) {
                running.bench.set_up_queue(index, SIZE);
            }
            running.bench.write_common(0x14, 1, 15);

            (0..=count).for_each(|queue| running.bench.kick(queue));
            running.settle();

            assert_eq!(running.bench.status(), 15, "{} without queue {absent}", candidate.name);
        }
    }
}

#[test]
fn requests_are_served_however_they_come() {
    for candidate in &CANDIDATES {
        for general in [0, EVENT_INDEX, INDIRECT_DESCRIPTORS | EVENT_INDEX] {
            let mut running = candidate.started(general);
            // More than the ring's size, so that it goes round.
            (0..u32::from(SIZE) + 3).for_each(|_| running.serve());
        }

        let mut running = candidate.started(INDIRECT_DESCRIPTORS);
        running.bench.enable_msix();
        let Request { queue, readable, writable, .. } = candidate.request;
        let queue = &mut running.queues[usize::from(queue)];
        let mut buffers = Vec::new();
        if !readable.is_empty() {
            let at = queue.allocate(readable.len() as u64);
            running.bench.memory.write_slice(readable, GuestAddress(at)).unwrap();
            // In two pieces, as drivers are free to cut.
            buffers.extend([(at, 1, 0), (at + 1, readable.len() as u32 - 1, 0)]);
        }
        buffers.extend(writable.iter().map(|&length| (queue.allocate(length.into()), length, WRITE)));
        let head = queue.send_indirect(&buffers);
        let given: Vec<_> = buffers
            .iter()
            .filter(|(.., flags)| flags & WRITE != 0)
            .map(|&(at, length, _)| at..at + u64::from(length))
            .collect();
        let before = running.bench.contents();
        running.bench.kick(candidate.request.queue);
        running.wait_served(head);
        let vector = usize::from(candidate.request.queue) + 1;
        wait_for("the queue's interrupt", || running.bench.delivered(vector) > 0);
        running.assert_untouched(&before, &given, "an indirect request");
    }
}

/// Random chains of descriptors that are mostly sound, so that they get as far as the device itself.
#[test]
fn nonsense_is_survived_and_only_writes_what_it_was_given() {
    const ROUNDS: u32 = 20;
    let mut random = fastrand::Rng::with_seed(3);
    for candidate in &CANDIDATES {
        // Pages that a driver puts into the balloon are given too: there everything may change.
        let gives_pages = candidate.number == 5;
        for round in 0..ROUNDS {
            let mut running = candidate.started(INDIRECT_DESCRIPTORS | EVENT_INDEX);
            running.let_host_act();
            // Buffers lie in the upper half, the rings in the lower one.
            let noise: Vec<u8> =
                (0..4096).map(|_| if random.bool() { random.u8(..4) } else { random.u8(..) }).collect();
            running.bench.memory.write_slice(&noise, GuestAddress(MEMORY / 2)).unwrap();
            let before = running.bench.contents();
            let mut given = Vec::new();
            for _ in 0..random.usize(1..40) {
                let queue = random.usize(..running.queues.len());
                let readable = random.usize(..4);
                let mut buffers = Vec::new();
                for step in 0..readable + random.usize(..4) {
                    let length = match random.u8(..8) {
                        0 => 0,
                        1 => random.u32(..100_000),
                        _ => random.u32(..128),
                    };
                    let at = MEMORY / 2 + random.u64(..4096);
                    let flags = if step < readable { 0 } else { WRITE };
                    if flags == WRITE {
                        given.push(at..at + u64::from(length));
                    }
                    buffers.push((at, length, flags));
                }
                if !buffers.is_empty() {
                    running.queues[queue].send_raw(&buffers);
                }
                running.bench.kick(queue as u16);
            }
            running.settle();
            running.bench.pci.pause();
            if !gives_pages {
                given.extend(running.queues.iter().map(TestQueue::driver_rings));
                running.assert_untouched(&before, &given, &format!("round {round}"));
            }

            running.bench.pci.resume();
            running.reset();
            running.start(0);
            running.serve();
        }
    }
}
