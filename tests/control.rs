//! A worker is driven from outside: QMP by our client and by a published one (PyPI's `qemu.qmp`), the serial socket, signals.
//! Whatever clients do, the guest runs on; however it ends, the exit report tells.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    guest::{Guest, PATIENCE, Serial},
    venv,
};
use lodge::worker::{exit_report::Outcome, testing::Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The test card's word that it hears commands.
const READY: &str = "ready\r\n";

/// The test card, up and hearing commands.
fn card() -> Option<(Guest, Serial, Client)> {
    let guest = Guest::start(|_| {})?;
    let mut serial = guest.serial();
    serial.wait_for(READY);
    let control = guest.control();
    Some((guest, serial, control))
}

/// Waits for an event, passing over others.
fn wait_for_event(client: &mut Client, name: &str) -> Value {
    client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let event = client.event().unwrap();
        if event["event"] == name {
            return event;
        }
    }
}

#[test]
fn a_guest_is_held_let_go_and_reset_and_its_clients_are_told() {
    let Some((_guest, mut serial, mut control)) = card() else { return };

    assert_eq!(control.ask("stop").unwrap(), json!({}));
    assert_eq!(control.ask("query-status").unwrap()["status"], "paused");
    serial.send("ping");
    assert_eq!(control.ask("cont").unwrap(), json!({}));
    serial.wait_for("pong");
    assert_eq!(control.ask("system_reset").unwrap(), json!({}));
    serial.wait_for(READY);

    assert_eq!(wait_for_event(&mut control, "STOP")["event"], "STOP");
    assert_eq!(wait_for_event(&mut control, "RESUME")["event"], "RESUME");
    let reset = wait_for_event(&mut control, "RESET");
    assert_eq!(reset["data"], json!({"guest": false, "reason": "host-qmp-system-reset"}));
    assert_eq!(control.ask("query-status").unwrap()["running"], true);
}

#[test]
fn the_guests_own_resets_happen_in_place() {
    let Some((guest, mut serial, mut control)) = card() else { return };

    for way in ["reset kbd", "reset port92", "reset cf9", "triple"] {
        serial.send(way);
        let reset = wait_for_event(&mut control, "RESET");
        assert_eq!(reset["data"], json!({"guest": true, "reason": "guest-reset"}), "{way}");
        serial.wait_for(READY);
    }

    assert_eq!(guest.supervisor.pid(guest_uuid(&guest)), Some(guest.pid), "the worker is the same");
}

fn guest_uuid(guest: &Guest) -> uuid::Uuid {
    guest.supervisor.library().load(&guest.name).unwrap().definition.uuid
}

#[test]
fn keys_and_pointer_reach_the_guest() {
    let Some((_guest, mut serial, mut control)) = card() else { return };
    let key = |name: &str| json!({"type": "qcode", "data": name});

    control.execute(json!({"execute": "send-key", "arguments": {"keys": [key("a")]}})).unwrap();
    serial.wait_for("key 1e down\r\n");
    serial.wait_for("key 1e up\r\n");
    let both = json!({"keys": [key("shift"), key("up")], "hold-time": 20});
    control.execute(json!({"execute": "send-key", "arguments": both})).unwrap();
    for line in ["key 2a down\r\n", "key e048 down\r\n", "key e048 up\r\n", "key 2a up\r\n"] {
        serial.wait_for(line);
    }

    let events = json!([{"type": "btn", "data": {"button": "left", "down": true}}]);
    control.execute(json!({"execute": "input-send-event", "arguments": {"events": events}})).unwrap();
    serial.wait_for("button left down\r\n");
}

#[test]
fn an_instruction_that_kvm_cannot_run_holds_the_guest_and_is_reported() {
    let Some((guest, mut serial, mut control)) = card() else { return };

    serial.send("bad");

    let event = wait_for_event(&mut control, "x-lodge-internal-error");
    assert_eq!(control.ask("query-status").unwrap()["status"], "internal-error");
    let report = guest.exit_report().expect("a report is there while the guest is held");
    assert_eq!(report.outcome, Outcome::InternalError);
    let place = report.internal_error.unwrap();
    assert_eq!(
        (event["data"]["rip"].as_u64(), event["data"]["bytes"].as_str()),
        (Some(place.rip), Some(&*place.bytes))
    );
    assert!(place.rip > 0 && !place.bytes.is_empty(), "{place:?}");
    assert!(guest.log().contains(&format!("{:#x}", place.rip)), "{}", guest.log());
    control.ask("system_reset").unwrap();
    control.ask("cont").unwrap();
    serial.wait_for(READY);
}

#[test]
fn the_serial_history_is_there_for_who_comes_late() {
    let Some((guest, mut serial, _control)) = card() else { return };
    serial.ask("ping", "pong\r\n");

    let history = guest.serial().wait_for("pong\r\n");

    assert!(history.starts_with("LODGE TESTCARD 1\r\n"), "{history:?}");
}

