//! Checking an image, and mending it.

#![forbid(unsafe_code)]

use std::{fs::File, path::Path};

use super::{
    Disks, Image, ImageFormat, Result, StorageError,
    progress::Watch,
    qcow2::{
        Qcow2Error,
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

/// Mends what a killed worker, or a host that lost its power, has left in the qcow2 image at `path`, which the caller has
/// locked and a guest is about to write. imago keeps reference counts in memory for a while, but writes what leads to new
/// tables at once: when it ends in between, the next one would take those tables' clusters for free, and write over them.
pub(in crate::manager) fn mend_before_use(path: &Path) -> Result {
    // The caller's descriptor may be one that goes past the host's page cache, and reads only whole blocks.
    let file = File::options().read(true).write(true).open(path).map_err(StorageError::io(path))?;
    let report = match check::check(&file, &|_, _| true) {
        Ok(report) => report,
        // Whether a guest can have it, imago says.
        Err(Qcow2Error::Unsupported(_)) => return Ok(()),
        Err(error) => return Err(StorageError::qcow2(path)(error)),
    };
    if report.is_clean() {
        return Ok(());
    }
    let (low, lost) = (report.corruptions, report.leaks);
    tracing::warn!(
        "{} was not closed properly: mends {low} reference counts, gives {lost} clusters back",
        path.display()
    );
    repair::repair(&file, Repair::All, &|_, _| true).map_err(StorageError::qcow2(path))?;
    Ok(())
}
