//! The figures of a guest: the answers to `x-lodge-statistics` and `x-lodge-query-netstats`.

use serde::{Deserialize, Serialize};

use super::RunState;

/// The answer to `x-lodge-statistics`: all that graphs need, in one cheap request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    /// The moment of the figures, in nanoseconds of the host's monotonic clock.
    pub time_ns: u64,
    /// The guest's state.
    pub status: RunState,
    /// Why it stands still although nobody has stopped it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the worker has used of the host's CPUs, virtual CPUs included, in nanoseconds.
    pub cpu_time_ns: u64,
    /// The virtual CPUs.
    pub vcpus: Vec<VcpuStatistics>,
    /// The guest's memory.
    pub memory: MemoryStatistics,
    /// The disks.
    pub disks: Vec<DiskStatistics>,
    /// The network cards.
    #[serde(default)]
    pub networks: Vec<NetworkStatistics>,
    /// How many viewers look at the screen.
    pub viewers: u32,
}

/// A virtual CPU in [`Statistics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VcpuStatistics {
    /// Its number.
    pub index: u32,
    /// What its thread has used of the host's CPUs, in nanoseconds.
    pub cpu_time_ns: u64,
    /// How often the guest has left it for the worker to do something; what the kernel does by itself is not counted. Older
    /// workers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exits: Option<u64>,
}

/// The memory in [`Statistics`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemoryStatistics {
    /// What the guest has.
    pub total: u64,
    /// What the worker keeps in the host's memory, the guest's part included.
    pub resident: u64,
    /// What the balloon has left to the guest; without a balloon nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balloon: Option<u64>,
    /// Whether the guest has a driver for its balloon. Older workers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balloon_driver: Option<bool>,
    /// How the guest uses it, when its balloon driver tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestMemory>,
}

/// How a guest uses its memory, in bytes, as it has told some seconds ago at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestMemory {
    /// What its system can use.
    pub total: u64,
    /// What holds nothing at all.
    pub free: u64,
    /// What its programs can have without swapping: what is free, and caches that can go. Systems that do not say are taken by
    /// what is free.
    pub available: u64,
    /// What has come back from its swap space since it began.
    pub swapped_in: u64,
    /// What has gone to its swap space since it began.
    pub swapped_out: u64,
}

impl GuestMemory {
    /// What programs and the system itself hold, without caches that can go.
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.available)
    }
}

/// A disk in [`Statistics`], since the worker's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskStatistics {
    /// The disk's name.
    pub id: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// A network card in [`Statistics`] and in the answer to `x-lodge-query-netstats`, since the worker's start. What is received
/// and sent is so by the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkStatistics {
    /// The card's name.
    pub id: String,
    /// The address in use: the guest can set another one than it was given.
    pub mac: String,
    /// Whether the cable is plugged in.
    pub link: bool,
    /// Frames received.
    pub received_frames: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Frames sent.
    pub sent_frames: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Frames dropped, in both directions: malformed ones, and those for which there was no link.
    pub dropped_frames: u64,
}
