//! Guests that boot from the network: SeaBIOS finds iPXE in the option ROM of the card that has a place in the boot order, in its
//! place, and enters it; iPXE gets addresses by DHCP and loads files over TFTP and HTTP, from libslirp, passt and a bridge.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use common::{
    home::Home,
    kvm,
    linux::succeed,
    namespace::{self, Server},
    protected_mode,
    wire::ip,
};

/// How long iPXE may take to unpack itself and to ask once more for what was lost, in an instruction emulator on a busy host.
const PATIENCE: Duration = Duration::from_secs(420);
const ROM: &str = "pxe-virtio.rom";
/// The web server's address, of the host alone.
const WEB: &str = "10.99.0.1:80";

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

/// A folder with the firmware's ROM that can run here, for `LODGE_FIRMWARE`: where a guest cannot take interrupts in the mode that iPXE is
/// in, a copy that waits without them.
fn firmware(home: &Home) -> PathBuf {
    let folder = home.path().join("firmware");
    fs::create_dir(&folder).unwrap();
    if !protected_mode::takes_interrupts(kvm::open().unwrap()) {
        let folders = ["/usr/lib/ipxe/qemu", "/usr/share/ipxe/qemu", "/usr/share/ipxe"];
        let rom = folders.iter().map(|folder| PathBuf::from(folder).join(ROM)).find(|path| path.is_file());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/ipxe.py");
        let command = &mut Command::new("/usr/bin/python3");
        succeed(command.arg(script).arg(rom.expect("iPXE is installed")).arg(folder.join(ROM)));
    }
    folder
}

/// Serves an empty page for every path, which comes through the channel.
fn serve_web() -> Receiver<String> {
    let listener = TcpListener::bind(WEB).unwrap();
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let head = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let head: Vec<_> = head.collect();
            let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
            // A guest may go in the middle of it, and the test may have what it wants.
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            drop(sender.send(path));
        }
    });
    requests
}

#[test]
fn ipxe_gets_addresses_and_loads_files_from_libslirp_passt_and_a_bridge() {
    if kvm::open().is_none() {
        return;
    }
    namespace::run(|| {
        for arguments in [
            "link add eth0 type veth peer name wire0",
            "link set wire0 up",
            "link set eth0 up",
            "address add 10.99.0.1/32 dev lo",
            "address add 10.79.0.2/24 dev eth0",
            "route add default via 10.79.0.1",
            "address add fd79::2/64 dev eth0 nodad",
            "-6 route add default via fd79::1",
            "link add br0 type bridge",
            "address add 10.77.0.1/24 dev br0",
            "link set br0 up",
        ] {
            ip(arguments, &[]);
        }
        let (home, requests) = (Home::default(), serve_web());
        let (leases, pid) = (home.file("leases", b""), home.path().join("udhcpd.pid"));
        let config = format!(
            "start 10.77.0.50\nend 10.77.0.50\ninterface br0\nlease_file {leases}\npidfile {}\n\
             option subnet 255.255.255.0\noption router 10.77.0.1\n",
            pid.display()
        );
        let config = home.file("udhcpd.conf", config.as_bytes());
        let _addresses = Server::start(Command::new("busybox").args(["udhcpd", "-f", &config]), "started");
        // The first card is told of this file, which comes over TFTP. iPXE numbers the cards as it likes.
        let steps = (0..3).map(|card| format!("ifclose\ndhcp net{card}\nimgfetch http://{WEB}/${{net{card}/ip}}\n"));
        home.file("boot.ipxe", format!("#!ipxe\n{}", steps.collect::<String>()).as_bytes());
        let first = format!("nat,backend=slirp,tftp={},bootfile=boot.ipxe", home.path().display());
        let cards = ["--network", &first, "--network", "nat,backend=passt", "--network", "bridge=br0"];
        home.done(&[&["create", "thin", "--memory", "64MiB"], &cards[..]].concat());
        let number = r#"awk '/^\[\[network/ { print; print "boot = " ++place; next } 1' "$1" >"$1.new" && mv "$1.new""#;
        assert!(home.command(&["edit", "thin"]).env("EDITOR", number).output().unwrap().status.success());

        let started = home.command(&["start", "thin"]).env("LODGE_FIRMWARE", firmware(&home)).output().unwrap();

        assert!(started.status.success(), "{started:?}");
        let next = || requests.recv_timeout(PATIENCE).expect("iPXE loads a file from each network");
        let loaded = BTreeSet::from([next(), next(), next()]);
        assert_eq!(loaded, ["/10.0.2.15", "/10.77.0.50", "/10.79.0.2"].map(String::from).into());
    });
}

#[test]
fn what_cannot_be_booted_from_is_said() {
    let home = Home::default();

    let nothing = home.refused(&["create", "a", "--network", "nat", "--boot", "network,cdrom"]);
    let passt = home.refused(&["create", "a", "--network", "nat,backend=passt,bootfile=a.ipxe", "--boot", "network"]);

    assert!(nothing.contains("there is no CD-ROM drive to boot from"), "{nothing}");
    assert!(passt.contains("passt offers guests nothing to boot"), "{passt}");
}
