//! Virtual CPUs and memory as a guest finds them: features that were switched off, pinning, RAM around the PCI hole, huge and
//! mergeable pages.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use common::{
    kvm,
    linux::{self, Linux},
    machine::{machine, try_machine},
    stock,
};
use lodge::vmm::{
    cpu::{CpuConfig, Topology},
    machine::{MachineConfig, MachineError},
    memory::{HugePages, MemoryBacking, MemoryError},
};

const GIB: u64 = 1 << 30;

/// The value behind `name` in a text like `/proc/cpuinfo`.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.split_once(':').unwrap().1.trim()
}

#[test]
fn a_guest_lacks_the_features_that_were_switched_off_and_virtualization() {
    // Of a leaf that no back end of KVM rewrites.
    let disabled = ["lahf_lm", "cr8_legacy"];
    let Some(usual) = Linux::start("cat /proc/cpuinfo", |_| {}) else { return };
    let usual = usual.run_to_end();
    let change = |config: &mut MachineConfig| {
        config.cpu.disabled_features = disabled.map(str::to_owned).to_vec();
    };
    let without = Linux::start("cat /proc/cpuinfo", change).unwrap().run_to_end();

    let flags = |text: &str| value(text, "flags").split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (usual, without) = (flags(&usual), flags(&without));
    assert!(usual.iter().any(|flag| disabled.contains(&flag.as_str())), "{usual:?}");
    let expected: Vec<_> = usual.iter().filter(|flag| !disabled.contains(&flag.as_str())).collect();
    assert_eq!(without.iter().collect::<Vec<_>>(), expected);
    assert!(!usual.iter().any(|flag| flag == "vmx" || flag == "svm"), "{usual:?}");
    assert!(usual.iter().any(|flag| flag == "hypervisor"), "{usual:?}");
}

#[test]
fn a_stock_kernel_finds_every_vcpu_where_it_was_put() {
    let cases =
        [(Topology { sockets: 1, cores: 2, threads: 2 }, 4), (Topology { sockets: 2, cores: 3, threads: 1 }, 6)];
    for (topology, vcpus) in cases {
        let wanted = format!("smp: Brought up 1 node, {vcpus} CPUs");
        let change = |config: &mut MachineConfig| (config.vcpus, config.cpu.topology) = (vcpus, Some(topology));
        let Some(guest) = stock::start("vmlinux", stock::COMMAND_LINE, change) else { return };
        guest.serial.wait_for(&wanted, 1);
        let text = guest.serial.text();

        // "CPU topo: Max. logical packages:   1" and the like.
        let count = |what: &str| {
            let (_, rest) =
                text.split_once(&format!("CPU topo: {what}:")).unwrap_or_else(|| panic!("no {what}: {text}"));
            rest.lines().next().unwrap().trim().parse::<u32>().unwrap()
        };
        assert_eq!(count("Max. logical packages"), topology.sockets, "{text}");
        assert_eq!(count("Num. cores per package"), topology.cores, "{text}");
        assert_eq!(count("Max. threads per core"), topology.threads, "{text}");
        linux::assert_clean(&text);
    }
}

#[test]
fn memory_of_any_size_around_the_pci_hole_is_the_guests() {
    for memory in [3 * GIB, 4 * GIB, 5 * GIB] {
        let start = Linux::start("cat /proc/iomem; grep MemTotal /proc/meminfo", |config| config.memory = memory);
        let Some(guest) = start else { return };
        let text = guest.run_to_end();

        let total: u64 = value(&text, "MemTotal").trim_end_matches(" kB").parse().unwrap();
        let (given, seen) = (memory, total * 1024);
        // The kernel keeps its own structures for itself: less than a sixteenth.
        assert!(seen <= given && seen > given - given / 16, "{given} bytes, of which {seen} are seen\n{text}");
        linux::assert_clean(&text);
    }
}

#[test]
fn a_guest_runs_on_mergeable_memory() {
    let change = |config: &mut MachineConfig| config.memory_backing.mergeable = true;
    let Some(guest) = Linux::start("uname -a", change) else { return };

    linux::assert_clean(&guest.run_to_end());
}

#[test]
fn a_guest_runs_on_huge_pages_or_says_that_there_are_too_few() {
    let Some(kvm) = kvm::open() else { return };
    let backing = MemoryBacking { huge_pages: Some(HugePages::Size2M), ..MemoryBacking::default() };
    match try_machine(kvm, |config| config.memory_backing = backing) {
        Err(MachineError::Ram(error @ MemoryError::TooFewHugePages { .. })) => {
            let text = error.to_string();
            assert!(text.contains("16 huge pages of 2 MiB") && text.contains("nr_hugepages"), "{text}");
            println!("not run on huge pages: {text}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => {
            let change = |config: &mut MachineConfig| {
                (config.memory, config.memory_backing) = (256 << 20, backing);
            };
            if let Some(guest) = Linux::start("uname -a", change) {
                linux::assert_clean(&guest.run_to_end());
            }
        }
    }
}

#[test]
fn a_pinned_vcpu_runs_where_it_was_pinned_only() {
    let Some(kvm) = kvm::open() else { return };

    let guest = machine(kvm, |config| {
        config.vcpus = 2;
        config.cpu.pinning = vec![vec![0]];
    });

    let allowed = |index: usize| {
        let thread = guest.machine.vcpus()[index].thread_id;
        let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
        value(&status, "Cpus_allowed_list").to_owned()
    };
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(allowed(0), "0");
    assert_eq!(allowed(1), value(&own, "Cpus_allowed_list"));
}

#[test]
fn vcpus_that_cannot_be_are_refused_with_a_way_out() {
    let topology = |sockets, cores, threads| Some(Topology { sockets, cores, threads });
    let cases = [
        (CpuConfig { topology: topology(2, 2, 2), ..CpuConfig::default() }, "make their product 2"),
        (CpuConfig { disabled_features: vec!["warp".into()], ..CpuConfig::default() }, "no CPU feature warp"),
        (
            CpuConfig { pinning: vec![vec![1000]], ..CpuConfig::default() },
            "vCPU 0 cannot run on the host's CPUs [1000]",
        ),
        (CpuConfig { pinning: vec![vec![0]; 3], ..CpuConfig::default() }, "there are only 2"),
    ];
    for (cpu, expected) in cases {
        let Some(kvm) = kvm::open() else { return };

        let refused = try_machine(kvm, |config| (config.vcpus, config.cpu) = (2, cpu)).err().unwrap().to_string();

        assert!(refused.contains(expected), "{refused}");
    }
}
