//! The PVH protocol: an ELF kernel entered at the address of its Xen note (Xen, `docs/misc/pvh.pandoc`;
//! `xen/include/public/arch-x86/hvm/start_info.h`).

use linux_loader::loader::{
    KernelLoader,
    elf::{Elf, PvhBootCapability},
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::{CpuEntry, LinuxBoot, LinuxBootError, MemoryMap, layout};

const MAGIC: u32 = 0x336e_c578;
const MODULE_LIST: u64 = layout::START_INFO + 0x40;
const MEMORY_MAP: u64 = layout::START_INFO + 0x80;
const RAM: u32 = 1;
const RESERVED: u32 = 2;

pub(super) fn load<M: GuestMemoryBackend>(
    boot: &mut LinuxBoot,
    memory: &M,
    map: &MemoryMap,
) -> Result<CpuEntry, LinuxBootError> {
    let loaded = Elf::load(memory, None, &mut boot.kernel, Some(GuestAddress(layout::HIGH)))
        .map_err(|error| too_large_or_damaged(boot, error, map))?;
    let PvhBootCapability::PvhEntryPresent(entry) = loaded.pvh_boot_cap else {
        return Err(LinuxBootError::NoPvhEntry);
    };
    if loaded.kernel_end > map.low_end() {
        return Err(LinuxBootError::TooLarge {
            what: "the kernel",
            needed: loaded.kernel_end.div_ceil(1 << 20),
            present: map.low_end() >> 20,
        });
    }
    let initrd = boot.load_initrd(memory, loaded.kernel_end, map.low_end())?;
    if let Some(initrd) = &initrd {
        let module = [initrd.start, initrd.end - initrd.start, 0, 0];
        memory.write_slice(&bytes_of(&module), GuestAddress(MODULE_LIST))?;
    }
    memory.write_slice(&memory_map(map), GuestAddress(MEMORY_MAP))?;
    let start_info = start_info(initrd.is_some(), map.usable.len() + 1);
    memory.write_slice(&start_info, GuestAddress(layout::START_INFO))?;
    Ok(CpuEntry::Pvh { entry: entry.0, start_info: layout::START_INFO })
}

/// A kernel that does not fit is told from one that is damaged by where its program headers point.
fn too_large_or_damaged(boot: &LinuxBoot, error: linux_loader::loader::Error, map: &MemoryMap) -> LinuxBootError {
    use linux_loader::loader::elf::Error as ElfError;
    let size = boot.kernel.metadata().map_or(0, |metadata| metadata.len());
    match error {
        linux_loader::loader::Error::Elf(ElfError::ReadKernelImage) if size + layout::HIGH > map.low_end() => {
            LinuxBootError::TooLarge {
                what: "the kernel",
                needed: (size + layout::HIGH).div_ceil(1 << 20),
                present: map.low_end() >> 20,
            }
        }
        error => LinuxBootError::Damaged(error),
    }
}

/// `hvm_start_info`, version 1: 56 bytes.
fn start_info(has_module: bool, map_entries: usize) -> Vec<u8> {
    let mut info = Vec::with_capacity(56);
    for value in [MAGIC, 1, 0, u32::from(has_module)] {
        info.extend(value.to_le_bytes());
    }
    info.extend(bytes_of(&[MODULE_LIST, layout::COMMAND_LINE, layout::RSDP, MEMORY_MAP]));
    info.extend((map_entries as u32).to_le_bytes());
    info.extend(0u32.to_le_bytes());
    info
}

/// `hvm_memmap_table_entry`s: 24 bytes each.
fn memory_map(map: &MemoryMap) -> Vec<u8> {
    let usable = map.usable.iter().map(|range| (range, RAM));
    usable
        .chain([(&map.reserved, RESERVED)])
        .flat_map(|(range, kind)| bytes_of(&[range.start, range.end - range.start, u64::from(kind)]))
        .collect()
}

fn bytes_of(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
