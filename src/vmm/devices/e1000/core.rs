//! What the vCPUs and the card's thread have in common: the registers and what follows from writing them.

use std::{sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::{
    eeprom::{self, Eeprom},
    interrupts::{self, Interrupts, SavedInterrupts},
    phy::Phy,
    registers::{self, ADDRESS_VALID, RECEIVE, Registers, Ring, SavedRegister, TRANSMIT, ctrl, rctl, status, tctl},
    transmit::Contexts,
};
use crate::vmm::{
    memory::GuestMemory,
    net::card::{MacAddress, NetHandle},
};

/// Bytes of a descriptor.
pub const DESCRIPTOR: u64 = 16;
/// A descriptor as it lies in memory.
pub type Descriptor = [u8; DESCRIPTOR as usize];

/// The guest has put a ring, or what its descriptors name, where there is no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// Registers, wiring and progress.
pub struct Core {
    // Fixed configuration
    mac: MacAddress,
    // Wiring
    pub(super) memory: Arc<GuestMemory>,
    pub(super) card: NetHandle,
    pub(super) interrupts: Interrupts,
    // Volatile state
    pub(super) registers: Registers,
    eeprom: Eeprom,
    phy: Phy,
    pub(super) contexts: Contexts,
    /// The transmit ring ends in the middle of a frame: its tail has to move first.
    pub(super) is_incomplete: bool,
    /// The link as the driver knows it.
    link: bool,
    /// PCI's bus master bit.
    bus_master: bool,
    /// The machine runs.
    is_running: bool,
    is_ending: bool,
    /// The thread waits, for frames of the back end too or not, until it is woken.
    sleep: Option<Sleep>,
}

/// What the thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleep {
    /// Frames of the back end wake it.
    pub listening: bool,
    /// The back end is full: frames to be sent do not wake it.
    pub full: bool,
}

/// What is saved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedCore {
    registers: Vec<SavedRegister>,
    interrupts: SavedInterrupts,
    eeprom: eeprom::Bus,
    phy: Phy,
    contexts: Contexts,
    link: bool,
}

impl Core {
    pub fn new(card: NetHandle, memory: Arc<GuestMemory>, pci_ids: [u16; 2], subsystem: [u16; 2]) -> Self {
        let mac = card.mac();
        let mut core = Self {
            mac,
            memory,
            card,
            interrupts: Interrupts::default(),
            registers: Registers::new(),
            eeprom: Eeprom::new(mac, pci_ids, subsystem),
            phy: Phy::default(),
            contexts: Contexts::default(),
            is_incomplete: false,
            link: true,
            bus_master: false,
            is_running: false,
            is_ending: false,
            sleep: None,
        };
        core.software_reset();
        core
    }

    /// Reads the register at `offset`.
    pub fn read(&mut self, offset: u32) -> u32 {
        match offset {
            registers::CTRL_DUPLICATE => self.registers.get(registers::CTRL),
            registers::STATUS => status::FIXED | if self.card.link() { status::LINK_UP } else { 0 },
            registers::EECD => self.eeprom.read(),
            registers::ICR => self.interrupts.take_causes(Instant::now()),
            registers::ITR => self.interrupts.interval(),
            registers::IMS => self.interrupts.mask(),
            _ if registers::STATISTICS.contains(&offset) => self.registers.take_counter(offset),
            _ => self.registers.get(offset),
        }
    }

    /// Writes the register at `offset`.
    pub fn write(&mut self, offset: u32, value: u32) {
        let now = Instant::now();
        match offset {
            registers::CTRL | registers::CTRL_DUPLICATE if value & ctrl::RESET != 0 => self.software_reset(),
            registers::CTRL | registers::CTRL_DUPLICATE => self.registers.write(registers::CTRL, value),
            registers::EECD => self.eeprom.write(value),
            registers::EERD => self.registers.set(offset, self.eeprom.eerd(value)),
            registers::MDIC => {
                let (answer, wants_interrupt) = self.phy.command(value, self.card.link());
                self.registers.set(offset, answer);
                if wants_interrupt {
                    self.interrupts.raise(interrupts::MDIC_READY);
                    self.interrupts.update(now);
                }
            }
            registers::ICR => self.interrupts.clear_causes(value, now),
            registers::ICS => {
                self.interrupts.raise(value);
                self.interrupts.update(now);
            }
            registers::ITR => self.interrupts.set_interval(value),
            registers::IMS => self.interrupts.allow(value, now),
            registers::IMC => self.interrupts.forbid(value, now),
            _ => self.registers.write(offset, value),
        }
        match offset {
            registers::RAL | registers::RAH => self.show_address(),
            registers::TCTL => self.is_incomplete = false,
            _ if (TRANSMIT.base_low()..=TRANSMIT.tail()).contains(&offset) => self.is_incomplete = false,
            _ => {}
        }
    }

    /// What CTRL.RST does: everything but PCI's configuration, the PHY and the EEPROM's bus.
    fn software_reset(&mut self) {
        self.registers.reset();
        let [a, b, c, d, e, f] = self.mac;
        self.registers.set(registers::RAL, u32::from_le_bytes([a, b, c, d]));
        self.registers.set(registers::RAH, u32::from_le_bytes([e, f, 0, 0]) | ADDRESS_VALID);
        self.interrupts.reset();
        self.contexts = Contexts::default();
        self.is_incomplete = false;
        self.show_address();
    }

    pub fn hardware_reset(&mut self) {
        self.software_reset();
        self.eeprom.reset();
        self.phy = Phy::default();
        self.link = self.card.link();
    }

