//! What lies behind a guest's RAM: usual pages or huge ones, and whether equal pages may be merged with other guests'.
//!
//! Usual memory is private to the worker, since the host makes huge pages of that by itself when it is asked to (transparent
//! huge pages), which spares guest and host most of their page faults. It lies as the guest sees it: what is a huge page
//! to the host can be one to the guest.
//!
//! - <https://docs.kernel.org/admin-guide/mm/transhuge.html>
//! - <https://docs.kernel.org/admin-guide/mm/hugetlbpage.html>
//! - <https://docs.kernel.org/admin-guide/mm/ksm.html>

use std::{fs::File, io, sync::Arc};

use rustix::{
    fs::{FallocateFlags, MemfdFlags, SealFlags},
    io::Errno,
    mm::{Advice, madvise},
};
use serde::{Deserialize, Serialize};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MmapRegion};

use super::{GuestMemory, Layout, RamRange};

/// By which its files are found in `/proc/PID/smaps`: `/memfd:guest-ram`.
const NAME: &str = "guest-ram";

/// How a guest's RAM is backed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryBacking {
    /// The size of its huge pages; usual pages when left out.
    #[serde(default)]
    pub huge_pages: Option<HugePages>,
    /// Whether the host may merge pages that are equal (KSM).
    #[serde(default)]
    pub mergeable: bool,
    /// Whether it lies in a memfd, which other programs can be given. The host makes no huge pages of that by itself.
    #[serde(default)]
    pub shared: bool,
}

/// A size of huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HugePages {
    /// 2 MiB.
    #[serde(rename = "2MiB")]
    Size2M,
    /// 1 GiB.
    #[serde(rename = "1GiB")]
    Size1G,
}

impl HugePages {
    /// The size of a page in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Size2M => 2 << 20,
            Self::Size1G => 1 << 30,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Size2M => "2 MiB",
            Self::Size1G => "1 GiB",
        }
    }

    /// Where the kernel is told how many there are to be.
    fn setting(self) -> &'static str {
        match self {
            Self::Size2M => "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
            Self::Size1G => "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
        }
    }

    fn flags(self) -> MemfdFlags {
        MemfdFlags::HUGETLB
            | match self {
                Self::Size2M => MemfdFlags::HUGE_2MB,
                Self::Size1G => MemfdFlags::HUGE_1GB,
            }
    }
}

/// Why RAM could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host has no memory for it.
    #[error("{len} bytes of memory could not be allocated: {reason}. give the guest less memory")]
    Allocate {
        /// How much, in bytes.
        len: u64,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// It is not made of whole huge pages.
    #[error("{len} bytes of memory are not whole huge pages of {}. give the guest a multiple of that", .size.name())]
    Fraction {
        /// How much, in bytes.
        len: u64,
        /// The pages' size.
        size: HugePages,
    },
    /// Too few huge pages are free.
    #[error(
        "the guest needs {pages} huge pages of {} and the host has not as many free. write a larger number to {}, or \
         switch huge_pages off", .size.name(), .size.setting()
    )]
    TooFewHugePages {
        /// How many it needs.
        pages: u64,
        /// Their size.
        size: HugePages,
    },
    /// The host does not have such pages.
    #[error("the host has no huge pages of {}: {reason}. choose another size or switch huge_pages off", .size.name())]
    NoHugePages {
        /// Their size.
        size: HugePages,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// Pages cannot be merged.
    #[error("the host's kernel does not merge pages: {0}. switch mergeable off, or use a kernel with CONFIG_KSM")]
    NotMergeable(io::Error),
    /// Two wishes exclude each other.
    #[error("huge pages are never merged. switch huge_pages or mergeable off")]
    HugeAndMergeable,
    /// Two wishes exclude each other.
    #[error("shared memory is never merged. switch shared or mergeable off")]
    SharedAndMergeable,
}

/// Makes the RAM of `layout`.
pub fn allocate(layout: &Layout, backing: MemoryBacking) -> Result<Arc<GuestMemory>, MemoryError> {
    let len = layout.below_4g + layout.above_4g;
    let failed = |reason| MemoryError::Allocate { len, reason };
    let memory = match backing {
        MemoryBacking { huge_pages: Some(_), mergeable: true, .. } => return Err(MemoryError::HugeAndMergeable),
        MemoryBacking { shared: true, mergeable: true, .. } => return Err(MemoryError::SharedAndMergeable),
        MemoryBacking { huge_pages: Some(size), .. } => {
            let file = huge_file(len, size)?;
            map(layout.whole_ranges(), Some(Arc::new(file))).map_err(failed)?
        }
        MemoryBacking { shared: true, .. } => {
            let file = super::memfd(NAME, len).map_err(failed)?;
            map(layout.ranges(), Some(Arc::new(file))).map_err(failed)?
        }
        MemoryBacking { mergeable, .. } => {
            let memory = map_aligned(layout.whole_ranges()).map_err(failed)?;
            // A host that has none gives usual pages.
            let _ = advise(&memory, Advice::LinuxHugepage);
            if mergeable {
                advise(&memory, Advice::LinuxMergeable).map_err(MemoryError::NotMergeable)?;
            }
            memory
        }
    };
    tracing::debug!(?layout, ?backing, "allocated guest memory");
    Ok(Arc::new(memory))
}

