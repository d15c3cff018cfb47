//! The card's EEPROM, 64 words over a Microwire bus (manual, sections 5.3 to 5.6): EECD moves single bits, EERD reads a word.
//! It cannot be written.

use serde::{Deserialize, Serialize};

use crate::vmm::net::card::MacAddress;

/// Words of the EEPROM.
const WORDS: usize = 64;
/// What all words sum up to.
const SUM: u16 = 0xbaba;
/// Words with a meaning (table 5-2).
const INITIALIZATION_1: usize = 0x0a;
const SUBSYSTEM: usize = 0x0b;
const SUBSYSTEM_VENDOR: usize = 0x0c;
const DEVICE: usize = 0x0d;
const VENDOR: usize = 0x0e;
const INITIALIZATION_2: usize = 0x0f;
const CHECKSUM: usize = 0x3f;

/// Bits of EECD.
const CLOCK: u32 = 1 << 0;
const SELECT: u32 = 1 << 1;
const DATA_IN: u32 = 1 << 2;
const DATA_OUT: u32 = 1 << 3;
const WRITE_ENABLE: u32 = 3 << 4;
const REQUEST: u32 = 1 << 6;
const GRANT: u32 = 1 << 7;
const PRESENT: u32 = 1 << 8;
/// Bits that software sets.
const KEPT: u32 = CLOCK | SELECT | DATA_IN | WRITE_ENABLE | REQUEST;

/// Bits of EERD.
const START: u32 = 1 << 0;
const DONE: u32 = 1 << 4;
const ADDRESS_SHIFT: u32 = 8;
const DATA_SHIFT: u32 = 16;

/// The bits of a command: start, operation, address; and the first three of one that reads.
const COMMAND_BITS: u32 = 9;
const READ: u16 = 0b110;

/// The EEPROM.
pub struct Eeprom {
    words: [u16; WORDS],
    bus: Bus,
}

/// Where the Microwire bus is.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bus {
    /// EECD as software has written it.
    eecd: u32,
    /// The command's bits so far, or all of them.
    command: u16,
    /// Rising edges of the clock since the selection.
    edges: u32,
}

impl Eeprom {
    /// That of a card with this address and these PCI IDs.
    pub fn new(mac: MacAddress, [vendor, device]: [u16; 2], [subsystem_vendor, subsystem]: [u16; 2]) -> Self {
        let mut words = [u16::MAX; WORDS];
        for (word, [low, high]) in words.iter_mut().zip(mac.as_chunks().0) {
            *word = u16::from_le_bytes([*low, *high]);
        }
        // The IDs are loaded from here.
        words[INITIALIZATION_1] = 0x400b;
        words[SUBSYSTEM] = subsystem;
        words[SUBSYSTEM_VENDOR] = subsystem_vendor;
        words[DEVICE] = device;
        words[VENDOR] = vendor;
        // The link is negotiated, with pause frames both ways.
        words[INITIALIZATION_2] = 0x3000;
        words[CHECKSUM] = 0;
        let sum = words.iter().fold(0u16, |sum, word| sum.wrapping_add(*word));
        words[CHECKSUM] = SUM.wrapping_sub(sum);
        Self { words, bus: Bus::default() }
    }

    /// EECD.
    pub fn read(&self) -> u32 {
        let granted = if self.bus.eecd & REQUEST != 0 { GRANT } else { 0 };
        self.bus.eecd | granted | PRESENT | if self.data_out() { DATA_OUT } else { 0 }
    }

    /// Sets the bus's wires.
    pub fn write(&mut self, value: u32) {
        let bus = &mut self.bus;
        let before = std::mem::replace(&mut bus.eecd, value & KEPT);
        if value & SELECT == 0 || before & SELECT == 0 {
            (bus.command, bus.edges) = (0, 0);
        }
        if value & SELECT != 0 && value & CLOCK != 0 && before & CLOCK == 0 {
            bus.edges = bus.edges.saturating_add(1);
            if bus.edges <= COMMAND_BITS {
                bus.command = bus.command << 1 | u16::from(value & DATA_IN != 0);
            }
        }
    }