    /// Tells the outside which address the driver uses.
    fn show_address(&self) {
        let (low, high) = (self.registers.get(registers::RAL), self.registers.get(registers::RAH));
        if high & ADDRESS_VALID != 0 {
            let ([a, b, c, d], [e, f, ..]) = (low.to_le_bytes(), high.to_le_bytes());
            self.card.set_mac([a, b, c, d, e, f]);
        }
    }

    /// Whether the card may read and write memory at this moment.
    fn works(&self) -> bool {
        self.is_running && self.bus_master && self.card.link()
    }

    /// Whether a frame waits to be sent.
    pub fn has_frame(&self) -> bool {
        let is_on = self.registers.get(registers::TCTL) & tctl::ENABLE != 0;
        is_on && self.works() && !self.is_incomplete && self.waiting(TRANSMIT) > 0
    }

    /// Whether a frame that comes can be taken: there are buffers for one, or as many as the ring can have.
    pub fn has_room(&self) -> bool {
        let control = self.registers.get(registers::RCTL);
        if control & rctl::ENABLE == 0 || !self.works() {
            return false;
        }
        let free = self.waiting(RECEIVE);
        free > 0 && (free as usize * self.buffer_size() >= self.longest_frame() || free + 1 >= self.entries(RECEIVE))
    }

    /// Descriptors in a ring.
    pub(super) fn entries(&self, ring: Ring) -> u32 {
        self.registers.get(ring.length()) / DESCRIPTOR as u32
    }

    /// Descriptors between a ring's head and its tail; none when one of them is outside of the ring.
    pub(super) fn waiting(&self, ring: Ring) -> u32 {
        let (entries, head, tail) =
            (self.entries(ring), self.registers.get(ring.head()), self.registers.get(ring.tail()));
        if head >= entries || tail >= entries {
            return 0;
        }
        if tail >= head { tail - head } else { entries - head + tail }
    }

    /// The place behind `position` in a ring.
    pub(super) fn behind(&self, ring: Ring, position: u32) -> u32 {
        let next = position + 1;
        if next >= self.entries(ring) { 0 } else { next }
    }

    /// Where descriptor `position` of a ring lies.
    fn address(&self, ring: Ring, position: u32) -> GuestAddress {
        let base =
            u64::from(self.registers.get(ring.base_high())) << 32 | u64::from(self.registers.get(ring.base_low()));
        GuestAddress(base.wrapping_add(u64::from(position) * DESCRIPTOR))
    }

    pub(super) fn descriptor(&self, ring: Ring, position: u32) -> Result<Descriptor, NoMemory> {
        self.memory.read_obj(self.address(ring, position)).map_err(|_| NoMemory)
    }

    /// Writes the upper half of a descriptor, at once: the driver looks at it all the time.
    pub(super) fn finish_descriptor(&self, ring: Ring, position: u32, upper: u64) -> Result<(), NoMemory> {
        let address = GuestAddress(self.address(ring, position).0.wrapping_add(8));
        self.memory.store(upper, address, std::sync::atomic::Ordering::Release).map_err(|_| NoMemory)
    }

    /// Tells the driver of a link that has changed.
    pub fn notice_link(&mut self) {
        let now = self.card.link();
        if self.is_running && std::mem::replace(&mut self.link, now) != now {
            self.interrupts.raise(interrupts::LINK);
        }
    }

    pub fn set_bus_master(&mut self, enabled: bool) {
        self.bus_master = enabled;
    }

    pub fn set_running(&mut self, running: bool) {
        self.is_running = running;
    }

    /// The thread is to end.
    pub fn end(&mut self) {
        self.is_ending = true;
    }

    pub fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// The thread will wait; [`Core::wakes`] says when it has to be woken.
    pub fn fall_asleep(&mut self, sleep: Sleep) {
        self.sleep = Some(sleep);
    }

    /// The thread has been woken.
    pub fn wake_up(&mut self) {
        self.sleep = None;
    }

    /// Whether the thread waits although it has something to do. It is told so once.
    pub fn wakes(&mut self) -> bool {
        let Some(Sleep { listening, full }) = self.sleep else { return false };
        let has_work = self.has_frame() && !full
            || !listening && self.has_room()
            || self.interrupts.due().is_some()
            || self.is_running && self.link != self.card.link()
            || self.is_ending;
        if has_work {
            self.sleep = None;
        }
        has_work
    }

    pub fn save(&self) -> SavedCore {
        SavedCore {
            registers: self.registers.save(),
            interrupts: self.interrupts.save(),
            eeprom: self.eeprom.save(),
            phy: self.phy.clone(),
            contexts: self.contexts.clone(),
            link: self.card.link(),
        }
    }

    /// Takes over a saved state; an error says what in it cannot be.
    pub fn restore(&mut self, saved: SavedCore) -> Result<(), &'static str> {
        let SavedCore { registers, interrupts, eeprom, phy, contexts, link } = saved;
        if !self.registers.restore(&registers) {
            return Err("a register cannot have its value");
        }
        if !self.eeprom.restore(eeprom) || !phy.is_possible() {
            return Err("its EEPROM or its PHY cannot be so");
        }
        if !self.interrupts.restore(interrupts, Instant::now()) {
            return Err("its interrupts cannot be so");
        }
        (self.phy, self.contexts, self.link) = (phy, contexts, link);
        self.is_incomplete = false;
        self.card.restore_link(link);
        self.show_address();
        Ok(())
    }
}
