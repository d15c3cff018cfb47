//! The exit report (`exit.json`): how a guest ended, for whoever looks when its worker is gone.
//!
//! The launcher makes the file empty and hands it to the worker; the worker fills it in when the guest ends, and already
//! when the guest is held because of an internal error. A later report replaces an earlier one. A worker that was killed
//! leaves it as it was: an empty report and a free lock mean just that.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// The version of the report that this program writes.
pub const EXIT_REPORT_VERSION: u32 = 1;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// [`EXIT_REPORT_VERSION`].
    pub version: u32,
    /// When, in seconds since 1970-01-01 UTC.
    pub time: u64,
    /// What happened, in one word.
    pub outcome: Outcome,
    /// What happened and how to mend it, in a sentence for people.
    pub message: String,
    /// Where the guest stood when KVM could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_error: Option<InternalError>,
    /// The last lines of the log.
    #[serde(default)]
    pub log_tail: Vec<String>,
}

/// What brought a guest or its worker to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The guest powered itself off.
    Shutdown,
    /// The guest reset itself and its definition says that it ends then.
    Reset,
    /// QMP `quit`: forced off.
    Quit,
    /// Its state was saved, from which it goes on at its next start.
    Saved,
    /// The worker got a signal that asks it to end.
    Terminated,
    /// The guest's own system panicked.
    GuestPanicked,
    /// KVM could not run the guest on. While the worker lives the guest is held for a look.
    InternalError,
    /// The worker could not start: the message says why.
    LaunchFailed,
    /// The worker itself failed: a bug, or the host ran out of something.
    Crash,
}

impl Outcome {
    /// Whether the guest ended as somebody wanted.
    pub fn is_orderly(self) -> bool {
        matches!(self, Self::Shutdown | Self::Reset | Self::Quit | Self::Saved | Self::Terminated)
    }
}

/// The place where KVM could not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InternalError {
    /// The virtual CPU.
    pub vcpu: u32,
    /// KVM's suberror (`KVM_INTERNAL_ERROR_…`; 1 is an instruction that cannot be emulated), if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suberror: Option<u32>,
    /// The instruction pointer.
    pub rip: u64,
    /// The instruction's bytes in hexadecimal, as far as they are known: `0f 01 ca`.
    pub bytes: String,
}

impl ExitReport {
    /// A report of now.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            version: EXIT_REPORT_VERSION,
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            outcome,
            message: message.into(),
            internal_error: None,
            log_tail: Vec::new(),
        }
    }

    /// Reads the content of an exit report; `None` when the worker has not written one.
    pub fn from_json(json: &[u8]) -> Result<Option<Self>, ExitReportError> {
        if json.trim_ascii().is_empty() {
            return Ok(None);
        }
        #[derive(Deserialize)]
        struct OnlyVersion {
            version: u32,
        }
        let OnlyVersion { version } = serde_json::from_slice(json).map_err(ExitReportError::Malformed)?;
        if version != EXIT_REPORT_VERSION {
            return Err(ExitReportError::Version { found: version });
        }
        serde_json::from_slice(json).map(Some).map_err(ExitReportError::Malformed)
    }

    /// Replaces the file's content by this report.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        json.push(b'\n');
        file.set_len(0)?;
        file.write_all_at(&json, 0)
    }
}

/// Why an exit report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExitReportError {
    /// No JSON of the known shape, for instance one half written.
    #[error("the exit report is malformed: {0}")]
    Malformed(serde_json::Error),
    /// Another version's.
    #[error("the exit report has version {found}, this program knows {EXIT_REPORT_VERSION}")]
    Version {
        /// The version in the report.
        found: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_and_shorter_report_replaces_the_earlier_one_whole() {
        let file = tempfile::tempfile().unwrap();
        let mut first = ExitReport::new(Outcome::InternalError, "a long message ".repeat(20));
        first.internal_error =
            Some(InternalError { vcpu: 0, suberror: Some(1), rip: 0x7c00, bytes: "0f 0b".to_owned() });
        first.write(&file).unwrap();
        let second = ExitReport::new(Outcome::Quit, "forced off");

        second.write(&file).unwrap();

        let mut content = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(ExitReport::from_json(&content).unwrap(), Some(second));
    }

    #[test]
    fn an_empty_file_is_no_report() {
        assert_eq!(ExitReport::from_json(b"").unwrap(), None);
    }

    #[test]
    fn half_a_report_is_an_error() {
        assert!(matches!(ExitReport::from_json(br#"{"version": 1, "ti"#), Err(ExitReportError::Malformed(_))));
    }
}
