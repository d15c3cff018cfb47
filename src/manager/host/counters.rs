//! What the host's kernel counts: CPU time, memory, and memory saved by keeping equal pages once (KSM).

#![forbid(unsafe_code)]

use super::{Root, limits::Memory};

/// A page of the host, in bytes; the engine runs on x86-64 only.
const PAGE: u64 = 4096;

/// The kernel's counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// CPUs online.
    pub cpus: u32,
    /// The time that all CPUs together were busy since the host's start, in the kernel's ticks.
    pub busy: u64,
    /// The same, with the time that they were idle.
    pub all: u64,
    /// Memory, in bytes.
    pub memory_total: u64,
    /// Memory that is free or can be freed, in bytes.
    pub memory_available: u64,
    /// What is in swap space, in bytes.
    pub swap: u64,
    /// What keeping equal pages once does.
    pub merging: Merging,
}

/// The kernel's same-page merging (`Documentation/admin-guide/mm/ksm.rst`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merging {
    /// The kernel has it.
    pub present: bool,
    /// It looks for equal pages.
    pub on: bool,
    /// What it saves, in bytes.
    pub saved: u64,
}

impl Counters {
    /// Reads some small files; quick.
    pub fn read(root: &Root) -> Self {
        let stat = root.read("/proc/stat").unwrap_or_default();
        let (busy, all) = times(&stat);
        let cpus = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
        let memory = Memory::read(root);
        Self {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            busy,
            all,
            memory_total: memory.total,
            memory_available: memory.available,
            swap: memory.swap,
            merging: Merging::read(root),
        }
    }
}

impl Merging {
    /// Reads some small files; quick.
    pub fn read(root: &Root) -> Self {
        let number = |file: &str| -> Option<u64> { root.read(format!("/sys/kernel/mm/ksm/{file}")).ok()?.parse().ok() };
        let run = number("run");
        Self {
            present: run.is_some(),
            on: run == Some(1),
            saved: number("pages_sharing").unwrap_or(0).saturating_mul(PAGE),
        }
    }
}

/// The busy time and the whole time of all CPUs in `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq, softirq,
/// steal; a guest's time is in the user's.
fn times(stat: &str) -> (u64, u64) {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let times: Vec<u64> = line.split_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
    let all = times.iter().copied().fold(0, u64::saturating_add);
    let idle = times.iter().skip(3).take(2).copied().fold(0, u64::saturating_add);
    (all.saturating_sub(idle), all)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn counters_come_from_proc_and_sys() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "proc/stat",
            "cpu  10 1 5 100 20 2 3 4 7 0\ncpu0 5 1 2 50 10 1 1 2 3 0\ncpu1 5 0 3 50 10 1 2 2 4 0\nintr 5\n",
        );
        write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 100 kB\nSwapFree: 75 kB\n");
        write("sys/kernel/mm/ksm/run", "1\n");
        write("sys/kernel/mm/ksm/pages_sharing", "100\n");

        let counters = Counters::read(&Root::new(folder.path()));

        assert_eq!((counters.cpus, counters.busy, counters.all), (2, 25, 145));
        assert_eq!(
            (counters.memory_total, counters.memory_available, counters.swap),
            (1000 << 10, 400 << 10, 25 << 10)
        );
        assert_eq!(counters.merging, Merging { present: true, on: true, saved: 100 * 4096 });
    }

    #[test]
    fn a_host_that_tells_nothing_has_nothing() {
        let folder = tempfile::tempdir().unwrap();

        assert_eq!(Counters::read(&Root::new(folder.path())), Counters::default());
    }
}
