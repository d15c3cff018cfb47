//! The live view over stand-ins for workers.

use std::{fs, process::Command, time::Duration};

use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

use super::*;
use crate::manager::{paths::Paths, size::Size, testing};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

/// The stand-in for the worker; see [`testing`].
#[test]
fn stand_in_worker() {
    testing::run_if_asked();
}

struct Fixture {
    _folder: tempfile::TempDir,
    supervisor: Supervisor,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
    let worker = testing::install(folder.path(), "manager::guests::tests::stand_in_worker").unwrap();
    let root = testing::host(&folder.path().join("root")).unwrap();
    Fixture { supervisor: Supervisor::new(paths).with_worker(worker).with_root(root), _folder: folder }
}

impl Fixture {
    fn add(&self, name: &str) -> GuestId {
        let mut definition = Definition::new(name);
        definition.memory = Size::mib(64);
        self.supervisor.library().create(&definition).unwrap();
        GuestId::Known(definition.uuid)
    }

    fn signal(&self, id: &GuestId, name: &str) {
        let GuestId::Known(uuid) = id else { panic!("{id:?} has no worker") };
        let pid = self.supervisor.pid(*uuid).unwrap();
        Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).output().unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for folder in fs::read_dir(self.supervisor.paths().runtime()).into_iter().flatten().flatten() {
            if let Ok(pid) = fs::read_to_string(folder.path().join("worker.pid")) {
                Command::new("kill").args(["-KILL", pid.trim()]).output().unwrap();
            }
        }
    }
}

