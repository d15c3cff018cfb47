//! Receiving: which frames are the card's, and how they come into the driver's buffers (manual, section 3.2).

use vm_memory::{Bytes, GuestAddress};

use super::{
    core::{Core, NoMemory},
    interrupts,
    registers::{self, ADDRESS_VALID, MTA, RAH, RAL, RECEIVE, VFTA, counter, ctrl, rctl, rxcsum},
};
use crate::vmm::net::checksum;

/// What a frame without its checksum has at least, in bytes; the wire makes it up.
const SHORTEST: usize = 60;
/// The frame check sequence.
const CRC: usize = 4;
/// The longest frame with a tag and its checksum, and the longest of all.
const USUAL: usize = 1522;
const LONGEST: usize = 16_384;
/// The addresses before a frame's type, and a tag behind them.
const ADDRESSES: usize = 12;
const TAG: usize = 4;
/// Entries of the table of addresses.
const ENTRIES: u32 = 16;

/// A descriptor's status and errors.
const DONE: u8 = 1 << 0;
const END_OF_PACKET: u8 = 1 << 1;
const IS_VLAN: u8 = 1 << 3;
const CONTENT_CHECKED: u8 = 1 << 5;
const IP_CHECKED: u8 = 1 << 6;
const CONTENT_ERROR: u8 = 1 << 5;
const IP_ERROR: u8 = 1 << 6;

/// What has become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The driver has it.
    Delivered,
    /// It was for others.
    NotOurs,
    /// It cannot be taken.
    Dropped,
}

impl Core {
    /// Bytes of a receive buffer.
    pub(super) fn buffer_size(&self) -> usize {
        let control = self.registers.get(registers::RCTL);
        let is_extended = control & rctl::SIZE_EXTENSION != 0;
        match (control >> rctl::SIZE_SHIFT & 3, is_extended) {
            (0, _) => 2048,
            (1, false) => 1024,
            (2, false) => 512,
            (3, false) => 256,
            (1, true) => 16_384,
            (2, true) => 8192,
            _ => 4096,
        }
    }

    /// The longest frame that the driver takes, with its checksum.
    pub(super) fn longest_frame(&self) -> usize {
        let long = self.registers.get(registers::RCTL) & (rctl::LONG_PACKETS | rctl::STORE_BAD) != 0;
        if long { LONGEST } else { USUAL }
    }

    /// Gives the driver a frame. `is_right` says that somebody has checked what is in the packet already.
    pub fn deliver(&mut self, frame: &mut Vec<u8>, is_right: bool) -> Received {
        frame.resize(frame.len().max(SHORTEST), 0);
        let vlan = self.vlan_of(frame);
        self.count_arrived(frame);
        if !self.is_ours(frame, vlan) {
            return Received::NotOurs;
        }
        let (mut status, mut errors) = (0, 0);
        let strips = vlan.is_some() && self.registers.get(registers::CTRL) & ctrl::VLAN_MODE != 0;
        if strips {
            frame.drain(ADDRESSES..ADDRESSES + TAG);
            status |= IS_VLAN;
        }
        let special = vlan.filter(|_| strips).unwrap_or(0);
        self.check(frame, is_right, &mut status, &mut errors);
        if frame.len() + CRC > self.longest_frame() {
            self.registers.count(counter::TOO_LONG, 1);
            return Received::Dropped;
        }
        if self.registers.get(registers::RCTL) & rctl::STRIP_CRC == 0 {
            let crc = crc32fast::hash(frame);
            frame.extend(crc.to_le_bytes());
        }
        let filled = frame.chunks(self.buffer_size()).count();
        if filled > self.waiting(RECEIVE) as usize {
            self.registers.count(counter::NO_BUFFERS, 1);
            self.registers.count(counter::MISSED, 1);
            self.interrupts.raise(interrupts::OVERRUN);
            return Received::Dropped;
        }
        if self.store(frame, [status, errors], special).is_err() {
            tracing::debug!("the receive ring of a card lies where there is no memory");
            return Received::Dropped;
        }
        self.count_received(frame);
        self.interrupts.raise(interrupts::RECEIVED);
        let entries = self.entries(RECEIVE);
        let few = entries >> (1 + (self.registers.get(registers::RCTL) >> rctl::THRESHOLD_SHIFT & 3).min(2));
        if self.waiting(RECEIVE) <= few {
            self.interrupts.raise(interrupts::FEW_BUFFERS);
        }
        Received::Delivered
    }

    /// The tag of a frame that has one.
    fn vlan_of(&self, frame: &[u8]) -> Option<u16> {
        let [a, b, c, d] = *frame.get(ADDRESSES..)?.first_chunk()?;
        let protocol = self.registers.get(registers::VET) as u16;
        (protocol != 0 && u16::from_be_bytes([a, b]) == protocol).then(|| u16::from_be_bytes([c, d]))
    }

