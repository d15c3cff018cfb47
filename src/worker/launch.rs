//! The launch description: all that a worker needs to know about its guest, written by whoever starts it.
//!
//! It is one JSON document, read to its end from file descriptor [`LAUNCH_FD`] (a memfd, a pipe or a file at offset 0).
//! The worker opens nothing by name: every file, socket and device is named here by the number of an open file
//! descriptor that the worker inherits. Descriptors that are not named are closed at start.
//!
//! The launcher and the worker come from one package, so the version must be equal; [`LaunchDescription::from_json`]
//! says so before it looks at the rest.

#![forbid(unsafe_code)]

mod listening;
#[cfg(test)]
mod tests;
mod throttle;

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::listening::ListeningScreen;
pub use crate::vmm::{
    block::{
        errors::{ReadErrors, WriteErrors},
        limits::{Limit, Limits},
    },
    cpu::{CpuConfig, CpuConfigError, Topology},
    machine::{Graphics, NetworkModel},
    memory::{HugePages, MemoryBacking},
    snapshot::is_complete as is_complete_state,
};

/// The file descriptor on which the worker finds its launch description.
pub const LAUNCH_FD: RawFd = 3;

/// The version of the description that this program writes and reads.
pub const LAUNCH_VERSION: u32 = 3;

/// The longest description that a worker reads, in bytes.
pub const LAUNCH_LIMIT: u64 = 1 << 20;

/// What a worker runs, and on which file descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchDescription {
    /// [`LAUNCH_VERSION`].
    pub version: u32,
    /// The guest's name.
    pub name: String,
    /// The guest's UUID.
    pub uuid: Uuid,
    /// The guest's memory, in bytes.
    pub memory: u64,
    /// What lies behind the memory.
    #[serde(default)]
    pub memory_backing: MemoryBacking,
    /// The number of virtual CPUs.
    pub vcpus: u32,
    /// What the virtual CPUs are like.
    #[serde(default)]
    pub cpu: CpuConfig,
    /// The graphics card.
    #[serde(default)]
    pub graphics: Graphics,
    /// The display's video memory, in bytes.
    pub video_memory: u32,
    /// Whether the firmware offers its boot menu.
    #[serde(default)]
    pub boot_menu: bool,
    /// Leave the guest in `prelaunch` until a QMP `cont`.
    #[serde(default)]
    pub start_paused: bool,
    /// What happens when the guest powers itself off.
    #[serde(default = "Action::destroy")]
    pub on_poweroff: Action,
    /// What happens when the guest resets itself.
    #[serde(default = "Action::restart")]
    pub on_reboot: Action,
    /// What happens when the guest reports a panic.
    #[serde(default = "Action::destroy")]
    pub on_crash: Action,
    /// The worker's own file descriptors.
    pub descriptors: Descriptors,
    /// How the guest begins.
    pub boot: Boot,
    /// The guest's disks, in the order in which they are plugged in.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// The guest's CD-ROM drives.
    #[serde(default)]
    pub cdroms: Vec<Cdrom>,
    /// The guest's network cards.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Whether the guest has a source of random numbers (virtio-rng).
    #[serde(default)]
    pub entropy: bool,
    /// Whether the guest has a balloon.
    #[serde(default)]
    pub balloon: bool,
    /// Whether the guest has a virtio keyboard and tablet beside the PS/2 ones.
    #[serde(default)]
    pub input: bool,
    /// The listening Unix stream socket of the virtio console's terminal (Linux's hvc0), if there is one.
    #[serde(default)]
    pub console: Option<RawFd>,
    /// Ports of the virtio console for programs, such as a guest agent.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Whether the clipboard is shared with an agent in the guest.
    #[serde(default)]
    pub clipboard: bool,
    /// Sockets between guest and host, if there are.
    #[serde(default)]
    pub vsock: Option<Vsock>,
    /// The saved state from which the guest goes on, instead of its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
    /// Where viewers on a network come in, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<ListeningScreen>,
}

/// A saved state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The state, open for reading; for writing too if it is consumed.
    pub state: RawFd,
    /// Whether it is worth nothing once the guest runs. It is emptied then, so that nobody restores it again.
    #[serde(default)]
    pub consume: bool,
}

