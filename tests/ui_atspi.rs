//! The real application, driven as a person with a screen reader and a keyboard does it: each script of `tests/ui/` starts
//! `lodge` on a screen, a session bus and home folders of its own and speaks AT-SPI to it.
//!
//! They need Xvfb, dbus-run-session, xdotool, xclip, openbox, ImageMagick and Python's `gi` with Atspi; where one is missing they say so, and fail in CI.

#[path = "common/kvm.rs"]
mod kvm;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// What the scripts call.
const PROGRAMS: [&str; 7] =
    ["dbus-run-session", "xvfb-run", "xdotool", "xclip", "openbox", "import", "/usr/bin/python3"];

/// The screen. A key that a busy machine lets go late is pressed once and not repeated.
const SCREEN: &str = "-screen 0 1600x1000x24 -r";

/// The status with which a script says that the machine lacks something.
const SKIPPED: i32 = 77;

/// The status that a shell gives to a program which ended by a segmentation fault.
const SEGMENTATION_FAULT: i32 = 139;

/// How often a script is run whose own Python crashes: libatspi does so now and then while windows come and go, which says
/// nothing about the application.
const ATTEMPTS: usize = 3;

/// The first display that no test of this process has begun to look at, less the one it begins with.
static DISPLAYS: AtomicU32 = AtomicU32::new(0);
/// Two processes that run at the same time most likely begin so many displays apart.
const APART: u32 = 40;

/// Makes a network of a script's own with a bridge and a TAP interface, and goes on with a command.
const BRIDGED: &str = "mount --make-rprivate /; mount -t sysfs sysfs /sys; ip link set lo up; ip link add br0 type bridge; \
                       ip link set br0 up; ip tuntap add dev tap0 mode tap; ip link set tap0 up; exec \"$@\"";

/// Runs a script.
fn run(script: &str) {
    run_with(script, || Command::new("dbus-run-session"));
}

/// Runs a script on a host of its own that has a bridge, which only root can make.
fn run_with_bridge(script: &str) {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "only root can make a bridge");
        eprintln!("skipped: only root can make a bridge");
        return;
    }
    run_with(script, || {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-ec", BRIDGED, "sh", "dbus-run-session"]);
        command
    });
}

/// Runs a script in the session that `session` begins.
fn run_with(script: &str, session: impl Fn() -> Command) {
    for _ in 1..ATTEMPTS {
        if attempt(script, session(), false) {
            return;
        }
        println!("{script} is run again: its Python has crashed");
    }
    attempt(script, session(), true);
}

