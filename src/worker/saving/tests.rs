use std::{
    fs::File,
    io::{self, IoSlice, Read, Seek},
    mem::MaybeUninit,
    os::fd::AsFd,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::worker::{
    exit_report::Outcome,
    testing::{Client, FakeLaunch, FakeWorker},
};

fn worker() -> (FakeWorker, Client) {
    let worker = FakeWorker::start(FakeLaunch::default()).unwrap();
    let client = worker.client().unwrap();
    (worker, client)
}

/// Hands a new file over; returns it with its name.
fn file(client: &mut Client) -> (File, String) {
    let file = tempfile::tempfile().unwrap();
    let fds = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(client.stream(), &[IoSlice::new(b" ")], &mut ancillary, SendFlags::empty()).unwrap();
    let added = client.ask("add-fd").unwrap();
    (file, format!("/dev/fdset/{}", added["fdset-id"]))
}

fn migrate(client: &mut Client, name: &str) -> Value {
    client.execute(json!({"execute": "migrate", "arguments": {"uri": format!("file:{name}")}})).unwrap()
}

fn content(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// The names of the next events, those about saving with their status.
fn events(client: &mut Client, count: usize) -> Vec<String> {
    let name = |event: Value| match event["data"]["status"].as_str() {
        Some(status) => format!("{} {status}", event["event"].as_str().unwrap()),
        None => event["event"].as_str().unwrap().to_owned(),
    };
    (0..count).map(|_| name(client.event().unwrap())).collect()
}

fn status(client: &mut Client) -> String {
    client.ask("query-status").unwrap()["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_state_is_saved_and_the_guest_waits_to_go_on() {
    let (worker, mut client) = worker();
    let (mut state, name) = file(&mut client);
    assert_eq!(client.ask("query-migrate").unwrap(), json!({}));

    assert_eq!(migrate(&mut client, &name), json!({"return": {}}));

    assert_eq!(events(&mut client, 3), ["STOP", "MIGRATION active", "MIGRATION completed"]);
    assert_eq!(content(&mut state), "running");
    assert_eq!(status(&mut client), "postmigrate");
    assert_eq!(client.ask("query-migrate").unwrap()["status"], "completed");
    client.ask("cont").unwrap();
    assert_eq!((status(&mut client).as_str(), events(&mut client, 1)[0].as_str()), ("running", "RESUME"));
    // What went before is no business of what comes now.
    client.ask("stop").unwrap();
    let (mut state, name) = file(&mut client);
    migrate(&mut client, &name);
    assert_eq!(events(&mut client, 3), ["STOP", "MIGRATION active", "MIGRATION completed"]);
    assert_eq!(content(&mut state), "paused");
    drop(worker);
}

#[test]
fn while_it_is_saved_the_guest_answers_and_does_nothing_else() {
    let (worker, mut client) = worker();
    let (_state, name) = file(&mut client);
    worker.fail("wait");
    migrate(&mut client, &name);

    let info = client.ask("query-migrate").unwrap();
    let seen = status(&mut client);
    for command in ["cont", "system_reset"] {
        let refused = client.execute(json!({ "execute": command })).unwrap();
        assert!(refused["error"]["desc"].as_str().unwrap().contains("is being saved"), "{command}: {refused}");
    }
    let again = migrate(&mut client, &name);
    client.ask("migrate_cancel").unwrap();

    assert_eq!((info["status"].as_str(), seen.as_str()), (Some("active"), "finish-migrate"));
    assert!(again["error"]["desc"].as_str().unwrap().contains("is being saved"), "{again}");
    assert_eq!(events(&mut client, 4), ["STOP", "MIGRATION active", "RESUME", "MIGRATION cancelled"]);
    assert_eq!(status(&mut client), "running");
    assert_eq!(client.ask("query-migrate").unwrap()["status"], "cancelled");
}

#[test]
fn a_guest_that_could_not_be_saved_goes_on() {
    let (worker, mut client) = worker();
    let (mut state, name) = file(&mut client);
    let save = json!({"execute": "x-lodge-save", "arguments": {"filename": name}});
    worker.fail("write");
    client.execute(save.clone()).unwrap();
    assert_eq!(events(&mut client, 4), ["STOP", "MIGRATION active", "RESUME", "MIGRATION failed"]);
    assert_eq!(content(&mut state), "", "what was written is removed");
    assert_eq!(client.ask("query-migrate").unwrap()["error-desc"], "write fails on purpose");

    worker.fail("save");
    let refused = client.execute(save).unwrap();

    assert!(refused["error"]["desc"].as_str().unwrap().contains("save fails on purpose"), "{refused}");
    assert_eq!(events(&mut client, 2), ["STOP", "RESUME"]);
    assert_eq!(status(&mut client), "running");
}

#[test]
fn a_guest_whose_state_is_kept_for_it_ends() {
    let (worker, mut client) = worker();
    let (mut state, name) = file(&mut client);

    client.execute(json!({"execute": "x-lodge-save", "arguments": {"filename": name}})).unwrap();

    assert_eq!(events(&mut client, 4), ["STOP", "MIGRATION active", "SHUTDOWN", "MIGRATION completed"]);
    assert_eq!(worker.wait().unwrap().outcome, Outcome::Saved);
    assert_eq!(content(&mut state), "running");
}

#[test]
fn a_state_goes_only_where_the_client_hands_a_file_over() {
    let (_worker, mut client) = worker();
    let refused = |client: &mut Client, uri: &str| -> io::Result<String> {
        let response = client.execute(json!({"execute": "migrate", "arguments": {"uri": uri}}))?;
        Ok(response["error"]["desc"].as_str().unwrap_or_default().to_owned())
    };

    assert!(refused(&mut client, "tcp:localhost:4444").unwrap().contains("only its state can be saved"));
    assert!(refused(&mut client, "file:/tmp/state").unwrap().contains("opens no files by name"));
    assert!(refused(&mut client, "file:/dev/fdset/9").unwrap().contains("failed to open"));
    assert_eq!(status(&mut client), "running");
}
