//! Linux booted directly, without firmware: a kernel file, an initial RAM disk and a command line.
//!
//! Two protocols: an ELF file with a PVH note is entered in 32-bit protected mode ([`pvh`]), a bzImage through its 64-bit
//! entry point ([`bzimage`]; Linux, `Documentation/arch/x86/boot.rst`). Reading kernels is linux-loader's work; this module
//! checks them first, decides what lies where, and describes how the first vCPU begins.

#![forbid(unsafe_code)]

mod bzimage;
mod entry;
mod pvh;

use std::{
    fs::File,
    io::{Read, Seek},
    ops::Range,
};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, ReadVolatile};

pub use entry::CpuEntry;

use super::{Tables, mp, smbios};
use crate::system_error::words;

/// Where things lie below 1 MiB; nothing else is there when no firmware runs.
pub(super) mod layout {
    /// The GDT of the 64-bit entry.
    pub const GDT: u64 = 0x500;
    /// PVH start information, then its module list and memory map.
    pub const START_INFO: u64 = 0x6000;
    /// The zero page (`boot_params`).
    pub const ZERO_PAGE: u64 = 0x7000;
    /// Page tables of the 64-bit entry: one PML4, one PDPT, four page directories.
    pub const PAGE_TABLES: u64 = 0x9000;
    /// The command line.
    pub const COMMAND_LINE: u64 = 0x2_0000;
    /// End of the memory below the video window that a kernel may use.
    pub const LOW_END: u64 = 0x9_fc00;
    /// The MultiProcessor pointer, in the last KiB, where it is looked for first.
    pub const MP_POINTER: u64 = LOW_END;
    /// The ACPI root pointer, then the tables.
    pub const RSDP: u64 = 0xe_0000;
    /// The ACPI tables.
    pub const ACPI: u64 = 0xe_0040;
    /// The MultiProcessor configuration table, at most 8 KiB.
    pub const MP_CONFIGURATION: u64 = 0xe_e000;
    /// The SMBIOS entry point, then the structures.
    pub const SMBIOS: u64 = 0xf_0000;
    /// First byte above 1 MiB: kernels start here or higher.
    pub const HIGH: u64 = 0x10_0000;
}

/// The longest command line, in bytes (COMMAND_LINE_SIZE of x86).
const COMMAND_LINE_MAX: usize = 2047;
const PAGE: u64 = 4096;

/// What is to be booted. The files stay open: a reset loads them again.
#[derive(Debug)]
pub struct LinuxBoot {
    /// The kernel: bzImage, or ELF with a PVH note.
    pub kernel: File,
    /// The initial RAM disk.
    pub initrd: Option<File>,
    /// The command line, without a terminating zero.
    pub command_line: String,
}

/// Why a kernel cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum LinuxBootError {
    /// The file is neither of the two kinds.
    #[error("the kernel is neither a bzImage nor an ELF file. choose a Linux kernel for x86-64 (vmlinuz or vmlinux)")]
    Foreign,
    /// An ELF file that cannot be entered.
    #[error("the kernel has no PVH entry point. choose a bzImage (vmlinuz), or build it with CONFIG_PVH=y")]
    NoPvhEntry,
    /// A bzImage from before Linux 3.8, or for 32 bits.
    #[error("the kernel has no 64-bit entry point (boot protocol 2.12). choose a newer kernel for x86-64")]
    No64BitEntry,
    /// The file breaks off or contradicts itself.
    #[error("the kernel file is damaged: {0}. copy it again from where it came")]
    Damaged(linux_loader::loader::Error),
    /// Kernel and RAM disk need more memory than the guest has.
    #[error("{what} needs {needed} MiB of memory below 4 GiB, the guest has {present} MiB. give the guest more memory")]
    TooLarge {
        /// What does not fit.
        what: &'static str,
        /// MiB needed.
        needed: u64,
        /// MiB there.
        present: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the kernel's command line has {0} bytes, {COMMAND_LINE_MAX} are allowed. shorten it")]
    CommandLine(usize),
    /// The command line holds a zero byte.
    #[error("the kernel's command line holds a zero byte. remove it")]
    ZeroByte,
    /// A file could not be read.
    #[error("the {what} cannot be read: {}. check the file", words(.1), what = .0)]
    Read(&'static str, std::io::Error),
    /// Guest memory does not hold what has to be written there.
    #[error("guest memory: {0}. give the guest more memory")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

/// The kinds of kernel that can be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Elf,
    BzImage,
}

impl LinuxBoot {
    /// Loads kernel, RAM disk, command line and tables into `memory`, whose RAM is `ram` (ascending, disjoint; the first
    /// range starts at 0 and ends at or above 1 MiB), and returns how the first vCPU begins.
    pub fn load<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        ram: &[Range<u64>],
        tables: &Tables,
    ) -> Result<CpuEntry, LinuxBootError> {
        let kind = identify(&mut self.kernel)?;
        self.write_command_line(memory)?;
        write_tables(memory, tables)?;
        let map = MemoryMap::new(ram);
        match kind {
            Kind::Elf => pvh::load(self, memory, &map),
            Kind::BzImage => bzimage::load(self, memory, &map),
        }
    }

    fn write_command_line<M: GuestMemoryBackend>(&self, memory: &M) -> Result<(), LinuxBootError> {
        let line = self.command_line.as_bytes();
        if line.len() > COMMAND_LINE_MAX {
            return Err(LinuxBootError::CommandLine(line.len()));
        }
        if line.contains(&0) {
            return Err(LinuxBootError::ZeroByte);
        }
        memory.write_slice(line, GuestAddress(layout::COMMAND_LINE))?;
        memory.write_slice(&[0], GuestAddress(layout::COMMAND_LINE + line.len() as u64))?;
        Ok(())
    }

    /// Loads the RAM disk as high as possible, below `limit` and above the kernel's end; returns where it lies.
    fn load_initrd<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        kernel_end: u64,
        limit: u64,
    ) -> Result<Option<Range<u64>>, LinuxBootError> {
        let Some(file) = &mut self.initrd else { return Ok(None) };
        let failed = |error| LinuxBootError::Read("initial RAM disk", error);
        let size = file.seek(std::io::SeekFrom::End(0)).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let start = limit.checked_sub(size).map(|start| start / PAGE * PAGE).filter(|&start| start >= kernel_end);
        let Some(start) = start else {
            let needed = (kernel_end + size).div_ceil(1 << 20);
            return Err(LinuxBootError::TooLarge { what: "the initial RAM disk", needed, present: limit >> 20 });
        };
        read_into(memory, start, file, size).map_err(failed)?;
        Ok(Some(start..start + size))
    }
}

