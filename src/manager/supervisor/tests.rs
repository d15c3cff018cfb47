//! The supervisor over stand-ins for workers: real processes, locks and sockets, no KVM.

use std::{fs, process::Command};

use super::*;
use crate::manager::{
    definition::{Definition, DiskDefinition, DiskFormat},
    host::Demand,
    library::LibraryError,
    testing,
};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

/// The stand-in for the worker; see [`testing`].
#[test]
fn stand_in_worker() {
    testing::run_if_asked();
}

struct Fixture {
    folder: tempfile::TempDir,
    supervisor: Supervisor,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
    let worker = testing::install(folder.path(), "manager::supervisor::tests::stand_in_worker").unwrap();
    let root = testing::host(&folder.path().join("root")).unwrap();
    Fixture { supervisor: Supervisor::new(paths).with_worker(worker).with_root(root), folder }
}

impl Fixture {
    fn add(&self, name: &str) -> Uuid {
        let mut definition = Definition::new(name);
        definition.memory = crate::manager::size::Size::mib(64);
        self.supervisor.library().create(&definition).unwrap();
        definition.uuid
    }

    fn folder_of(&self, uuid: Uuid) -> PathBuf {
        self.supervisor.paths().running(uuid).folder
    }

    /// A worker that has failed leaves neither its lock nor its folder. Programs that other tests start have the lock, too, for a
    /// moment; then the next one who looks at the guest cleans up.
    async fn assert_nothing_left(&self, name: &str, uuid: Uuid) {
        assert!(self.supervisor.gone_within(name, DEADLINE).await, "the lock is free again");
        self.supervisor.state(name).await.unwrap();
        assert!(!self.folder_of(uuid).exists());
    }
}

/// Whatever a test leaves running is ended.
impl Drop for Fixture {
    fn drop(&mut self) {
        let folders = fs::read_dir(self.supervisor.paths().runtime()).into_iter().flatten().flatten();
        for folder in folders {
            if let Ok(pid) = fs::read_to_string(folder.path().join("worker.pid")) {
                signal(pid.trim(), "KILL");
            }
        }
    }
}

fn signal(pid: &str, name: &str) {
    Command::new("kill").args([&format!("-{name}"), pid]).output().unwrap();
}

#[tokio::test]
async fn a_started_guest_runs_is_found_again_and_ends_when_asked() {
    let fixture = fixture();
    let uuid = fixture.add("web");

    let client = fixture.supervisor.start("web").await.unwrap();

    assert!(client.status().await.unwrap().running);
    drop(client);
    let again = fixture.supervisor.attach("web").await.unwrap();
    again.pause().await.unwrap();
    assert_eq!(fixture.supervisor.state("web").await.unwrap(), GuestState::PAUSED);
    fixture.supervisor.force_off("web").await.unwrap();
    assert_eq!(fixture.supervisor.state("web").await.unwrap(), GuestState::Off);
    assert!(!fixture.folder_of(uuid).exists());
    assert_eq!(fixture.supervisor.last_exit("web").await.unwrap().outcome, Outcome::Quit);
}

