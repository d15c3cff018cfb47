//! Commands that save the guest's state: `migrate` to a file, `x-lodge-save`, `query-migrate`, `migrate_cancel`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, Session, answer, no_arguments, nothing};
use crate::{
    qmp::{arguments, types::MigrationInfo},
    worker::{fdset::PREFIX, saving::Then},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MigrateArguments {
    uri: String,
    /// QEMU ignores it too.
    #[serde(rename = "detach")]
    _detach: Option<bool>,
}

pub(super) fn migrate(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let MigrateArguments { uri, .. } = arguments::parse(arguments)?;
    let Some(name) = uri.strip_prefix("file:") else {
        return Err(Error::generic(format!(
            "the guest cannot be moved to '{uri}': only its state can be saved, to file:{PREFIX}NUMBER"
        )));
    };
    save(session, name, Then::Stay)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaveArguments {
    filename: String,
}

pub(super) fn x_lodge_save(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let SaveArguments { filename } = arguments::parse(arguments)?;
    save(session, &filename, Then::End)
}

fn save(session: &Session, name: &str, then: Then) -> Result<Value, Error> {
    let file = session.fd_sets().open(name, "save the guest with lodgectl save")?;
    session.driver().save(file, then)?;
    nothing()
}

pub(super) fn query_migrate(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let nothing_yet = || MigrationInfo { status: None, ram: None, total_time: None, error_desc: None };
    answer(driver.saving_info().unwrap_or_else(nothing_yet))
}

pub(super) fn migrate_cancel(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    driver.cancel_saving();
    nothing()
}
