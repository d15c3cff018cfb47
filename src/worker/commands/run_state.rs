//! Commands that change what the guest does: `stop`, `cont`, `system_powerdown`, `system_reset`, `quit`.

use serde_json::{Map, Value};

use super::{Driver, Error, no_arguments, nothing};

pub(super) fn stop(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    driver.stop()?;
    nothing()
}

pub(super) fn cont(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    driver.cont()?;
    nothing()
}

pub(super) fn system_reset(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    driver.system_reset()?;
    nothing()
}

pub(super) fn system_powerdown(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    driver.system_powerdown();
    nothing()
}

pub(super) fn quit(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    driver.quit();
    nothing()
}
