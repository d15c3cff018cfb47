"""The processor time of a guest that has nothing to do: halted, the test card, whose clock ticks once a second, and Linux."""

import time

import engines
import linux

SECONDS = 20
SETTLED = 3


def load(pid):
    """What a process uses of a processor, in percent."""
    begin, before = time.monotonic(), engines.cpu_seconds(pid)
    time.sleep(SECONDS)
    return 100 * (engines.cpu_seconds(pid) - before) / (time.monotonic() - begin)


def run(lodge):
    disk = engines.halting_disk(lodge.folder)
    lodge.create("idle", 64, disk)
    lodge.first_byte("idle")
    ours = load(int((lodge.runtime(lodge.uuid("idle")) / "worker.pid").read_text()))
    lodge.stop("idle")
    with engines.qemu(disk, 64) as process:
        engines.qemu_says_something(process)
        theirs = load(process.pid)

    lodge.create("card", 64)
    lodge.first_byte("card")
    time.sleep(2)
    card = load(int((lodge.runtime(lodge.uuid("card")) / "worker.pid").read_text()))
    lodge.stop("card")
    cells = []
    for make in linux.engines_with(lodge, [(linux.root(lodge.folder), "writeback")]).values():
        with make() as guest, guest.shell():
            time.sleep(SETTLED)
            cells.append(f"{load(guest.pid):.2f} %")
    return [
        ("CPU of a halted guest", f"{ours:.2f} %", f"{theirs:.2f} % (QEMU)", "0"),
        ("CPU of the test card", f"{card:.2f} %", "-", "-"),
        linux.row("CPU of Linux at its prompt", cells, "ahead"),
    ]
