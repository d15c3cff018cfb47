//! A stock Linux kernel (tests/guest/stock/) finds everything it expects, by PVH, as a bzImage and from a disk by SeaBIOS and
//! GRUB, on one vCPU and on several: its log is read to the last line.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs::{self, File},
    os::unix::{fs::FileExt, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
};

use common::{
    grub,
    kernel_log::KernelLog,
    kvm,
    linux::{self, succeed},
    machine::{TestMachine, machine},
    stock,
};
use lodge::vmm::{
    block::Format,
    machine::{Connection, ConsoleConfig, Graphics, MachineConfig, NetworkConfig, Peripherals, VsockConfig},
};

/// The root file system is a partition's, and every line of the log begins with its level.
const ARGUMENTS: &str = "console_msg_format=syslog root=/dev/vda1 rw init=/init";
/// The last thing that a kernel does for itself.
const END: &str = "Run /init as init process";

/// The virtio devices' PCI slots, device IDs, and their queues with an interrupt as the drivers call them.
const VIRTIO: [(&str, &str, &[&str]); 8] = [
    ("04", "1042", &["req.0"]),
    ("19", "1041", &["input.0", "output.0"]),
    ("1a", "1053", &["rx", "tx", "event"]),
    ("1b", "1052", &["events", "status"]),
    ("1c", "1052", &["events", "status"]),
    ("1d", "1043", &["input", "output"]),
    ("1e", "1045", &["inflate", "deflate", "stats", "reporting_vq"]),
    ("1f", "1044", &["input"]),
];
/// The slots of those that interrupt while the kernel boots: it reads from the disk and gathers random numbers.
const BUSY: [&str; 2] = ["04", "1f"];

/// Warnings that a machine without faults causes all the same.
const KNOWN_WARNINGS: [(&str, &str); 6] = [
    (
        "hrtimer: interrupt took ",
        "ring 0 is emulated where KVM has no VT-x or AMD-V, and a busy host makes that slower yet",
    ),
    ("psmouse serio1: Failed to reset mouse", "its driver's deadlines are those of a processor, and it tries again"),
    ("amd_pstate: the _CPC object is not present", "a processor's speed is the host's to choose"),
    (
        "amd_pstate: The CPPC feature is supported but currently disabled",
        "so it is on a processor of the Zen family, too",
    ),
    ("Please enable it if your BIOS has the CPPC option.", "the same warning's second line"),
    ("RDSEED32 is broken.", "it is the host's processor, whose microcode does not mend that"),
];

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

/// Where the disk's partition begins, in bytes.
const PARTITION: u64 = 1 << 20;
const DISK_SIZE: u64 = 32 << 20;

#[test]
fn a_kernel_that_boots_by_pvh_finds_everything() {
    let Some(guest) = Guest::start("vmlinux", 1, Graphics::Virtio) else { return };

    let log = guest.log();

    assert_at_home(&log, 1, Graphics::Virtio);
    assert_eq!(log.after("DMI: "), concat!("Lodge Lodge PC, BIOS ", env!("CARGO_PKG_VERSION"), " 01/01/2026"));
}

#[test]
fn a_kernel_that_boots_as_a_bzimage_finds_everything() {
    let Some(guest) = Guest::start("bzImage", 1, Graphics::Vga) else { return };

    assert_at_home(&guest.log(), 1, Graphics::Vga);
}

#[test]
fn a_kernel_on_four_vcpus_finds_everything() {
    let Some(guest) = Guest::start("vmlinux", 4, Graphics::Vga) else { return };

    assert_at_home(&guest.log(), 4, Graphics::Vga);
}

#[test]
fn a_kernel_that_grub_boots_from_a_disk_finds_everything() {
    let Some(guest) = Guest::start_from_disk(2) else { return };

    let log = guest.log();

    assert_at_home(&log, 2, Graphics::Vga);
    assert!(log.after("Command line: ").starts_with("BOOT_IMAGE=(hd0,msdos1)/boot/vmlinuz "));
}

