//! What becomes of a request that the host could not carry out: the guest is told, or nobody is, or the request is kept and
//! the machine stops until a person has mended the host. The words are those of libvirt's `error_policy` and `rerror_policy`.

#![forbid(unsafe_code)]

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use super::statistics::Operation;

/// What to do when the host cannot write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteErrors {
    /// Stops the machine when the host's disk is full; other errors are the guest's.
    #[default]
    Enospace,
    /// Stops the machine.
    Stop,
    /// Tells the guest.
    Report,
    /// Tells the guest that it is written.
    Ignore,
}

/// What to do when the host cannot read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadErrors {
    /// Tells the guest.
    #[default]
    Report,
    /// Stops the machine.
    Stop,
    /// Tells the guest that it is read.
    Ignore,
}

/// What to do when the host cannot do what a guest asks its disk for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorPolicy {
    /// Writes, flushes and discards.
    pub write: WriteErrors,
    /// Reads.
    pub read: ReadErrors,
}

/// What is done with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The guest is told that it has failed.
    Report,
    /// The guest is told that it is done.
    Ignore,
    /// It is kept, to be served again when the machine goes on; until then nothing else is begun.
    Keep,
}

impl Verdict {
    /// The word for it in QMP (`BlockErrorAction`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Ignore => "ignore",
            Self::Keep => "stop",
        }
    }
}

impl ErrorPolicy {
    /// What to do with a request of this kind that has failed.
    pub fn verdict(self, operation: Operation, full: bool) -> Verdict {
        if operation == Operation::Read {
            return match self.read {
                ReadErrors::Report => Verdict::Report,
                ReadErrors::Stop => Verdict::Keep,
                ReadErrors::Ignore => Verdict::Ignore,
            };
        }
        match self.write {
            WriteErrors::Enospace if full => Verdict::Keep,
            WriteErrors::Enospace | WriteErrors::Report => Verdict::Report,
            WriteErrors::Stop => Verdict::Keep,
            WriteErrors::Ignore => Verdict::Ignore,
        }
    }
}

/// Something that the host could not do for a guest's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskError {
    /// The disk's name.
    pub disk: String,
    /// What it was asked for.
    pub operation: Operation,
    /// What becomes of the request.
    pub verdict: Verdict,
    /// Whether the host has no room left.
    pub full: bool,
    /// What the host says.
    pub reason: String,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.operation {
            Operation::Read => "read",
            Operation::Write => "written",
            Operation::Flush => "flushed",
            Operation::Discard => "discarded",
        };
        write!(f, "{} could not be {what}: {}", self.disk, self.reason)
    }
}

/// Whether an error says that there is no room left, for all or for this user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_only_a_full_disk_stops_the_machine() {
        let policy = ErrorPolicy::default();

        assert_eq!(policy.verdict(Operation::Write, true), Verdict::Keep);
        assert_eq!(policy.verdict(Operation::Flush, true), Verdict::Keep);
        assert_eq!(policy.verdict(Operation::Discard, true), Verdict::Keep);
        assert_eq!(policy.verdict(Operation::Write, false), Verdict::Report);
        assert_eq!(policy.verdict(Operation::Read, true), Verdict::Report);
    }

    #[test]
    fn reads_and_writes_have_policies_of_their_own() {
        let verdicts = |write, read| {
            let policy = ErrorPolicy { write, read };
            [Operation::Read, Operation::Write].map(|operation| policy.verdict(operation, false))
        };

        assert_eq!(verdicts(WriteErrors::Report, ReadErrors::Stop), [Verdict::Keep, Verdict::Report]);
        assert_eq!(verdicts(WriteErrors::Stop, ReadErrors::Ignore), [Verdict::Ignore, Verdict::Keep]);
        assert_eq!(verdicts(WriteErrors::Ignore, ReadErrors::Report), [Verdict::Report, Verdict::Ignore]);
    }

    #[test]
    fn quotas_are_room_too() {
        let of = |number| is_full(&io::Error::from_raw_os_error(number));

        assert!(of(libc::ENOSPC) && of(libc::EDQUOT) && !of(libc::EIO));
    }
}
