//! The card's registers by their offsets (manual, section 13), and those that only keep what software writes.

use serde::{Deserialize, Serialize};

pub const CTRL: u32 = 0x0000;
pub const CTRL_DUPLICATE: u32 = 0x0004;
pub const STATUS: u32 = 0x0008;
pub const EECD: u32 = 0x0010;
pub const EERD: u32 = 0x0014;
pub const CTRL_EXT: u32 = 0x0018;
pub const MDIC: u32 = 0x0020;
pub const VET: u32 = 0x0038;
pub const ICR: u32 = 0x00c0;
pub const ITR: u32 = 0x00c4;
pub const ICS: u32 = 0x00c8;
pub const IMS: u32 = 0x00d0;
pub const IMC: u32 = 0x00d8;
pub const RCTL: u32 = 0x0100;
pub const TCTL: u32 = 0x0400;
pub const PBA: u32 = 0x1000;
pub const RECEIVE: Ring = Ring { base: 0x2800 };
pub const TRANSMIT: Ring = Ring { base: 0x3800 };
pub const STATISTICS: std::ops::RangeInclusive<u32> = 0x4000..=0x40fc;
pub const RXCSUM: u32 = 0x5000;
pub const MTA: u32 = 0x5200;
pub const RAL: u32 = 0x5400;
pub const RAH: u32 = 0x5404;
pub const VFTA: u32 = 0x5600;

/// Entries of MTA and of VFTA, and of the pairs RAL and RAH.
const TABLE: u32 = 128;
const ADDRESSES: u32 = 16;
/// Behind the last register.
const END: u32 = 0x5900;
const WORDS: usize = END as usize / 4;

pub mod ctrl {
    pub const LINK_UP: u32 = 1 << 6;
    pub const SPEED_1000: u32 = 2 << 8;
    pub const RESET: u32 = 1 << 26;
    pub const VLAN_MODE: u32 = 1 << 30;
    pub const PHY_RESET: u32 = 1 << 31;
}

pub mod status {
    /// Full duplex, 1000 Mbit/s, as negotiated.
    pub const FIXED: u32 = 1 | 2 << 6 | 2 << 8;
    pub const LINK_UP: u32 = 1 << 1;
}

pub mod rctl {
    pub const ENABLE: u32 = 1 << 1;
    pub const STORE_BAD: u32 = 1 << 2;
    pub const ALL_UNICAST: u32 = 1 << 3;
    pub const ALL_MULTICAST: u32 = 1 << 4;
    pub const LONG_PACKETS: u32 = 1 << 5;
    pub const THRESHOLD_SHIFT: u32 = 8;
    pub const MULTICAST_SHIFT: u32 = 12;
    pub const BROADCAST: u32 = 1 << 15;
    pub const SIZE_SHIFT: u32 = 16;
    pub const VLAN_FILTER: u32 = 1 << 18;
    pub const SIZE_EXTENSION: u32 = 1 << 25;
    pub const STRIP_CRC: u32 = 1 << 26;
}

pub mod tctl {
    pub const ENABLE: u32 = 1 << 1;
    pub const PAD: u32 = 1 << 3;
}

pub mod rxcsum {
    pub const IP: u32 = 1 << 8;
    pub const TCP_UDP: u32 = 1 << 9;
}

/// What an entry of RAH says beside the address's end: it is valid.
pub const ADDRESS_VALID: u32 = 1 << 31;