#[test]
fn clients_that_hang_flood_or_talk_nonsense_do_not_disturb_the_guest() {
    let Some((guest, mut serial, mut control)) = card() else { return };
    let _silent = UnixStream::connect(guest.paths.control()).unwrap();
    let mut half = guest.control();
    half.send(b"{\"execute\": \"sto").unwrap();
    let mut nonsense = guest.control();
    nonsense.send(&[0, 1, 2, b'}', b']', 0xff, b'"', b'\n']).unwrap();
    nonsense.send(&vec![b'['; 3 << 20]).ok();
    let flooding = UnixStream::connect(guest.paths.control()).unwrap();
    flooding.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while (&flooding).write_all(b"{\"execute\":\"query-commands\"}").is_ok() {}
    let _hung_console = UnixStream::connect(guest.paths.serial()).unwrap();
    let _silent_viewer = UnixStream::connect(guest.paths.vnc()).unwrap();

    let start = Instant::now();
    for _ in 0..50 {
        control.ask("query-status").unwrap();
        serial.ask("ping", "pong\r\n");
    }

    assert_eq!(control.ask("query-status").unwrap()["status"], "running");
    println!("50 questions to worker and guest took {:?}", start.elapsed());
    half.send(b"p\"}").unwrap();
    assert_eq!(half.response().unwrap(), json!({"return": {}}));
}

#[test]
fn what_the_guest_uses_is_told_in_one_request() {
    let Some((_guest, _serial, mut control)) = card() else { return };

    let cpus = control.ask("query-cpus-fast").unwrap();
    let block = control.ask("query-block").unwrap();
    let blockstats = control.ask("query-blockstats").unwrap();
    let statistics = control.ask("x-lodge-statistics").unwrap();

    assert_eq!(cpus.as_array().unwrap().len(), 1);
    assert_eq!(block[0]["inserted"]["drv"], "raw");
    assert!(blockstats[0]["stats"]["rd_bytes"].as_u64().unwrap() >= 512, "{blockstats}");
    assert_eq!(statistics["disks"][0]["read-bytes"], blockstats[0]["stats"]["rd_bytes"]);
    let (all, vcpu) = (&statistics["cpu-time-ns"], &statistics["vcpus"][0]["cpu-time-ns"]);
    assert!(vcpu.as_u64().unwrap() > 0 && all.as_u64() >= vcpu.as_u64(), "{statistics}");
    assert!(statistics["memory"]["resident"].as_u64().unwrap() > 0, "{statistics}");
}

#[test]
fn the_worker_is_shut_in_and_holds_only_what_it_was_given() {
    let Some(guest) = Guest::start(|_| {}) else { return };
    let status = fs::read_to_string(format!("/proc/{}/status", guest.pid)).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);

    let open: BTreeSet<String> = fs::read_dir(format!("/proc/{}/fd", guest.pid))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| target.starts_with('/'))
        .collect();

    assert_eq!((field("NoNewPrivs:"), field("Seccomp:"), field("Seccomp_filters:")), (Some("1"), Some("2"), Some("2")));
    let own = guest.file("").to_string_lossy().into_owned();
    let statm = format!("/proc/{}/statm", guest.pid);
    let expected = |target: &String| {
        ["/dev/kvm", &statm].contains(&target.as_str())
            || [&own, "/usr/share/", "/memfd:"].iter().any(|start| target.starts_with(start))
    };
    assert!(open.iter().all(expected), "{open:?}");
}

#[test]
fn however_a_guest_ends_its_report_tells() {
    let Some((quit, _, mut control)) = card() else { return };
    assert_eq!(control.ask("quit").unwrap(), json!({}));
    assert_eq!(quit.wait().unwrap().outcome, Outcome::Quit);

    let Some(terminated) = Guest::start(|_| {}) else { return };
    kill_process(pid(&terminated), Signal::TERM).unwrap();
    assert_eq!(terminated.wait().unwrap().outcome, Outcome::Terminated);

    let Some(killed) = Guest::start(|_| {}) else { return };
    kill_process(pid(&killed), Signal::KILL).unwrap();
    assert_eq!(killed.wait(), None);

    let Some((off, mut serial, _)) = card() else { return };
    serial.send("poweroff");
    assert_eq!(off.wait().unwrap().outcome, Outcome::Shutdown);
}

fn pid(guest: &Guest) -> Pid {
    Pid::from_raw(guest.pid.try_into().unwrap()).unwrap()
}

#[test]
fn started_by_hand_the_worker_says_who_starts_it() {
    // Whoever runs the tests may have something open at descriptor 3.
    let output =
        Command::new("/bin/sh").args(["-c", "exec \"$0\" 3<&-", env!("CARGO_BIN_EXE_lodge-worker")]).output().unwrap();

    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.starts_with("error: there is no launch description"), "{text}");
    assert!(text.contains("lodgectl start NAME"), "{text}");
}

#[test]
fn a_launch_description_that_is_no_description_is_refused() {
    let mut worker = Command::new("/bin/sh");
    worker.args(["-c", "echo '{\"version\": 99}' | exec \"$0\" 3<&0", env!("CARGO_BIN_EXE_lodge-worker")]);

    let output = worker.output().unwrap();

    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("version 99"), "{text}");
}

#[test]
fn a_published_client_drives_a_guest() {
    let Some(python) = venv::python() else { return };
    let Some((guest, ..)) = card() else { return };
    let picture = guest.file("picture.png");

    let mut client = Command::new(python);
    client.arg("tests/control/client.py").arg(guest.paths.control()).arg(&picture).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut said = String::new();
    client.stdout.take().unwrap().read_to_string(&mut said).unwrap();

    assert!(client.wait().unwrap().success(), "{said}");
    let picture = png::Decoder::new(std::io::BufReader::new(fs::File::open(picture).unwrap())).read_info().unwrap();
    assert_eq!((picture.info().width, picture.info().height), (800, 600));
    assert_eq!(guest.wait().unwrap().outcome, Outcome::Quit);
}
