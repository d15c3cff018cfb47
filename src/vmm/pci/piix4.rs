//! The power management function of the 82371AB (PIIX4): it puts the ACPI registers
//! ([`power_management`](crate::vmm::devices::power_management)) where firmware wants them (Intel 82371AB datasheet,
//! section 7.1).

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    PciAddress, PciFunction,
    configuration::{ConfigSpace, ConfigState, InterruptPin},
};
use crate::vmm::{
    bus::Bus,
    device::{Device, SharedDevice, StateError, restore_state, save_state},
    devices::power_management::{BLOCK, BLOCK_PORTS},
};

/// Where the function is.
pub const POWER_MANAGEMENT: PciAddress = PciAddress::new(1, 3);

const LABEL: &str = "piix4-pm";
const STATE_VERSION: u32 = 1;

/// The base of the power management ports.
const PM_BASE: u16 = 0x40;
const PM_BASE_MASK: u16 = 0xffc0;
/// Device activity B. Bit 25 enables system management interrupts; firmware that finds it set does not wait for one, and there
/// are none here.
const DEVICE_ACTIVITY_B: usize = 0x58;
const APMC_ENABLE: u32 = 1 << 25;
/// Whether the ports answer.
const PM_ENABLE: u16 = 0x80;
/// The base of the SMBus ports, which nothing answers, and its configuration.
const SMBUS_BASE: usize = 0x90;
const SMBUS_CONFIG: usize = 0xd2;

/// The function.
pub struct Piix4 {
    // Wiring
    ports: Arc<Bus>,
    block: SharedDevice,
    // Volatile state
    config: ConfigSpace,
    mapped: Option<u64>,
}

impl Piix4 {
    /// The function at power-on; it will put `block`'s registers on `ports`.
    pub fn new(ports: Arc<Bus>, block: SharedDevice) -> Self {
        let mut config = ConfigSpace::builder(0x8086, 0x7113)
            .revision(3)
            .class(0x06, 0x80, 0x00)
            .subsystem(0x1af4, 0x1100)
            .interrupt_pin(InterruptPin::A)
            .build();
        for (base, mask) in [(PM_BASE.into(), PM_BASE_MASK), (SMBUS_BASE, 0xfff0)] {
            config.fix(base, &[1]);
            config.allow(base, &mask.to_le_bytes());
        }
        config.fix(DEVICE_ACTIVITY_B, &APMC_ENABLE.to_le_bytes());
        config.allow(DEVICE_ACTIVITY_B, &[0xff; 4]);
        config.allow(PM_ENABLE.into(), &[1]);
        config.allow(SMBUS_CONFIG, &[0x0f]);
        Self { ports, block, config, mapped: None }
    }

    /// Puts the ports where the configuration says.
    fn map(&mut self) {
        let base = u64::from(self.config.u16(PM_BASE) & PM_BASE_MASK);
        let wanted = (self.config.u8(PM_ENABLE) & 1 != 0 && base != 0).then_some(base);
        if wanted == self.mapped {
            return;
        }
        if let Some(old) = self.mapped.take() {
            self.ports.remove(old);
        }
        if let Some(new) = wanted {
            match self.ports.insert(new, BLOCK_PORTS, self.block.clone(), BLOCK) {
                Ok(()) => self.mapped = Some(new),
                // The guest's own doing.
                Err(error) => tracing::debug!(%error, "the power management ports stay unmapped"),
            }
        }
    }
}

impl Device for Piix4 {
    fn label(&self) -> &str {
        LABEL
    }

    fn read(&mut self, _region: usize, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&mut self, _region: usize, _offset: u64, _data: &[u8]) {}

    fn reset(&mut self) {
        self.config.reset();
        self.map();
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(LABEL, STATE_VERSION, State { config: self.config.save() })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: State = restore_state(LABEL, STATE_VERSION, state)?;
        self.config.restore(LABEL, &state.config)?;
        self.map();
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    config: ConfigState,
}

impl PciFunction for Piix4 {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u16, _len: u8) {
        self.map();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::vmm::{devices::power_management::PowerManagement, interrupt::testing::FakeLine};

    fn function() -> (Piix4, Arc<Bus>) {
        let ports = Arc::new(Bus::new("ports"));
        let block = PowerManagement::new(Arc::new(FakeLine::default()), Arc::new(|| {}));
        (Piix4::new(ports.clone(), Arc::new(Mutex::new(block))), ports)
    }

    fn write(function: &mut Piix4, offset: u16, data: &[u8]) {
        function.config_mut().write(offset, data);
        function.config_written(offset, data.len() as u8);
    }

    /// Whether the PM1 control register answers at `base`.
    fn answers(ports: &Bus, base: u64) -> bool {
        let mut data = [0; 2];
        ports.read(base + 4, &mut data);
        data != [0xff; 2]
    }

    #[test]
    fn the_ports_answer_where_firmware_puts_them_once_enabled() {
        let (mut function, ports) = function();

        write(&mut function, PM_BASE, &0x601u32.to_le_bytes());
        let disabled = answers(&ports, 0x600);
        write(&mut function, PM_ENABLE, &[1]);
        let enabled = answers(&ports, 0x600);
        write(&mut function, PM_BASE, &0xb001u32.to_le_bytes());

        assert_eq!((disabled, enabled), (false, true));
        assert_eq!((answers(&ports, 0x600), answers(&ports, 0xb000)), (false, true));
        assert_eq!(function.config().u16(PM_BASE), 0xb001);
    }

    #[test]
    fn firmware_need_not_wait_for_a_system_management_interrupt() {
        let (function, _) = function();

        assert_ne!(function.config().u32(0x58) & 1 << 25, 0);
    }

    #[test]
    fn a_reset_unmaps_and_a_restore_maps_the_ports() {
        let (mut function, ports) = function();
        write(&mut function, PM_BASE, &0x601u32.to_le_bytes());
        write(&mut function, PM_ENABLE, &[1]);
        let state = function.save().unwrap();

        function.reset();
        let reset = answers(&ports, 0x600);
        function.restore(state.clone()).unwrap();

        assert!(!reset);
        assert!(answers(&ports, 0x600));
        assert_eq!(function.save().unwrap(), state);
    }
}
