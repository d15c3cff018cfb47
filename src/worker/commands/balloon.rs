//! Commands for the balloon: `balloon`, `query-balloon`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Driver, Error, answer, no_arguments, nothing};
use crate::{
    qmp::{arguments, message::ErrorClass},
    vmm::virtio::balloon::BalloonHandle,
};

/// The arguments of `balloon`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalloonArguments {
    /// The memory that the guest is to keep, in bytes.
    value: u64,
}

pub(super) fn balloon(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let BalloonArguments { value } = arguments::parse(arguments)?;
    let balloon = active(driver)?;
    if value == 0 {
        return Err(Error::generic("Parameter 'target' expects a size"));
    }
    balloon.set_target(driver.guest().memory.saturating_sub(value));
    nothing()
}

pub(super) fn query_balloon(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let taken = active(driver)?.actual();
    answer(json!({ "actual": driver.guest().memory.saturating_sub(taken) }))
}

fn active(driver: &Driver) -> Result<BalloonHandle, Error> {
    driver.machine().balloon().ok_or_else(|| Error {
        class: ErrorClass::DeviceNotActive,
        desc: "No balloon device has been activated".to_owned(),
    })
}
