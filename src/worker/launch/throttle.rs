//! Limits of disks and network cards as the control protocol writes them, and back: for the worker, and for the manager that asks it.

use crate::{
    qmp::types::{NetworkLimits, ThrottleLimits},
    vmm::block::limits::{Limit, Limits},
};

impl From<&Limits> for ThrottleLimits {
    fn from(limits: &Limits) -> Self {
        let some = |number: u64| (number != 0).then_some(number);
        Self {
            bps: limits.bytes.rate,
            bps_rd: limits.read_bytes.rate,
            bps_wr: limits.written_bytes.rate,
            iops: limits.operations.rate,
            iops_rd: limits.reads.rate,
            iops_wr: limits.writes.rate,
            bps_max: some(limits.bytes.burst),
            bps_rd_max: some(limits.read_bytes.burst),
            bps_wr_max: some(limits.written_bytes.burst),
            iops_max: some(limits.operations.burst),
            iops_rd_max: some(limits.reads.burst),
            iops_wr_max: some(limits.writes.burst),
            bps_max_length: some(limits.bytes.burst_seconds),
            bps_rd_max_length: some(limits.read_bytes.burst_seconds),
            bps_wr_max_length: some(limits.written_bytes.burst_seconds),
            iops_max_length: some(limits.operations.burst_seconds),
            iops_rd_max_length: some(limits.reads.burst_seconds),
            iops_wr_max_length: some(limits.writes.burst_seconds),
            iops_size: some(limits.operation_size),
        }
    }
}

impl From<&ThrottleLimits> for Limits {
    fn from(wanted: &ThrottleLimits) -> Self {
        let limit = |rate, burst: Option<u64>, seconds: Option<u64>| Limit {
            rate,
            burst: burst.unwrap_or(0),
            burst_seconds: seconds.unwrap_or(0),
        };
        Self {
            bytes: limit(wanted.bps, wanted.bps_max, wanted.bps_max_length),
            read_bytes: limit(wanted.bps_rd, wanted.bps_rd_max, wanted.bps_rd_max_length),
            written_bytes: limit(wanted.bps_wr, wanted.bps_wr_max, wanted.bps_wr_max_length),
            operations: limit(wanted.iops, wanted.iops_max, wanted.iops_max_length),
            reads: limit(wanted.iops_rd, wanted.iops_rd_max, wanted.iops_rd_max_length),
            writes: limit(wanted.iops_wr, wanted.iops_wr_max, wanted.iops_wr_max_length),
            operation_size: wanted.iops_size.unwrap_or(0),
        }
    }
}

impl From<&Limits> for NetworkLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            inbound_bytes: limits.read_bytes.rate,
            inbound_bytes_max: limits.read_bytes.burst,
            inbound_packets: limits.reads.rate,
            inbound_packets_max: limits.reads.burst,
            outbound_bytes: limits.written_bytes.rate,
            outbound_bytes_max: limits.written_bytes.burst,
            outbound_packets: limits.writes.rate,
            outbound_packets_max: limits.writes.burst,
        }
    }
}

impl From<&NetworkLimits> for Limits {
    fn from(wanted: &NetworkLimits) -> Self {
        let limit = |rate, burst| Limit { rate, burst, ..Limit::default() };
        Self {
            read_bytes: limit(wanted.inbound_bytes, wanted.inbound_bytes_max),
            reads: limit(wanted.inbound_packets, wanted.inbound_packets_max),
            written_bytes: limit(wanted.outbound_bytes, wanted.outbound_bytes_max),
            writes: limit(wanted.outbound_packets, wanted.outbound_packets_max),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_back_as_they_were() {
        let limit = |n| Limit { rate: n, burst: n + 1, burst_seconds: n + 2 };
        let limits = Limits {
            bytes: limit(10),
            read_bytes: limit(20),
            written_bytes: limit(30),
            operations: limit(40),
            reads: limit(50),
            writes: limit(60),
            operation_size: 70,
        };

        let back = Limits::from(&ThrottleLimits::from(&limits));

        assert_eq!(back, limits);
    }

    #[test]
    fn those_of_a_card_do_too() {
        let limit = |n| Limit { rate: n, burst: n + 1, burst_seconds: 0 };
        let limits = Limits {
            read_bytes: limit(20),
            written_bytes: limit(30),
            reads: limit(50),
            writes: limit(60),
            ..Limits::default()
        };

        assert_eq!(Limits::from(&NetworkLimits::from(&limits)), limits);
    }
}
