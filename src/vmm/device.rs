//! What every device of the machine has in common: its face towards the buses, reset, save and restore.
//!
//! A device owns one or more *regions* (port ranges, memory ranges, PCI BARs). The bus calls it with the number of the
//! region and the offset in it, so that a device never needs to know where it is mapped.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A device as the buses and the machine hold it.
pub type SharedDevice = Arc<Mutex<dyn Device>>;

/// A device on a bus.
///
/// Everything a guest passes in is hostile: no method may panic, whatever the offset or the length.
pub trait Device: Send {
    /// The device's name in logs and saved states, unique in a machine: `serial0`, `rtc`.
    fn label(&self) -> &str;

    /// Reads `data.len()` bytes (1, 2, 4 or 8), little-endian, at `offset` (bytes) of region `region`.
    /// What is not there reads as ones (`0xff`), as on a real bus.
    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]);

    /// Writes `data` (1, 2, 4 or 8 bytes), little-endian, at `offset` (bytes) of region `region`.
    fn write(&mut self, region: usize, offset: u64, data: &[u8]);

    /// Reads items of `size` bytes, all from the same place, until `data` is full: a string instruction.
    fn read_items(&mut self, region: usize, offset: u64, size: usize, data: &mut [u8]) {
        data.chunks_exact_mut(size.max(1)).for_each(|item| self.read(region, offset, item));
    }

    /// Writes items of `size` bytes, all to the same place: a string instruction.
    fn write_items(&mut self, region: usize, offset: u64, size: usize, data: &[u8]) {
        data.chunks_exact(size.max(1)).for_each(|item| self.write(region, offset, item));
    }

    /// Puts the device into its state after power-on. Idempotent.
    fn reset(&mut self);

    /// The machine has stopped its vCPUs: ends what the device does on its own (I/O in flight is completed, timers stop)
    /// until [`Device::resume`]. A machine is paused when it is made. Idempotent.
    fn pause(&mut self) {}

    /// The machine is about to run its vCPUs. Idempotent.
    fn resume(&mut self) {}

    /// The volatile state. A device that cannot be saved says so with an error, never with an empty state.
    fn save(&self) -> Result<Value, StateError>;

    /// Takes over a saved state, after checking it as if the guest had written it. On an error the device is as after reset.
    fn restore(&mut self, state: Value) -> Result<(), StateError>;
}

/// Why a state could not be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The device has no support for it.
    #[error("{device} cannot be saved: {reason}")]
    Unsupported {
        /// The device's label.
        device: String,
        /// Why.
        reason: String,
    },
    /// The state was written by a newer version.
    #[error("{device}: the saved state has version {found}, this program knows {known}")]
    Version {
        /// The device's label.
        device: String,
        /// The version in the state.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The state is damaged.
    #[error("{device}: the saved state is damaged: {reason}")]
    Damaged {
        /// The device's label.
        device: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StateError {
    /// A state that holds an impossible value.
    pub fn damaged(device: &str, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { device: device.to_owned(), reason: reason.to_string() }
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    state: T,
}

/// Packs a device's saved state, a plain serde struct, with its version.
pub fn save_state<T: Serialize>(device: &str, version: u32, state: T) -> Result<Value, StateError> {
    serde_json::to_value(Versioned { version, state }).map_err(|error| StateError::damaged(device, error))
}

/// Unpacks what [`save_state`] packed, refusing any other version than `version`.
pub fn restore_state<T: DeserializeOwned>(device: &str, version: u32, value: Value) -> Result<T, StateError> {
    let found = value.get("version").and_then(Value::as_u64).and_then(|found| u32::try_from(found).ok()).unwrap_or(0);
    if found != version {
        return Err(StateError::Version { device: device.to_owned(), found, known: version });
    }
    serde_json::from_value::<Versioned<T>>(value)
        .map(|versioned| versioned.state)
        .map_err(|error| StateError::damaged(device, error))
}
