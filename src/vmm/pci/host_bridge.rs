//! The host bridge 82441FX (PMC): the way to configuration space (configuration mechanism 1 of the PCI specification), and the
//! bridge's own function at 00.0 (Intel 82441FX datasheet, chapter 3).
//!
//! Its PAM registers, which shadow the BIOS, take what is written and change nothing: RAM is always readable and writable
//! below 1 MiB, and the firmware's copy of itself lies in it.

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    PciAddress, PciFunction,
    bus::PciBus,
    configuration::{ConfigSpace, ConfigState},
};
use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    devices::ResetLine,
};

/// The first port of the configuration mechanism.
pub const CONFIG_BASE: u64 = 0xcf8;
/// Ports from [`CONFIG_BASE`] on.
pub const CONFIG_PORTS: u64 = 8;
/// Where the host bridge is.
pub const HOST_BRIDGE: PciAddress = PciAddress::new(0, 0);

const STATE_VERSION: u32 = 1;

const PAM: std::ops::Range<usize> = 0x59..0x60;
/// The first PAM register where the BIOS is in RAM already: SeaBIOS then does not copy itself there.
const BIOS_IN_RAM: u8 = 0x30;
const SMRAM: usize = 0x72;
/// SMRAM is at 0xA0000, the only value of its base field.
const SMRAM_BASE: u8 = 0b010;

/// The host bridge's function.
pub struct HostBridge {
    config: ConfigSpace,
}

impl HostBridge {
    /// A host bridge at power-on.
    pub fn new() -> Self {
        // SeaBIOS looks for fw_cfg only behind a bridge with this subsystem.
        let mut config =
            ConfigSpace::builder(0x8086, 0x1237).revision(2).class(0x06, 0x00, 0x00).subsystem(0x1af4, 0x1100).build();
        config.fix(PAM.start, &[BIOS_IN_RAM]);
        config.allow(PAM.start, &[0x33; PAM.end - PAM.start]);
        config.fix(SMRAM, &[SMRAM_BASE]);
        config.allow(SMRAM, &[0x78]);
        Self { config }
    }
}

impl Default for HostBridge {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for HostBridge {
    fn label(&self) -> &str {
        "host-bridge"
    }

    fn read(&mut self, _region: usize, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&mut self, _region: usize, _offset: u64, _data: &[u8]) {}

    fn reset(&mut self) {
        self.config.reset();
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(self.label(), STATE_VERSION, HostBridgeState { config: self.config.save() })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: HostBridgeState = restore_state("host-bridge", STATE_VERSION, state)?;
        self.config.restore("host-bridge", &state.config)
    }
}

#[derive(Serialize, Deserialize)]
struct HostBridgeState {
    config: ConfigState,
}

impl PciFunction for HostBridge {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }
}

const ADDRESS: u64 = 0;
/// The PIIX3's reset control register lies among the ports of the configuration mechanism.
const RESET_CONTROL: u64 = 1;
const DATA: std::ops::Range<u64> = 4..8;

const ADDRESS_ENABLE: u32 = 1 << 31;
const RESET_CPU: u8 = 1 << 2;
const RESET_HARD: u8 = 1 << 1;

/// The ports 0xCF8 to 0xCFF: configuration address and data, and the reset control register at 0xCF9.
pub struct ConfigPorts {
    // Wiring
    bus: Arc<PciBus>,
    reset: ResetLine,
    // Volatile state
    state: PortState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PortState {
    address: u32,
    reset_control: u8,
}

impl ConfigPorts {
    /// The ports in front of `bus`; `reset` is pulled by the reset control register.
    pub fn new(bus: Arc<PciBus>, reset: ResetLine) -> Self {
        Self { bus, reset, state: PortState::default() }
    }

    /// The function and the byte in its configuration space that an access at port `offset` means.
    fn target(&self, offset: u64) -> Option<(PciAddress, u16)> {
        let address = self.state.address;
        // There is only bus 0.
        if address & ADDRESS_ENABLE == 0 || address >> 16 & 0xff != 0 {
            return None;
        }
        let slot = (address >> 11 & 0x1f) as u8;
        let function = (address >> 8 & 0x7) as u8;
        Some((PciAddress::new(slot, function), (address & 0xfc) as u16 + (offset - DATA.start) as u16))
    }
}

impl Device for ConfigPorts {
    fn label(&self) -> &str {
        "pci-ports"
    }

