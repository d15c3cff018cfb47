//! The ACPI tables (ACPI 6.5): one set for every way to boot.
//!
//! [`AcpiTables::build`] lays all tables into one blob whose pointers are offsets, with a list of [`Link`]s that say which
//! pointers and checksums to mend once the blob has an address. Firmware gets blob and links through fw_cfg (`etc/acpi/tables`,
//! `etc/acpi/rsdp`, `etc/table-loader`) and carries the links out itself; for a kernel booted directly
//! [`AcpiTables::placed_at`] does the same, so both see equal tables.

#![forbid(unsafe_code)]

mod dsdt;
mod link;
mod tables;

use std::ops::Range;

use acpi_tables::Aml;

pub use link::Link;
pub(super) use tables::{IOAPIC_ADDRESS, LAPIC_ADDRESS};

/// The interrupt that ACPI events are raised on (GSI and ISA number).
pub const SCI: u8 = 9;
/// First port of the power management block (PM1 event, PM1 control, timer).
pub const PM_BASE: u16 = 0x600;
/// Port that switches ACPI mode on and off (the APM control port of the PIIX4).
pub const SMI_COMMAND: u16 = 0xb2;
/// Written to [`SMI_COMMAND`]: ACPI mode on.
pub const ACPI_ENABLE: u8 = 0xf1;
/// Written to [`SMI_COMMAND`]: ACPI mode off.
pub const ACPI_DISABLE: u8 = 0xf0;
/// `SLP_TYP` of the soft-off state S5.
pub const S5_SLEEP_TYPE: u8 = 0;
/// The port of the reset register, and what resets the machine when written to it.
pub const RESET_PORT: (u16, u8) = (0xcf9, 0x0f);

/// Name of the tables' blob in fw_cfg.
pub const TABLES_FILE: &str = "etc/acpi/tables";
/// Name of the root pointer's blob in fw_cfg.
pub const RSDP_FILE: &str = "etc/acpi/rsdp";
/// Name of the links' file in fw_cfg.
pub const LOADER_FILE: &str = "etc/table-loader";

/// What the tables depend on.
#[derive(Debug, Clone)]
pub struct AcpiConfig {
    /// The APIC IDs of all vCPUs, in their order.
    pub apic_ids: Vec<u32>,
    /// Addresses below 4 GiB that PCI memory BARs may use.
    pub pci_window: Range<u64>,
    /// Addresses above 4 GiB that 64-bit PCI memory BARs may use.
    pub pci_window_64: Option<Range<u64>>,
}

/// The tables, ready to be linked.
#[derive(Debug, Clone)]
pub struct AcpiTables {
    /// All tables but the root pointer; pointers inside are offsets into this blob.
    pub tables: Vec<u8>,
    /// The root system description pointer; its pointers are offsets into `tables`.
    pub rsdp: Vec<u8>,
    /// What is to be done once both blobs have addresses, in this order.
    pub links: Vec<Link>,
}

impl AcpiTables {
    /// Builds the tables of a machine.
    pub fn build(config: &AcpiConfig) -> Self {
        let mut blob = Blob::default();
        let facs = blob.append_plain(&tables::facs());
        let dsdt = blob.append(&dsdt::build(config));
        let fadt = blob.append(&tables::fadt(facs, dsdt));
        for (offset, size) in tables::FADT_POINTERS {
            blob.point(fadt + offset, size);
        }
        let madt = blob.append(&tables::madt(&config.apic_ids));
        let waet = blob.append(&tables::waet());
        let listed = [fadt, madt, waet];
        let rsdt = blob.append(&tables::root(b"RSDT", 4, &listed));
        let xsdt = blob.append(&tables::root(b"XSDT", 8, &listed));
        for index in 0..listed.len() as u32 {
            blob.point(rsdt + tables::HEADER + 4 * index, 4);
            blob.point(xsdt + tables::HEADER + 8 * index, 8);
        }
        blob.checksum_tables();

        let mut links = vec![
            Link::Allocate { file: TABLES_FILE, align: 64, low: false },
            Link::Allocate { file: RSDP_FILE, align: 16, low: true },
        ];
        links.extend(blob.links);
        links.extend(tables::RSDP_POINTERS.map(|(offset, size)| Link::Point {
            file: RSDP_FILE,
            target: TABLES_FILE,
            offset,
            size,
        }));
        links.extend(tables::RSDP_CHECKSUMS.map(|(offset, length)| Link::Checksum {
            file: RSDP_FILE,
            offset,
            start: 0,
            length,
        }));
        Self { tables: blob.bytes, rsdp: tables::rsdp(rsdt, xsdt), links }
    }

    /// The contents of `etc/table-loader`: the links as firmware reads them.
    pub fn loader_file(&self) -> Vec<u8> {
        self.links.iter().flat_map(Link::to_bytes).collect()
    }