/// Waits until the guest is told to be in such a state, and returns every state that was told before.
async fn until(
    changes: &mut UnboundedReceiver<GuestChange>,
    id: &GuestId,
    wanted: fn(&GuestState) -> bool,
) -> Vec<GuestState> {
    let mut states = Vec::new();
    let wait = async {
        loop {
            match changes.recv().await.unwrap() {
                GuestChange::Added(view) | GuestChange::Changed(view) if view.id == *id => {
                    states.push(view.state.clone());
                    if wanted(&view.state) {
                        return;
                    }
                }
                _ => {}
            }
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("only {states:?} were told"));
    states
}

/// Waits until that is so, and looks whenever figures have come.
async fn until_figures(changes: &mut UnboundedReceiver<GuestChange>, are_enough: impl Fn() -> bool) {
    let figures = async {
        while !are_enough() {
            while next(changes).await != GuestChange::Statistics {}
        }
    };
    timeout(DEADLINE, figures).await.unwrap();
}

async fn next(changes: &mut UnboundedReceiver<GuestChange>) -> GuestChange {
    timeout(DEADLINE, changes.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_is_there_is_told_first_then_what_comes_changes_and_goes() {
    let fixture = fixture();
    let library = fixture.supervisor.library().clone();
    let web = fixture.add("web");
    let (guests, mut changes) = Guests::watch(fixture.supervisor.clone());
    assert!(matches!(next(&mut changes).await, GuestChange::Added(view) if view.name == "web"));

    let db = fixture.add("db");
    assert!(matches!(next(&mut changes).await, GuestChange::Added(view) if view.id == db));

    library.rename("web", "shop").unwrap();
    assert!(matches!(next(&mut changes).await, GuestChange::Changed(view) if view.id == web && view.name == "shop"));

    let mut stored = library.load("db").unwrap();
    stored.definition.vcpus = 2;
    library.save(&stored.definition, &stored.revision).unwrap();
    assert!(
        matches!(next(&mut changes).await, GuestChange::Changed(view) if view.definition.as_ref().unwrap().vcpus == 2)
    );

    library.delete("db", false).unwrap();
    assert_eq!(next(&mut changes).await, GuestChange::Removed(db));
    assert_eq!(guests.all().len(), 1);
}

#[tokio::test]
async fn a_broken_definition_is_shown_with_its_reason_and_mended_in_place() {
    let fixture = fixture();
    let library = fixture.supervisor.library();
    let folder = library.paths().guest_folder("web");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("guest.toml"), "version = 9").unwrap();
    let (_guests, mut changes) = Guests::watch(fixture.supervisor.clone());
    let GuestChange::Added(view) = next(&mut changes).await else { panic!() };
    assert!(view.definition.unwrap_err().contains("newer Lodge"));

    fs::write(folder.join("guest.toml"), Definition::new("web").to_toml()).unwrap();

    let wait =
        async { while !matches!(next(&mut changes).await, GuestChange::Added(view) if view.definition.is_ok()) {} };
    timeout(DEADLINE, wait).await.unwrap();
}

#[tokio::test]
async fn a_guest_is_followed_through_its_life_whoever_acts_on_it() {
    let fixture = fixture();
    let web = fixture.add("web");
    let (guests, mut changes) = Guests::watch(fixture.supervisor.clone());

    // Another program would do just this.
    let client = fixture.supervisor.start("web").await.unwrap();
    until(&mut changes, &web, |state| *state == GuestState::Running).await;
    client.pause().await.unwrap();
    until(&mut changes, &web, |state| *state == GuestState::PAUSED).await;
    client.resume().await.unwrap();
    until(&mut changes, &web, |state| *state == GuestState::Running).await;
    fixture.supervisor.force_off("web").await.unwrap();

    let states = until(&mut changes, &web, |state| *state == GuestState::Off).await;
    assert!(states.iter().all(|state| !matches!(state, GuestState::Crashed { .. })), "{states:?}");
    assert!(guests.client(&web).is_none());
}

#[tokio::test]
async fn guests_that_run_already_are_found() {
    let fixture = fixture();
    let web = fixture.add("web");
    fixture.supervisor.start("web").await.unwrap();

    let (guests, mut changes) = Guests::watch(fixture.supervisor.clone());

    until(&mut changes, &web, |state| *state == GuestState::Running).await;
    assert!(guests.client(&web).is_some() || guests.get(&web).unwrap().state == GuestState::Running);
}

#[tokio::test]
async fn a_worker_that_dies_is_shown_as_crashed_with_the_reason() {
    let fixture = fixture();
    let web = fixture.add("web");
    let (_guests, mut changes) = Guests::watch(fixture.supervisor.clone());
    fixture.supervisor.start("web").await.unwrap();
    until(&mut changes, &web, |state| *state == GuestState::Running).await;

    fixture.signal(&web, "KILL");

    let states = until(&mut changes, &web, |state| matches!(state, GuestState::Crashed { .. })).await;
    assert!(states.last().unwrap().reason().unwrap().contains("killed"));
}

#[tokio::test]
async fn a_worker_that_died_while_nobody_looked_is_shown_as_crashed() {
    let fixture = fixture();
    let web = fixture.add("web");
    let client = fixture.supervisor.start("web").await.unwrap();
    fixture.signal(&web, "KILL");
    timeout(DEADLINE, client.closed()).await.unwrap();

    let (_guests, mut changes) = Guests::watch(fixture.supervisor.clone());

    until(&mut changes, &web, |state| matches!(state, GuestState::Crashed { .. })).await;
}

#[tokio::test]
async fn a_guest_that_cannot_go_on_is_shown_with_the_reason() {
    let fixture = fixture();
    let fails = fixture.add("fails");
    let (_guests, mut changes) = Guests::watch(fixture.supervisor.clone());

    fixture.supervisor.start("fails").await.unwrap();

    let states = until(&mut changes, &fails, |state| matches!(state, GuestState::InternalError { .. })).await;
    assert!(states.last().unwrap().reason().unwrap().contains("KVM cannot run"), "{states:?}");
}

#[tokio::test]
async fn figures_come_only_while_somebody_looks_and_a_hang_is_noticed() {
    let fixture = fixture();
    let web = fixture.add("web");
    fixture.supervisor.start("web").await.unwrap();
    let (guests, mut changes) = Guests::watch(fixture.supervisor.clone());
    until(&mut changes, &web, |state| *state == GuestState::Running).await;

    guests.set_level(WatchLevel::Statistics);
    until_figures(&mut changes, || guests.with_history(&web, |history| history.fine().len()).unwrap() >= 2).await;
    assert!(guests.with_history(&web, |history| history.latest().unwrap().memory).unwrap() > 0);
    fixture.signal(&web, "STOP");
    until(&mut changes, &web, |state| *state == GuestState::NotResponding).await;
    fixture.signal(&web, "CONT");
    until(&mut changes, &web, |state| *state == GuestState::Running).await;
}

#[tokio::test]
async fn histories_of_guests_and_host_outlive_the_application() {
    let fixture = fixture();
    let web = fixture.add("web");
    fixture.supervisor.start("web").await.unwrap();
    let (guests, mut changes) = Guests::watch(fixture.supervisor.clone());
    until(&mut changes, &web, |state| *state == GuestState::Running).await;
    guests.set_level(WatchLevel::Statistics);
    let known = |guests: &Guests| {
        let host = guests.with_host_history(|host| host.since(0, 60).concat().len());
        (guests.with_history(&web, |history| history.rings().since(0, 60).concat().len()).unwrap_or(0), host)
    };
    let are_known = |guests: &Guests| known(guests).0 > 0 && known(guests).1 > 0;
    until_figures(&mut changes, || are_known(&guests)).await;
    assert!(guests.with_host_history(|host| host.latest().unwrap().memory) > 0);

    guests.keep_histories();
    drop(guests);
    let (again, mut changes) = Guests::watch(fixture.supervisor.clone());
    until_figures(&mut changes, || are_known(&again)).await;
}

#[tokio::test]
async fn the_watching_ends_with_the_last_view() {
    let fixture = fixture();
    let (guests, mut changes) = Guests::watch(fixture.supervisor.clone());

    drop(guests.clone());
    drop(guests);

    assert_eq!(timeout(DEADLINE, changes.recv()).await.unwrap(), None);
}
