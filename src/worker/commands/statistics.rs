//! `x-lodge-statistics`: all that the graphs of a guest need, in one cheap request, made once a second for every guest.

use serde_json::{Map, Value};

use super::{Driver, Error, answer, no_arguments, query::disks};
use crate::{
    qmp::types::{DiskStatistics, MemoryStatistics, Statistics, VcpuStatistics},
    worker::usage,
};

pub(super) fn statistics(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let vcpus = driver.machine().vcpus().into_iter();
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
        cpu_time_ns: usage::process_cpu_time(),
        vcpus: vcpus
            .map(|vcpu| VcpuStatistics { index: vcpu.index, cpu_time_ns: usage::thread_cpu_time(vcpu.thread_id) })
            .collect(),
        memory: MemoryStatistics { total: driver.guest().memory, resident: driver.usage().resident() },
        disks: disks.collect(),
        viewers: u32::try_from(driver.viewers.len()).unwrap_or(u32::MAX),
    })
}
