//! What a vCPU tells about itself through CPUID (Intel SDM volume 2, instruction CPUID; AMD APM volume 3, appendix E).
//!
//! A guest gets what KVM supports on this host, without the features that were taken away, and with its own place in the
//! guest's [`Topology`]. KVM may rewrite leaves once they are set; who needs the result reads it back.

#![forbid(unsafe_code)]

use std::{arch::x86_64::CpuidResult, ops::RangeInclusive};

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use super::{features::Feature, topology::Topology};

const HIGHEST: u32 = 0x0;
const FEATURES: u32 = 0x1;
const CACHES: u32 = 0x4;
const TOPOLOGY: u32 = 0xb;
const TOPOLOGY_V2: u32 = 0x1f;
/// The processor's name.
const BRAND: RangeInclusive<u32> = 0x8000_0002..=0x8000_0004;
const AMD_FEATURES: u32 = 0x8000_0001;
const POWER: u32 = 0x8000_0007;
const AMD_SIZES: u32 = 0x8000_0008;
const AMD_CACHES: u32 = 0x8000_001d;
const AMD_TOPOLOGY: u32 = 0x8000_001e;

/// Leaf 1, ECX: virtual machine extensions, x2APIC, TSC deadline timer, hypervisor present.
const VMX: u32 = 1 << 5;
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: more than one logical processor in the package.
const HTT: u32 = 1 << 28;

/// Leaf 0x80000001, ECX: secure virtual machine.
const SVM: u32 = 1 << 2;

/// Leaf 0x80000007, EDX: the TSC always runs at one rate.
const INVARIANT_TSC: u32 = 1 << 8;

/// What a guest's kernel uses by calling KVM: waking a vCPU, interrupts to several at once, and giving way to another.
const CALLING: [&str; 3] = ["kvm_pv_unhalt", "kvm_pv_ipi", "kvm_pv_sched_yield"];

/// Levels of leaves 0xB and 0x1F.
const LEVEL_THREAD: u32 = 1;
const LEVEL_CORE: u32 = 2;

/// From this level on all threads of a socket share a cache; below, those of a core do.
const SHARED_CACHE: u32 = 3;

/// Gives `supported` the name of the host's processor, which KVM leaves out. `host` asks that for a leaf.
pub fn name_processor(supported: &mut CpuId, host: impl Fn(u32) -> CpuidResult) {
    for entry in supported.as_mut_slice().iter_mut().filter(|entry| BRAND.contains(&entry.function)) {
        if (entry.eax, entry.ebx, entry.ecx, entry.edx) == (0, 0, 0, 0) {
            let CpuidResult { eax, ebx, ecx, edx } = host(entry.function);
            (entry.eax, entry.ebx, entry.ecx, entry.edx) = (eax, ebx, ecx, edx);
        }
    }
}

/// Takes away from `supported` the features that make a guest call KVM, where such a call does not come back. `host` asks the
/// host's processor for a leaf.
///
/// Without VT-x and AMD-V it is KVM's instruction emulator that meets a call of the guest's kernel. It wants to replace the
/// instruction by the processor's own one, writes to the guest's code, which is read-only, and so ends the guest's kernel.
pub fn remove_dead_calls(supported: &mut CpuId, host: impl Fn(u32) -> CpuidResult) {
    if host(FEATURES).ecx & VMX != 0 || host(AMD_FEATURES).ecx & SVM != 0 {
        return;
    }
    let calling: Vec<_> = CALLING.iter().filter_map(|name| Feature::named(name)).collect();
    for entry in supported.as_mut_slice() {
        calling.iter().for_each(|feature| feature.clear(entry));
    }
}

/// The CPUID of vCPU `index`, made of what KVM supports without `removed`; `None` when it has more leaves than KVM takes.
pub fn of_vcpu(supported: &CpuId, index: u32, topology: &Topology, removed: &[Feature]) -> Option<CpuId> {
    let highest = supported.as_slice().iter().find(|entry| entry.function == HIGHEST).map_or(0, |entry| entry.eax);
    let own_levels = |entry: &&kvm_cpuid_entry2| !matches!(entry.function, TOPOLOGY | TOPOLOGY_V2);
    let mut entries: Vec<kvm_cpuid_entry2> = supported.as_slice().iter().filter(own_levels).copied().collect();
    for entry in &mut entries {
        place(entry, index, topology);
        removed.iter().for_each(|feature| feature.clear(entry));
    }
    // KVM tells only some of these leaves' levels, or none: they are all ours.
    for function in [TOPOLOGY, TOPOLOGY_V2].into_iter().filter(|&function| function <= highest) {
        entries.extend(levels(function, index, topology));
    }
    CpuId::from_entries(&entries).ok()
}

