//! SeaBIOS: where its image lies and what fw_cfg tells it.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use vm_memory::{GuestAddress, GuestMemoryBackend, MmapRegion, VolatileMemory};

use super::{
    acpi::{self, AcpiTables},
    byte_loops,
    fw_cfg::{Content, FwCfg, key},
    smbios::{self, SmbiosConfig},
};
use crate::{
    system_error::words,
    vmm::{
        kvm::{KVM_RESERVED, MappedMemory, MemorySlots},
        memory::{GuestMemory, HIGH_MEMORY, Layout},
        pci::PciAddress,
    },
};

/// The BIOS's copy in RAM, where the CPU finds it in real mode, ends here.
const SHADOW_END: u64 = 0x10_0000;
/// A BIOS is at least so large, in bytes: what PCs have mapped below 1 MiB from the first.
const MIN_BIOS: u64 = 0x2_0000;
/// At most so much of its end is copied: what is between the VGA's window and 1 MiB.
const MAX_SHADOW: usize = 0x4_0000;
/// The largest BIOS image in bytes: what fits above the pages that KVM reserves.
const MAX_BIOS: u64 = 0x100_0000;
/// The largest option ROM in bytes (its length is one byte of 512-byte units).
const MAX_OPTION_ROM: u64 = 255 * 512;

const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// Why firmware could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// The image could not be read.
    #[error("the {what} image could not be read: {}", words(source))]
    Read {
        /// Which image.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The image cannot be what it should be.
    #[error(
        "the {what} image cannot be firmware: it has {len} bytes. install the package that it is from (seabios, ipxe-qemu) anew"
    )]
    Size {
        /// Which image.
        what: &'static str,
        /// Its length.
        len: u64,
    },
    /// It could not be put into the guest's memory.
    #[error("the BIOS could not be mapped into the guest: {0}")]
    Map(#[source] io::Error),
}

/// The BIOS in the guest's memory: read-only below 4 GiB, its end in RAM below 1 MiB.
pub struct Bios {
    rom: MappedMemory,
    memory: Arc<GuestMemory>,
}

impl Bios {
    /// Reads the image and maps it. RAM gets its copy with [`Bios::reset`].
    pub fn load(file: &File, slots: &Arc<MemorySlots>, memory: Arc<GuestMemory>) -> Result<Self, FirmwareError> {
        let read = |source| FirmwareError::Read { what: "BIOS", source };
        let len = file.metadata().map_err(read)?.len();
        if !(MIN_BIOS..=MAX_BIOS).contains(&len) || len % 4096 != 0 {
            return Err(FirmwareError::Size { what: "BIOS", len });
        }
        // A copy, not a mapping of the file: a package upgrade must not change a running guest's firmware.
        let mut image = vec![0; len as usize];
        file.read_exact_at(&mut image, 0).map_err(read)?;
        byte_loops::quicken(&mut image);
        let region = MmapRegion::new(image.len()).map_err(|error| FirmwareError::Map(io::Error::other(error)))?;
        region.as_volatile_slice().copy_from(&image);
        let mut rom = MappedMemory::read_only(slots, region);
        rom.map(Some(HIGH_MEMORY - len)).map_err(FirmwareError::Map)?;
        Ok(Self { rom, memory })
    }

    /// Puts the copy below 1 MiB back into its state at power-on.
    pub fn reset(&self) -> Result<(), FirmwareError> {
        let rom = self.rom.memory();
        let size = rom.size().min(MAX_SHADOW);
        let shadowed =
            rom.get_slice(rom.size() - size, size).map_err(|error| FirmwareError::Map(io::Error::other(error)))?;
        let shadow = self
            .memory
            .get_slice(GuestAddress(SHADOW_END - size as u64), size)
            .map_err(|error| FirmwareError::Map(io::Error::other(error)))?;
        shadowed.copy_to_volatile_slice(shadow);
        Ok(())
    }
}

/// Where there is something to boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BootPlace {
    /// A PCI function that is a network card.
    Network(PciAddress),
    /// A PCI function that is a disk.
    Function(PciAddress),
    /// A drive of an IDE controller.
    IdeDrive {
        /// The controller.
        controller: PciAddress,
        /// Its channel.
        channel: usize,
        /// The drive's number there.
        unit: usize,
    },
}

/// What SeaBIOS is told.
pub struct FirmwareConfig<'a> {
    /// The machine's UUID.
    pub uuid: uuid::Uuid,
    /// Where its RAM is.
    pub layout: Layout,
    /// Its virtual CPUs.
    pub vcpus: u16,
    /// Whether the boot menu is offered.
    pub boot_menu: bool,
    /// Tells the drives to boot from, first one first: always the same ones, in the order of the moment.
    pub boot_order: Box<dyn Fn() -> Vec<BootPlace> + Send>,
    /// SeaVGABIOS.
    pub vga_bios: File,
    /// The name under which SeaBIOS looks for it.
    pub vga_rom_name: &'a str,
    /// What boots from network cards, by the names under which SeaBIOS looks for it.
    pub network_roms: Vec<(&'static str, File)>,
    /// The ACPI tables.
    pub acpi: &'a AcpiTables,
    /// What the SMBIOS tables say.
    pub smbios: &'a SmbiosConfig,
}