/// Maps RAM range by range: from `file` at its offsets, or from nothing.
fn map(ranges: Vec<RamRange>, file: Option<Arc<File>>) -> io::Result<GuestMemory> {
    let ranges = ranges.into_iter().map(|range| {
        let len = usize::try_from(range.len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let place = file.as_ref().map(|file| FileOffset::from_arc(file.clone(), range.offset));
        Ok((GuestAddress(range.address), len, place))
    });
    let ranges: Vec<_> = ranges.collect::<io::Result<_>>()?;
    GuestMemory::from_ranges_with_files(ranges).map_err(io::Error::other)
}

/// Makes a memfd of huge pages that has all of them already: one that is missing later would end the worker.
fn huge_file(len: u64, size: HugePages) -> Result<File, MemoryError> {
    if !len.is_multiple_of(size.bytes()) {
        return Err(MemoryError::Fraction { len, size });
    }
    let refused = |error: Errno| match error {
        Errno::NOMEM | Errno::NOSPC => MemoryError::TooFewHugePages { pages: len / size.bytes(), size },
        other => MemoryError::NoHugePages { size, reason: other.into() },
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | size.flags();
    let file = File::from(rustix::fs::memfd_create(NAME, flags).map_err(refused)?);
    rustix::fs::ftruncate(&file, len).map_err(refused)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len).map_err(refused)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).map_err(refused)?;
    Ok(file)
}

/// How often memory is put into line, at most.
const ATTEMPTS: usize = 8;

/// Maps private memory, each range as far behind a multiple of the huge pages' size as it is for the guest.
///
/// Linux places a mapping at the end of the highest gap that has room, most often right below the one before it. So one that is out of
/// line is made again below another that puts it into line, and which is too large for any gap that would have taken less. All of them
/// are kept until the end, since what is let go is a gap again. Another thread's mapping may come between: then it is tried again.
/// Memory that is out of line in the end has fewer huge pages, and nothing else. From 6.7 on Linux itself puts what is made of whole
/// huge pages into line.
fn map_aligned(ranges: Vec<RamRange>) -> io::Result<GuestMemory> {
    let mut regions = Vec::with_capacity(ranges.len());
    for RamRange { address, len, .. } in ranges {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let region = GuestRegionMmap::new(map_in_line(len, address as usize)?, GuestAddress(address));
        regions.push(region.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?);
    }
    GuestMemory::from_regions(regions).map_err(io::Error::other)
}

/// `len` bytes that are to lie as far behind a multiple of the huge pages' size as `address`; see [`map_aligned`].
fn map_in_line(len: usize, address: usize) -> io::Result<MmapRegion> {
    let page = HugePages::Size2M.bytes() as usize;
    let mut mapping = MmapRegion::new(len).map_err(io::Error::other)?;
    let mut kept = Vec::new();
    for _ in 0..ATTEMPTS {
        let start = mapping.as_ptr() as usize;
        if start.wrapping_sub(address).is_multiple_of(page) {
            break;
        }
        // So much is lacking between it and the next one. It is never whole huge pages, which newer kernels place otherwise.
        let lacking = start.wrapping_sub(len).wrapping_sub(address) % page;
        if lacking > 0 {
            let Ok(pad) = MmapRegion::new(len.next_multiple_of(page) + lacking) else { break };
            kept.push(pad);
        }
        let Ok(below) = MmapRegion::new(len) else { break };
        kept.push(std::mem::replace(&mut mapping, below));
    }
    Ok(mapping)
}