/// Other vCPUs than the first come online, but the scheduler leaves them alone: where KVM emulates ring 0, balancing them takes most
/// of the time.
fn command_line(vcpus: u32) -> String {
    let isolated = if vcpus > 1 { format!(" isolcpus=1-{}", vcpus - 1) } else { String::new() };
    format!("{} {ARGUMENTS}{isolated}", stock::COMMAND_LINE)
}

/// Fails unless the kernel has found the whole machine and has nothing to complain of.
fn assert_at_home(log: &KernelLog, vcpus: u32, graphics: Graphics) {
    log.assert_calm(&KNOWN_WARNINGS);

    // The vCPUs and their clock.
    let plural = if vcpus == 1 { "" } else { "s" };
    assert_eq!(log.after("smp: Brought up "), format!("1 node, {vcpus} CPU{plural}"));
    assert!(log.after("smpboot: Total of ").starts_with(&format!("{vcpus} processors activated")));
    log.after("Hypervisor detected: KVM");
    log.after("kvm-clock: Using msrs 4b564d01 and 4b564d00");
    log.after("clocksource: Switched to clocksource kvm-clock");

    // ACPI, SMBIOS, and what only they tell of.
    log.after("found SMP MP-table at [mem 0x");
    for table in ["RSDP", "XSDT", "FACP", "DSDT", "FACS", "APIC", "WAET"] {
        log.after(&format!("ACPI: {table} 0x"));
    }
    log.after("ACPI: Interpreter enabled");
    log.after("ACPI: Using IOAPIC for interrupt routing");
    log.after("ACPI: PM: (supports S0 S5)");
    log.after("ACPI: button: Power Button [PWRF]");
    log.after("SMBIOS 3.0.0 present.");
    log.after("rtc_cmos 00:00: setting system clock to ");
    log.after("serio: i8042 KBD port at 0x60,0x64 irq 1");
    log.after("serio: i8042 AUX port at 0x60,0x64 irq 12");
    assert!(log.after("00:03: ttyS0 at I/O 0x3f8 (irq = 4").contains("is a 16550A"));

    // The devices: each has its driver, and virtio's have MSI-X.
    let (display, driver) = match graphics {
        Graphics::Vga => ("1234:1111", "bochs-drm, MSI-X off"),
        Graphics::Virtio => ("1af4:1050", "virtio-pci, MSI-X on"),
    };
    assert_eq!(log.after(&format!("report: pci 0000:00:02.0 [{display}] driver ")), driver);
    assert_eq!(log.after("report: pci 0000:00:03.0 [1b36:0011] driver "), "pvpanic-pci, MSI-X off");
    for (slot, id, queues) in VIRTIO {
        assert_eq!(log.after(&format!("report: pci 0000:00:{slot}.0 [1af4:{id}] driver ")), "virtio-pci, MSI-X on");
        let interrupts: Vec<_> =
            log.all_after("report: irq ").into_iter().filter_map(|line| interrupt(line, slot)).collect();
        for queue in queues.iter().chain(&["config"]) {
            assert!(
                interrupts.iter().any(|(name, _)| name == queue),
                "{slot} has no interrupt {queue}: {interrupts:?}"
            );
        }
        let came = interrupts.iter().any(|&(_, times)| times > 0);
        assert!(came || !BUSY.contains(&slot), "no interrupt of {slot} came: {interrupts:?}");
    }
    assert!(log.after("virtio_blk virtio").contains("default/read/poll queues"));
    log.after("Free page reporting enabled");
    assert!(log.all_after("input: ").iter().any(|name| name.starts_with("Lodge virtio tablet ")));
    assert!(log.all_after("input: ").iter().any(|name| name.starts_with("Lodge virtio keyboard ")));

    assert!(log.all_after("input: ").iter().any(|name| name.contains("Generic Explorer Mouse")));

    // The root file system.
    log.after(" vda: vda1");
    log.after("EXT4-fs (vda1): mounted filesystem ");
    log.after("VFS: Mounted root (ext4 filesystem) on device ");
}

