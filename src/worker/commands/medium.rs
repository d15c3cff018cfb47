//! Commands for CD-ROM drives: `eject`, `blockdev-change-medium`, `blockdev-open-tray`, `blockdev-close-tray`,
//! `blockdev-remove-medium`.

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, Session, nothing};
use crate::{
    qmp::{arguments, message::ErrorClass},
    vmm::{
        block::{self, Disk, Format, Image},
        devices::ide::Tray,
    },
    worker::{guest::GuestDisk, launch::DiskFormat},
};

/// The arguments of most.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DriveArguments {
    device: Option<String>,
    id: Option<String>,
    /// Whether the tray opens though the guest has locked it.
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ChangeArguments {
    device: Option<String>,
    id: Option<String>,
    filename: String,
    format: Option<DiskFormat>,
    #[serde(default)]
    force: bool,
    /// A CD is never written to, whatever is asked for.
    #[serde(rename = "read-only-mode")]
    _read_only_mode: Option<String>,
}

/// The one name of a drive.
fn one(device: Option<String>, id: Option<String>) -> Result<String, Error> {
    match (device, id) {
        (Some(name), None) | (None, Some(name)) => Ok(name),
        _ => Err(Error::generic("Need exactly one of 'device' and 'id'")),
    }
}

/// The drive with this name; QEMU's paths are understood too.
fn find(driver: &Driver, name: &str) -> Result<(String, Tray), Error> {
    let id = name.strip_prefix("/machine/peripheral/").unwrap_or(name);
    if let Some(drive) = driver.machine().cdroms().into_iter().find(|drive| drive.id == id) {
        return Ok((drive.id, drive.tray));
    }
    Err(match driver.guest().disks.iter().any(|disk| disk.id == id) {
        true => Error::generic(format!("Device '{name}' is not removable")),
        false => Error { class: ErrorClass::DeviceNotFound, desc: format!("Device '{name}' not found") },
    })
}

/// Opens the tray, or asks the guest for that when it has locked it.
fn open(driver: &Driver, id: &str, tray: &Tray, force: bool) -> Result<(), Error> {
    let moved = tray.open(force).map_err(|_| {
        Error::generic(format!(
            "Device '{id}' is locked and force was not specified, wait for tray to open and try again"
        ))
    })?;
    if moved {
        driver.tell_of_tray(id, true);
    }
    Ok(())
}

fn close(driver: &Driver, id: &str, tray: &Tray) {
    if tray.close() {
        driver.tell_of_tray(id, false);
    }
}

fn parse(driver: &Driver, arguments: Map<String, Value>) -> Result<(String, Tray, bool), Error> {
    let DriveArguments { device, id, force } = arguments::parse(arguments)?;
    let (id, tray) = find(driver, &one(device, id)?)?;
    Ok((id, tray, force))
}

pub(super) fn eject(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let (id, tray, force) = parse(driver, arguments)?;
    open(driver, &id, &tray, force)?;
    tray.exchange(None);
    driver.media().remove(&id);
    nothing()
}

pub(super) fn open_tray(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let (id, tray, force) = parse(driver, arguments)?;
    // A locked one opens when the guest likes: it has been asked.
    let _ = open(driver, &id, &tray, force);
    nothing()
}

pub(super) fn close_tray(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let (id, tray, _) = parse(driver, arguments)?;
    close(driver, &id, &tray);
    nothing()
}

pub(super) fn remove_medium(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let (id, tray, _) = parse(driver, arguments)?;
    if !tray.exchange(None) {
        return Err(Error::generic(format!("Tray of device '{id}' is not open")));
    }
    driver.media().remove(&id);
    nothing()
}

pub(super) fn change_medium(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let ChangeArguments { device, id, filename, format, force, .. } = arguments::parse(arguments)?;
    let name = one(device, id)?;
    let (file, shown) = {
        let sets = session.fd_sets();
        let file = sets.open(&filename, "use lodgectl change-media")?;
        (file, sets.described(&filename).unwrap_or(&filename).to_owned())
    };
    let could_not = |error: &dyn std::fmt::Display| Error::generic(format!("Could not open '{shown}': {error}"));
    let format = format.unwrap_or(DiskFormat::Raw);
    let image = file.try_clone().ok();
    let kind = match format {
        DiskFormat::Raw => Format::Raw,
        DiskFormat::Qcow2 => Format::Qcow2,
    };
    let disk = block::open(Image { file, format: kind }, true, Vec::new()).map_err(|error| could_not(&error))?;
    let disk: Arc<dyn Disk> = disk.into();
    session.driver().call(move |driver| {
        let (id, tray) = find(driver, &name)?;
        open(driver, &id, &tray, force)?;
        tray.exchange(Some(disk));
        driver.media().insert(id.clone(), GuestDisk::medium(&id, shown, format.name(), image));
        close(driver, &id, &tray);
        nothing()
    })
}
