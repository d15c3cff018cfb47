//! Linux with every virtio device at once: each has interrupts of its own and does what it is for.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    io::{BufRead, BufReader, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::Shutdown,
    os::unix::{
        fs::MetadataExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use common::{
    linux::{self, Linux},
    machine::{Output, PATIENCE},
};
use lodge::{
    input::{Button, InputEvent, Key},
    vmm::{
        machine::{Boot, Connection, ConsoleConfig, Graphics, MachineConfig, NetworkConfig, Peripherals, VsockConfig},
        virtio::{balloon::BalloonHandle, console::NamedPortConfig},
    },
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

const MIB: u64 = 1 << 20;
/// The guests' memory. Each has a size of its own, by which its memory is found among this process's files.
const SIZES: [u64; 2] = [420 * MIB, 424 * MIB];
/// What the balloon is to take.
const TAKEN: u64 = 256 * MIB;

/// Every driver but the root disk's lets its device go and takes it again.
const REBIND: &str = r#"
for device in /sys/bus/virtio/devices/*; do
    [ ! -e $device/block/vda ] || continue
    driver=$(readlink -f $device/driver)
    basename $device >$driver/unbind
    basename $device >$driver/bind
done
echo "every driver has begun anew"
"#;

/// What the guest does. It goes on when a line comes over its serial port.
const SCRIPT: &str = r#"
head -c 65536 /dev/hwrng >random
echo "random numbers of $(cat /sys/class/misc/hw_random/rng_current) pack to $(gzip -c random | wc -c) bytes"
echo something >/dev/hvc0

# Keyboard, tablet and mouse, as programs read them.
device() { grep -l "$1" /sys/class/input/event*/device/name | sed 's,/sys/class/input/\(event[0-9]*\)/.*,/dev/input/\1,'; }
exec 3<$(device "Lodge virtio keyboard") 4<$(device "Lodge virtio tablet") 5<$(device "Generic Explorer Mouse")
echo "waits for input"
head -c $((24 * 8)) <&3 | hexdump -v -e '24/1 "%02x" "\n"' | sed 's/^/keyboard: /'
head -c $((24 * 12)) <&4 | hexdump -v -e '24/1 "%02x" "\n"' | sed 's/^/tablet: /'
head -c $((24 * 3)) <&5 | hexdump -v -e '24/1 "%02x" "\n"' | sed 's/^/mouse: /'

./vsock listen 52
./vsock connect 53

# The balloon. First all memory is used, so that the host has to give it.
free() { grep MemFree /proc/meminfo | tr -s ' ' | cut -d ' ' -f 2; }
mount -t tmpfs -o size=90% tmpfs /mnt
dd if=/dev/zero of=/mnt/fill bs=1M count=300 2>/dev/null
echo "has filled its memory"
read line
rm /mnt/fill
echo "has freed its memory"
read line
# Pages that are being reported are not free for as long.
until [ $(free) -gt $((360 << 10)) ]; do usleep 10000; done
grep -E 'MemTotal|MemFree|MemAvailable' /proc/meminfo
echo "waits for the balloon"
until [ $(free) -lt $((150 << 10)) ]; do usleep 10000; done
echo "the balloon is there"
read line
# More than is left: the balloon has to give way.
dd if=/dev/zero of=/mnt/fill bs=1M count=200 2>/dev/null
echo "has used more than there was"
read line
rm /mnt/fill
until [ $(free) -gt $((300 << 10)) ]; do usleep 10000; done
echo "the balloon has gone"

for device in /sys/bus/virtio/devices/*; do
    echo "device $(basename $device) $(basename $(readlink $device/driver)) on $(basename $(readlink -f $device/..))"
done
cat /proc/interrupts
"#;

/// An event of Linux's input subsystem: type, code and value (linux/input.h).
type Event = (u16, u16, i32);

const SYN: Event = (0, 0, 0);
const EV_KEY: u16 = 1;
const EV_REL: u16 = 2;
const EV_ABS: u16 = 3;

/// The events that the guest has read from `device`.
fn events(text: &str, device: &str) -> Vec<Event> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(&format!("{device}: ")));
    let decode = |line: &str| {
        let bytes: Vec<u8> = (0..24).map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap()).collect();
        // Behind a time of 16 bytes.
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        (half(16), half(18), i32::from_le_bytes(bytes[20..].try_into().unwrap()))
    };
    lines.map(decode).collect()
}

fn send_input(guest: &Linux) {
    let input = guest.guest.machine.input();
    assert!(input.follows_position());
    for (key, down) in [(30, true), (30, false), (42, true), (42, false)] {
        input.send(&[InputEvent::Key { key: Key(key), down }]);
    }
    input.send(&[InputEvent::Absolute { x: 1000, y: 32767 }, InputEvent::Button { button: Button::Left, down: true }]);
    input.send(&[InputEvent::Absolute { x: 32000, y: 1 }]);
    input.send(&[InputEvent::Button { button: Button::Left, down: false }]);
    input.send(&[Button::WheelRight, Button::Extra].map(|button| InputEvent::Button { button, down: true }));
    input.send(&[InputEvent::Relative { dx: 7, dy: -3 }]);
}

fn assert_input(text: &str) {
    let key = |code, value| [(EV_KEY, code, value), SYN];
    assert_eq!(events(text, "keyboard"), [key(30, 1), key(30, 0), key(42, 1), key(42, 0)].concat());
    const BUTTON: u16 = 0x110;
    let tablet: [&[Event]; 4] = [
        &[(EV_ABS, 0, 1000), (EV_ABS, 1, 32767), (EV_KEY, BUTTON, 1), SYN],
        &[(EV_ABS, 0, 32000), (EV_ABS, 1, 1), SYN],
        &[(EV_KEY, BUTTON, 0), SYN],
        &[(EV_REL, 6, 1), (EV_KEY, BUTTON + 4, 1), SYN],
    ];
    assert_eq!(events(text, "tablet"), tablet.concat());
    assert_eq!(events(text, "mouse"), [(EV_REL, 0, 7), (EV_REL, 1, -3), SYN]);
}

/// Sends noise through `stream` and expects it back.
fn assert_echo(mut stream: UnixStream) {
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(3 << 20).collect();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        let (mut sender, noise) = (stream.try_clone().unwrap(), &noise);
        scope.spawn(move || {
            sender.write_all(noise).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_to_end(&mut back).unwrap();
    });
    assert!(back == noise, "{} bytes of {} came back, or others", back.len(), noise.len());
}

/// Asks the sockets' device for something, and waits for its answer.
fn ask(path: &Path, line: &str) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    // With a buffer of one byte, so that nothing of what follows is read.
    BufReader::with_capacity(1, &stream).read_line(&mut answer).unwrap();
    (stream, answer)
}

/// The next connection that a listener of the host is handed.
fn handed(listener: &UnixStream) -> UnixStream {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(listener, &mut [IoSliceMut::new(&mut [0])], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    UnixStream::from(descriptor.expect("no connection came"))
}

/// How much of the host's memory the guest has.
fn resident(memory: u64) -> u64 {
    let is_ram = |path: &Path| path.to_string_lossy().contains("memfd:guest-ram");
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let ram = files.filter(|path| std::fs::read_link(path).is_ok_and(|target| is_ram(&target)));
    let ram = ram.flat_map(std::fs::metadata).find(|metadata| metadata.len() == memory);
    ram.expect("the guest's memory is a file").blocks() * 512
}

/// Looks again and again: for what the host is not told of.
fn await_that(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The number of KiB behind `name` in what the guest says of its memory, in bytes.
fn memory(text: &str, name: &str) -> u64 {
    let (_, rest) = text.split_once(&format!("{name}:")).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn assert_statistics(balloon: &BalloonHandle, text: &str) {
    // The driver has sent some when it began, too, and sends new ones when they are asked for.
    let free = memory(text, "MemFree");
    await_that("the guest tells how much memory is free", || {
        balloon.request_statistics();
        balloon.statistics().and_then(|statistics| statistics.free()).is_some_and(|told| told.abs_diff(free) < 16 * MIB)
    });
    let statistics = balloon.statistics().unwrap();
    let all: Vec<_> = statistics.values().collect();
    for (told, name) in [(statistics.total(), "MemTotal"), (statistics.available(), "MemAvailable")] {
        let (told, seen) = (told.unwrap_or_else(|| panic!("no {name} in {all:?}")), memory(text, name));
        assert!(told.abs_diff(seen) < 16 * MIB, "{name} is {seen}, but is told to be {told}: {all:?}");
    }
    assert!(all.iter().any(|(name, value)| *name == "stat-disk-caches" && *value < SIZES[0]), "{all:?}");
}

/// The memory of the guest follows what it uses, what the balloon takes, and what it needs after all.
fn exercise_balloon(guest: &Linux, size: u64) {
    let balloon = guest.guest.machine.balloon().unwrap();
    let go_on = || assert_eq!(guest.guest.machine.serial_input().enqueue(b"\n"), 1);
    guest.wait_for("has filled its memory");
    let full = resident(size);
    assert!(full > 300 * MIB, "{full} bytes");
    go_on();
    guest.wait_for("has freed its memory");
    // It reports its free pages, with which the host can do something better.
    await_that("reported pages are given back", || resident(size) < full - 200 * MIB);
    go_on();
    guest.wait_for("waits for the balloon");
    assert_statistics(&balloon, &guest.guest.serial.text());

    let (sender, changes) = channel();
    let observed = balloon.clone();
    balloon.observe(move || sender.send(observed.actual_after_change()).unwrap_or_default());
    let await_change = |to| while changes.recv_timeout(PATIENCE).expect("the balloon changes") != to {};
    balloon.set_target(TAKEN);
    await_change(TAKEN);
    guest.wait_for("the balloon is there");
    assert!(resident(size) < size - TAKEN, "{} bytes", resident(size));
    go_on();
    guest.wait_for("has used more than there was");
    let left = balloon.actual();
    assert!(left < TAKEN - 32 * MIB, "{left} bytes are left in the balloon");
    balloon.set_target(0);
    go_on();
    guest.wait_for("the balloon has gone");
    await_change(0);
}

/// Each virtio device has vectors of its own, by MSI-X.
fn assert_interrupts(text: &str) {
    let devices: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("device virtio")).map(|line| line.split(' ').collect()).collect();
    let mut drivers: Vec<_> = devices.iter().map(|words| words[2]).collect();
    drivers.sort_unstable();
    let expected = [
        "virtio_balloon",
        "virtio_blk",
        "virtio_blk",
        "virtio_console",
        "virtio_gpu",
        "virtio_input",
        "virtio_input",
        "virtio_net",
        "virtio_rng",
        "vmw_vsock_virtio_transport",
    ];
    assert_eq!(drivers, expected, "{text}");
    for words in devices {
        let (name, address) = (words[1], words[4].trim());
        let vectors: Vec<_> = text.lines().filter(|line| line.contains(&format!("PCI-MSIX-{address} "))).collect();
        let came = vectors.iter().any(|line| line.split_whitespace().nth(1) != Some("0"));
        // A card without a network has nothing to tell.
        assert!(vectors.len() >= 2 && (came || words[2] == "virtio_net"), "{name}: {vectors:#?}\n{text}");
        assert!(vectors.iter().all(|line| line.contains(name)), "{vectors:#?}");
    }
}

/// Starts a guest with every device, whose kernel gets more arguments.
fn start(size: u64, folder: &Path, terminal: &Output, script: &str, kernel_arguments: &str) -> Option<Linux> {
    Linux::run(script, &["vsock"], |config: &mut MachineConfig| {
        if let Boot::Linux(linux) = &mut config.boot {
            linux.command_line.push_str(kernel_arguments);
        }
        (config.memory, config.memory_backing.shared) = (size, true);
        config.graphics = Graphics::Virtio;
        let listener = UnixListener::bind(folder.join("port")).unwrap();
        let ports = vec![NamedPortConfig { name: "org.lodgevm.test".to_owned(), host: listener.into() }];
        let listener = UnixListener::bind(folder.join("vsock")).unwrap();
        let mac = [0x52, 0x54, 0, 1, 2, 3];
        config.peripherals = Peripherals {
            entropy: true,
            balloon: true,
            console: Some(ConsoleConfig { terminal: Some(Box::new(terminal.clone())), ports }),
            input: true,
            vsock: Some(VsockConfig { cid: 7, listener }),
            networks: vec![NetworkConfig::new("net0", mac, Connection::Nothing)],
        };
    })
}

/// Has each device do what it is for; returns all that the guest has said.
fn exercise(guest: &Linux, size: u64, folder: &Path, terminal: &Output) -> String {
    let sockets = folder.join("vsock");
    terminal.wait_for("something", 1);
    guest.wait_for("waits for input");
    send_input(guest);
    // Before the guest connects, which it does as soon as it has served a connection of ours.
    let (listener, answer) = ask(&sockets, "LISTEN 53\n");
    assert_eq!(answer, "OK 53\n");
    guest.wait_for("listening on port 52");
    let (stream, answer) = ask(&sockets, "CONNECT 52\n");
    assert!(answer.starts_with("OK "), "{answer}");
    assert_echo(stream);
    assert_echo(handed(&listener));
    exercise_balloon(guest, size);
    let text = guest.run_to_end();

    linux::assert_clean(&text);
    let packed = text.split_once("random numbers of virtio_rng.0 pack to ").expect(&text).1;
    assert!(packed.split(' ').next().unwrap().parse::<u32>().unwrap() >= 65536, "{packed}");
    assert!(text.contains("listen: sent 3145728 bytes back") && text.contains("connect: sent 3145728 bytes back"));
    assert_input(&text);
    text
}

#[test]
fn every_virtio_device_does_what_it_is_for() {
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let terminal = Output::default();
    let Some(guest) = start(SIZES[0], folder.path(), &terminal, SCRIPT, "") else { return };

    let text = exercise(&guest, SIZES[0], folder.path(), &terminal);

    assert_interrupts(&text);
}

#[test]
fn every_virtio_device_works_without_msi_and_after_its_driver_has_begun_anew() {
    let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
    let terminal = Output::default();
    let script = format!("{REBIND}{SCRIPT}");
    let Some(guest) = start(SIZES[1], folder.path(), &terminal, &script, " pci=nomsi") else { return };

    let text = exercise(&guest, SIZES[1], folder.path(), &terminal);

    let lines: Vec<_> = text.lines().filter(|line| line.contains("IO-APIC") && line.contains("virtio")).collect();
    assert!(!text.contains("PCI-MSI"), "{text}");
    for number in 0..10 {
        let name = format!("virtio{number}");
        let shares = |line: &&str| line.split([' ', ',']).any(|word| word == name);
        assert!(lines.iter().any(shares), "{name} has no interrupt: {lines:#?}");
    }
}