#[tokio::test]
async fn what_a_guest_has_already_is_not_counted_as_what_it_may_take() {
    let fixture = fixture();
    let uuid = fixture.add("web");
    fixture.add("off");
    fixture.supervisor.start("web").await.unwrap();
    let proc = fixture.folder.path().join("root/proc");
    let process = proc.join(fixture.supervisor.pid(uuid).unwrap().to_string());
    fs::create_dir_all(&process).unwrap();
    // 16 MiB of the guest's 64 are there.
    fs::write(process.join("statm"), "30000 4096 100 1 0 200 0\n").unwrap();

    let mut demands = Vec::new();
    for kilobytes in [49_152, 49_151] {
        fs::write(proc.join("meminfo"), format!("MemAvailable: {kilobytes} kB\n")).unwrap();
        demands.push(fixture.supervisor.memory_demand().await.unwrap());
    }

    assert_eq!(demands[0].more, 48 << 20);
    assert_eq!(demands.iter().map(Demand::is_too_much).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn of_two_starts_at_once_one_wins_and_the_other_is_told() {
    let fixture = fixture();
    fixture.add("web");

    let (one, two) = tokio::join!(fixture.supervisor.start("web"), fixture.supervisor.start("web"));

    let errors: Vec<_> = [one.err(), two.err()].into_iter().flatten().collect();
    assert!(matches!(&errors[..], [SupervisorError::AlreadyRunning { .. }]), "{errors:?}");
    assert_eq!(fixture.supervisor.state("web").await.unwrap(), GuestState::Running);
}

#[tokio::test]
async fn a_killed_worker_is_a_crash_until_the_next_start() {
    let fixture = fixture();
    let uuid = fixture.add("web");
    let client = fixture.supervisor.start("web").await.unwrap();

    signal(&fixture.supervisor.pid(uuid).unwrap().to_string(), "KILL");
    tokio::time::timeout(DEADLINE, client.closed()).await.unwrap();
    assert!(fixture.supervisor.gone_within("web", DEADLINE).await);

    let state = fixture.supervisor.state("web").await.unwrap();
    assert!(matches!(&state, GuestState::Crashed { reason } if reason.contains("killed")), "{state:?}");
    assert!(!fixture.folder_of(uuid).exists());
    fixture.supervisor.start("web").await.unwrap();
    assert_eq!(fixture.supervisor.state("web").await.unwrap(), GuestState::Running);
}

#[tokio::test]
async fn a_worker_that_hangs_is_told_and_can_be_forced_off() {
    let fixture = fixture();
    let uuid = fixture.add("web");
    fixture.supervisor.start("web").await.unwrap();

    signal(&fixture.supervisor.pid(uuid).unwrap().to_string(), "STOP");

    assert_eq!(fixture.supervisor.state("web").await.unwrap(), GuestState::NotResponding);
    fixture.supervisor.force_off("web").await.unwrap();
    assert_eq!(fixture.supervisor.state("web").await.unwrap(), GuestState::Off);
}

#[tokio::test]
async fn a_worker_that_gives_up_says_why() {
    let fixture = fixture();
    let uuid = fixture.add("dies");

    let error = fixture.supervisor.start("dies").await.unwrap_err();

    assert!(error.to_string().contains("it was told to die"), "{error}");
    fixture.assert_nothing_left("dies", uuid).await;
    assert_eq!(fixture.supervisor.state("dies").await.unwrap(), GuestState::Off);
}

#[tokio::test]
async fn a_worker_that_vanishes_leaves_nothing_behind() {
    let fixture = fixture();
    let uuid = fixture.add("vanishes");

    let error = fixture.supervisor.start("vanishes").await.unwrap_err();

    assert!(matches!(error, SupervisorError::Worker { .. }), "{error}");
    fixture.assert_nothing_left("vanishes", uuid).await;
}

#[tokio::test]
async fn a_guest_that_kvm_cannot_run_is_held_with_the_reason() {
    let fixture = fixture();
    fixture.add("fails");
    let client = fixture.supervisor.start("fails").await.unwrap();
    let mut events = client.events();

    // The error may be before or after the connection.
    let held = async {
        while client.status().await.unwrap().running {
            let _ = tokio::time::timeout(Duration::from_millis(50), events.recv()).await;
        }
    };
    tokio::time::timeout(DEADLINE, held).await.unwrap();

    let state = fixture.supervisor.state("fails").await.unwrap();
    assert!(matches!(&state, GuestState::InternalError { reason } if reason.contains("KVM cannot run")), "{state:?}");
}

#[tokio::test]
async fn two_guests_never_write_the_same_disk() {
    let fixture = fixture();
    let disk = fixture.folder.path().join("disk.raw");
    fs::write(&disk, [0; 4096]).unwrap();
    for name in ["one", "two"] {
        let mut definition = Definition::new(name);
        definition.add_disk(DiskDefinition::new(&disk, DiskFormat::Raw));
        fixture.supervisor.library().create(&definition).unwrap();
    }
    fixture.supervisor.start("one").await.unwrap();

    let error = fixture.supervisor.start("two").await.unwrap_err();

    assert!(error.to_string().contains("in use by another guest"), "{error}");
    fixture.supervisor.force_off("one").await.unwrap();
    fixture.supervisor.start("two").await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named_with_how_to_mend_it() {
    let fixture = fixture();
    fixture.add("web");
    let root = fixture.folder.path().join("root");
    let start = async || fixture.supervisor.start("web").await.unwrap_err().to_string();

    fs::remove_dir_all(root.join("usr")).unwrap();
    assert!(start().await.contains("Install the package \"seabios\""));
    fs::remove_file(root.join("dev/kvm")).unwrap();
    assert!(start().await.contains("Switch on virtualization"));
    assert!(fixture.supervisor.gone_within("web", DEADLINE).await, "the lock is free again");
    let error = fixture.supervisor.start("nobody").await.unwrap_err();
    assert!(matches!(error, SupervisorError::Library(LibraryError::NotFound(_))));
}

#[tokio::test]
async fn every_missing_disk_is_named_at_once() {
    let fixture = fixture();
    let mut definition = Definition::new("web");
    definition.add_disk(DiskDefinition::new("/nonexistent/a.raw", DiskFormat::Raw));
    definition.add_disk(DiskDefinition::cdrom("/nonexistent/b.iso"));
    fixture.supervisor.library().create(&definition).unwrap();

    let error = fixture.supervisor.start("web").await.unwrap_err().to_string();

    assert!(error.contains("/nonexistent/a.raw") && error.contains("/nonexistent/b.iso"), "{error}");
}

#[tokio::test]
async fn the_program_that_started_a_guest_is_not_needed_afterwards() {
    let fixture = fixture();
    fixture.add("web");
    fixture.supervisor.start("web").await.unwrap();

    let other = Supervisor::new(fixture.supervisor.paths().clone());

    assert_eq!(other.state("web").await.unwrap(), GuestState::Running);
    other.force_off("web").await.unwrap();
}

#[tokio::test]
async fn the_fate_of_every_guest_is_told_after_all_programs_were_killed() {
    let fixture = fixture();
    let names = ["one", "two", "three"];
    let uuids = names.map(|name| fixture.add(name));
    for name in names {
        fixture.supervisor.start(name).await.unwrap();
    }
    for uuid in &uuids[..2] {
        signal(&fixture.supervisor.pid(*uuid).unwrap().to_string(), "KILL");
    }
    for name in &names[..2] {
        assert!(fixture.supervisor.gone_within(name, DEADLINE).await);
    }

    fixture.supervisor.sweep().await;

    let left = fs::read_dir(fixture.supervisor.paths().runtime()).unwrap().count();
    assert_eq!(left, 1, "only the folder of the one that runs");
    assert!(matches!(fixture.supervisor.state("one").await.unwrap(), GuestState::Crashed { .. }));
    assert_eq!(fixture.supervisor.state("three").await.unwrap(), GuestState::Running);
}
