//! A machine whose state is saved goes on in another machine as if nothing had been.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;
#[path = "saved_state/refused.rs"]
mod refused;

use std::{
    fs::File,
    io::{Read, Seek, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{
    card::{self, Card},
    guest::Guest,
    kvm,
    linux::{self, Linux, disk},
    machine::{Output, PATIENCE, TestMachine, machine},
    stock,
};
use lodge::{
    input::{InputEvent, Key},
    manager::{
        editing,
        supervisor::{Begin, GuestState, StartOptions},
    },
    screen::Surface,
    vmm::{
        block::Format,
        boot::linux::LinuxBoot,
        machine::{
            Boot, Connection, ConsoleConfig, Graphics, Machine, MachineConfig, NetworkConfig, NetworkModel,
            Peripherals, VsockConfig,
        },
        memory::MemoryBacking,
        snapshot::{
            Progress,
            container::{Kind, Reader},
        },
        virtio::console::NamedPortConfig,
    },
};
use serde_json::Value;

/// How often the Linux guest is saved and restored.
const ROUNDS: usize = 10;
const MIB: u64 = 1 << 20;

/// What the Linux guest does. While it is saved and restored, a clock ticks, a disk is written to and verified, and a connection
/// to the host is open. When a line comes over the serial port each device is tried.
const SCRIPT: &str = r#"
(while :; do echo "tick $(cut -d ' ' -f 1 /proc/uptime)"; usleep 50000; done) &
clock=$!
(
    until [ -e stop ]; do
        fio --output-format=terse --ioengine=libaio --direct=1 --iodepth=16 --filename=/dev/vdc --verify=crc32c \
            --verify_fatal=1 --rw=randwrite --bs=4k --size=4M --name=work >fio || { cat fio; break; }
        done=$((done + 1))
    done
    echo "verified the disk $((done > 0)) $([ -e stop ] && echo to the end)"
) &
disk=$!
./vsock listen 52 &
ip link set eth0 up
ip link set eth1 up
device() { grep -l "$1" /sys/class/input/event*/device/name | sed 's,/sys/class/input/\(event[0-9]*\)/.*,/dev/input/\1,'; }
exec 3<$(device "Lodge virtio keyboard")
exec 4<>/dev/hvc0
echo "everything is under way"
read line
kill $clock
touch stop
wait $disk
echo "random numbers: $(head -c 4096 /dev/hwrng | wc -c)"
echo "out of hvc0" >&4
read line <&4
echo "came by hvc0: $line"
echo "waits for a key"
head -c $((24 * 2)) <&3 | hexdump -v -e '24/1 "%02x" "\n"' | sed 's/^/keyboard: /'
carriers() { cat /sys/class/net/eth[01]/carrier | tr -d '\n'; }
until [ "$(carriers)" = 00 ]; do usleep 10000; done
echo "the cables are out"
until [ "$(carriers)" = 11 ]; do usleep 10000; done
echo "the cables are in"
free() { grep MemFree /proc/meminfo | tr -s ' ' | cut -d ' ' -f 2; }
before=$(free)
echo "waits for the balloon"
until [ $(free) -lt $((before - (48 << 10))) ]; do usleep 10000; done
echo "the balloon is there"
./vsock listen 53
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
"#;

/// What a Linux guest needs on the host. Each machine gets the same.
struct Place {
    folder: tempfile::TempDir,
    native: PathBuf,
    terminal: Output,
    backing: MemoryBacking,
}

impl Place {
    fn new(script: &str, backing: MemoryBacking) -> Option<Self> {
        drop(kvm::open()?);
        let native = linux::native()?;
        let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
        linux::copy_root(&native, folder.path());
        linux::tools(folder.path(), script, &["vsock"]);
        File::create(folder.path().join("work")).unwrap().set_len(8 * MIB).unwrap();
        Some(Self { folder, native, terminal: Output::default(), backing })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A socket in place of an earlier one.
    fn listen(&self, name: &str) -> UnixListener {
        let path = self.path(name);
        let _ = std::fs::remove_file(&path);
        UnixListener::bind(path).unwrap()
    }

    fn configure(&self, config: &mut MachineConfig) {
        let script = "cd~/tmp~&&~tar~-xf~/dev/vdb~&&~sh~-e~./script";
        config.memory = 256 * MIB;
        config.memory_backing = self.backing;
        config.graphics = Graphics::Virtio;
        config.boot = Boot::Linux(LinuxBoot {
            kernel: File::open(self.native.join("vmlinux")).unwrap(),
            initrd: None,
            command_line: format!("{} run={script}", linux::COMMAND_LINE),
        });
        let raw = |id: &str, name: &str| disk(id, &self.path(name), Format::Raw);
        config.disks = vec![raw("root", "root.ext4"), raw("tools", "tools.tar"), raw("work", "work")];
        let port = NamedPortConfig { name: "org.lodgevm.test".to_owned(), host: self.listen("port").into() };
        config.peripherals = Peripherals {
            entropy: true,
            balloon: true,
            console: Some(ConsoleConfig { terminal: Some(Box::new(self.terminal.clone())), ports: vec![port] }),
            input: true,
            vsock: Some(VsockConfig { cid: 7, listener: self.listen("vsock") }),
            networks: vec![
                NetworkConfig::new("net0", [0x52, 0x54, 0, 1, 2, 3], Connection::Nothing),
                NetworkConfig {
                    model: NetworkModel::E1000,
                    ..NetworkConfig::new("net1", [0x52, 0x54, 0, 1, 2, 4], Connection::Nothing)
                },
            ],
        };
    }

    fn machine(&self) -> TestMachine {
        machine(kvm::open().unwrap(), |config| self.configure(config))
    }

    /// Connects to a port of the guest's.
    fn connect(&self, port: u32) -> UnixStream {
        let mut stream = UnixStream::connect(self.path("vsock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "CONNECT {port}").unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"OK ");
        while answer[0] != b'\n' {
            stream.read_exact(&mut answer[..1]).unwrap();
        }
        stream
    }
}

/// Saves a machine into a file.
fn save(machine: &mut Machine) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let progress = Progress::default();
    machine.save(true).unwrap().write(&mut file, &progress).unwrap();
    assert_eq!((progress.done(), progress.written()), (progress.total(), file.metadata().unwrap().len()));
    file
}

fn restore(machine: &mut Machine, mut file: &File) {
    file.rewind().unwrap();
    assert!(machine.restore(&mut file).unwrap(), "it ran when it was saved");
}

/// The two documents of a saved state.
fn documents(mut file: &File) -> (Value, Value) {
    file.rewind().unwrap();
    let mut reader = Reader::new(&mut file).unwrap();
    (reader.document(Kind::Machine).unwrap(), reader.document(Kind::Devices).unwrap())
}

/// A machine that has just been restored is saved again: nothing is another than it was but what goes on by itself.
fn assert_equal(first: &File, second: &File) {
    let ((machine, state), (other_machine, other_state)) = (documents(first), documents(second));
    assert_eq!(machine, other_machine);
    for (label, device) in state["devices"].as_object().unwrap() {
        assert_eq!(&other_state["devices"][label], device, "{label}");
    }
    assert_eq!(state["devices"].as_object().unwrap().len(), other_state["devices"].as_object().unwrap().len());
    assert_eq!(state["chips"]["irqchips"], other_state["chips"]["irqchips"]);
    for (vcpu, other) in state["vcpus"].as_array().unwrap().iter().zip(other_state["vcpus"].as_array().unwrap()) {
        for part in ["regs", "sregs", "xsave", "xcrs", "debug_regs", "mp_state", "events"] {
            assert_eq!(vcpu["state"][part], other["state"][part], "{part}");
        }
    }
}

fn picture(machine: &Machine) -> Surface {
    let screen = machine.screen();
    let mut shown = Surface::default();
    screen.attach();
    screen.refresh();
    screen.look(0, &mut |surface, _| shown = surface.clone());
    screen.detach();
    shown
}

/// What the guest's clock has shown, in seconds.
fn ticks(text: &str) -> Vec<f64> {
    let whole_lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix("\r\n"));
    whole_lines.filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect()
}

/// Saves the running guest and goes on in another machine.
fn move_on(guest: &mut TestMachine, place: &Place) {
    guest.serial.wait_until("ticks", |text| (ticks(text).len() >= 3).then_some(()));
    guest.machine.pause().unwrap();
    let (before, shown) = (guest.serial.text(), picture(&guest.machine));
    let state = save(&mut guest.machine);
    let mut next = place.machine();
    std::mem::swap(guest, &mut next);
    drop(next);
    restore(&mut guest.machine, &state);
    assert_equal(&state, &save(&mut guest.machine));
    assert!(shown.width > 0 && picture(&guest.machine) == shown, "the picture is another one");

    guest.machine.resume().unwrap();

    let first = guest.serial.wait_until("a tick", |text| ticks(text).first().copied());
    let last = ticks(&before).last().copied().unwrap();
    assert!(first >= last && first < last + 60.0, "the clock went from {last} to {first}");
}

fn exercise(guest: &Linux, place: &Place) {
    let machine = &guest.guest.machine;
    assert_eq!(machine.serial_input().enqueue(b"\n"), 1);
    guest.wait_for("verified the disk 1 to the end");
    guest.wait_for("random numbers: 4096");
    place.terminal.wait_for("out of hvc0", 1);
    assert_eq!(machine.console_input().unwrap().enqueue(b"into hvc0\n"), 10);
    guest.wait_for("came by hvc0: into hvc0");
    guest.wait_for("waits for a key");
    machine.input().send(&[InputEvent::Key { key: Key(30), down: true }]);
    guest.guest.serial.wait_for("keyboard: ", 2);
    // Type 1 (a key), code 30, value 1.
    assert!(guest.guest.serial.text().contains("01001e0001000000"), "{}", guest.guest.serial.text());
    machine.networks().iter().for_each(|network| network.card.set_link(false));
    guest.wait_for("the cables are out");
    machine.networks().iter().for_each(|network| network.card.set_link(true));
    guest.wait_for("the cables are in");
    guest.wait_for("waits for the balloon");
    machine.balloon().unwrap().set_target(64 * MIB);
    guest.wait_for("the balloon is there");
    guest.wait_for("listening on port 53");
    let mut stream = place.connect(53);
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

fn goes_on(backing: MemoryBacking, rounds: usize) {
    let Some(place) = Place::new(SCRIPT, backing) else { return };
    let mut guest = place.machine();
    guest.machine.resume().unwrap();
    guest.serial.wait_for("everything is under way", 1);
    let connection = place.connect(52);

    let begun = Instant::now();
    for round in 0..rounds {
        move_on(&mut guest, &place);
        if round == 0 {
            // The guest learns that the program of the host is gone.
            guest.serial.wait_for("read: Connection reset by peer", 1);
        }
    }
    drop(connection);
    println!("{rounds} rounds in {:.1} s", begun.elapsed().as_secs_f32());

    let linux = Linux { guest, folder: tempfile::tempdir().unwrap() };
    exercise(&linux, &place);
    let text = linux.run_to_end();
    linux::assert_clean(&text);
    assert!(text.contains("kvm-clock"), "{text}");
}

#[test]
fn linux_goes_on_in_another_machine_again_and_again_with_all_its_devices() {
    goes_on(MemoryBacking::default(), ROUNDS);
}

#[test]
fn linux_goes_on_with_its_memory_in_a_file() {
    goes_on(MemoryBacking { shared: true, ..MemoryBacking::default() }, 1);
}

#[test]
fn the_test_card_goes_on_with_its_picture() {
    let Some(mut card) = card::boot() else { return };
    for _ in 0..3 {
        card.tell("mode 640 480 32");
        card.guest.machine.pause().unwrap();
        let shown = card.surface();
        let state = save(&mut card.guest.machine);
        let mut next = machine(kvm::open().unwrap(), |config| config.disks = vec![card::disk()]);
        drop(card);
        restore(&mut next.machine, &state);
        assert_equal(&state, &save(&mut next.machine));
        next.machine.resume().unwrap();

        card = Card::of(next);

        assert_eq!(card.ask("ping"), "pong");
        assert!((shown.width, shown.height) == (640, 480) && card::bars(&card.surface()) == card::BARS);
    }
}

/// A stock kernel with two vCPUs, which is saved while it boots: both go on.
#[test]
fn several_vcpus_go_on_together() {
    const VCPUS: u32 = 2;
    if kvm::open().is_none() {
        return;
    }
    let Some(path) = stock::kernel("vmlinux") else { return };
    let configure = |config: &mut MachineConfig| {
        let command_line = stock::COMMAND_LINE.to_owned();
        let kernel = File::open(&path).unwrap();
        (config.memory, config.vcpus) = (256 * MIB, VCPUS);
        config.boot = Boot::Linux(LinuxBoot { kernel, initrd: None, command_line });
    };
    // One runs, and the other waits for its start. On a busy host it may have started before the guest stands still.
    let attempts = (0..10).map(|_| {
        let mut guest = machine(kvm::open().unwrap(), configure);
        guest.machine.resume().unwrap();
        guest.serial.wait_for(".... node", 1);
        guest.machine.pause().unwrap();
        guest
    });
    let mut in_time = attempts.filter(|guest| !guest.serial.text().contains("Brought up"));
    let mut guest = in_time.next().expect("it was always saved too late");
    let state = save(&mut guest.machine);
    let mut next = machine(kvm::open().unwrap(), configure);
    let before = guest.serial.text();
    drop(guest);
    restore(&mut next.machine, &state);
    assert_equal(&state, &save(&mut next.machine));

    next.machine.resume().unwrap();

    next.wait_for("smp: Brought up 1 node, 2 CPUs");
    linux::assert_clean(&(before + &next.serial.text()));
}

/// A guest in a worker, which is saved and restored as lodgectl does it.
#[test]
fn a_saved_guest_goes_on_at_its_next_start() {
    let Some((guest, _folder)) = linux::start_worker(|_| ()) else { return };
    let Guest { supervisor, runtime, name, .. } = &guest;
    let state = || runtime.block_on(supervisor.state(name)).unwrap();
    let save = || runtime.block_on(supervisor.save(name, &|_, _| true)).unwrap();
    let start = |options| runtime.block_on(supervisor.start_with(name, options));
    let file = supervisor.paths().saved_state(name);
    guest.serial().wait_for("# ");
    let mut shell = guest.serial();
    let told = shell.ask(
        "mark=$((6 * 7)); mount -t tmpfs t /mnt; head -c 30000000 /dev/urandom >/mnt/noise; sha256sum </mnt/noise",
        "  -\r\n",
    );
    let sum = told.lines().find_map(|line| line.strip_suffix("  -")).unwrap().to_owned();

    // Saving that is cancelled changes nothing.
    let cancelled = runtime.block_on(supervisor.save(name, &|_, _| false));
    if cancelled.is_err() {
        assert_eq!(state(), GuestState::Running);
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
    } else {
        start(StartOptions::default()).unwrap();
    }
    save();
    assert_eq!(state(), GuestState::Saved);
    assert!(guest.exit_report().is_none() && file.exists());

    // A definition that has been changed does not fit, and the state is kept.
    let mut stored = supervisor.library().load(name).unwrap();
    stored.definition.memory = lodge::manager::size::Size::mib(600);
    let revision = supervisor.library().save(&stored.definition, &stored.revision).unwrap();
    let refused = start(StartOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("the memory was 512 MiB and is 600 MiB"), "{refused}");
    assert_eq!(state(), GuestState::Saved);
    stored.definition.memory = lodge::manager::size::Size(linux::WORKER_MEMORY);
    supervisor.library().save(&stored.definition, &revision).unwrap();

    // It waits, and its state stays until it runs; killed, it can be restored again.
    start(StartOptions { paused: true, begin: Begin::Saved }).unwrap();
    assert!(matches!(state(), GuestState::Paused { .. }));
    runtime.block_on(supervisor.force_off(name)).unwrap();
    assert_eq!(state(), GuestState::Saved);
    start(StartOptions::default()).unwrap();
    let mut shell = guest.serial();
    shell.ask("echo the mark is $mark", "the mark is 42\r\n");
    let told = shell.ask("sha256sum </mnt/noise", "  -\r\n");
    assert!(told.contains(&sum), "{told}");
    let deadline = Instant::now() + PATIENCE;
    while file.exists() {
        assert!(Instant::now() < deadline, "the used state is still there");
        std::thread::sleep(Duration::from_millis(10));
    }

    // Whether its clipboard is shared can be changed while it runs, and makes no difference to the state.
    let share_clipboard = |shared| {
        let mut stored = supervisor.library().load(name).unwrap();
        stored.definition.devices.clipboard = shared;
        let saved = editing::save(supervisor, stored.definition, None, stored.revision);
        runtime.block_on(saved).unwrap().applied.no_clipboard
    };
    assert!(!share_clipboard(false));
    save();
    start(StartOptions::default()).unwrap();
    guest.serial().ask("echo the mark is $mark", "the mark is 42\r\n");
    assert!(!share_clipboard(true));

    // A disk that was written to meanwhile does not fit.
    save();
    let disk = &stored.definition.disks[0].path;
    File::options().append(true).open(disk).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let refused = start(StartOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("was changed since") && refused.contains("--discard-saved"), "{refused}");
    assert_eq!(state(), GuestState::Saved);
    share_clipboard(false);
    start(StartOptions { begin: Begin::PowerOn, paused: false }).unwrap();
    guest.serial().wait_for("# ");
    assert!(!file.exists());

    // Started without a clipboard, it goes on without.
    assert!(share_clipboard(true));
    save();
    start(StartOptions::default()).unwrap();
    guest.serial().ask("echo six times seven is $((6 * 7))", "seven is 42\r\n");
    share_clipboard(false);
    assert!(share_clipboard(true));
}

/// A file of garbage in place of a state.
#[test]
fn a_file_that_is_no_state_is_none() {
    let Some(guest) = Guest::start(|_| ()) else { return };
    let Guest { supervisor, runtime, name, .. } = &guest;
    runtime.block_on(supervisor.force_off(name)).unwrap();
    let file = supervisor.paths().saved_state(name);

    for garbage in [&b""[..], b"LODGEST\x1a", &[0xff; 4096]] {
        std::fs::write(&file, garbage).unwrap();
        assert_eq!(runtime.block_on(supervisor.state(name)).unwrap(), GuestState::Off);
    }
    let path: &Path = &guest.file("garbage");
    std::fs::write(path, [0xff; 4096]).unwrap();
    let begin = Begin::State(File::open(path).unwrap());
    let refused = runtime.block_on(supervisor.start_with(name, StartOptions { begin, paused: false })).unwrap_err();

    assert!(refused.to_string().contains("no saved state"), "{refused}");
    assert!(!file.exists());
}
