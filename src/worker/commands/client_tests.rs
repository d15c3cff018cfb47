//! The commands as clients see them, over a machine without KVM.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    clipboard::GuestClipboard,
    input::{Button, InputEvent, Key},
    rfb::server::{ViewerEvent, ViewerId},
    vmm::{machine::MachineEvent, virtio::console::PortProgram},
    worker::{
        driver::Request,
        testing::{Client, FakeLaunch, FakeWorker},
        vdagent::VdAgent,
    },
};

fn worker() -> FakeWorker {
    FakeWorker::start(FakeLaunch::default()).unwrap()
}

fn paused_worker() -> FakeWorker {
    FakeWorker::start(FakeLaunch { start_paused: true, ..FakeLaunch::default() }).unwrap()
}

fn error_of(response: &Value) -> (&str, &str) {
    (response["error"]["class"].as_str().unwrap(), response["error"]["desc"].as_str().unwrap())
}

#[test]
fn every_command_that_is_listed_is_there_and_complains_of_unexpected_arguments() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    let commands = client.ask("query-commands").unwrap();

    let names: Vec<&str> =
        commands.as_array().unwrap().iter().map(|command| command["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"query-status") && names.contains(&"quit"), "{names:?}");
    for name in names.into_iter().filter(|name| *name != "qmp_capabilities") {
        let response = client.execute(json!({"execute": name, "arguments": {"x-unheard-of": 1}})).unwrap();
        assert_eq!(error_of(&response), ("GenericError", "Parameter 'x-unheard-of' is unexpected"), "{name}");
    }
}

#[test]
fn what_is_asked_is_answered_with_qemus_names() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    let status = client.ask("query-status").unwrap();
    let cpus = client.ask("query-cpus-fast").unwrap();
    let block = client.ask("query-block").unwrap();
    let blockstats = client.ask("query-blockstats").unwrap();
    let vnc = client.ask("query-vnc").unwrap();
    let statistics = client.ask("x-lodge-statistics").unwrap();

    assert_eq!(status, json!({"running": true, "singlestep": false, "status": "running"}));
    assert_eq!(client.ask("query-name").unwrap(), json!({"name": "fake"}));
    assert_eq!(client.ask("query-uuid").unwrap(), json!({"UUID": "00000000-0000-0000-0000-000000010d6e"}));
    assert_eq!(client.ask("query-version").unwrap()["qemu"], json!({"major": 7, "minor": 2, "micro": 0}));
    assert!(cpus[0]["thread-id"].as_i64().unwrap() > 0 && cpus[0]["target"] == "x86_64", "{cpus}");
    assert_eq!(block[0]["inserted"]["image"]["virtual-size"], 10 << 20);
    assert_eq!(blockstats[0]["stats"]["rd_bytes"], 0);
    assert_eq!((&vnc["enabled"], &vnc["service"]), (&json!(true), &json!("/run/lodge/vnc.sock")));
    assert_eq!(statistics["memory"]["total"], 64 << 20);
    assert_eq!(statistics["memory"]["balloon-driver"], false);
    assert!(statistics["cpu-time-ns"].as_u64().unwrap() > 0, "{statistics}");
}

#[test]
fn the_clipboard_is_shared_and_no_longer_shared_as_is_said() {
    let agent = Arc::new(VdAgent::new().unwrap());
    let with = FakeWorker::start(FakeLaunch { clipboard: Some(Arc::clone(&agent)), ..FakeLaunch::default() }).unwrap();
    let (mut client, mut without) = (with.client().unwrap(), worker().client().unwrap());
    let set = |client: &mut Client, enable: bool| {
        client.execute(json!({"execute": "x-lodge-set-clipboard", "arguments": {"enable": enable}})).unwrap()
    };
    // What the guest's agent says: that it knows clipboards by demand, and that it has text.
    let say = |kind: u32, body: [u32; 2]| {
        let words = [1, 28, 1, kind, 0, 0, 8, body[0], body[1]];
        agent.receive(&words.map(u32::to_le_bytes).concat());
    };
    agent.guest_opened(true);
    say(6, [0, 0x60]);
    say(7, [0, 1]);

    let shared = [agent.request(), set(&mut client, false) == json!({"return": {}}), agent.request()];
    let again = (set(&mut client, true), agent.request());

    assert_eq!(shared, [true, true, false]);
    assert_eq!(again, (json!({"return": {}}), true));
    assert_eq!(error_of(&set(&mut without, true)).0, "DeviceNotActive");
}

/// What is asked of a drive, and the answer.
fn ask_drive(client: &mut Client, command: &str, arguments: Value) -> Value {
    client.execute(json!({"execute": command, "arguments": arguments})).unwrap()
}

