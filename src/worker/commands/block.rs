//! Commands that change disks: `block_set_io_throttle`, `block_resize`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, nothing};
use crate::{
    qmp::{arguments, message::ErrorClass, types::ThrottleLimits},
    vmm::block::limits::Limits,
};

/// QEMU's `BlockIOThrottle`.
#[derive(Deserialize)]
struct Arguments {
    device: Option<String>,
    id: Option<String>,
    group: Option<String>,
    /// What remains must be limits: [`ThrottleLimits`].
    #[serde(flatten)]
    limits: Map<String, Value>,
}

pub(super) fn block_set_io_throttle(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Arguments { device, id, group, limits } = arguments::parse(arguments)?;
    let limits = Limits::from(&arguments::parse::<ThrottleLimits>(limits)?);
    limits.check().map_err(|error| Error::generic(error.to_string()))?;
    // The name of a disk is that of its device, too. Groups of disks that share limits are not offered.
    if let Some(group) = group {
        return Err(Error::generic(format!("The throttle group {group} cannot be had: each disk has its own limits")));
    }
    let id = id.or(device).ok_or_else(|| Error::generic("Need exactly one of 'device' and 'id'"))?;
    match driver.limit_disk(&id, limits) {
        true => nothing(),
        false => Err(not_found(&id)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Resize {
    device: Option<String>,
    node_name: Option<String>,
    /// Bytes.
    size: u64,
}

pub(super) fn block_resize(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Resize { device, node_name, size } = arguments::parse(arguments)?;
    let id = device.or(node_name).ok_or_else(|| Error::generic("Need exactly one of 'device' and 'node-name'"))?;
    if !driver.guest().disks.iter().any(|disk| disk.id == id) {
        return Err(not_found(&id));
    }
    driver.grow_disk(&id, size)?;
    nothing()
}

fn not_found(id: &str) -> Error {
    Error { class: ErrorClass::DeviceNotFound, desc: format!("Device '{id}' not found") }
}
