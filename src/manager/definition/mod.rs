//! What a guest is: its definition, as it lies in `guest.toml` in the library.
//!
//! The file is meant to be read and edited by people, so sizes have units, what has a usual value may be left out, and
//! every complaint names the field and how to mend it. A file that is newer than this program or that holds something
//! unknown is refused as a whole: what is not understood is never overwritten.
//!
//! The guest's name is the name of its folder and is not written into the file: renaming is one step that cannot be half
//! done.

#![forbid(unsafe_code)]

mod cpu;
mod devices;
mod limits;
mod listen;
mod mac;
mod network;
mod rewrite;
mod tags;
mod text;
mod validate;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::worker::launch::{CacheMode, HugePages, MemoryBacking, ReadErrors, Topology, WriteErrors};
pub use cpu::CpuDefinition;
pub use devices::{AGENT_PORT, DevicesDefinition};
pub use limits::{LimitsDefinition, NetworkLimitsDefinition};
pub use listen::ListenDefinition;
pub use network::{Forward, MAX_NETWORKS, NatBackend, NetworkDefinition, NetworkKind, NetworkModel, Protocol};
pub(super) use network::{is_interface_name, is_private_subnet};
pub use tags::{check_tag, is_same_tag, parse_tags};
pub use text::DefinitionError;
pub use validate::{
    HostLimits, MAX_DISKS, MAX_IDE_DRIVES, MAX_LAYERS, MAX_VCPUS, NAME_MAX_BYTES, NAME_MAX_CHARACTERS, Problem,
    Problems, Review, check_name,
};

use super::size::Size;

/// A definition that has everything which one can have, with a word about each.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The version of the file format that this program writes, and the newest it reads.
pub const VERSION: u32 = 1;

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The version of the format, [`VERSION`].
    pub version: u32,
    /// What identifies the guest through renames; the name of its runtime folder.
    pub uuid: Uuid,
    /// The guest's name: that of its folder in the library.
    #[serde(skip)]
    pub name: String,
    /// A person's words about the guest.
    #[serde(default)]
    pub description: String,
    /// What runs in it, a short word that chooses the icon: `linux`, `debian`, `windows`, `testcard`, …
    #[serde(default)]
    pub os: Option<String>,
    /// Words by which guests are grouped and found, `web` or `production`; their case does not matter.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it is started when its person logs in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub autostart: bool,
    /// The guest's RAM, in whole MiB.
    pub memory: Size,
    /// Virtual CPUs.
    #[serde(default = "one")]
    pub vcpus: u32,
    /// What runs at power-on.
    #[serde(default)]
    pub firmware: FirmwareKind,
    /// What happens when the guest turns itself off.
    #[serde(default = "destroy")]
    pub on_poweroff: Lifecycle,
    /// What happens when the guest restarts itself.
    #[serde(default = "restart")]
    pub on_reboot: Lifecycle,
    /// What happens when the guest crashes.
    #[serde(default = "preserve")]
    pub on_crash: Lifecycle,
    /// What the virtual CPUs are like.
    #[serde(default)]
    pub cpu: CpuDefinition,
    /// What lies behind the memory: `huge_pages` of `2MiB` or `1GiB`, whether the host may merge equal pages (`mergeable`), and
    /// whether other programs can be given it (`shared`).
    #[serde(default)]
    pub memory_backing: MemoryBacking,
    /// A kernel that is booted directly, without the disks' boot loaders.
    #[serde(default)]
    pub kernel: Option<KernelDefinition>,
    /// The screen.
    #[serde(default)]
    pub display: DisplayDefinition,
    /// The other devices.
    #[serde(default = "DevicesDefinition::unsaid")]
    pub devices: DevicesDefinition,
    /// Disks and CD-ROMs.
    #[serde(default, rename = "disk")]
    pub disks: Vec<DiskDefinition>,
    /// Network cards.
    #[serde(default, rename = "network")]
    pub networks: Vec<NetworkDefinition>,
}

/// The firmware.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirmwareKind {
    /// SeaBIOS with SeaVGABIOS, from the distribution.
    #[default]
    SeaBios,
}

/// What to do when a guest ends a run by itself; the words are libvirt's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// The guest is off.
    Destroy,
    /// The guest starts again.
    Restart,
    /// The guest stays as it is, paused, for a look.
    Preserve,
}

/// Something that the firmware may boot from, by its number among its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootSource {
    /// A disk or CD-ROM drive.
    Disk(usize),
    /// A network card.
    Network(usize),
}

/// A kernel for direct boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelDefinition {
    /// The kernel: a bzImage or an ELF file.
    pub path: PathBuf,
    /// The initial RAM disk.
    #[serde(default)]
    pub initrd: Option<PathBuf>,
    /// The command line.
    #[serde(default)]
    pub cmdline: String,
}

