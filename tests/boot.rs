//! The engine boots SeaBIOS, is reset by every way, held and let go, and says so when KVM cannot go on.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{fs::File, time::Instant};

use common::{
    code::{FILL_TEXT, HALT, boot_disk, print},
    kvm,
    machine::{PATIENCE, machine, try_machine},
};
use lodge::vmm::{
    block::{self, Format, Image},
    machine::DiskConfig,
};

/// A raw disk of the machine.
fn disk(id: &str, file: File, bootindex: Option<u32>) -> DiskConfig {
    let disk = block::open(Image { file, format: Format::Raw }, true, vec![]).unwrap();
    DiskConfig { bootindex, ..DiskConfig::new(id, disk) }
}

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

#[test]
fn a_disk_is_booted_and_its_code_reaches_the_serial_port() {
    let Some(kvm) = kvm::open() else { return };
    let disks = vec![disk("disk0", boot_disk(&[&print("a sector"), HALT]), Some(0))];
    let mut guest = machine(kvm, |config| config.disks = disks);

    guest.machine.resume().unwrap();

    guest.serial.wait_for("a sector", 1);
    assert!(guest.debug.text().contains("Booting from Hard Disk"), "{}", guest.debug.text());
    assert_eq!(guest.machine.disks()[0].capacity, 1 << 20);
}

#[test]
fn the_disk_with_the_lowest_bootindex_is_booted() {
    let Some(kvm) = kvm::open() else { return };
    let sector = |text| boot_disk(&[&print(text), HALT]);
    let disks = vec![
        disk("never", sector("never"), None),
        disk("second", sector("second"), Some(7)),
        disk("first", sector("first"), Some(3)),
    ];
    let mut guest = machine(kvm, |config| config.disks = disks);

    guest.machine.resume().unwrap();

    guest.serial.wait_for("first", 1);
    assert_eq!(guest.serial.text(), "first");
}

#[test]
fn what_a_guest_has_drawn_before_it_halts_is_on_the_screen() {
    let Some(kvm) = kvm::open() else { return };
    // From the last byte to the end nothing makes the vCPU leave the guest.
    let disks = vec![disk("disk0", boot_disk(&[&print("now"), FILL_TEXT, HALT]), Some(0))];
    let mut guest = machine(kvm, |config| config.disks = disks);
    let screen = guest.machine.screen();
    screen.attach();

    guest.machine.resume().unwrap();
    guest.serial.wait_for("now", 1);

    let deadline = Instant::now() + PATIENCE;
    let mut white = false;
    while !white && Instant::now() < deadline {
        screen.refresh();
        screen.look(0, &mut |surface, _| white = surface.pixels.iter().all(|pixel| *pixel == 0xffffff));
    }
    assert!(white);
}

#[test]
fn two_disks_cannot_have_one_name() {
    let Some(kvm) = kvm::open() else { return };
    let disks = ["same", "same"].map(|id| disk(id, boot_disk(&[HALT]), None));

    let refused = try_machine(kvm, |config| config.disks = disks.into()).err().unwrap().to_string();

    assert!(refused.contains("two disks with the name same"), "{refused}");
}
