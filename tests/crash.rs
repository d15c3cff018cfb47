//! Sudden ends: of workers, of those who start them, of both. The next look tells the truth, and nothing is lost.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::{fs, io::Seek, process::Stdio, thread, time::Duration};

use common::{
    code,
    home::{Home, signal},
    kvm,
};

/// A home with one guest that halts as soon as its disk is booted; `None` where there is no KVM.
fn home(boot: &[&[u8]]) -> Option<Home> {
    drop(kvm::open()?);
    let home = Home::default();
    let disk = home.path().join("disk.img");
    let mut image = code::boot_disk(boot);
    image.rewind().unwrap();
    std::io::copy(&mut image, &mut fs::File::create(&disk).unwrap()).unwrap();
    home.done(&["create", "web", "--memory", "16MiB", "--disk", disk.to_str().unwrap()]);
    Some(home)
}

fn running_folders(home: &Home) -> usize {
    fs::read_dir(home.path().join("run/lodge")).map_or(0, Iterator::count)
}

#[test]
fn a_killed_worker_is_told_with_the_last_words_of_its_log_and_starts_again() {
    let Some(home) = home(&[code::HALT]) else { return };
    home.done(&["start", "web"]);
    home.wait_for("the firmware to log", || {
        fs::read_to_string(home.guest("web").join("worker.log")).unwrap().contains("SeaBIOS")
    });

    signal(&home.worker("web"), "KILL");

    home.wait_for_state("web", "crashed");
    let info = home.json(&["info", "web", "--json"]);
    assert!(info["reason"].as_str().unwrap().contains("killed"), "{info}");
    assert!(!info["last_exit"]["log_tail"].as_array().unwrap().is_empty(), "{info}");
    assert_eq!(running_folders(&home), 0);
    home.done(&["start", "web"]);
    assert_eq!(home.state("web"), "running");
    assert!(home.json(&["info", "web", "--json"])["last_exit"].is_null());
}

#[test]
fn of_many_starts_at_once_one_wins_and_the_others_are_told() {
    let Some(home) = home(&[code::HALT]) else { return };

    let starts: Vec<_> = (0..6)
        .map(|_| home.command(&["start", "web"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();

    let outputs: Vec<_> = starts.into_iter().map(|start| start.wait_with_output().unwrap()).collect();
    assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1);
    for output in outputs.iter().filter(|output| !output.status.success()) {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("\"web\" is already running"), "{error}");
    }
    assert_eq!((home.state("web").as_str(), running_folders(&home)), ("running", 1));
}

#[test]
fn who_starts_a_guest_may_be_killed_at_any_moment() {
    let Some(home) = home(&[code::HALT]) else { return };

    for moment in 0..24 {
        let mut start = home.command(&["start", "web"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From before its first step to after its last.
        thread::sleep(Duration::from_millis(moment * 3));
        start.kill().unwrap();
        start.wait().unwrap();

        // The worker may be there or not, but it is one of both.
        home.wait_for("a state that lasts", || ["running", "off"].contains(&home.state("web").as_str()));
        if home.state("web") == "running" {
            home.done(&["destroy", "web"]);
        }
        assert_eq!(running_folders(&home), 0, "after {moment} steps");
    }
    home.done(&["start", "web"]);
}

#[test]
fn guests_outlive_the_program_and_the_session_that_started_them() {
    let Some(home) = home(&[code::HALT]) else { return };
    home.done(&["start", "web"]);
    let worker = home.worker("web");

    let status = fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
    let session = status.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap();

    assert_eq!(session, worker, "the worker leads a session of its own: no terminal's end reaches it");
}

#[test]
fn an_instruction_that_kvm_cannot_run_is_shown_until_the_guest_is_reset_or_ended() {
    // mov ax, 0xb800; mov ds, ax; popcnt ax, [0]: video memory is emulated, and the emulator has no popcnt
    let popcnt = [0xb8, 0x00, 0xb8, 0x8e, 0xd8, 0xf3, 0x0f, 0xb8, 0x06, 0x00, 0x00];
    let Some(home) = home(&[&popcnt, code::HALT]) else { return };
    home.done(&["start", "web"]);

    home.wait_for_state("web", "internal-error");

    let info = home.json(&["info", "web", "--json"]);
    assert!(info["reason"].as_str().unwrap().contains("f3 0f b8"), "{info}");
    home.done(&["screenshot", "web", home.path().join("last.png").to_str().unwrap()]);
    signal(&home.worker("web"), "KILL");
    home.wait_for_state("web", "crashed");
    let after = home.json(&["info", "web", "--json"]);
    assert_eq!(after["last_exit"]["outcome"], "internal-error", "the first cause is kept: {after}");
    home.done(&["start", "web"]);
    home.wait_for_state("web", "internal-error");
    home.done(&["destroy", "web"]);
    assert_eq!(home.state("web"), "off");
}

#[test]
fn definitions_outlive_every_kill_of_those_who_change_them() {
    let home = Home::default();
    home.done(&["create", "web"]);

    for moment in 0..30u64 {
        let memory = format!("sed -i 's/^memory = .*/memory = \"{} MiB\"/'", moment + 1);
        let mut edit = home.command(&["edit", "web"]).env("EDITOR", memory).stdout(Stdio::null()).spawn().unwrap();
        let mut create = home
            .command(&["create", &format!("new-{moment}"), "--disk", "size=1MiB"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(moment));
        for child in [&mut edit, &mut create] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    let listed = home.json(&["list", "--all", "--json"]);
    for guest in listed.as_array().unwrap() {
        assert_eq!(guest["state"], "off", "{guest}");
    }
    home.done(&["create", "last"]);
    let half_done = fs::read_dir(home.path().join("data/lodge/guests")).unwrap().flatten();
    assert!(half_done.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
}
