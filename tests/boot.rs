//! The engine boots SeaBIOS, is reset by every way, held and let go, and says so when KVM cannot go on.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use common::{kvm, machine::machine};

#[test]
fn firmware_comes_up_with_the_display_and_looks_for_a_disk() {
    let Some(kvm) = kvm::open() else { return };
    let mut guest = machine(kvm, |_| {});

    guest.machine.resume().unwrap();

    guest.debug.wait_for("Booting from", 1);
    assert!(guest.debug.text().contains("Running option rom at c000:0003"), "{}", guest.debug.text());
    assert!(guest.is_calm());
}

#[test]
fn every_vcpu_is_found_after_every_reset() {
    let Some(kvm) = kvm::open() else { return };
    let mut guest = machine(kvm, |config| config.vcpus = 3);

    guest.machine.resume().unwrap();
    guest.debug.wait_for("Found 3 cpu(s) max supported 3 cpu(s)", 1);
    guest.machine.reset().unwrap();
    guest.debug.wait_for("Found 3 cpu(s) max supported 3 cpu(s)", 2);

    let vcpus = guest.machine.vcpus();
    assert_eq!(vcpus.iter().map(|vcpu| vcpu.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(vcpus.iter().all(|vcpu| vcpu.thread_id > 0));
}