/// A file of so many blocks, handed over: the name of its set.
fn hand_over(client: &mut Client, blocks: u64) -> String {
    let file = tempfile::tempfile().unwrap();
    file.set_len(blocks * 2048).unwrap();
    let command = json!({"execute": "add-fd", "arguments": {"opaque": "/isos/debian.iso"}});
    send_fd(client, &file);
    let added = client.execute(command).unwrap();
    format!("/dev/fdset/{}", added["return"]["fdset-id"])
}

#[test]
fn a_medium_goes_into_a_drive_and_out_again() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let done = json!({"return": {}});
    let tray = |client: &mut Client| {
        let event = client.event().unwrap();
        assert_eq!(event["event"], "DEVICE_TRAY_MOVED");
        event["data"].clone()
    };
    let moved = |open: bool| json!({"device": "cdrom0", "id": "cdrom0", "tray-open": open});
    let empty = client.ask("query-block").unwrap()[1].clone();

    let filename = hand_over(&mut client, 10);
    let inserted = ask_drive(&mut client, "blockdev-change-medium", json!({"id": "cdrom0", "filename": filename}));
    let moves = (tray(&mut client), tray(&mut client));
    let full = client.ask("query-block").unwrap()[1].clone();
    let ejected = ask_drive(&mut client, "eject", json!({"device": "cdrom0"}));
    let open = (tray(&mut client), client.ask("query-block").unwrap()[1].clone());

    assert_eq!((&inserted, &ejected), (&done, &done));
    assert_eq!((empty["removable"].clone(), empty["inserted"].clone()), (json!(true), Value::Null));
    assert_eq!(moves, (moved(true), moved(false)));
    assert_eq!(full["inserted"]["image"]["virtual-size"], 10 * 2048);
    assert_eq!(full["inserted"]["file"], "/isos/debian.iso");
    assert_eq!(open.0, moved(true));
    assert_eq!((open.1["tray_open"].clone(), open.1["inserted"].clone()), (json!(true), Value::Null));
}

#[test]
fn trays_move_by_themselves_and_only_where_there_are_any() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let mut ask = |command: &str, arguments: Value| ask_drive(&mut client, command, arguments);

    let closed = ask("blockdev-remove-medium", json!({"id": "cdrom0"}));
    ask("blockdev-open-tray", json!({"id": "/machine/peripheral/cdrom0"}));
    let opened = worker.tray.info().open;
    let removed = ask("blockdev-remove-medium", json!({"id": "cdrom0"}));
    ask("blockdev-close-tray", json!({"id": "cdrom0"}));

    assert_eq!(error_of(&closed), ("GenericError", "Tray of device 'cdrom0' is not open"));
    assert_eq!(removed, json!({"return": {}}));
    assert!(opened && !worker.tray.info().open);
    for (arguments, error) in [
        (json!({"id": "disk0"}), ("GenericError", "Device 'disk0' is not removable")),
        (json!({"id": "none"}), ("DeviceNotFound", "Device 'none' not found")),
        (json!({}), ("GenericError", "Need exactly one of 'device' and 'id'")),
    ] {
        assert_eq!(error_of(&ask("eject", arguments)), error);
    }
    worker.report(MachineEvent::TrayMoved { id: "cdrom0".to_owned(), open: true });
    let unknown = ask("blockdev-change-medium", json!({"id": "cdrom0", "filename": "/etc/passwd"}));
    assert!(error_of(&unknown).1.contains("the worker opens no files by name"));
    // Those of the commands above come first.
    let events: Vec<Value> = (0..3).map(|_| client.event().unwrap()["data"]["tray-open"].clone()).collect();
    assert_eq!(events, [json!(true), json!(false), json!(true)]);
}

#[test]
fn keys_go_down_in_order_and_come_up_in_reverse_order() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let keys =
        json!([{"type": "qcode", "data": "ctrl"}, {"type": "number", "data": 56}, {"type": "qcode", "data": "delete"}]);

    let response = client.execute(json!({"execute": "send-key", "arguments": {"keys": keys, "hold-time": 1}})).unwrap();

    assert_eq!(response, json!({"return": {}}));
    let key = |code, down| InputEvent::Key { key: Key(code), down };
    assert_eq!(
        worker.input(6),
        [key(29, true), key(56, true), key(111, true), key(111, false), key(56, false), key(29, false)]
    );
}