/// The offsets of the statistics that are counted. Each is cleared when it is read.
pub mod counter {
    pub const MISSED: u32 = 0x4010;
    pub const RECEIVED_64: u32 = 0x405c;
    pub const RECEIVED: u32 = 0x4074;
    pub const RECEIVED_BROADCAST: u32 = 0x4078;
    pub const RECEIVED_MULTICAST: u32 = 0x407c;
    pub const SENT: u32 = 0x4080;
    pub const RECEIVED_BYTES: u32 = 0x4088;
    pub const SENT_BYTES: u32 = 0x4090;
    pub const NO_BUFFERS: u32 = 0x40a0;
    pub const TOO_LONG: u32 = 0x40ac;
    pub const ALL_RECEIVED_BYTES: u32 = 0x40c0;
    pub const ALL_SENT_BYTES: u32 = 0x40c8;
    pub const ALL_RECEIVED: u32 = 0x40d0;
    pub const ALL_SENT: u32 = 0x40d4;
    pub const SENT_64: u32 = 0x40d8;
    pub const SENT_MULTICAST: u32 = 0x40f0;
    pub const SENT_BROADCAST: u32 = 0x40f4;
    pub const SEGMENTED: u32 = 0x40f8;
    /// The first of the five counters of frames of 65 to 1023 and more bytes lies behind that of 64, those of the others too.
    pub const SIZES: [usize; 4] = [127, 255, 511, 1023];
    /// Counters of 64 bits, by their lower halves.
    pub const WIDE: [u32; 4] = [RECEIVED_BYTES, SENT_BYTES, ALL_RECEIVED_BYTES, ALL_SENT_BYTES];
}

/// The registers of a ring of descriptors.
#[derive(Debug, Clone, Copy)]
pub struct Ring {
    base: u32,
}

impl Ring {
    pub const fn base_low(self) -> u32 {
        self.base
    }

    pub const fn base_high(self) -> u32 {
        self.base + 4
    }

    pub const fn length(self) -> u32 {
        self.base + 8
    }

    pub const fn head(self) -> u32 {
        self.base + 0x10
    }

    pub const fn tail(self) -> u32 {
        self.base + 0x18
    }
}

/// The registers' content.
pub struct Registers {
    words: Box<[u32; WORDS]>,
}

/// A register that is not zero, as it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRegister {
    offset: u32,
    value: u32,
}

impl Registers {
    /// As after a reset, but for the card's address.
    pub fn new() -> Self {
        let mut registers = Self { words: Box::new([0; WORDS]) };
        registers.reset();
        registers
    }

    pub fn reset(&mut self) {
        self.words.fill(0);
        self.set(CTRL, ctrl::LINK_UP | ctrl::SPEED_1000);
        self.set(PBA, 0x0010_0030);
    }

    pub fn get(&self, offset: u32) -> u32 {
        self.words.get(offset as usize / 4).copied().unwrap_or(0)
    }

    pub fn set(&mut self, offset: u32, value: u32) {
        if let Some(word) = self.words.get_mut(offset as usize / 4) {
            *word = value;
        }
    }

    /// Keeps of `value` what software may write there.
    pub fn write(&mut self, offset: u32, value: u32) {
        self.set(offset, value & writable(offset));
    }

    /// Counts; a counter that is full stays so.
    pub fn count(&mut self, offset: u32, amount: u64) {
        let wide = counter::WIDE.contains(&offset);
        let high = if wide { u64::from(self.get(offset + 4)) << 32 } else { 0 };
        let most = if wide { u64::MAX } else { u32::MAX.into() };
        let value = (high | u64::from(self.get(offset))).saturating_add(amount).min(most);
        self.set(offset, value as u32);
        if wide {
            self.set(offset + 4, (value >> 32) as u32);
        }
    }

    /// Counts a frame of `bytes` bytes by its size; `first` counts those of 64 bytes, and the next ones follow.
    pub fn count_size(&mut self, first: u32, bytes: usize) {
        let class = match bytes {
            0..=64 => 0,
            _ => 1 + counter::SIZES.iter().filter(|&&most| bytes > most).count() as u32,
        };
        self.count(first + 4 * class, 1);
    }

    /// Reads a counter, which is cleared. One of 64 bits is when its upper half is read.
    pub fn take_counter(&mut self, offset: u32) -> u32 {
        let value = self.get(offset);
        if !counter::WIDE.contains(&offset) {
            self.set(offset, 0);
        }
        if let Some(low) = offset.checked_sub(4).filter(|low| counter::WIDE.contains(low)) {
            self.set(low, 0);
        }
        value
    }

    pub fn save(&self) -> Vec<SavedRegister> {
        let used = (0..).step_by(4).zip(self.words.iter()).filter(|(_, value)| **value != 0);
        used.map(|(offset, &value)| SavedRegister { offset, value }).collect()
    }

