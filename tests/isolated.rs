//! Isolated networks, without any right on the host, all by `lodgectl`: two guests on one get addresses and see each other, a third
//! one on another does not; the switch that dies comes back, and goes with the last guest.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{
    home::{Home, signal},
    kvm, linux,
    shell::Shell,
};

/// The usual limit for what takes no time at all.
const PATIENCE: Duration = Duration::from_secs(60);
const LEASE: &str = r#"cat >/tmp/lease <<'EOF'
#!/bin/sh
[ "$1" = bound ] && ip address add $ip/$mask dev eth0 && echo "lease $ip router $router."
EOF
chmod +x /tmp/lease; ip link set eth0 up; udhcpc -i eth0 -n -q -t 30 -T 1 -s /tmp/lease"#;

/// Makes the guest `name` on this network, starts it and waits for its shell.
fn start(home: &Home, native: &Path, name: &str, network: &str) -> Shell {
    let folder = home.path().join(name);
    fs::create_dir(&folder).unwrap();
    let root = linux::copy_root(native, &folder);
    let kernel = native.join("vmlinux");
    let place = ["--disk", root.to_str().unwrap(), "--kernel", kernel.to_str().unwrap()];
    let cmdline = ["--cmdline", "console=ttyS0 root=/dev/vda rw init=/init"];
    let create = ["create", name, "--start", "--memory", "256MiB", "--network", network];
    home.done(&[&create[..], &place, &cmdline].concat());
    let mut shell = Shell::new(home, name);
    shell.wait_for("# ");
    shell
}

/// The switches that have this file as their log.
fn switches(log: &Path) -> Vec<String> {
    let log = fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter(|process| {
        let is_ours = fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe.ends_with("lodge-switch"));
        is_ours && fs::read_link(process.path().join("fd/2")).is_ok_and(|file| file == log)
    });
    found.map(|process| process.file_name().into_string().unwrap()).collect()
}

fn log(home: &Home, network: &str) -> PathBuf {
    home.path().join(format!("run/lodge/networks/{network}.log"))
}

/// What is said of the guest's network while it runs.
fn network(home: &Home, name: &str) -> serde_json::Value {
    home.json(&["info", name, "--json"])["connections"][0].clone()
}

/// The address that the guest gets by DHCP.
fn lease(shell: &mut Shell) -> String {
    let said = shell.ask(LEASE);
    let lease = said.lines().find_map(|line| line.strip_prefix("lease ")).unwrap_or_else(|| panic!("{said}"));
    lease.strip_suffix(" router .").unwrap_or_else(|| panic!("{lease}")).to_owned()
}

#[test]
fn guests_on_one_network_see_each_other_and_nobody_else() {
    let Some(native) = kvm::open().and_then(|_| linux::native()) else { return };
    let home = Home::default();
    let mut first = start(&home, &native, "first", "isolated=lab,dhcp=10.55.0.0/24");
    let mut second = start(&home, &native, "second", "isolated=lab");
    let mut third = start(&home, &native, "third", "isolated=other");

    let (at_first, at_second) = (lease(&mut first), lease(&mut second));
    assert!(at_first.starts_with("10.55.0.") && at_second.starts_with("10.55.0.") && at_first != at_second);
    assert!(first.ask(&format!("ping -c 3 -i 0.1 {at_second}")).contains("3 packets received"), "{}", first.said);
    third.ask("ip link set eth0 up; ip address add 10.55.0.250/24 dev eth0");
    assert!(third.ask(&format!("ping -c 2 -W 1 {at_first}")).contains(" 0 packets received"), "{}", third.said);
    // More than any buffer holds, both ways at once.
    first.send("iperf3 -s -1");
    first.wait_for("Server listening");
    let said = second.ask(&format!("iperf3 -c {at_first} -n 64M --bidir -f m | grep receiver"));
    assert_eq!(said.matches("receiver").count(), 3, "one is in the command: {said}");
    println!("{said}");
    first.wait_for("# ");

    let info = network(&home, "second");
    let isolated = &info["isolated"];
    assert_eq!(
        (&info["backend"], &isolated["network"], &isolated["cards"]),
        (&"switch".into(), &"lab".into(), &2.into())
    );
    assert_eq!((&isolated["dhcp"], &isolated["address"]), (&"10.55.0.0/24".into(), &at_second.clone().into()));
    let shown = home.done(&["info", "second"]);
    assert!(shown.contains(&format!("isolated network lab with 1 other card, {at_second}, link up")), "{shown}");
    assert_eq!(network(&home, "third")["isolated"]["cards"], 1);
    home.done(&["create", "fourth", "--memory", "16MiB", "--network", "isolated=lab,dhcp=10.56.0.0/24"]);
    let refused = home.refused(&["start", "fourth"]);
    assert!(refused.contains("lab has the addresses 10.55.0.0/24 already"), "{refused}");

    // It dies: the guests go on, and another one takes its place.
    let [switch] = &switches(&log(&home, "lab"))[..] else { panic!("not one switch") };
    let status = fs::read_to_string(format!("/proc/{switch}/status")).unwrap();
    assert!(status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nSeccomp:\t2\n"), "{status}");
    signal(switch, "KILL");
    home.wait_for("both to join again", || network(&home, "first")["isolated"]["cards"] == 2);
    let deadline = Instant::now() + PATIENCE;
    while !second.ask(&format!("ping -c 1 -W 1 {at_first}")).contains("1 packets received") {
        assert!(Instant::now() < deadline, "{}", second.said);
    }
    second.ask("ip address flush dev eth0");
    assert_eq!(lease(&mut second), at_second);

    // It goes with the last guest, however that goes.
    let logs = ["lab", "other"].map(|network| log(&home, network));
    signal(&home.worker("first"), "KILL");
    home.wait_for("the first one's port to go", || network(&home, "second")["isolated"]["cards"] == 1);
    home.done(&["destroy", "second", "third"]);
    home.wait_for("the switches to end", || logs.iter().all(|log| switches(log).is_empty()));
    home.done(&["start", "second"]);
    assert_eq!(network(&home, "second")["isolated"]["cards"], 1);
}
