use std::io::Write;

use uuid::Uuid;
use vm_memory::GuestMemoryMmap;

use super::*;
use crate::vmm::{
    boot::{
        acpi::{AcpiConfig, AcpiTables},
        smbios::SmbiosConfig,
    },
    cpu::Topology,
};

const MEMORY: u64 = 64 << 20;

fn guest_memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap()
}

fn file(contents: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(contents).unwrap();
    file
}

fn acpi() -> AcpiTables {
    AcpiTables::build(&AcpiConfig { apic_ids: vec![0], pci_window: 0xc000_0000..0xfec0_0000, pci_window_64: None })
}

fn smbios() -> SmbiosConfig {
    SmbiosConfig {
        name: "test".into(),
        uuid: Uuid::nil(),
        memory: MEMORY,
        topology: Topology { sockets: 1, cores: 1, threads: 1 },
    }
}

fn tables() -> Tables {
    Tables { acpi: acpi(), smbios: smbios(), mp: mp::configuration_table(&[0]) }
}

fn load(boot: &mut LinuxBoot, memory: &GuestMemoryMmap) -> Result<CpuEntry, LinuxBootError> {
    boot.load(memory, std::slice::from_ref(&(0..MEMORY)), &tables())
}

fn boot(kernel: &[u8]) -> LinuxBoot {
    LinuxBoot { kernel: file(kernel), initrd: None, command_line: "console=ttyS0".into() }
}

