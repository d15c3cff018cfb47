//! System control port A (port 0x92) of the PS/2 and its successors: fast A20 gate and fast reset.
//!
//! The gate is remembered and nothing more: no guest that a hypervisor meets wants its memory to wrap around at 1 MiB.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ResetLine;
use crate::vmm::device::{Device, StateError, restore_state, save_state};

const FAST_RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;

const STATE_VERSION: u32 = 1;

/// The port.
pub struct SystemControl {
    reset: ResetLine,
    state: State,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct State {
    value: u8,
}

const POWER_ON: State = State { value: A20 };

impl SystemControl {
    /// A port that resets the machine by `reset`.
    pub fn new(reset: ResetLine) -> Self {
        Self { reset, state: POWER_ON }
    }
}

impl Device for SystemControl {
    fn label(&self) -> &str {
        "system-control"
    }

    fn read(&mut self, _region: usize, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(first) = data.first_mut() {
            *first = self.state.value;
        }
    }

    fn write(&mut self, _region: usize, _offset: u64, data: &[u8]) {
        let Some(&value) = data.first() else { return };
        // The reset comes with the bit's rise and not while it stays.
        let rises = value & FAST_RESET != 0 && self.state.value & FAST_RESET == 0;
        self.state.value = value;
        if rises {
            (self.reset)();
        }
    }

    fn reset(&mut self) {
        self.state = POWER_ON;
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(self.label(), STATE_VERSION, self.state)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        self.state = restore_state(self.label(), STATE_VERSION, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    fn port() -> (SystemControl, Arc<AtomicU32>) {
        let resets = Arc::new(AtomicU32::new(0));
        let counter = resets.clone();
        let line: ResetLine = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (SystemControl::new(line), resets)
    }

    #[test]
    fn a20_is_on_after_reset_and_can_be_switched() {
        let (mut port, resets) = port();
        let mut data = [0];
        port.read(0, 0, &mut data);
        assert_eq!(data, [A20]);

        port.write(0, 0, &[0]);
        port.read(0, 0, &mut data);
        let off = data;
        port.reset();
        port.read(0, 0, &mut data);

        assert_eq!((off, data), ([0], [A20]));
        assert_eq!(resets.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_rising_reset_bit_resets_once() {
        let (mut port, resets) = port();

        port.write(0, 0, &[A20 | FAST_RESET]);
        port.write(0, 0, &[A20 | FAST_RESET]);
        port.write(0, 0, &[]);

        assert_eq!(resets.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_restored_port_is_equal() {
        let (mut port, resets) = port();
        port.write(0, 0, &[0x28]);
        let state = port.save().unwrap();
        port.reset();

        port.restore(state.clone()).unwrap();

        assert_eq!(port.save().unwrap(), state);
        assert!(port.restore(serde_json::json!({"version": 1, "value": 256})).is_err());
        assert_eq!(resets.load(Ordering::SeqCst), 0);
    }
}
