//! Limits on what a disk may move and how often it may be asked, with libvirt's words (`iotune`).
//!
//! ```toml
//! [disk.limits]
//! total_bytes_sec = "50 MiB"
//! total_bytes_sec_max = "200 MiB"   # in a burst
//! total_bytes_sec_max_length = 10   # of so many seconds
//! write_iops_sec = 500
//! ```

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::Problem;
use crate::{
    manager::size::Size,
    worker::launch::{Limit, Limits},
};

/// The limits of a disk; none by default. Those with `_max` are for bursts, and their lengths are in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsDefinition {
    /// Bytes a second, read and written together.
    pub total_bytes_sec: Option<Size>,
    /// Bytes read a second.
    pub read_bytes_sec: Option<Size>,
    /// Bytes written a second.
    pub write_bytes_sec: Option<Size>,
    /// Requests a second.
    pub total_iops_sec: Option<u64>,
    /// Reads a second.
    pub read_iops_sec: Option<u64>,
    /// Writes a second.
    pub write_iops_sec: Option<u64>,
    /// As `total_bytes_sec`, in a burst.
    pub total_bytes_sec_max: Option<Size>,
    /// As `read_bytes_sec`, in a burst.
    pub read_bytes_sec_max: Option<Size>,
    /// As `write_bytes_sec`, in a burst.
    pub write_bytes_sec_max: Option<Size>,
    /// As `total_iops_sec`, in a burst.
    pub total_iops_sec_max: Option<u64>,
    /// As `read_iops_sec`, in a burst.
    pub read_iops_sec_max: Option<u64>,
    /// As `write_iops_sec`, in a burst.
    pub write_iops_sec_max: Option<u64>,
    /// How long a burst of `total_bytes_sec_max` may take.
    pub total_bytes_sec_max_length: Option<u64>,
    /// How long a burst of `read_bytes_sec_max` may take.
    pub read_bytes_sec_max_length: Option<u64>,
    /// How long a burst of `write_bytes_sec_max` may take.
    pub write_bytes_sec_max_length: Option<u64>,
    /// How long a burst of `total_iops_sec_max` may take.
    pub total_iops_sec_max_length: Option<u64>,
    /// How long a burst of `read_iops_sec_max` may take.
    pub read_iops_sec_max_length: Option<u64>,
    /// How long a burst of `write_iops_sec_max` may take.
    pub write_iops_sec_max_length: Option<u64>,
    /// Requests larger than this count as several.
    pub size_iops_sec: Option<Size>,
}

impl LimitsDefinition {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The limits as the engine knows them.
    pub fn limits(&self) -> Limits {
        let limit = |rate: Option<u64>, burst: Option<u64>, seconds: Option<u64>| Limit {
            rate: rate.unwrap_or(0),
            burst: burst.unwrap_or(0),
            burst_seconds: seconds.unwrap_or(0),
        };
        let bytes = |rate: Option<Size>, burst: Option<Size>, seconds| {
            limit(rate.map(Size::bytes), burst.map(Size::bytes), seconds)
        };
        Limits {
            bytes: bytes(self.total_bytes_sec, self.total_bytes_sec_max, self.total_bytes_sec_max_length),
            read_bytes: bytes(self.read_bytes_sec, self.read_bytes_sec_max, self.read_bytes_sec_max_length),
            written_bytes: bytes(self.write_bytes_sec, self.write_bytes_sec_max, self.write_bytes_sec_max_length),
            operations: limit(self.total_iops_sec, self.total_iops_sec_max, self.total_iops_sec_max_length),
            reads: limit(self.read_iops_sec, self.read_iops_sec_max, self.read_iops_sec_max_length),
            writes: limit(self.write_iops_sec, self.write_iops_sec_max, self.write_iops_sec_max_length),
            operation_size: self.size_iops_sec.map_or(0, Size::bytes),
        }
    }

    pub(super) fn validate(&self, field: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        if let Err(error) = self.limits().check() {
            problems.push(Problem::new(field("limits"), error.to_string()));
        }
    }
}

