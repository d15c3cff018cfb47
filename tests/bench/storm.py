"""The test card in a storm, under Lodge and under QEMU, from the same image, for the same viewer: frames, bytes, processor time, and
how soon a key can be seen. And what it costs to show it in a window."""

import contextlib
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import time

import application
import engines
import viewer

STORMS = ("plasma", "scroll", "window")
SECONDS = 4
KEYS = 15
SETTLED = 0.5
# Each key is another letter: a field that is full of one looks the same after one more.
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
# The guest's screen in a window, and the display around it, which has room for the window's frame.
MODE = (1920, 1080)
DISPLAY = (2000, 1200)
# What the threads of virtual CPUs are called.
VCPU = ("vcpu", "CPU ")
TITLE_HEIGHT = 100
# Each so many rows of the display are looked at; what changes within so many seconds is one frame.
SAMPLED_ROW = 32
FRAME_APART = 0.006


class Card:
    """A test card that runs; `pid` is its engine's, `serial` and `vnc` are its sockets."""

    def __init__(self, pid, serial, vnc):
        self.pid, self.vnc = pid, vnc
        self.socket = socket.socket(socket.AF_UNIX)
        engines.wait_for("the serial port", lambda: self.socket.connect_ex(str(serial)) == 0)
        self.socket.settimeout(engines.PATIENCE)
        self.lines = self.socket.makefile("rw", encoding="ascii", errors="replace", newline="\n")

    def line(self):
        """The next line that it says."""
        if not (line := self.lines.readline()):
            raise EOFError("the test card has gone")
        return line

    def wait_until_ready(self):
        while "ready" not in self.line():
            pass

    def tell(self, command):
        """What it answers."""
        self.lines.write(f"{command}\n")
        self.lines.flush()
        while not (line := self.line()).startswith(("ok", "error")):
            pass
        if line.startswith("error"):
            raise ValueError(f"{command}: {line}")
        return line.split()[1:]


@contextlib.contextmanager
def lodge_card(lodge):
    # Both have the same standard VGA.
    name = "storm"
    if name not in lodge.guests:
        lodge.create(name, 64)
    pid = lodge.start(name)
    runtime = lodge.runtime(lodge.uuid(name))
    card = Card(pid, runtime / "serial.sock", runtime / "vnc.sock")
    card.wait_until_ready()
    try:
        yield card
    finally:
        lodge.stop(name)


