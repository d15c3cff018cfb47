"""A VNC viewer that counts: it asks for changes as viewers do, finds where each update ends, and decodes nothing.

RFC 6143; for Tight: https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#tight-encoding
"""

import select
import socket
import struct
import time

RAW, COPY_RECT, TIGHT, ZRLE, DESKTOP_SIZE, LAST_RECT = 0, 1, 7, 16, -223, -224
QUALITY_8 = -24
# What a viewer of each kind understands, the best first.
ENCODINGS = {
    "raw": [RAW],
    "ZRLE": [ZRLE, COPY_RECT, RAW, LAST_RECT],
    "Tight": [TIGHT, COPY_RECT, RAW, LAST_RECT, QUALITY_8],
}
# Tight sends so few bytes as they are.
NOT_COMPRESSED = 12
BYTES_OF_PIXEL = 4


class Viewer:
    """A viewer that is connected to the socket at `path`."""

    def __init__(self, path, encodings):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.buffer, self.start, self.received = bytearray(), 0, 0
        self.greet()
        encodings = [*ENCODINGS[encodings], DESKTOP_SIZE]
        self.socket.sendall(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.socket.sendall(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def greet(self):
        self.socket.sendall(self.take(12))
        kinds = self.take(self.unpack(">B")[0])
        assert 1 in kinds, kinds
        self.socket.sendall(b"\x01")
        assert self.unpack(">I") == (0,)
        self.socket.sendall(b"\x01")
        self.width, self.height = self.unpack(">HH")
        self.skip(16)
        self.skip(self.unpack(">I")[0])

    def take(self, count):
        """The next bytes."""
        while len(self.buffer) - self.start < count:
            del self.buffer[:self.start]
            self.start = 0
            data = self.socket.recv(1 << 18)
            if not data:
                raise EOFError("the server has gone")
            self.received += len(data)
            self.buffer += data
        self.start += count
        return bytes(self.buffer[self.start - count:self.start])

    def skip(self, count):
        """Passes over bytes, without keeping them."""
        there = min(count, len(self.buffer) - self.start)
        self.start += there
        count -= there
        while count:
            data = self.socket.recv(min(count, 1 << 18))
            if not data:
                raise EOFError("the server has gone")
            self.received += len(data)
            count -= len(data)

    def unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def ask(self, incremental=True):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def key(self, symbol, down):
        self.socket.sendall(struct.pack(">BBxxI", 4, down, symbol))

    def update(self):
        """Reads up to the end of the next update; returns its rectangles (x, y, width, height)."""
        while (kind := self.take(1)[0]) != 0:
            if kind == 3:
                self.skip(3)
                self.skip(self.unpack(">I")[0])
            elif kind != 2:
                raise ValueError(f"message {kind}")
        (count,) = self.unpack(">xH")
        rects = []
        while len(rects) < count or count == 0xFFFF:
            *rect, encoding = self.unpack(">HHHHi")
            if encoding == LAST_RECT:
                break
            rects.append(tuple(rect))
            self.pass_over(encoding, *rect)
        return rects

    def pass_over(self, encoding, _x, _y, width, height):
        if encoding == RAW:
            self.skip(width * height * BYTES_OF_PIXEL)
        elif encoding == COPY_RECT:
            self.skip(4)
        elif encoding == ZRLE:
            self.skip(self.unpack(">I")[0])
        elif encoding == TIGHT:
            self.pass_over_tight(width, height)
        elif encoding == DESKTOP_SIZE:
            self.width, self.height = width, height
        else:
            raise ValueError(f"encoding {encoding}")

    def pass_over_tight(self, width, height):
        control = self.take(1)[0]
        if control >> 4 == 8:
            return self.skip(3)
        if control >> 4 == 9:
            return self.skip(self.compact())
        size = width * height * 3
        if control & 0x40 and self.take(1)[0] == 1:
            colours = self.take(1)[0] + 1
            self.skip(colours * 3)
            size = height * ((width + 7) // 8) if colours == 2 else width * height
        return self.skip(size if size < NOT_COMPRESSED else self.compact())

    def compact(self):
        """A length of one to three bytes."""
        length = 0
        for shift in (0, 7, 14):
            byte = self.take(1)[0]
            length |= (byte if shift == 14 else byte & 0x7F) << shift
            if shift == 14 or byte < 0x80:
                break
        return length

    def watch(self, seconds):
        """Takes updates for a while; returns how many came, and how many bytes."""
        received, count, end = self.received, 0, time.monotonic() + seconds
        while time.monotonic() < end:
            self.update()
            self.ask()
            count += 1
        return count, self.received - received

    def settle(self, seconds):
        """Takes updates until none has come for so long."""
        while self.start < len(self.buffer) or select.select([self.socket], [], [], seconds)[0]:
            self.update()
            self.ask()

    def seconds_to_pixel(self, symbol):
        """After how many seconds a key's effect on the screen is there."""
        begin = time.monotonic()
        self.key(symbol, True)
        while not self.update():
            self.ask()
        taken = time.monotonic() - begin
        self.ask()
        self.key(symbol, False)
        return taken
