//! `blockdev-snapshot-sync`, and several of them at one point (`transaction`): the guest goes on in new images, and what it has
//! written so far stays as it is in those that it had.
//!
//! QEMU makes the new images, or opens them by name, and opens the old ones again. Here the client does all that and hands the
//! files over.

#![forbid(unsafe_code)]

use std::fs::File;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, Session, nothing};
use crate::{
    qmp::arguments,
    vmm::{
        block::{Format, Image},
        machine::DiskSnapshot,
    },
    worker::{guest::GuestDisk, launch::DiskFormat},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Snapshot {
    device: String,
    snapshot_file: String,
    #[serde(default = "qcow2")]
    format: DiskFormat,
    mode: Option<Mode>,
    /// The disk's image, open for reading.
    x_lodge_frozen: String,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Existing,
    AbsolutePaths,
}

fn qcow2() -> DiskFormat {
    DiskFormat::Qcow2
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction {
    actions: Vec<Action>,
    /// Each action is done or not, with all others: there is nothing to choose.
    #[serde(rename = "properties")]
    _properties: Option<Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "kebab-case")]
enum Action {
    BlockdevSnapshotSync(Snapshot),
}

/// A disk and its files.
struct Opened {
    device: String,
    image: File,
    shown: String,
    frozen: File,
}

pub(super) fn blockdev_snapshot_sync(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    take(session, vec![arguments::parse(arguments)?])
}

pub(super) fn transaction(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Transaction { actions, .. } = arguments::parse(arguments)?;
    take(session, actions.into_iter().map(|Action::BlockdevSnapshotSync(snapshot)| snapshot).collect())
}

fn take(session: &Session, snapshots: Vec<Snapshot>) -> Result<Value, Error> {
    let opened = snapshots.into_iter().map(|snapshot| open(session, snapshot)).collect::<Result<Vec<_>, _>>()?;
    session.driver().call(move |driver| exchange(driver, opened))?;
    nothing()
}

fn open(session: &Session, snapshot: Snapshot) -> Result<Opened, Error> {
    if snapshot.mode != Some(Mode::Existing) || snapshot.format != DiskFormat::Qcow2 {
        return Err(Error::generic("only mode 'existing' and format 'qcow2' are known: make the image first"));
    }
    let sets = session.fd_sets();
    let file = |name: &str| sets.open(name, "use lodgectl snapshot");
    let shown = sets.described(&snapshot.snapshot_file).unwrap_or(&snapshot.snapshot_file).to_owned();
    let (image, frozen) = (file(&snapshot.snapshot_file)?, file(&snapshot.x_lodge_frozen)?);
    Ok(Opened { device: snapshot.device, image, shown, frozen })
}

fn exchange(driver: &mut Driver, opened: Vec<Opened>) -> Result<(), Error> {
    let (mut snapshots, mut disks): (Vec<_>, Vec<GuestDisk>) = (Vec::new(), Vec::new());
    for Opened { device, image, shown, frozen } in opened {
        let known = driver.guest().disks.iter().find(|disk| disk.id == device);
        let known = known.ok_or_else(|| Error::generic(format!("Cannot find device='{device}'")))?;
        let now = driver.disk_now(known);
        if disks.iter().any(|disk| disk.id == device) {
            return Err(Error::generic(format!("device '{device}' is named twice")));
        }
        let format = if now.format == DiskFormat::Raw.name() { Format::Raw } else { Format::Qcow2 };
        disks.push(now.over(shown, DiskFormat::Qcow2.name(), image.try_clone().ok()));
        let (image, frozen) = (Image { file: image, format: Format::Qcow2 }, Image { file: frozen, format });
        snapshots.push(DiskSnapshot { id: device, image, frozen });
    }
    driver.snapshot_disks(snapshots, disks)
}
