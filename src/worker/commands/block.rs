//! Commands that change disks: `block_set_io_throttle`.

use serde_json::{Map, Value};

use super::{Driver, Error, nothing};
use crate::{
    qmp::{arguments, message::ErrorClass, types::BlockIoThrottle},
    vmm::block::limits::Limits,
};

pub(super) fn block_set_io_throttle(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let wanted: BlockIoThrottle = arguments::parse(arguments)?;
    let limits = Limits::from(&wanted.limits);
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
