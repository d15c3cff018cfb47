"""The native test kernel (tests/guest/) in Lodge's and in QEMU's guests: the same kernel, the same files, the same commands."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import engines

# Bytes of the disk that fio works on.
DATA = 1 << 30
MEMORY = 512
PROMPT = "# "


def kernel():
    """The folder with the kernel and its root file system, which tests/run.sh builds."""
    cache = os.environ.get("LODGE_TEST_CACHE") or pathlib.Path(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lodge-test"
    folder = pathlib.Path(cache) / "guest-kernel"
    if not (folder / "vmlinux").exists():
        raise SystemExit(f"{folder}/vmlinux is missing. Run: bash tests/run.sh linux")
    return folder


class Shell:
    """A guest's shell on its serial port."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        engines.wait_for("the serial port", lambda: self.socket.connect_ex(str(path)) == 0)
        self.socket.settimeout(engines.PATIENCE)
        self.text = ""
        self.commands = 0

    def __enter__(self):
        """Waits for the user space; returns when it takes commands."""
        self.wait_for("GUEST-UP")
        self.up = time.monotonic()
        self.wait_for(PROMPT)
        # No echo, and no shell that edits its lines. The echo of this has no number behind "ready".
        self.socket.sendall(b"stty -echo; echo ready$((0)); while read -r line; do eval \"$line\"; done\n")
        self.wait_for("ready0")
        return self

    def __exit__(self, *_):
        self.socket.close()

    def wait_for(self, wanted):
        """What the guest says up to `wanted`."""
        while wanted not in self.text:
            if not (data := self.socket.recv(1 << 16)):
                raise EOFError(f"the guest ended while {wanted!r} was waited for: {self.text[-1000:]}")
            self.text += data.decode(errors="replace")
        before, _, self.text = self.text.partition(wanted)
        return before

    def run(self, command):
        """The output of a command."""
        self.commands += 1
        self.socket.sendall(f"{command}; echo end-{self.commands}-\n".encode())
        return self.wait_for(f"end-{self.commands}-")


class Network:
    """What a guest's network card is connected to: as `lodgectl` and as QEMU's `-netdev` say it. Behind a `passt` QEMU's guest gets one
    end of a stream, whose other end is passt's."""

    def __init__(self, lodge, qemu, passt=False):
        self.lodge, self.qemu, self.passt = lodge, qemu, passt


class LodgeGuest:
    """A Linux guest of Lodge's. `disks` are (path, cache mode), in the format that the path's suffix says; a `bare` one has what
    can't be left out."""

    def __init__(self, lodge, disks, network=None, command_line="", bare=False):
        self.lodge, self.guest = lodge, f"linux{len(lodge.guests)}"
        folder = kernel()
        arguments = ["--memory", f"{MEMORY}MiB", "--vcpus", "1", "--kernel", folder / "vmlinux"]
        arguments += ["--cmdline", f"console=ttyS0 quiet root=/dev/vda rw init=/init {command_line}"]
        for path, cache in disks:
            arguments += ["--disk", f"{path},cache={cache}"]
        if bare:
            arguments += ["--without", "balloon,rng,tablet,console,agent"]
        else:
            arguments += ["--network", network.lodge if network else "none"]
        lodge.ctl("create", self.guest, *map(str, arguments))
        lodge.guests.append(self.guest)
        self.name_base(disks[-1][0])
        self.serial = lodge.runtime(lodge.uuid(self.guest)) / "serial.sock"

    def name_base(self, disk):
        """Names the raw image that the last disk is based on: no other is opened. The last [[disk]] of the definition is its."""
        base = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", disk])).get("full-backing-filename")
        if base:
            path = pathlib.Path(self.lodge.environment["XDG_DATA_HOME"], "lodge/guests", self.guest, "guest.toml")
            with open(path, "a") as file:
                file.write(f'\n[[disk.backing]]\npath = "{base}"\nformat = "raw"\n')

    def __enter__(self):
        self.begin = time.monotonic()
        self.starter = subprocess.Popen(
            [self.lodge.programs / "lodgectl", "start", self.guest], env=self.lodge.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL)
        return self

    def shell(self):
        return Shell(self.serial)

    @property
    def pid(self):
        return int((self.serial.parent / "worker.pid").read_text())

    @property
    def pids(self):
        """All processes that there are for it: the worker, and what translates its addresses."""
        folder = str(pathlib.Path(self.lodge.environment["XDG_DATA_HOME"], "lodge/guests", self.guest))
        return [self.pid, *engines.with_descendants(lambda path: os.readlink(path / "exe").endswith("/lodge-nat")
                                                    and os.readlink(path / "fd/2").startswith(folder))]

    def __exit__(self, *_):
        self.starter.wait()
        self.lodge.ctl("delete", self.guest, "--force", check=False)
        self.lodge.stop(self.guest)