/// Runs a script once. `false` when its Python has crashed, unless this is the `last` attempt.
fn attempt(script: &str, mut session: Command, last: bool) -> bool {
    if let Some(missing) = PROGRAMS.into_iter().find(|program| !is_there(program)) {
        assert!(std::env::var_os("CI").is_none(), "{missing} is missing");
        eprintln!("skipped: {missing} is missing");
        return true;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = |name: &str| {
        let path = home.path().join(name);
        fs::create_dir(&path).expect("a folder can be made in the temporary folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("it is ours");
        path
    };
    // Two that look for a free display at the same time must not find the same one.
    let first = 100 + std::process::id() % 100 * APART;
    let display = (first + DISPLAYS.fetch_add(1, Ordering::Relaxed)).to_string();
    let output = session
        .args(["--", "xvfb-run", "-a", "-n", &display, "-s", SCREEN, "/usr/bin/python3"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui").join(script))
        .env("LODGE", env!("CARGO_BIN_EXE_lodge"))
        .env("LODGECTL", env!("CARGO_BIN_EXE_lodgectl"))
        .env("LODGE_WORKER", env!("CARGO_BIN_EXE_lodge-worker"))
        .env("HOME", home.path())
        .env("XDG_DATA_HOME", folder("data"))
        .env("XDG_CONFIG_HOME", folder("config"))
        .env("XDG_CACHE_HOME", folder("cache"))
        .env("XDG_STATE_HOME", folder("state"))
        .env("XDG_RUNTIME_DIR", folder("run"))
        .env("TMPDIR", folder("tmp"))
        .env("GSETTINGS_BACKEND", "keyfile")
        .env("GSK_RENDERER", "cairo")
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("LANGUAGE")
        .output()
        .expect("dbus-run-session is there");
    let Output { status, stdout, stderr } = output;
    if status.code() == Some(SKIPPED) && std::env::var_os("CI").is_none() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&stdout).trim_end());
        return true;
    }
    if status.code() == Some(SEGMENTATION_FAULT) && !last {
        end_guests(home.path());
        return false;
    }
    assert!(
        status.success(),
        "{script} failed:\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    true
}

/// Ends the guests that a crashed script has left.
fn end_guests(home: &Path) {
    for folder in fs::read_dir(home.join("run/lodge")).into_iter().flatten().flatten() {
        let pid = fs::read_to_string(folder.path().join("worker.pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\" >/dev/null", program])
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_new_guest_is_made_step_by_step_and_stands_in_the_list() {
    run("wizard.py");
}

#[test]
fn files_that_are_dropped_begin_a_new_guest() {
    run("dropping.py");
}

#[test]
fn a_guest_that_boots_a_kernel_is_made_with_the_wizard() {
    run("kernel.py");
}

#[test]
fn the_clipboard_is_shared_with_the_guest_that_has_the_keyboard() {
    if kvm::open().is_some() {
        run("clipboard.py");
    }
}

#[test]
fn each_button_of_the_pointer_reaches_the_guest_and_its_balloon_answers() {
    if kvm::open().is_some() {
        run("pointer.py");
    }
}

#[test]
fn a_guest_is_put_into_a_bridge_and_its_vcpus_are_arranged_with_the_wizard() {
    if kvm::open().is_some() {
        run_with_bridge("network.py");
    }
}

#[test]
fn what_is_entered_wrongly_is_said_at_its_field() {
    run("wrong_entries.py");
}

#[test]
fn every_control_has_a_name_for_screen_readers() {
    run("names.py");
}

#[test]
fn every_control_of_a_guests_window_has_a_name_for_screen_readers() {
    if kvm::open().is_some() {
        run("window_names.py");
    }
}

#[test]
fn everything_can_be_done_by_keyboard() {
    run("keyboard.py");
}

#[test]
fn every_shortcut_does_what_it_says() {
    if kvm::open().is_some() {
        run("shortcuts.py");
    }
}

#[test]
fn a_guests_screen_fills_the_display_and_comes_back() {
    if kvm::open().is_some() {
        run("full_screen.py");
    }
}

#[test]
fn each_preference_is_stored_and_has_its_effect() {
    if kvm::open().is_some() {
        run("preferences.py");
    }
}

#[test]
fn guests_are_searched_renamed_and_deleted() {
    run("list.py");
}

#[test]
fn a_definition_that_cannot_be_read_is_shown_and_left_alone() {
    run("broken_definition.py");
}

#[test]
fn a_guest_outlives_the_application_and_a_killed_worker_is_told() {
    run("running.py");
}

#[test]
fn pools_and_their_disks_are_managed_and_deleted_guests_are_brought_back() {
    run("storage.py");
}

#[test]
fn the_desktops_search_finds_guests_and_opens_them() {
    run("desktop_search.py");
}

#[test]
fn the_application_speaks_german() {
    run("german.py");
}

#[test]
fn a_second_start_brings_the_first_window_to_the_front() {
    run("single_instance.py");
}

#[test]
fn the_test_card_is_shown_typed_to_paused_and_forced_off() {
    if kvm::open().is_some() {
        run("console.py");
    }
}

#[test]
fn a_guests_state_is_kept_or_discarded_and_the_guest_is_cloned() {
    if kvm::open().is_some() {
        run("kept_and_cloned.py");
    }
}

#[test]
fn snapshots_are_taken_described_gone_back_to_and_deleted() {
    if kvm::open().is_some() {
        run("snapshots.py");
    }
}

#[test]
fn an_iso_image_boots_to_its_menu_in_the_guests_window() {
    if kvm::open().is_some() {
        run("grub.py");
    }
}

#[test]
fn a_disc_is_ejected_and_inserted_in_the_guests_window() {
    if kvm::open().is_some() {
        run("disc.py");
    }
}

#[test]
fn a_guests_hardware_is_edited_in_its_window() {
    run("details.py");
}

#[test]
fn what_would_be_lost_with_a_window_or_the_application_is_asked_about() {
    run("leaving.py");
}

#[test]
fn what_guests_and_the_host_use_is_drawn_exported_and_kept() {
    if kvm::open().is_some() {
        run("performance.py");
    }
}

#[test]
fn workers_that_misbehave_do_not_hold_the_windows_up() {
    run("live.py");
}

#[test]
fn without_a_display_lodgectl_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_lodge"))
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .output()
        .expect("lodge can be run");

    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("lodgectl"), "{message}");
}