/// The limits of a network card; none by default. What comes in is what the guest receives. Those with `_max` are for bursts of a
/// second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLimitsDefinition {
    /// Bytes a second that the guest receives.
    pub inbound_bytes_sec: Option<Size>,
    /// Bytes a second that the guest sends.
    pub outbound_bytes_sec: Option<Size>,
    /// Frames a second that the guest receives.
    pub inbound_packets_sec: Option<u64>,
    /// Frames a second that the guest sends.
    pub outbound_packets_sec: Option<u64>,
    /// As `inbound_bytes_sec`, in a burst.
    pub inbound_bytes_sec_max: Option<Size>,
    /// As `outbound_bytes_sec`, in a burst.
    pub outbound_bytes_sec_max: Option<Size>,
    /// As `inbound_packets_sec`, in a burst.
    pub inbound_packets_sec_max: Option<u64>,
    /// As `outbound_packets_sec`, in a burst.
    pub outbound_packets_sec_max: Option<u64>,
}

impl NetworkLimitsDefinition {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The limits as the engine knows them.
    pub fn limits(&self) -> Limits {
        let limit = |rate: Option<u64>, burst: Option<u64>| Limit {
            rate: rate.unwrap_or(0),
            burst: burst.unwrap_or(0),
            ..Limit::default()
        };
        let bytes = |rate: Option<Size>, burst: Option<Size>| limit(rate.map(Size::bytes), burst.map(Size::bytes));
        Limits {
            read_bytes: bytes(self.inbound_bytes_sec, self.inbound_bytes_sec_max),
            written_bytes: bytes(self.outbound_bytes_sec, self.outbound_bytes_sec_max),
            reads: limit(self.inbound_packets_sec, self.inbound_packets_sec_max),
            writes: limit(self.outbound_packets_sec, self.outbound_packets_sec_max),
            ..Limits::default()
        }
    }

    /// What is wrong with them.
    pub fn problem(&self) -> Option<String> {
        let error = self.limits().check().err()?;
        let what = match error.what {
            "the bytes read" => "inbound_bytes_sec",
            "the bytes written" => "outbound_bytes_sec",
            "the reads" => "inbound_packets_sec",
            _ => "outbound_packets_sec",
        };
        Some(format!("{}. Correct {what}", error.reason))
    }
}

#[cfg(test)]
mod tests {
    use crate::manager::definition::Definition;

    #[test]
    fn limits_are_read_with_units_and_written_only_where_there_are_some() {
        let text = "version = 1\nuuid = \"abcd1234-0000-4000-8000-000000000001\"\nmemory = \"1GiB\"\n\
                    [[disk]]\npath = \"/a\"\nformat = \"raw\"\n\
                    [disk.limits]\ntotal_bytes_sec = \"50 MiB\"\nwrite_iops_sec = 500\nwrite_iops_sec_max = 1000\n\
                    [[disk]]\npath = \"/b\"\nformat = \"raw\"\n";

        let guest = Definition::from_toml(text, "web").unwrap();
        let written = guest.to_toml();

        let limits = guest.disks[0].limits.limits();
        assert_eq!((limits.bytes.rate, limits.writes.rate, limits.writes.burst), (50 << 20, 500, 1000));
        assert!(guest.disks[1].limits.limits().is_none());
        assert_eq!(written.matches("limits").count(), 1, "{written}");
        assert_eq!(Definition::from_toml(&written, "web").unwrap(), guest);
    }

    #[test]
    fn a_cards_limits_are_those_of_both_directions() {
        let text = "version = 1\nuuid = \"abcd1234-0000-4000-8000-000000000001\"\nmemory = \"1GiB\"\n\
                    [[network]]\nkind = \"none\"\n[network.limits]\ninbound_bytes_sec = \"1 MiB\"\noutbound_packets_sec = 50\n";
        let mut guest = Definition::from_toml(text, "web").unwrap();

        let limits = guest.networks[0].limits.limits();
        guest.networks[0].limits.outbound_packets_sec_max = Some(49);

        assert_eq!((limits.read_bytes.rate, limits.writes.rate, limits.bytes.rate), (1 << 20, 50, 0));
        let problems = guest.validate().unwrap_err();
        let problem = problems.about("network[0].limits").unwrap();
        assert!(problem.contains("slower") && problem.contains("outbound_packets_sec"), "{problem}");
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        let mut guest = Definition::new("web");
        let mut disk = crate::manager::definition::DiskDefinition::new("/a", Default::default());
        disk.limits.total_iops_sec = Some(5);
        disk.limits.read_iops_sec = Some(5);
        guest.add_disk(disk);

        let problems = guest.validate().unwrap_err();

        assert!(problems.about("disk[0].limits").unwrap().contains("together"), "{problems}");
    }
}