/// Puts vCPU `index` into its place.
fn place(entry: &mut kvm_cpuid_entry2, index: u32, topology: &Topology) {
    let apic_id = topology.apic_id(index);
    let (thread_bits, socket_bits) = (topology.thread_bits(), topology.socket_bits());
    let (threads, all) = (topology.threads, topology.threads_of_socket());
    let sharing = |eax: u32| {
        let bits = if eax >> 5 & 0x7 >= SHARED_CACHE { socket_bits } else { thread_bits };
        eax & 0x3fff | ((1 << bits) - 1) << 14
    };
    match entry.function {
        FEATURES => {
            entry.ecx |= X2APIC | TSC_DEADLINE | HYPERVISOR;
            // APIC ID, and how many of them a package has room for.
            entry.ebx = entry.ebx & 0xffff | apic_id << 24 | (1 << socket_bits) << 16;
            entry.edx = if all > 1 { entry.edx | HTT } else { entry.edx & !HTT };
        }
        CACHES if entry.eax & 0x1f != 0 => {
            let cores = ((1 << (socket_bits - thread_bits)) - 1u32).min(0x3f);
            entry.eax = sharing(entry.eax) | cores << 26;
        }
        // A guest that is saved goes on where the TSC runs at another rate; it reads KVM's clock, which knows.
        POWER => entry.edx &= !INVARIANT_TSC,
        AMD_SIZES => entry.ecx = entry.ecx & !0xf0ff | socket_bits << 12 | (all - 1).min(0xff),
        AMD_CACHES if entry.eax & 0x1f != 0 => entry.eax = sharing(entry.eax),
        AMD_TOPOLOGY => {
            entry.eax = apic_id;
            // The core's ID and its threads; one node a socket.
            entry.ebx = topology.place(index).core & 0xff | (threads - 1) << 8;
            entry.ecx = topology.place(index).socket & 0xff;
        }
        _ => {}
    }
}

