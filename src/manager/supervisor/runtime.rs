//! The folder of a running guest: making it, and cleaning up when its worker is gone.
//!
//! A lock on the runtime folder itself (flock(2)) keeps a start and a clean-up apart: a start holds its guest's run lock
//! before it asks for this one, so a clean-up, which holds this one, sees that the guest is being started.

#![forbid(unsafe_code)]

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        net::UnixListener,
    },
    path::Path,
};

use rustix::fs::FlockOperation;
use uuid::Uuid;

use crate::{
    manager::{
        atomic_file,
        paths::{Paths, RunningPaths},
        run_lock, socket,
    },
    worker::exit_report::{ExitReport, Outcome},
};

/// Lines of the log that go with the report of a worker that could not write one.
const LOG_LINES: usize = 20;

/// What lies ready for a worker.
#[derive(Debug)]
pub(super) struct Prepared {
    pub control: UnixListener,
    pub vnc: UnixListener,
    pub serial: UnixListener,
    pub exit_report: File,
    pub console: Option<UnixListener>,
    pub agent: Option<UnixListener>,
    pub vsock: Option<UnixListener>,
}

/// Which of the sockets a guest has that not every guest has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub console: bool,
    pub agent: bool,
    pub vsock: bool,
}

/// Makes the folder of the guest with this UUID, after cleaning up behind an earlier run. The caller holds the run lock of
/// `name`. `Err` in the result: the folder belongs to another guest of that name, which runs.
pub(super) fn prepare(paths: &Paths, name: &str, uuid: Uuid, wanted: Wanted) -> io::Result<Result<Prepared, String>> {
    let _lock = lock(paths)?;
    let running = paths.running(uuid);
    if let Ok(other) = fs::read_to_string(running.name()) {
        // Two folders of the library have this UUID: one is a copy of the other.
        if other != name && run_lock::is_held(&paths.run_lock(&other))? {
            return Ok(Err(other));
        }
    }
    bury(paths, name, &running)?;
    DirBuilder::new().mode(0o700).create(&running.folder)?;
    let private = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    io::Write::write_all(&mut private(&running.name())?, name.as_bytes())?;
    let listen_if = |wanted: bool, path: &Path| wanted.then(|| socket::listen(path)).transpose();
    let prepared = Prepared {
        exit_report: private(&running.exit_report())?,
        control: socket::listen(&running.control())?,
        vnc: socket::listen(&running.vnc())?,
        serial: socket::listen(&running.serial())?,
        console: listen_if(wanted.console, &running.console())?,
        agent: listen_if(wanted.agent, &running.agent())?,
        vsock: listen_if(wanted.vsock, &running.vsock())?,
    };
    // How the run before this one ended is of no interest from now on.
    remove_if_there(&paths.last_exit(name))?;
    Ok(Ok(prepared))
}

/// Removes the folder of a guest whose worker is gone, and keeps how it ended. Does nothing while the worker lives.
pub(super) fn clean(paths: &Paths, name: &str, uuid: Uuid) -> io::Result<()> {
    let running = paths.running(uuid);
    if !running.folder.exists() {
        return Ok(());
    }
    let _lock = lock(paths)?;
    let owner = fs::read_to_string(running.name()).unwrap_or_else(|_| name.to_owned());
    // After a rename the folder still has the guest's old name, and nobody has the lock of that.
    if run_lock::is_held(&paths.run_lock(name))? || run_lock::is_held(&paths.run_lock(&owner))? {
        return Ok(());
    }
    bury(paths, name, &running)
}

/// Keeps the exit report of an ended run and removes its folder.
fn bury(paths: &Paths, name: &str, running: &RunningPaths) -> io::Result<()> {
    if !running.folder.exists() {
        return Ok(());
    }
    // Without a process id the launcher itself ended before there was a worker.
    let had_worker = running.pid().exists();
    let report = read_report(&running.exit_report());
    if let Some(report) = report.or_else(|| had_worker.then(|| killed(&paths.log(name)))) {
        let json = serde_json::to_vec_pretty(&report).map_err(io::Error::other)?;
        atomic_file::replace(&paths.last_exit(name), &json)?;
    }
    fs::remove_dir_all(&running.folder)
}

/// The report of a worker that left none.
fn killed(log: &Path) -> ExitReport {
    let message = "the worker was killed before it could say why. Look for the reason in the kernel's log (\"dmesg\"): \
                   perhaps the host had no memory left";
    let mut report = ExitReport::new(Outcome::Crash, message);
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
    report.log_tail = lines.into_iter().rev().map(str::to_owned).collect();
    report
}

