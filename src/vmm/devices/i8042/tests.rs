//! The controller as a guest sees it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{
    input::{Button, Key},
    vmm::interrupt::testing::FakeLine,
};

struct Bench {
    controller: I8042,
    keyboard: Arc<FakeLine>,
    mouse: Arc<FakeLine>,
    resets: Arc<AtomicU32>,
}

fn bench() -> Bench {
    let (keyboard, mouse) = (Arc::new(FakeLine::default()), Arc::new(FakeLine::default()));
    let resets = Arc::new(AtomicU32::new(0));
    let counter = resets.clone();
    let reset: ResetLine = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    Bench { controller: I8042::new(keyboard.clone(), mouse.clone(), reset), keyboard, mouse, resets }
}

impl Bench {
    fn status(&mut self) -> u8 {
        let mut data = [0];
        self.controller.read(COMMAND, 0, &mut data);
        data[0]
    }

    fn take(&mut self) -> u8 {
        let mut data = [0];
        self.controller.read(DATA, 0, &mut data);
        data[0]
    }

    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.status() & STATUS_OUTPUT_FULL != 0 {
            bytes.push(self.take());
        }
        bytes
    }

    fn command(&mut self, bytes: &[u8]) -> &mut Self {
        self.controller.write(COMMAND, 0, &bytes[..1]);
        bytes[1..].iter().for_each(|&byte| self.controller.write(DATA, 0, &[byte]));
        self
    }

    fn key(&mut self, key: u16, down: bool) {
        self.controller.input().send(&[InputEvent::Key { key: Key(key), down }]);
    }
}

#[test]
fn the_self_test_passes_and_sets_the_system_flag() {
    let mut bench = bench();
    assert_eq!(bench.status() & STATUS_SYSTEM, 0);

    assert_eq!(bench.command(&[0xaa]).drain(), [0x55]);
    assert_eq!(bench.command(&[0xab]).drain(), [0]);
    assert_eq!(bench.command(&[0xa9]).drain(), [0]);

    assert_eq!(bench.status() & (STATUS_SYSTEM | STATUS_COMMAND), STATUS_SYSTEM | STATUS_COMMAND);
}

#[test]
fn keys_are_translated_only_while_the_guest_wants_it() {
    let mut bench = bench();
    bench.key(30, true);
    bench.key(30, false);
    assert_eq!(bench.drain(), [0x1c, 0xf0, 0x1c]);

    bench.command(&[0x60, CONFIG_TRANSLATE | 1]);
    bench.key(30, true);
    bench.key(30, false);
    bench.key(103, true);
    bench.key(103, false);

    assert_eq!(bench.drain(), [0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8]);
}

#[test]
fn the_current_scan_code_set_is_answered_through_the_translation() {
    let mut bench = bench();
    bench.controller.write(DATA, 0, &[0xf0]);
    bench.controller.write(DATA, 0, &[0]);
    assert_eq!(bench.drain(), [0xfa, 0xfa, 2]);

    bench.command(&[0x60, CONFIG_TRANSLATE]);
    bench.controller.write(DATA, 0, &[0xf0]);
    bench.controller.write(DATA, 0, &[0]);

    assert_eq!(bench.drain(), [0xfa, 0xfa, 0x41]);
}

#[test]
fn each_byte_is_an_edge_of_its_own_line() {
    let mut bench = bench();
    bench.key(30, true);
    bench.key(30, false);
    assert!(bench.keyboard.is_high());

    let bytes = bench.drain();

    assert_eq!(bytes.len(), 3);
    assert_eq!(bench.keyboard.edges(), 3);
    assert!(!bench.keyboard.is_high());
    assert_eq!(bench.mouse.edges(), 0);
}

#[test]
fn the_mouse_has_its_own_line_and_status_bit() {
    let mut bench = bench();
    bench.command(&[0xd4, 0xf4]);
    assert_eq!(bench.status() & STATUS_FROM_MOUSE, STATUS_FROM_MOUSE);
    assert_eq!(bench.drain(), [0xfa]);

    bench
        .controller
        .input()
        .send(&[InputEvent::Relative { dx: 3, dy: 2 }, InputEvent::Button { button: Button::Left, down: true }]);

    assert_eq!(bench.drain(), [0x28, 3, 0xfe, 9, 0, 0]);
    assert_eq!(bench.mouse.edges(), 7);
    assert_eq!(bench.keyboard.edges(), 0);
}

