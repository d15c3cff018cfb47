//! The answer to `query-migrate`.

use serde::{Deserialize, Serialize};

/// How the saving of a state goes (`MigrationInfo`); empty when none was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrationInfo {
    /// In a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<MigrationStatus>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram: Option<MigrationStatistics>,
    /// How long it has taken so far, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_time: Option<u64>,
    /// Why it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_desc: Option<String>,
}

/// How the saving of a state goes, in a word (`MigrationStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationStatus {
    /// It is being saved.
    Active,
    /// It is about to end before it is done.
    Cancelling,
    /// It has ended because somebody wanted that.
    Cancelled,
    /// It is saved.
    Completed,
    /// It could not be saved.
    Failed,
}

/// How far the saving of a state is (`MigrationStats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationStatistics {
    /// Bytes written.
    pub transferred: u64,
    /// Memory that was not looked at yet, in bytes.
    pub remaining: u64,
    /// All of the guest's memory, video memory included, in bytes.
    pub total: u64,
}
