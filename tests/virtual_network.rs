//! A network of the host that root makes, all by `lodgectl`: a guest on it gets an address and reaches the world, what is missing is
//! mended, other rules stay as they are, and nothing is left when it is stopped or could not be made.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{fs, net::UdpSocket, process::Command};

use common::{
    home::{Home, signal},
    kvm,
    linux::{self, succeed},
    namespace,
    rights::{own_etc, without_rights},
    shell::Shell,
    wire::{Neighbour, ip},
};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Somebody else's rules.
const OTHERS: &str = "table ip other {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t\tip saddr \
                      10.9.8.7 drop\n\t}\n}\n";
const LEASE: &str = r#"cat >/tmp/lease <<'EOF'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev eth0; ip route add default via $router; echo "lease $ip via $router names at $dns"
EOF
chmod +x /tmp/lease; ip link set eth0 up; udhcpc -i eth0 -n -q -t 30 -T 1 -x hostname:web -s /tmp/lease"#;

fn rules() -> String {
    succeed(Command::new("nft").args(["list", "ruleset"]))
}

/// Asserts that nothing of the network is there, and all else is.
#[track_caller]
fn assert_nothing_left() {
    assert_eq!(rules(), OTHERS);
    assert_eq!(fs::read_to_string(FORWARDING).unwrap(), "0\n");
    assert!(!fs::exists("/sys/class/net/virbr9").unwrap());
    let left: Vec<_> = fs::read_dir("/run/lodge/networks").unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
}

fn info(home: &Home) -> serde_json::Value {
    home.json(&["network", "info", "default", "--json"])
}

#[test]
fn a_network_of_the_host_is_made_used_mended_and_taken_away() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    namespace::run(|| {
        let home = Home::default();
        own_etc(home.path());
        succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]));
        fs::write(FORWARDING, "0").unwrap();
        ip("link add outside type bridge", &[]);
        ip("link set outside up", &[]);
        ip("address add 203.0.113.1/24 dev outside", &[]);
        ip("address add 192.168.140.1/24 dev outside", &[]);
        // It knows no way back into the network.
        let _world = Neighbour::new("outside", "203.0.113.2/24");
        let others = home.file("others.nft", OTHERS.as_bytes());
        succeed(Command::new("nft").args(["-f", &others]));
        assert_eq!(rules(), OTHERS);

        // It is written down.
        let create = ["network", "create", "default", "--subnet", "192.168.150.0/24", "--bridge", "virbr9"];
        assert!(without_rights(&home, &create).unwrap_err().contains("only root can change the host's networks"));
        home.done(&create);
        let more = |subnet| ["network", "create", "more", "--subnet", subnet];
        assert!(home.refused(&more("192.168.150.128/25")).contains("meets 192.168.150.0/24"));
        home.done(&more("192.168.140.0/25"));
        assert!(home.refused(&["network", "start", "more"]).contains("the host reaches by outside"));
        home.done(&["network", "delete", "more"]);
        assert_eq!(info(&home)["state"], "stopped");

        // A guest can be on it when it is started, which can fail.
        let root = linux::copy_root(&native, home.path());
        let kernel = native.join("vmlinux");
        let boot = ["--kernel", kernel.to_str().unwrap(), "--cmdline", "console=ttyS0 root=/dev/vda rw init=/init"];
        let guest =
            ["create", "web", "--memory", "256MiB", "--disk", root.to_str().unwrap(), "--network", "network=default"];
        home.done(&[&guest[..], &boot].concat());
        let refused = home.refused(&["start", "web"]);
        assert!(refused.contains("the network \"default\" is not started. Have root start it"), "{refused}");
        let taken = UdpSocket::bind("0.0.0.0:53").unwrap();
        let refused = home.refused(&["network", "start", "default"]);
        assert!(refused.contains("dnsmasq") && refused.contains("Address already in use"), "{refused}");
        assert_nothing_left();
        drop(taken);

        home.done(&["network", "start", "default"]);
        assert!(home.done(&["network", "start", "default"]).contains("is started already"));
        home.done(&["start", "web"]);
        let mut shell = Shell::new(&home, "web");
        shell.wait_for("# ");
        let said = shell.ask(LEASE);
        assert!(
            said.contains("\nlease 192.168.150.") && said.contains(" via 192.168.150.1 names at 192.168.150.1\n"),
            "{said}"
        );
        let mut reaches_world = || {
            let said = shell.ask("ping -c 3 -i 0.1 -W 2 203.0.113.2");
            assert!(said.contains("3 packets received"), "{said}");
        };
        reaches_world();
        let lease = info(&home)["leases"][0].clone();
        assert_eq!(
            (lease["hostname"].as_str(), lease["address"].as_str().unwrap().starts_with("192.168.150.")),
            (Some("web"), true)
        );
        assert!(rules().starts_with(OTHERS.strip_suffix('\n').unwrap()), "{}", rules());
        let listed = home.json(&["network", "list", "--json"]);
        let row = listed.as_array().unwrap().iter().find(|row| row["name"] == "default").unwrap();
        assert_eq!(
            (&row["kind"], &row["state"], &row["guests"][0]),
            (&"network".into(), &"running".into(), &"web".into())
        );

        // What is lost is said, and mended by another start.
        let pid = fs::read_to_string("/run/lodge/networks/default/dnsmasq.pid").unwrap();
        signal(pid.trim(), "KILL");
        home.wait_for("its end to be seen", || info(&home)["state"] == "damaged");
        assert_eq!(info(&home)["missing"][0], "dnsmasq");
        succeed(Command::new("nft").args(["delete", "table", "ip", "lodge_default"]));
        home.done(&["network", "start", "default"]);
        assert_eq!(info(&home)["state"], "running");
        reaches_world();

        // The guest outlives it, and is on it again.
        assert!(
            home.refused(&["network", "stop", "default"]).contains("guests are on the network \"default\" (lodge0)")
        );
        assert!(home.refused(&["network", "delete", "default"]).contains("is started. Stop it first"));
        home.done(&["network", "stop", "default", "--force"]);
        assert_nothing_left();
        assert!(home.done(&["info", "web"]).contains("the host has no bridge virbr9 any more"));
        home.done(&["network", "start", "default"]);
        assert!(home.json(&["info", "web", "--json"])["connections"][0]["problem"].is_null());
        reaches_world();

        home.done(&["destroy", "web"]);
        home.done(&["network", "stop", "default"]);
        assert_nothing_left();
        assert!(home.done(&["network", "stop", "default"]).contains("is not started"));
        home.done(&["network", "delete", "default"]);
        assert!(home.refused(&["network", "info", "default"]).contains("there is no network \"default\""));
    });
}

