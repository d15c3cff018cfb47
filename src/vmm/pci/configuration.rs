//! The configuration space of a PCI function: header, BARs and capabilities
//! (PCI Local Bus Specification 3.0, chapter 6).
//!
//! Every bit of the 256 bytes is of one kind: fixed, writable by the guest, cleared by the guest writing a one, or changed by
//! the device alone. The kinds are set when the function is built; a guest can only move within them.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::vmm::device::StateError;

/// The size of a configuration space in bytes.
pub const CONFIG_SIZE: usize = 256;
/// BARs of a function.
pub const BARS: usize = 6;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const HEADER_TYPE: usize = 0x0e;
const BAR0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
const FIRST_CAPABILITY: usize = 0x40;

const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_SERR: u16 = 1 << 8;
const COMMAND_INTERRUPT_DISABLE: u16 = 1 << 10;
const STATUS_INTERRUPT: u16 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const MULTIFUNCTION: u8 = 0x80;

/// Where a BAR is mapped and how wide its register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// Ports.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Whether reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere; takes two BAR registers.
    Memory64 {
        /// Whether reads have no side effects.
        prefetchable: bool,
    },
}

impl BarKind {
    fn flags(self) -> u32 {
        match self {
            Self::Io => 0b0001,
            Self::Memory32 { prefetchable } => u32::from(prefetchable) << 3,
            Self::Memory64 { prefetchable } => 0b0100 | u32::from(prefetchable) << 3,
        }
    }
}

/// A BAR of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Its kind.
    pub kind: BarKind,
    /// Its size in bytes, a power of two.
    pub size: u64,
}

/// The pin that a function drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptPin {
    /// INTA#.
    A = 1,
    /// INTB#.
    B = 2,
    /// INTC#.
    C = 3,
    /// INTD#.
    D = 4,
}

/// A function's 256 bytes of configuration space.
pub struct ConfigSpace {
    // Fixed configuration
    power_on: [u8; CONFIG_SIZE],
    writable: [u8; CONFIG_SIZE],
    cleared_by_one: [u8; CONFIG_SIZE],
    changed_by_device: [u8; CONFIG_SIZE],
    bars: [Option<Bar>; BARS],
    free: usize,
    last_capability: Option<usize>,
    // Volatile state
    bytes: [u8; CONFIG_SIZE],
}

/// The saved state of a configuration space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    bytes: Vec<u8>,
}

/// Builds the header of a configuration space.
pub struct ConfigBuilder(ConfigSpace);

impl ConfigBuilder {
    /// The revision ID.
    pub fn revision(mut self, revision: u8) -> Self {
        self.0.fix(0x08, &[revision]);
        self
    }

    /// The class code: base class, sub-class, programming interface.
    pub fn class(mut self, base: u8, sub: u8, interface: u8) -> Self {
        self.0.fix(0x09, &[interface, sub, base]);
        self
    }

    /// Subsystem vendor and subsystem ID.
    pub fn subsystem(mut self, vendor: u16, id: u16) -> Self {
        self.0.fix(0x2c, &vendor.to_le_bytes());
        self.0.fix(0x2e, &id.to_le_bytes());
        self
    }

    /// The function has an interrupt pin.
    pub fn interrupt_pin(mut self, pin: InterruptPin) -> Self {
        self.0.fix(INTERRUPT_PIN, &[pin as u8]);
        self.0.allow(INTERRUPT_LINE, &[0xff]);
        self
    }

    /// The device has more functions than this one.
    pub fn multifunction(mut self) -> Self {
        self.0.fix(HEADER_TYPE, &[MULTIFUNCTION]);
        self
    }

    /// The space, to which BARs and capabilities can be added.
    pub fn build(self) -> ConfigSpace {
        self.0
    }
}

impl ConfigSpace {
    /// Begins a function's space.
    pub fn builder(vendor: u16, device: u16) -> ConfigBuilder {
        let mut space = Self {
            power_on: [0; CONFIG_SIZE],
            writable: [0; CONFIG_SIZE],
            cleared_by_one: [0; CONFIG_SIZE],
            changed_by_device: [0; CONFIG_SIZE],
            bars: [None; BARS],
            free: FIRST_CAPABILITY,
            last_capability: None,
            bytes: [0; CONFIG_SIZE],
        };
        space.fix(0x00, &vendor.to_le_bytes());
        space.fix(0x02, &device.to_le_bytes());
        // Firmware tells a VGA by its decoding of ports, which needs no BAR; so both kinds can always be enabled.
        let command = COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_SERR | COMMAND_INTERRUPT_DISABLE;
        space.allow(COMMAND, &command.to_le_bytes());
        space.changed_by_device[STATUS] |= STATUS_INTERRUPT as u8;
        // Cache line size: software may write it, nothing reads it.
        space.allow(0x0c, &[0xff]);
        ConfigBuilder(space)
    }

