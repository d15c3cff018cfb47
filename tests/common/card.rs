//! A guest that runs the test card.

use std::{cell::Cell, io::Write, ops::Deref};

use lodge::{
    manager::testcard,
    screen::Surface,
    vmm::{
        block::{self, Format, Image},
        machine::{DiskConfig, MachineConfig},
    },
};

use super::{
    kvm,
    machine::{TestMachine, machine},
};

/// The colours of the card's bars, from the left.
pub const BARS: [u32; 8] = [0xffffff, 0xffff00, 0x00ffff, 0x00ff00, 0xff00ff, 0xff0000, 0x0000ff, 0x000000];

/// A machine that has booted the test card.
pub struct Card {
    /// The machine.
    pub guest: TestMachine,
    /// How much of the serial output has been looked at, in bytes.
    seen: Cell<usize>,
}

/// Boots the card; `None` where there is no KVM.
pub fn boot() -> Option<Card> {
    boot_with(|_| {})
}

/// Boots the card in a machine changed by `change`; `None` where there is no KVM.
pub fn boot_with(change: impl FnOnce(&mut MachineConfig)) -> Option<Card> {
    let kvm = kvm::open()?;
    let mut guest = machine(kvm, |config| {
        config.disks = vec![disk()];
        change(config);
    });
    guest.machine.resume().expect("the machine did not start");
    let card = Card::of(guest);
    card.says("LODGE TESTCARD 1 800x600x32 ready");
    Some(card)
}

/// The disk that the card boots from.
pub fn disk() -> DiskConfig {
    let mut file = tempfile::tempfile().expect("a temporary file could not be made");
    file.write_all(testcard::image()).expect("the image could not be written");
    let disk = block::open(Image { file, format: Format::Raw }, true, Vec::new()).expect("the image is no disk");
    DiskConfig { serial: "card".to_owned(), bootindex: Some(0), ..DiskConfig::new("card", disk) }
}

impl Card {
    /// A machine that runs the card already.
    pub fn of(guest: TestMachine) -> Self {
        Self { guest, seen: Cell::new(0) }
    }

    /// Waits for the line `wanted`; what came before it is passed over.
    pub fn says(&self, wanted: &str) {
        self.line(wanted, |line| line == wanted);
    }

    /// Waits for a line that is `right`, described by `wanted`, and returns it; what came before it is passed over.
    pub fn line(&self, wanted: &str, right: impl Fn(&str) -> bool) -> String {
        let seen = self.seen.get();
        let (line, seen) = self.guest.serial.wait_until(wanted, |text| {
            let mut at = seen;
            text[seen..].split_inclusive("\r\n").find_map(|line| {
                at += line.len();
                line.strip_suffix("\r\n").filter(|line| right(line)).map(|line| (line.to_owned(), at))
            })
        });
        self.seen.set(seen);
        line
    }

    /// Gives the card a command and returns its answer.
    pub fn ask(&self, command: &str) -> String {
        let line = format!("{command}\n");
        assert_eq!(self.guest.machine.serial_input().enqueue(line.as_bytes()), line.len());
        let answers = ["ok", "pong", "commands: ", "error: "];
        self.line(&format!("an answer to {command}"), |line| answers.iter().any(|answer| line.starts_with(answer)))
    }

    /// Gives the card a command that it must carry out.
    pub fn tell(&self, command: &str) {
        let answer = self.ask(command);
        assert!(answer.starts_with("ok"), "{command}: {answer}");
    }

    /// What is on the screen.
    pub fn surface(&self) -> Surface {
        let screen = self.guest.machine.screen();
        let mut shown = Surface::default();
        screen.refresh();
        screen.look(0, &mut |surface, _| shown = surface.clone());
        shown
    }
}

impl Deref for Card {
    type Target = TestMachine;

    fn deref(&self) -> &TestMachine {
        &self.guest
    }
}

/// The colours in the middles of the card's bars.
pub fn bars(surface: &Surface) -> Vec<u32> {
    // The card is drawn on a grid of at least 20 by 15 units; the bars are 1.6 units wide each, side by side about the centre.
    let unit = (surface.width / 20).min(surface.height / 15);
    let row = surface.row(surface.height / 2 - unit);
    (0..8).map(|bar| row[(surface.width / 2 + unit * 8 * (2 * bar + 1) / 10 - unit * 64 / 10) as usize]).collect()
}
