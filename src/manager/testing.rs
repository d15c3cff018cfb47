//! A stand-in for `lodge-worker`, and for the host, so that everything from the supervisor up to the dialogs can be tested
//! without KVM.
//!
//! The stand-in is a process of its own, started as a worker is: [`install`] writes a script that runs the test's own
//! program again, where a test that does nothing but call [`run_if_asked`] becomes the worker. Its control socket is served
//! by the worker's real code over a machine that only remembers. The guest's name chooses how it behaves:
//!
//! - `dies…`: it ends before it answers, with a report. `vanishes…`: the same without a report.
//! - `silent…`: it never answers.
//! - `fails…`: right after the start KVM cannot go on.

use std::{
    env, fs,
    fs::File,
    io::{self, Read},
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process, thread,
};

use super::host::{Root, firmware};
use crate::{
    vmm::{cpu::InternalErrorReport, machine::MachineEvent},
    worker::{
        exit_report::{ExitReport, Outcome},
        launch::{LAUNCH_FD, LaunchDescription},
        testing::{FakeLaunch, FakeWorker},
    },
};

const VARIABLE: &str = "LODGE_FAKE_WORKER";

/// Writes the stand-in for `lodge-worker` into `folder` and returns its path. `entry` is the full name of the test that
/// calls [`run_if_asked`].
pub fn install(folder: &Path, entry: &str) -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let script = format!(
        "#!/bin/sh\nexport {VARIABLE}=1\nexec '{}' --exact '{entry}' --include-ignored --nocapture\n",
        program.display()
    );
    let path = folder.join("lodge-worker");
    write_program(&path, &script)?;
    Ok(path)
}

/// Writes a script that can be run at once. A process of its own does it: what this process has open for writing, those have
/// for a moment that its other threads start, and what somebody writes to cannot be run.
pub fn write_program(path: &Path, script: &str) -> io::Result<()> {
    let write = r#"printf %s "$1" >"$0" && chmod 755 "$0""#;
    let written = process::Command::new("sh").args(["-c", write]).arg(path).arg(script).status()?;
    written.success().then_some(()).ok_or_else(|| io::Error::other("the script was not written"))
}

/// Makes a host in `folder` that has all that a start looks for: a `/dev/kvm` that can be opened, and firmware.
pub fn host(folder: &Path) -> io::Result<Root> {
    let root = Root::new(folder);
    for file in [
        "/dev/kvm",
        &format!("/usr/share/seabios/{}", firmware::BIOS),
        &format!("/usr/share/seabios/{}", firmware::VGA_BIOS),
    ] {
        let path = root.path(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, "")?;
    }
    Ok(root)
}

/// Runs the stand-in and ends the process, if this process was started as one; does nothing otherwise.
pub fn run_if_asked() {
    if env::var_os(VARIABLE).is_some() {
        let ended = run();
        process::exit(i32::from(ended.is_err()));
    }
}

fn run() -> io::Result<()> {
    let mut json = Vec::new();
    File::from(take(LAUNCH_FD)).read_to_end(&mut json)?;
    let launch = LaunchDescription::from_json(&json).map_err(io::Error::other)?;
    let _lock = take(launch.descriptors.run_lock);
    let report = File::from(take(launch.descriptors.exit_report));
    let control = UnixListener::from(take(launch.descriptors.control));
    if launch.name.starts_with("vanishes") {
        return Ok(());
    }
    if launch.name.starts_with("dies") {
        return ExitReport::new(Outcome::LaunchFailed, "it was told to die. Give it another name").write(&report);
    }
    if launch.name.starts_with("silent") {
        loop {
            thread::park();
        }
    }
    let told = FakeLaunch {
        start_paused: launch.start_paused,
        on_poweroff: launch.on_poweroff,
        on_reboot: launch.on_reboot,
        on_crash: launch.on_crash,
        clipboard: None,
    };
    let worker = FakeWorker::start_with(told, report.try_clone()?)?;
    let server = worker.server();
    if launch.name.starts_with("fails") {
        worker.report(MachineEvent::InternalError(Box::new(InternalErrorReport {
            vcpu: 0,
            reason: "an instruction that KVM cannot run".to_owned(),
            suberror: Some(1),
            rip: 0x7c00,
            bytes: vec![0x0f, 0x0b],
            registers: None,
        })));
    }
    thread::spawn(move || {
        // A client that cannot be served sees its connection closed.
        control.incoming().flatten().try_for_each(|client: UnixStream| server.serve(client))
    });
    match worker.wait() {
        Some(ended) => ended.write(&report),
        None => Err(io::Error::other("the driver failed")),
    }
}

fn take(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the launcher has handed over the descriptors that the launch description names, each for one purpose, and
    // each is taken once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
