//! How a Linux guest's run ends: by the power button, its own power-off, a reboot, a panic; and what its definition makes of each.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use common::{
    guest::{Guest, PATIENCE, Serial},
    linux,
};
use lodge::{
    manager::definition::Lifecycle,
    worker::{
        exit_report::{ExitReport, Outcome},
        testing::Client,
    },
};
use serde_json::{Value, json};

/// Waits until the guest has begun and its shell listens.
fn await_shell(serial: &mut Serial) {
    serial.wait_for("Linux version");
    let log = serial.wait_for("GUEST-UP");
    linux::assert_clean(&log);
    serial.wait_for("# ");
}

/// Ends the first process, of which the kernel dies.
fn panic(serial: &mut Serial) {
    serial.send("exit 3");
    serial.wait_for("Kernel panic - not syncing: Attempted to kill init!");
}

/// Waits for the event `name`, and returns its data.
fn await_event(control: &mut Client, name: &str) -> Value {
    loop {
        let event = control.event().unwrap_or_else(|error| panic!("{name} does not come: {error}"));
        if event["event"] == name {
            return event["data"].clone();
        }
    }
}

fn status(control: &mut Client) -> Value {
    control.ask("query-status").unwrap()["status"].clone()
}

/// Has a guest that is held begin anew.
fn begin_anew(control: &mut Client) {
    let refused = control.execute(json!({ "execute": "cont" })).unwrap();
    assert_eq!(refused["error"]["desc"], "Resetting the Virtual Machine is required");
    for command in ["system_reset", "cont"] {
        let done = control.execute(json!({ "execute": command })).unwrap();
        assert!(done.get("error").is_none(), "{done}");
    }
    assert_eq!(status(control), "running");
}

fn last_exit(guest: &Guest) -> ExitReport {
    guest.runtime.block_on(guest.supervisor.last_exit(&guest.name)).expect("a worker leaves a report")
}

#[test]
fn a_guest_begins_anew_after_panic_and_power_off_and_is_off_after_its_reboot() {
    let start = linux::start_worker(|definition| {
        definition.on_crash = Lifecycle::Restart;
        definition.on_poweroff = Lifecycle::Restart;
        definition.on_reboot = Lifecycle::Destroy;
    });
    let Some((guest, _folder)) = start else { return };
    let (mut serial, mut control) = (guest.serial(), guest.control());
    await_shell(&mut serial);

    panic(&mut serial);
    await_event(&mut control, "GUEST_PANICKED");
    assert_eq!(await_event(&mut control, "RESET"), json!({ "guest": true, "reason": "guest-panic" }));
    await_shell(&mut serial);
    assert_eq!(status(&mut control), "running");

    serial.send("poweroff -f");
    assert_eq!(await_event(&mut control, "RESET"), json!({ "guest": true, "reason": "guest-shutdown" }));
    await_shell(&mut serial);

    serial.send("reboot -f");
    assert_eq!(await_event(&mut control, "SHUTDOWN"), json!({ "guest": true, "reason": "guest-reset" }));
    let report = guest.wait().expect("a worker leaves a report");
    assert_eq!(report.outcome, Outcome::Reset, "{}", report.message);
}

#[test]
fn a_guest_is_held_after_its_panic_and_off_after_the_power_button() {
    let Some((guest, _folder)) = linux::start_worker(|_| {}) else { return };
    let (mut serial, mut control) = (guest.serial(), guest.control());
    await_shell(&mut serial);

    panic(&mut serial);
    assert_eq!(await_event(&mut control, "GUEST_PANICKED"), json!({ "action": "pause" }));
    await_event(&mut control, "STOP");
    assert_eq!(status(&mut control), "guest-panicked");
    let report = guest.exit_report().expect("the report is there while the guest is held");
    assert_eq!(report.outcome, Outcome::GuestPanicked, "{}", report.message);
    begin_anew(&mut control);
    await_shell(&mut serial);

    // A system that acts on the button, as systemd and acpid do: the first event of the button's device is its press.
    serial.send("(grep -q 'Power Button' /sys/class/input/event0/device/name && head -c 24 >/dev/null && poweroff -f) </dev/input/event0 &");
    serial.send("echo list$((1+1))ens");
    serial.wait_for("list2ens");
    let shut_down = guest.runtime.block_on(guest.supervisor.shut_down(&guest.name, PATIENCE));
    assert!(shut_down.unwrap());
    assert_eq!(last_exit(&guest).outcome, Outcome::Shutdown);
}

#[test]
fn a_guest_is_held_after_its_power_off_and_off_after_its_panic() {
    let start = linux::start_worker(|definition| {
        definition.on_crash = Lifecycle::Destroy;
        definition.on_poweroff = Lifecycle::Preserve;
    });
    let Some((guest, _folder)) = start else { return };
    let (mut serial, mut control) = (guest.serial(), guest.control());
    await_shell(&mut serial);

    serial.send("poweroff -f");
    assert_eq!(await_event(&mut control, "SHUTDOWN"), json!({ "guest": true, "reason": "guest-shutdown" }));
    await_event(&mut control, "STOP");
    assert_eq!(status(&mut control), "shutdown");
    begin_anew(&mut control);
    await_shell(&mut serial);

    serial.send("exit 3");
    assert_eq!(await_event(&mut control, "GUEST_PANICKED"), json!({ "action": "poweroff" }));
    let report = guest.wait().expect("a worker leaves a report");
    assert_eq!(report.outcome, Outcome::GuestPanicked, "{}", report.message);
    let state = guest.runtime.block_on(guest.supervisor.state(&guest.name)).unwrap();
    assert!(!state.is_active(), "{state:?}");
}