class QemuGuest:
    """The same guest of QEMU's, on machine `machine`: microvm (virtio-mmio) or pc (virtio-pci)."""

    def __init__(self, machine, folder, disks, network=None, command_line=""):
        self.serial, self.passt = folder / "qemu-serial.sock", None
        # Both ends of passt's stream: QEMU's and passt's.
        self.streams = socket.socketpair() if network and network.passt else ()
        kernel_folder = kernel()
        transport = "device" if machine == "microvm" else "pci"
        options = ",isa-serial=on,rtc=on" if machine == "microvm" else ""
        self.command = [
            "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host,-arch-capabilities", "-M", machine + options, "-nodefaults",
            "-m", str(MEMORY), "-display", "none", "-no-reboot", "-kernel", kernel_folder / "vmlinux",
            "-append", f"console=ttyS0 quiet root=/dev/vda rw init=/init {command_line}",
            "-chardev", f"socket,id=serial,path={self.serial},server=on,wait=off", "-serial", "chardev:serial",
            "-object", "iothread,id=io", "-name", "guest,debug-threads=on",
        ]
        for index, (path, cache) in enumerate(disks):
            # QEMU's quickest ways: Linux AIO needs a cache mode of none, io_uring is best with the page cache.
            aio = "native" if cache == "none" else "io_uring"
            image = f"file={path},format={'qcow2' if path.suffix == '.qcow2' else 'raw'}"
            self.command += ["-drive", f"{image},if=none,id=d{index},cache={cache},aio={aio},discard=unmap",
                             "-device", f"virtio-blk-{transport},drive=d{index},iothread=io"]
        if network:
            stream = f",addr.str={self.streams[0].fileno()}" if self.streams else ""
            self.command += ["-netdev", f"{network.qemu},id=n{stream}", "-device", f"virtio-net-{transport},netdev=n"]

    def __enter__(self):
        with contextlib.suppress(FileNotFoundError):
            self.serial.unlink()
        self.begin = time.monotonic()
        if self.streams:
            ours, theirs = (end.fileno() for end in self.streams)
            command = ["passt", "--foreground", "--quiet", "--fd", str(theirs)]
            self.passt = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs])
        self.process = subprocess.Popen([*map(str, self.command)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        pass_fds=[ours] if self.streams else [])
        for end in self.streams:
            end.close()
        return self

    def shell(self):
        return Shell(self.serial)

    @property
    def pid(self):
        return self.process.pid

    @property
    def pids(self):
        """All processes that there are for it."""
        return [process.pid for process in (self.process, self.passt) if process]

    def __exit__(self, *_):
        for process in filter(None, (self.process, self.passt)):
            process.send_signal(signal.SIGKILL)
            process.wait()


def root(folder):
    """A copy of the root file system, for one program after the other."""
    path = folder / "root.ext4"
    if not path.exists():
        shutil.copyfile(kernel() / "root.ext4", path)
    return path


def data(folder):
    """A disk full of random bytes."""
    path = folder / "data.raw"
    if not path.exists():
        with open(path, "wb") as file:
            for _ in range(DATA >> 20):
                file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())
    return path


NAMES = ("Lodge", "QEMU -M microvm", "QEMU -M pc")


def engines_with(lodge, disks, network=None):
    """What makes each of the guests that are compared, by their `NAMES` and in their order."""
    makes = (
        lambda: LodgeGuest(lodge, disks, network),
        lambda: QemuGuest("microvm", lodge.folder, disks, network),
        lambda: QemuGuest("pc", lodge.folder, disks, network),
    )
    return dict(zip(NAMES, makes))


def row(what, cells, promise, names=NAMES):
    """A row of the table: Lodge's cell, then the others with their names."""
    return what, cells[0], "; ".join(f"{cell} ({name})" for cell, name in zip(cells[1:], names[1:])), promise
