"""What goes between a guest and the host over virtio-net, in a network namespace: by a TAP interface, by passt and by libslirp."""

import collections
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import time

import engines
import linux

ROUNDS = int(os.environ.get("LODGE_BENCH_ROUNDS", 3))
SECONDS = 3
TRIPS = 2000
IDLE_SECONDS = 20
# Until a card that has just come up asks for no router any more.
SETTLED = 13
TAP, SERVER = "tap0", "10.99.0.1"
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000


class Carrier:
    """Who carries a guest's frames: the network, the guest's address and its gateway, its longest packet, and whom to compare."""

    def __init__(self, name, network, address, gateway, mtu, names):
        self.name, self.network, self.names = name, network, names
        # Lodge's cards say how long their packets may be, and take no more.
        self.prepare = (f"ip link set eth0 mtu {mtu} 2>/dev/null; ip link set eth0 up; ip address add {address}/24 dev eth0; "
                        f"ip route add default via {gateway}; ping -c 1 {SERVER}")


CARRIERS = (
    Carrier("TAP", linux.Network(f"tap={TAP}", f"tap,ifname={TAP},script=no,downscript=no"), "10.77.0.2", "10.77.0.1", 1500,
            linux.NAMES),
    Carrier("passt", linux.Network("nat,backend=passt", "stream,server=off,addr.type=fd", passt=True), "10.79.0.2", "10.79.0.1",
            65520, linux.NAMES[:2]),
    Carrier("libslirp", linux.Network("nat,backend=slirp", "user"), "10.0.2.15", "10.0.2.2", 1500, linux.NAMES[:2]),
)

SMALL = 64
# What it is called, iperf3's options, the bytes of a packet where packets count.
WORK = (
    ("TCP out", "", None), ("TCP out, 4 streams", "-P 4", None), ("TCP in", "-R", None), ("TCP in, 4 streams", "-P 4 -R", None),
    ("UDP out", "-u -b 0 -l 1400", None), ("UDP in", "-u -b 0 -l 1400 -R", None),
    ("small packets out", f"-u -b 0 -l {SMALL}", SMALL), ("small packets in", f"-u -b 0 -l {SMALL} -R", SMALL),
)


def enter_namespace():
    """From here on this program, and all that it starts, has a network of its own, whose interface eth0 leads nowhere."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET | CLONE_NEWNS):
        raise SystemExit(f"No network namespace: {os.strerror(ctypes.get_errno())}. Run this as root")
    for command in (
        "mount --make-rprivate /", "mount -t sysfs sysfs /sys", "ip link set lo up", f"ip address add {SERVER}/32 dev lo",
        f"ip tuntap add dev {TAP} mode tap vnet_hdr", f"ip address add 10.77.0.1/24 dev {TAP}", f"ip link set {TAP} up",
        "ip link add eth0 type veth peer name wire0", "ip link set wire0 up", "ip link set eth0 up",
        "ip address add 10.79.0.2/24 dev eth0", "ip route add default via 10.79.0.1",
        "ip address add fd79::2/64 dev eth0 nodad", "ip -6 route add default via fd79::1",
    ):
        subprocess.run(command.split(), check=True)
    pathlib.Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")


def root_with_trip(folder):
    """The root file system with trip.c's program in it, which is built for that."""
    program, root = folder / "trip", folder / "network-root.ext4"
    subprocess.run(["cc", "-O2", "-static", "-o", program, pathlib.Path(__file__).with_name("trip.c")], check=True)
    shutil.copyfile(linux.root(folder), root)
    for change in (f"write {program} /usr/bin/trip", "set_inode_field /usr/bin/trip mode 0100755"):
        subprocess.run(["debugfs", "-w", "-R", change, root], check=True, stderr=subprocess.DEVNULL)
    return program, root


@contextlib.contextmanager
def servers(trip):
    """iperf3's server and trip's on the host."""
    iperf = subprocess.Popen(["iperf3", "-s", "-B", SERVER, "-i", "0", "--forceflush"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
    echo = subprocess.Popen([trip, "serve", "7"])
    try:
        while "listening" not in iperf.stdout.readline():
            pass
        yield
    finally:
        for process in (iperf, echo):
            process.send_signal(signal.SIGTERM)
            process.communicate()


def measure(guest, shell, options, packet):
    """Gbit a second and the milliseconds of processor time that a GiB costs; or thousands of packets and the microseconds of each."""
    pids = guest.pids
    before = sum(map(engines.cpu_seconds, pids))
    text = shell.run(f"iperf3 -c {SERVER} -t {SECONDS} {options} -f k")
    used = sum(map(engines.cpu_seconds, pids)) - before
    label = "SUM" if "-P" in options else r"\d+"
    found = re.search(rf"\[ *{label}\].* ([\d.]+) Kbits/sec.* receiver", text)
    if not found:
        raise ValueError(f"iperf3 {options} says: {text}")
    received = float(found[1]) * 1000 / 8
    if packet:
        return received / packet / 1000, 1e6 * used * packet / max(received * SECONDS, 1)
    return received * 8 / 1e9, 1000 * used * 2**30 / max(received * SECONDS, 1)


def round_trip(shell):
    """Microseconds, the median."""
    text = shell.run(f"trip {SERVER} 7 {TRIPS}")
    return float(re.search(r"median ([\d.]+) us", text)[1])


def idle(guest):
    """Milliseconds of processor time that a card costs which is up, beside those of the guest's CPU."""
    time.sleep(SETTLED)
    before = sum(map(engines.nanoseconds_outside_cpus, guest.pids))
    time.sleep(IDLE_SECONDS)
    return (sum(map(engines.nanoseconds_outside_cpus, guest.pids)) - before) / 1e6


def run(lodge):
    enter_namespace()
    trip, root = root_with_trip(lodge.folder)
    rows = []
    for carrier in CARRIERS:
        found = collections.defaultdict(list)
        for number in range(ROUNDS):
            makes = linux.engines_with(lodge, [(root, "writeback")], carrier.network)
            for name in carrier.names:
                with servers(trip), makes[name]() as guest, guest.shell() as shell:
                    shell.run(carrier.prepare)
                    if number == 0:
                        found["idle", name].append(idle(guest))
                    for work, options, packet in WORK:
                        found[work, name].append(measure(guest, shell, options, packet))
                    found["trip", name].append(round_trip(shell))
        rows += table(carrier, found)
    return rows


def table(carrier, found):
    """The rows of one carrier."""
    rows = []
    for work, _, packet in WORK:
        cells = []
        for name in carrier.names:
            rate, cost = map(statistics.median, zip(*found[work, name]))
            cells.append(f"{rate:.0f},000/s {cost:.1f} us" if packet else f"{rate:.2f} Gbit/s {cost:.0f} ms")
        of = f"packet of {packet} bytes" if packet else "GiB"
        rows.append(linux.row(f"{carrier.name}, {work}; CPU of a {of}", cells, "ahead", carrier.names))
    cells = [f"{statistics.median(found['trip', name]):.0f} us" for name in carrier.names]
    rows.append(linux.row(f"{carrier.name}, round trip over TCP", cells, "ahead", carrier.names))
    cells = [f"{found['idle', name][0]:.1f} ms" for name in carrier.names]
    rows.append(linux.row(f"{carrier.name}, CPU of an idle card in {IDLE_SECONDS} s", cells, "0", carrier.names))
    return rows