    /// Tables and root pointer with every link carried out, for guest physical addresses (bytes) of the two blobs.
    pub fn placed_at(&self, tables_address: u64, rsdp_address: u64) -> (Vec<u8>, Vec<u8>) {
        let (mut tables, mut rsdp) = (self.tables.clone(), self.rsdp.clone());
        for link in &self.links {
            let bytes = if link.file() == TABLES_FILE { &mut tables } else { &mut rsdp };
            link.apply(bytes, |file| if file == TABLES_FILE { tables_address } else { rsdp_address });
        }
        (tables, rsdp)
    }
}

/// Tables laid one behind the other, with what has to be mended in them.
#[derive(Default)]
struct Blob {
    bytes: Vec<u8>,
    links: Vec<Link>,
    /// Offset and length of each table that has a checksum.
    summed: Vec<(u32, u32)>,
}

impl Blob {
    /// Appends a table with the common header; returns its offset.
    fn append(&mut self, table: &dyn Aml) -> u32 {
        let offset = self.append_plain(table);
        self.summed.push((offset, self.bytes.len() as u32 - offset));
        offset
    }

    /// Appends a table that has no checksum, at a multiple of 64 bytes as the FACS wants; returns its offset.
    fn append_plain(&mut self, table: &dyn Aml) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0);
        let offset = self.bytes.len() as u32;
        table.to_aml_bytes(&mut self.bytes);
        offset
    }

    fn point(&mut self, offset: u32, size: u8) {
        self.links.push(Link::Point { file: TABLES_FILE, target: TABLES_FILE, offset, size });
    }

    /// Checksums come last: they cover the mended pointers.
    fn checksum_tables(&mut self) {
        self.links.extend(self.summed.iter().map(|&(start, length)| Link::Checksum {
            file: TABLES_FILE,
            offset: start + tables::CHECKSUM_OFFSET,
            start,
            length,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(vcpus: u32) -> AcpiConfig {
        AcpiConfig {
            apic_ids: (0..vcpus).collect(),
            pci_window: 0xc000_0000..0xfec0_0000,
            pci_window_64: Some(0x80_0000_0000..0x100_0000_0000),
        }
    }

    fn read(bytes: &[u8], at: u64, size: usize) -> u64 {
        let at = at as usize;
        bytes[at..at + size].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
    }

    #[test]
    fn placed_tables_are_found_from_the_root_pointer_with_right_checksums() {
        let base = 0xe_1000;
        let (tables, rsdp) = AcpiTables::build(&machine(2)).placed_at(base, 0xe_0000);

        assert_eq!(&rsdp[..8], b"RSD PTR ");
        assert_eq!((sum(&rsdp[..20]), sum(&rsdp)), (0, 0));
        for (root, size, signature) in [(read(&rsdp, 16, 4), 4, b"RSDT"), (read(&rsdp, 24, 8), 8, b"XSDT")] {
            let root = root - base;
            assert_eq!(&tables[root as usize..][..4], signature);
            let length = read(&tables, root + 4, 4);
            assert_eq!(sum(&tables[root as usize..][..length as usize]), 0);
            let found: Vec<_> = (0..3)
                .map(|index| {
                    let table = read(&tables, root + 36 + size * index, size as usize) - base;
                    let length = read(&tables, table + 4, 4) as usize;
                    let table = &tables[table as usize..][..length];
                    assert_eq!(sum(table), 0);
                    String::from_utf8(table[..4].to_vec()).unwrap()
                })
                .collect();
            assert_eq!(found, ["FACP", "APIC", "WAET"]);
        }
    }

    #[test]
    fn the_fadt_points_to_dsdt_and_facs() {
        let base = 0x10_0000;
        let built = AcpiTables::build(&machine(1));
        let (tables, _) = built.placed_at(base, 0xe_0000);
        let fadt = tables.windows(4).position(|window| window == b"FACP").unwrap() as u64;

        let facs = read(&tables, fadt + 36, 4) - base;
        let dsdt = read(&tables, fadt + 40, 4) - base;

        assert_eq!(&tables[facs as usize..][..4], b"FACS");
        assert_eq!(facs % 64, 0);
        assert_eq!(&tables[dsdt as usize..][..4], b"DSDT");
        assert_eq!(read(&tables, fadt + 140, 8) - base, dsdt);
    }

    #[test]
    fn firmware_gets_one_fixed_size_entry_a_link() {
        let built = AcpiTables::build(&machine(4));

        let file = built.loader_file();

        assert_eq!(file.len(), 128 * built.links.len());
        assert_eq!(file[0], 1);
        assert_eq!(&file[4..4 + TABLES_FILE.len()], TABLES_FILE.as_bytes());
    }

    #[test]
    fn every_vcpu_has_an_entry_even_beyond_the_xapic_range() {
        let built = AcpiTables::build(&machine(300));
        let madt = built.tables.windows(4).position(|window| window == b"APIC").unwrap();
        let length = read(&built.tables, madt as u64 + 4, 4) as usize;
        let mut rest = &built.tables[madt + 44..madt + length];
        let (mut xapic, mut x2apic) = (0, 0);
        while let [kind, size, ..] = *rest {
            xapic += u32::from(kind == 0);
            x2apic += u32::from(kind == 9);
            rest = &rest[usize::from(size)..];
        }

        assert_eq!((xapic, x2apic), (255, 45));
    }
}