#[test]
fn pointer_events_of_one_command_become_one_movement() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let events = json!([
        {"type": "abs", "data": {"axis": "x", "value": 100}},
        {"type": "abs", "data": {"axis": "y", "value": 99999}},
        {"type": "btn", "data": {"button": "left", "down": true}},
        {"type": "rel", "data": {"axis": "x", "value": -3}},
        {"type": "rel", "data": {"axis": "y", "value": 4}},
        {"type": "key", "data": {"key": {"type": "qcode", "data": "a"}, "down": true}},
    ]);

    client.execute(json!({"execute": "input-send-event", "arguments": {"events": events}})).unwrap();

    assert_eq!(
        worker.input(4),
        [
            InputEvent::Absolute { x: 100, y: 32767 },
            InputEvent::Button { button: Button::Left, down: true },
            InputEvent::Relative { dx: -3, dy: 4 },
            InputEvent::Key { key: Key(30), down: true },
        ]
    );
}

#[test]
fn wrong_keys_and_pointers_are_named() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let cases = [
        (
            "send-key",
            json!({"keys": [{"type": "qcode", "data": "foo"}]}),
            "Parameter 'keys[0].data' does not accept value 'foo'",
        ),
        (
            "send-key",
            json!({"keys": [{"type": "number", "data": 3000}]}),
            "Parameter 'keys[0].data' does not accept value '3000'",
        ),
        ("send-key", json!({"keys": [{"type": "qcode"}]}), "Parameter 'keys[0].data' is missing"),
        (
            "input-send-event",
            json!({"events": [{"type": "btn", "data": {"button": "left", "down": 1}}]}),
            "Invalid parameter type for 'events[0].data.down', expected: boolean",
        ),
        (
            "input-send-event",
            json!({"events": [{"type": "key", "data": {"key": {"type": "qcode", "data": "zz"}, "down": true}}]}),
            "Parameter 'events[0].data.key.data' does not accept value 'zz'",
        ),
        (
            "input-send-event",
            json!({"events": [{"type": "abs", "data": {"axis": "z", "value": 1}}]}),
            "Parameter 'events[0].data.axis' does not accept value 'z'",
        ),
    ];

    for (execute, arguments, expected) in cases {
        let response = client.execute(json!({"execute": execute, "arguments": arguments})).unwrap();
        assert_eq!(error_of(&response), ("GenericError", expected));
    }
    assert_eq!(worker.input(0), []);
}

#[test]
fn keys_for_a_guest_that_stands_still_are_refused() {
    let worker = paused_worker();
    let mut client = worker.client().unwrap();

    let response = client
        .execute(json!({"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": "a"}]}}))
        .unwrap();

    assert_eq!(error_of(&response), ("GenericError", "VM not running"));
}

#[test]
fn viewers_are_told_of_and_listed() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    for event in [ViewerEvent::Connected(ViewerId(7)), ViewerEvent::Initialized(ViewerId(7))] {
        worker.driver().send(Request::Viewer(event));
    }

    let connected = client.event().unwrap();
    assert_eq!((&connected["event"], &connected["data"]["client"]["service"]), (&json!("VNC_CONNECTED"), &json!("7")));
    assert_eq!(client.event().unwrap()["event"], "VNC_INITIALIZED");
    assert_eq!(client.ask("query-vnc").unwrap()["clients"].as_array().unwrap().len(), 1);
    worker.driver().send(Request::Viewer(ViewerEvent::Disconnected(ViewerId(7))));
    assert_eq!(client.event().unwrap()["event"], "VNC_DISCONNECTED");
    assert_eq!(client.ask("x-lodge-statistics").unwrap()["viewers"], 0);
}

#[test]
fn a_cable_is_pulled_and_plugged_in_and_what_went_over_it_is_told() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let link = |name: &str, up: bool| json!({"execute": "set_link", "arguments": {"name": name, "up": up}});

    let before = client.ask("x-lodge-query-netstats").unwrap();
    client.execute(link("net0", false)).unwrap();
    let pulled = client.ask("x-lodge-statistics").unwrap();
    let other = client.execute(link("net7", true)).unwrap();

    let expected = json!([{
        "id": "net0", "mac": "52:54:00:12:34:56", "link": true, "received-frames": 0, "received-bytes": 0,
        "sent-frames": 0, "sent-bytes": 0, "dropped-frames": 0,
    }]);
    assert_eq!(before, expected);
    assert_eq!(pulled["networks"][0]["link"], false);
    assert_eq!(error_of(&other), ("DeviceNotFound", "Device 'net7' not found"));
    client.execute(link("net0", true)).unwrap();
    assert_eq!(client.ask("x-lodge-query-netstats").unwrap(), expected);
}

