//! Drivers that break the rules.

use super::*;

/// What a hostile driver does to a queue before it kicks.
type Attack = (&'static str, fn(&mut TestQueue));

#[test]
fn a_broken_queue_stops_the_device_until_it_is_reset() {
    let attacks: &[Attack] = &[
        ("a loop", |queue| {
            queue.write_descriptor(0, 0x1000, 1, NEXT, 1);
            queue.write_descriptor(1, 0x1000, 1, NEXT, 0);
            queue.make_available(0);
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
            queue.send_raw(&[(u64::MAX - 1, 16, 0)]);
        }),
        ("a huge buffer", |queue| {
            queue.send_raw(&[(0, u32::MAX, 0)]);
        }),
        ("huge buffers whose lengths overflow", |queue| {
            queue.send_raw(&[(0, MEMORY as u32, 0), (0, u32::MAX, 0)]);
        }),
        ("a buffer to read behind one to write", |queue| {
            queue.send_raw(&[(0x1000, 1, WRITE), (0x1000, 1, 0)]);
        }),
        ("an indirect table of a broken length", |queue| {
            queue.send_raw(&[(0x1000, 17, 4)]);
        }),
        ("an empty indirect table", |queue| {
            queue.send_raw(&[(0x1000, 0, 4)]);
        }),
        ("an indirect table outside of memory", |queue| {
            queue.send_raw(&[(MEMORY, 32, 4)]);
        }),
        ("an indirect table within one", |queue| {
            queue.send_indirect(&[(0x1000, 16, 4)]);
        }),
        ("an endless indirect chain", |queue| {
            queue.send_indirect(&[(0x1000, 1, 0); 1025]);
        }),
        ("an index far ahead", |queue| queue.set_available_index(17)),
        ("an index behind", |queue| queue.set_available_index(0xffff)),
        ("no room for the answer", |queue| {
            queue.send(&[b"four"], &[3]);
        }),
    ];
    for (name, attack) in attacks {
        let (mut bench, mut queues) = started(1 << 28);
        attack(&mut queues[0]);

        bench.kick(0);
        bench.wait_failed();
        wait_for(&format!("{name}: the driver is told"), || bench.isr() & 2 != 0);
        let other = queues[1].send(&[b"x"], &[1]);
        bench.kick(1);
        bench.pci.pause();
        bench.pci.resume();
        assert!(queues[1].take_used().is_none(), "{name}: {} was served", other.head);

        bench.write_common(0x14, 1, 0);
        assert_eq!(bench.status(), 0, "{name}");
        bench.negotiate(0);
        let mut queue = bench.set_up_queue(0, 16);
        bench.write_common(0x14, 1, 15);
        echoes(&mut bench, &mut queue, b"works again");
    }
}

#[test]
fn a_queue_set_up_wrongly_stops_the_device() {
    for (offset, width, value) in [
        (0x18, 2, 0),
        (0x18, 2, 5),
        (0x20, 8, 0x1008),
        (0x20, 8, MEMORY - 16),
        (0x28, 8, 0),
        (0x28, 8, 0x1001),
        (0x30, 8, u64::MAX - 3),
        (0x30, 8, 0x1002),
    ] {
        let mut bench = Bench::new(EchoDevice::new().0);
        bench.negotiate(0);
        bench.write_common(0x16, 2, 0);
        bench.write_common(0x20, 8, 0x1000);
        bench.write_common(0x28, 8, 0x2000);
        bench.write_common(0x30, 8, 0x3000);
        bench.write_common(offset, width, value);
        bench.write_common(0x1c, 2, 1);

        bench.write_common(0x14, 1, 15);

        assert_eq!(bench.status() & 0x40, 0x40, "{offset:#x} = {value:#x}");
    }
}
