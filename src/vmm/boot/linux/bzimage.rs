//! The 64-bit boot protocol of a bzImage (Linux, `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol").

use linux_loader::loader::{
    KernelLoader,
    bootparam::{boot_e820_entry, boot_params, setup_header},
    bzimage::BzImage,
};
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryBackend};

use super::{CpuEntry, LinuxBoot, LinuxBootError, MemoryMap, entry::GDT, layout};

/// Boot protocol that brought `xloadflags` and the 64-bit entry point.
const PROTOCOL_2_12: u16 = 0x020c;
/// `xloadflags`: the kernel has the 64-bit entry point at 0x200.
const XLF_KERNEL_64: u16 = 1 << 0;
const ENTRY_64: u64 = 0x200;
/// `type_of_loader`: one without an assigned number.
const LOADER_UNKNOWN: u8 = 0xff;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;
const PAGE: u64 = 4096;

pub(super) fn load<M: GuestMemoryBackend>(
    boot: &mut LinuxBoot,
    memory: &M,
    map: &MemoryMap,
) -> Result<CpuEntry, LinuxBootError> {
    let loaded = BzImage::load(memory, Some(GuestAddress(layout::HIGH)), &mut boot.kernel, None)
        .map_err(|error| too_large_or_damaged(boot, error, map))?;
    let Some(mut header) = loaded.setup_header else { return Err(LinuxBootError::No64BitEntry) };
    if header.version < PROTOCOL_2_12 || header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(LinuxBootError::No64BitEntry);
    }
    if boot.command_line.len() > header.cmdline_size as usize {
        return Err(LinuxBootError::CommandLine(boot.command_line.len()));
    }

    // The kernel unpacks itself at its preferred address, into as much as `init_size` says.
    let unpacked_end = header.pref_address.saturating_add(u64::from(header.init_size));
    let kernel_end = loaded.kernel_end.max(unpacked_end);
    if kernel_end > map.low_end() {
        return Err(LinuxBootError::TooLarge {
            what: "the kernel",
            needed: kernel_end.div_ceil(1 << 20),
            present: map.low_end() >> 20,
        });
    }
    let initrd_limit = map.low_end().min(u64::from(header.initrd_addr_max) + 1);
    let initrd = boot.load_initrd(memory, kernel_end, initrd_limit)?;

    header.type_of_loader = LOADER_UNKNOWN;
    header.cmd_line_ptr = layout::COMMAND_LINE as u32;
    if let Some(initrd) = initrd {
        header.ramdisk_image = initrd.start as u32;
        header.ramdisk_size = (initrd.end - initrd.start) as u32;
    }
    memory.write_slice(zero_page(header, map).as_slice(), GuestAddress(layout::ZERO_PAGE))?;
    write_page_tables(memory)?;
    for (address, descriptor) in (layout::GDT..).step_by(8).zip(GDT) {
        memory.write_obj(descriptor, GuestAddress(address))?;
    }
    Ok(CpuEntry::Linux64 {
        entry: loaded.kernel_load.0 + ENTRY_64,
        zero_page: layout::ZERO_PAGE,
        page_tables: layout::PAGE_TABLES,
    })
}

fn too_large_or_damaged(boot: &LinuxBoot, error: linux_loader::loader::Error, map: &MemoryMap) -> LinuxBootError {
    let size = boot.kernel.metadata().map_or(0, |metadata| metadata.len());
    if size + layout::HIGH > map.low_end() {
        let needed = (size + layout::HIGH).div_ceil(1 << 20);
        return LinuxBootError::TooLarge { what: "the kernel", needed, present: map.low_end() >> 20 };
    }
    LinuxBootError::Damaged(error)
}

fn zero_page(header: setup_header, map: &MemoryMap) -> boot_params {
    let mut zero_page = boot_params { hdr: header, acpi_rsdp_addr: layout::RSDP, ..Default::default() };
    let usable = map.usable.iter().map(|range| (range, E820_RAM));
    let entries = usable.chain([(&map.reserved, E820_RESERVED)]);
    for (slot, (range, kind)) in zero_page.e820_table.iter_mut().zip(entries) {
        *slot = boot_e820_entry { addr: range.start, size: range.end - range.start, r#type: kind };
        zero_page.e820_entries += 1;
    }
    zero_page
}

/// Maps the first 4 GiB one to one with pages of 2 MiB.
fn write_page_tables<M: GuestMemoryBackend>(memory: &M) -> Result<(), LinuxBootError> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    let pointers = layout::PAGE_TABLES + PAGE;
    let directories = pointers + PAGE;
    memory.write_obj(pointers | PRESENT_WRITABLE, GuestAddress(layout::PAGE_TABLES))?;
    for gigabyte in 0..4 {
        let directory = directories + gigabyte * PAGE;
        memory.write_obj(directory | PRESENT_WRITABLE, GuestAddress(pointers + 8 * gigabyte))?;
        let entries: Vec<u8> = (0..512u64)
            .flat_map(|index| (gigabyte << 30 | index << 21 | LARGE | PRESENT_WRITABLE).to_le_bytes())
            .collect();
        memory.write_slice(&entries, GuestAddress(directory))?;
    }
    Ok(())
}
