//! Commands that change disks: `block_set_io_throttle`.

use serde_json::{Map, Value};

use super::{Driver, Error, nothing};
use crate::{
    qmp::{arguments, message::ErrorClass, types::BlockIoThrottle},
    vmm::block::limits::{Limit, Limits},
};

pub(super) fn block_set_io_throttle(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let wanted: BlockIoThrottle = arguments::parse(arguments)?;
    let limits = limits(&wanted);
    limits.check().map_err(|error| Error::generic(error.to_string()))?;
    // The name of a disk is that of its device, too. Groups of disks that share limits are not offered.
    if let Some(group) = wanted.group {
        return Err(Error::generic(format!("The throttle group {group} cannot be had: each disk has its own limits")));
    }
    let id = wanted.id.or(wanted.device).ok_or_else(|| Error::generic("Need exactly one of 'device' and 'id'"))?;
    match driver.limit_disk(&id, limits) {
        true => nothing(),
        false => Err(Error { class: ErrorClass::DeviceNotFound, desc: format!("Device '{id}' not found") }),
    }
}

/// The limits that are asked for.
fn limits(wanted: &BlockIoThrottle) -> Limits {
    let limit = |rate, burst: Option<u64>, seconds: Option<u64>| Limit {
        rate,
        burst: burst.unwrap_or(0),
        burst_seconds: seconds.unwrap_or(0),
    };
    Limits {
        bytes: limit(wanted.bps, wanted.bps_max, wanted.bps_max_length),
        read_bytes: limit(wanted.bps_rd, wanted.bps_rd_max, wanted.bps_rd_max_length),
        written_bytes: limit(wanted.bps_wr, wanted.bps_wr_max, wanted.bps_wr_max_length),
        operations: limit(wanted.iops, wanted.iops_max, wanted.iops_max_length),
        reads: limit(wanted.iops_rd, wanted.iops_rd_max, wanted.iops_rd_max_length),
        writes: limit(wanted.iops_wr, wanted.iops_wr_max, wanted.iops_wr_max_length),
        operation_size: wanted.iops_size.unwrap_or(0),
    }
}