/// Makes the fw_cfg device that tells it.
pub fn fw_cfg(config: FirmwareConfig<'_>, memory: Arc<GuestMemory>) -> Result<FwCfg, FirmwareError> {
    // What SeaBIOS calls the most CPUs are their APIC IDs.
    let last_id = config.smbios.topology.apic_id(u32::from(config.vcpus).saturating_sub(1));
    let ids = u16::try_from(last_id).unwrap_or(u16::MAX).saturating_add(1);
    let items = vec![
        (key::UUID, config.uuid.into_bytes().to_vec()),
        (key::CPUS, config.vcpus.to_le_bytes().to_vec()),
        (key::MAX_CPUS, ids.to_le_bytes().to_vec()),
        (key::BOOT_MENU, u16::from(config.boot_menu).to_le_bytes().to_vec()),
    ];
    let mut files = vec![
        ("etc/e820".to_owned(), Content::Bytes(e820(&config.layout))),
        (config.vga_rom_name.to_owned(), option_rom("VGA BIOS", config.vga_bios)?),
    ];
    for (name, rom) in config.network_roms {
        files.push((name.to_owned(), option_rom("network boot", rom)?));
    }
    let tables = smbios::tables(config.smbios);
    let tables = [
        (acpi::TABLES_FILE, config.acpi.tables.clone()),
        (acpi::RSDP_FILE, config.acpi.rsdp.clone()),
        (acpi::LOADER_FILE, config.acpi.loader_file()),
        (smbios::ANCHOR_FILE, smbios::anchor(0, tables.len()).to_vec()),
        (smbios::TABLES_FILE, tables),
    ];
    files.extend(tables.map(|(name, bytes)| (name.to_owned(), Content::Bytes(bytes))));
    let order = config.boot_order;
    let now = order();
    if !now.is_empty() {
        let len = boot_order(&now).len() as u32;
        files.push(("bootorder".to_owned(), Content::Made { make: Box::new(move || boot_order(&order())), len }));
    }
    Ok(FwCfg::new(memory, items, files))
}

fn option_rom(what: &'static str, file: File) -> Result<Content, FirmwareError> {
    let len = file.metadata().map_err(|source| FirmwareError::Read { what, source })?.len();
    match u32::try_from(len) {
        Ok(length @ 1..) if len <= MAX_OPTION_ROM => Ok(Content::File { file, len: length }),
        _ => Err(FirmwareError::Size { what, len }),
    }
}

/// The memory map: address, length and type of each range. SeaBIOS itself cuts out the window of the VGA and the BIOS.
fn e820(layout: &Layout) -> Vec<u8> {
    let ranges = [
        (0, layout.below_4g, E820_RAM),
        (KVM_RESERVED.start, KVM_RESERVED.end - KVM_RESERVED.start, E820_RESERVED),
        (HIGH_MEMORY, layout.above_4g, E820_RAM),
    ];
    let mut table = Vec::new();
    for (address, len, kind) in ranges.into_iter().filter(|(_, len, _)| *len > 0) {
        table.extend(address.to_le_bytes());
        table.extend(len.to_le_bytes());
        table.extend(kind.to_le_bytes());
    }
    table
}

/// The boot order as Open Firmware device paths, one a line. SeaBIOS compares as far as it needs to tell them apart.
fn boot_order(places: &[BootPlace]) -> Vec<u8> {
    let at = |function: PciAddress| match function.function() {
        0 => format!("{:x}", function.slot()),
        number => format!("{:x},{number:x}", function.slot()),
    };
    let mut lines = String::new();
    for &place in places {
        lines += &match place {
            BootPlace::Network(function) => format!("/pci@i0cf8/ethernet@{}/ethernet-phy@0\n", at(function)),
            BootPlace::Function(function) => format!("/pci@i0cf8/scsi@{}/disk@0,0\n", at(function)),
            BootPlace::IdeDrive { controller, channel, unit } => {
                format!("/pci@i0cf8/ide@{}/drive@{channel:x}/disk@{unit:x}\n", at(controller))
            }
        };
    }
    lines.push('\0');
    lines.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_map_tells_ram_and_what_kvm_reserves() {
        let table = e820(&Layout::new(5 << 30));

        let entries: Vec<_> = table
            .chunks(20)
            .map(|entry| {
                let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
                (word(0), word(8), entry[16])
            })
            .collect();
        assert_eq!(entries, [(0, 3 << 30, 1), (0xfeff_c000, 0x4000, 2), (4 << 30, 2 << 30, 1)]);
    }

    #[test]
    fn the_boot_order_names_disks_and_cards_by_their_functions_and_ide_drives_by_their_places() {
        let order = boot_order(&[
            BootPlace::Network(PciAddress::new(0x19, 0)),
            BootPlace::Function(PciAddress::new(4, 0)),
            BootPlace::IdeDrive { controller: PciAddress::new(1, 1), channel: 1, unit: 0 },
            BootPlace::Function(PciAddress::new(0x1f, 2)),
        ]);

        let paths = "/pci@i0cf8/ethernet@19/ethernet-phy@0\n/pci@i0cf8/scsi@4/disk@0,0\n\
                     /pci@i0cf8/ide@1,1/drive@1/disk@0\n/pci@i0cf8/scsi@1f,2/disk@0,0\n\0";
        assert_eq!(String::from_utf8(order).unwrap(), paths);
    }
}
