"""fio in the guest, on a raw disk of the host's file system."""

import collections
import os
import statistics

import engines
import linux

ROUNDS = 3
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
    root, data = linux.root(lodge.folder), linux.data(lodge.folder)
    found = collections.defaultdict(list)
    for cache in CACHES:
        for _ in range(ROUNDS):
            for name, make in zip(linux.NAMES, linux.engines_with(lodge, [(root, "writeback"), (data, cache)])):
                prepare(data)
                with make() as guest, guest.shell() as shell:
                    for work, size, depth in WORK:
                        found[cache, work, size, depth, name].append(measure(guest, shell, work, size, depth))
    rows = []
    for cache in CACHES:
        for work, size, depth in WORK:
            cells = []
            for name in linux.NAMES:
                rates, costs = zip(*found[cache, work, size, depth, name])
                cells.append(f"{statistics.median(rates):,.0f}/s {statistics.median(costs):.1f} us")
            rows.append(linux.row(f"{work} {size} depth {depth}, cache {cache}: operations, CPU of each", cells, "ahead"))
    return rows