    /// Adds BAR `index` of `size` bytes. A 64-bit BAR takes the register of `index + 1` too.
    ///
    /// # Panics
    /// When the BAR is taken, there is no such BAR, or the size is no power of two of at least 4 (ports) or 16 (memory):
    /// mistakes of the program, not of a guest.
    pub fn add_bar(&mut self, index: usize, kind: BarKind, size: u64) {
        let smallest = if kind == BarKind::Io { 4 } else { 16 };
        assert!(size.is_power_of_two() && size >= smallest, "a BAR cannot be {size} bytes");
        let offset = BAR0 + index * 4;
        self.fix(offset, &kind.flags().to_le_bytes());
        let mask = !(size - 1);
        match kind {
            BarKind::Io | BarKind::Memory32 { .. } => {
                assert!(size <= 1 << 31, "a BAR of {size} bytes needs 64 bits");
                self.allow(offset, &(mask as u32).to_le_bytes());
            }
            BarKind::Memory64 { .. } => {
                assert!(
                    index + 1 < BARS && self.bars[index + 1].is_none(),
                    "BAR {index} has no room for its upper half"
                );
                self.allow(offset, &mask.to_le_bytes());
            }
        }
        let upper_half = |bar: &Option<Bar>| bar.is_some_and(|bar| matches!(bar.kind, BarKind::Memory64 { .. }));
        let taken =
            self.bars[index].is_some() || index.checked_sub(1).is_some_and(|below| upper_half(&self.bars[below]));
        assert!(!taken, "BAR {index} is taken");
        self.bars[index] = Some(Bar { kind, size });
    }

    /// Adds a capability and returns its offset in the space. `body` is what follows the ID and the pointer to the next;
    /// `writable` tells which of its bits the guest may write (missing bytes: none).
    ///
    /// # Panics
    /// When there is no room for it: a mistake of the program, not of a guest.
    pub fn add_capability(&mut self, id: u8, body: &[u8], writable: &[u8]) -> u16 {
        let offset = self.free;
        let len = 2 + body.len();
        assert!(offset + len <= CONFIG_SIZE && writable.len() <= body.len(), "no room for capability {id:#x}");
        self.fix(offset, &[id, 0]);
        self.fix(offset + 2, body);
        self.allow(offset + 2, writable);
        let pointer = self.last_capability.map_or(CAPABILITIES, |last| last + 1);
        self.fix(pointer, &[offset as u8]);
        self.fix(STATUS, &STATUS_CAPABILITIES.to_le_bytes());
        self.last_capability = Some(offset);
        self.free = (offset + len).next_multiple_of(4);
        offset as u16
    }

    /// Reserves the device-specific registers below `end`, so that capabilities come behind them.
    pub fn reserve(&mut self, end: u16) {
        self.free = self.free.max(usize::from(end)).next_multiple_of(4);
    }

    /// Sets bytes of the power-on state.
    ///
    /// # Panics
    /// When they are outside the space: a mistake of the program, not of a guest.
    pub fn fix(&mut self, offset: usize, bytes: &[u8]) {
        self.power_on[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Lets the guest write the bits of `mask`, besides those it may write already.
    ///
    /// # Panics
    /// When they are outside the space: a mistake of the program, not of a guest.
    pub fn allow(&mut self, offset: usize, mask: &[u8]) {
        for (byte, mask) in self.writable[offset..offset + mask.len()].iter_mut().zip(mask) {
            *byte |= mask;
        }
    }

    /// Lets the guest clear the bits of `mask` by writing ones to them.
    ///
    /// # Panics
    /// When they are outside the space: a mistake of the program, not of a guest.
    pub fn allow_clearing(&mut self, offset: usize, mask: &[u8]) {
        for (byte, mask) in self.cleared_by_one[offset..offset + mask.len()].iter_mut().zip(mask) {
            *byte |= mask;
        }
    }

    /// Reads as the guest does. Bytes beyond the space are `0xff`.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        for (step, byte) in data.iter_mut().enumerate() {
            *byte = self.bytes.get(usize::from(offset) + step).copied().unwrap_or(0xff);
        }
    }