/// The queue and how often its interrupt came, out of "41 PCI-MSIX-0000:00:04.0, virtio0-req.0: 3 times" if that is of `slot`.
fn interrupt<'a>(line: &'a str, slot: &str) -> Option<(&'a str, u64)> {
    let (_, rest) = line.split_once(&format!(" PCI-MSIX-0000:00:{slot}.0, virtio"))?;
    let (name, times) = rest.split_once(": ")?;
    let (_, queue) = name.split_once('-')?;
    Some((queue, times.strip_suffix(" times")?.parse().ok()?))
}

/// A guest with every device.
struct Guest {
    machine: TestMachine,
    _folder: tempfile::TempDir,
}

impl Guest {
    /// Boots the kernel's file `name`.
    fn start(name: &str, vcpus: u32, graphics: Graphics) -> Option<Self> {
        drop((kvm::open()?, stock::kernel(name)?));
        let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
        let disk = disk(folder.path(), None);
        let machine = stock::start(name, &command_line(vcpus), |config| {
            (config.vcpus, config.graphics) = (vcpus, graphics);
            plug(config, &disk, folder.path());
        })?;
        Some(Self { machine, _folder: folder })
    }

    /// Boots the kernel from the disk, by SeaBIOS and GRUB.
    fn start_from_disk(vcpus: u32) -> Option<Self> {
        let (kvm, kernel) = (kvm::open()?, stock::kernel("bzImage")?);
        let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
        let disk = disk(folder.path(), Some(&kernel));
        let script = format!("insmod linux\nlinux (hd0,msdos1)/boot/vmlinuz {}\nboot\n", command_line(vcpus));
        grub::install(&disk, PARTITION, &script);
        let mut machine = machine(kvm, |config| {
            (config.memory, config.vcpus) = (stock::MEMORY, vcpus);
            plug(config, &disk, folder.path());
            config.disks[0].bootindex = Some(0);
        });
        machine.machine.resume().unwrap();
        Some(Self { machine, _folder: folder })
    }

    /// Waits until the kernel has done its part, and returns its log.
    fn log(&self) -> KernelLog {
        // Boot loader and decompressor may take as long as the kernel.
        self.machine.wait_for("Linux version");
        self.machine.wait_for(END);
        KernelLog::new(&self.machine.serial.text(), END)
    }
}

/// Gives a machine its disk and every other virtio device.
fn plug(config: &mut MachineConfig, disk: &Path, folder: &Path) {
    config.disks = vec![linux::disk("root", disk, Format::Raw)];
    config.peripherals = Peripherals {
        entropy: true,
        balloon: true,
        input: true,
        console: Some(ConsoleConfig::default()),
        vsock: Some(VsockConfig { cid: 3, listener: UnixListener::bind(folder.join("vsock")).unwrap() }),
        networks: vec![NetworkConfig { link: false, ..NetworkConfig::new("network0", MAC, Connection::Nothing) }],
    };
}

/// A disk with one partition, whose file system holds an `/init`, and what GRUB needs to boot `kernel`.
fn disk(folder: &Path, kernel: Option<&Path>) -> PathBuf {
    let (root, disk) = (folder.join("root"), folder.join("disk.img"));
    fs::create_dir_all(root.join("dev")).unwrap();
    if let Some(kernel) = kernel {
        grub::copy_modules(&root, &["linux"]);
        fs::copy(kernel, root.join("boot/vmlinuz")).unwrap();
    }
    fs::copy("/bin/true", root.join("init")).unwrap();
    let image = File::create_new(&disk).unwrap();
    image.set_len(DISK_SIZE).unwrap();
    let (offset, size) = (format!("offset={PARTITION}"), format!("{}k", (DISK_SIZE - PARTITION) >> 10));
    succeed(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-b", "4096", "-E", &offset, "-d"])
            .args([&root, &disk])
            .arg(size),
    );
    let sectors = |bytes: u64| ((bytes / 512) as u32).to_le_bytes();
    // The first entry of the partition table: active, Linux, without the geometry of old.
    let mut entry = [0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    entry[8..12].copy_from_slice(&sectors(PARTITION));
    entry[12..].copy_from_slice(&sectors(DISK_SIZE - PARTITION));
    image.write_all_at(&entry, 446).unwrap();
    image.write_all_at(&[0x55, 0xaa], 510).unwrap();
    disk
}
