//! What commands answer and events tell, with QEMU's names. The manager reads what the worker writes with the same types.
//!
//! Specification: QEMU QMP Reference Manual. What begins with `x-lodge-` is ours.

mod block_job;
mod connection;
mod migration;
mod statistics;
mod throttle;
mod vnc;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use block_job::{BlockJobInfo, JobStatus};
pub use migration::{MigrationInfo, MigrationStatistics, MigrationStatus};
pub use throttle::{NetworkLimits, ThrottleLimits};
pub use vnc::{VncClientInfo, VncInfo, VncServerInfo, VncServers};

pub use connection::{ConnectionInfo, Forward, IsolatedInfo};
pub use statistics::{DiskStatistics, GuestMemory, MemoryStatistics, NetworkStatistics, Statistics, VcpuStatistics};

/// The state of a guest (`RunState`), as far as this engine has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Made, and not yet started.
    Prelaunch,
    /// Running.
    Running,
    /// Stopped by `stop`.
    Paused,
    /// Stopped because the host could not do what the guest has asked a disk for. It is tried again with `cont`.
    IoError,
    /// Held because KVM could not go on.
    InternalError,
    /// Held after the guest powered itself off.
    Shutdown,
    /// Held after the guest's own system panicked.
    GuestPanicked,
    /// Held while its state is being saved.
    FinishMigrate,
    /// Held after its state was saved.
    Postmigrate,
}

impl RunState {
    /// Whether virtual CPUs run.
    pub fn is_running(self) -> bool {
        self == Self::Running
    }
}

/// The answer to `query-status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusInfo {
    /// Whether virtual CPUs run.
    pub running: bool,
    /// Always false; QEMU's emulator can run single steps.
    pub singlestep: bool,
    /// The state.
    pub status: RunState,
    /// Why the guest stands still although nobody has stopped it, for people.
    #[serde(rename = "x-lodge-reason", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer to `query-name`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameInfo {
    /// The guest's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The answer to `query-uuid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UuidInfo {
    /// The guest's UUID.
    #[serde(rename = "UUID")]
    pub uuid: Uuid,
}

/// One entry of the answer to `query-commands`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// The command's name.
    pub name: String,
}

/// One entry of the answer to `query-cpus-fast`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CpuInfoFast {
    /// The virtual CPU's number.
    pub cpu_index: u32,
    /// Its object's path; made up, since there is no object tree.
    pub qom_path: String,
    /// The host's thread that runs it.
    pub thread_id: i64,
    /// Where it sits.
    pub props: CpuInstanceProperties,
    /// Always `x86_64`.
    pub target: String,
}

/// Where a virtual CPU sits in the machine's topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CpuInstanceProperties {
    /// Its socket.
    pub socket_id: u32,
    /// Its core in the socket.
    pub core_id: u32,
    /// Its thread in the core.
    pub thread_id: u32,
}

/// One entry of the answer to `query-block`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// The disk's name.
    pub device: String,
    /// The device that shows it to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qdev: Option<String>,
    /// Always `unknown`, as QEMU says.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the guest can eject it.
    pub removable: bool,
    /// Whether the guest has locked it.
    pub locked: bool,
    /// Whether the tray is open, for what has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tray_open: Option<bool>,
    /// The medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inserted: Option<BlockDeviceInfo>,
    /// Whether I/O goes well: `ok`, `failed`, `nospace`.
    #[serde(rename = "io-status", default, skip_serializing_if = "Option::is_none")]
    pub io_status: Option<String>,
}

/// The data of the event `DEVICE_TRAY_MOVED`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrayMoved {
    /// The drive's name.
    pub device: String,
    /// The same.
    pub id: String,
    /// Whether the tray is open now.
    pub tray_open: bool,
}

