//! The ACPI fixed hardware: PM1 events and control, the power management timer, and the command port that switches ACPI on
//! (ACPI 6.5, section 4.8; Intel 82371AB datasheet, section 7.2).
//!
//! The timer raises no interrupt when it overflows: that would take a periodic timer on the host, and no system of today
//! enables it.

#![forbid(unsafe_code)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::vmm::{
    boot::acpi::{ACPI_DISABLE, ACPI_ENABLE, S5_SLEEP_TYPE},
    device::{Device, StateError, restore_state, save_state},
    interrupt::Interrupt,
};

/// The region of the PM1 and timer registers, 64 ports where the PIIX4 puts them.
pub const BLOCK: usize = 0;
/// Ports of [`BLOCK`].
pub const BLOCK_PORTS: u64 = 64;
/// The region of the command port and the status port beside it.
pub const COMMAND: usize = 1;
/// Ports of [`COMMAND`].
pub const COMMAND_PORTS: u64 = 2;

/// The wire by which the device switches the machine off. It only reports, like [`ResetLine`](super::ResetLine).
pub type PowerLine = Arc<dyn Fn() + Send + Sync>;

const LABEL: &str = "power-management";
const STATE_VERSION: u32 = 1;

/// Ticks of the timer in a second (section 4.8.2.1).
const TIMER_HZ: u128 = 3_579_545;

const STATUS: u64 = 0;
const ENABLE: u64 = 2;
const CONTROL: u64 = 4;
const TIMER: usize = 8;

/// Bits of PM1 status and enable: the timer, the global lock, power button, sleep button, RTC.
const POWER_BUTTON: u16 = 1 << 8;
const WAKE: u16 = 1 << 15;
const ENABLE_BITS: u16 = 1 | 1 << 5 | POWER_BUTTON | 1 << 9 | 1 << 10;
const STATUS_BITS: u16 = ENABLE_BITS | 1 << 4 | WAKE;

const SCI_ENABLE: u16 = 1;
const SLEEP_TYPE_SHIFT: u32 = 10;
const SLEEP_TYPE: u16 = 0b111 << SLEEP_TYPE_SHIFT;
const SLEEP_ENABLE: u16 = 1 << 13;
/// Bus master reload and sleep type; the rest is the device's or writes only.
const CONTROL_WRITABLE: u16 = 1 << 1 | SLEEP_TYPE;

/// The fixed hardware.
pub struct PowerManagement {
    // Wiring
    interrupt: Interrupt,
    power_off: PowerLine,
    // Volatile state
    registers: Registers,
    clock: Clock,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    status: u16,
    enable: u16,
    control: u16,
    command: [u8; 2],
}

/// The time the machine has been running: it stands still while the machine is paused.
#[derive(Default)]
struct Clock {
    before: Duration,
    since: Option<Instant>,
}

