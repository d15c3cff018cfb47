use serde_json::{Value, json};

use super::*;
use crate::{
    vmm::{
        block::{
            errors::{DiskError, Verdict},
            statistics::Operation,
        },
        cpu::InternalErrorReport,
        machine::{MachineEvent, ResetCause, ShutdownCause},
    },
    worker::{
        driver::Request,
        exit_report::Outcome,
        launch::Action,
        testing::{Client, FakeLaunch, FakeWorker},
    },
};

const RESET: MachineEvent = MachineEvent::Reset { cause: ResetCause::TripleFault };
const SHUTDOWN: MachineEvent = MachineEvent::Shutdown { cause: ShutdownCause::Acpi };

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
fn nothing_but_negotiation_is_accepted_at_first() {
    let worker = worker();
    let mut client = Client::greeted(worker.connect().unwrap()).unwrap();

    let early = client.execute(json!({"execute": "query-status"})).unwrap();
    let oob = client.execute(json!({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})).unwrap();
    let first = client.execute(json!({"execute": "qmp_capabilities"})).unwrap();
    let second = client.execute(json!({"execute": "qmp_capabilities"})).unwrap();

    assert_eq!(error_of(&early), ("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"));
    assert_eq!(error_of(&oob), ("GenericError", "Capability 'oob' not available"));
    assert_eq!(first, json!({"return": {}}));
    assert_eq!(error_of(&second), ("CommandNotFound", "Capabilities negotiation is already complete, command ignored"));
}

#[test]
fn nonsense_is_answered_and_does_not_disturb_what_follows() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    for nonsense in
        ["[]", "3 ", "{}", "}", "foo ", "{\"execute\": 3}", "{\"execute\": \"no-such\"}", "{\"a\" 1}", "\u{0}\n"]
    {
        client.send(nonsense.as_bytes()).unwrap();
        let response = client.response().unwrap();
        assert!(response.get("error").is_some(), "{nonsense}: {response}");
    }

    assert_eq!(client.ask("query-status").unwrap()["status"], "running");
}

#[test]
fn an_oversized_message_is_refused_and_the_client_goes_on() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let oversized = format!("{{\"execute\": \"query-name\", \"id\": \"{}\"}}", "x".repeat(2 << 20));

    client.send(oversized.as_bytes()).unwrap();

    assert_eq!(error_of(&client.response().unwrap()), ("GenericError", "QMP input is longer than 1048576 bytes"));
    assert_eq!(client.ask("query-status").unwrap()["status"], "running");
}

#[test]
fn a_client_that_nests_deeply_is_answered() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let deep = format!("{{\"execute\": \"query-name\", \"id\": {}{}}}", "[".repeat(125), "]".repeat(125));

    client.send(deep.as_bytes()).unwrap();
    let answer = client.response().unwrap();
    client.send("[".repeat(10_000).as_bytes()).unwrap();
    let refusal = client.response().unwrap();

    assert_eq!(answer["return"]["name"], "fake");
    assert_eq!(error_of(&refusal), ("GenericError", "JSON nesting depth limit exceeded"));
}

#[test]
fn commands_sent_in_one_go_are_answered_in_order() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let commands: String = (0..1000).map(|id| format!("{{\"execute\":\"query-name\",\"id\":{id}}}")).collect();

    client.send(commands.as_bytes()).unwrap();

    for id in 0..1000 {
        assert_eq!(client.response().unwrap()["id"], id);
    }
}

#[test]
fn half_a_message_holds_up_only_its_own_client() {
    let worker = worker();
    let mut half = worker.client().unwrap();
    half.send(b"{\"execute\": \"query-").unwrap();

    let mut other = worker.client().unwrap();

    assert_eq!(other.ask("query-name").unwrap(), json!({"name": "fake"}));
    half.send(b"name\"}").unwrap();
    assert_eq!(half.response().unwrap()["return"]["name"], "fake");
}

#[test]
fn a_client_that_floods_and_never_reads_holds_up_nobody() {
    let worker = worker();
    let flooding = worker.client().unwrap();
    let flood = thread::spawn({
        let mut stream = flooding.stream().try_clone().unwrap();
        move || while stream.write_all(b"{\"execute\":\"query-block\"}").is_ok() {}
    });
    let mut other = worker.client().unwrap();

    // Far more events than the queue of the flooding client holds.
    for _ in 0..outbox::CAPACITY {
        other.ask("stop").unwrap();
        other.ask("cont").unwrap();
    }

    assert_eq!(other.ask("query-status").unwrap()["status"], "running");
    flooding.stream().shutdown(Shutdown::Both).unwrap();
    flood.join().unwrap();
}

#[test]
fn clients_beyond_the_limit_are_refused_until_one_goes() {
    let worker = worker();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| worker.client().unwrap()).collect();

    assert!(worker.connect().is_err());

    clients.pop();
    let deadline = Instant::now() + Duration::from_secs(60);
    while worker.connect().is_err() {
        assert!(Instant::now() < deadline, "the place of a client that has gone was never given away");
        thread::yield_now();
    }
}

