//! A network card that every operating system of the last twenty years has a driver for: Intel's 82540EM ("PRO/1000 MT Desktop",
//! Linux's e1000), over the same back ends as virtio-net.
//!
//! ```text
//!   vCPU ──registers──▶ Core: registers, EEPROM, PHY, interrupts
//!                         │   transmit: descriptors ──▶ Unfinished frames     receive: filters, buffers, descriptors
//!                         ▼                                                        ▲
//!   thread  ───────────▶ frames, checksums and segments by NetBackend or net::unfinished
//! ```
//!
//! Specification: Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 8254x. What of it is left
//! out does not show to drivers: flow control, wake-up, loopback, delays (but ITR), management, and writing to the EEPROM.

#![forbid(unsafe_code)]

mod core;
mod eeprom;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod interrupts;
mod phy;
mod receive;
mod registers;
#[cfg(test)]
mod tests;
mod transmit;
mod worker;

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::{
    core::{Core, SavedCore},
    worker::{Shared, Worker},
};
use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    interrupt::Interrupt,
    memory::GuestMemory,
    net::{
        NetBackend,
        card::{Card, MacAddress, NetHandle},
    },
    pci::{
        PciFunction,
        configuration::{BarKind, ConfigSpace, ConfigState, InterruptPin},
    },
};

/// Vendor and device, of the card and of the board on which it is: the "PRO/1000 MT Desktop Adapter".
const IDS: [u16; 2] = [0x8086, 0x100e];
const BOARD: [u16; 2] = [0x8086, 0x001e];
const REVISION: u8 = 2;
/// The registers in memory, in bytes.
const MEMORY_BAR: usize = 0;
const MEMORY_SIZE: u64 = 128 << 10;
/// A window to them by ports: IOADDR and IODATA.
const PORTS_BAR: usize = 1;
const PORTS: u64 = 64;
const IO_ADDRESS: u64 = 0;
const IO_DATA: u64 = 4;

const STATE_VERSION: u32 = 1;

/// The card.
pub struct E1000 {
    label: String,
    config: ConfigSpace,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The register that IODATA is.
    io_address: u32,
}

#[derive(Serialize, Deserialize)]
struct State {
    config: ConfigState,
    core: SavedCore,
    io_address: u32,
}

impl E1000 {
    /// The card `id` with its link up, and its face to the outside.
    pub fn new(
        id: &str,
        mac: MacAddress,
        backend: Box<dyn NetBackend>,
        memory: Arc<GuestMemory>,
    ) -> io::Result<(Self, NetHandle)> {
        let mut config = ConfigSpace::builder(IDS[0], IDS[1])
            .class(0x02, 0x00, 0x00)
            .revision(REVISION)
            .subsystem(BOARD[0], BOARD[1])
            .interrupt_pin(InterruptPin::A)
            .build();
        config.add_bar(MEMORY_BAR, BarKind::Memory32 { prefetchable: false }, MEMORY_SIZE);
        config.add_bar(PORTS_BAR, BarKind::Io, PORTS);
        let label = format!("e1000-{id}");
        let card = Card::new(mac, 1)?;
        let shared = Shared::new(Core::new(card.clone(), memory, IDS, BOARD), card.clone());
        let worker = Worker::new(shared.clone(), backend);
        let thread = thread::Builder::new().name(label.clone()).spawn(move || worker.run())?;
        Ok((Self { label, config, shared, thread: Some(thread), io_address: 0 }, card))
    }

    fn read_register(&self, offset: u64, data: &mut [u8]) {
        let mut core = self.shared.lock();
        for (offset, part) in (offset..).step_by(4).zip(data.chunks_mut(4)) {
            let value = u32::try_from(offset & !3).map_or(0, |register| core.read(register));
            let bytes = value.to_le_bytes();
            part.iter_mut().zip(bytes.iter().skip((offset & 3) as usize)).for_each(|(to, from)| *to = *from);
        }
        self.shared.release(core);
    }

    /// Registers are written whole.
    fn write_register(&self, offset: u64, data: &[u8]) {
        let mut core = self.shared.lock();
        for (offset, value) in (offset..).step_by(4).zip(data.as_chunks().0) {
            if let Ok(register) = u32::try_from(offset)
                && register % 4 == 0
            {
                core.write(register, u32::from_le_bytes(*value));
            }
        }
        self.shared.release(core);
    }

    /// Follows PCI's command register.
    fn apply_config(&self) {
        let mut core = self.shared.lock();
        core.set_bus_master(self.config.bus_master());
        core.interrupts.set_disabled(self.config.interrupt_disabled());
        self.shared.release(core);
    }
}

impl Device for E1000 {
    fn label(&self) -> &str {
        &self.label
    }

    fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
        match (region, offset) {
            (MEMORY_BAR, _) => self.read_register(offset, data),
            (PORTS_BAR, IO_ADDRESS) => {
                data.iter_mut().zip(self.io_address.to_le_bytes()).for_each(|(to, from)| *to = from);
            }
            (PORTS_BAR, IO_DATA) => self.read_register(self.io_address.into(), data),
            _ => data.fill(0xff),
        }
    }

    fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
        match (region, offset, <[u8; 4]>::try_from(data)) {
            (MEMORY_BAR, _, _) => self.write_register(offset, data),
            (PORTS_BAR, IO_ADDRESS, Ok(address)) => {
                self.io_address = u32::from_le_bytes(address) & (MEMORY_SIZE as u32 - 1);
            }
            (PORTS_BAR, IO_DATA, Ok(_)) => self.write_register(self.io_address.into(), data),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.config.reset();
        self.io_address = 0;
        self.apply_config();
        self.shared.lock().hardware_reset();
    }

    fn pause(&mut self) {
        self.shared.lock().set_running(false);
    }

    fn resume(&mut self) {
        let mut core = self.shared.lock();
        core.set_running(true);
        self.shared.release(core);
    }

    fn save(&self) -> Result<Value, StateError> {
        let core = self.shared.lock().save();
        save_state(&self.label, STATE_VERSION, State { config: self.config.save(), core, io_address: self.io_address })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let State { config, core, io_address } = restore_state(&self.label, STATE_VERSION, state)?;
        let restored = self.config.restore(&self.label, &config).and_then(|()| {
            let restored = self.shared.lock().restore(core);
            restored.map_err(|reason| StateError::damaged(&self.label, reason))
        });
        match restored {
            Ok(()) => {
                self.io_address = io_address & (MEMORY_SIZE as u32 - 1);
                self.apply_config();
            }
            Err(_) => self.reset(),
        }
        restored
    }
}

impl PciFunction for E1000 {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn connect_interrupt(&mut self, line: Interrupt) {
        self.shared.lock().interrupts.connect(line);
    }

    fn config_reading(&mut self, _offset: u16, _len: u8) {
        let is_pending = self.shared.lock().interrupts.is_pending();
        self.config.set_interrupt_status(is_pending);
    }

    fn config_written(&mut self, _offset: u16, _len: u8) {
        self.apply_config();
    }
}

impl Drop for E1000 {
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        core.end();
        self.shared.release(core);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(device = self.label, "the card's thread has failed");
        }
    }
}
