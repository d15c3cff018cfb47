//! Guests that boot from the network: SeaBIOS finds iPXE in the option ROM of the card that has a place in the boot order, in its
//! place, and enters it.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::fs;

use common::{home::Home, kvm};

/// What the firmware of the guest `name` says once it has tried what comes first, up to `wanted`.
fn wait_for_log(home: &Home, name: &str, wanted: &str) -> String {
    let log = || fs::read_to_string(home.guest(name).join("worker.log")).unwrap_or_default();
    home.wait_for(wanted, || log().contains(wanted));
    log()
}

#[test]
fn firmware_boots_from_cards_of_both_models_by_ipxe_and_from_nothing_else_first() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let guests = [("virtio", "nat,backend=slirp,bootfile=boot.ipxe"), ("e1000", "none,model=e1000")];
    for (name, network) in guests {
        // The disk is empty: it could not be booted from.
        home.done(&[
            "create",
            name,
            "--memory",
            "64MiB",
            "--disk",
            "size=1MiB",
            "--network",
            network,
            "--boot",
            "disk,network",
            "--start",
        ]);
    }
    home.done(&["create", "disk", "--memory", "64MiB", "--disk", "size=1MiB", "--network", "none", "--start"]);

    for (name, _) in guests {
        let log = wait_for_log(&home, name, "Booting from ROM...");
        assert!(!log.contains("Booting from Hard Disk"), "{log}");
    }
    let log = wait_for_log(&home, "disk", "Booting from Hard Disk");
    assert!(!log.contains("Booting from ROM"), "a card without a place has no ROM: {log}");
}

#[test]
fn what_cannot_be_booted_from_is_said() {
    let home = Home::default();

    let nothing = home.refused(&["create", "a", "--network", "nat", "--boot", "network,cdrom"]);
    let passt = home.refused(&["create", "a", "--network", "nat,backend=passt,bootfile=a.ipxe", "--boot", "network"]);

    assert!(nothing.contains("there is no CD-ROM drive to boot from"), "{nothing}");
    assert!(passt.contains("passt offers guests nothing to boot"), "{passt}");
}
