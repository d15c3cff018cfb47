//! pvpanic: the guest's kernel tells that it has panicked (QEMU, `docs/specs/pvpanic.rst`, the PCI form).
//!
//! One memory BAR; its first byte reads as the events that the machine understands, and what is written there is an event.

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    pci::{
        PciFunction,
        configuration::{BarKind, ConfigSpace, ConfigState},
    },
};

const VENDOR: u16 = 0x1b36;
const DEVICE: u16 = 0x0011;
/// Base class "generic system peripheral", subclass "other".
const CLASS: (u8, u8, u8) = (0x08, 0x80, 0x00);
const BAR_SIZE: u64 = 16;
const STATE_VERSION: u32 = 1;

const PANICKED: u8 = 1 << 0;
const CRASH_LOADED: u8 = 1 << 1;
const UNDERSTOOD: u8 = PANICKED | CRASH_LOADED;

/// What the guest can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestPanic {
    /// The kernel has panicked and leaves what to do to the host.
    Panicked,
    /// The kernel has panicked and now runs its crash kernel: let it.
    CrashLoaded,
}

/// Called with each event, on the vCPU's thread.
pub type PanicObserver = Arc<dyn Fn(GuestPanic) + Send + Sync>;

/// The device.
pub struct PvPanic {
    observer: PanicObserver,
    config: ConfigSpace,
}

#[derive(Serialize, Deserialize)]
struct State {
    config: ConfigState,
}

impl PvPanic {
    /// A device that reports to `observer`.
    pub fn new(observer: PanicObserver) -> Self {
        let (base, sub, interface) = CLASS;
        let mut config = ConfigSpace::builder(VENDOR, DEVICE)
            .revision(1)
            .class(base, sub, interface)
            .subsystem(0x1af4, 0x1100)
            .build();
        config.add_bar(0, BarKind::Memory32 { prefetchable: false }, BAR_SIZE);
        Self { observer, config }
    }
}

impl Device for PvPanic {
    fn label(&self) -> &str {
        "pvpanic"
    }

    fn read(&mut self, _region: usize, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let (0, [first, ..]) = (offset, data) {
            *first = UNDERSTOOD;
        }
    }

    fn write(&mut self, _region: usize, offset: u64, data: &[u8]) {
        let (0, [event, ..]) = (offset, data) else { return };
        if event & CRASH_LOADED != 0 {
            (self.observer)(GuestPanic::CrashLoaded);
        } else if event & PANICKED != 0 {
            (self.observer)(GuestPanic::Panicked);
        }
    }

    fn reset(&mut self) {
        self.config.reset();
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(self.label(), STATE_VERSION, State { config: self.config.save() })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: State = restore_state("pvpanic", STATE_VERSION, state)?;
        self.config.restore("pvpanic", &state.config)
    }
}

impl PciFunction for PvPanic {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn device() -> (PvPanic, Arc<Mutex<Vec<GuestPanic>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        (PvPanic::new(Arc::new(move |event| sink.lock().unwrap().push(event))), seen)
    }

    #[test]
    fn the_first_byte_tells_what_is_understood_and_the_rest_reads_as_zero() {
        let (mut device, _) = device();
        let mut data = [0xaa; 4];

        device.read(0, 0, &mut data);

        assert_eq!(data, [UNDERSTOOD, 0, 0, 0]);
        device.read(0, 8, &mut data);
        assert_eq!(data, [0; 4]);
    }

    #[test]
    fn each_event_is_reported_and_unknown_ones_are_not() {
        let (mut device, seen) = device();

        for event in [PANICKED, CRASH_LOADED, 0x80, 0] {
            device.write(0, 0, &[event]);
        }
        device.write(0, 1, &[PANICKED]);

        assert_eq!(*seen.lock().unwrap(), [GuestPanic::Panicked, GuestPanic::CrashLoaded]);
    }

    #[test]
    fn a_state_survives_saving_and_a_damaged_one_is_refused() {
        let (mut device, _) = device();
        device.config_mut().write(0x10, &0xfebf_0000u32.to_le_bytes());
        let saved = device.save().unwrap();
        let (mut other, _) = self::device();

        other.restore(saved.clone()).unwrap();

        assert_eq!(other.save().unwrap(), saved);
        assert!(other.restore(serde_json::json!({"version": 1, "config": {"bytes": [1, 2]}})).is_err());
        assert!(other.restore(serde_json::json!({"version": 9})).is_err());
    }
}
