//! Checking an image, and mending it.

#![forbid(unsafe_code)]

use super::{
    Disks, Image, ImageFormat, Result, StorageError,
    progress::Watch,
    qcow2::{
        check::{self, Report},
        repair::{self, Repair},
    },
};

impl Disks {
    /// Checks the structures of an image. With `repair` it must be open for writing.
    pub fn check(&self, image: &Image, repair: Option<Repair>, watch: Watch<'_>) -> Result<Report> {
        if image.format != ImageFormat::Qcow2 {
            let reason = format!("{} images have no structures that can be checked", image.format);
            return Err(StorageError::refused(&image.path, reason, "Check the file systems in it from its guest"));
        }
        let report = match repair {
            None => check::check(&image.file, watch),
            Some(what) => repair::repair(&image.file, what, watch),
        };
        report.map_err(StorageError::qcow2(&image.path))
    }
}
