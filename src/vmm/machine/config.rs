//! What a machine is made of.

#![forbid(unsafe_code)]

use std::{fs::File, io::Write, ops::RangeInclusive, sync::Arc};

use uuid::Uuid;

use super::{Graphics, MachineError, Peripherals, disks, peripherals::MAX_NETWORKS};
use crate::vmm::{
    block::{Disk, Durability, Slot, errors::ErrorPolicy, limits::Limits, ring::Ring},
    boot::linux::LinuxBoot,
    cpu::CpuConfig,
    devices::serial::SerialOutput,
    memory::MemoryBacking,
};

/// The largest number of virtual CPUs: what fits the 8-bit IDs of the local APICs.
pub const MAX_VCPUS: u32 = 254;
/// The least memory that firmware starts with, in bytes.
pub const MIN_MEMORY: u64 = 1 << 20;
/// The unit of guest memory, in bytes.
pub const MEMORY_UNIT: u64 = 1 << 20;

/// The video memory that a display can have, in bytes.
pub const VIDEO_MEMORY: RangeInclusive<u32> = 1 << 20..=256 << 20;

/// A machine to be made. Every file and socket in it is open already.
pub struct MachineConfig {
    /// The guest's name, for errors and firmware tables.
    pub name: String,
    /// The guest's UUID.
    pub uuid: Uuid,
    /// RAM in bytes, a multiple of [`MEMORY_UNIT`].
    pub memory: u64,
    /// What lies behind the RAM.
    pub memory_backing: MemoryBacking,
    /// Virtual CPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// What the virtual CPUs are like.
    pub cpu: CpuConfig,
    /// How it begins.
    pub boot: Boot,
    /// The graphics card.
    pub graphics: Graphics,
    /// Video memory in bytes: a power of two.
    pub video_memory: u32,
    /// The disks, those with virtio in the order of their PCI slots.
    pub disks: Vec<DiskConfig>,
    /// The CD-ROM drives.
    pub cdroms: Vec<CdromConfig>,
    /// The other virtio devices.
    pub peripherals: Peripherals,
    /// Where the serial port's output goes.
    pub serial: Box<dyn SerialOutput>,
    /// Where the firmware's debug port writes.
    pub debug_log: Box<dyn Write + Send>,
    /// Whether the firmware offers its boot menu.
    pub boot_menu: bool,
}

impl MachineConfig {
    /// Refuses what no machine can have.
    pub(super) fn check(&self) -> Result<(), MachineError> {
        let Self { memory, vcpus, video_memory, .. } = *self;
        if memory < MIN_MEMORY || memory % MEMORY_UNIT != 0 {
            return Err(MachineError::Config(format!("{memory} bytes of memory. give it whole MiB")));
        }
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(MachineError::Config(format!("{vcpus} vCPUs. give it 1 to {MAX_VCPUS}")));
        }
        if !video_memory.is_power_of_two() || !VIDEO_MEMORY.contains(&video_memory) {
            let reason = format!("{video_memory} bytes of video memory. give it 1, 2, 4, 8, ... or 256 MiB");
            return Err(MachineError::Config(reason));
        }
        if self.peripherals.networks.len() > MAX_NETWORKS {
            let count = self.peripherals.networks.len();
            return Err(MachineError::Config(format!("{count} network cards. give it at most {MAX_NETWORKS}")));
        }
        disks::check(&self.disks, &self.cdroms, self.peripherals.first_slot())
    }
}

/// How a machine begins.
#[derive(Debug)]
pub enum Boot {
    /// With firmware, which boots from a disk.
    Firmware(Firmware),
    /// With a Linux kernel, directly.
    Linux(LinuxBoot),
}

/// The firmware's images.
#[derive(Debug)]
pub struct Firmware {
    /// SeaBIOS: `bios-256k.bin`.
    pub bios: File,
    /// SeaVGABIOS: `vgabios-stdvga.bin` or `vgabios-virtio.bin`, after the graphics card.
    pub vga_bios: File,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskBus {
    /// virtio-blk, a PCI function of its own.
    #[default]
    Virtio,
    /// As an ATA disk to the IDE controller.
    Ide,
}

/// A CD-ROM drive of the machine, on the IDE controller.
pub struct CdromConfig {
    /// Its name in QMP and logs, unique among disks and drives.
    pub id: String,
    /// What is in it.
    pub medium: Option<Arc<dyn Disk>>,
    /// Its place in the boot order, the lowest first; `None` when it is not booted from.
    pub bootindex: Option<u32>,
}

/// A disk of the machine.
pub struct DiskConfig {
    /// Its name in QMP and logs, unique in the machine.
    pub id: String,
    /// How it is attached.
    pub bus: DiskBus,
    /// Its content.
    pub disk: Slot,
    /// The serial number the guest sees; up to 20 bytes count.
    pub serial: String,
    /// Its place in the boot order, the lowest first; `None` when it is not booted from.
    pub bootindex: Option<u32>,
    /// When what the guest writes is on stable storage.
    pub durability: Durability,
    /// What to do when the host cannot do what the guest asks for.
    pub errors: ErrorPolicy,
    /// What it may move, and how often it may be asked.
    pub limits: Limits,
    /// With virtio, one for each of its queues ([`disk_queues`](super::disk_queues)) that is to have many requests in flight at a
    /// time.
    pub rings: Vec<Ring>,
}

impl DiskConfig {
    /// A disk that is not booted from.
    pub fn new(id: &str, disk: impl Into<Slot>) -> Self {
        Self {
            id: id.to_owned(),
            bus: DiskBus::Virtio,
            disk: disk.into(),
            serial: String::new(),
            bootindex: None,
            durability: Durability::default(),
            errors: ErrorPolicy::default(),
            limits: Limits::default(),
            rings: Vec::new(),
        }
    }
}
