//! A guest's network cards are switched to other networks while it runs, all by `lodgectl`: from a bridge, whose interface divides
//! packets and makes checksums, to address translation and to an isolated network, which do neither, and back.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use common::{
    home::Home,
    kvm, linux,
    namespace::{self, Server},
    shell::Shell,
    wire::{Neighbour, ip},
};

/// The usual limit for what takes no time at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a guest does to get an address.
const LEASE: &str = r#"cat >/tmp/lease <<'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address flush dev $interface; ip address add $ip/$mask dev $interface; echo "lease $ip"
EOF
chmod +x /tmp/lease"#;

/// Has the guest send and receive more than any buffer holds, by `iperf3`.
fn exchange(shell: &mut Shell, host: &str) {
    for direction in ["", "-R"] {
        let said = shell.ask(&format!("{}; iperf -c {host} -n 8M -f m {direction} | grep receiver", linux::IPERF));
        assert!(said.contains("MBytes"), "{said}");
    }
}

/// Asks the guest again and again until it says `wanted`.
fn ask_until(shell: &mut Shell, command: &str, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !shell.ask(command).contains(wanted) {
        assert!(Instant::now() < deadline, "{command}: {}", shell.said);
    }
}

#[test]
fn cards_of_a_running_guest_are_switched_to_other_networks_and_back() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        ip("link add br0 type bridge", &[]);
        ip("address add 10.78.0.1/24 dev br0", &[]);
        ip("link set br0 up", &[]);
        let _neighbour = Neighbour::new("br0", "10.78.0.3/24");
        let _iperf = Server::start(Command::new("iperf3").args(["-s", "--forceflush"]), "Server listening");
        let home = Home::default();
        let root = linux::copy_root(&native, home.path());
        let kernel = native.join("vmlinux");
        let boot = ["--kernel", kernel.to_str().unwrap(), "--cmdline", "console=ttyS0 root=/dev/vda rw init=/init"];
        let create = ["create", "web", "--memory", "256MiB", "--disk", root.to_str().unwrap()];
        let cards = ["--network", "bridge=br0", "--network", "bridge=br0,model=e1000"];
        home.done(&[&create[..], &cards, &boot].concat());
        home.done(&["start", "web"]);
        let mut shell = Shell::new(&home, "web");
        shell.wait_for("# ");
        shell.ask(LEASE);
        let cards = || home.json(&["info", "web", "--json"])["connections"].clone();

        for (number, name) in [(0, "eth0"), (1, "eth1")] {
            let card = format!("net{number}");
            let interface = cards()[number]["interface"].as_str().unwrap().to_owned();
            shell.ask(&format!("ip link set {name} up; ip address add 10.78.0.2/24 dev {name}"));
            exchange(&mut shell, "10.78.0.1");

            // Nothing of the host has a route, so that libslirp translates.
            home.done(&["network", "attach", "web", &card, "nat,forward=2222:22", "--live"]);
            assert!(!fs::exists(format!("/sys/class/net/{interface}")).unwrap(), "its interface goes");
            let said = shell.ask(&format!("udhcpc -i {name} -n -q -t 30 -T 1 -s /tmp/lease"));
            assert!(said.contains("lease 10.0.2.15"), "{said}");
            exchange(&mut shell, "10.0.2.2");
            let now = cards()[number].clone();
            assert_eq!((&now["source"], &now["backend"]), (&"nat".into(), &"slirp".into()));
            assert_eq!(now["forwards"][0]["guest-port"], 22);
            assert_eq!(home.json(&["info", "web", "--json"])["network"][number]["kind"], "bridge", "at its next start");

            let lab = "isolated=lab,dhcp=10.55.0.0/24";
            home.done(&["network", "attach", "web", &card, lab]);
            let said = shell.ask(&format!("udhcpc -i {name} -n -q -t 30 -T 1 -s /tmp/lease"));
            assert!(said.contains("lease 10.55.0."), "{said}");
            assert_eq!(home.json(&["info", "web", "--json"])["network"][number]["network"], "lab");

            home.done(&["network", "attach", "web", &card, "none"]);
            // Not every driver notices it at once.
            shell.ask(&format!("until [ $(cat /sys/class/net/{name}/carrier) = 0 ]; do usleep 10000; done"));
            home.done(&["network", "attach", "web", &card, "bridge=br0"]);
            shell.ask(&format!("ip address flush dev {name}; ip address add 10.78.0.2/24 dev {name}"));
            exchange(&mut shell, "10.78.0.1");
            shell.ask(&format!("ip link set {name} down"));
        }

        assert!(home.refused(&["network", "attach", "web", "net7", "nat"]).contains("only net0 to net1"));
        assert!(
            home.refused(&["network", "attach", "web", "net0", "bridge=br9"]).contains("the host has no bridge br9")
        );
        assert_eq!(cards()[0]["source"], "bridge=br0", "what is refused changes nothing");

        // A driver that was told of long packets at its start goes on where they are too long.
        home.done(&["network", "attach", "web", "net0", "nat"]);
        home.done(&["destroy", "web"]);
        home.done(&["start", "web"]);
        let mut shell = Shell::new(&home, "web");
        shell.wait_for("# ");
        assert!(shell.ask("cat /sys/class/net/eth0/mtu").contains("\n32768"), "{}", shell.said);
        home.done(&["network", "attach", "web", "net0", "bridge=br0"]);
        shell.ask("ip link set eth0 up; ip address add 10.78.0.2/24 dev eth0");
        ask_until(&mut shell, "ping -c 1 -W 1 -s 9000 10.78.0.3", "1 packets received");
        exchange(&mut shell, "10.78.0.1");
    });
}
