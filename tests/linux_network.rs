//! Linux's network over a virtio card or an e1000 and a TAP interface of the host: an address by DHCP, TCP both ways, every offload on and
//! off, several queues, a cable that is pulled out.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use common::{
    linux::{self, Linux},
    namespace::{self, Server, TAP},
};
use lodge::vmm::{
    machine::{Connection, NetworkConfig, NetworkModel},
    net::card::NetHandle,
};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x99];

/// How a guest gets its address, and what it then does with a card.
const BEGINNING: &str = r#"
mac=$(cat /sys/class/net/eth0/address)
ip link set eth0 up
cat >lease <<'EOF'
#!/bin/sh
[ "$1" != bound ] || { ip address add $ip/$mask dev eth0; ip route add default via $router; echo "lease $ip/$mask via $router"; }
EOF
chmod +x lease
udhcpc -i eth0 -n -q -t 20 -T 1 -s ./lease
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip address add fd77::2/64 dev eth0
echo "mac $mac"
ping -c 3 -i 0.1 10.77.0.1

noise() {
    head -c $2 /dev/urandom >noise.out
    nc 10.77.0.1 7 <noise.out >noise.in
    cmp noise.out noise.in
    echo "$1: noise came back"
}
# $1 says what it is; $2 is how much.
streams() {
    iperf -c 10.77.0.1 -n $2 -f k | grep receiver | sed "s/^/$1 out:/"
    iperf -c 10.77.0.1 -n $2 -f k -R | grep receiver | sed "s/^/$1 in:/"
    iperf -c fd77::1 -n $2 -f k | grep receiver | sed "s/^/$1 out6:/"
    iperf -c fd77::1 -n $2 -f k -R | grep receiver | sed "s/^/$1 in6:/"
}
noise offloaded 16m
streams offloaded $LONG
"#;

/// What a guest with a virtio card does then.
const VIRTIO: &str = r#"
./card eth0 queues 2
iperf -c 10.77.0.1 -n 64M -P 8 -f k | grep SUM.*receiver | sed "s/^/several out:/"
iperf -c 10.77.0.1 -n 64M -P 8 -f k -R | grep SUM.*receiver | sed "s/^/several in:/"
grep "virtio.*put" /proc/interrupts
./card eth0 queues 1

for feature in rx-gro-hw tx-tcp-segmentation tx-tcp6-segmentation tx-checksum-ip-generic; do
    ./card eth0 $feature off
done
noise plain 4m
streams plain $SHORT
for feature in tx-checksum-ip-generic tx-tcp-segmentation tx-tcp6-segmentation rx-gro-hw; do
    ./card eth0 $feature on
done
streams again $MIDDLE
"#;

/// What a guest with an e1000 does instead.
const E1000: &str = r#"
for feature in rx-checksum tx-tcp-segmentation tx-checksum-ip-generic; do ./card eth0 $feature off; done
noise plain 4m
streams plain $SHORT
for feature in tx-checksum-ip-generic tx-tcp-segmentation rx-checksum; do ./card eth0 $feature on; done
streams again $MIDDLE
grep "IO-APIC.*eth0" /proc/interrupts
"#;

/// The end. What the guest waits for comes over its serial port.
const END: &str = r#"
ip link set eth0 address 52:54:00:12:34:99
echo "plug the cable out"
until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do usleep 10000; done
! ping -c 1 -W 1 10.77.0.1 >/dev/null
echo "the cable is out"
until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 10000; done
# Linux opens its queue soon after that, not at once.
until ping -c 1 -W 1 10.77.0.1 >/dev/null; do usleep 10000; done
ping -c 3 -i 0.1 10.77.0.1

grep -H . /sys/class/net/eth0/statistics/[rt]x_bytes
"#;

/// A server that gives back everything it gets, as soon as it has all of it.
fn serve_echo() {
    let listener = TcpListener::bind("10.77.0.1:7").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let (mut stream, mut all) = (stream.unwrap(), Vec::new());
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
    });
}

fn serve_addresses(folder: &Path) -> Server {
    let (config, leases, pid) = (folder.join("udhcpd.conf"), folder.join("leases"), folder.join("udhcpd.pid"));
    std::fs::write(&leases, "").unwrap();
    let text = format!(
        "start 10.77.0.50\nend 10.77.0.60\ninterface {TAP}\nlease_file {}\npidfile {}\noption subnet 255.255.255.0\n\
         option router 10.77.0.1\nstatic_lease 52:54:00:12:34:56 10.77.0.55\n",
        leases.display(),
        pid.display()
    );
    std::fs::write(&config, text).unwrap();
    Server::start(Command::new("busybox").args(["udhcpd", "-f"]).arg(config), "started")
}

