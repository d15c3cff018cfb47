//! The answer to `query-block-jobs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An operation on a disk that takes long (`BlockJobInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockJobInfo {
    /// Always `commit`: an image goes into the one that it is based on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The disk, by whose name the job goes.
    pub device: String,
    /// The disk's size, in bytes.
    pub len: u64,
    /// How much of it is done, in bytes.
    pub offset: u64,
    /// Always 0: no limit, in bytes a second.
    pub speed: u64,
    /// Whether it works at this moment.
    pub busy: bool,
    /// Whether it waits for `block-job-resume`.
    pub paused: bool,
    /// Whether it can be completed.
    pub ready: bool,
    /// Always `ok`: an error ends it.
    pub io_status: String,
    /// How far it is.
    pub status: JobStatus,
    /// Always false: it waits for `block-job-finalize`.
    pub auto_finalize: bool,
    /// Always false: it is there until it is cancelled or finalized.
    pub auto_dismiss: bool,
    /// Why it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The image that the other one goes into.
    pub x_lodge_lower: PathBuf,
}

/// How far a job is (`JobStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It has not begun.
    Paused,
    /// It works.
    Running,
    /// It can be completed, and keeps both images alike until then.
    Ready,
    /// It is completed, and can be finalized.
    Pending,
    /// It has failed, and can only be cancelled.
    Concluded,
}
