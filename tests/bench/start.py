"""From the start to the guest's first serial byte, which its boot sector says after SeaBIOS; and to Linux's user space."""

import statistics
import time

import engines
import linux

ROUNDS = 7


def run(lodge):
    return [first_byte(lodge), *user_space(lodge)]


def first_byte(lodge):
    disk = engines.halting_disk(lodge.folder)
    lodge.create("start", 64, disk)
    ours, theirs = [], []
    for _ in range(ROUNDS):  # in turn, so that what else the machine does meets both
        ours.append(lodge.first_byte("start"))
        lodge.stop("start")
        begin = time.monotonic()
        with engines.qemu(disk, 64) as process:
            engines.qemu_says_something(process)
            theirs.append(time.monotonic() - begin)
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    return "start to first serial byte", f"{ours:.2f} s", f"{theirs:.2f} s (QEMU -M pc)", "a tenth"


def user_space(lodge):
    """Linux, started directly: with all that a new guest has, and with its disk only, as microvm."""
    disks = [(linux.root(lodge.folder), "writeback")]
    guests = linux.engines_with(lodge, disks)
    guests["bare"] = lambda: linux.LodgeGuest(lodge, disks, bare=True)
    taken = {name: [] for name in guests}
    for _ in range(ROUNDS):
        for name, make in guests.items():
            with make() as guest, guest.shell() as shell:
                taken[name].append(shell.up - guest.begin)
    medians = {name: f"{statistics.median(times):.2f} s" for name, times in taken.items()}
    ours, microvm, pc = (medians[name] for name in linux.NAMES)
    return [
        linux.row("start to Linux's user space, all devices", [ours, microvm, pc], "ahead"),
        linux.row("start to Linux's user space, a disk only", [medians["bare"], microvm, pc], "ahead"),
    ]