    /// Takes over saved registers; `false` when one of them cannot have its value.
    pub fn restore(&mut self, saved: &[SavedRegister]) -> bool {
        self.words.fill(0);
        saved.iter().all(|&SavedRegister { offset, value }| {
            // Those of the second kind hold what the card has answered.
            let is_the_cards = STATISTICS.contains(&offset) || matches!(offset, EERD | MDIC);
            let possible = if is_the_cards { u32::MAX } else { writable(offset) };
            self.set(offset, value);
            offset % 4 == 0 && offset < END && value & !possible == 0
        })
    }
}

/// The bits of a register that keep what is written; the others are fixed, or mean nothing here.
fn writable(offset: u32) -> u32 {
    let within = |start: u32, entries: u32, size: u32| (start..start + entries * size).contains(&offset);
    let is = |ring: Ring, register: fn(Ring) -> u32| offset == register(ring);
    let any = |register: fn(Ring) -> u32| is(RECEIVE, register) || is(TRANSMIT, register);
    match offset {
        // The resets end at once.
        CTRL => !(ctrl::RESET | ctrl::PHY_RESET),
        CTRL_EXT | PBA => u32::MAX,
        // Flow control, wake-up, LEDs, timings, thresholds, management: nothing depends on them.
        0x28..=0x30 | 0x170 | 0x178 | 0x410 | 0x458 | 0xe00 | 0x2160 | 0x2168 | 0x5800..=0x5840 => u32::MAX,
        // Delays: frames are told of at once, but for the interrupts' interval.
        0x2820 | 0x282c | 0x2828 | 0x3820 | 0x3828 | 0x382c | 0x2c00 | 0x3830 => u32::MAX,
        VET => 0xffff,
        RCTL | TCTL => u32::MAX,
        RXCSUM => 0x7ff,
        _ if any(Ring::base_low) => !0xf,
        _ if any(Ring::base_high) => u32::MAX,
        _ if any(Ring::length) => 0xf_ff80,
        _ if any(Ring::head) || any(Ring::tail) => 0xffff,
        _ if within(MTA, TABLE, 4) || within(VFTA, TABLE, 4) => u32::MAX,
        _ if within(RAL, ADDRESSES, 8) && offset.is_multiple_of(8) => u32::MAX,
        _ if within(RAL, ADDRESSES, 8) => ADDRESS_VALID | 0x3_ffff,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_writes_only_what_it_may() {
        let mut registers = Registers::new();
        for offset in (0..0x2_0000).step_by(4) {
            registers.write(offset, u32::MAX);
        }

        assert_eq!(registers.get(RECEIVE.base_low()), !0xf);
        assert_eq!(registers.get(TRANSMIT.length()), 0xf_ff80);
        assert_eq!((registers.get(ICR), registers.get(0x4000), registers.get(0x1_0000)), (0, 0, 0));
        assert_eq!(registers.get(CTRL) & ctrl::RESET, 0);
        let mut other = Registers::new();
        assert!(other.restore(&registers.save()));
        assert!(!other.restore(&[SavedRegister { offset: ICR, value: 1 }]));
        assert!(!other.restore(&[SavedRegister { offset: RCTL + 1, value: 0 }]));
    }

    #[test]
    fn counters_are_cleared_by_reading_and_stay_full() {
        let mut registers = Registers::new();
        registers.count(counter::RECEIVED, u64::MAX);
        registers.count(counter::RECEIVED, 5);
        registers.count(counter::RECEIVED_BYTES, 0x1_0000_0007);
        for bytes in [64, 65, 127, 128, 1023, 1024, 9000] {
            registers.count_size(counter::RECEIVED_64, bytes);
        }

        assert_eq!(registers.take_counter(counter::RECEIVED), u32::MAX);
        assert_eq!(registers.take_counter(counter::RECEIVED), 0);
        let wide = [0, 4, 0].map(|half| registers.take_counter(counter::RECEIVED_BYTES + half));
        assert_eq!(wide, [7, 1, 0]);
        let sizes: Vec<_> = (0..6).map(|class| registers.take_counter(counter::RECEIVED_64 + 4 * class)).collect();
        assert_eq!(sizes, [1, 2, 1, 0, 1, 2]);
    }
}
