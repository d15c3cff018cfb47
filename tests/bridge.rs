//! A guest in a bridge of the host, all by `lodgectl`: it reaches another port of the bridge, its interface is gone when it is,
//! and what cannot be says how to mend it.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{fs, os::unix::fs::PermissionsExt};

use common::{
    home::{Home, signal},
    kvm, linux, namespace,
    rights::{install_helper, without_rights},
    shell::Shell,
    wire::{Neighbour, ip},
};

const MAC: &str = "52:54:00:12:34:56";
/// What a guest's interface is called at the host.
const INTERFACE: &str = "lodge0";

/// Whether the guest's interface is there. It belongs to this test's namespace alone.
fn has_interface() -> bool {
    fs::exists(format!("/sys/class/net/{INTERFACE}")).unwrap()
}

#[test]
fn a_guest_in_a_bridge_reaches_its_neighbour_and_leaves_no_interface_behind() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        ip("link add br0 type bridge", &[]);
        ip("link set br0 up", &[]);
        let _neighbour = Neighbour::new("br0", "10.78.0.3/24");
        let address = fs::read_to_string("/sys/class/net/br0/address").unwrap();
        let home = Home::default();
        let root = linux::copy_root(&native, home.path());
        let (kernel, network) = (native.join("vmlinux"), format!("bridge=br0,mac={MAC},queues=2"));
        let boot = ["--kernel", kernel.to_str().unwrap(), "--cmdline", linux::COMMAND_LINE];
        let create = ["create", "web", "--memory", "256MiB", "--disk", root.to_str().unwrap(), "--network", &network];

        home.done(&[&create[..], &boot].concat());
        home.done(&["start", "web"]);
        let mut shell = Shell::new(&home, "web");
        shell.wait_for("# ");
        shell.send(
            "ip link set eth0 up; ip address add 10.78.0.2/24 dev eth0; ping -c 3 10.78.0.3; echo pinged$((1+1))",
        );
        shell.wait_for("pinged2");
        let said = std::mem::take(&mut shell.said);
        let card = home.json(&["info", "web", "--json"])["statistics"]["networks"][0].clone();
        home.done(&["set-link", "web", MAC, "down"]);
        shell.send("ping -c 1 -W 1 10.78.0.3; echo pinged$((1+2))");
        shell.wait_for("pinged3");

        assert!(said.contains("3 packets received"), "{said}");
        assert!(shell.said.contains(" 0 packets received"), "{}", shell.said);
        assert_eq!(card["mac"], MAC);
        let figures =
            ["received-frames", "received-bytes", "sent-frames", "sent-bytes"].map(|name| card[name].as_u64().unwrap());
        assert!(figures.iter().all(|&figure| figure >= 3), "{card}");
        assert!(fs::exists(format!("/sys/class/net/br0/brif/{INTERFACE}")).unwrap());
        assert_eq!(fs::read_to_string("/sys/class/net/br0/address").unwrap(), address, "the bridge keeps its own");
        assert!(home.refused(&["create", "twin", "--network", &network]).contains("\"web\" has this address"));

        shell.send("poweroff -f");
        home.wait_for_state("web", "off");
        home.wait_for("the interface to go with the guest", || !has_interface());
        home.done(&["start", "web"]);
        assert!(has_interface());
        signal(&home.worker("web"), "KILL");
        home.wait_for("the interface to go with the worker", || !has_interface());
    });
}

#[test]
fn what_the_host_does_not_give_is_said_with_the_way_to_it() {
    if kvm::open().is_none() {
        return;
    }
    namespace::run(|| {
        ip("link add br0 type bridge", &[]);
        let home = Home::default();
        let long = "bridge=sixteen-letters-";
        assert!(home.refused(&["create", "long", "--network", long]).contains("too long for an interface"));
        home.done(&["create", "lost", "--memory", "16MiB", "--network", "bridge=br9"]);
        home.done(&["create", "web", "--memory", "16MiB", "--network", "bridge=br0"]);

        let missing = home.refused(&["start", "lost"]);
        install_helper(home.path(), "");
        let error = without_rights(&home, &["start", "web"]).unwrap_err();
        fs::set_permissions(home.path().join("helper"), fs::Permissions::from_mode(0o644)).unwrap();
        rustix::fs::removexattr(home.path().join("helper"), "security.capability").unwrap();
        let useless = without_rights(&home, &["start", "web"]).unwrap_err();

        assert!(missing.contains("network[0].bridge: the host has no bridge br9. Have root make it"), "{missing}");
        assert!(error.contains("network[0].bridge: root has not allowed guests in br0"), "{error}");
        assert!(useless.contains("you may not make interfaces in br0") && useless.contains("chmod u+s"), "{useless}");
        assert_eq!((home.state("web"), has_interface()), ("off".to_owned(), false));
    });
}

#[test]
fn users_get_into_a_bridge_that_root_has_allowed_and_outlive_it() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        let make_bridge = || {
            ip("link add br0 type bridge", &[]);
            ip("address add 10.78.0.1/24 dev br0", &[]);
            ip("link set br0 up", &[]);
        };
        make_bridge();
        let home = Home::default();
        let root = linux::copy_root(&native, home.path());
        let kernel = native.join("vmlinux");
        let boot = ["--kernel", kernel.to_str().unwrap(), "--cmdline", linux::COMMAND_LINE];
        let create =
            ["create", "web", "--memory", "256MiB", "--disk", root.to_str().unwrap(), "--network", "bridge=br0"];
        home.done(&[&create[..], &boot].concat());

        install_helper(home.path(), "allow br7");
        let refused = without_rights(&home, &["start", "web"]).unwrap_err();
        assert!(refused.contains("Have root write \"allow br0\" into /etc/qemu/bridge.conf"), "{refused}");
        install_helper(home.path(), "allow br0");
        without_rights(&home, &["start", "web"]).unwrap();
        let mut shell = Shell::new(&home, "web");
        shell.wait_for("# ");
        shell.ask("ip link set eth0 up; ip address add 10.78.0.2/24 dev eth0");
        assert!(shell.ask("ping -c 3 -i 0.1 10.78.0.1").contains("3 packets received"), "{}", shell.said);
        let card = || home.json(&["info", "web", "--json"])["connections"][0].clone();
        let interface = card()["interface"].as_str().unwrap().to_owned();
        assert_eq!((card()["source"].clone(), card()["problem"].clone()), ("bridge=br0".into(), Default::default()));

        ip("link delete br0", &[]);
        assert!(home.done(&["info", "web"]).contains("the host has no bridge br0 any more"));
        assert!(shell.ask("ping -c 1 -W 1 10.78.0.1").contains(" 0 packets received"), "the guest goes on");
        make_bridge();
        let lost = card()["problem"].clone();
        let mend = format!("ip link set {interface} master br0");
        assert!(lost.as_str().unwrap().contains(&mend), "{lost}");
        ip(mend.strip_prefix("ip ").unwrap(), &[]);
        assert!(shell.ask("ping -c 3 -i 0.1 10.78.0.1").contains("3 packets received"), "{}", shell.said);
        assert!(card()["problem"].is_null());

        signal(&home.worker("web"), "KILL");
        let path = format!("/sys/class/net/{interface}");
        home.wait_for("the interface to go with the worker", || !fs::exists(&path).unwrap());
    });
}
