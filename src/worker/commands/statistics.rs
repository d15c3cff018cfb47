//! `x-lodge-statistics`: all that the graphs of a guest need, in one cheap request, made once a second for every guest.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Driver, Error, answer, network, no_arguments, query::disks};
use crate::{
    qmp::types::{DiskStatistics, GuestMemory, MemoryStatistics, Statistics, VcpuStatistics},
    vmm::virtio::balloon::{self, BalloonHandle},
    worker::usage,
};

/// The guest is asked anew how it uses its memory when what it has said is older: to say so costs it time.
const MEMORY_AGE: Duration = Duration::from_secs(5);

pub(super) fn statistics(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let vcpus = driver.machine().vcpus().into_iter();
    let balloon = driver.machine().balloon();
    let disks = disks(driver).into_iter().map(|(disk, figures)| DiskStatistics {
        id: disk.id.clone(),
        read_bytes: figures.counters.rd_bytes,
        written_bytes: figures.counters.wr_bytes,
        reads: figures.counters.rd_operations,
        writes: figures.counters.wr_operations,
    });
    answer(Statistics {
        time_ns: usage::monotonic_time(),
        status: driver.state(),
        reason: driver.reason(),
        // Before the whole process, of which they must not have used more.
        vcpus: vcpus
            .map(|vcpu| VcpuStatistics {
                index: vcpu.index,
                cpu_time_ns: usage::thread_cpu_time(vcpu.thread_id),
                exits: Some(vcpu.exits),
            })
            .collect(),
        cpu_time_ns: usage::process_cpu_time(),
        memory: MemoryStatistics {
            total: driver.guest().memory,
            resident: driver.usage().resident(),
            balloon: balloon.as_ref().map(|balloon| driver.guest().memory.saturating_sub(balloon.actual())),
            balloon_driver: balloon.as_ref().map(BalloonHandle::has_driver),
            guest: balloon.as_ref().and_then(guest_memory),
        },
        disks: disks.collect(),
        networks: network::figures(driver),
        viewers: u32::try_from(driver.viewers.len()).unwrap_or(u32::MAX),
    })
}

/// What the guest has said last about its memory; the next request may get something newer.
fn guest_memory(balloon: &BalloonHandle) -> Option<GuestMemory> {
    let told = balloon.statistics();
    let is_new = |told: &balloon::MemoryStatistics| told.time.elapsed().is_ok_and(|age| age < MEMORY_AGE);
    if !told.as_ref().is_some_and(is_new) {
        balloon.request_statistics();
    }
    let taken = if balloon.is_in_total() { balloon.actual() } else { 0 };
    told.as_ref().and_then(|told| usage_of(told, taken))
}

/// How the guest uses what it has, but for the bytes in the balloon that it counts as its own, which are `taken`. Nothing for a
/// guest that does not say the least.
fn usage_of(told: &balloon::MemoryStatistics, taken: u64) -> Option<GuestMemory> {
    let (total, free) = (told.total()?.saturating_sub(taken), told.free()?);
    Some(GuestMemory {
        total,
        free,
        available: told.available().unwrap_or(free),
        swapped_in: told.swapped_in().unwrap_or(0),
        swapped_out: told.swapped_out().unwrap_or(0),
    })
}