fn advise(memory: &GuestMemory, advice: Advice) -> io::Result<()> {
    memory.iter().try_for_each(|region| {
        let len = usize::try_from(region.len()).unwrap_or(usize::MAX);
        // SAFETY: the range is one mapping, which `memory` keeps. The advice changes nothing of its contents.
        unsafe { madvise(region.as_ptr().cast(), len, advice) }?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const PRIVATE: MemoryBacking = MemoryBacking { huge_pages: None, mergeable: false, shared: false };
    const HUGE: MemoryBacking = MemoryBacking { huge_pages: Some(HugePages::Size2M), ..PRIVATE };
    const MERGEABLE: MemoryBacking = MemoryBacking { mergeable: true, ..PRIVATE };

    /// What the kernel says of the mapping in which the memory lies; it may have joined it with a neighbour.
    fn flags_of(memory: &GuestMemory) -> String {
        let ours = memory.iter().next().unwrap().as_ptr() as u64;
        let holds = |line: &str| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            let [start, end] = [start, end].map(|bound| u64::from_str_radix(bound, 16));
            Some((start.ok()?..end.ok()?).contains(&ours))
        };
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mapping = maps.lines().skip_while(|line| holds(line) != Some(true));
        mapping.skip(1).find(|line| line.starts_with("VmFlags")).unwrap_or_default().to_owned()
    }

    #[test]
    fn memory_lies_so_that_huge_pages_of_the_host_are_some_of_the_guest() {
        for odd in [0, MIB] {
            let memory = allocate(&Layout::new(5 * GIB + odd), PRIVATE).unwrap();

            for region in memory.iter() {
                let distance = (region.as_ptr() as u64).wrapping_sub(region.start_addr().0);
                assert_eq!(distance % (2 * MIB), 0, "{:x}", region.start_addr().0);
            }
        }
    }

    #[test]
    fn mergeable_memory_is_offered_to_the_host() {
        let memory = match allocate(&Layout::new(5 * GIB), MERGEABLE) {
            Err(MemoryError::NotMergeable(_)) => return println!("skipped: the kernel does not merge pages"),
            other => other.unwrap(),
        };

        memory.write_obj(7u64, GuestAddress(super::super::HIGH_MEMORY)).unwrap();

        assert!(flags_of(&memory).contains(" mg"), "{}", flags_of(&memory));
        assert_eq!(memory.read_obj::<u64>(GuestAddress(super::super::HIGH_MEMORY)).unwrap(), 7);
    }

    #[test]
    fn pages_of_mergeable_memory_can_be_given_back() {
        let memory = match allocate(&Layout::new(MIB), MERGEABLE) {
            Err(MemoryError::NotMergeable(_)) => return println!("skipped: the kernel does not merge pages"),
            other => other.unwrap(),
        };
        memory.write_slice(&[7; 3 * 4096], GuestAddress(4096)).unwrap();

        let piece = memory.get_slice(GuestAddress(4097), 2 * 4096).unwrap();
        super::super::give_back(&memory, &piece).unwrap();

        let bytes = [4096, 8191, 8192, 12287, 12288].map(|at| memory.read_obj::<u8>(GuestAddress(at)).unwrap());
        assert_eq!(bytes, [7, 7, 0, 0, 7]);
    }

    #[test]
    fn too_few_huge_pages_are_told_before_the_guest_runs() {
        // More than any host has.
        let error = allocate(&Layout::new(1 << 46), HUGE).unwrap_err();

        assert!(matches!(error, MemoryError::TooFewHugePages { .. } | MemoryError::NoHugePages { .. }), "{error}");
    }

    #[test]
    fn memory_of_huge_pages_reaches_around_the_holes_when_the_host_has_them() {
        let memory = match allocate(&Layout::new(4 * MIB), HUGE) {
            Err(error @ (MemoryError::TooFewHugePages { .. } | MemoryError::NoHugePages { .. })) => {
                return println!("skipped: {error}");
            }
            other => other.unwrap(),
        };

        memory.write_obj(7u64, GuestAddress(3 * MIB)).unwrap();

        assert!(flags_of(&memory).contains(" ht"), "{}", flags_of(&memory));
        assert_eq!(memory.read_obj::<u64>(GuestAddress(3 * MIB)).unwrap(), 7);
    }

    #[test]
    fn huge_pages_stay_the_guests() {
        let memory = match allocate(&Layout::new(4 * MIB), HUGE) {
            Err(error @ (MemoryError::TooFewHugePages { .. } | MemoryError::NoHugePages { .. })) => {
                return println!("skipped: {error}");
            }
            other => other.unwrap(),
        };
        memory.write_obj(7u64, GuestAddress(3 * MIB)).unwrap();

        let piece = memory.get_slice(GuestAddress(2 * MIB), 2 * MIB as usize).unwrap();
        super::super::give_back(&memory, &piece).unwrap();

        assert_eq!(memory.read_obj::<u64>(GuestAddress(3 * MIB)).unwrap(), 7);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let both = MemoryBacking { mergeable: true, ..HUGE };
        let refused = |layout, backing| allocate(&layout, backing).unwrap_err();

        assert!(matches!(refused(Layout::new(4 * MIB), both), MemoryError::HugeAndMergeable));
        let both = MemoryBacking { shared: true, ..MERGEABLE };
        assert!(matches!(refused(Layout::new(4 * MIB), both), MemoryError::SharedAndMergeable));
        assert!(matches!(refused(Layout::new(3 * MIB), HUGE), MemoryError::Fraction { .. }));
    }
}
