//! What this host can give to one guest.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io::{BufRead, BufReader},
    thread,
};

use super::{Root, kvm};
use crate::manager::{definition::HostLimits, size::KIB};

/// Physical addresses that every 64-bit CPU has, in bits, where the host does not say.
const ADDRESS_BITS_MIN: u32 = 36;

/// What one guest can get, for [`Definition::review`](crate::manager::definition::Definition::review).
pub fn limits() -> HostLimits {
    of(&Root::default())
}

pub(super) fn of(root: &Root) -> HostLimits {
    let memory = Memory::read(root);
    let max_vcpus = kvm::interface(root).and_then(|kvm| u32::try_from(kvm.get_max_vcpus()).ok()).unwrap_or(u32::MAX);
    HostLimits {
        memory_total: memory.total,
        memory_available: memory.available,
        cpus: thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        max_vcpus,
        address_bits: address_bits(root),
    }
}

/// The host's memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub total: u64,
    pub available: u64,
    pub huge_pages: u64,
    pub huge_pages_free: u64,
    pub huge_page_size: u64,
    pub swap: u64,
}

impl Memory {
    pub fn read(root: &Root) -> Self {
        let text = root.read("/proc/meminfo").unwrap_or_default();
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Self {
            total: number("MemTotal").saturating_mul(KIB),
            available: number("MemAvailable").saturating_mul(KIB),
            huge_pages: number("HugePages_Total"),
            huge_pages_free: number("HugePages_Free"),
            huge_page_size: number("Hugepagesize").saturating_mul(KIB),
            swap: number("SwapTotal").saturating_sub(number("SwapFree")).saturating_mul(KIB),
        }
    }
}

/// The value of a field of the first CPU in `/proc/cpuinfo`. The file is long on a host of many CPUs: the first paragraph is
/// enough.
pub(super) fn cpuinfo(root: &Root, field: &str) -> Option<String> {
    let file = BufReader::new(File::open(root.path("/proc/cpuinfo")).ok()?);
    for line in file.lines().map_while(Result::ok) {
        let (name, value) = line.split_once(':')?;
        if name.trim() == field {
            return Some(value.trim().to_owned());
        }
    }
    None
}

fn address_bits(root: &Root) -> u32 {
    // "address sizes	: 46 bits physical, 48 bits virtual"
    let sizes = cpuinfo(root, "address sizes").unwrap_or_default();
    sizes.split_whitespace().next().and_then(|bits| bits.parse().ok()).unwrap_or(ADDRESS_BITS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_proc() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let meminfo =
            "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\nHugePages_Total:       4\n";
        std::fs::write(folder.path().join("proc/meminfo"), meminfo).unwrap();
        let cpuinfo = "processor\t: 0\nmodel name\t: Test\naddress sizes\t: 46 bits physical, 48 bits virtual\n\nprocessor\t: 1\n";
        std::fs::write(folder.path().join("proc/cpuinfo"), cpuinfo).unwrap();

        let limits = of(&Root::new(folder.path()));

        assert_eq!((limits.memory_total, limits.memory_available), (16_000_000 * KIB, 8_000_000 * KIB));
        assert_eq!(limits.address_bits, 46);
    }

    #[test]
    fn a_host_that_says_nothing_is_taken_for_a_small_one() {
        let folder = tempfile::tempdir().unwrap();

        let limits = of(&Root::new(folder.path()));

        assert_eq!((limits.memory_total, limits.address_bits), (0, ADDRESS_BITS_MIN));
    }
}
