//! The names of what a CPU can do, and where CPUID tells of it. The names are those of Linux in `/proc/cpuinfo`, which
//! QEMU's mostly are too.

#![forbid(unsafe_code)]

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// A register of CPUID's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

use Register::{Eax, Ebx, Ecx, Edx};

/// A register whose bits are features.
struct Word {
    function: u32,
    index: u32,
    register: Register,
    /// Bits and names.
    names: &'static [(u8, &'static str)],
}

const fn word(function: u32, index: u32, register: Register, names: &'static [(u8, &'static str)]) -> Word {
    Word { function, index, register, names }
}

#[rustfmt::skip]
const WORDS: [Word; 12] = [
    word(0x1, 0, Edx, &[
        (0, "fpu"), (1, "vme"), (2, "de"), (3, "pse"), (4, "tsc"), (5, "msr"), (6, "pae"), (7, "mce"), (8, "cx8"),
        (9, "apic"), (11, "sep"), (12, "mtrr"), (13, "pge"), (14, "mca"), (15, "cmov"), (16, "pat"), (17, "pse36"),
        (19, "clflush"), (23, "mmx"), (24, "fxsr"), (25, "sse"), (26, "sse2"), (27, "ss"),
    ]),
    word(0x1, 0, Ecx, &[
        (0, "pni"), (1, "pclmulqdq"), (3, "monitor"), (5, "vmx"), (9, "ssse3"), (12, "fma"), (13, "cx16"), (15, "pdcm"),
        (17, "pcid"), (19, "sse4_1"), (20, "sse4_2"), (21, "x2apic"), (22, "movbe"), (23, "popcnt"),
        (24, "tsc_deadline_timer"), (25, "aes"), (26, "xsave"), (28, "avx"), (29, "f16c"), (30, "rdrand"),
        (31, "hypervisor"),
    ]),
    word(0x6, 0, Eax, &[(2, "arat")]),
    word(0x7, 0, Ebx, &[
        (0, "fsgsbase"), (1, "tsc_adjust"), (2, "sgx"), (3, "bmi1"), (4, "hle"), (5, "avx2"), (7, "smep"), (8, "bmi2"),
        (9, "erms"), (10, "invpcid"), (11, "rtm"), (14, "mpx"), (16, "avx512f"), (17, "avx512dq"), (18, "rdseed"),
        (19, "adx"), (20, "smap"), (21, "avx512ifma"), (23, "clflushopt"), (24, "clwb"), (26, "avx512pf"),
        (27, "avx512er"), (28, "avx512cd"), (29, "sha_ni"), (30, "avx512bw"), (31, "avx512vl"),
    ]),
    word(0x7, 0, Ecx, &[
        (1, "avx512vbmi"), (2, "umip"), (3, "pku"), (5, "waitpkg"), (6, "avx512_vbmi2"), (7, "shstk"), (8, "gfni"),
        (9, "vaes"), (10, "vpclmulqdq"), (11, "avx512_vnni"), (12, "avx512_bitalg"), (14, "avx512_vpopcntdq"),
        (16, "la57"), (22, "rdpid"), (24, "bus_lock_detect"), (25, "cldemote"), (27, "movdiri"), (28, "movdir64b"),
    ]),
    word(0x7, 0, Edx, &[
        (2, "avx512_4vnniw"), (3, "avx512_4fmaps"), (4, "fsrm"), (8, "avx512_vp2intersect"), (10, "md_clear"),
        (14, "serialize"), (16, "tsxldtrk"), (20, "ibt"), (22, "amx_bf16"), (23, "avx512_fp16"), (24, "amx_tile"),
        (25, "amx_int8"), (26, "spec_ctrl"), (27, "stibp"), (28, "flush_l1d"), (29, "arch_capabilities"), (31, "ssbd"),
    ]),
    word(0x7, 1, Eax, &[(4, "avx_vnni"), (5, "avx512_bf16"), (21, "amx_fp16"), (23, "avx_ifma")]),
    word(0xd, 1, Eax, &[(0, "xsaveopt"), (1, "xsavec"), (2, "xgetbv1"), (3, "xsaves")]),
    word(0x8000_0001, 0, Edx, &[
        (11, "syscall"), (20, "nx"), (22, "mmxext"), (25, "fxsr_opt"), (26, "pdpe1gb"), (27, "rdtscp"), (29, "lm"),
        (30, "3dnowext"), (31, "3dnow"),
    ]),
    word(0x8000_0001, 0, Ecx, &[
        (0, "lahf_lm"), (1, "cmp_legacy"), (2, "svm"), (4, "cr8_legacy"), (5, "abm"), (6, "sse4a"), (7, "misalignsse"),
        (8, "3dnowprefetch"), (9, "osvw"), (10, "ibs"), (11, "xop"), (16, "fma4"), (21, "tbm"), (22, "topoext"),
        (23, "perfctr_core"),
    ]),
    word(0x8000_0008, 0, Ebx, &[
        (0, "clzero"), (2, "xsaveerptr"), (9, "wbnoinvd"), (12, "ibpb"), (14, "ibrs"), (15, "amd_stibp"),
        (24, "amd_ssbd"), (25, "virt_ssbd"),
    ]),
    // KVM's own (Linux, Documentation/virt/kvm/x86/cpuid.rst).
    word(0x4000_0001, 0, Eax, &[
        (0, "kvmclock"), (1, "kvm_nopiodelay"), (3, "kvmclock2"), (4, "kvm_asyncpf"), (5, "kvm_steal_time"),
        (6, "kvm_pv_eoi"), (7, "kvm_pv_unhalt"), (9, "kvm_pv_tlb_flush"), (10, "kvm_asyncpf_vmexit"),
        (11, "kvm_pv_ipi"), (12, "kvm_poll_control"), (13, "kvm_pv_sched_yield"), (14, "kvm_asyncpf_int"),
        (15, "kvm_msi_ext_dest_id"), (24, "kvmclock_stable_bit"),
    ]),
];

