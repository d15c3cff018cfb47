//! The register face of a channel, driven as a guest does, without KVM.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use vm_memory::{Bytes, GuestAddress};

use super::{
    drive::{BUSY, DATA_REQUEST, ERROR, READY, SEEK_DONE},
    testing::*,
    *,
};
use crate::vmm::{
    block::{
        Disk,
        drive::Drive,
        errors::{ErrorPolicy, WriteErrors},
        limits::{Limit, Limits},
        statistics::Operation,
    },
    device::{Device, StateError},
};

#[test]
fn a_disk_says_what_it_is_in_one_string_instruction() {
    let mut bench = Bench::new();

    bench.disk_command(0xec, 0, 0);
    let status = bench.interrupt();
    let data = bench.read_data(512);

    assert_eq!(status, READY | SEEK_DONE | DATA_REQUEST);
    assert_eq!(&data[54..68], b"OLGD EAHDRIDKS");
    assert_eq!(u64::from_le_bytes(data[200..208].try_into().unwrap()), DISK / 512);
    assert_eq!(bench.ready(), READY | SEEK_DONE);
    assert!(!bench.line.is_high(), "the end of a command that has read is not told");
    assert_eq!(bench.read_data(4), [0xff; 4]);
}

#[test]
fn sectors_go_through_the_data_register_one_by_one_or_in_blocks() {
    let mut bench = Bench::new();
    // More than the buffer holds.
    for (code, block) in [(0x20, 512), (0xc4, 16 * 512)] {
        bench.disk_command(code, 3, 200);
        let mut data = Vec::new();
        while data.len() < 200 * 512 {
            assert_eq!(bench.interrupt() & (BUSY | DATA_REQUEST | ERROR), DATA_REQUEST);
            data.extend(bench.read_data(block.min(200 * 512 - data.len())));
        }

        assert_eq!(data, bench.on_disk(3 * 512, 200 * 512));
        assert_eq!(bench.ready(), READY | SEEK_DONE);
    }

    let new = pattern(200 * 512, 7);
    for (code, block, lba) in [(0x30, 512, 9), (0xc5, 16 * 512, 1000)] {
        bench.disk_command(code, lba, 200);
        assert_eq!(bench.ready() & (DATA_REQUEST | ERROR), DATA_REQUEST);
        for part in new.chunks(block) {
            assert!(!bench.line.is_high());
            bench.channel.write_items(COMMAND, 0, 2, part);
            assert_eq!(bench.interrupt() & ERROR, 0);
        }

        assert_eq!(bench.ready(), READY | SEEK_DONE);
        assert_eq!(bench.on_disk(u64::from(lba) * 512, 200 * 512), new);
    }
    bench.disk_command(0xe7, 0, 0);
    assert_eq!(bench.interrupt(), READY | SEEK_DONE);
    assert_eq!(bench.drive.statistics().counts(Operation::Flush).operations, 1);
    assert_eq!(bench.drive.statistics().counts(Operation::Read).bytes, 2 * 200 * 512);
}

#[test]
fn the_bus_master_moves_any_pieces_of_memory() {
    let mut bench = Bench::new();
    // Neither whole sectors nor in order; the third is 64 KiB.
    let pieces = [(DATA + 0x2_0000, 300), (DATA, 1748), (DATA + 0x4_0000, 0x1_0000), (DATA + 0x1000, 2048)];
    let length: usize = pieces.iter().map(|piece| piece.1 as usize).sum();
    let collect = |bench: &Bench| pieces.map(|(address, length)| bench.memory(address, length as usize)).concat();

    bench.describe(&pieces);
    bench.long_command(0x25, 5, (length / 512) as u16);
    bench.start_bus_master(true);
    let status = bench.interrupt();

    assert_eq!((status, bench.stop_bus_master()), (READY | SEEK_DONE, 4));
    assert_eq!(collect(&bench), bench.on_disk(5 * 512, length));

    // Back to elsewhere; the bus master is started first, as some drivers do.
    bench.describe(&pieces);
    bench.start_bus_master(false);
    bench.long_command(0x35, 1000, (length / 512) as u16);
    assert_eq!((bench.interrupt(), bench.stop_bus_master()), (READY | SEEK_DONE, 4));
    assert_eq!(collect(&bench), bench.on_disk(1000 * 512, length));
}