impl Clock {
    fn elapsed(&self) -> Duration {
        self.before + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

/// The timer after `elapsed`.
fn ticks(elapsed: Duration) -> u32 {
    (elapsed.as_nanos() * TIMER_HZ / 1_000_000_000) as u32
}

#[derive(Serialize, Deserialize)]
struct State {
    registers: Registers,
    elapsed: Duration,
}

impl PowerManagement {
    /// The hardware at power-on. `interrupt` is the SCI, `power_off` is pulled when the guest enters S5.
    pub fn new(interrupt: Interrupt, power_off: PowerLine) -> Self {
        Self { interrupt, power_off, registers: Registers::default(), clock: Clock::default() }
    }

    /// A person presses the power button: the operating system shuts down, if it listens.
    pub fn press_power_button(&mut self) {
        self.registers.status |= POWER_BUTTON;
        self.drive_interrupt();
    }

    fn drive_interrupt(&self) {
        let Registers { status, enable, control, .. } = self.registers;
        self.interrupt.set_level(control & SCI_ENABLE != 0 && status & enable & ENABLE_BITS != 0);
    }

    fn write_block(&mut self, offset: u64, data: &[u8]) {
        let mut sleep = false;
        for (offset, &byte) in (offset..).zip(data) {
            let shift = offset % 2 * 8;
            let (value, mask) = (u16::from(byte) << shift, 0xffu16 << shift);
            let registers = &mut self.registers;
            match offset & !1 {
                STATUS => registers.status &= !value,
                ENABLE => registers.enable = registers.enable & !mask | value & ENABLE_BITS,
                CONTROL => {
                    let writable = mask & CONTROL_WRITABLE;
                    registers.control = registers.control & !writable | value & writable;
                    sleep |= value & SLEEP_ENABLE != 0;
                }
                _ => {}
            }
        }
        self.drive_interrupt();
        let sleep_type = (self.registers.control & SLEEP_TYPE) >> SLEEP_TYPE_SHIFT;
        if sleep && sleep_type == u16::from(S5_SLEEP_TYPE) {
            (self.power_off)();
        }
    }

    fn write_command(&mut self, command: u8) {
        match command {
            ACPI_ENABLE => self.registers.control |= SCI_ENABLE,
            ACPI_DISABLE => self.registers.control &= !SCI_ENABLE,
            _ => {}
        }
        self.drive_interrupt();
    }
}

impl Device for PowerManagement {
    fn label(&self) -> &str {
        LABEL
    }

    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        let Registers { status, enable, control, command } = self.registers;
        let mut bytes = [0; TIMER + 4];
        let bytes = if region == COMMAND {
            bytes[..2].copy_from_slice(&command);
            bytes
        } else {
            bytes[0..2].copy_from_slice(&status.to_le_bytes());
            bytes[2..4].copy_from_slice(&enable.to_le_bytes());
            bytes[4..6].copy_from_slice(&control.to_le_bytes());
            bytes[TIMER..].copy_from_slice(&ticks(self.clock.elapsed()).to_le_bytes());
            bytes
        };
        data.fill(0);
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        data.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    }

    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        if region == BLOCK {
            self.write_block(offset, data);
            return;
        }
        for (offset, &byte) in (offset as usize..).zip(data) {
            if let Some(register) = self.registers.command.get_mut(offset) {
                *register = byte;
            }
            if offset == 0 {
                self.write_command(byte);
            }
        }
    }

    fn reset(&mut self) {
        self.registers = Registers::default();
        self.drive_interrupt();
    }

    fn pause(&mut self) {
        self.clock = Clock { before: self.clock.elapsed(), since: None };
    }