/// Runs a guest with a card of this model at a TAP interface with so many queues. It gets an address, talks to the host with all
/// offloads, then does what `script` says, and at last has its cable pulled out for a while. Each time it sends and receives so many
/// MiB: with offloads, without, with them again. Returns what it has said, and its card.
fn run(model: NetworkModel, queues: usize, amounts: [u32; 3], script: &str) -> Option<(String, NetHandle)> {
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let taps = namespace::tap(queues, &["10.77.0.1/24", "fd77::1/64"]);
    serve_echo();
    let _addresses = serve_addresses(folder.path());
    let _iperf = Server::start(Command::new("iperf3").args(["-s", "--forceflush"]), "Server listening");
    let [long, short, middle] = amounts;
    let amounts_line = format!("LONG={long}M; SHORT={short}M; MIDDLE={middle}M");
    let script = [&amounts_line, "\n", linux::IPERF, BEGINNING, script, END].concat();
    let guest = Linux::run(&script, &["card"], |config| {
        let network = NetworkConfig::new("net0", MAC, Connection::Tap(taps));
        config.peripherals.networks = vec![NetworkConfig { model, ..network }];
    })?;
    let card = guest.guest.machine.networks().remove(0).card;
    assert_eq!(card.mac(), MAC);
    guest.wait_for("plug the cable out");
    assert_eq!(card.mac(), OTHER_MAC);
    card.set_link(false);
    guest.wait_for("the cable is out");
    card.set_link(true);

    let text = guest.run_to_end();
    linux::assert_clean(&text);
    let found = |wanted: &str| text.lines().any(|line| line.trim() == wanted);
    assert!(found("lease 10.77.0.55/24 via 10.77.0.1") && found("mac 52:54:00:12:34:56"), "{text}");
    assert_eq!(text.matches("3 packets transmitted, 3 packets received").count(), 2, "{text}");
    assert!(found("offloaded: noise came back") && found("plain: noise came back"), "{text}");
    for (label, sent) in ["offloaded", "plain", "again"].into_iter().zip(amounts) {
        for direction in ["out", "in", "out6", "in6"] {
            assert_received(&text, &format!("{label} {direction}:"), sent.into());
        }
    }
    Some((text, card))
}

/// Asserts that card and driver have counted the same, up to what was sent without the cable or came after the driver's last look.
fn assert_counted(text: &str, counter: &AtomicU64, label: &str) {
    let (counted, seen) = (counter.load(Ordering::Relaxed), number(text.split_once(label).unwrap().1));
    assert!(seen.abs_diff(counted) < 65_536, "{counted} bytes, of which the driver saw {seen}");
}

#[test]
fn a_guest_gets_an_address_and_talks_to_the_host_over_every_kind_of_queue_and_offload() {
    namespace::run(|| {
        let Some((text, card)) = run(NetworkModel::Virtio, 2, [128, 16, 64], VIRTIO) else { return };

        for direction in ["out", "in"] {
            assert_received(&text, &format!("several {direction}:"), 64.0);
        }
        // Both pairs of queues have been used, each with its own vector.
        for queue in ["input.0", "output.0", "input.1", "output.1"] {
            let line = text.lines().find(|line| line.contains("PCI-MSIX") && line.trim_end().ends_with(queue));
            let line = line.unwrap_or_else(|| panic!("no interrupt for {queue}: {text}"));
            assert!(number(line.split_once(':').unwrap().1) > 0, "{line}");
        }
        assert_counted(&text, &card.statistics().received_bytes, "rx_bytes:");
        assert_counted(&text, &card.statistics().sent_bytes, "tx_bytes:");
    });
}

#[test]
fn a_guest_without_virtio_drivers_does_the_same_over_an_e1000() {
    namespace::run(|| {
        let Some((text, card)) = run(NetworkModel::E1000, 1, [32, 4, 16], E1000) else { return };

        assert!(text.contains("Intel(R) PRO/1000 Network Connection"), "{text}");
        // What it sends is counted after its division by the driver, and before by the card.
        assert_counted(&text, &card.statistics().received_bytes, "rx_bytes:");
    });
}

/// The number with which `text` begins.
fn number(text: &str) -> u64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Asserts that most of `sent` MiB have come through the stream with this label, of which iperf3 says
/// `[  5]   0.00-0.16   sec   126 MBytes  6465027 Kbits/sec`. What is on its way when the sender has done is not counted.
fn assert_received(text: &str, label: &str, sent: f64) {
    let line = text.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("no {label} {text}"));
    let received: f64 = line.split("sec").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(line.contains("MBytes") && received > sent / 4.0, "{line}");
}
