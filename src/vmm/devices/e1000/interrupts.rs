//! Interrupts: causes, which of them count, and how soon one may follow the other (manual, sections 13.4.17 to 13.4.21).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::vmm::interrupt::Interrupt;

/// A descriptor that was to be told of has been sent.
pub const SENT: u32 = 1 << 0;
/// All descriptors are sent.
pub const SEND_QUEUE_EMPTY: u32 = 1 << 1;
/// The link has changed.
pub const LINK: u32 = 1 << 2;
/// Few receive buffers are left.
pub const FEW_BUFFERS: u32 = 1 << 4;
/// A frame was lost for want of receive buffers.
pub const OVERRUN: u32 = 1 << 6;
/// Frames were received.
pub const RECEIVED: u32 = 1 << 7;
/// MDIC is ready.
pub const MDIC_READY: u32 = 1 << 9;
/// Causes that there are.
const CAUSES: u32 = 0x1_fedf;

/// The unit of ITR.
const INTERVAL: Duration = Duration::from_nanos(256);
const INTERVAL_MAX: u32 = 0xffff;

/// The registers, and the wire.
#[derive(Default)]
pub struct Interrupts {
    // Wiring
    line: Option<Interrupt>,
    // Volatile state
    registers: SavedInterrupts,
    /// PCI's interrupt disable bit.
    is_disabled: bool,
    is_high: bool,
    /// The next interrupt does not come sooner.
    next: Option<Instant>,
    /// When the one that waits is due.
    due: Option<Instant>,
}

/// The registers.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedInterrupts {
    causes: u32,
    mask: u32,
    interval: u32,
}

impl Interrupts {
    pub fn connect(&mut self, line: Interrupt) {
        self.line = Some(line);
    }

    /// Something has happened. The line follows with [`Interrupts::update`].
    pub fn raise(&mut self, causes: u32) {
        self.registers.causes |= causes & CAUSES;
    }

    /// ICR: reading takes the causes.
    pub fn take_causes(&mut self, now: Instant) -> u32 {
        let causes = std::mem::take(&mut self.registers.causes);
        self.update(now);
        causes
    }

    pub fn clear_causes(&mut self, causes: u32, now: Instant) {
        self.registers.causes &= !causes;
        self.update(now);
    }

    pub fn mask(&self) -> u32 {
        self.registers.mask
    }

    pub fn allow(&mut self, causes: u32, now: Instant) {
        self.registers.mask |= causes & CAUSES;
        self.update(now);
    }

    pub fn forbid(&mut self, causes: u32, now: Instant) {
        self.registers.mask &= !causes;
        self.update(now);
    }

    pub fn interval(&self) -> u32 {
        self.registers.interval
    }

    pub fn set_interval(&mut self, interval: u32) {
        self.registers.interval = interval & INTERVAL_MAX;
    }

    /// Whether a cause that counts waits to be taken.
    pub fn is_pending(&self) -> bool {
        self.registers.causes & self.registers.mask != 0
    }

    /// PCI's interrupt disable bit.
    pub fn set_disabled(&mut self, disabled: bool) {
        self.is_disabled = disabled;
        self.drive(self.is_high);
    }

    /// Brings the line up to date: it rises when it may, or else at [`Interrupts::due`].
    pub fn update(&mut self, now: Instant) {
        self.due = None;
        if !self.is_pending() {
            self.drive(false);
        } else if !self.is_high {
            match self.next.filter(|next| *next > now) {
                Some(next) => self.due = Some(next),
                None => {
                    self.drive(true);
                    self.next = (self.registers.interval > 0).then(|| now + INTERVAL * self.registers.interval);
                }
            }
        }
    }

    /// When [`Interrupts::update`] has something to do although nothing happens.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    fn drive(&mut self, high: bool) {
        self.is_high = high;
        if let Some(line) = &self.line {
            line.set_level(high && !self.is_disabled);
        }
    }

    pub fn reset(&mut self) {
        self.registers = SavedInterrupts::default();
        (self.next, self.due) = (None, None);
        self.drive(false);
    }

    pub fn save(&self) -> SavedInterrupts {
        self.registers.clone()
    }

    /// Takes over saved registers; `false` when there are none such.
    pub fn restore(&mut self, saved: SavedInterrupts, now: Instant) -> bool {
        if (saved.causes | saved.mask) & !CAUSES != 0 || saved.interval > INTERVAL_MAX {
            return false;
        }
        self.registers = saved;
        self.update(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vmm::interrupt::testing::FakeLine;

    fn interrupts() -> (Interrupts, Arc<FakeLine>) {
        let (mut interrupts, line) = (Interrupts::default(), Arc::new(FakeLine::default()));
        interrupts.connect(line.clone());
        (interrupts, line)
    }

    #[test]
    fn the_line_is_high_while_a_cause_counts_that_was_not_taken() {
        let (mut interrupts, line) = interrupts();
        let now = Instant::now();
        interrupts.raise(SENT | LINK);
        interrupts.update(now);
        let masked = line.is_high();
        interrupts.allow(LINK, now);
        let allowed = line.is_high();
        interrupts.set_disabled(true);
        let disabled = line.is_high();
        interrupts.set_disabled(false);
        let causes = interrupts.take_causes(now);

        assert_eq!((masked, allowed, disabled, line.is_high()), (false, true, false, false));
        assert_eq!(causes, SENT | LINK);
    }

    #[test]
    fn interrupts_keep_their_interval() {
        let (mut interrupts, line) = interrupts();
        let start = Instant::now();
        interrupts.set_interval(1000);
        interrupts.allow(RECEIVED, start);
        interrupts.raise(RECEIVED);
        interrupts.update(start);
        interrupts.take_causes(start);

        interrupts.raise(RECEIVED);
        interrupts.update(start + Duration::from_micros(100));
        let too_soon = (line.is_high(), interrupts.due());
        interrupts.update(start + Duration::from_micros(256));

        assert_eq!(too_soon, (false, Some(start + Duration::from_micros(256))));
        assert_eq!((line.is_high(), line.edges(), interrupts.due()), (true, 2, None));
    }
}
