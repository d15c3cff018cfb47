//! The MultiProcessor tables (Intel, MultiProcessor Specification 1.4, chapter 4): processors and interrupts for systems
//! without ACPI, and for Linux, which looks for them in any case and takes long over it where there are none and
//! memory is slow.

#![forbid(unsafe_code)]

use super::acpi::{IOAPIC_ADDRESS, LAPIC_ADDRESS, SCI};
use crate::vmm::pci::{PCI_SLOTS, slot_interrupt};

/// Bytes of the floating pointer structure.
pub const POINTER_SIZE: u64 = 16;

const SPECIFICATION: u8 = 4;
const HEADER_SIZE: usize = 44;
/// The last ID that a local APIC can have here: the field has 8 bits, and 255 means all.
const LAST_APIC_ID: u32 = 254;
const APIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x11;
const IOAPIC_ID: u8 = 0;
const ALL_APICS: u8 = 0xff;
const PCI_BUS: u8 = 0;
const ISA_BUS: u8 = 1;
const ENABLED: u8 = 1 << 0;
const BOOTSTRAP: u8 = 1 << 1;
/// Polarity and trigger mode as the bus has them.
const AS_THE_BUS: u16 = 0;
/// Active high, level-triggered, as the PIIX3 drives its lines.
const LEVEL_HIGH: u16 = 0x0d;

/// Kinds of entries.
mod entry {
    pub const PROCESSOR: u8 = 0;
    pub const BUS: u8 = 1;
    pub const IO_APIC: u8 = 2;
    pub const IO_INTERRUPT: u8 = 3;
    pub const LOCAL_INTERRUPT: u8 = 4;
}

/// Kinds of interrupts.
mod kind {
    pub const INT: u8 = 0;
    pub const NMI: u8 = 1;
    pub const EXT_INT: u8 = 3;
}

/// The floating pointer structure for a configuration table at `address`.
pub fn floating_pointer(address: u32) -> [u8; POINTER_SIZE as usize] {
    let mut pointer = [0; POINTER_SIZE as usize];
    pointer[..4].copy_from_slice(b"_MP_");
    pointer[4..8].copy_from_slice(&address.to_le_bytes());
    pointer[8] = 1;
    pointer[9] = SPECIFICATION;
    pointer[10] = checksum(&pointer);
    pointer
}

/// The configuration table of a machine whose vCPUs have these APIC IDs, the first of which begins.
pub fn configuration_table(apic_ids: &[u32]) -> Vec<u8> {
    let mut table = Table { bytes: vec![0; HEADER_SIZE], entries: 0 };
    for (index, id) in apic_ids.iter().enumerate().filter(|(_, id)| **id <= LAST_APIC_ID) {
        let flags = if index == 0 { ENABLED | BOOTSTRAP } else { ENABLED };
        let mut processor = [0; 20];
        processor[..4].copy_from_slice(&[entry::PROCESSOR, *id as u8, APIC_VERSION, flags]);
        table.add(&processor);
    }
    for (bus, name) in [(PCI_BUS, b"PCI   "), (ISA_BUS, b"ISA   ")] {
        table.add(&[&[entry::BUS, bus][..], name].concat());
    }
    let [a, b, c, d] = IOAPIC_ADDRESS.to_le_bytes();
    table.add(&[entry::IO_APIC, IOAPIC_ID, IOAPIC_VERSION, ENABLED, a, b, c, d]);

    // Pins of PCI slots, which are the lines 10 and 11.
    for (slot, pin) in (1..PCI_SLOTS).flat_map(|slot| (0..4).map(move |pin| (slot, pin))) {
        table.interrupt(kind::INT, LEVEL_HIGH, PCI_BUS, slot << 2 | pin, slot_interrupt(slot, pin));
    }
    for irq in (0..16).filter(|irq| ![2, 10, 11].contains(irq)) {
        let flags = if irq == SCI { LEVEL_HIGH } else { AS_THE_BUS };
        // The PIT arrives at pin 2.
        table.interrupt(kind::INT, flags, ISA_BUS, irq, if irq == 0 { 2 } else { irq });
    }
    for (interrupt, line) in [(kind::EXT_INT, 0), (kind::NMI, 1)] {
        table.add(&[entry::LOCAL_INTERRUPT, interrupt, 0, 0, ISA_BUS, 0, ALL_APICS, line]);
    }
    table.finish()
}

struct Table {
    bytes: Vec<u8>,
    entries: u16,
}

impl Table {
    fn add(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.entries += 1;
    }

    fn interrupt(&mut self, kind: u8, flags: u16, bus: u8, source: u8, pin: u8) {
        let [low, high] = flags.to_le_bytes();
        self.add(&[entry::IO_INTERRUPT, kind, low, high, bus, source, IOAPIC_ID, pin]);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u16;
        let mut put = |offset: usize, bytes: &[u8]| self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0, b"PCMP");
        put(4, &length.to_le_bytes());
        put(6, &[SPECIFICATION]);
        put(8, b"LODGE   LODGEPC     ");
        put(34, &self.entries.to_le_bytes());
        put(36, &LAPIC_ADDRESS.to_le_bytes());
        self.bytes[7] = checksum(&self.bytes);
        self.bytes
    }
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries, each with its kind first.
    fn entries(table: &[u8]) -> Vec<&[u8]> {
        let mut rest = &table[HEADER_SIZE..];
        let mut entries = Vec::new();
        while let Some(&kind) = rest.first() {
            let (entry, others) = rest.split_at(if kind == entry::PROCESSOR { 20 } else { 8 });
            entries.push(entry);
            rest = others;
        }
        entries
    }

    #[test]
    fn the_sums_of_both_structures_are_zero() {
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));

        assert_eq!(sum(&floating_pointer(0xe_e000)), 0);
        assert_eq!(sum(&configuration_table(&[0, 1, 2])), 0);
    }

    #[test]
    fn the_header_counts_what_follows() {
        let table = configuration_table(&[0, 1]);

        assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
        assert_eq!(usize::from(u16::from_le_bytes([table[34], table[35]])), entries(&table).len());
    }

    #[test]
    fn processors_are_there_as_far_as_the_table_can_name_them() {
        let ids: Vec<u32> = (0..300).collect();
        let table = configuration_table(&ids);

        let processors: Vec<_> = entries(&table).into_iter().filter(|entry| entry[0] == entry::PROCESSOR).collect();
        assert_eq!(processors.len(), 255);
        assert_eq!(processors.iter().filter(|entry| entry[3] & BOOTSTRAP != 0).count(), 1);
        assert!(table.len() < 8192, "{}", table.len());
    }

    #[test]
    fn pci_pins_are_routed_as_the_chipset_wires_them() {
        let table = configuration_table(&[0]);

        let routed = |slot: u8, pin: u8| {
            let is_it = |entry: &&[u8]| entry[0] == entry::IO_INTERRUPT && entry[4..6] == [PCI_BUS, slot << 2 | pin];
            entries(&table).into_iter().find(is_it).unwrap()[7]
        };
        assert!((1..PCI_SLOTS).all(|slot| (0..4).all(|pin| routed(slot, pin) == slot_interrupt(slot, pin))));
    }
}
