#!/usr/bin/env python3
"""Boots a kernel of the tests on Lodge and on QEMU with the same devices, and shows where their logs differ.

    tests/guest/compare_logs.py [--kernel native|stock] [--graphics vga|virtio] [--vcpus N] [--keep FOLDER] [--programs FOLDER]

It needs /dev/kvm, the built kernels (bash tests/run.sh) and QEMU. What of a log depends on the run (time stamps, addresses,
speeds) is left out first. Differences that have a reason are counted under it (README.md has them); any other line is shown, and
makes the script fail. tests/linux_log.rs runs it with the native kernel; with the stock one it takes minutes.
"""

import argparse
import collections
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 600.0
CACHE = pathlib.Path(os.environ.get("LODGE_TEST_CACHE")
                     or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lodge-test")
MEMORY = 512

# What the native kernel's user space tells besides its log: what the kernel has found where it says nothing of it.
FACTS = [
    "/proc/ioports", "/proc/iomem", "/proc/cpuinfo", "/proc/interrupts", "/proc/bus/input/devices",
    *(f"/sys/bus/pci/devices/*/{name}"
      for name in ["vendor", "device", "class", "revision", "subsystem_vendor", "subsystem_device", "irq"]),
    *(f"/sys/bus/pci/devices/*/virtio*/{name}" for name in ["device", "features"]),
    *(f"/sys/bus/acpi/devices/*/{name}" for name in ["path", "status"]),
    *(f"/sys/bus/pnp/devices/*/{name}" for name in ["id", "resources"]),
    "/sys/class/dmi/id/*", "/sys/block/vda/queue/*", "/sys/class/drm/*/modes",
    "/sys/devices/system/clocksource/clocksource0/*_clocksource",
]
KERNELS = {
    "native": {
        "file": "guest-kernel/vmlinux",
        "end": "GUEST-DONE",
        "cmdline": "init=/init run=" + ";".join(["ls~-1~/sys/firmware/acpi/tables", "grep~-s~.~" + "~".join(FACTS)]),
    },
    "stock": {
        "file": "stock-kernel/vmlinux",
        "end": "Run /init as init process",
        "cmdline": "init=/init panic=-1 noxsave clearcpuid=xsave,smap,popcnt,cx16,erms,fsrm rcupdate.rcu_cpu_stall_suppress=1",
    },
}


# What depends on the run: a pattern and what is put in its place.
NORMAL = [(re.compile(pattern), text) for pattern, text in [
    (r"\[ *\d+\.\d+\] ", ""),
    (r"\b0x[0-9a-f]{5,}|\b[0-9a-f]{8,16}-[0-9a-f]{8,16}\b|\b0x[0-9A-F]{16}\b", "ADDRESS"),
    (r"(sched offset of|took) \d+", r"\1 N"),
    (r"Marking stable .*", "Marking stable"),
    (r"system clock to .*", "system clock"),
    (r"Total pages: \d+|Memory: \d+K/\d+K available|\d+K reserved", "PAGES"),
    (r"Linux version.*|GUEST-UP .*|.* took N usecs$|APIC (delta adjusted|calibration not consistent).*", ""),
    (r"^(/proc/interrupts: *\w+:) +\d+", r"\1 N"),
    (r"^/proc/interrupts: *\d+: N +PCI-MSIX\S+ +\d+-edge ", "/proc/interrupts: MSI-X "),
    (r"(rtc_cmos|pnp/devices/) ?00:\d\d", r"\1"),
    (r"/virtio\d+/", "/virtio/"),
    (r"input\d+$|event\d+ *", "INPUT"),
    (r"filesystem \S+ r/w", "filesystem r/w"),
    (r" +$", ""),
]]
# Why logs differ (README.md has the words): patterns of the begins of lines that only one of the two has.
REASONS = {
    "names and formats": [
        r"DMI: |SMBIOS |ACPI: (RSDP|RSDT|XSDT|FACP|DSDT|FACS|APIC|WAET) ADDRESS|/sys/class/dmi/id/",
        r"input: (Lodge v|QEMU V)irtio |/proc/bus/input/devices:[INU]: |input: .*virtio (tablet|keyboard)",
    ],
    "no firmware": [
        r"BIOS-e820: .* reserved|On node 0, zone|PCI: (Using|Ignoring) E820",
        r"pci \S+ BAR \d \[.*assigned|virtio-pci \S+ enabling|(bochs-drm|pvpanic-pci) \S+ enabling|.*vgaarb: VGA device added",
        r"pci 0000:00:02.0: (ROM|Video device)|/proc/iomem: *ADDRESS : (RAM buffer|Video ROM|Adapter ROM|Reserved|System ROM)",
        r"/proc/iomem: *ADDRESS : 0000:",
    ],
    "no HPET": [
        r"ACPI: HPET|ACPI: Reserving HPET|clocksource: hpet|hpet: Lost \d+ RTC interrupts|HPET$|.*PNP0103|/proc/iomem: *ADDRESS : (HPET|PNP0103)",
        r".*available_clocksource|rtc_cmos: alarms up to",
    ],
    "no link devices": [
        r"ACPI: PCI: Interrupt link|ACPI: ..SB_.LNK|.*PNP0C0F",
    ],
    "no hotplug": [
        r"acpiphp: Slot|ACPI: Enabled 2 GPEs|.*GPE0_BLK|.*PNP0A06|/sys/bus/acpi/devices/(device:|LNXCPU|ACPI0010|ACPI0007)",
    ],
    "no IDE, floppy disk, SMBus": [
        r".*00:01.1|pci \S+ BAR \d \[io|scsi host\d: ata_piix|ata\d: PATA|.*ata_piix|.*PIIX4 SMB|/proc/ioports: *0700|.*PNP0700",
        r".*QEMU0002|.*pnp/devices/.*(PNP0700|0x3f[27]-|irq 6|dma 2)|/proc/ioports: *c000|.*pnp: PnP ACPI: found",
        r".*pnp/devices//resources:state",
    ],
    "one bus and window": [
        r"ACPI: PCI Root Bridge|pci_bus 0000:00: (root bus )?resource|/proc/iomem: *ADDRESS : PCI Bus",
    ],
    "ISA devices": [
        r"/sys/bus/acpi/devices/PNP0[0-9A-F]+:00/|.*0070-007|.*io 0x70-0x7|rtc_cmos: RTC can wake",
    ],
    "virtio transport": [
        r"pci 0000:00:\w\w.0: BAR [0124] \[mem|/proc/interrupts: (MSI-X|10:)",
    ],
    "calls to KVM": [
        r"kvm-guest: (setup PV (IPIs|sched yield)|APIC: send_IPI_mask)",
    ],
    "processor leaves": [
        r"Last level [id]TLB|/proc/cpuinfo:(flags|TLB size|cache size)",
    ],
    "device features": [
        r".*0000:00:(04|19|1e).0/virtio/features|/sys/block/vda/queue/|/sys/class/drm|/proc/bus/input/devices:B: (KEY|REL)",
    ],
}


def normal(text):
    """The lines of a log, without what depends on the run."""
    lines = []
    for line in text.replace("\r", "").splitlines():
        level, message = re.match(r"(<\d>)?(.*)", line).groups("")
        for pattern, replacement in NORMAL:
            message = pattern.sub(replacement, message)
        if message:
            lines.append((level, message))
    return lines


def compare(logs):
    """Prints how the two logs differ; returns how many lines do without a reason."""
    counts = {name: collections.Counter(normal(text)) for name, text in logs.items()}
    explained, unexplained = collections.Counter(), []
    for sign, own, other in [("-", "lodge", "qemu"), ("+", "qemu", "lodge")]:
        for level, message in (counts[own] - counts[other]).elements():
            reasons = (reason for reason, patterns in REASONS.items() if any(re.match(each, message) for each in patterns))
            reason = next(reasons, None)
            if reason and level not in ("<0>", "<1>", "<2>", "<3>", "<4>"):
                explained[reason, sign] += 1
            else:
                unexplained.append(f"{sign}{level}{message}")
    for reason in REASONS:
        print(f"{reason:28}{explained[reason, '-']:4} lines only on Lodge, {explained[reason, '+']:4} only on QEMU")
    for line in unexplained:
        print(line)
    print(f"{len(unexplained)} lines differ without a reason (-: only on Lodge, +: only on QEMU)")
    return len(unexplained)


def wait_for_text(read, end):
    """All text up to the line that `end` is in; `read(timeout)` returns bytes, none at the end."""
    deadline, text = time.monotonic() + PATIENCE, b""
    # How much of what follows has come is chance.
    while not (whole := re.match(rb"(?s).*?" + re.escape(end.encode()) + rb"[^\n]*\n", text)):
        left = deadline - time.monotonic()
        data = read(left) if left > 0 else b""
        if not data:
            sys.exit(f"{end!r} did not come, but:\n{text.decode(errors='replace')}")
        text += data
    return whole[0].decode(errors="replace")


def on_lodge(folder, kernel, cmdline, root, arguments):
    """The serial output of Lodge's guest."""
    environment = dict(os.environ, HOME=str(folder), XDG_DATA_HOME=str(folder / "data"), XDG_RUNTIME_DIR=str(folder / "run"))
    (folder / "run").mkdir(mode=0o700)

    def ctl(*words):
        program = [arguments.programs / "lodgectl", *words]
        return subprocess.run(program, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout

    ctl("create", "guest", "--memory", f"{MEMORY}MiB", "--vcpus", str(arguments.vcpus), "--disk", str(root),
        "--kernel", str(kernel), "--cmdline", cmdline, "--network", "none")
    definition = folder / "data/lodge/guests/guest/guest.toml"
    definition.write_text(definition.read_text().replace('model = "vga"', f'model = "{arguments.graphics}"'))
    uuid = next(line.split()[1] for line in ctl("info", "guest").splitlines() if line.startswith("UUID"))
    ctl("start", "guest")
    try:
        with socket.socket(socket.AF_UNIX) as serial:
            serial.connect(str(folder / "run/lodge" / uuid / "serial.sock"))

            def read(timeout):
                serial.settimeout(timeout)
                return serial.recv(65536)

            return wait_for_text(read, KERNELS[arguments.kernel]["end"])
    finally:
        subprocess.run([arguments.programs / "lodgectl", "destroy", "guest"], env=environment, capture_output=True, check=False)


def on_qemu(folder, kernel, cmdline, root, arguments):
    """The serial output of QEMU's guest, whose devices are in the slots of Lodge's."""
    graphics = {"vga": "VGA", "virtio": "virtio-vga"}[arguments.graphics]
    devices = [
        f"{graphics},addr=2", "pvpanic-pci,addr=3", "virtio-blk-pci,drive=root,addr=4,disable-legacy=on",
        "virtio-net-pci,addr=0x19,disable-legacy=on,netdev=none,romfile=", "virtio-tablet-pci,addr=0x1b",
        "virtio-keyboard-pci,addr=0x1c", "virtio-serial-pci,addr=0x1d,disable-legacy=on", "virtconsole,chardev=hvc0",
        "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        "virtio-balloon-pci,addr=0x1e,disable-legacy=on,deflate-on-oom=on,free-page-reporting=on",
        "virtio-rng-pci,addr=0x1f,disable-legacy=on",
    ]
    command = [
        "qemu-system-x86_64", "-accel", "kvm", "-M", "pc", "-cpu", "host,-arch-capabilities", "-smp", str(arguments.vcpus),
        "-m", str(MEMORY), "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
        "-kernel", str(kernel), "-append", cmdline,
        "-drive", f"file={root},format=raw,if=none,id=root", "-netdev", "hubport,hubid=0,id=none",
        "-chardev", "null,id=hvc0", "-chardev", "null,id=agent",
        *(word for device in devices for word in ("-device", device)),
    ]
    errors = (folder / "qemu.err").open("w")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
    try:
        def read(timeout):
            ready = select.select([process.stdout], [], [], timeout)[0]
            return process.stdout.read1(65536) if ready else b""

        return wait_for_text(read, KERNELS[arguments.kernel]["end"])
    finally:
        process.kill()
        process.wait()
        # The network card is connected to nothing, as wanted.
        for line in (folder / "qemu.err").read_text().splitlines():
            if "hub 0 is not connected" not in line:
                print(line, file=sys.stderr)


ENGINES = {"lodge": on_lodge, "qemu": on_qemu}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", choices=KERNELS, default="native")
    parser.add_argument("--graphics", choices=["vga", "virtio"], default="vga")
    parser.add_argument("--vcpus", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="where to write both logs")
    built = pathlib.Path(__file__).resolve().parents[2] / "target" / "debug"
    parser.add_argument("--programs", type=pathlib.Path, default=built, help="where lodgectl and lodge-worker are")
    arguments = parser.parse_args()
    chosen = KERNELS[arguments.kernel]
    # On a machine that does a lot else a kernel would find that one clock is not as fast as the other, and say so.
    cmdline = "console=ttyS0 console_msg_format=syslog root=/dev/vda rw tsc=nowatchdog " + chosen["cmdline"]
    logs = {}
    for name, run in ENGINES.items():
        with tempfile.TemporaryDirectory(prefix="l") as folder:
            folder = pathlib.Path(folder)
            root = folder / "root.ext4"
            subprocess.run(["cp", "--sparse=always", CACHE / "guest-kernel/root.ext4", root], check=True)
            logs[name] = run(folder, CACHE / chosen["file"], cmdline, root, arguments)
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"{arguments.kernel}-{arguments.graphics}-{arguments.vcpus}-{name}.log").write_text(logs[name])
    sys.exit(compare(logs) > 0)


if __name__ == "__main__":
    main()
