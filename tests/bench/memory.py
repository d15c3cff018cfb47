"""Private memory beyond the guest's own RAM, of a guest that has halted after its boot."""

import engines


def is_guest_ram(line):
    """Lodge's mapping of guest RAM has no name, but nothing else is as large as the smallest guest here."""
    begin, end = (int(address, 16) for address in line.split()[0].split("-"))
    return end - begin >= 64 << 20


def run(lodge):
    disk = engines.halting_disk(lodge.folder)
    rows = []
    for size, label in ((64, "64 MiB"), (4096, "4 GiB")):
        name = f"memory-{size}"
        lodge.create(name, size, disk)
        lodge.first_byte(name)
        pid = int((lodge.runtime(lodge.uuid(name)) / "worker.pid").read_text())
        ours = engines.private_memory(pid, is_guest_ram)
        lodge.stop(name)
        with engines.qemu(disk, size) as process:
            engines.qemu_says_something(process)
            theirs = engines.private_memory(process.pid, lambda line: "memfd:memory-backend" in line)
        rows.append((
            f"memory beyond the RAM, {label}", f"{ours / 2**20:.1f} MiB", f"{theirs / 2**20:.1f} MiB (QEMU)", "5 MiB",
        ))
    return rows
