//! QEMU's object model, as far as clients need it: `qom-list`, `qom-get` and `qom-set` for what has no command of its own, the
//! balloon's statistics.
//!
//! Clients ask for them as QEMU's documentation of the balloon says: `guest-stats-polling-interval` is set to some seconds, and
//! `guest-stats` is read.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, answer, balloon};
use crate::{
    qmp::{arguments, message::ErrorClass, types::ObjectPropertyInfo},
    vmm::virtio::balloon::BalloonHandle,
};

/// Where the devices are.
const PERIPHERAL: &str = "/machine/peripheral";
/// The balloon's name; QEMU takes a name for a path where it is unique.
const BALLOON: &str = "balloon0";
const STATS: &str = "guest-stats";
const INTERVAL: &str = "guest-stats-polling-interval";

/// The arguments of `qom-list`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    path: String,
}

/// The arguments of `qom-get`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetArguments {
    path: String,
    property: String,
}

/// The arguments of `qom-set`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetArguments {
    path: String,
    property: String,
    value: Value,
}

pub(super) fn qom_list(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let ListArguments { path } = arguments::parse(arguments)?;
    let property = |name: &str, kind: &str| ObjectPropertyInfo { name: name.to_owned(), kind: kind.to_owned() };
    if path == PERIPHERAL {
        let balloon = driver.machine().balloon().map(|_| property(BALLOON, "child<virtio-balloon-pci>"));
        return answer(balloon.into_iter().collect::<Vec<_>>());
    }
    find(driver, &path)?;
    answer([property(STATS, "guest statistics"), property(INTERVAL, "int")])
}

pub(super) fn qom_get(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let GetArguments { path, property } = arguments::parse(arguments)?;
    let found = find(driver, &path)?;
    match property.as_str() {
        STATS => balloon::guest_stats(&found),
        INTERVAL => answer(driver.balloon_watch().interval()),
        other => Err(unknown(other)),
    }
}

pub(super) fn qom_set(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let SetArguments { path, property, value } = arguments::parse(arguments)?;
    find(driver, &path)?;
    match property.as_str() {
        STATS => Err(Error::generic(format!("Property 'virtio-balloon-pci.{STATS}' is not writable"))),
        INTERVAL => balloon::set_polling_interval(driver, value),
        other => Err(unknown(other)),
    }
}

/// The object at `path`.
fn find(driver: &Driver, path: &str) -> Result<BalloonHandle, Error> {
    let name = path.strip_prefix(PERIPHERAL).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
    let balloon = driver.machine().balloon().filter(|_| name == BALLOON);
    balloon.ok_or_else(|| Error { class: ErrorClass::DeviceNotFound, desc: format!("Device '{path}' not found") })
}

fn unknown(property: &str) -> Error {
    Error::generic(format!("Property 'virtio-balloon-pci.{property}' not found"))
}
