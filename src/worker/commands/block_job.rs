//! `block-commit`: the image of a disk goes into the one that it is based on while the guest uses it, and the commands for that
//! job. The client hands the images over, and keeps account of which of them counts.

#![forbid(unsafe_code)]

use std::sync::PoisonError;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, Session, answer, no_arguments, nothing};
use crate::{
    qmp::{arguments, message::ErrorClass},
    system_error::words,
    vmm::block::{Format, Image},
    worker::{driver::LowerImages, launch::DiskFormat},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Commit {
    /// The job goes by the disk's name.
    #[serde(rename = "job-id")]
    _job_id: Option<String>,
    device: String,
    /// The image below the disk's own, open for writing.
    x_lodge_lower: String,
    x_lodge_format: DiskFormat,
    /// Those below that, nearest first, open for reading.
    #[serde(default)]
    x_lodge_below: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Layer {
    file: String,
    format: DiskFormat,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    device: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finalize {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    device: String,
    #[serde(default)]
    force: bool,
}

pub(super) fn block_commit(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Commit { device, x_lodge_lower, x_lodge_format, x_lodge_below, .. } = arguments::parse(arguments)?;
    let sets = session.fd_sets();
    let open = |name: &str, format: DiskFormat| {
        let file = sets.open(name, "use lodgectl snapshot merge")?;
        Ok::<_, Error>(Image { file, format: format_of(format.name()) })
    };
    let lower = open(&x_lodge_lower, x_lodge_format)?;
    let below = x_lodge_below.iter().map(|layer| open(&layer.file, layer.format)).collect::<Result<_, _>>()?;
    let shown = sets.described(&x_lodge_lower).unwrap_or(&x_lodge_lower).to_owned();
    drop(sets);
    session.driver().call(move |driver| {
        let known = driver.guest().disks.iter().find(|disk| disk.id == device);
        let known = known.ok_or_else(|| Error {
            class: ErrorClass::DeviceNotFound,
            desc: format!("Cannot find device='{device}' nor node-name='{device}'"),
        })?;
        let now = driver.disk_now(known);
        let failed = |error: std::io::Error| Error::generic(words(&error));
        let own = now.image.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|file| file.try_clone());
        let own = own.ok_or_else(|| Error::generic(format!("the image of {device} is not known")))?.map_err(failed)?;
        let upper = Image { file: own, format: format_of(now.format) };
        let disk = now.under(shown, x_lodge_format.name(), Some(lower.file.try_clone().map_err(failed)?));
        driver.begin_merge(upper, LowerImages { lower, below }, disk)
    })?;
    nothing()
}

fn format_of(name: &str) -> Format {
    if name == DiskFormat::Raw.name() { Format::Raw } else { Format::Qcow2 }
}

pub(super) fn query_block_jobs(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    answer(driver.merge_info().into_iter().collect::<Vec<_>>())
}

pub(super) fn block_job_resume(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Job { device } = arguments::parse(arguments)?;
    driver.resume_merge(&device)?;
    nothing()
}

pub(super) fn block_job_complete(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Job { device } = arguments::parse(arguments)?;
    driver.complete_merge(&device)?;
    nothing()
}

pub(super) fn block_job_finalize(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Finalize { id } = arguments::parse(arguments)?;
    driver.finalize_merge(&id)?;
    nothing()
}

pub(super) fn block_job_cancel(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let Cancel { device, force } = arguments::parse(arguments)?;
    driver.cancel_merge(&device, force)?;
    nothing()
}