    /// What the EEPROM says: a word's bits, the upper ones first, one at each rising edge; then the next word's. Without a
    /// command it says that it is ready.
    fn data_out(&self) -> bool {
        let Bus { command, edges, .. } = self.bus;
        match edges.checked_sub(COMMAND_BITS) {
            Some(0) if command >> 6 == READ => false,
            Some(bit @ 1..) if command >> 6 == READ => {
                let (word, bit) = ((bit - 1) / 16, (bit - 1) % 16);
                self.word(u32::from(command).wrapping_add(word)) >> (15 - bit) & 1 != 0
            }
            _ => true,
        }
    }

    fn word(&self, address: u32) -> u16 {
        self.words.get(address as usize % WORDS).copied().unwrap_or(u16::MAX)
    }

    /// What EERD reads as after this was written to it.
    pub fn eerd(&self, value: u32) -> u32 {
        if value & START == 0 {
            return 0;
        }
        let address = value >> ADDRESS_SHIFT & 0xff;
        u32::from(self.word(address)) << DATA_SHIFT | address << ADDRESS_SHIFT | DONE
    }

    pub fn save(&self) -> Bus {
        self.bus.clone()
    }

    /// Takes over a saved state; `false` when there is no such state.
    pub fn restore(&mut self, bus: Bus) -> bool {
        let is_possible = bus.eecd & !KEPT == 0 && bus.command >> COMMAND_BITS == 0;
        self.bus = bus;
        is_possible
    }

    pub fn reset(&mut self) {
        self.bus = Bus::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn eeprom() -> Eeprom {
        Eeprom::new(MAC, [0x8086, 0x100e], [0x8086, 0x001e])
    }

    /// Reads as a driver does by single bits.
    fn read_by_bits(eeprom: &mut Eeprom, address: u16, words: usize) -> Vec<u16> {
        eeprom.write(REQUEST);
        assert_ne!(eeprom.read() & GRANT, 0);
        eeprom.write(REQUEST | SELECT);
        let mut clock = |bit: bool| {
            let wires = REQUEST | SELECT | if bit { DATA_IN } else { 0 };
            eeprom.write(wires);
            eeprom.write(wires | CLOCK);
            let out = eeprom.read() & DATA_OUT != 0;
            eeprom.write(wires);
            out
        };
        let command = READ << 6 | address;
        for bit in (0..COMMAND_BITS).rev() {
            clock(command >> bit & 1 != 0);
        }
        let mut word = || (0..16).fold(0, |word, _| word << 1 | u16::from(clock(false)));
        let read = (0..words).map(|_| word()).collect();
        eeprom.write(REQUEST);
        read
    }

    #[test]
    fn both_ways_read_the_same_words_whose_sum_is_right() {
        let mut eeprom = eeprom();
        let by_bits = read_by_bits(&mut eeprom, 0, WORDS);
        let by_words: Vec<_> = (0..WORDS as u32).map(|word| eeprom.eerd(word << 8 | START) >> 16).collect();

        assert_eq!(by_bits.iter().map(|&word| u32::from(word)).collect::<Vec<_>>(), by_words);
        assert_eq!(by_bits[..3], [0x5452, 0x1200, 0x5634]);
        assert_eq!(by_bits.iter().fold(0u16, |sum, word| sum.wrapping_add(*word)), SUM);
        assert_eq!(read_by_bits(&mut eeprom, 0x0e, 1), [0x8086]);
    }

    #[test]
    fn it_is_ready_and_reads_nothing_while_it_is_not_asked() {
        let mut eeprom = eeprom();

        assert_ne!(eeprom.read() & (DATA_OUT | PRESENT), 0);
        assert_eq!(eeprom.eerd(0), 0);
        for value in [u32::MAX, 0, SELECT | CLOCK, u32::MAX] {
            eeprom.write(value);
        }
        let saved = eeprom.save();
        assert!(eeprom.restore(saved.clone()));
        assert!(!eeprom.restore(Bus { command: u16::MAX, ..saved }));
    }
}
