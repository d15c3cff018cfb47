//! The IDE function of the 82371SB (PIIX3): it puts the registers of its channels ([`ide`](crate::vmm::devices::ide)) where
//! software looks for them, and lets their bus masters into memory (Intel 82371SB datasheet, sections 2.3 and 2.7).
//!
//! Timings can be written and read, and nothing depends on them.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    PciAddress, PciFunction,
    configuration::{BarKind, ConfigSpace, ConfigState},
};
use crate::vmm::{
    bus::Bus,
    device::{Device, StateError, restore_state, save_state},
    devices::ide::{BUS_MASTER, BUS_MASTER_PORTS, CHANNELS, COMMAND, COMMAND_PORTS, CONTROL, CONTROL_PORTS, Channel},
};

/// Where the function is.
pub const IDE: PciAddress = PciAddress::new(1, 1);
/// The timing registers of the channels. Their bit 15 switches a channel on.
pub const TIMINGS: [u16; CHANNELS] = [0x40, 0x42];
/// The switch of a channel.
pub const DECODE: u16 = 1 << 15;

const LABEL: &str = "piix3-ide";
const STATE_VERSION: u32 = 1;

/// Where the command block and the control block of each channel are.
const PORTS: [(u64, u64); CHANNELS] = [(0x1f0, 0x3f6), (0x170, 0x376)];
/// The timings of drives 1.
const SLAVE_TIMING: usize = 0x44;
/// The BAR of the bus master.
const BUS_MASTER_BAR: usize = 4;

/// A channel as the bus and the function hold it.
type SharedChannel = Arc<Mutex<Channel>>;

/// The function.
pub struct Piix3Ide {
    // Wiring
    ports: Arc<Bus>,
    channels: [Option<SharedChannel>; CHANNELS],
    // Volatile state
    config: ConfigSpace,
    mapped: [bool; CHANNELS],
}

#[derive(Serialize, Deserialize)]
struct State {
    config: ConfigState,
    channels: [Option<Value>; CHANNELS],
}

impl Piix3Ide {
    /// The function at power-on; it will put the registers of `channels` on `ports`.
    pub fn new(ports: Arc<Bus>, channels: [Option<Channel>; CHANNELS]) -> Self {
        let mut config = ConfigSpace::builder(0x8086, 0x7010)
            // A bus master whose channels are where they always were.
            .class(0x01, 0x01, 0x80)
            .subsystem(0x1af4, 0x1100)
            .build();
        config.add_bar(BUS_MASTER_BAR, BarKind::Io, CHANNELS as u64 * BUS_MASTER_PORTS);
        for timing in TIMINGS {
            config.allow(timing.into(), &[0xff; 2]);
        }
        config.allow(SLAVE_TIMING, &[0xff]);
        let channels = channels.map(|channel| channel.map(|channel| Arc::new(Mutex::new(channel))));
        Self { ports, channels, config, mapped: [false; CHANNELS] }
    }

    /// Puts the channels where the configuration says.
    fn apply(&mut self) {
        for (index, channel) in self.channels.iter().enumerate() {
            let Some(channel) = channel else { continue };
            lock(channel).set_bus_master(self.config.bus_master());
            let wanted = self.config.io_enabled() && self.config.u16(TIMINGS[index]) & DECODE != 0;
            let (command, control) = PORTS[index];
            if wanted && !self.mapped[index] {
                let mut mapped = self.ports.insert(command, COMMAND_PORTS, channel.clone(), COMMAND);
                if mapped.is_ok() {
                    mapped = self.ports.insert(control, CONTROL_PORTS, channel.clone(), CONTROL);
                    if mapped.is_err() {
                        self.ports.remove(command);
                    }
                }
                match mapped {
                    Ok(()) => self.mapped[index] = true,
                    // The guest has put something else there.
                    Err(error) => tracing::debug!(%error, "the ports of an IDE channel stay unmapped"),
                }
            } else if !wanted && self.mapped[index] {
                self.ports.remove(command);
                self.ports.remove(control);
                self.mapped[index] = false;
            }
        }
    }

    fn each(&self, mut act: impl FnMut(&mut Channel)) {
        self.channels.iter().flatten().for_each(|channel| act(&mut lock(channel)));
    }

    /// The channel whose bus master is at `offset` of the BAR, and the offset there.
    fn bus_master(&self, offset: u64) -> Option<(&SharedChannel, u64)> {
        let channel = self.channels.get((offset / BUS_MASTER_PORTS) as usize)?.as_ref()?;
        Some((channel, offset % BUS_MASTER_PORTS))
    }
}

impl Device for Piix3Ide {
    fn label(&self) -> &str {
        LABEL
    }

    fn read(&mut self, _region: usize, offset: u64, data: &mut [u8]) {
        match self.bus_master(offset) {
            Some((channel, offset)) => lock(channel).read(BUS_MASTER, offset, data),
            // A bus master without drives.
            None => data.fill(0),
        }
    }

