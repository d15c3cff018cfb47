//! The limits of a disk: what `block_set_io_throttle` sets and `query-block` shows.

use serde::{Deserialize, Serialize};

/// What a disk may move and how often it may be asked. What is 0 or left out is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThrottleLimits {
    /// Bytes a second, read and written together; 0 for no limit.
    pub bps: u64,
    /// Bytes read a second.
    pub bps_rd: u64,
    /// Bytes written a second.
    pub bps_wr: u64,
    /// Requests a second.
    pub iops: u64,
    /// Reads a second.
    pub iops_rd: u64,
    /// Writes a second.
    pub iops_wr: u64,
    /// As `bps`, in a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps_max: Option<u64>,
    /// As `bps_rd`, in a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps_rd_max: Option<u64>,
    /// As `bps_wr`, in a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps_wr_max: Option<u64>,
    /// As `iops`, in a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_max: Option<u64>,
    /// As `iops_rd`, in a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_rd_max: Option<u64>,
    /// As `iops_wr`, in a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_wr_max: Option<u64>,
    /// How long a burst of `bps_max` may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps_max_length: Option<u64>,
    /// How long a burst of `bps_rd_max` may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps_rd_max_length: Option<u64>,
    /// How long a burst of `bps_wr_max` may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bps_wr_max_length: Option<u64>,
    /// How long a burst of `iops_max` may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_max_length: Option<u64>,
    /// How long a burst of `iops_rd_max` may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_rd_max_length: Option<u64>,
    /// How long a burst of `iops_wr_max` may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_wr_max_length: Option<u64>,
    /// Requests larger than this many bytes count as several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_size: Option<u64>,
}

/// What a network card may carry: `x-lodge-set-network-limits`. What comes in is what the guest receives. What is left out is not
/// limited; those with `-max` are for bursts of a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct NetworkLimits {
    /// Bytes a second.
    pub inbound_bytes: u64,
    /// Bytes a second, in a burst.
    pub inbound_bytes_max: u64,
    /// Frames a second.
    pub inbound_packets: u64,
    /// Frames a second, in a burst.
    pub inbound_packets_max: u64,
    /// Bytes a second.
    pub outbound_bytes: u64,
    /// Bytes a second, in a burst.
    pub outbound_bytes_max: u64,
    /// Frames a second.
    pub outbound_packets: u64,
    /// Frames a second, in a burst.
    pub outbound_packets_max: u64,
}
