//! A Linux guest in a worker, started as `lodge` and `lodgectl` start it: its devices are there, it is reset in place when it
//! reboots, and gone when it powers itself off.

#[path = "linux_worker/clipboard.rs"]
mod clipboard;
#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use common::{
    guest::{Guest, PATIENCE},
    linux::{self, WORKER_MEMORY as MEMORY},
    picture::{BLUE, BLUE_CONSOLE, decode_png, plain},
};
use lodge::{
    manager::definition::{DisplayModel, KernelDefinition},
    worker::exit_report::Outcome,
};
use serde_json::{Value, json};

/// Waits until `met` holds.
fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether an event says that the balloon leaves so many bytes to the guest.
fn tells_balloon(event: &Value, kept: u64) -> bool {
    event["event"] == "BALLOON_CHANGE" && event["data"]["actual"] == kept
}

#[test]
fn a_guest_finds_its_devices_reboots_in_place_and_powers_itself_off() {
    let start = linux::start_worker(|definition| definition.display.model = DisplayModel::Virtio);
    let Some((guest, _folder)) = start else { return };
    let mut serial = guest.serial();
    let log = serial.wait_for("GUEST-UP");
    linux::assert_clean(&log);
    serial.wait_for("# ");

    // The shell's echo has the commands with `$`, their output has not.
    serial.send("cat /sys/class/virtio-ports/*/name; echo name$((1+1))");
    assert!(serial.wait_for("name2").contains("org.qemu.guest_agent.0"));
    serial.send("cat /sys/class/misc/hw_random/rng_current; head -c 8 /dev/hwrng | wc -c; echo rng$((1+1))");
    let random = serial.wait_for("rng2");
    assert!(random.contains("virtio_rng") && random.lines().any(|line| line.trim() == "8"), "{random}");
    serial.send("cat /sys/class/input/input*/name; echo input$((1+1))");
    let input = serial.wait_for("input2");
    assert!(input.contains("Lodge virtio tablet") && input.contains("Lodge virtio keyboard"), "{input}");
    serial.send("echo hello from hvc0 >/dev/hvc0; echo console$((1+1))");
    serial.wait_for("console2");
    let mut console = UnixStream::connect(guest.paths.console()).unwrap();
    console.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    while !said.contains("hello from hvc0") {
        let mut bytes = [0; 256];
        let length = console.read(&mut bytes).expect("the console says something");
        assert!(length > 0, "the console was closed after {said:?}");
        said.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    serial.send("exec 8</dev/hvc0; echo open$((1+1)); read -r word <&8; echo heard $word");
    serial.wait_for("open2");
    console.write_all(b"greetings\n").unwrap();
    serial.wait_for("heard greetings");

    // A program of the host and one of the guest talk over the agent's port.
    let mut agent = UnixStream::connect(guest.paths.agent()).unwrap();
    agent.set_read_timeout(Some(PATIENCE)).unwrap();
    serial.send("port=$(ls /dev/vport*p1); read -r word <$port; echo heard $word; echo answer >$port");
    agent.write_all(b"question\n").unwrap();
    serial.wait_for("heard question");
    let mut answer = [0; 6];
    agent.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");

    clipboard::is_shared(&guest, &mut serial);

    // What Linux draws on its console is what a picture of the screen shows.
    serial.send(BLUE_CONSOLE);
    let client = guest.runtime.block_on(guest.supervisor.attach(&guest.name)).unwrap();
    let expected = plain(1280, 800, BLUE);
    wait_until("a blue screen", || decode_png(&guest.runtime.block_on(client.screenshot()).unwrap()) == expected);

    // The balloon takes memory and gives it back; its size is told, and what the guest says about its memory.
    let mut control = guest.control();
    let balloon = "/machine/peripheral/balloon0";
    let interval = json!({"path": balloon, "property": "guest-stats-polling-interval", "value": 1});
    control.execute(json!({"execute": "qom-set", "arguments": interval})).unwrap();
    for kept in [MEMORY / 2, MEMORY] {
        control.execute(json!({ "execute": "balloon", "arguments": { "value": kept } })).unwrap();
        while !tells_balloon(&control.event().unwrap(), kept) {}
        assert_eq!(control.ask("query-balloon").unwrap()["actual"], kept);
    }
    let stats = json!({"execute": "qom-get", "arguments": {"path": balloon, "property": "guest-stats"}});
    let mut stat = |name: &str| control.execute(stats.clone()).unwrap()["return"]["stats"][name].as_u64().unwrap();
    wait_until("the guest tells of its memory", || stat("stat-total-memory") < MEMORY);
    assert!(stat("stat-free-memory") < stat("stat-total-memory"));
    let memory = control.ask("x-lodge-statistics").unwrap()["memory"].clone();
    assert!(memory["guest"]["available"].as_u64().unwrap() > MEMORY / 4 && memory["balloon"] == MEMORY, "{memory}");

    serial.send("reboot -f");
    let log = serial.wait_for("GUEST-UP");
    linux::assert_clean(&log);
    serial.wait_for("# ");
    serial.send("sync; poweroff -f");
    let report = guest.wait().expect("a worker leaves a report");
    assert_eq!(report.outcome, Outcome::Shutdown, "{}", report.message);
}

#[test]
fn a_system_that_does_not_listen_runs_on_after_the_power_button_and_is_forced_off() {
    let Some((guest, _folder)) = linux::start_worker(|_| {}) else { return };
    let mut serial = guest.serial();
    serial.wait_for("GUEST-UP");
    serial.wait_for("# ");

    let shut_down = guest.runtime.block_on(guest.supervisor.shut_down(&guest.name, Duration::from_millis(500)));

    assert!(!shut_down.unwrap());
    serial.send("echo still$((1+1))");
    serial.wait_for("still2");
    guest.runtime.block_on(guest.supervisor.force_off(&guest.name)).unwrap();
    let last = guest.runtime.block_on(guest.supervisor.last_exit(&guest.name)).expect("a worker leaves a report");
    assert_eq!(last.outcome, Outcome::Quit, "{}", last.message);
}

#[test]
fn a_file_that_is_no_kernel_is_refused_before_the_guest_starts() {
    let folder = tempfile::tempdir().unwrap();
    let bogus = folder.path().join("vmlinuz");
    std::fs::write(&bogus, "not a kernel").unwrap();
    let Some(error) = Guest::refused(|definition| {
        definition.kernel = Some(KernelDefinition { path: bogus, initrd: None, cmdline: String::new() });
    }) else {
        return;
    };

    assert!(error.contains("neither a bzImage nor an ELF file"), "{error}");
}
