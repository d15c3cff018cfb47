//! `x-lodge-set-clipboard`: whether the clipboard is shared with the guest's agent.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, nothing};
use crate::qmp::{arguments, message::ErrorClass};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClipboardArguments {
    /// Whether it is shared from now on.
    enable: bool,
}

pub(super) fn set_clipboard(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let ClipboardArguments { enable } = arguments::parse(arguments)?;
    let agent = driver.clipboard().ok_or_else(|| Error {
        class: ErrorClass::DeviceNotActive,
        desc: "The guest was started without a clipboard".to_owned(),
    })?;
    agent.set_enabled(enable);
    nothing()
}
