//! Tests of the configuration space without a machine.

use super::*;

const MEMORY32: BarKind = BarKind::Memory32 { prefetchable: false };
const MEMORY64: BarKind = BarKind::Memory64 { prefetchable: true };

fn space() -> ConfigSpace {
    let mut space = ConfigSpace::builder(0x1af4, 0x1042)
        .revision(1)
        .class(1, 0, 0)
        .subsystem(0x1af4, 2)
        .interrupt_pin(InterruptPin::A)
        .build();
    space.add_bar(0, BarKind::Io, 64);
    space.add_bar(1, MEMORY32, 4096);
    space.add_bar(4, MEMORY64, 16384);
    space
}

#[test]
fn the_header_is_as_built_and_cannot_be_written() {
    let mut space = space();

    space.write(0, &[0; 16]);

    assert_eq!(space.u32(0), 0x1042_1af4);
    assert_eq!(space.u32(8), 0x0100_0001);
    assert_eq!(space.u32(0x2c), 0x0002_1af4);
    assert_eq!(space.pin(), Some(0));
}

#[test]
fn a_bar_tells_its_size_after_all_ones() {
    let mut space = space();

    for index in [0, 1, 4, 5] {
        space.write(0x10 + 4 * index, &[0xff; 4]);
    }

    assert_eq!(space.u32(0x10), 0xffff_ffc1);
    assert_eq!(space.u32(0x14), 0xffff_f000);
    assert_eq!(space.u32(0x20), 0xffff_c00c);
    assert_eq!(space.u32(0x24), 0xffff_ffff);
}

#[test]
fn a_bar_answers_only_while_enabled_placed_and_not_being_sized() {
    let mut space = space();
    assert_eq!(space.bar_addresses(), [None; 6]);

    space.write(4, &[3, 0]);
    assert_eq!(space.bar_addresses(), [None; 6], "no address yet");

    space.write(0x10, &0xc000u32.to_le_bytes());
    space.write(0x14, &0xfebf_0000u32.to_le_bytes());
    space.write(0x20, &0x8000_4000_0000u64.to_le_bytes());
    assert_eq!(space.bar_addresses(), [Some(0xc000), Some(0xfebf_0000), None, None, Some(0x8000_4000_0000), None]);

    space.write(0x10, &[0xff; 8]);
    space.write(0x20, &[0xff; 8]);
    assert_eq!(space.bar_addresses(), [None; 6], "being sized");

    space.write(0x14, &0xfebf_0000u32.to_le_bytes());
    space.write(4, &[1, 0]);
    assert_eq!(space.bar_address(1), None, "memory decoding is off");
}

#[test]
fn capabilities_are_chained_and_only_their_mask_is_writable() {
    let mut space = space();
    assert_eq!(space.u16(6) & STATUS_CAPABILITIES, 0);

    let first = space.add_capability(0x11, &[0x03, 0x00, 1, 2, 3, 4], &[0, 0xc0]);
    let second = space.add_capability(0x09, &[5, 6, 7], &[]);
    space.write(first + 2, &[0xff; 6]);
    space.write(second, &[0xff; 5]);

    assert_ne!(space.u16(6) & STATUS_CAPABILITIES, 0);
    assert_eq!(u16::from(space.u8(0x34)), first);
    assert_eq!(u16::from(space.u8(first + 1)), second);
    assert_eq!(space.u8(second + 1), 0);
    assert_eq!([space.u8(first + 2), space.u8(first + 3), space.u8(first + 4)], [0x03, 0xc0, 1]);
    assert_eq!(space.u32(second), 0x0605_0009);
}

#[test]
fn a_one_clears_the_bits_that_are_made_so() {
    let mut space = space();
    space.allow_clearing(0x44, &[0x0f]);
    space.set(0x44, &[0xff]);

    space.write(0x44, &[0x05]);

    assert_eq!(space.u8(0x44), 0x0a);
}

#[test]
fn the_interrupt_status_is_the_devices_alone() {
    let mut space = space();

    space.set_interrupt_status(true);
    space.write(6, &[0, 0]);
    let pending = space.u16(6);
    space.set_interrupt_status(false);

    assert_eq!(pending & STATUS_INTERRUPT, STATUS_INTERRUPT);
    assert_eq!(space.u16(6) & STATUS_INTERRUPT, 0);
}

#[test]
fn beyond_the_space_are_ones_and_nothing_is_written() {
    let mut space = space();

    space.write(254, &[0xff; 8]);
    space.write(u16::MAX, &[0xff; 2]);

    assert_eq!(space.u32(254), 0xffff_0000);
    assert_eq!(space.u16(u16::MAX), 0xffff);
}

#[test]
fn reset_is_power_on_again() {
    let mut space = space();
    let power_on = space.save();
    space.write(4, &[7, 4]);
    space.write(0x10, &[0xff; 24]);

    space.reset();

    assert_eq!(space.save(), power_on);
}

#[test]
fn a_saved_state_is_taken_over_and_a_foreign_one_refused() {
    let mut space = space();
    space.write(4, &[7, 4]);
    space.write(0x20, &0x8000_4000_0000u64.to_le_bytes());
    let state = space.save();

    let mut same = self::space();
    same.restore("disk0", &state).unwrap();
    let mut other = ConfigSpace::builder(0x1af4, 0x1041).build();
    let before = other.save();

    assert_eq!(same.save(), state);
    assert!(matches!(other.restore("net0", &state), Err(StateError::Damaged { .. })));
    assert_eq!(other.save(), before);
    let short = ConfigState { bytes: vec![0; 255] };
    assert!(matches!(same.restore("disk0", &short), Err(StateError::Damaged { .. })));
}

#[test]
#[should_panic(expected = "taken")]
fn the_upper_half_of_a_64_bit_bar_is_taken() {
    space().add_bar(5, BarKind::Io, 16);
}