/// An ELF file with one segment of `code` at 1 MiB and, when asked, a PVH note with entry 0x100010.
fn elf(code: &[u8], pvh: bool) -> Vec<u8> {
    let note: Vec<u8> =
        [4u32, 4, 18].iter().flat_map(|v| v.to_le_bytes()).chain(*b"Xen\0").chain(0x10_0010u32.to_le_bytes()).collect();
    let headers = if pvh { 2 } else { 1 };
    let data = 64 + 56 * headers as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for value in [0x10_0010u64, 64, 0] {
        elf.extend(value.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for value in [64u16, 56, headers, 0, 0, 0] {
        elf.extend(value.to_le_bytes());
    }
    let mut segment = |kind: u32, offset: u64, address: u64, size: u64| {
        elf.extend([kind, 5].iter().flat_map(|v| v.to_le_bytes()));
        for value in [offset, address, address, size, size, 0x1000] {
            elf.extend(value.to_le_bytes());
        }
    };
    segment(1, data + note.len() as u64, 0x10_0000, code.len() as u64);
    if pvh {
        segment(4, data, 0, note.len() as u64);
    }
    elf.extend(note);
    elf.extend(code);
    elf
}

/// A bzImage with boot protocol `version`, the 64-bit entry point and one sector of set-up code.
fn bz_image(version: u16, code: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&version.to_le_bytes());
    image[0x211] = 1;
    image[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    image[0x236..0x238].copy_from_slice(&1u16.to_le_bytes());
    image[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
    image[0x258..0x260].copy_from_slice(&0x100_0000u64.to_le_bytes());
    image[0x260..0x264].copy_from_slice(&0x10_0000u32.to_le_bytes());
    image.extend(code);
    image
}

#[test]
fn an_elf_kernel_with_a_pvh_note_is_entered_at_the_notes_address() {
    let memory = guest_memory();

    let entry = load(&mut boot(&elf(&[0xf4; 64], true)), &memory).unwrap();

    assert_eq!(entry, CpuEntry::Pvh { entry: 0x10_0010, start_info: layout::START_INFO });
    assert_eq!(memory.read_obj::<u8>(GuestAddress(0x10_0000)).unwrap(), 0xf4);
    assert_eq!(memory.read_obj::<u32>(GuestAddress(layout::START_INFO)).unwrap(), 0x336e_c578);
}

#[test]
fn the_start_information_lists_memory_tables_command_line_and_ram_disk() {
    let memory = guest_memory();
    let mut boot = boot(&elf(&[0; 64], true));
    boot.initrd = Some(file(&[7; 5000]));

    load(&mut boot, &memory).unwrap();

    let long = |address| memory.read_obj::<u64>(GuestAddress(address)).unwrap();
    let word = |address| memory.read_obj::<u32>(GuestAddress(address)).unwrap();
    let (modules, command_line) = (long(layout::START_INFO + 16), long(layout::START_INFO + 24));
    let (rsdp, map) = (long(layout::START_INFO + 32), long(layout::START_INFO + 40));
    let mut line = [0; 14];
    memory.read_slice(&mut line, GuestAddress(command_line)).unwrap();
    assert_eq!(&line, b"console=ttyS0\0");
    assert_eq!((long(modules), long(modules + 8)), (MEMORY - 8192, 5000));
    assert_eq!(memory.read_obj::<u8>(GuestAddress(MEMORY - 8192 + 4999)).unwrap(), 7);
    assert_eq!(long(rsdp), u64::from_le_bytes(*b"RSD PTR "));
    assert_eq!(word(layout::START_INFO + 48), 3);
    assert_eq!((long(map), long(map + 8), word(map + 16)), (0, layout::LOW_END, 1));
    assert_eq!((long(map + 24), long(map + 32), word(map + 40)), (layout::HIGH, MEMORY - layout::HIGH, 1));
    assert_eq!((long(map + 48), word(map + 64)), (layout::RSDP, 2));
    assert_eq!(&word(layout::MP_POINTER).to_le_bytes(), b"_MP_");
    assert_eq!(&word(word(layout::MP_POINTER + 4).into()).to_le_bytes(), b"PCMP");
}

#[test]
fn a_bz_image_is_entered_in_long_mode_with_a_zero_page() {
    let memory = guest_memory();
    let mut boot = boot(&bz_image(0x020f, &[0x90; 4096]));
    boot.initrd = Some(file(&[7; 100]));

    let entry = load(&mut boot, &memory).unwrap();

    assert!(matches!(entry, CpuEntry::Linux64 { entry: 0x10_0200, .. }));
    let page: linux_loader::loader::bootparam::boot_params = memory.read_obj(GuestAddress(layout::ZERO_PAGE)).unwrap();
    let (image, size, line) = (page.hdr.ramdisk_image, page.hdr.ramdisk_size, page.hdr.cmd_line_ptr);
    assert_eq!((u64::from(image), size, u64::from(line)), (MEMORY - 4096, 100, layout::COMMAND_LINE));
    assert_eq!((page.e820_entries, { page.acpi_rsdp_addr }), (3, layout::RSDP));
}

#[test]
fn a_foreign_file_is_refused() {
    for contents in [&b""[..], b"#!/bin/sh\n", &[0; 4096]] {
        let refused = load(&mut boot(contents), &guest_memory());

        assert!(matches!(refused, Err(LinuxBootError::Foreign)), "{refused:?}");
    }
}

#[test]
fn an_elf_file_without_a_pvh_note_is_refused() {
    let refused = load(&mut boot(&elf(&[0; 64], false)), &guest_memory());

    assert!(matches!(refused, Err(LinuxBootError::NoPvhEntry)), "{refused:?}");
}

#[test]
fn a_kernel_cut_off_anywhere_is_refused_and_never_panics() {
    let (elf, bz_image) = (elf(&[0; 64], true), bz_image(0x020f, &[0; 64]));
    for length in 0..elf.len() {
        assert!(load(&mut boot(&elf[..length]), &guest_memory()).is_err(), "{length} bytes of the ELF file");
    }
    for length in 0..1024 {
        assert!(load(&mut boot(&bz_image[..length]), &guest_memory()).is_err(), "{length} bytes of the bzImage");
    }
}

#[test]
fn an_old_bz_image_is_refused() {
    let refused = load(&mut boot(&bz_image(0x0204, &[0; 64])), &guest_memory());

    assert!(matches!(refused, Err(LinuxBootError::No64BitEntry)), "{refused:?}");
}

#[test]
fn a_ram_disk_larger_than_memory_says_how_much_is_needed() {
    let mut boot = boot(&elf(&[0; 64], true));
    let initrd = file(&[]);
    initrd.set_len(80 << 20).unwrap();
    boot.initrd = Some(initrd);

    let refused = load(&mut boot, &guest_memory());

    assert!(matches!(refused, Err(LinuxBootError::TooLarge { needed: 82, present: 64, .. })), "{refused:?}");
}

#[test]
fn a_command_line_that_is_too_long_or_holds_a_zero_is_refused() {
    let mut long = boot(&elf(&[0; 64], true));
    long.command_line = "x".repeat(2048);
    let mut zero = boot(&elf(&[0; 64], true));
    zero.command_line = "a\0b".into();

    assert!(matches!(load(&mut long, &guest_memory()), Err(LinuxBootError::CommandLine(2048))));
    assert!(matches!(load(&mut zero, &guest_memory()), Err(LinuxBootError::ZeroByte)));
}