#[test]
fn a_client_that_only_sends_gets_its_answers_still() {
    let worker = worker();
    let mut client = Client::greeted(worker.connect().unwrap()).unwrap();

    client.send(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-name\"}").unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();

    assert_eq!(client.response().unwrap(), json!({"return": {}}));
    assert_eq!(client.response().unwrap()["return"]["name"], "fake");
    assert!(client.response().is_err(), "then the connection ends");
}

#[test]
fn stop_and_cont_are_told_to_every_client_before_they_are_answered() {
    let worker = worker();
    let mut watching = worker.client().unwrap();
    let mut acting = worker.client().unwrap();

    acting.send(b"{\"execute\":\"stop\"}").unwrap();
    let first = acting.message().unwrap();
    let second = acting.message().unwrap();

    assert_eq!((&first["event"], &second), (&json!("STOP"), &json!({"return": {}})));
    assert_eq!(acting.ask("query-status").unwrap()["status"], "paused");
    acting.ask("cont").unwrap();
    assert_eq!(watching.event().unwrap()["event"], "STOP");
    assert_eq!(watching.event().unwrap()["event"], "RESUME");
    assert_eq!(
        [worker.next_call(), worker.next_call(), worker.next_call()],
        [Some("resume"), Some("pause"), Some("resume")]
    );
}

#[test]
fn a_guest_may_wait_for_cont() {
    let worker = paused_worker();
    let mut client = worker.client().unwrap();

    assert_eq!(client.ask("query-status").unwrap()["status"], "prelaunch");
    client.ask("cont").unwrap();
    assert_eq!(client.ask("query-status").unwrap()["status"], "running");
}

#[test]
fn a_reset_of_a_running_guest_leaves_it_running_and_of_a_paused_one_in_prelaunch() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    client.ask("system_reset").unwrap();
    let event = client.event().unwrap();
    let running = client.ask("query-status").unwrap();
    client.ask("stop").unwrap();
    client.ask("system_reset").unwrap();
    let paused = client.ask("query-status").unwrap();

    assert_eq!(event["event"], "RESET");
    assert_eq!(event["data"], json!({"guest": false, "reason": "host-qmp-system-reset"}));
    assert_eq!((&running["status"], &paused["status"]), (&json!("running"), &json!("prelaunch")));
}

#[test]
fn the_guests_own_reset_happens_in_place() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    worker.report(RESET);

    assert_eq!(client.event().unwrap()["data"], json!({"guest": true, "reason": "guest-reset"}));
    assert_eq!([worker.next_call(), worker.next_call()], [Some("resume"), Some("reset")]);
    assert_eq!(client.ask("query-status").unwrap()["status"], "running");
}

#[test]
fn the_guests_reset_ends_it_where_the_definition_says_so() {
    let worker = FakeWorker::start(FakeLaunch { on_reboot: Action::Destroy, ..FakeLaunch::default() }).unwrap();
    let mut client = worker.client().unwrap();

    worker.report(RESET);

    let event = client.event().unwrap();
    assert_eq!((&event["event"], &event["data"]["reason"]), (&json!("SHUTDOWN"), &json!("guest-reset")));
    assert_eq!(worker.wait().unwrap().outcome, Outcome::Reset);
}

#[test]
fn a_guest_that_powers_off_ends_or_is_held_as_the_definition_says() {
    let ending = worker();
    let holding = FakeWorker::start(FakeLaunch { on_poweroff: Action::Preserve, ..FakeLaunch::default() }).unwrap();
    let mut client = holding.client().unwrap();

    ending.report(SHUTDOWN);
    holding.report(SHUTDOWN);

    assert_eq!(ending.wait().unwrap().outcome, Outcome::Shutdown);
    assert_eq!(client.event().unwrap()["event"], "SHUTDOWN");
    assert_eq!(client.event().unwrap()["event"], "STOP");
    assert_eq!(client.ask("query-status").unwrap()["status"], "shutdown");
    assert_eq!(holding.exit_report().unwrap().outcome, Outcome::Shutdown);
}

#[test]
fn a_guest_that_panics_is_told_of() {
    let worker = FakeWorker::start(FakeLaunch { on_crash: Action::Preserve, ..FakeLaunch::default() }).unwrap();
    let mut client = worker.client().unwrap();

    worker.report(MachineEvent::GuestPanicked);

    assert_eq!(client.event().unwrap()["data"], json!({"action": "pause"}));
    assert_eq!(client.ask("query-status").unwrap()["status"], "guest-panicked");
    assert_eq!(worker.exit_report().unwrap().outcome, Outcome::GuestPanicked);
}

fn full(verdict: Verdict) -> MachineEvent {
    MachineEvent::DiskError(Box::new(DiskError {
        disk: "disk0".to_owned(),
        operation: Operation::Write,
        verdict,
        full: true,
        reason: "No space left on device".to_owned(),
    }))
}