/// How a guest begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// With firmware, which boots from a disk.
    Firmware(Firmware),
    /// With a Linux kernel, directly.
    Kernel(Kernel),
}

/// A kernel that is booted directly. Its files stay open: a reset reads them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The kernel, open for reading: a bzImage, or an ELF file with a PVH entry.
    pub image: RawFd,
    /// The initial RAM disk, open for reading.
    #[serde(default)]
    pub initrd: Option<RawFd>,
    /// The command line.
    #[serde(default)]
    pub cmdline: String,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name in QMP and in logs, unique in the guest: `net0`.
    pub id: String,
    /// Its model.
    #[serde(default)]
    pub model: NetworkModel,
    /// Its address.
    pub mac: [u8; 6],
    /// What it is connected to, in words for answers: `nat`, `isolated=lab`, `bridge=br0`.
    #[serde(default)]
    pub source: String,
    /// The host's end.
    pub connection: Connection,
    /// Whether the cable is plugged in.
    pub link: bool,
    /// How much it may carry.
    #[serde(default)]
    pub limits: Limits,
    /// How it is booted from, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<NetworkBoot>,
}

/// How a guest boots from a network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkBoot {
    /// The place in the boot order, the lowest first.
    pub bootindex: u32,
    /// The option ROM for the card's model, open for reading.
    pub rom: RawFd,
}

/// The host's end of a network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// Nothing.
    Nothing,
    /// A TAP interface.
    Tap {
        /// Its name, for answers only.
        #[serde(default)]
        interface: String,
        /// Its queues, opened with `IFF_NO_PI | IFF_VNET_HDR`.
        queues: Vec<RawFd>,
    },
    /// Address translation by a `lodge-nat`.
    Nat {
        /// The SEQPACKET socket through which the card gets its streams.
        feed: RawFd,
        /// The SEQPACKET socket for requests.
        control: RawFd,
    },
    /// An isolated network, by the keeper of a `lodge-switch`.
    Switch {
        /// The SEQPACKET socket through which the card gets its streams.
        feed: RawFd,
        /// The SEQPACKET socket for requests.
        control: RawFd,
    },
}

/// A port of the virtio console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// By which the guest knows it: `org.qemu.guest_agent.0`.
    pub name: String,
    /// The listening Unix stream socket.
    pub listener: RawFd,
}

/// Sockets between guest and host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's address (CID), at least 3.
    pub cid: u32,
    /// The listening Unix stream socket for programs of the host.
    pub listener: RawFd,
}

/// What to do when a guest's life comes to an end; the words are libvirt's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The worker ends.
    Destroy,
    /// The machine is reset and runs on.
    Restart,
    /// The machine is held as it is, for a look.
    Preserve,
}

impl Action {
    fn destroy() -> Self {
        Self::Destroy
    }

    fn restart() -> Self {
        Self::Restart
    }
}

/// The file descriptors that every worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptors {
    /// `/dev/kvm`, open for reading and writing.
    pub kvm: RawFd,
    /// The definition's `run.lock`, with an open-file-description write lock (`F_OFD_SETLK`) on it. The worker only keeps
    /// it open, so that the lock lives as long as the worker.
    pub run_lock: RawFd,
    /// The log, open for appending.
    pub log: RawFd,
    /// The exit report (`exit.json`), empty and open for reading and writing.
    pub exit_report: RawFd,
    /// The listening Unix stream socket that speaks QMP.
    pub control: RawFd,
    /// The listening Unix stream socket that speaks RFB.
    pub vnc: RawFd,
    /// The listening Unix stream socket of the first serial port.
    pub serial: RawFd,
}

/// The firmware's images, open for reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// SeaBIOS (`bios-256k.bin`).
    pub bios: RawFd,
    /// SeaVGABIOS for the standard VGA (`vgabios-stdvga.bin`).
    pub vga_bios: RawFd,
}