    fn resume(&mut self) {
        self.clock.since.get_or_insert_with(Instant::now);
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(LABEL, STATE_VERSION, State { registers: self.registers, elapsed: self.clock.elapsed() })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let State { registers, elapsed } = restore_state(LABEL, STATE_VERSION, state)?;
        let known = registers.status & !STATUS_BITS == 0
            && registers.enable & !ENABLE_BITS == 0
            && registers.control & !(CONTROL_WRITABLE | SCI_ENABLE) == 0;
        if !known {
            return Err(StateError::damaged(LABEL, format_args!("{registers:?}")));
        }
        self.registers = registers;
        self.clock = Clock { before: elapsed, since: self.clock.since.map(|_| Instant::now()) };
        self.drive_interrupt();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::vmm::interrupt::testing::FakeLine;

    struct Fixture {
        device: PowerManagement,
        sci: Arc<FakeLine>,
        power_offs: Arc<AtomicU32>,
    }

    fn fixture() -> Fixture {
        let sci = Arc::new(FakeLine::default());
        let power_offs = Arc::new(AtomicU32::new(0));
        let counter = power_offs.clone();
        let power_off: PowerLine = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        Fixture { device: PowerManagement::new(sci.clone(), power_off), sci, power_offs }
    }

    fn read(device: &mut PowerManagement, offset: u64) -> u16 {
        let mut data = [0; 2];
        device.read(BLOCK, offset, &mut data);
        u16::from_le_bytes(data)
    }

    #[test]
    fn the_timer_counts_at_its_rate_and_wraps() {
        assert_eq!(ticks(Duration::from_secs(1)), 3_579_545);
        assert_eq!(ticks(Duration::from_millis(1)), 3_579);
        assert_eq!(ticks(Duration::from_secs(1200)), (3_579_545u64 * 1200) as u32);
    }

    #[test]
    fn the_timer_stands_still_while_the_machine_is_paused() {
        let mut device = fixture().device;
        device.clock.before = Duration::from_secs(1);

        let mut paused = [0; 4];
        device.read(BLOCK, TIMER as u64, &mut paused);
        device.resume();
        device.pause();
        let after = device.clock.elapsed();

        assert_eq!(u32::from_le_bytes(paused), 3_579_545);
        assert!(after >= Duration::from_secs(1));
        assert_eq!(device.clock.elapsed(), after);
    }

    #[test]
    fn the_power_button_interrupts_once_acpi_and_its_event_are_enabled() {
        let mut fixture = fixture();
        let device = &mut fixture.device;

        device.press_power_button();
        device.write(BLOCK, ENABLE, &POWER_BUTTON.to_le_bytes());
        let before_acpi = fixture.sci.is_high();
        device.write(COMMAND, 0, &[ACPI_ENABLE]);
        let raised = (fixture.sci.is_high(), read(device, STATUS), read(device, CONTROL));
        device.write(BLOCK, STATUS, &POWER_BUTTON.to_le_bytes());

        assert!(!before_acpi);
        assert_eq!(raised, (true, POWER_BUTTON, SCI_ENABLE));
        assert!(!fixture.sci.is_high());
        assert_eq!(read(device, STATUS), 0);
    }

    #[test]
    fn entering_s5_switches_off() {
        let mut fixture = fixture();
        let sleep = |sleep_type: u16| (sleep_type << SLEEP_TYPE_SHIFT | SLEEP_ENABLE).to_le_bytes();

        fixture.device.write(BLOCK, CONTROL, &sleep(5));
        let other = fixture.power_offs.load(Ordering::SeqCst);
        fixture.device.write(BLOCK, CONTROL, &sleep(S5_SLEEP_TYPE.into()));

        assert_eq!(other, 0);
        assert_eq!(fixture.power_offs.load(Ordering::SeqCst), 1);
        assert_eq!(read(&mut fixture.device, CONTROL) & SLEEP_ENABLE, 0);
    }

    #[test]
    fn no_offset_or_width_panics_and_status_is_only_cleared() {
        let mut device = fixture().device;

        for offset in 0..BLOCK_PORTS {
            for len in [1, 2, 4, 8] {
                device.write(BLOCK, offset, &[0xdf; 8][..len]);
                device.read(BLOCK, offset, &mut [0; 8][..len]);
                device.write(COMMAND, offset, &[0; 8][..len]);
                device.read(COMMAND, offset, &mut [0; 8][..len]);
            }
        }

        assert_eq!(read(&mut device, STATUS), 0);
        assert_eq!(read(&mut device, ENABLE), 0xdfdf & ENABLE_BITS);
    }

    #[test]
    fn a_saved_state_is_restored_and_an_impossible_one_refused() {
        let mut device = fixture().device;
        device.press_power_button();
        device.clock.before = Duration::from_secs(77);
        let state = device.save().unwrap();

        let mut other = fixture().device;
        other.restore(state.clone()).unwrap();
        let mut damaged = state.clone();
        damaged["registers"]["control"] = (SLEEP_ENABLE).into();

        assert_eq!(other.save().unwrap(), state);
        assert!(matches!(other.restore(damaged), Err(StateError::Damaged { .. })));
    }
}