/// A medium in the answer to `query-block`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDeviceInfo {
    /// The image's file name.
    pub file: String,
    /// The node's name.
    #[serde(rename = "node-name")]
    pub node_name: String,
    /// Whether it is read-only.
    pub ro: bool,
    /// The image's format.
    pub drv: String,
    /// How many images lie below it.
    pub backing_file_depth: u32,
    /// Always false: encrypted images are not opened.
    pub encrypted: bool,
    /// `off`, `on` or `unmap`.
    pub detect_zeroes: String,
    /// What it may move and how often it may be asked.
    #[serde(flatten)]
    pub throttle: ThrottleLimits,
    /// The image.
    pub image: ImageInfo,
    /// How the host caches it.
    pub cache: BlockdevCacheInfo,
    /// Always 0: no event on a write threshold.
    pub write_threshold: u64,
}

/// An image in the answer to `query-block`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageInfo {
    /// The image's file name.
    pub filename: String,
    /// Its format.
    pub format: String,
    /// The disk's size, in bytes.
    pub virtual_size: u64,
    /// What the image takes on the host's disk, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_size: Option<u64>,
}

/// How the host caches an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevCacheInfo {
    /// Whether writes are done when they are in the host's memory.
    pub writeback: bool,
    /// Whether the host's cache is bypassed.
    pub direct: bool,
    /// Whether the guest's flushes are ignored.
    pub no_flush: bool,
}

/// One entry of the answer to `query-blockstats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockStats {
    /// The disk's name.
    pub device: String,
    /// The device that shows it to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qdev: Option<String>,
    /// The node's name.
    pub node_name: String,
    /// The counters.
    pub stats: BlockDeviceStats,
}

/// A disk's counters since the worker's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockDeviceStats {
    /// Bytes read.
    pub rd_bytes: u64,
    /// Bytes written.
    pub wr_bytes: u64,
    /// Bytes discarded.
    pub unmap_bytes: u64,
    /// Reads.
    pub rd_operations: u64,
    /// Writes.
    pub wr_operations: u64,
    /// Flushes.
    pub flush_operations: u64,
    /// Discards.
    pub unmap_operations: u64,
    /// Time in reads, in nanoseconds.
    pub rd_total_time_ns: u64,
    /// Time in writes, in nanoseconds.
    pub wr_total_time_ns: u64,
    /// Time in flushes, in nanoseconds.
    pub flush_total_time_ns: u64,
    /// Time in discards, in nanoseconds.
    pub unmap_total_time_ns: u64,
    /// The end of the farthest write, in bytes.
    pub wr_highest_offset: u64,
    /// Reads merged into one.
    pub rd_merged: u64,
    /// Writes merged into one.
    pub wr_merged: u64,
    /// Discards merged into one.
    pub unmap_merged: u64,
    /// Reads that failed on the host.
    pub failed_rd_operations: u64,
    /// Writes that failed on the host.
    pub failed_wr_operations: u64,
    /// Flushes that failed on the host.
    pub failed_flush_operations: u64,
    /// Discards that failed on the host.
    pub failed_unmap_operations: u64,
    /// Reads that the guest asked for wrongly.
    pub invalid_rd_operations: u64,
    /// Writes that the guest asked for wrongly.
    pub invalid_wr_operations: u64,
    /// Flushes that the guest asked for wrongly.
    pub invalid_flush_operations: u64,
    /// Discards that the guest asked for wrongly.
    pub invalid_unmap_operations: u64,
    /// Whether invalid operations count in the figures.
    pub account_invalid: bool,
    /// Whether failed operations count in the figures.
    pub account_failed: bool,
    /// Figures over intervals: none are kept.
    pub timed_stats: Vec<serde_json::Value>,
}

/// A set of file descriptors in the answer to `query-fdsets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FdsetInfo {
    /// The set's number.
    pub fdset_id: u64,
    /// What is in it.
    pub fds: Vec<FdsetFdInfo>,
}

/// A file descriptor in a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdsetFdInfo {
    /// Its number in the worker.
    pub fd: i64,
    /// What its client called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
}

