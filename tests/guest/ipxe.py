#!/usr/bin/env python3
"""Makes a copy of iPXE's ROM for virtio-net that waits without interrupts: ipxe.py ROM COPY

iPXE runs in 32-bit protected mode without paging, waits there with "sti; hlt; cli", and learns from the BIOS's clock how much time has
passed. Where a guest cannot take interrupts in this mode (tests/common/protected_mode.rs), the first one shuts its processor down.
The copy does not wait, and takes the time from the processor's counter. Everything else is as the distribution has built it.

The ROM holds its parts compressed (LZMA without a header, in blocks), each with its CRC-32 behind it, not inverted at the end.
"""

import lzma
import sys
import zlib

WAIT, NO_WAIT = b"\xfb\xf4\xfa", b"\x90\x90\x90"  # sti; hlt; cli
CLOCK = b"\x51\xfb\x90\x90\xfa\x8b\x0d"  # push ecx; sti; nop; nop; cli; mov ecx, [...]: the clock's first instructions
COUNTER = b"\x0f\x31\x0f\xac\xd0\x15\xc3"  # rdtsc; shrd eax, edx, 21; ret: about 1024 a second
COPIES = range(32, 274, 16)


def filters(**options):
    return [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 21, "lc": 2, "lp": 0, "pb": 0, **options}]


def block(rom):
    """Where the block with the code is, how long it is, and what is in it."""
    for begin in (index for index, byte in enumerate(rom) if byte == 0):
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters())
        try:
            code = decompressor.decompress(rom[begin:])
        except lzma.LZMAError:
            continue
        if decompressor.eof and code.count(WAIT) == 1 and code.count(CLOCK) == 1:
            return begin, len(rom) - begin - len(decompressor.unused_data), code
    sys.exit("there is no code in this ROM that is known")


def checksum(packed):
    return (zlib.crc32(packed) ^ 0xFFFFFFFF).to_bytes(4, "little")


def main():
    source, copy = sys.argv[1:]
    with open(source, "rb") as file:
        rom = bytearray(file.read())
    begin, length, code = block(rom)
    end = begin + length
    assert rom[end:end + 4] == checksum(rom[begin:end]), "the checksum is somewhere else"
    code = code.replace(WAIT, NO_WAIT).replace(CLOCK, COUNTER)
    # In the room that there is: the end of the compressed bytes is marked.
    found = (lzma.compress(code, lzma.FORMAT_RAW, filters=filters(nice_len=nice, depth=1000)) for nice in COPIES)
    packed = next((packed for packed in found if len(packed) <= length), None) or sys.exit("the code has no room any more")
    packed = packed.ljust(length, b"\0")
    rom[begin:end + 4] = packed + checksum(packed)
    # The bytes of a ROM add up to nothing (PCI Firmware Specification 3.0, 5.1.2).
    rom[6] = (rom[6] - sum(rom[:rom[2] * 512])) & 0xFF
    with open(copy, "wb") as file:
        file.write(rom)


main()
