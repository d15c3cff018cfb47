//! The commands as clients see them, over a machine without KVM.

use std::{
    io,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    input::{Button, InputEvent, Key},
    rfb::server::{ViewerEvent, ViewerId},
    worker::{
        driver::Request,
        testing::{Client, FakeLaunch, FakeWorker},
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
    assert!(statistics["cpu-time-ns"].as_u64().unwrap() > 0, "{statistics}");
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

    let deadline = Instant::now() + Duration::from_secs(20);
    while other.ask("query-fdsets").unwrap() != json!([]) {
        assert!(Instant::now() < deadline, "the descriptors stayed");
    }
}