/// The answer to `add-fd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddfdInfo {
    /// The set's number.
    pub fdset_id: u64,
    /// The file descriptor's number in the worker.
    pub fd: i64,
}

/// The answer to `query-balloon` and the data of the event BALLOON_CHANGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonInfo {
    /// What the balloon has left to the guest of its memory, in bytes.
    pub actual: u64,
}

/// The balloon's property `guest-stats`: what the guest has told about its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestStats {
    /// The figures by their names, as `stat-free-memory`. Those that the guest has not told are the largest number.
    pub stats: BTreeMap<String, u64>,
    /// When they came, in seconds since 1970 (UTC); 0 when there are none.
    pub last_update: u64,
}

/// A property in the answer to `qom-list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPropertyInfo {
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The data of the events RESET and SHUTDOWN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownInfo {
    /// Whether the guest did it by itself.
    pub guest: bool,
    /// Why.
    pub reason: ShutdownCause,
}

/// Why a machine was reset or shut down (`ShutdownCause`), as far as this engine has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownCause {
    /// QMP `quit`.
    HostQmpQuit,
    /// QMP `system_reset`.
    HostQmpSystemReset,
    /// A signal to the worker.
    HostSignal,
    /// The guest powered itself off.
    GuestShutdown,
    /// The guest reset itself.
    GuestReset,
    /// The guest's own system panicked.
    GuestPanic,
}

impl ShutdownCause {
    /// With whether the guest did it.
    pub fn info(self) -> ShutdownInfo {
        let guest = matches!(self, Self::GuestShutdown | Self::GuestReset | Self::GuestPanic);
        ShutdownInfo { guest, reason: self }
    }
}

/// The data of the event BLOCK_IO_ERROR: the host could not do what the guest has asked a disk for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockIoError {
    /// The disk's name.
    pub device: String,
    /// The node's name.
    pub node_name: String,
    /// What was asked for.
    pub operation: IoOperationType,
    /// What becomes of the request: `report`, `ignore` or `stop`.
    pub action: String,
    /// Whether the host has no room left.
    pub nospace: bool,
    /// What the host says.
    pub reason: String,
}

/// What a disk was asked for (`IoOperationType`); all that is no read counts as a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoOperationType {
    /// To read.
    Read,
    /// To write.
    Write,
}

/// The data of the event `x-lodge-internal-error`: where KVM could not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InternalErrorInfo {
    /// What happened and how to mend it, in a sentence for people.
    pub message: String,
    /// The virtual CPU's number.
    pub vcpu: u32,
    /// KVM's suberror, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suberror: Option<u32>,
    /// The instruction pointer.
    pub rip: u64,
    /// The instruction's bytes in hexadecimal, as far as they are known.
    pub bytes: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_and_causes_have_qemus_names() {
        assert_eq!(
            json!([RunState::Prelaunch, RunState::InternalError, RunState::GuestPanicked]),
            json!(["prelaunch", "internal-error", "guest-panicked"])
        );
        assert_eq!(
            json!(ShutdownCause::HostQmpSystemReset.info()),
            json!({
                "guest": false,
                "reason": "host-qmp-system-reset"
            })
        );
        assert_eq!(json!(ShutdownCause::GuestReset.info()), json!({"guest": true, "reason": "guest-reset"}));
    }

    #[test]
    fn the_virtual_cpus_have_qemus_field_names() {
        let cpu = CpuInfoFast {
            cpu_index: 0,
            qom_path: "/machine/cpu[0]".to_owned(),
            thread_id: 9,
            props: CpuInstanceProperties { socket_id: 0, core_id: 0, thread_id: 0 },
            target: "x86_64".to_owned(),
        };

        let expected = json!({"cpu-index": 0, "qom-path": "/machine/cpu[0]", "thread-id": 9, "target": "x86_64",
            "props": {"socket-id": 0, "core-id": 0, "thread-id": 0}});
        assert_eq!(json!(cpu), expected);
    }
}
