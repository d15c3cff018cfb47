//! How the machine begins: firmware that looks for a disk, or a Linux kernel that is entered directly.

#![forbid(unsafe_code)]

use std::{fs::File, ops::Range, sync::Arc};

use super::{
    Boot, MachineConfig, MachineError,
    boot_order::{self, BootDrive},
    graphics::Graphics,
};
use crate::vmm::{
    boot::{
        Tables,
        acpi::{AcpiConfig, AcpiTables, PM_BASE},
        firmware::{self, Bios, FirmwareConfig},
        fw_cfg::{FwCfg, key},
        linux::{CpuEntry, LinuxBoot},
        mp,
        smbios::SmbiosConfig,
    },
    bus::Bus,
    kvm::MemorySlots,
    memory::{GuestMemory, HIGH_MEMORY, Layout, PCI_END, PCI_HOLE},
    pci::{
        PIRQ_INTERRUPTS,
        bus::PciBus,
        piix3::ISA_BRIDGE,
        piix3_ide::{DECODE, IDE, TIMINGS},
        piix4::POWER_MANAGEMENT,
    },
};

/// Registers of the chipset that firmware programs, and a kernel without firmware finds programmed.
const PIRQ_ROUTES: u16 = 0x60;
const PM_BASE_REGISTER: u16 = 0x40;
const PM_ENABLE_REGISTER: u16 = 0x80;

/// The keyboard controller's ports, the command that sets its configuration, and what firmware sets: interrupts of keyboard and
/// mouse, system tested, scan codes translated to set 1.
const KEYBOARD_DATA: u64 = 0x60;
const KEYBOARD_COMMAND: u64 = 0x64;
const WRITE_CONFIGURATION: u8 = 0x60;
const KEYBOARD_CONFIGURATION: u8 = 0x47;

/// The tables of the machine `config`.
pub fn tables(config: &MachineConfig) -> Tables {
    let apic_ids = config.cpu.apic_ids(config.vcpus);
    let mp = mp::configuration_table(&apic_ids);
    let acpi = AcpiConfig { apic_ids, pci_window: PCI_HOLE..PCI_END, pci_window_64: None };
    let smbios = SmbiosConfig {
        name: config.name.clone(),
        uuid: config.uuid,
        memory: config.memory,
        topology: config.cpu.topology(config.vcpus),
    };
    Tables { acpi: AcpiTables::build(&acpi), smbios, mp }
}

/// What brings the machine into its state at power-on.
pub enum Starter {
    /// SeaBIOS.
    Firmware(Bios),
    /// A kernel.
    Linux(Box<DirectBoot>),
}

/// A kernel that is loaded into memory at every reset.
pub struct DirectBoot {
    files: LinuxBoot,
    tables: Tables,
    memory: Arc<GuestMemory>,
    ram: Vec<Range<u64>>,
    entry: CpuEntry,
}

/// What the other parts of the machine need to know of its beginning.
pub struct Beginning {
    /// For the resets.
    pub starter: Starter,
    /// What tells firmware about the machine.
    pub fw_cfg: FwCfg,
    /// Where the first vCPU begins, if not at the reset vector.
    pub entry: Option<CpuEntry>,
}

impl Beginning {
    /// Loads firmware or kernel. `drives` are what the machine may boot from, `network_roms` what does so from
    /// its network cards.
    pub fn load(
        boot: Boot,
        tables: Tables,
        machine: &Facts<'_>,
        slots: &Arc<MemorySlots>,
        drives: Vec<BootDrive>,
        network_roms: Vec<(&'static str, File)>,
    ) -> Result<Self, MachineError> {
        let memory = machine.memory.clone();
        match boot {
            Boot::Firmware(images) => {
                let bios = Bios::load(&images.bios, slots, memory.clone())?;
                let told = FirmwareConfig {
                    uuid: tables.smbios.uuid,
                    layout: *machine.layout,
                    vcpus: machine.vcpus,
                    boot_menu: machine.boot_menu,
                    boot_order: Box::new(move || boot_order::now(&drives)),
                    vga_bios: images.vga_bios,
                    vga_rom_name: machine.graphics.rom_name(),
                    network_roms,
                    acpi: &tables.acpi,
                    smbios: &tables.smbios,
                };
                let fw_cfg = firmware::fw_cfg(told, memory)?;
                Ok(Self { starter: Starter::Firmware(bios), fw_cfg, entry: None })
            }
            Boot::Linux(mut files) => {
                let Layout { below_4g, above_4g } = *machine.layout;
                let mut ram = vec![0..below_4g];
                ram.extend((above_4g > 0).then_some(HIGH_MEMORY..HIGH_MEMORY + above_4g));
                let entry = files.load(&*memory, &ram, &tables)?;
                let items = vec![(key::UUID, tables.smbios.uuid.into_bytes().to_vec())];
                let fw_cfg = FwCfg::new(memory.clone(), items, Vec::new());
                let direct = DirectBoot { files, tables, memory, ram, entry };
                Ok(Self { starter: Starter::Linux(Box::new(direct)), fw_cfg, entry: Some(entry) })
            }
        }
    }
}

/// What is known of the machine before it is there.
pub struct Facts<'a> {
    /// Its RAM.
    pub memory: &'a Arc<GuestMemory>,
    /// Where that lies.
    pub layout: &'a Layout,
    /// Virtual CPUs.
    pub vcpus: u16,
    /// Its graphics card.
    pub graphics: Graphics,
    /// Whether firmware offers its boot menu.
    pub boot_menu: bool,
}

impl Starter {
    /// Puts memory and chipset, which has just been reset, into the state in which the first vCPU begins.
    pub fn reset(&mut self, pci: &PciBus, ports: &Bus) -> Result<(), MachineError> {
        match self {
            Self::Firmware(bios) => bios.reset()?,
            Self::Linux(direct) => {
                let DirectBoot { files, tables, memory, ram, entry } = &mut **direct;
                if files.load(&**memory, ram, tables)? != *entry {
                    return Err(MachineError::KernelChanged);
                }
                program_chipset(pci, ports);
            }
        }
        Ok(())
    }
}

/// Does what firmware would have done: routes PCI interrupts and maps the power management ports, as the ACPI tables say,
/// switches the IDE channels on, and makes keyboards speak the language of the PC.
fn program_chipset(pci: &PciBus, ports: &Bus) {
    pci.write(ISA_BRIDGE, PIRQ_ROUTES, &PIRQ_INTERRUPTS);
    pci.write(POWER_MANAGEMENT, PM_BASE_REGISTER, &u32::from(PM_BASE).to_le_bytes());
    pci.write(POWER_MANAGEMENT, PM_ENABLE_REGISTER, &[1]);
    for timing in TIMINGS {
        pci.write(IDE, timing, &DECODE.to_le_bytes());
    }
    ports.write(KEYBOARD_COMMAND, &[WRITE_CONFIGURATION]);
    ports.write(KEYBOARD_DATA, &[KEYBOARD_CONFIGURATION]);
}