/// Reads exactly `size` bytes of `file` into guest memory at `address`.
fn read_into<M: GuestMemoryBackend, F: ReadVolatile>(
    memory: &M,
    address: u64,
    file: &mut F,
    size: u64,
) -> std::io::Result<()> {
    let size = usize::try_from(size).map_err(std::io::Error::other)?;
    memory.read_exact_volatile_from(GuestAddress(address), file, size).map_err(std::io::Error::other)
}

/// Tells the kinds apart by their magic numbers.
fn identify(kernel: &mut File) -> Result<Kind, LinuxBootError> {
    let failed = |error| LinuxBootError::Read("kernel", error);
    let mut head = Vec::new();
    kernel.rewind().map_err(failed)?;
    kernel.take(0x206).read_to_end(&mut head).map_err(failed)?;
    kernel.rewind().map_err(failed)?;
    if head.starts_with(b"\x7fELF") {
        Ok(Kind::Elf)
    } else if head.get(0x202..0x206) == Some(b"HdrS") {
        Ok(Kind::BzImage)
    } else {
        Err(LinuxBootError::Foreign)
    }
}

fn write_tables<M: GuestMemoryBackend>(memory: &M, tables: &Tables) -> Result<(), LinuxBootError> {
    let Tables { acpi, smbios, mp } = tables;
    memory.write_slice(&mp::floating_pointer(layout::MP_CONFIGURATION as u32), GuestAddress(layout::MP_POINTER))?;
    memory.write_slice(mp, GuestAddress(layout::MP_CONFIGURATION))?;
    let (tables, rsdp) = acpi.placed_at(layout::ACPI, layout::RSDP);
    memory.write_slice(&rsdp, GuestAddress(layout::RSDP))?;
    memory.write_slice(&tables, GuestAddress(layout::ACPI))?;
    let structures = smbios::tables(smbios);
    let address = layout::SMBIOS + smbios::ANCHOR_SIZE.next_multiple_of(16) as u64;
    memory.write_slice(&smbios::anchor(address, structures.len()), GuestAddress(layout::SMBIOS))?;
    memory.write_slice(&structures, GuestAddress(address))?;
    Ok(())
}

/// What a kernel is told about memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MemoryMap {
    /// Ranges that the kernel may use.
    usable: Vec<Range<u64>>,
    /// The tables' range below 1 MiB.
    reserved: Range<u64>,
}

impl MemoryMap {
    fn new(ram: &[Range<u64>]) -> Self {
        let above = |range: &Range<u64>| range.start.max(layout::HIGH)..range.end;
        let high = ram.iter().map(above).filter(|range| range.start < range.end);
        let usable = std::iter::once(0..layout::LOW_END).chain(high).collect();
        Self { usable, reserved: layout::RSDP..layout::HIGH }
    }

    /// End of the memory that starts at 1 MiB.
    fn low_end(&self) -> u64 {
        self.usable.iter().find(|range| range.start == layout::HIGH).map_or(layout::HIGH, |range| range.end)
    }
}

/// Test kernels: the smallest files that the loaders accept.
#[cfg(test)]
mod tests;