#[test]
fn a_table_that_does_not_fit_the_transfer_is_told_as_the_specification_says() {
    let mut bench = Bench::new();

    bench.describe(&[(DATA, 4096)]);
    bench.disk_command(0xc8, 0, 1);
    bench.start_bus_master(true);
    bench.interrupt();
    let too_long = bench.stop_bus_master();

    bench.describe(&[(DATA, 700)]);
    bench.disk_command(0xc8, 0, 8);
    bench.start_bus_master(true);
    bench.ready();
    let too_short = (bench.stop_bus_master(), bench.line.is_high());

    bench.describe(&[(DATA, 512), (MEMORY as u64, 512)]);
    bench.disk_command(0xc8, 0, 8);
    bench.start_bus_master(true);
    let nowhere = (bench.interrupt() & ERROR, bench.stop_bus_master());

    assert_eq!(too_long, 4 | 1, "an interrupt, and still active");
    assert_eq!(too_short, (0, false), "neither");
    assert_eq!(nowhere, (ERROR, 4 | 2));
    assert_eq!(bench.memory(DATA, 512), bench.on_disk(0, 512));
}

#[test]
fn without_leave_the_bus_master_touches_no_memory() {
    let mut bench = Bench::new();
    bench.channel.set_bus_master(false);
    bench.describe(&[(DATA, 512)]);
    bench.disk_command(0xc8, 0, 1);
    bench.start_bus_master(true);
    let before = bench.memory(DATA, 512);

    bench.channel.set_bus_master(true);
    bench.interrupt();

    assert_eq!(before, [0; 512]);
    assert_eq!(bench.memory(DATA, 512), bench.on_disk(0, 512));
}

#[test]
fn what_is_beyond_the_disk_or_unknown_is_refused() {
    let mut bench = Bench::new();
    let sectors = (DISK / 512) as u32;

    for (code, lba) in
        [(0x20, sectors), (0x30, sectors - 1), (0xc8, u32::MAX >> 4), (0x40, sectors), (0x02, 0), (0xa0, 0)]
    {
        bench.disk_command(code, lba, 2);
        let status = bench.interrupt();

        assert_eq!(status & (ERROR | DATA_REQUEST), ERROR, "{code:#x}");
        assert_ne!(bench.read(1) & 4, 0, "{code:#x}");
    }
    bench.long_command(0x24, u64::MAX >> 16, 0);
    assert_eq!(bench.interrupt() & ERROR, ERROR);
}

#[test]
fn what_is_trimmed_is_given_back_and_nothing_else() {
    let mut bench = Bench::new();
    let (before, list) = (bench.on_disk(0, DISK as usize), 0x8000);
    let trim = |bench: &mut Bench, ranges: &[(u64, u64)]| {
        let entries = ranges.iter().flat_map(|(first, count)| (first | count << 48).to_le_bytes());
        let mut block: Vec<u8> = entries.collect();
        block.resize(512, 0);
        bench.memory.write_slice(&block, GuestAddress(list)).unwrap();
        bench.describe(&[(list, 512)]);
        bench.write(1, 1);
        bench.long_command(0x06, 0, 1);
        bench.start_bus_master(false);
        let status = bench.interrupt();
        bench.stop_bus_master();
        (status, bench.read(1), bench.on_disk(0, DISK as usize))
    };

    let (beyond, reason, untouched) = trim(&mut bench, &[(8, 8), (DISK / 512 - 1, 2)]);
    let (status, _, after) = trim(&mut bench, &[(8, 8), (64, 16)]);

    assert_eq!((beyond & ERROR, reason & 0x10), (ERROR, 0x10));
    assert!(untouched == before);
    assert_eq!(status, READY | SEEK_DONE);
    let mut expected = before;
    expected[8 * 512..16 * 512].fill(0);
    expected[64 * 512..80 * 512].fill(0);
    assert!(after == expected);
    assert_eq!(bench.drive.statistics().counts(Operation::Discard).operations, 2);
    bench.disk_command(0xec, 0, 0);
    bench.interrupt();
    let identity = bench.read_data(512);
    assert_eq!((identity[105 * 2], identity[169 * 2]), (8, 1));
}