    /// Whether the filters let a frame through.
    fn is_ours(&self, frame: &[u8], vlan: Option<u16>) -> bool {
        let control = self.registers.get(registers::RCTL);
        let Some(&destination @ [first, ..]) = frame.first_chunk::<6>() else { return false };
        if let Some(tag) = vlan.filter(|_| control & rctl::VLAN_FILTER != 0) {
            let vlan = u32::from(tag & 0xfff);
            if self.registers.get(VFTA + (vlan >> 5) * 4) >> (vlan & 31) & 1 == 0 {
                return false;
            }
        }
        if destination == [0xff; 6] && control & rctl::BROADCAST != 0 {
            return true;
        }
        let is_group = first & 1 != 0;
        let all = if is_group { rctl::ALL_MULTICAST } else { rctl::ALL_UNICAST };
        control & all != 0 || self.is_listed(destination) || is_group && self.is_in_table(destination)
    }

    fn is_listed(&self, destination: [u8; 6]) -> bool {
        let [a, b, c, d, e, f] = destination;
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]) | ADDRESS_VALID);
        (0..ENTRIES).map(|entry| entry * 8).any(|entry| {
            self.registers.get(RAL + entry) == low && self.registers.get(RAH + entry) & (ADDRESS_VALID | 0xffff) == high
        })
    }

    /// The table of groups: twelve bits of the address choose one bit of it.
    fn is_in_table(&self, [.., fifth, sixth]: [u8; 6]) -> bool {
        let shift = match self.registers.get(registers::RCTL) >> rctl::MULTICAST_SHIFT & 3 {
            3 => 0,
            offset => 4 - offset,
        };
        let bits = u32::from(u16::from_le_bytes([fifth, sixth])) >> shift & 0xfff;
        self.registers.get(MTA + (bits >> 5) * 4) >> (bits & 31) & 1 != 0
    }

    /// Looks at the checksums that the driver wants to have looked at.
    fn check(&self, frame: &[u8], is_right: bool, status: &mut u8, errors: &mut u8) {
        let wanted = self.registers.get(registers::RXCSUM);
        if wanted & (rxcsum::IP | rxcsum::TCP_UDP) == 0 {
            return;
        }
        let verdict = checksum::verify(frame);
        let mut note = |wanted: bool, verdict: Option<bool>, checked: u8, error: u8| {
            if let Some(right) = verdict.filter(|_| wanted) {
                *status |= checked;
                *errors |= if right { 0 } else { error };
            }
        };
        note(wanted & rxcsum::IP != 0, verdict.header, IP_CHECKED, IP_ERROR);
        let content = verdict.content.map(|right| right || is_right);
        note(wanted & rxcsum::TCP_UDP != 0, content, CONTENT_CHECKED, CONTENT_ERROR);
    }

    /// Writes a frame into as many buffers as it fills.
    fn store(&mut self, frame: &[u8], [status, errors]: [u8; 2], special: u16) -> Result<(), NoMemory> {
        let [tag_low, tag_high] = special.to_le_bytes();
        let mut position = self.registers.get(RECEIVE.head());
        let mut parts = frame.chunks(self.buffer_size()).peekable();
        while let Some(part) = parts.next() {
            let [a, b, c, d, e, f, g, h, ..] = self.descriptor(RECEIVE, position)?;
            let address = GuestAddress(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
            self.memory.write_slice(part, address).map_err(|_| NoMemory)?;
            let [low, high] = (part.len() as u16).to_le_bytes();
            let (status, errors) = if parts.peek().is_none() { (status | END_OF_PACKET, errors) } else { (0, 0) };
            let upper = u64::from_le_bytes([low, high, 0, 0, status | DONE, errors, tag_low, tag_high]);
            self.finish_descriptor(RECEIVE, position, upper)?;
            position = self.behind(RECEIVE, position);
            self.registers.set(RECEIVE.head(), position);
        }
        Ok(())
    }

    fn count_arrived(&mut self, frame: &[u8]) {
        self.registers.count(counter::ALL_RECEIVED, 1);
        self.registers.count(counter::ALL_RECEIVED_BYTES, (frame.len() + CRC) as u64);
    }

    fn count_received(&mut self, frame: &[u8]) {
        self.registers.count(counter::RECEIVED, 1);
        self.registers.count(counter::RECEIVED_BYTES, frame.len() as u64);
        self.registers.count_size(counter::RECEIVED_64, frame.len());
        match frame.get(..6) {
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => self.registers.count(counter::RECEIVED_BROADCAST, 1),
            Some([first, ..]) if first & 1 != 0 => self.registers.count(counter::RECEIVED_MULTICAST, 1),
            _ => {}
        }
    }
}
