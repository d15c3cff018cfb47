"""A worker that misbehaves: it holds the guest's lock and listens at its sockets, as a worker does, and is not one.

    fake_worker.py KIND LOCK FOLDER

KIND is `hangs` (greets nobody), `slow` (answers after a while), `tells` (events without end), `floods` (events, output and bells
without end) or `babbles` (what nobody understands). It runs until it is killed.
"""

import fcntl
import itertools
import json
import os
import socket
import struct
import sys
import threading
import time

# struct flock: type, whence, start, length, process; see fcntl(2) for locks of open files.
EXCLUSIVE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
F_OFD_SETLK = 37
GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": "none"}, "capabilities": []}}
NOISE = os.urandom(1 << 16)
SLOW = 2.0  # seconds
MANY = 200  # events in one write
# More than any window can show of it.
REASON = "This takes no end. " * 10_000


def line(message):
    return json.dumps(message).encode() + b"\r\n"


def flood_of_events(_):
    stamp = {"seconds": 0, "microseconds": 0}
    return b"".join(line({"event": name, "timestamp": stamp}) for name in ("STOP", "RESUME") * (MANY // 2))


def statistics(beat):
    """Figures that jump, of more virtual CPUs than there can be."""
    vcpus = [{"index": index, "cpu-time-ns": beat * index * 1000, "exits": beat} for index in range(5000)]
    memory = {"guest-size": 1 << 30, "resident": beat << 20}
    return {"time-ns": time.monotonic_ns(), "status": "running", "cpu-time-ns": beat, "vcpus": vcpus, "memory": memory,
            "disks": [], "networks": [], "viewers": 0}


def answer(command, beat):
    if command == "query-status":
        # Each time another one.
        status, reason = (("running", None), ("io-error", f"{beat}: {REASON}"))[beat % 2]
        return {"running": not reason, "singlestep": False, "status": status} | ({"x-lodge-reason": reason} if reason else {})
    return statistics(beat) if command == "x-lodge-statistics" else {}


class Worker:
    """The sockets of one guest."""

    def __init__(self, kind, folder):
        self.kind = kind
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name, serve in (("vnc", self.screen), ("serial", self.serial), ("control", self.control)):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{folder}/{name}.sock")
            listener.listen(16)
            if kind != "hangs":
                threading.Thread(target=self.accept, args=(listener, serve), daemon=True).start()
            else:
                # Whoever connects waits in its queue for ever.
                listener.detach()

    @staticmethod
    def accept(listener, serve):
        def guarded(stream):
            # Whoever has connected has gone.
            try:
                serve(stream)
            except OSError:
                stream.close()

        while True:
            threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()

    def flood(self, stream, make):
        for beat in itertools.count():
            stream.sendall(make(beat))

    def control(self, stream):
        stream.sendall(line(GREETING))
        if self.kind == "babbles":
            self.flood(stream, lambda _: NOISE)
        beats = itertools.count()
        for text in stream.makefile():
            command = json.loads(text)
            name = command["execute"]
            if self.kind == "slow":
                time.sleep(SLOW)
            stream.sendall(line({"return": answer(name, next(beats)), "id": command.get("id")}))
            if name == "qmp_capabilities" and self.kind in ("tells", "floods"):
                threading.Thread(target=self.flood_until_closed, args=(stream, flood_of_events), daemon=True).start()

    def flood_until_closed(self, stream, make):
        try:
            self.flood(stream, make)
        except OSError:
            pass

    def screen(self, stream):
        if self.kind == "babbles":
            self.flood(stream, lambda _: NOISE)
        stream.sendall(b"RFB 003.008\n\x01\x01\0\0\0\0")
        # 640x480, 32 bits of true colour, and a name.
        stream.sendall(struct.pack(">HHBBBBHHHBBB3xI", 640, 480, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0, 4) + b"fake")
        if self.kind in ("slow", "tells"):
            time.sleep(3600)
        # Each changes one pixel, and rings the bell.
        pixel = struct.pack(">BxHHHHHiI", 0, 1, 1, 1, 1, 1, 0, 0x00FF00) + b"\x02"
        self.flood(stream, lambda _: pixel * MANY)

    def serial(self, stream):
        if self.kind == "babbles":
            self.flood(stream, lambda _: NOISE)
        if self.kind in ("slow", "tells"):
            time.sleep(3600)
        self.flood(stream, lambda beat: b"".join(b"\x1b[3%dm%d of what no one reads\r\n" % (beat % 8, beat) for _ in range(MANY)))


def main():
    kind, lock, folder = sys.argv[1:]
    file = open(lock, "w")
    fcntl.fcntl(file, F_OFD_SETLK, EXCLUSIVE)
    Worker(kind, folder)
    print("ready", flush=True)
    threading.Event().wait()


main()
