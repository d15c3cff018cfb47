//! What this machine can do for guests, what is missing, and how to mend it.

pub mod firmware;
pub mod kvm;
mod limits;
mod root;

use std::path::PathBuf;

use serde::Serialize;

pub use limits::limits;
pub use root::Root;

use super::paths::Paths;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Guests run, but not as well as they could.
    Limited,
    /// Guests cannot run.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A short stable word for programs: `kvm-device`.
    pub id: &'static str,
    /// What was looked at, for a person.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// How to mend it; empty when it is fine.
    pub mend: String,
}

/// The host in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostInfo {
    /// The host's name.
    pub hostname: String,
    /// The kernel's release.
    pub kernel: String,
    /// The CPU's model.
    pub cpu_model: String,
    /// CPUs online.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_total: u64,
    /// Memory that is free or can be freed, in bytes.
    pub memory_available: u64,
    /// Most vCPUs of one guest.
    pub max_vcpus: u32,
    /// Where the library lies.
    pub data: PathBuf,
    /// Free space for disks, in bytes.
    pub disk_free: u64,
}

/// Looks at everything that guests need. Reads a few small files; call it on a blocking thread.
pub fn check(paths: &Paths) -> Vec<Finding> {
    let _ = paths;
    Vec::new()
}

/// The host in figures. Reads a few small files; call it on a blocking thread.
pub fn info(paths: &Paths) -> HostInfo {
    HostInfo {
        hostname: String::new(),
        kernel: String::new(),
        cpu_model: String::new(),
        cpus: 1,
        memory_total: 0,
        memory_available: 0,
        max_vcpus: 1,
        data: paths.data().to_owned(),
        disk_free: 0,
    }
}