/// A kind of graphics card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisplayModel {
    /// The standard VGA, which every system can drive.
    #[default]
    Vga,
    /// virtio-gpu: with a driver for it the screen follows the window's size. A VGA for systems without one.
    Virtio,
}

/// The screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisplayDefinition {
    /// The graphics card.
    #[serde(default)]
    pub model: DisplayModel,
    /// Video memory: a power of two. 16 MiB hold 2560x1600 in 32 bits.
    #[serde(default = "video_memory")]
    pub video_memory: Size,
    /// How it is shown to viewers on a network, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenDefinition>,
}

impl Default for DisplayDefinition {
    fn default() -> Self {
        Self { model: DisplayModel::default(), video_memory: video_memory(), listen: None }
    }
}

/// A disk or CD-ROM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDefinition {
    /// Its name in commands and statistics, unique in the guest: `disk0`. Given by position when left out.
    #[serde(default)]
    pub id: String,
    /// The image: an absolute path. Empty for a CD-ROM drive without a medium.
    #[serde(default)]
    pub path: PathBuf,
    /// The image's format. Never guessed when the guest starts: a guest could write another format's header into its disk.
    pub format: DiskFormat,
    /// Whether the guest is kept from writing.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it is a CD-ROM drive with this medium; it is read-only then, and attached by IDE.
    #[serde(default)]
    pub cdrom: bool,
    /// How it is attached: `virtio`, or `ide` for systems without drivers for that.
    #[serde(default)]
    pub bus: DiskBus,
    /// The serial number that the guest sees, at most 20 characters.
    #[serde(default)]
    pub serial: Option<String>,
    /// Its place in the boot order, from 1. Those without one are tried after those with one: disks first, then CD-ROMs,
    /// so that a guest with an empty disk installs from the CD-ROM and then starts from its disk.
    #[serde(default)]
    pub boot: Option<u32>,
    /// How the host's page cache is used, and when a write is safe: `writeback`, `none`, `writethrough` or `unsafe`.
    #[serde(default)]
    pub cache: CacheMode,
    /// What to do when the host cannot write: `enospace` pauses the guest when there is no room left, and tells it of other
    /// errors; `stop` pauses it for all of them; `report` tells it; `ignore` tells it that all is well. What could not be
    /// written is written when the guest is resumed.
    #[serde(default)]
    pub error_policy: WriteErrors,
    /// What to do when the host cannot read: `report`, `stop` or `ignore`.
    #[serde(default)]
    pub rerror_policy: ReadErrors,
    /// Whether other guests may write to it at the same time. Only systems that know how to share a disk survive that.
    #[serde(default)]
    pub shareable: bool,
    /// What it may move, and how often it may be asked.
    #[serde(default, skip_serializing_if = "LimitsDefinition::is_none")]
    pub limits: LimitsDefinition,
    /// What a qcow2 image is based on: from the file that it names down to the base, which is based on nothing. No other
    /// file is ever opened, whatever the images say.
    #[serde(default)]
    pub backing: Vec<Layer>,
}

/// An image that others are based on. It is only read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// The image: an absolute path.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The disk's bytes, one after the other.
    #[default]
    Raw,
    /// QEMU's format.
    Qcow2,
}

impl DiskFormat {
    /// The word for it in definitions and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// A drive of the IDE controller, which has room for four.
    Ide,
}

impl DiskBus {
    /// The word for it in definitions and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Ide => "ide",
        }
    }
}

fn one() -> u32 {
    1
}

fn video_memory() -> Size {
    Size::mib(16)
}

fn destroy() -> Lifecycle {
    Lifecycle::Destroy
}

fn restart() -> Lifecycle {
    Lifecycle::Restart
}

fn preserve() -> Lifecycle {
    Lifecycle::Preserve
}