#[test]
fn a_reset_shows_what_each_drive_is() {
    let mut bench = Bench::new();
    bench.disk_command(0x20, 0, 200);

    bench.channel.write(CONTROL, 0, &[4]);
    let during = bench.alternate_status();
    bench.channel.write(CONTROL, 0, &[0]);
    let disk = [bench.ready(), bench.read(1), bench.read(4), bench.read(5)];
    bench.write(6, 0xa0 | SLAVE);
    let cdrom = [bench.ready(), bench.read(1), bench.read(4), bench.read(5)];

    assert_eq!(during, BUSY);
    assert_eq!(disk, [READY | SEEK_DONE, 1, 0, 0]);
    assert_eq!(cdrom, [0, 1, 0x14, 0xeb]);
    assert!(!bench.line.is_high());
}

#[test]
fn interrupts_that_are_switched_off_stay_pending() {
    let mut bench = Bench::new();
    bench.channel.write(CONTROL, 0, &[2]);

    bench.disk_command(0xe7, 0, 0);
    bench.ready();
    let off = bench.line.is_high();
    bench.channel.write(CONTROL, 0, &[0]);

    assert!(!off);
    assert!(bench.line.is_high());
}

#[test]
fn cylinders_and_heads_still_lead_to_sectors() {
    let mut bench = Bench::new();

    // 4 heads of 8 sectors, then cylinder 2, head 3, sector 5.
    for (register, value) in [(6, 0xa0 | 3), (2, 8), (7, 0x91)] {
        bench.write(register, value);
    }
    bench.interrupt();
    for (register, value) in [(6, 0xa0 | 3), (2, 1), (3, 5), (4, 2), (5, 0), (7, 0x20)] {
        bench.write(register, value);
    }
    bench.interrupt();

    assert_eq!(bench.read_data(512), bench.on_disk(((2 * 4 + 3) * 8 + 4) * 512, 512));
}

#[test]
fn a_transfer_goes_on_in_the_machine_that_takes_over_its_state() {
    let mut bench = Bench::new();
    bench.disk_command(0xc4, 0, 32);
    bench.interrupt();
    let first = bench.read_data(3000);
    bench.channel.pause();
    let state = bench.channel.save().unwrap();

    let mut other = Bench::new();
    other.channel.pause();
    other.channel.restore(state.clone()).unwrap();
    assert_eq!(other.channel.save().unwrap(), state);
    other.channel.resume();
    let mut rest = other.read_data(16 * 512 - 3000);
    other.interrupt();
    rest.extend(other.read_data(16 * 512));

    assert_eq!([first, rest].concat(), other.on_disk(0, 32 * 512));
    let damages: [fn(&mut serde_json::Value); 4] = [
        |state| state["units"][0]["drive"]["buffer"]["position"] = 1_000_000.into(),
        |state| state["units"][0]["drive"]["transfer"]["offset"] = 3.into(),
        |state| state["units"][1]["drive"] = serde_json::Value::Null,
        |state| state["work"] = serde_json::json!([7, "Flush"]),
    ];
    for damage in damages {
        let mut damaged = state.clone();
        damage(&mut damaged);
        assert!(matches!(other.channel.restore(damaged), Err(StateError::Damaged { .. })));
    }
}

#[test]
fn a_disk_keeps_within_its_limits() {
    let limits = Limits { operations: Limit::of(50), ..Limits::default() };
    let mut bench = Bench::with(|disk| Drive::new("disk", disk).with_limits(limits));
    let begun = Instant::now();

    for lba in 0..20 {
        bench.disk_command(0x20, lba, 1);
        bench.interrupt();
        bench.read_data(512);
    }

    // The first ones of a tenth of a second are free.
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    assert_eq!(bench.drive.statistics().counts(Operation::Read).operations, 20);
}

