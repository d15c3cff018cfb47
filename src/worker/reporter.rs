//! Writes the exit report, with the log's last lines.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    sync::{Arc, Mutex, PoisonError},
};

use super::{exit_report::ExitReport, log::Log};

/// Where the exit report goes. Shared by the driver and by whatever notices that the worker itself fails.
pub struct Reporter {
    file: Mutex<File>,
    log: Option<Arc<Log>>,
}

impl Reporter {
    /// A reporter that writes to `file` and adds the tail of `log`.
    pub fn new(file: File, log: Option<Arc<Log>>) -> Self {
        Self { file: Mutex::new(file), log }
    }

    /// Replaces the report that is there.
    pub fn write(&self, mut report: ExitReport) {
        report.log_tail = self.log.as_ref().map(|log| log.tail()).unwrap_or_default();
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = report.write(&file) {
            tracing::error!("the exit report could not be written: {error}");
        }
    }
}