    fn write(&mut self, _region: usize, offset: u64, data: &[u8]) {
        if let Some((channel, offset)) = self.bus_master(offset) {
            lock(channel).write(BUS_MASTER, offset, data);
        }
    }

    fn reset(&mut self) {
        self.config.reset();
        self.each(Channel::reset);
        self.apply();
    }

    fn pause(&mut self) {
        self.each(Channel::pause);
    }

    fn resume(&mut self) {
        self.each(Channel::resume);
    }

    fn save(&self) -> Result<Value, StateError> {
        let mut channels = [None, None];
        for (saved, channel) in channels.iter_mut().zip(&self.channels) {
            *saved = channel.as_ref().map(|channel| lock(channel).save()).transpose()?;
        }
        save_state(LABEL, STATE_VERSION, State { config: self.config.save(), channels })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let State { config, channels } = restore_state(LABEL, STATE_VERSION, state)?;
        let restored = self.config.restore(LABEL, &config).and_then(|()| {
            for (channel, saved) in self.channels.iter().zip(channels) {
                match (channel, saved) {
                    (Some(channel), Some(saved)) => lock(channel).restore(saved)?,
                    (None, None) => {}
                    _ => return Err(StateError::damaged(LABEL, "it is of other channels")),
                }
            }
            Ok(())
        });
        match restored {
            Ok(()) => self.apply(),
            Err(_) => self.reset(),
        }
        restored
    }
}

impl PciFunction for Piix3Ide {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, _offset: u16, _len: u8) {
        self.apply();
    }
}

fn lock(channel: &SharedChannel) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;
    use crate::vmm::{
        devices::ide::{DriveConfig, Tray},
        interrupt::testing::FakeLine,
        memory::GuestMemory,
    };

    /// A function whose second channel has an empty CD-ROM drive, and the ports.
    fn function() -> (Piix3Ide, Arc<Bus>) {
        let ports = Arc::new(Bus::new("ports"));
        let memory = Arc::new(GuestMemory::from_ranges(&[(GuestAddress(0), 4096)]).unwrap());
        let tray = Tray::new(None, Arc::new(|_| ()));
        let drives = [Some(DriveConfig::Cdrom { tray, statistics: Arc::default() }), None];
        let channel = Channel::new("ide1", drives, Arc::new(FakeLine::default()), memory).unwrap();
        (Piix3Ide::new(ports.clone(), [None, Some(channel)]), ports)
    }

    fn configure(function: &mut Piix3Ide, offset: u16, data: &[u8]) {
        function.config_mut().write(offset, data);
        function.config_written(offset, data.len() as u8);
    }

    fn port(ports: &Bus, address: u64) -> u8 {
        let mut data = [0];
        ports.read(address, &mut data);
        data[0]
    }

    #[test]
    fn a_channel_answers_once_ports_and_channel_are_switched_on() {
        let (mut function, ports) = function();
        let cylinder = |ports: &Bus| [port(ports, 0x174), port(ports, 0x175)];

        configure(&mut function, TIMINGS[1], &DECODE.to_le_bytes());
        let without_ports = cylinder(&ports);
        configure(&mut function, 4, &[1, 0]);
        let on = (cylinder(&ports), port(&ports, 0x376), port(&ports, 0x1f7));
        configure(&mut function, TIMINGS[1], &[0, 0]);

        assert_eq!(without_ports, [0xff, 0xff]);
        assert_eq!(on, ([0x14, 0xeb], 0, 0xff), "the signature of a CD-ROM drive, and no first channel");
        assert_eq!(cylinder(&ports), [0xff, 0xff]);
    }

    #[test]
    fn each_channel_has_its_half_of_the_bus_master() {
        let (mut function, _) = function();

        function.write(BUS_MASTER_BAR, 0x0c, &0x1234_5678u32.to_le_bytes());
        function.write(BUS_MASTER_BAR, 0x04, &[0xff; 4]);
        let (mut second, mut first) = ([0; 4], [0xff; 4]);
        function.read(BUS_MASTER_BAR, 0x0c, &mut second);
        function.read(BUS_MASTER_BAR, 0x04, &mut first);

        assert_eq!((u32::from_le_bytes(second), first), (0x1234_5678, [0; 4]));
    }

    #[test]
    fn a_saved_state_is_restored_with_its_ports_and_one_of_other_channels_is_refused() {
        let (mut function, _) = function();
        configure(&mut function, 4, &[5, 0]);
        configure(&mut function, TIMINGS[1], &DECODE.to_le_bytes());
        let state = function.save().unwrap();
        let (mut other, ports) = self::function();
        let mut damaged = state.clone();
        damaged["channels"] = serde_json::json!([null, null]);

        assert!(matches!(other.restore(damaged), Err(StateError::Damaged { .. })));
        other.restore(state.clone()).unwrap();

        assert_eq!(other.save().unwrap(), state);
        assert_eq!(port(&ports, 0x174), 0x14);
    }
}