/// The levels above a thread, as leaf `function` tells them: core, socket, and the end.
fn levels(function: u32, index: u32, topology: &Topology) -> [kvm_cpuid_entry2; 3] {
    let level = |index_of_level: u32, bits, threads, kind: u32| kvm_cpuid_entry2 {
        function,
        index: index_of_level,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: bits,
        ebx: threads,
        ecx: kind << 8 | index_of_level,
        edx: topology.apic_id(index),
        ..Default::default()
    };
    [
        level(0, topology.thread_bits(), topology.threads, LEVEL_THREAD),
        level(1, topology.socket_bits(), topology.threads_of_socket(), LEVEL_CORE),
        level(2, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORES: Topology = Topology { sockets: 1, cores: 5, threads: 1 };
    const THREADS: Topology = Topology { sockets: 2, cores: 3, threads: 2 };

    fn supported() -> CpuId {
        let leaf = |function, index, eax| kvm_cpuid_entry2 { function, index, eax, ..Default::default() };
        let level_1 = 1 << 5 | 1;
        let level_3 = 3 << 5 | 3;
        CpuId::from_entries(&[
            leaf(HIGHEST, 0, 0x1f),
            leaf(FEATURES, 0, 0),
            leaf(CACHES, 0, level_1),
            leaf(CACHES, 1, level_3),
            leaf(CACHES, 2, 0),
            leaf(TOPOLOGY, 0, 0),
            leaf(AMD_SIZES, 0, 0x3030),
            leaf(AMD_CACHES, 0, level_1),
            leaf(AMD_CACHES, 1, level_3),
            leaf(AMD_TOPOLOGY, 0, 0),
        ])
        .unwrap()
    }

    fn of(index: u32, topology: &Topology) -> CpuId {
        of_vcpu(&supported(), index, topology, &[]).unwrap()
    }

    fn find(cpuid: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
        *cpuid.as_slice().iter().find(|entry| (entry.function, entry.index) == (function, index)).unwrap()
    }

    #[test]
    fn the_processor_has_the_name_of_the_hosts() {
        let leaf = |function, eax| kvm_cpuid_entry2 { function, eax, ..Default::default() };
        let mut supported =
            CpuId::from_entries(&[leaf(HIGHEST, 0), leaf(0x8000_0002, 0), leaf(0x8000_0003, 7)]).unwrap();

        name_processor(&mut supported, |leaf| CpuidResult { eax: leaf, ebx: 1, ecx: 2, edx: 3 });

        let [highest, missing, told] = *supported.as_slice() else { panic!("{supported:?}") };
        assert_eq!((missing.eax, missing.ebx, missing.ecx, missing.edx), (0x8000_0002, 1, 2, 3));
        assert_eq!((highest.eax, told.eax, told.ebx), (0, 7, 0));
    }

    #[test]
    fn a_guest_is_told_to_call_kvm_only_where_the_processor_virtualizes() {
        const KVM_FEATURES: u32 = 0x4000_0001;
        let told = |leaf_of_host: u32, ecx: u32| {
            let all = kvm_cpuid_entry2 { function: KVM_FEATURES, eax: u32::MAX, ..Default::default() };
            let mut supported = CpuId::from_entries(&[all]).unwrap();
            let host = |leaf| CpuidResult { eax: 0, ebx: 0, ecx: if leaf == leaf_of_host { ecx } else { 0 }, edx: 0 };
            remove_dead_calls(&mut supported, host);
            find(&supported, KVM_FEATURES, 0).eax
        };

        assert_eq!(told(FEATURES, !VMX), !(1 << 7 | 1 << 11 | 1 << 13));
        assert_eq!((told(FEATURES, VMX), told(AMD_FEATURES, SVM)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn the_tsc_does_not_promise_one_rate_for_ever() {
        let supported = kvm_cpuid_entry2 { function: POWER, edx: u32::MAX, ..Default::default() };
        let supported = CpuId::from_entries(&[supported]).unwrap();

        let power = find(&of_vcpu(&supported, 0, &CORES, &[]).unwrap(), POWER, 0);

        assert_eq!(power.edx, !INVARIANT_TSC);
    }

    #[test]
    fn every_vcpu_has_its_apic_id() {
        for topology in [CORES, THREADS] {
            for index in 0..topology.vcpus().unwrap() {
                let cpuid = of(index, &topology);

                let id = topology.apic_id(index);
                assert_eq!(find(&cpuid, FEATURES, 0).ebx >> 24, id);
                for leaf in [TOPOLOGY, TOPOLOGY_V2] {
                    assert!((0..3).all(|level| find(&cpuid, leaf, level).edx == id));
                }
                assert_eq!(find(&cpuid, AMD_TOPOLOGY, 0).eax, id);
            }
        }
    }

    #[test]
    fn cores_of_one_package_have_one_thread_each() {
        let cpuid = of(0, &CORES);

        assert_eq!(find(&cpuid, FEATURES, 0).ebx >> 16 & 0xff, 8);
        assert_ne!(find(&cpuid, FEATURES, 0).edx & HTT, 0);
        let thread = find(&cpuid, TOPOLOGY, 0);
        assert_eq!((thread.eax, thread.ebx, thread.ecx), (0, 1, 0x100));
        let core = find(&cpuid, TOPOLOGY, 1);
        assert_eq!((core.eax, core.ebx, core.ecx), (3, 5, 0x201));
        assert_eq!(find(&cpuid, TOPOLOGY, 2).ecx, 2);
        assert_eq!(find(&cpuid, AMD_SIZES, 0).ecx, 0x3004);
        assert_eq!(find(&cpuid, AMD_TOPOLOGY, 0).ebx, 0);
    }

    #[test]
    fn threads_are_told_from_cores_and_sockets() {
        // The last thread of the second socket.
        let cpuid = of(11, &THREADS);

        assert_eq!(find(&cpuid, FEATURES, 0).ebx >> 16, 13 << 8 | 8);
        let thread = find(&cpuid, TOPOLOGY_V2, 0);
        assert_eq!((thread.eax, thread.ebx, thread.ecx), (1, 2, 0x100));
        let core = find(&cpuid, TOPOLOGY_V2, 1);
        assert_eq!((core.eax, core.ebx, core.ecx), (3, 6, 0x201));
        assert_eq!(find(&cpuid, AMD_SIZES, 0).ecx, 0x3005);
        let amd = find(&cpuid, AMD_TOPOLOGY, 0);
        assert_eq!((amd.ebx, amd.ecx), (0x102, 1));
    }

    #[test]
    fn a_core_shares_its_first_cache_and_a_socket_its_last() {
        let sharing = |topology, leaf| [0, 1].map(|cache| find(&of(0, topology), leaf, cache).eax >> 14 & 0xfff);

        for leaf in [CACHES, AMD_CACHES] {
            assert_eq!(sharing(&CORES, leaf), [0, 7]);
            assert_eq!(sharing(&THREADS, leaf), [1, 7]);
        }
        assert_eq!(find(&of(0, &THREADS), CACHES, 1).eax >> 26, 3);
        assert_eq!(find(&of(0, &THREADS), CACHES, 2).eax, 0);
    }

    #[test]
    fn a_lone_vcpu_has_no_siblings() {
        let features = find(&of(0, &Topology::cores(1)), FEATURES, 0);

        assert_eq!(features.edx & HTT, 0);
        assert_eq!(features.ebx >> 16 & 0xff, 1);
        assert_ne!(features.ecx & HYPERVISOR, 0);
    }

    #[test]
    fn a_cpu_without_the_leaves_of_topology_does_not_get_them() {
        let old = CpuId::from_entries(&[kvm_cpuid_entry2 { eax: 0xa, ..Default::default() }]).unwrap();

        let cpuid = of_vcpu(&old, 0, &CORES, &[]).unwrap();

        assert_eq!(cpuid.as_slice().len(), 1);
    }

    #[test]
    fn what_was_taken_away_is_not_there() {
        let removed = [Feature::named("x2apic").unwrap()];

        let features = find(&of_vcpu(&supported(), 0, &CORES, &removed).unwrap(), FEATURES, 0);

        assert_eq!(features.ecx & (X2APIC | HYPERVISOR), HYPERVISOR);
    }
}