impl Definition {
    /// A new guest with one vCPU and 1 GiB of memory and without any disk.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            uuid: Uuid::new_v4(),
            name: name.into(),
            description: String::new(),
            os: None,
            tags: Vec::new(),
            autostart: false,
            memory: Size::gib(1),
            vcpus: 1,
            firmware: FirmwareKind::default(),
            on_poweroff: destroy(),
            on_reboot: restart(),
            on_crash: preserve(),
            cpu: CpuDefinition::default(),
            memory_backing: MemoryBacking::default(),
            kernel: None,
            display: DisplayDefinition::default(),
            devices: DevicesDefinition::default(),
            disks: Vec::new(),
            networks: Vec::new(),
        }
    }

    /// Adds a disk and gives it the next free [`DiskDefinition::id`] when it has none.
    pub fn add_disk(&mut self, disk: DiskDefinition) {
        self.disks.push(disk);
        self.name_disks();
    }

    /// The disks in the order in which the firmware tries them.
    pub fn boot_order(&self) -> Vec<&DiskDefinition> {
        let sources = self.boot_sources().into_iter();
        let disks = sources.filter_map(|source| match source {
            BootSource::Disk(index) => self.disks.get(index),
            BootSource::Network(_) => None,
        });
        disks.collect()
    }

    /// What the firmware tries, in its order: all disks, and the network cards that have a place.
    pub fn boot_sources(&self) -> Vec<BootSource> {
        let disks = self.disks.iter().enumerate();
        let disks = disks.map(|(index, disk)| (disk.boot.unwrap_or(u32::MAX), disk.cdrom, BootSource::Disk(index)));
        let cards = self.networks.iter().enumerate();
        let cards = cards.filter_map(|(index, card)| Some((card.boot?, false, BootSource::Network(index))));
        let mut order: Vec<_> = disks.chain(cards).collect();
        order.sort_by_key(|(place, is_cdrom, _)| (*place, *is_cdrom));
        order.into_iter().map(|(_, _, source)| source).collect()
    }

    /// The place of something in [`Definition::boot_sources`], from 0; `None` when it is not booted from.
    pub fn boot_place(&self, source: BootSource) -> Option<u32> {
        let place = self.boot_sources().into_iter().position(|other| other == source)?;
        u32::try_from(place).ok()
    }

    /// Older versions attached CD-ROMs as virtio disks, and wrote so.
    fn attach_cdroms_by_ide(&mut self) {
        self.disks.iter_mut().filter(|disk| disk.cdrom).for_each(|disk| disk.bus = DiskBus::Ide);
    }

    /// Gives an id to the disks that have none.
    fn name_disks(&mut self) {
        for index in 0..self.disks.len() {
            if !self.disks[index].id.is_empty() {
                continue;
            }
            let stem = if self.disks[index].cdrom { "cdrom" } else { "disk" };
            let free = (0..).map(|number| format!("{stem}{number}")).find(|id| self.disks.iter().all(|d| d.id != *id));
            self.disks[index].id = free.unwrap_or_default();
        }
    }
}

impl DiskDefinition {
    /// Whether `other`, of the same guest, is this disk or drive. One that has its name and another image is another one.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.cdrom == other.cdrom && (self.cdrom || self.path == other.path)
    }

    /// A writable disk.
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            id: String::new(),
            path: path.into(),
            format,
            read_only: false,
            cdrom: false,
            bus: DiskBus::default(),
            serial: None,
            boot: None,
            cache: CacheMode::default(),
            error_policy: WriteErrors::default(),
            rerror_policy: ReadErrors::default(),
            backing: Vec::new(),
            shareable: false,
            limits: LimitsDefinition::default(),
        }
    }

    /// A CD-ROM drive with this ISO image in it.
    pub fn cdrom(path: impl Into<PathBuf>) -> Self {
        Self { read_only: true, cdrom: true, bus: DiskBus::Ide, ..Self::new(path, DiskFormat::Raw) }
    }

    /// A CD-ROM drive without a medium.
    pub fn empty_drive() -> Self {
        Self::cdrom(PathBuf::new())
    }

    /// Whether there is an image: only CD-ROM drives can be without.
    pub fn has_medium(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }

    /// The images that the disk consists of: its own first, then those below it.
    pub fn layers(&self) -> impl Iterator<Item = Layer> {
        let own = Layer { path: self.path.clone(), format: self.format };
        std::iter::once(own).chain(self.backing.iter().cloned())
    }

    /// Whether the guest cannot write to it.
    pub fn is_read_only(&self) -> bool {
        self.read_only || self.cdrom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_get_free_ids() {
        let mut guest = Definition::new("web");

        guest.add_disk(DiskDefinition { id: "disk1".into(), ..DiskDefinition::new("/a", DiskFormat::Raw) });
        guest.add_disk(DiskDefinition::new("/b", DiskFormat::Raw));
        guest.add_disk(DiskDefinition::cdrom("/c"));
        guest.add_disk(DiskDefinition::new("/d", DiskFormat::Raw));

        let ids: Vec<_> = guest.disks.iter().map(|disk| disk.id.as_str()).collect();
        assert_eq!(ids, ["disk1", "disk0", "cdrom0", "disk2"]);
    }

    #[test]
    fn chosen_places_come_first_then_disks_then_cdroms() {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::cdrom("/install.iso"));
        guest.add_disk(DiskDefinition::new("/data", DiskFormat::Raw));
        guest.add_disk(DiskDefinition { boot: Some(2), ..DiskDefinition::new("/second", DiskFormat::Raw) });
        guest.add_disk(DiskDefinition { boot: Some(1), ..DiskDefinition::new("/first", DiskFormat::Raw) });

        let order: Vec<_> = guest.boot_order().iter().map(|disk| disk.path.to_str().unwrap()).collect();

        assert_eq!(order, ["/first", "/second", "/data", "/install.iso"]);
    }
}