#[test]
fn a_full_disk_pauses_the_guest_until_it_is_resumed() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    worker.report(full(Verdict::Keep));

    let event = client.event().unwrap();
    let data = &event["data"];
    assert_eq!((&event["event"], &data["device"]), (&json!("BLOCK_IO_ERROR"), &json!("disk0")));
    assert_eq!(
        (&data["operation"], &data["action"], &data["nospace"]),
        (&json!("write"), &json!("stop"), &json!(true))
    );
    assert_eq!(client.event().unwrap()["event"], "STOP");
    let status = client.ask("query-status").unwrap();
    assert_eq!((&status["status"], &status["running"]), (&json!("io-error"), &json!(false)));
    assert!(status["x-lodge-reason"].as_str().unwrap().contains("fake.img"), "{status}");
    assert_eq!(client.ask("query-block").unwrap()[0]["io-status"], "nospace");
    assert_eq!(client.ask("x-lodge-statistics").unwrap()["reason"], status["x-lodge-reason"]);
    client.ask("cont").unwrap();
    assert_eq!(client.event().unwrap()["event"], "RESUME");
    let status = client.ask("query-status").unwrap();
    assert_eq!((&status["status"], &status["x-lodge-reason"]), (&json!("running"), &json!(null)));
    assert_eq!(client.ask("query-block").unwrap()[0]["io-status"], "ok");
}

#[test]
fn an_error_that_the_guest_is_told_of_stops_nothing() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    worker.report(full(Verdict::Report));

    assert_eq!(client.event().unwrap()["data"]["action"], "report");
    assert_eq!(client.ask("query-status").unwrap()["status"], "running");
}

#[test]
fn a_disk_is_limited_while_it_is_used() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let none = json!({"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0});
    let mut limit = |changes: Value| {
        let mut arguments = none.clone();
        arguments.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        client.execute(json!({"execute": "block_set_io_throttle", "arguments": arguments})).unwrap()
    };

    let set = limit(json!({"device": "disk0", "bps": 1 << 20, "bps_max": 2 << 20, "bps_max_length": 5}));
    let both = limit(json!({"id": "disk0", "iops": 5, "iops_rd": 5}));
    let missing = limit(json!({"id": "disk7", "iops": 5}));
    let nameless = limit(json!({"iops": 5}));

    assert_eq!(set, json!({"return": {}}));
    assert!(error_of(&both).1.contains("together"), "{both}");
    assert_eq!((error_of(&missing).0, error_of(&nameless).0), ("DeviceNotFound", "GenericError"));
    let shown = client.ask("query-block").unwrap();
    let shown = &shown[0]["inserted"];
    assert_eq!((&shown["bps"], &shown["bps_max"], &shown["iops"]), (&json!(1 << 20), &json!(2 << 20), &json!(0)));
}

#[test]
fn an_internal_error_holds_the_guest_and_is_reported_at_once() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    let error = InternalErrorReport {
        vcpu: 0,
        reason: "an instruction cannot be emulated".to_owned(),
        suberror: Some(1),
        rip: 0x7c3e,
        bytes: vec![0x0f, 0x0b],
        registers: None,
    };

    worker.report(MachineEvent::InternalError(Box::new(error.clone())));
    worker.report(MachineEvent::InternalError(Box::new(InternalErrorReport { vcpu: 1, ..error })));

    assert_eq!(client.event().unwrap()["event"], "STOP");
    let event = client.event().unwrap();
    assert_eq!(event["event"], "x-lodge-internal-error");
    assert_eq!((&event["data"]["rip"], &event["data"]["bytes"]), (&json!(0x7c3e), &json!("0f 0b")));
    assert_eq!(client.ask("query-status").unwrap()["status"], "internal-error");
    let report = worker.exit_report().unwrap();
    assert_eq!((report.outcome, report.internal_error.unwrap().vcpu), (Outcome::InternalError, 0));
    let cont = client.execute(json!({"execute": "cont"})).unwrap();
    assert_eq!(error_of(&cont), ("GenericError", "Resetting the Virtual Machine is required"));
    client.ask("system_reset").unwrap();
    assert_eq!(client.ask("cont").unwrap(), json!({}));
}

#[test]
fn a_machine_that_fails_to_reset_is_held() {
    let worker = worker();
    let mut client = worker.client().unwrap();
    worker.fail("reset");

    worker.report(RESET);

    assert_eq!(client.event().unwrap()["event"], "STOP");
    assert_eq!(client.ask("query-status").unwrap()["status"], "internal-error");
    assert!(worker.exit_report().unwrap().message.contains("reset fails on purpose"));
}

#[test]
fn quit_is_announced_and_answered_before_the_connection_ends() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    client.send(b"{\"execute\":\"quit\"}").unwrap();
    let report = worker.wait().unwrap();

    assert_eq!(client.message().unwrap()["data"], json!({"guest": false, "reason": "host-qmp-quit"}));
    assert_eq!(client.message().unwrap(), json!({"return": {}}));
    assert!(client.message().is_err());
    assert_eq!(report.outcome, Outcome::Quit);
}

#[test]
fn a_signal_ends_the_guest_cleanly() {
    let worker = worker();
    let mut client = worker.client().unwrap();

    worker.driver().send(Request::Terminate { signal: "SIGTERM" });

    assert_eq!(client.event().unwrap()["data"]["reason"], "host-signal");
    assert_eq!(worker.wait().unwrap().outcome, Outcome::Terminated);
}