/// What QEMU 7.2 says of a balloon whose guest has told nothing yet, word by word.
#[test]
fn the_balloons_statistics_are_found_where_qemu_has_them() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let path = "/machine/peripheral/balloon0";
    let mut qom = |command: &str, arguments: Value| {
        client.execute(json!({"execute": format!("qom-{command}"), "arguments": arguments})).unwrap()
    };
    let interval = "guest-stats-polling-interval";

    let devices = qom("list", json!({"path": "/machine/peripheral"}));
    let stats = qom("get", json!({"path": path, "property": "guest-stats"}));
    let set = qom("set", json!({"path": path, "property": interval, "value": 2}));

    assert_eq!(devices["return"], json!([{"name": "balloon0", "type": "child<virtio-balloon-pci>"}]));
    assert_eq!(stats["return"]["last-update"], 0);
    assert_eq!(stats["return"]["stats"].as_object().unwrap().len(), 10);
    assert_eq!(stats["return"]["stats"]["stat-free-memory"], u64::MAX);
    assert_eq!(set["return"], json!({}));
    assert_eq!(qom("get", json!({"path": "balloon0", "property": interval}))["return"], 2);
    for (command, arguments, complaint) in [
        ("set", json!({"path": path, "property": interval, "value": -1}), "timer value must be greater than zero"),
        ("set", json!({"path": path, "property": interval, "value": 1u64 << 40}), "timer value is too big"),
        (
            "set",
            json!({"path": path, "property": interval, "value": "a"}),
            "Invalid parameter type for 'guest-stats-polling-interval', expected: integer",
        ),
        ("get", json!({"path": path, "property": "foo"}), "Property 'virtio-balloon-pci.foo' not found"),
        ("get", json!({"path": "b1", "property": "foo"}), "Device 'b1' not found"),
    ] {
        assert_eq!(error_of(&qom(command, arguments)).1, complaint);
    }
}

#[test]
fn changes_of_the_balloon_are_told_once_a_second_at_most() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    let begin = Instant::now();
    for _ in 0..2 {
        worker.driver().send(Request::BalloonChanged);
        let event = client.event().unwrap();
        assert_eq!((&event["event"], &event["data"]), (&json!("BALLOON_CHANGE"), &json!({"actual": 64 << 20})));
    }

    assert!(begin.elapsed() >= Duration::from_secs(1));
}

/// Sends a file descriptor with a blank, as QEMU's own Python client does.
fn send_fd(client: &Client, file: &std::fs::File) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;

    let fds = [file.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(client.stream(), &[io::IoSlice::new(b" ")], &mut ancillary, SendFlags::empty()).unwrap();
}

#[test]
fn a_picture_goes_into_a_file_that_the_client_hands_over() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    send_fd(&client, file.as_file());

    let added = client.ask("add-fd").unwrap();
    let name = format!("/dev/fdset/{}", added["fdset-id"]);
    let response = client.execute(json!({"execute": "screendump", "arguments": {"filename": name}})).unwrap();

    assert_eq!(response, json!({"return": {}}));
    assert_eq!(std::fs::read(file.path()).unwrap(), b"P6\n2 1\n255\n\xff\0\0\0\0\xff");
    client.execute(json!({"execute": "remove-fd", "arguments": {"fdset-id": added["fdset-id"]}})).unwrap();
    assert_eq!(client.ask("query-fdsets").unwrap(), json!([]));
}

#[test]
fn a_picture_is_not_written_to_a_file_by_name() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.ppm");

    let by_name = client.execute(json!({"execute": "screendump", "arguments": {"filename": path}})).unwrap();
    let missing = client.execute(json!({"execute": "screendump", "arguments": {"filename": "/dev/fdset/9"}})).unwrap();
    let no_fd = client.execute(json!({"execute": "add-fd"})).unwrap();

    assert!(error_of(&by_name).1.contains("/dev/fdset/"), "{by_name}");
    assert!(!path.exists());
    assert!(error_of(&missing).1.starts_with("failed to open file '/dev/fdset/9'"), "{missing}");
    assert_eq!(error_of(&no_fd).1, "No file descriptor supplied via SCM_RIGHTS");
}

#[test]
fn file_descriptors_go_with_the_client_that_added_them() {
    let worker = worker();
    let mut adding = worker.client().unwrap();
    let mut other = worker.client().unwrap();
    send_fd(&adding, &tempfile::tempfile().unwrap());
    adding.ask("add-fd").unwrap();
    assert_eq!(other.ask("query-fdsets").unwrap().as_array().unwrap().len(), 1);

    drop(adding);

    let deadline = Instant::now() + Duration::from_secs(60);
    while other.ask("query-fdsets").unwrap() != json!([]) {
        assert!(Instant::now() < deadline, "the descriptors stayed");
    }
}
