//! The host in figures.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::Serialize;

use super::{
    Root,
    limits::{self, Memory, cpuinfo},
    networks,
};
use crate::manager::{definition::NetworkDefinition, paths::Paths, pool::Pool};

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
    /// Bridges that guests of this person can be in.
    pub bridges: Vec<String>,
    /// TAP interfaces that they can have.
    pub taps: Vec<String>,
}

/// The host in figures. Reads a few small files; call it on a blocking thread.
pub fn info(paths: &Paths) -> HostInfo {
    let root = Root::default();
    let limits = limits::of(&root);
    let memory = Memory::read(&root);
    let names = rustix::system::uname();
    let networks = networks::usable(&root);
    let interfaces = |name: fn(&NetworkDefinition) -> &Option<String>| {
        networks.iter().filter_map(|card| name(card).clone()).collect()
    };
    HostInfo {
        hostname: names.nodename().to_string_lossy().into_owned(),
        kernel: names.release().to_string_lossy().into_owned(),
        cpu_model: cpuinfo(&root, "model name").unwrap_or_else(|| "unknown".to_owned()),
        cpus: limits.cpus,
        memory_total: memory.total,
        memory_available: memory.available,
        max_vcpus: limits.max_vcpus.min(crate::manager::definition::MAX_VCPUS),
        data: paths.data().to_owned(),
        disk_free: Pool::default_pool(paths).space().map_or(0, |space| space.free),
        bridges: interfaces(|card| &card.bridge),
        taps: interfaces(|card| &card.tap),
    }
}