/// One disk of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its name in QMP and in logs, unique in the guest: `disk0`.
    pub id: String,
    /// How it is attached.
    #[serde(default)]
    pub bus: DiskBus,
    /// The image or block device; open for writing too unless `read_only`.
    pub image: RawFd,
    /// The image's format. It is never guessed: a raw disk's content belongs to the guest, which could make it look like
    /// another format.
    pub format: DiskFormat,
    /// The images below a qcow2 image, from the one it names down to the base, each open for reading.
    #[serde(default)]
    pub backing: Vec<BackingImage>,
    /// The image's file name, for `query-block` and error texts only.
    #[serde(default)]
    pub file_name: String,
    /// Whether the guest may write.
    #[serde(default)]
    pub read_only: bool,
    /// The place in the boot order, the lowest first; `None` for a disk that is not booted from.
    #[serde(default)]
    pub bootindex: Option<u32>,
    /// The serial number that the guest sees, at most 20 bytes.
    #[serde(default)]
    pub serial: String,
    /// How the host's page cache is used. An image without it is open with `O_DIRECT`.
    #[serde(default)]
    pub cache: CacheMode,
    /// What to do when the host cannot write.
    #[serde(default)]
    pub error_policy: WriteErrors,
    /// What to do when the host cannot read.
    #[serde(default)]
    pub rerror_policy: ReadErrors,
    /// What it may move, and how often it may be asked.
    #[serde(default)]
    pub limits: Limits,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// As a drive of the IDE controller.
    Ide,
}

/// A CD-ROM drive of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cdrom {
    /// Its name in QMP and in logs, unique among disks and drives: `cdrom0`.
    pub id: String,
    /// What is in it.
    #[serde(default)]
    pub medium: Option<Medium>,
    /// The place in the boot order, the lowest first; `None` for a drive that is not booted from.
    #[serde(default)]
    pub bootindex: Option<u32>,
}

/// The medium of a CD-ROM drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Medium {
    /// The image, open for reading.
    pub image: RawFd,
    /// Its format.
    pub format: DiskFormat,
    /// Its file name, for `query-block` and error texts only.
    #[serde(default)]
    pub file_name: String,
}

/// How the host's page cache is used for a disk, and when a write is safe; the words are QEMU's and libvirt's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Through the page cache; a write is safe when the guest has flushed it.
    #[default]
    Writeback,
    /// Past the page cache; a write is safe when the guest has flushed it.
    None,
    /// Through the page cache; a write is safe when it is done.
    Writethrough,
    /// Through the page cache; a write is safe when the host likes, whatever the guest flushes. For guests that can be lost.
    Unsafe,
}

impl CacheMode {
    /// Whether it goes past the page cache.
    pub fn is_direct(self) -> bool {
        self == Self::None
    }
}

/// An image that a qcow2 image is based on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackingImage {
    /// The image, open for reading.
    pub image: RawFd,
    /// Its format.
    pub format: DiskFormat,
    /// Its file name, for error texts only.
    #[serde(default)]
    pub file_name: String,
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The disk's bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl DiskFormat {
    /// The format's name in QMP and in definitions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl LaunchDescription {
    /// Reads a description, checking its version first.
    pub fn from_json(json: &[u8]) -> Result<Self, LaunchError> {
        #[derive(Deserialize)]
        struct OnlyVersion {
            version: u32,
        }
        let OnlyVersion { version } = serde_json::from_slice(json).map_err(LaunchError::Malformed)?;
        if version != LAUNCH_VERSION {
            return Err(LaunchError::Version { found: version });
        }
        serde_json::from_slice(json).map_err(LaunchError::Malformed)
    }

    /// The description as it goes to the worker.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the description has only string keys and plain values")
    }
}

/// Why a launch description was refused.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No JSON of the known shape.
    #[error("the launch description is malformed: {0}. It is written by lodge or lodgectl; start guests with them")]
    Malformed(serde_json::Error),
    /// Another version's.
    #[error(
        "the launch description has version {found}, this lodge-worker knows {LAUNCH_VERSION}. lodge, lodgectl and \
         lodge-worker must be of one release: install them together and start lodge again"
    )]
    Version {
        /// The version in the description.
        found: u32,
    },
}