/// Writes how a run ended that somebody else ended.
pub(super) fn report_instead(running: &RunningPaths, report: &ExitReport) -> io::Result<()> {
    report.write(&OpenOptions::new().write(true).open(running.exit_report())?)
}

/// Writes the worker's process id.
pub(super) fn write_pid(running: &RunningPaths, pid: u32) -> io::Result<()> {
    atomic_file::replace(&running.pid(), format!("{pid}\n").as_bytes())
}

/// Reads the worker's process id.
pub(super) fn read_pid(running: &RunningPaths) -> Option<u32> {
    atomic_file::read_text(&running.pid()).ok()?.trim().parse().ok()
}

/// Reads an exit report; one that is damaged is as good as none.
pub(super) fn read_report(path: &Path) -> Option<ExitReport> {
    let text = atomic_file::read_text(path).ok()?;
    ExitReport::from_json(text.as_bytes())
        .inspect_err(|error| tracing::warn!("{}: {error}", path.display()))
        .ok()
        .flatten()
}

/// Held for a moment only.
fn lock(paths: &Paths) -> io::Result<File> {
    paths.create().map_err(io::Error::other)?;
    let folder = File::open(paths.runtime())?;
    rustix::fs::flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::run_lock::RunLock;

    struct Fixture {
        _folder: tempfile::TempDir,
        paths: Paths,
        uuid: Uuid,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        paths.create().unwrap();
        fs::create_dir(paths.guest_folder("web")).unwrap();
        Fixture { _folder: folder, paths, uuid: Uuid::from_u128(7) }
    }

    impl Fixture {
        fn run(&self) -> RunLock {
            let lock = RunLock::acquire(&self.paths.run_lock("web")).unwrap().unwrap();
            prepare(&self.paths, "web", self.uuid, Wanted::default()).unwrap().unwrap();
            write_pid(&self.paths.running(self.uuid), 1).unwrap();
            lock
        }

        fn last(&self) -> Option<ExitReport> {
            read_report(&self.paths.last_exit("web"))
        }
    }

    #[test]
    fn the_folder_of_a_running_guest_is_left_alone() {
        let fixture = fixture();
        let _running = fixture.run();

        clean(&fixture.paths, "web", fixture.uuid).unwrap();

        assert!(fixture.paths.running(fixture.uuid).control().exists());
    }

    #[test]
    fn behind_a_killed_worker_the_log_is_kept_in_a_report() {
        let fixture = fixture();
        drop(fixture.run());
        fs::write(fixture.paths.log("web"), "first\nlast words\n").unwrap();

        clean(&fixture.paths, "web", fixture.uuid).unwrap();

        assert!(!fixture.paths.running(fixture.uuid).folder.exists());
        let report = fixture.last().unwrap();
        assert_eq!(report.outcome, Outcome::Crash);
        assert_eq!(report.log_tail, ["first", "last words"]);
    }

    #[test]
    fn what_a_worker_reported_is_kept_until_the_next_start() {
        let fixture = fixture();
        let running = fixture.run();
        let report = ExitReport::new(Outcome::Shutdown, "the guest turned itself off");
        report_instead(&fixture.paths.running(fixture.uuid), &report).unwrap();
        drop(running);

        clean(&fixture.paths, "web", fixture.uuid).unwrap();

        assert_eq!(fixture.last(), Some(report));
        let _running = fixture.run();
        assert_eq!(fixture.last(), None);
    }

    #[test]
    fn a_launcher_that_died_before_its_worker_leaves_no_crash() {
        let fixture = fixture();
        let lock = RunLock::acquire(&fixture.paths.run_lock("web")).unwrap().unwrap();
        prepare(&fixture.paths, "web", fixture.uuid, Wanted::default()).unwrap().unwrap();
        drop(lock);

        clean(&fixture.paths, "web", fixture.uuid).unwrap();

        assert_eq!(fixture.last(), None);
        assert!(!fixture.paths.running(fixture.uuid).folder.exists());
    }

    #[test]
    fn a_copy_cannot_take_the_folder_of_the_guest_that_runs() {
        let fixture = fixture();
        let _running = fixture.run();
        fs::create_dir(fixture.paths.guest_folder("copy")).unwrap();

        let refused = prepare(&fixture.paths, "copy", fixture.uuid, Wanted::default()).unwrap().unwrap_err();

        assert_eq!(refused, "web");
        assert!(fixture.paths.running(fixture.uuid).control().exists());
    }

    #[test]
    fn damaged_reports_are_no_reports() {
        let fixture = fixture();
        fs::write(fixture.paths.last_exit("web"), "{\"version\": 1, \"ti").unwrap();

        assert_eq!(fixture.last(), None);
    }
}
