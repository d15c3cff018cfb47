//! The test card in the engine: what it draws is on the screen, what it is sent arrives, what it does to the machine is seen.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs::{self, File},
    time::{Duration, Instant},
};

use common::{
    card::{BARS, Card, bars, boot, boot_with},
    machine::firmware,
};
use lodge::{
    input::{Button, InputEvent, Key},
    vmm::machine::{Graphics, MachineEvent, ResetCause},
};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY_A: Key = Key(30);
const KEY_UP: Key = Key(103);

fn key(key: Key, down: bool) -> InputEvent {
    InputEvent::Key { key, down }
}

/// The processor time that the guest's vCPU has used, in clock ticks of 10 ms.
fn vcpu_ticks(card: &Card) -> u64 {
    let thread = card.machine.vcpus()[0].thread_id;
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until the guest's vCPU has used `ticks` more of the processor.
fn wait_until_it_works(card: &Card, ticks: u64) {
    let (before, deadline) = (vcpu_ticks(card), Instant::now() + PATIENCE);
    while vcpu_ticks(card) < before + ticks {
        assert!(Instant::now() < deadline, "the vCPU has used {} ticks only", vcpu_ticks(card) - before);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for a second in which the guest's vCPU uses no clock tick. A timer of the host may bill a tick to whom it meets, so the
/// first second need not be such a one.
fn wait_until_it_rests(card: &Card) {
    let deadline = Instant::now() + PATIENCE;
    let mut used = Vec::new();
    while used.last() != Some(&0) {
        assert!(Instant::now() < deadline, "the vCPU does not rest; ticks of each second: {used:?}");
        let before = vcpu_ticks(card);
        std::thread::sleep(Duration::from_secs(1));
        used.push(vcpu_ticks(card) - before);
    }
}

#[test]
fn the_colour_bars_are_right_in_every_depth_and_size() {
    let Some(card) = boot() else { return };
    let first = card.surface();
    assert_eq!((first.width, first.height, bars(&first)), (800, 600, BARS.to_vec()));

    for (width, height) in [(640, 480), (1280, 720)] {
        for depth in [8, 15, 16, 24, 32] {
            let mode = format!("{width}x{height}x{depth}");
            assert_eq!(card.ask(&format!("mode {width} {height} {depth}")), format!("ok {mode}"));

            let surface = card.surface();

            assert_eq!((surface.width, surface.height), (width, height), "{mode}");
            assert_eq!(bars(&surface), BARS, "{mode}");
        }
    }
    card.tell("mode 2560 1600 32");
    let largest = card.surface();
    assert_eq!((largest.width, largest.height, bars(&largest)), (2560, 1600, BARS.to_vec()));
}

#[test]
fn a_virtio_gpu_without_a_driver_is_a_vga() {
    let Some(card) = boot_with(|config| {
        config.graphics = Graphics::Virtio;
        firmware(config).vga_bios = File::open("/usr/share/seabios/vgabios-virtio.bin").unwrap();
    }) else {
        return;
    };
    assert_eq!(bars(&card.surface()), BARS);

    card.tell("text");

    assert_eq!(card.surface().width, 720);
}

#[test]
fn a_mode_that_does_not_exist_is_refused_and_changes_nothing() {
    let Some(card) = boot() else { return };
    let before = card.surface();

    for mode in ["100 100 32", "2568 1600 32", "800 600 12", "800 600", "x y z"] {
        assert!(card.ask(&format!("mode {mode}")).starts_with("error: "), "{mode}");
    }

    assert_eq!((card.surface().width, bars(&card.surface())), (before.width, BARS.to_vec()));
}

#[test]
fn a_filled_screen_has_that_colour_in_every_pixel() {
    let Some(card) = boot() else { return };

    card.tell("fill 3366cc");

    assert!(card.surface().pixels.iter().all(|pixel| *pixel == 0x3366cc));
}

#[test]
fn text_mode_shows_16_colours_and_the_last_linear_mode_comes_back() {
    let Some(card) = boot() else { return };

    card.tell("text");
    let text = card.surface();
    card.tell("card");

    assert_eq!((text.width, text.height), (720, 400));
    let mut colours = text.pixels;
    colours.sort_unstable();
    colours.dedup();
    assert_eq!(colours.len(), 16, "{colours:06x?}");
    assert_eq!((card.surface().width, bars(&card.surface())), (800, BARS.to_vec()));
}

#[test]
fn keys_and_the_pointer_are_echoed() {
    let Some(card) = boot() else { return };
    let input = card.machine.input();

    input.send(&[key(KEY_A, true)]);
    input.send(&[key(KEY_A, false)]);
    card.says("key 1e down");
    card.says("key 1e up");
    input.send(&[key(KEY_UP, true), key(KEY_UP, false)]);
    card.says("key e048 down");
    card.says("key e048 up");
    input.send(&[InputEvent::Relative { dx: 10, dy: -20 }]);
    card.says("pointer 410 280");
    input.send(&[InputEvent::Button { button: Button::Left, down: true }]);
    card.says("button left down");
    input.send(&[InputEvent::Button { button: Button::WheelUp, down: true }]);
    input.send(&[InputEvent::Button { button: Button::WheelUp, down: false }]);
    card.says("wheel up");
}

#[test]
fn what_is_typed_appears_on_the_screen() {
    let Some(card) = boot() else { return };
    let before = card.surface();

    card.machine.input().send(&[key(KEY_A, true), key(KEY_A, false)]);
    card.says("key 1e up");
    card.says_pong();

    assert_ne!(card.surface(), before);
}

#[test]
fn every_way_of_a_reset_starts_the_card_again() {
    let Some(mut card) = boot() else { return };
    let ways = [
        ("reset kbd", ResetCause::KeyboardController),
        ("reset port92", ResetCause::SystemControlPort),
        ("reset cf9", ResetCause::ResetControl),
        ("triple", ResetCause::TripleFault),
    ];

    for (way, wanted) in ways {
        card.tell(way);
        let event = card.event();
        assert!(matches!(event, MachineEvent::Reset { cause } if cause == wanted), "{way}: {event:?}");
        card.guest.machine.reset().unwrap();
        card.says("LODGE TESTCARD 1 800x600x32 ready");
        assert_eq!(bars(&card.surface()), BARS, "{way}");
    }
}

#[test]
fn an_instruction_that_cannot_be_emulated_is_reported_with_its_bytes() {
    let Some(card) = boot() else { return };

    card.tell("bad");

    let event = card.event();
    let MachineEvent::InternalError(report) = event else { panic!("{event:?}") };
    assert!(report.bytes.starts_with(&[0xf3, 0x0f, 0xb8]), "{report}");
}

#[test]
fn soft_off_ends_the_guest() {
    let Some(card) = boot() else { return };

    card.tell("poweroff");

    let event = card.event();
    assert!(matches!(event, MachineEvent::Shutdown { .. }), "{event:?}");
}

#[test]
fn a_halted_card_costs_nothing_and_a_spinning_one_does() {
    let Some(card) = boot() else { return };

    card.tell("spin");
    wait_until_it_works(&card, 20);
    card.tell("stop");
    card.tell("idle");
    wait_until_it_rests(&card);
    card.tell("halt");
    wait_until_it_rests(&card);
}

#[test]
fn an_unchanged_screen_stays_in_its_generation_and_a_storm_does_not() {
    let Some(card) = boot() else { return };
    let screen = card.machine.screen();
    screen.attach();
    card.tell("idle");

    screen.refresh();
    let still = (screen.refresh(), screen.refresh());
    let mut storms = Vec::new();
    for kind in ["plasma", "noise", "scroll", "window"] {
        card.tell(&format!("storm {kind}"));
        let before = screen.refresh();
        let frames = card.wait_for_frames();
        storms.push((kind, frames > 0, screen.refresh() > before));
    }

    assert_eq!(still.0, still.1);
    assert!(storms.iter().all(|(_, drawn, seen)| *drawn && *seen), "{storms:?}");
}

impl Card {
    /// Waits until the card has done all that it was sent before.
    fn says_pong(&self) {
        assert_eq!(self.ask("ping"), "pong");
    }

    /// Lets a storm go on for some frames, stops it, and returns how many they were.
    fn wait_for_frames(&self) -> u32 {
        self.tell("seconds on");
        self.line("a second", |line| line.starts_with("second "));
        self.tell("seconds off");
        let answer = self.ask("stop");
        answer.strip_prefix("ok, frames: ").and_then(|frames| frames.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }
}
