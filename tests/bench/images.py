"""Disk images beside qemu-img, and a running guest's state beside QEMU's migration to a file; in one run, with the same files."""

import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import time

import engines
import linux

ROUNDS = 5
# Half of a disk of this size is full of random bytes, the rest are holes.
SIZE = 2 << 30
STEP = 64 << 20


def half_full(folder):
    """A sparse raw image."""
    path = folder / "half.raw"
    if not path.exists():
        with open(path, "wb") as file:
            for offset in range(0, SIZE, 2 * STEP):
                file.seek(offset)
                file.write(os.urandom(STEP))
            file.truncate(SIZE)
    return path


def timed(command, environment=None):
    """Seconds that a command takes."""
    begin = time.monotonic()
    subprocess.run([*map(str, command)], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def compare(what, ours, theirs, promise="ahead", prepare=lambda: None):
    """A row: `ours` and `theirs` in turn, each after `prepare`."""
    times = ([], [])
    for _ in range(ROUNDS):
        for run, found in zip((ours, theirs), times):
            prepare()
            found.append(run())
    ours, theirs = (f"{statistics.median(found):.2f} s" for found in times)
    return what, ours, f"{theirs} (QEMU)", promise


def run(lodge):
    folder = lodge.folder / "images"
    folder.mkdir()
    raw, qcow2 = half_full(folder), folder / "half.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True)
    new = folder / "new"

    def prepare():
        new.unlink(missing_ok=True)
        os.sync()

    def ctl(*arguments):
        return lambda: timed([lodge.programs / "lodgectl", *arguments], lodge.environment)

    def qemu_img(*arguments):
        return lambda: timed(["qemu-img", *arguments])

    # Each ends with what it wrote on the medium.
    convert = ["convert", "-f", "raw", "-O", "qcow2", "-t", "writeback"]
    rows = [
        compare("create a qcow2 image of 1 TiB", ctl("disk", "create", new, "--size", "1TiB"),
                qemu_img("create", "-q", "-f", "qcow2", new, "1T"), prepare=prepare),
        compare("convert 2 GiB, half full, raw to qcow2", ctl("disk", "convert", raw, new, "--format", "qcow2", "--from-format", "raw"),
                qemu_img(*convert, raw, new), prepare=prepare),
        compare("convert 2 GiB, half full, qcow2 to raw",
                ctl("disk", "convert", qcow2, new, "--format", "raw", "--from-format", "qcow2"),
                qemu_img("convert", "-f", "qcow2", "-O", "raw", "-t", "writeback", qcow2, new), prepare=prepare),
        compare("check this qcow2 image", ctl("disk", "check", qcow2, "--format", "qcow2"),
                qemu_img("check", "-q", "-f", "qcow2", qcow2)),
        clone(lodge, qcow2, new, prepare),
        snapshot(lodge, qcow2, new, prepare),
    ]
    return [*rows, *state(lodge)]


def clone(lodge, qcow2, new, prepare):
    """A full copy of a guest with this disk; QEMU's has no guest, so only the disk is copied."""
    lodge.ctl("create", "original", "--memory", "64MiB", "--disk", f"{qcow2}")

    def ours():
        taken = timed([lodge.programs / "lodgectl", "clone", "original", "copy"], lodge.environment)
        lodge.ctl("delete", "copy", "--disks", "--now")
        return taken

    theirs = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-t", "writeback", qcow2, new]
    return compare("clone a guest with this disk", ours, lambda: timed(theirs), prepare=prepare)


def snapshot(lodge, qcow2, new, prepare):
    """A snapshot of a guest that is off and the way back to it; QEMU's is an internal one."""
    disk = qcow2.with_name("snapshots.qcow2")
    shutil.copyfile(qcow2, disk)
    theirs_disk = qcow2.with_name("internal.qcow2")
    shutil.copyfile(qcow2, theirs_disk)
    lodge.ctl("create", "kept", "--memory", "64MiB", "--disk", f"{disk}")
    names = iter(f"s{number}" for number in range(100))

    def ours():
        name = next(names)
        ctl = [lodge.programs / "lodgectl", "snapshot"]
        return (timed([*ctl, "create", "kept", name], lodge.environment)
                + timed([*ctl, "revert", "kept", name], lodge.environment))

    def theirs():
        name = next(names)
        return timed(["qemu-img", "snapshot", "-c", name, theirs_disk]) + timed(["qemu-img", "snapshot", "-a", name, theirs_disk])

    return compare("snapshot of a guest that is off, and back", ours, theirs, prepare=prepare)


class Monitor:
    """A QMP connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        engines.wait_for("QMP", lambda: self.socket.connect_ex(str(path)) == 0)
        self.lines = self.socket.makefile("rw")
        self.lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self.lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.lines.flush()
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]


def fill(shell):
    """Has a guest use most of its memory, for random bytes."""
    shell.run(f"mount -o remount,size=90% /tmp; head -c {linux.MEMORY * 3 // 4}m /dev/urandom >/tmp/fill")


def state(lodge):
    """A running guest's state, with its memory, into a file and back: seconds for a GiB of memory in use."""
    gib = linux.MEMORY * 3 / 4 / 1024
    root = linux.root(lodge.folder)
    ours, theirs = ([], []), ([], [])
    for _ in range(ROUNDS):
        with linux.LodgeGuest(lodge, [(root, "writeback")]) as guest, guest.shell() as shell:
            fill(shell)
            os.sync()
            ours[0].append(timed([lodge.programs / "lodgectl", "save", guest.guest], lodge.environment) / gib)
            ours[1].append(timed([lodge.programs / "lodgectl", "start", guest.guest], lodge.environment) / gib)
        saved, socket_path = lodge.folder / "qemu.state", lodge.folder / "qmp.sock"
        guest = linux.QemuGuest("pc", lodge.folder, [(root, "writeback")])
        guest.command += ["-qmp", f"unix:{socket_path},server=on,wait=off"]
        with guest, guest.shell() as shell:
            fill(shell)
            os.sync()
            monitor = Monitor(socket_path)
            monitor.execute("stop")
            begin = time.monotonic()
            monitor.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
            monitor.execute("migrate", uri=f"exec:dd of={saved} bs=1M conv=fsync 2>/dev/null")
            engines.wait_for("the state", lambda: monitor.execute("query-migrate").get("status") == "completed", 0.01)
            theirs[0].append((time.monotonic() - begin) / gib)
        guest.command += ["-incoming", f"exec:cat {saved}"]
        with guest:
            monitor = Monitor(socket_path)
            engines.wait_for("the state", lambda: monitor.execute("query-status")["status"] != "inmigrate", 0.01)
            monitor.execute("cont")
            theirs[1].append((time.monotonic() - guest.begin) / gib)
        pathlib.Path(saved).unlink()
    rows = []
    for what, us, them in zip(("save a running guest", "go on from a saved state"), ours, theirs):
        cells = (f"{statistics.median(times):.2f} s/GiB" for times in (us, them))
        rows.append((f"{what}, memory full of random bytes", next(cells), f"{next(cells)} (QEMU -M pc)", "ahead"))
    return rows