@contextlib.contextmanager
def qemu_card(lodge):
    image = next(pathlib.Path(lodge.environment["XDG_DATA_HOME"]).glob("lodge/disks/storm*"))
    serial, vnc = lodge.folder / "qemu-serial.sock", lodge.folder / "qemu-vnc.sock"
    process = subprocess.Popen(
        [
            "qemu-system-x86_64", "-accel", "kvm", "-M", "pc", "-cpu", "host,-arch-capabilities", "-m", "64", "-nodefaults",
            # Names the threads.
            "-name", "storm,debug-threads=on", "-vga", "std", "-vnc", f"unix:{vnc}", "-chardev", f"socket,id=serial,path={serial},server=on,wait=on",
            "-serial", "chardev:serial", "-drive", f"file={image},format=raw,if=virtio,readonly=on",
        ],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        card = Card(process.pid, serial, vnc)
        card.wait_until_ready()
        yield card
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (serial, vnc):
            path.unlink(missing_ok=True)


def cpu_seconds(pid):
    """The processor time of a process, without that of its guest's processors."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if not (task / "comm").read_text().startswith(VCPU):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def measure(card, encodings):
    """Of each storm: frames, bytes and processor seconds, each a second; and the seconds from a key to its picture."""
    storms, keys = {}, []
    with viewer.Viewer(card.vnc, encodings) as watcher:
        watcher.ask(incremental=False)
        for storm in STORMS:
            card.tell(f"storm {storm}")
            watcher.watch(0.5)
            cpu, begin = cpu_seconds(card.pid), time.monotonic()
            frames, received = watcher.watch(SECONDS)
            span = time.monotonic() - begin
            storms[storm] = (frames / span, received / span, (cpu_seconds(card.pid) - cpu) / span)
            card.tell("stop")
        card.tell("card")
        card.tell("idle")
        for symbol in LETTERS[:KEYS]:
            # It tells of each key, and stands still when nobody listens.
            card.tell("idle")
            watcher.settle(SETTLED)
            keys.append(watcher.seconds_to_pixel(symbol))
        card.tell("run")
    return storms, statistics.median(keys)


def cell(figures):
    frames, received, cpu = figures
    each = max(frames, 0.1)
    return (f"{frames:.0f}/s, {received / 1e6:.2f} MB/s, {cpu * 100:.1f} %; "
            f"a frame: {received / each / 1000:.2f} kB, {cpu / each * 1000:.2f} ms")


def run(lodge):
    results = []
    for make in (lodge_card, qemu_card):
        with make(lodge) as card:
            results.append({encodings: measure(card, encodings) for encodings in viewer.ENCODINGS})
    rows = []
    for encodings in viewer.ENCODINGS:
        (ours, our_key), (theirs, their_key) = (result[encodings] for result in results)
        for storm in STORMS:
            rows.append((f"storm: {storm}, {encodings}", cell(ours[storm]), f"{cell(theirs[storm])} (QEMU)", "ahead at half the CPU"))
        rows.append((f"key to pixel, {encodings}", f"{our_key * 1000:.1f} ms", f"{their_key * 1000:.1f} ms (QEMU)", "ahead"))
    return rows


def drawn(picture):
    """Pixels of the display in which each step of a storm can be seen."""
    stride = DISPLAY[0] * 4
    first = len(picture) - stride * DISPLAY[1]
    return b"".join(picture[first + y * stride:first + (y + 1) * stride] for y in range(SAMPLED_ROW // 2, DISPLAY[1], SAMPLED_ROW))


def watch_display(picture, pids):
    """What processes use of a processor while they show a storm, in seconds a second, and how many frames they show."""
    frames, changed, before = 0, 0.0, drawn(picture)
    begin, cpu = time.monotonic(), [cpu_seconds(pid) for pid in pids]
    while (now := time.monotonic()) < begin + SECONDS:
        if (seen := drawn(picture)) != before:
            # A frame is drawn piece by piece.
            frames += now > changed + FRAME_APART
            changed, before = now, seen
        time.sleep(0.002)
    span = time.monotonic() - begin
    return frames / span, [(cpu_seconds(pid) - earlier) / span for pid, earlier in zip(pids, cpu)]


def keys(display, *arguments):
    subprocess.run(["xdotool", *arguments], env={"DISPLAY": display}, check=True)


def x_server():
    """The X server that this program has started."""
    ours = engines.with_descendants(lambda path: path.name == str(os.getpid()))
    return next(pid for pid in ours if pathlib.Path(f"/proc/{pid}/comm").read_text() == "Xvfb\n")


def show_in_lodge(lodge, display, card):
    """Opens the guest's window; yields the application's process."""
    with application.application([lodge.programs / "lodge"], lodge.environment, display) as session:
        pid = engines.wait_for("the application", lambda: application.process_called("lodge", session.pid), 0.1)
        time.sleep(5)
        # The only row, by the pointer, as the list has no window manager to give it the keyboard.
        keys(display, "mousemove", "400", str(TITLE_HEIGHT), "click", "1", "key", "Return")
        time.sleep(3)
        # There is no window manager that could; the guest's window is the one above.
        keys(display, "search", "--onlyvisible", "--name", "storm", "windowmove", "0", "0", "windowsize", *map(str, DISPLAY))
        yield pid


def show_in_viewer(lodge, display, card):
    process = subprocess.Popen(["vncviewer", str(card.vnc)], env=dict(lodge.environment, DISPLAY=display), stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def window_cell(frames, loads):
    each = max(frames, 0.1)
    window, engine, server = (f"{100 * load:.1f} % ({1000 * load / each:.1f} ms a frame)" for load in loads)
    return f"{frames:.0f}/s; window {window}, engine {engine}, X server {server}"


def run_window(lodge):
    """A storm in the application's window, beside TigerVNC's viewer of QEMU's guest; neither scales it."""
    preferences = pathlib.Path(lodge.environment["XDG_CONFIG_HOME"], "lodge", "preferences.toml")
    preferences.parent.mkdir(exist_ok=True)
    preferences.write_text("scale_to_window = false\n")
    results = []
    for make, show in ((lodge_card, show_in_lodge), (qemu_card, show_in_viewer)):
        with make(lodge) as card, application.screen(lodge.folder, *reversed(DISPLAY)) as (display, picture):
            card.tell(f"mode {MODE[0]} {MODE[1]} 32")
            with contextlib.contextmanager(show)(lodge, display, card) as pid:
                time.sleep(5)
                server = x_server()
                shown = {}
                for storm in STORMS:
                    card.tell(f"storm {storm}")
                    time.sleep(1)
                    shown[storm] = window_cell(*watch_display(picture, (pid, card.pid, server)))
                    card.tell("stop")
                results.append(shown)
    ours, theirs = results
    return [(f"{storm}, {MODE[0]}x{MODE[1]} in a window", ours[storm], f"{theirs[storm]} (TigerVNC, QEMU)", "half") for storm in STORMS]
