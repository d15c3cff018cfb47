"""iperf3 and ping between a guest and the host over virtio-net and a TAP interface, in a network namespace."""

import collections
import contextlib
import ctypes
import os
import re
import signal
import statistics
import subprocess

import engines
import linux

ROUNDS = 3
SECONDS = 3
PINGS = 300
TAP, HOST, GUEST = "tap0", "10.77.0.1", "10.77.0.2"
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
# What it is called, how many streams, iperf3's option.
WORK = (("out", 1, ""), ("out", 4, ""), ("in", 1, "-R"), ("in", 4, "-R"))


def enter_namespace():
    """From here on this program, and all that it starts, has a network of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET | CLONE_NEWNS):
        raise SystemExit(f"No network namespace: {os.strerror(ctypes.get_errno())}. Run this as root")
    for command in (
        "mount --make-rprivate /", "mount -t sysfs sysfs /sys", "ip link set lo up",
        f"ip tuntap add dev {TAP} mode tap vnet_hdr", f"ip address add {HOST}/24 dev {TAP}", f"ip link set {TAP} up",
    ):
        subprocess.run(command.split(), check=True)


@contextlib.contextmanager
def server():
    """iperf3's server on the host."""
    process = subprocess.Popen(["iperf3", "-s", "--forceflush"], stdout=subprocess.PIPE, text=True)
    try:
        while "listening" not in process.stdout.readline():
            pass
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def measure(guest, shell, streams, option):
    """Gbit a second, and milliseconds of processor time that a GiB costs the host."""
    before = engines.cpu_seconds(guest.pid)
    text = shell.run(f"iperf3 -c {HOST} -t {SECONDS} -P {streams} {option} -f m")
    used = engines.cpu_seconds(guest.pid) - before
    label = "SUM" if streams > 1 else r"\d+"
    rate = float(re.search(rf"\[ *{label}\].* ([\d.]+) Mbits/sec +receiver", text)[1])
    return rate / 1000, 1000 * used / (rate * 1e6 / 8 * SECONDS / 2**30)


def round_trip(shell):
    """Microseconds, on average."""
    text = shell.run(f"ping -c {PINGS} -i 0.01 -q {HOST}")
    return 1000 * float(re.search(r"min/avg/max = [\d.]+/([\d.]+)/", text)[1])


def run(lodge):
    enter_namespace()
    root = linux.root(lodge.folder)
    found, trips = collections.defaultdict(list), collections.defaultdict(list)
    for _ in range(ROUNDS):
        for name, make in linux.engines_with(lodge, [(root, "writeback")], TAP).items():
            with server(), make() as guest, guest.shell() as shell:
                shell.run(f"ip address add {GUEST}/24 dev eth0; ip link set eth0 up; ping -c 1 {HOST}")
                for work, streams, option in WORK:
                    found[work, streams, name].append(measure(guest, shell, streams, option))
                trips[name].append(round_trip(shell))
    rows = []
    for work, streams, _ in WORK:
        cells = []
        for name in linux.NAMES:
            rates, costs = zip(*found[work, streams, name])
            cells.append(f"{statistics.median(rates):.2f} Gbit/s {statistics.median(costs):.0f} ms")
        rows.append(linux.row(f"iperf3 {work}, streams: {streams}; CPU of a GiB", cells, "ahead"))
    cells = [f"{statistics.median(trips[name]):.0f} us" for name in linux.NAMES]
    return [*rows, linux.row("round trip", cells, "ahead")]
