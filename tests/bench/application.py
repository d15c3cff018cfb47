"""The desktop application: how soon its list is painted, and what it costs while 50 guests run.

It runs on a screen in memory that this program looks at from outside: the list is painted when the picture is, but for
half a percent of its pixels (graphs, a cursor), what it is in the end. That works for any toolkit.
"""

import contextlib
import mmap
import operator
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import time

import engines
import idle

ROUNDS = 5
SETTLED = 3.0       # seconds without a great change
DIFFERENCE = 0.005
GUESTS = 50
WIDTH, HEIGHT = 1280, 800
TALL = 3200         # every row of the list can be seen
ROW_STEP = 4        # every fourth row is looked at


@contextlib.contextmanager
def screen(folder, height=HEIGHT, width=WIDTH):
    """An X server; yields its display and its picture in memory."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24", "-fbdir", folder, "-nolisten", "tcp"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            display = f":{pipe.readline().strip()}"
        with open(f"{folder}/Xvfb_screen0", "rb") as file:
            picture = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield display, picture
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def rows_of(picture):
    """The rows that are looked at; the picture's header is before them, what counts is its end."""
    stride = WIDTH * 4
    first = len(picture) - stride * HEIGHT
    return b"".join(picture[first + y * stride:first + (y + 1) * stride] for y in range(0, HEIGHT, ROW_STEP))


def differ(one, other):
    """Which part of the pixels of two pictures is not equal."""
    one, other = memoryview(one).cast("I"), memoryview(other).cast("I")
    return sum(map(operator.ne, one, other)) / len(one)


@contextlib.contextmanager
def application(command, environment, display):
    """A program in a session of its own."""
    environment = dict(environment, DISPLAY=display, GDK_BACKEND="x11", GSK_RENDERER="cairo", GSETTINGS_BACKEND="memory")
    process = subprocess.Popen(
        ["dbus-run-session", "--", *map(str, command)],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def seconds_to_picture(lodge, command):
    """Starts a program; returns after how many seconds its picture was there."""
    with screen(lodge.folder) as (display, picture):
        begin = time.monotonic()
        with application(command, lodge.environment, display):
            pictures = [(0.0, rows_of(picture))]
            while (now := time.monotonic() - begin) < pictures[-1][0] + SETTLED or len(pictures) < 2:
                rows = rows_of(picture)
                if rows != pictures[-1][1] and differ(rows, pictures[-1][1]) > DIFFERENCE / 5:
                    pictures.append((now, rows))
                if now > engines.PATIENCE:
                    raise TimeoutError("the picture never settles")
                time.sleep(0.01)
            final = rows_of(picture)
    return next(at for at, rows in pictures if differ(rows, final) <= DIFFERENCE)


def run(lodge):
    lodge.create("listed", 64)
    commands = ([lodge.programs / "lodge"], ["virt-manager", "--no-fork", "--connect", "test:///default"])
    times = ([], [])
    for _ in range(ROUNDS):
        for command, taken in zip(commands, times):
            taken.append(seconds_to_picture(lodge, command))
    ours, theirs = map(statistics.median, times)
    return [("application start to its list", f"{ours:.2f} s", f"{theirs:.2f} s (virt-manager)", "half")]


def process_called(name, session):
    """The process of this name in a session."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = open(f"/proc/{pid}/stat").read()
            if stat.split("(", 1)[1].rsplit(")", 1)[0] == name and int(stat.rsplit(")", 1)[1].split()[3]) == session:
                return int(pid)
    return None


def run_fifty(lodge):
    disk = engines.halting_disk(lodge.folder)
    names = [f"guest-{number:02}" for number in range(GUESTS)]
    for name in names:
        # Each has its own: a disk that a guest writes to is locked.
        lodge.create(name, 32, shutil.copy(disk, disk.with_name(f"{name}.img")))
    workers = [lodge.start(name) for name in names]
    # Their firmware is at work for a while.
    engines.wait_for("all guests halt", lambda: all_halted(workers), 1.0)
    show_everything(lodge)
    with screen(lodge.folder, TALL) as (display, _), application([lodge.programs / "lodge"], lodge.environment, display) as process:
        pid = engines.wait_for("the application", lambda: process_called("lodge", process.pid), 0.1)
        time.sleep(20)
        before = sum(map(cpu_nanoseconds, workers))
        application_load = idle.load(pid)
        watched_load = (sum(map(cpu_nanoseconds, workers)) - before) / 1e7 / idle.SECONDS / GUESTS
        memory = engines.private_memory(pid, lambda _: False)
    before = sum(map(engines.cpu_seconds, workers))
    time.sleep(idle.SECONDS)
    workers_load = 100 * (sum(map(engines.cpu_seconds, workers)) - before) / idle.SECONDS
    for name in names:
        lodge.stop(name)
    return [
        (f"CPU of the application, {GUESTS} guests, all graphs shown", f"{application_load:.1f} %", "-", "2 %"),
        ("CPU of each worker that is watched", f"{watched_load:.3f} %", "-", "0.1 %"),
        (f"private memory of the application, {GUESTS} guests", f"{memory / (1 << 20):.0f} MiB", "-", "-"),
        (f"CPU of {GUESTS} halted guests together, not watched", f"{workers_load:.2f} %", "-", "0"),
    ]


def show_everything(lodge):
    """Has the window be so high that every row can be seen, with every column."""
    path = pathlib.Path(lodge.environment["XDG_CONFIG_HOME"], "lodge", "window.toml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"width = 1200\nheight = {TALL - 100}\n[list]\ncolumns = ['screen', 'cpu', 'memory', 'disk', 'network']\n")


def cpu_nanoseconds(pid):
    """The processor time that a process has used, exactly."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def all_halted(workers):
    """Whether none of the processes has used any processor time for a second."""
    before = sum(map(engines.cpu_seconds, workers))
    time.sleep(1)
    return sum(map(engines.cpu_seconds, workers)) == before
