"""Lodge's and QEMU's guests as the benchmarks need them: the same disk, the same memory, no network."""

import contextlib
import os
import pathlib
import select
import signal
import socket
import subprocess
import time

PATIENCE = 120.0
CLOCK_TICK = os.sysconf("SC_CLK_TCK")

# A boot sector that says one byte at the serial port and halts for good:
# mov dx, 0x3f8; mov al, '!'; out dx, al; cli; hlt; jmp $-1
HALT = bytes([0xBA, 0xF8, 0x03, 0xB0, 0x21, 0xEE, 0xFA, 0xF4, 0xEB, 0xFD])
# SeaBIOS boots from no disk of less than a cylinder.
DISK_SIZE = 1 << 20


def wait_for(what, condition, interval=0.001):
    """The first true value of `condition()`."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(interval)
    return value


def cpu_seconds(pid):
    """The processor time that a process has used, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICK


def nanoseconds_outside_cpus(pid):
    """The processor time that a process has used in threads that are no guest's CPU."""
    total = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (thread / "comm").read_text().strip()
        if not (name.startswith("vcpu") or name.endswith("/KVM")):
            total += int((thread / "schedstat").read_text().split()[0])
    return total


def with_descendants(is_wanted):
    """The processes whose folder in /proc is a wanted one, and all that come from them."""
    parents, found = {}, set()
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        # It may end meanwhile, or be the kernel's.
        with contextlib.suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if is_wanted(path):
                found.add(int(path.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def private_memory(pid, guest_memory):
    """What a process has for itself, in bytes, without the mappings whose name or size is the guest's memory."""
    total, counted = 0, True
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, value = line.partition(":")
        if "-" in key.split(" ")[0]:
            counted = not guest_memory(line)
        elif counted and key in ("Private_Clean", "Private_Dirty"):
            total += int(value.split()[0]) * 1024
    return total


def halting_disk(folder):
    """A disk that boots into HALT."""
    path = folder / "halt.raw"
    if not path.exists():
        sector = HALT.ljust(510, b"\0") + b"\x55\xaa"
        path.write_bytes(sector.ljust(DISK_SIZE, b"\0"))
    return path


class Lodge:
    """Lodge in folders of its own, driven by lodgectl."""

    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder
        self.environment = dict(os.environ)
        for variable, name in {
            "HOME": "home",
            "XDG_DATA_HOME": "data",
            "XDG_CONFIG_HOME": "config",
            "XDG_CACHE_HOME": "cache",
            "XDG_STATE_HOME": "state",
            "XDG_RUNTIME_DIR": "run",
        }.items():
            (folder / name).mkdir(mode=0o700)
            self.environment[variable] = str(folder / name)
        self.guests = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.guests:
            self.ctl("destroy", *self.guests, check=False)

    def ctl(self, *arguments, check=True):
        return subprocess.run(
            [self.programs / "lodgectl", *arguments],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=check,
        ).stdout

    def create(self, name, memory, disk=None):
        """Makes a guest of `memory` MiB that boots `disk`, or the test card."""
        medium = ["--disk", str(disk)] if disk else ["--testcard"]
        self.ctl("create", name, "--memory", f"{memory}MiB", "--vcpus", "1", *medium)
        self.guests.append(name)

    def uuid(self, name):
        return next(line.split()[1] for line in self.ctl("info", name).splitlines() if line.startswith("UUID"))

    def runtime(self, uuid):
        return self.folder / "run" / "lodge" / uuid

    def start(self, name):
        self.ctl("start", name)
        return int((self.runtime(self.uuid(name)) / "worker.pid").read_text())

    def stop(self, name):
        self.ctl("destroy", name)

    def first_byte(self, name):
        """Starts a guest; returns after how many seconds its first serial byte is there."""
        path = str(self.runtime(self.uuid(name)) / "serial.sock")
        begin = time.monotonic()
        starter = subprocess.Popen(
            [self.programs / "lodgectl", "start", name],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
        with socket.socket(socket.AF_UNIX) as serial:
            wait_for("the serial port", lambda: serial.connect_ex(path) == 0)
            serial.settimeout(PATIENCE)
            serial.recv(1)
            taken = time.monotonic() - begin
        starter.wait()
        return taken


@contextlib.contextmanager
def qemu(disk, memory):
    """QEMU with the same guest: its process, whose standard output is the serial port."""
    process = subprocess.Popen(
        [
            "qemu-system-x86_64", "-accel", "kvm", "-M", "pc,memory-backend=ram", "-cpu", "host,-arch-capabilities",
            "-m", str(memory), "-object", f"memory-backend-memfd,id=ram,size={memory}M",
            "-nodefaults", "-vga", "std", "-display", "none", "-serial", "stdio",
            "-drive", f"file={disk},format=raw,if=virtio,readonly=on",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def qemu_says_something(process):
    """Waits for QEMU's guest's first serial byte."""
    if not select.select([process.stdout], [], [], PATIENCE)[0] or not process.stdout.read1(1):
        raise TimeoutError("QEMU's guest says nothing")
