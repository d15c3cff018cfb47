//! What a vCPU tells about itself through CPUID (Intel SDM volume 2, instruction CPUID; AMD APM volume 3, appendix E).
//!
//! A guest gets what KVM supports on this host, with its own place in a package of one core a vCPU. KVM may rewrite leaves
//! once they are set; who needs the result reads it back.

#![forbid(unsafe_code)]

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

const FEATURES: u32 = 0x1;
const CACHES: u32 = 0x4;
const TOPOLOGY: u32 = 0xb;
const TOPOLOGY_V2: u32 = 0x1f;
const AMD_SIZES: u32 = 0x8000_0008;
const AMD_CACHES: u32 = 0x8000_001d;
const AMD_TOPOLOGY: u32 = 0x8000_001e;

/// Leaf 1, ECX: x2APIC, TSC deadline timer, hypervisor present.
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: more than one logical processor in the package.
const HTT: u32 = 1 << 28;

/// Levels of leaves 0xB and 0x1F.
const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// The CPUID of vCPU `index` of `count`, made of what KVM supports.
pub fn of_vcpu(supported: &CpuId, index: u32, count: u32) -> CpuId {
    let mut cpuid = supported.clone();
    let core_bits = u32::BITS - (count - 1).leading_zeros();
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            FEATURES => {
                entry.ecx |= X2APIC | TSC_DEADLINE | HYPERVISOR;
                // APIC ID, and how many of them a package has room for.
                entry.ebx = entry.ebx & 0xffff | index << 24 | (1 << core_bits) << 16;
                entry.edx = if count > 1 { entry.edx | HTT } else { entry.edx & !HTT };
            }
            CACHES if entry.eax & 0x1f != 0 => {
                let shared_by_all = entry.eax >> 5 & 0x7 >= 3;
                let sharing = if shared_by_all { (1 << core_bits) - 1 } else { 0 };
                let cores = ((1 << core_bits) - 1).min(0x3f);
                entry.eax = entry.eax & 0x3fff | sharing << 14 | cores << 26;
            }
            TOPOLOGY | TOPOLOGY_V2 => topology(entry, index, count, core_bits),
            AMD_SIZES => entry.ecx = entry.ecx & !0xf0ff | core_bits << 12 | (count - 1).min(0xff),
            AMD_CACHES if entry.eax & 0x1f != 0 => {
                let shared_by_all = entry.eax >> 5 & 0x7 >= 3;
                let sharing = if shared_by_all { count - 1 } else { 0 };
                entry.eax = entry.eax & 0x3fff | sharing << 14;
            }
            AMD_TOPOLOGY => {
                entry.eax = index;
                // One thread a core, the core's ID; one node.
                entry.ebx = index & 0xff;
                entry.ecx = 0;
            }
            _ => {}
        }
    }
    cpuid
}

/// One thread a core, all cores in one package.
fn topology(entry: &mut kvm_cpuid_entry2, index: u32, count: u32, core_bits: u32) {
    (entry.eax, entry.ebx, entry.ecx) = match entry.index {
        0 => (0, 1, LEVEL_THREAD << 8),
        1 => (core_bits, count, LEVEL_CORE << 8 | 1),
        level => (0, 0, level & 0xff),
    };
    entry.edx = index;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supported() -> CpuId {
        let leaf = |function, index, eax| kvm_cpuid_entry2 { function, index, eax, ..Default::default() };
        let level_1 = 1 << 5 | 1;
        let level_3 = 3 << 5 | 3;
        CpuId::from_entries(&[
            leaf(FEATURES, 0, 0),
            leaf(CACHES, 0, level_1),
            leaf(CACHES, 1, level_3),
            leaf(CACHES, 2, 0),
            leaf(TOPOLOGY, 0, 0),
            leaf(TOPOLOGY, 1, 0),
            leaf(TOPOLOGY, 2, 0),
            leaf(AMD_SIZES, 0, 0x3030),
            leaf(AMD_TOPOLOGY, 0, 0),
        ])
        .unwrap()
    }

    fn find(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
        *cpuid.as_slice().iter().find(|entry| (entry.function, entry.index) == (function, index)).unwrap()
    }

    #[test]
    fn every_vcpu_has_its_apic_id() {
        for index in 0..5 {
            let cpuid = of_vcpu(&supported(), index, 5);

            assert_eq!(find(&cpuid, FEATURES, 0).ebx >> 24, index);
            assert_eq!(find(&cpuid, TOPOLOGY, 0).edx, index);
            assert_eq!(find(&cpuid, AMD_TOPOLOGY, 0).eax, index);
        }
    }

    #[test]
    fn all_are_cores_of_one_package() {
        let cpuid = of_vcpu(&supported(), 0, 5);

        assert_eq!(find(&cpuid, FEATURES, 0).ebx >> 16 & 0xff, 8);
        assert_ne!(find(&cpuid, FEATURES, 0).edx & HTT, 0);
        let core = find(&cpuid, TOPOLOGY, 1);
        assert_eq!((core.eax, core.ebx, core.ecx), (3, 5, 0x201));
        assert_eq!(find(&cpuid, TOPOLOGY, 2).ecx, 2);
        assert_eq!(find(&cpuid, AMD_SIZES, 0).ecx, 0x3004);
    }

    #[test]
    fn the_last_level_cache_is_shared_and_the_first_is_not() {
        let cpuid = of_vcpu(&supported(), 0, 4);

        assert_eq!(find(&cpuid, CACHES, 0).eax >> 14 & 0xfff, 0);
        assert_eq!(find(&cpuid, CACHES, 1).eax >> 14 & 0xfff, 3);
        assert_eq!(find(&cpuid, CACHES, 1).eax >> 26, 3);
        assert_eq!(find(&cpuid, CACHES, 2).eax, 0);
    }

    #[test]
    fn a_lone_vcpu_has_no_siblings() {
        let features = find(&of_vcpu(&supported(), 0, 1), FEATURES, 0);

        assert_eq!(features.edx & HTT, 0);
        assert_eq!(features.ebx >> 16 & 0xff, 1);
        assert_ne!(features.ecx & HYPERVISOR, 0);
    }
}