    fn read(&mut self, _region: usize, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        match (offset, data) {
            (ADDRESS, data) if data.len() == 4 => data.copy_from_slice(&self.state.address.to_le_bytes()),
            (RESET_CONTROL, [byte]) => *byte = self.state.reset_control,
            (offset, data) if DATA.contains(&offset) => {
                if let Some((address, register)) = self.target(offset) {
                    self.bus.read(address, register, data);
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, _region: usize, offset: u64, data: &[u8]) {
        match (offset, data) {
            (ADDRESS, &[a, b, c, d]) => self.state.address = u32::from_le_bytes([a, b, c, d]),
            (RESET_CONTROL, &[value]) => {
                let rising = value & !self.state.reset_control & RESET_CPU != 0;
                self.state.reset_control = value & (RESET_CPU | RESET_HARD);
                if rising {
                    (self.reset)();
                }
            }
            (offset, data) if DATA.contains(&offset) => {
                if let Some((address, register)) = self.target(offset) {
                    self.bus.write(address, register, data);
                }
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.state = PortState::default();
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(self.label(), STATE_VERSION, self.state)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        self.state = restore_state("pci-ports", STATE_VERSION, state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::vmm::{
        bus::Bus,
        interrupt::{Interrupt, testing::FakeLine},
        pci::piix3::PirqRouter,
    };

    fn ports() -> (ConfigPorts, Arc<AtomicU32>) {
        let line: Interrupt = Arc::new(FakeLine::default());
        let router = PirqRouter::new(std::array::from_fn(|_| line.clone()));
        let bus = PciBus::new(Arc::new(Bus::new("ports")), Arc::new(Bus::new("memory")), router);
        bus.plug(HOST_BRIDGE, Arc::new(Mutex::new(HostBridge::new())), vec![]).unwrap();
        let resets = Arc::new(AtomicU32::new(0));
        let counter = resets.clone();
        let reset: ResetLine = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (ConfigPorts::new(bus, reset), resets)
    }

    fn read(ports: &mut ConfigPorts, address: u32, offset: u64, len: usize) -> Vec<u8> {
        ports.write(0, ADDRESS, &address.to_le_bytes());
        let mut data = vec![0; len];
        ports.read(0, offset, &mut data);
        data
    }

    #[test]
    fn the_bridge_is_found_at_0_0_with_its_subsystem() {
        let (mut ports, _) = ports();

        assert_eq!(read(&mut ports, 0x8000_0000, 4, 4), [0x86, 0x80, 0x37, 0x12]);
        assert_eq!(read(&mut ports, 0x8000_0000, 6, 2), [0x37, 0x12]);
        assert_eq!(read(&mut ports, 0x8000_002c, 4, 4), [0xf4, 0x1a, 0x00, 0x11]);
    }

    #[test]
    fn other_buses_empty_slots_and_a_disabled_address_read_as_ones() {
        let (mut ports, _) = ports();

        for address in [0x8001_0000, 0x8000_0800, 0x0000_0000] {
            assert_eq!(read(&mut ports, address, 4, 4), [0xff; 4]);
        }
    }

    #[test]
    fn the_shadow_registers_begin_with_the_bios_in_ram_and_take_what_is_written() {
        let (mut ports, _) = ports();

        let before = read(&mut ports, 0x8000_0058, 5, 2);
        ports.write(0, 5, &[0x10]);
        ports.write(0, 6, &[0x33]);

        assert_eq!(before, [BIOS_IN_RAM, 0]);
        assert_eq!(read(&mut ports, 0x8000_0058, 5, 2), [0x10, 0x33]);
    }

    #[test]
    fn the_reset_control_register_resets_on_the_rising_edge() {
        let (mut ports, resets) = ports();

        ports.write(0, RESET_CONTROL, &[0x02]);
        ports.write(0, RESET_CONTROL, &[0x06]);
        ports.write(0, RESET_CONTROL, &[0x06]);

        assert_eq!(resets.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_address_is_not_taken_for_a_reset() {
        let (mut ports, resets) = ports();

        ports.write(0, ADDRESS, &0x8000_0600u32.to_le_bytes());

        assert_eq!(resets.load(Ordering::SeqCst), 0);
        let mut address = [0; 4];
        ports.read(0, ADDRESS, &mut address);
        assert_eq!(u32::from_le_bytes(address), 0x8000_0600);
    }

    #[test]
    fn save_after_restore_is_the_same() {
        let (mut ports, _) = ports();
        read(&mut ports, 0x8000_0858, 4, 1);
        let state = ports.save().unwrap();

        let (mut other, _) = self::ports();
        other.restore(state.clone()).unwrap();

        assert_eq!(other.save().unwrap(), state);
    }
}
