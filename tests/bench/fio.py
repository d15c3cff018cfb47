"""fio in the guest, on raw and qcow2 disks in the host's file system."""

import collections
import os
import statistics
import subprocess

import engines
import linux

ROUNDS = int(os.environ.get("LODGE_BENCH_ROUNDS", 3))
SECONDS = 2
CACHES = ("none", "writeback")
# What is done, how much at once, how many requests at a time.
WORK = (
    ("randread", "4k", 1), ("randread", "4k", 32), ("randwrite", "4k", 1), ("randwrite", "4k", 32),
    ("read", "1M", 4), ("write", "1M", 4),
)


def measure(guest, shell, work, size, depth):
    """Operations a second, and microseconds of processor time that each costs the host."""
    before = engines.cpu_seconds(guest.pid)
    line = shell.run(
        f"fio --name=x --filename=/dev/vdb --direct=1 --ioengine=libaio --rw={work} --bs={size} --iodepth={depth} "
        f"--runtime={SECONDS} --time_based --minimal 2>/dev/null"
    )
    used = engines.cpu_seconds(guest.pid) - before
    fields = next(line for line in line.splitlines() if line.startswith("3;")).split(";")
    # Version 3 of fio's terse output: kilobytes, their rate, operations a second, milliseconds; for reads, then for writes.
    kilobytes, _, rate, _ = map(int, fields[5:9] if "read" in work else fields[46:50])
    operations = kilobytes / (4 if size == "4k" else 1024)
    return rate, 1e6 * used / max(operations, 1)


def prepare(data):
    """Writes what is to be written, and has the page cache hold all of the disk, whoever comes next."""
    os.sync()
    with open(data, "rb") as file:
        while file.read(1 << 20):
            pass


def run(lodge):
    data = linux.data(lodge.folder)
    return compare(lodge, "", linux.NAMES, lambda: data)


def run_qcow2(lodge):
    """qcow2 images: without anything in them, full, and over a full backing file. microvm's figures would be those of raw disks."""
    rows = []
    for label in ("fresh", "full", "backed"):
        rows += compare(lodge, f"{label} qcow2, ", (linux.NAMES[0], linux.NAMES[2]), lambda: image(lodge.folder, label))
    return rows


def image(folder, kind):
    """A new qcow2 image, the size of the raw one."""
    path = folder / f"{kind}.qcow2"
    path.unlink(missing_ok=True)
    raw = linux.data(folder)
    if kind == "full":
        command = ["convert", "-f", "raw", "-O", "qcow2", raw, path]
    elif kind == "backed":
        command = ["create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", path]
    else:
        command = ["create", "-q", "-f", "qcow2", path, str(linux.DATA)]
    subprocess.run(["qemu-img", *map(str, command)], check=True)
    return path


def compare(lodge, label, names, make_disk):
    """Rows for the guests of these names, with the disk that `make_disk` returns for each of their runs."""
    root = linux.root(lodge.folder)
    found = collections.defaultdict(list)
    for cache in CACHES:
        for _ in range(ROUNDS):
            for name in names:
                disk = make_disk()
                prepare(disk)
                make = linux.engines_with(lodge, [(root, "writeback"), (disk, cache)])[name]
                with make() as guest, guest.shell() as shell:
                    for work, size, depth in WORK:
                        found[cache, work, size, depth, name].append(measure(guest, shell, work, size, depth))
    rows = []
    for cache in CACHES:
        for work, size, depth in WORK:
            cells = []
            for name in names:
                rates, costs = zip(*found[cache, work, size, depth, name])
                cells.append(f"{statistics.median(rates):,.0f}/s {statistics.median(costs):.1f} us")
            what = f"{label}{work} {size} depth {depth}, cache {cache}: operations, CPU of each"
            rows.append(linux.row(what, cells, "ahead", names))
    return rows