#[test]
fn positions_become_movement_against_the_last_one() {
    let mut bench = bench();
    bench.command(&[0xd4, 0xf4]).drain();

    bench.controller.input().send(&[InputEvent::Absolute { x: 16384, y: 16384 }]);
    let first = bench.drain();
    bench.controller.input().send(&[InputEvent::Absolute { x: 16384 + 320, y: 16384 - 32768 / 768 * 2 - 2 }]);

    assert!(first.is_empty(), "no movement is known yet");
    assert_eq!(bench.drain(), [8, 10, 3]);
}

#[test]
fn a_switched_off_port_holds_its_bytes_back() {
    let mut bench = bench();
    bench.command(&[0xad]);
    bench.key(30, true);
    let held = bench.drain();

    bench.command(&[0xae]);

    assert!(held.is_empty());
    assert_eq!(bench.drain(), [0x1c]);
}

#[test]
fn the_configuration_reads_back() {
    let mut bench = bench();
    bench.command(&[0x60, 0xff]);

    assert_eq!(bench.command(&[0x20]).drain(), [0x7f]);
}

#[test]
fn a20_and_the_output_port() {
    let mut bench = bench();
    assert_eq!(bench.command(&[0xd0]).drain(), [0b11]);
    bench.command(&[0xdd]);
    assert_eq!(bench.command(&[0xd0]).drain(), [0b01]);
    bench.command(&[0xd1, 0xdf]);
    assert_eq!(bench.command(&[0xd0]).drain(), [0xdf]);
    assert_eq!(bench.resets.load(Ordering::SeqCst), 0);
}

#[test]
fn the_pulsed_reset_pin_and_a_low_output_port_reset_the_machine() {
    let mut bench = bench();

    bench.command(&[0xff]);
    assert_eq!(bench.resets.load(Ordering::SeqCst), 0);
    bench.command(&[0xfe]);
    bench.command(&[0xd1, 0x02]);

    assert_eq!(bench.resets.load(Ordering::SeqCst), 2);
}

#[test]
fn written_output_buffers_come_back_as_if_from_the_devices() {
    let mut bench = bench();

    bench.command(&[0xd3, 0x42]);

    assert_eq!(bench.status() & STATUS_FROM_MOUSE, STATUS_FROM_MOUSE);
    assert_eq!(bench.drain(), [0x42]);
    assert_eq!(bench.command(&[0xd2, 0x43]).drain(), [0x43]);
    assert_eq!(bench.take(), 0x43, "an empty buffer repeats itself");
}

#[test]
fn no_command_or_length_panics_and_queues_stay_bounded() {
    let mut bench = bench();
    for command in 0..=255u8 {
        for argument in [0, 0x7f, 0xff] {
            bench.controller.write(COMMAND, 0, &[command]);
            bench.controller.write(DATA, 0, &[argument, 1, 2, 3]);
            bench.controller.write(9, u64::MAX, &[argument]);
            bench.controller.write(DATA, 1, &[]);
        }
    }

    let mut data = [0; 8];
    bench.controller.read(9, 3, &mut data);

    assert_eq!(data, [0xff; 8]);
    let state = bench.controller.save().unwrap();
    bench.controller.restore(state).unwrap();
}

#[test]
fn a_restored_controller_is_equal_and_raises_its_line_again() {
    let mut bench = bench();
    bench.command(&[0x60, 0x43]).command(&[0xd4, 0xf4]).drain();
    bench.key(30, true);
    bench.controller.input().send(&[InputEvent::Relative { dx: 1, dy: 1 }]);
    let state = bench.controller.save().unwrap();

    let mut other = self::bench();
    other.controller.restore(state.clone()).unwrap();

    assert_eq!(other.controller.save().unwrap(), state);
    assert!(other.keyboard.is_high());
    assert_eq!(other.drain(), bench.drain());
}

#[test]
fn a_damaged_state_is_refused_and_leaves_a_fresh_controller() {
    let mut bench = bench();
    let fresh = bench.controller.save().unwrap();
    let mut state = fresh.clone();
    state["keyboard"]["set"] = 3.into();
    bench.key(30, true);

    assert!(bench.controller.restore(state).is_err());

    assert_eq!(bench.controller.save().unwrap(), fresh);
    assert!(!bench.keyboard.is_high());
}