/// Other names by which QEMU and people know some.
const ALIASES: [(&str, &str); 9] = [
    ("sse3", "pni"),
    ("pclmul", "pclmulqdq"),
    ("tsc_deadline", "tsc_deadline_timer"),
    ("sha", "sha_ni"),
    ("lzcnt", "abm"),
    ("fxsave", "fxsr"),
    ("i64", "lm"),
    ("cmpxchg16b", "cx16"),
    ("kvm_clock", "kvmclock"),
];

/// A feature that a vCPU can be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    function: u32,
    index: u32,
    register: Register,
    mask: u32,
}

impl Feature {
    /// The feature called `name`; dots and dashes are as good as underscores.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase().replace(['.', '-'], "_");
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |&(_, known)| known);
        WORDS.iter().find_map(|word| {
            let &(bit, _) = word.names.iter().find(|(_, known)| *known == name)?;
            let Word { function, index, register, .. } = *word;
            Some(Self { function, index, register, mask: 1 << bit })
        })
    }

    /// Takes it away from what a leaf tells, if it is told there.
    pub fn clear(self, entry: &mut kvm_cpuid_entry2) {
        if (entry.function, entry.index) == (self.function, self.index) {
            let register = match self.register {
                Eax => &mut entry.eax,
                Ebx => &mut entry.ebx,
                Ecx => &mut entry.ecx,
                Edx => &mut entry.edx,
            };
            *register &= !self.mask;
        }
    }
}

/// The features that a CPU with the leaves `has` has and one with `lacks` has not. Those without a name are told by their bit.
pub fn missing(has: &[kvm_cpuid_entry2], lacks: &[kvm_cpuid_entry2]) -> Vec<String> {
    let bits = |leaves: &[kvm_cpuid_entry2], word: &Word| {
        let leaf = leaves.iter().find(|leaf| (leaf.function, leaf.index) == (word.function, word.index));
        leaf.map_or(0, |leaf| match word.register {
            Eax => leaf.eax,
            Ebx => leaf.ebx,
            Ecx => leaf.ecx,
            Edx => leaf.edx,
        })
    };
    let of_word = |word: &Word| {
        let missing = bits(has, word) & !bits(lacks, word) & !switched_by_the_guest(word);
        let (function, index, register) = (word.function, word.index, word.register);
        let name = move |bit: u8| match word.names.iter().find(|(known, _)| *known == bit) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("CPUID {function:#x}.{index} {register:?} bit {bit}"),
        };
        (0..32).filter(|bit| missing >> bit & 1 != 0).map(name).collect::<Vec<_>>()
    };
    WORDS.iter().flat_map(of_word).collect()
}

/// Bits that show what the guest's system has switched on: OSXSAVE and OSPKE.
fn switched_by_the_guest(word: &Word) -> u32 {
    match (word.function, word.register) {
        (0x1, Ecx) => 1 << 27,
        (0x7, Ecx) => 1 << 4,
        _ => 0,
    }
}

/// Whether a CPU with these leaves can run virtual machines.
pub fn virtualizes(cpuid: &CpuId) -> bool {
    let there = |name| {
        let Some(feature) = Feature::named(name) else { return false };
        cpuid.as_slice().iter().any(|&entry| {
            let mut without = entry;
            feature.clear(&mut without);
            without != entry
        })
    };
    there("vmx") || there("svm")
}

/// All names, in the order of CPUID's leaves.
pub fn names() -> impl Iterator<Item = &'static str> {
    WORDS.iter().flat_map(|word| word.names.iter().map(|&(_, name)| name))
}

/// The known names nearest to one that is not known, for a complaint about it.
pub fn similar_to(name: &str) -> Vec<&'static str> {
    const MOST: usize = 8;
    let name = name.to_ascii_lowercase().replace(['.', '-'], "_");
    let start = name.get(..3).unwrap_or(&name);
    let near = names().filter(|known| known.starts_with(start) || known.contains(name.as_str()));
    near.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_found() {
        let all: Vec<_> = names().collect();

        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().all(|name| Feature::named(name).is_some()));
        assert!(ALIASES.iter().all(|(alias, known)| !all.contains(alias) && all.contains(known)));
    }

    #[test]
    fn no_bit_has_two_names() {
        for word in &WORDS {
            let bits: HashSet<_> = word.names.iter().map(|(bit, _)| bit).collect();
            assert_eq!(bits.len(), word.names.len(), "{:#x}", word.function);
        }
    }

    #[test]
    fn other_spellings_are_the_same_feature() {
        assert_eq!(Feature::named("SSE4.1"), Feature::named("sse4_1"));
        assert_eq!(Feature::named("kvm-clock"), Feature::named("kvmclock"));
        assert_eq!(Feature::named("avx1024"), None);
        assert_eq!(similar_to("avx1024")[..2], ["avx", "avx2"]);
    }

    #[test]
    fn only_its_own_bit_is_cleared() {
        let mut entry = kvm_cpuid_entry2 { function: 7, index: 0, ebx: u32::MAX, ecx: u32::MAX, ..Default::default() };
        let mut other = kvm_cpuid_entry2 { function: 7, index: 1, ebx: u32::MAX, ..Default::default() };

        Feature::named("avx2").unwrap().clear(&mut entry);
        Feature::named("avx2").unwrap().clear(&mut other);

        assert_eq!((entry.ebx, entry.ecx, other.ebx), (!(1 << 5), u32::MAX, u32::MAX));
    }
}
