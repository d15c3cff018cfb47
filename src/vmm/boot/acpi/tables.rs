//! The fixed tables: root pointer and roots, FADT, FACS, MADT and WAET.

use acpi_tables::{
    Aml,
    facs::FACS,
    fadt::{FADTBuilder, Flags},
    gas::{AccessSize, AddressSpace, GAS},
    madt::{EnabledStatus, IoApic, ProcessorLocalApic},
    sdt::Sdt,
};

use super::{ACPI_DISABLE, ACPI_ENABLE, PM_BASE, RESET_PORT, SCI, SMI_COMMAND};

/// Bytes of the header that every table but the FACS begins with (section 5.2.6).
pub const HEADER: u32 = 36;
/// Offset of the checksum in that header.
pub const CHECKSUM_OFFSET: u32 = 9;
/// Offset and size of the FADT's pointers: FIRMWARE_CTRL, DSDT, X_DSDT (section 5.2.9). X_FIRMWARE_CTRL stays zero, for the
/// specification allows only one of the two.
pub const FADT_POINTERS: [(u32, u8); 3] = [(36, 4), (40, 4), (140, 8)];
/// Offset and size of the root pointer's pointers: RSDT and XSDT (section 5.2.5.3).
pub const RSDP_POINTERS: [(u32, u8); 2] = [(16, 4), (24, 8)];
/// Offset and length of the root pointer's checksums: of its first 20 bytes and of all.
pub const RSDP_CHECKSUMS: [(u32, u32); 2] = [(8, 20), (32, 36)];

/// Who made the tables.
pub const OEM_ID: [u8; 6] = *b"LODGE ";
/// Which machine they describe.
pub const OEM_TABLE_ID: [u8; 8] = *b"LODGEPC ";

/// Of the local APICs' registers.
pub const LAPIC_ADDRESS: u32 = 0xfee0_0000;
/// Of the I/O APIC's registers.
pub const IOAPIC_ADDRESS: u32 = 0xfec0_0000;
/// The highest APIC ID that a processor local APIC entry can hold; 255 means all of them.
const LAST_XAPIC_ID: u32 = 254;
/// Boot architecture: 8042 present, and there are ISA devices (section 5.2.9.3).
const LEGACY_DEVICES_AND_8042: u16 = 0b11;

/// Starts a table made of plain bytes.
fn table(signature: &[u8; 4], revision: u8) -> Sdt {
    Sdt::new(*signature, HEADER, revision, OEM_ID, OEM_TABLE_ID, 1)
}

/// The root pointer with offsets for addresses.
pub fn rsdp(rsdt: u32, xsdt: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(36);
    acpi_tables::rsdp::Rsdp::new(OEM_ID, u64::from(xsdt)).to_aml_bytes(&mut bytes);
    bytes[16..20].copy_from_slice(&rsdt.to_le_bytes());
    bytes
}

/// The root table RSDT (pointers of 4 bytes) or XSDT (8 bytes), with offsets for addresses.
pub fn root(signature: &[u8; 4], pointer_size: usize, tables: &[u32]) -> Sdt {
    let mut root = table(signature, 1);
    for &offset in tables {
        root.append_slice(&u64::from(offset).to_le_bytes()[..pointer_size]);
    }
    root
}

/// The firmware control structure.
pub fn facs() -> FACS {
    FACS::new()
}

/// A block of I/O ports as a generic address.
fn ports(port: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, u64::from(port))
}

/// The fixed description: the PIIX4's power management block, the reset register, and what the machine has not.
pub fn fadt(facs: u32, dsdt: u32) -> impl Aml {
    let (reset_port, reset_value) = RESET_PORT;
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, 1)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    fadt.firmware_ctrl = facs.into();
    fadt.dsdt = dsdt.into();
    fadt.x_dsdt = u64::from(dsdt).into();
    fadt.sci_int = u16::from(SCI).into();
    fadt.smi_cmd = u32::from(SMI_COMMAND).into();
    fadt.acpi_enable = ACPI_ENABLE;
    fadt.acpi_disable = ACPI_DISABLE;
    fadt.pm1a_evt_blk = u32::from(PM_BASE).into();
    fadt.pm1a_cnt_blk = u32::from(PM_BASE + 4).into();
    fadt.pm_tmr_blk = u32::from(PM_BASE + 8).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_len = 4;
    fadt.x_pm1a_evt_blk = ports(PM_BASE, 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = ports(PM_BASE + 4, 16, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = ports(PM_BASE + 8, 32, AccessSize::DwordAccess);
    // No C2 and no C3: the latencies lie above the limits of section 5.2.9.
    fadt.p_lvl2_lat = 0xfff.into();
    fadt.p_lvl3_lat = 0xfff.into();
    fadt.century = 0x32;
    fadt.iapc_boot_arch = LEGACY_DEVICES_AND_8042.into();
    fadt.reset_reg = ports(reset_port, 8, AccessSize::ByteAccess);
    fadt.reset_value = reset_value;
    fadt.finalize()
}

/// The interrupt controllers: local APICs, the I/O APIC, and how ISA interrupts reach it (section 5.2.12).
pub fn madt(apic_ids: &[u32]) -> Sdt {
    const PCAT_COMPAT: u32 = 1;
    const ALL_PROCESSORS: u8 = 0xff;
    const LINT1: u8 = 1;
    /// Active high, level-triggered, as the PIIX3 drives its lines.
    const LEVEL_HIGH: u16 = 0x0d;

    let mut madt = table(b"APIC", 4);
    madt.append_slice(&LAPIC_ADDRESS.to_le_bytes());
    madt.append_slice(&PCAT_COMPAT.to_le_bytes());
    for (uid, &apic_id) in apic_ids.iter().enumerate() {
        match u8::try_from(apic_id) {
            Ok(id) if apic_id <= LAST_XAPIC_ID => {
                append(&mut madt, &ProcessorLocalApic::new(uid as u8, id, EnabledStatus::Enabled));
            }
            _ => {
                // Processor local x2APIC: type 9, 16 bytes.
                madt.append_slice(&[9, 16, 0, 0]);
                for value in [apic_id, 1, uid as u32] {
                    madt.append_slice(&value.to_le_bytes());
                }
            }
        }
    }
    append(&mut madt, &IoApic::new(0, IOAPIC_ADDRESS, 0));
    // Interrupt source override: type 2, 10 bytes. The PIT arrives at pin 2; the SCI and the PCI lines are level-triggered.
    for (irq, gsi, flags) in
        [(0, 2, 0), (5, 5, LEVEL_HIGH), (SCI, 9, LEVEL_HIGH), (10, 10, LEVEL_HIGH), (11, 11, LEVEL_HIGH)]
    {
        madt.append_slice(&[2, 10, 0, irq]);
        madt.append_slice(&u32::to_le_bytes(gsi));
        madt.append_slice(&flags.to_le_bytes());
    }
    // Local APIC NMI: type 4, 6 bytes.
    madt.append_slice(&[4, 6, ALL_PROCESSORS, 0, 0, LINT1]);
    madt
}

/// Tells Windows that the RTC and the PM timer need none of the work-arounds that real ones do.
pub fn waet() -> Sdt {
    const RTC_GOOD: u32 = 1 << 0;
    const PM_TIMER_GOOD: u32 = 1 << 1;
    let mut waet = table(b"WAET", 1);
    waet.append_slice(&(RTC_GOOD | PM_TIMER_GOOD).to_le_bytes());
    waet
}

fn append(table: &mut Sdt, entry: &dyn Aml) {
    let mut bytes = Vec::new();
    entry.to_aml_bytes(&mut bytes);
    table.append_slice(&bytes);
}