#[test]
fn a_write_that_the_host_has_no_room_for_is_kept_until_the_machine_goes_on() {
    let mut full = None;
    let (told, errors) = mpsc::channel();
    let mut bench = Bench::with(|disk| {
        let disk = Arc::new(Full { disk, full: AtomicBool::new(true) });
        full = Some(disk.clone());
        let observer = Arc::new(move |error| told.send(error).unwrap());
        Drive::new("disk", disk as Arc<dyn Disk>).with_policy(ErrorPolicy::default(), observer)
    });
    let go_on = |bench: &mut Bench| {
        bench.channel.pause();
        bench.drive.retry();
        bench.channel.resume();
    };
    let new = pattern(8 * 512, 5);

    bench.disk_command(0xc5, 3, 8);
    bench.channel.write_items(COMMAND, 0, 2, &new);
    let first = errors.recv_timeout(PATIENCE).unwrap();
    go_on(&mut bench);
    errors.recv_timeout(PATIENCE).unwrap();
    let meanwhile = (bench.alternate_status() & BUSY, bench.line.is_high());
    full.unwrap().full.store(false, Ordering::SeqCst);
    go_on(&mut bench);

    assert!(first.full);
    assert_eq!(meanwhile, (BUSY, false));
    assert_eq!(bench.interrupt() & ERROR, 0);
    assert_eq!(bench.on_disk(3 * 512, 8 * 512), new);
}

#[test]
fn a_failure_is_told_to_the_guest_where_the_policy_says_so() {
    let mut bench = Bench::with(|disk| {
        let disk: Arc<dyn Disk> = Arc::new(Full { disk, full: AtomicBool::new(true) });
        let policy = ErrorPolicy { write: WriteErrors::Report, ..ErrorPolicy::default() };
        Drive::new("disk", disk).with_policy(policy, Arc::new(|_| ()))
    });

    bench.describe(&[(DATA, 512)]);
    bench.disk_command(0xca, 0, 1);
    bench.start_bus_master(false);

    assert_eq!(bench.interrupt() & ERROR, ERROR);
    assert_eq!(bench.stop_bus_master(), 4);
    assert_eq!(bench.drive.statistics().counts(Operation::Write).failed, 1);
}

#[test]
fn nothing_that_a_guest_writes_harms_the_worker() {
    let mut bench = Bench::new();
    let mut noise = pattern(60_000, 99).into_iter();
    while let (Some(a), Some(b), Some(value)) = (noise.next(), noise.next(), noise.next()) {
        let length = [1, 2, 4, 8][usize::from(b & 3)];
        let data = [value; 8];
        match a % 16 {
            // Commands that do something, on both drives, more often than others.
            0..=3 => {
                bench.write(7, [0x20, 0x30, 0xc4, 0xc5, 0xc8, 0xca, 0xa0, 0x25, 0xec, 0xa1][usize::from(value) % 10])
            }
            4..=7 => bench.channel.write(COMMAND, u64::from(b % 10), &data[..length]),
            8 => bench.channel.write_items(COMMAND, 0, 2, &pattern(usize::from(value) * 8, b.into())),
            9 => drop(bench.read_data(usize::from(value) * 16)),
            10 | 11 => bench.channel.write(BUS_MASTER, u64::from(b % 10), &data[..length]),
            12 => bench.channel.read(BUS_MASTER, u64::from(b), &mut [0; 8][..length]),
            13 => bench.channel.write(CONTROL, u64::from(b % 3), &data[..length]),
            14 => bench.channel.read(usize::from(b % 5), u64::from(value), &mut [0; 8][..length]),
            _ => bench.describe(&[(u64::from(value) << 16, u32::from(b) << 4), (DATA, 512)]),
        }
    }

    bench.channel.reset();
    bench.disk_command(0xec, 0, 0);
    bench.interrupt();

    assert_eq!(&bench.read_data(512)[54..58], b"OLGD");
}