    /// Writes as the guest does: each bit after its kind. Bytes beyond the space are lost.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        for (position, &new) in (usize::from(offset)..CONFIG_SIZE).zip(data) {
            let old = self.bytes[position];
            let writable = self.writable[position];
            let cleared = new & self.cleared_by_one[position];
            self.bytes[position] = (old & !writable | new & writable) & !cleared;
        }
    }

    /// A byte; `0xff` beyond the space.
    pub fn u8(&self, offset: u16) -> u8 {
        let mut bytes = [0; 1];
        self.read(offset, &mut bytes);
        bytes[0]
    }

    /// Two bytes; ones beyond the space.
    pub fn u16(&self, offset: u16) -> u16 {
        let mut bytes = [0; 2];
        self.read(offset, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    /// Four bytes; ones beyond the space.
    pub fn u32(&self, offset: u16) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Sets bytes from the device's side. Only bits that the guest may write too, or that [`ConfigSpace::device_bits`] names,
    /// change; so a saved state can be checked.
    pub fn set(&mut self, offset: u16, data: &[u8]) {
        for (position, &new) in (usize::from(offset)..CONFIG_SIZE).zip(data) {
            let mask = self.writable[position] | self.cleared_by_one[position] | self.changed_by_device[position];
            self.bytes[position] = self.bytes[position] & !mask | new & mask;
        }
    }

    /// Names bits that the device changes by itself.
    ///
    /// # Panics
    /// When they are outside the space: a mistake of the program, not of a guest.
    pub fn device_bits(&mut self, offset: usize, mask: &[u8]) {
        for (byte, mask) in self.changed_by_device[offset..offset + mask.len()].iter_mut().zip(mask) {
            *byte |= mask;
        }
    }

    fn command(&self) -> u16 {
        self.u16(COMMAND as u16)
    }

    /// Whether the function's ports answer.
    pub fn io_enabled(&self) -> bool {
        self.command() & COMMAND_IO != 0
    }

    /// Whether the function may read and write guest memory.
    pub fn bus_master(&self) -> bool {
        self.command() & COMMAND_BUS_MASTER != 0
    }

    /// Whether the guest has forbidden the function to drive its interrupt pin.
    pub fn interrupt_disabled(&self) -> bool {
        self.command() & COMMAND_INTERRUPT_DISABLE != 0
    }

    /// Shows in the status register whether the function has an interrupt pending on its pin.
    pub fn set_interrupt_status(&mut self, pending: bool) {
        let status = self.bytes[STATUS] & !(STATUS_INTERRUPT as u8);
        self.bytes[STATUS] = status | if pending { STATUS_INTERRUPT as u8 } else { 0 };
    }

    /// The pin the function drives, counted from 0 (INTA#).
    pub fn pin(&self) -> Option<u8> {
        self.bytes[INTERRUPT_PIN].checked_sub(1)
    }

    /// BAR `index` as it was built.
    pub fn bar(&self, index: usize) -> Option<Bar> {
        self.bars.get(index).copied().flatten()
    }

    /// Where BAR `index` answers now; `None` while its decoding is disabled, while it has no address, and while its register
    /// holds the all-ones pattern by which software learns its size.
    pub fn bar_address(&self, index: usize) -> Option<u64> {
        let bar = self.bar(index)?;
        let low = u64::from(self.u32((BAR0 + index * 4) as u16));
        let (enabled, address, limit) = match bar.kind {
            BarKind::Io => (COMMAND_IO, low & !0x3, 0xffff),
            BarKind::Memory32 { .. } => (COMMAND_MEMORY, low & !0xf, u64::from(u32::MAX) - 1),
            BarKind::Memory64 { .. } => {
                let high = u64::from(self.u32((BAR0 + index * 4 + 4) as u16));
                (COMMAND_MEMORY, high << 32 | low & !0xf, u64::MAX - 1)
            }
        };
        let last = address.checked_add(bar.size - 1)?;
        (self.command() & enabled != 0 && address != 0 && last <= limit).then_some(address)
    }

    /// Where all BARs answer now.
    pub fn bar_addresses(&self) -> [Option<u64>; BARS] {
        std::array::from_fn(|index| self.bar_address(index))
    }

    /// Whether a write of `len` bytes at `offset` touches any of `range`.
    pub fn touches(offset: u16, len: u8, range: Range<u16>) -> bool {
        offset < range.end && offset.saturating_add(u16::from(len)) > range.start
    }

    /// Back to the power-on state.
    pub fn reset(&mut self) {
        self.bytes = self.power_on;
    }

    /// The state to save.
    pub fn save(&self) -> ConfigState {
        ConfigState { bytes: self.bytes.to_vec() }
    }

    /// Takes over a saved state. Refuses one of a function that was built differently; nothing changes then. `label` names the
    /// device in the error.
    pub fn restore(&mut self, label: &str, state: &ConfigState) -> Result<(), StateError> {
        let bytes: [u8; CONFIG_SIZE] =
            state.bytes.as_slice().try_into().map_err(|_| {
                StateError::damaged(label, format_args!("{} bytes of configuration", state.bytes.len()))
            })?;
        for (position, (&saved, &built)) in bytes.iter().zip(&self.power_on).enumerate() {
            let volatile = self.writable[position] | self.cleared_by_one[position] | self.changed_by_device[position];
            if (saved ^ built) & !volatile != 0 {
                let reason = format!("configuration byte {position:#x} is {saved:#04x}, not {built:#04x}");
                return Err(StateError::damaged(label, reason));
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}