#[test]
fn networks_start_with_the_host_and_one_that_cannot_keeps_none_of_the_others_from_it() {
    namespace::run(|| {
        let home = Home::default();
        own_etc(home.path());
        succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]));
        for (name, subnet) in
            [("first", "192.168.150.0/24"), ("second", "192.168.151.0/24"), ("third", "192.168.152.0/24")]
        {
            home.done(&["network", "create", name, "--subnet", subnet]);
        }
        ip("link add outside type bridge", &[]);
        ip("link set outside up", &[]);
        ip("address add 192.168.150.7/24 dev outside", &[]);
        let state = |name| home.json(&["network", "info", name, "--json"])["state"].as_str().unwrap().to_owned();
        let states = || ["first", "second", "third"].map(state);

        let autostart = home.run(&["network", "autostart", "first", "second"]);
        assert!(autostart.status.success());
        assert!(String::from_utf8(autostart.stderr).unwrap().contains("lodge-networks.service is not enabled"));
        // As systemd does it: with nothing but what the unit says.
        let unit = home.done(&["generate", "networks-service"]);
        let says = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        let command = says("ExecStart=");
        let (program, arguments) = command.split_once(' ').unwrap();
        let (variable, value) =
            says("Environment=").split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap();
        let start =
            || Command::new(program).args(arguments.split(' ')).env_clear().env(&variable, &value).output().unwrap();
        let started = start();
        assert_eq!(started.status.code(), Some(1));
        assert!(String::from_utf8(started.stderr).unwrap().contains("the host reaches by outside"));
        assert_eq!(states(), ["stopped", "running", "stopped"]);

        home.done(&["network", "stop", "second"]);
        home.done(&["network", "autostart", "second", "--off"]);
        ip("link delete outside", &[]);
        assert!(start().status.success());
        assert_eq!(states(), ["running", "stopped", "stopped"]);
        home.done(&["network", "stop", "first"]);
    });
}
