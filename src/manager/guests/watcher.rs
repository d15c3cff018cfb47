//! The watching task.

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{self, Interval, MissedTickBehavior},
};

use super::{GuestId, GuestView, Order, WatchLevel, connection, folders::Folders, histories, table::Table};
use crate::manager::{
    library::Library,
    paths::Paths,
    statistics::{host::HostSampler, store::Store},
    supervisor::{GuestState, Supervisor},
};

/// How often figures are asked for, where nothing else is chosen; also the least.
const SECOND: Duration = Duration::from_secs(1);
/// How often workers are asked how their networks are.
const NETWORKS_EVERY: Duration = Duration::from_secs(5);
/// How long a worker may take to answer with its figures, or how its networks are.
const FIGURES_WITHIN: Duration = Duration::from_millis(900);
/// How often histories are written while there are new figures.
const KEEP_EVERY: Duration = Duration::from_secs(10 * 60);

/// Seconds since 1970 (UTC).
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Watches until every [`Guests`](super::Guests) is gone.
pub(super) async fn run(supervisor: Supervisor, table: Arc<Table>, mut orders: UnboundedReceiver<Order>) {
    let mut watcher = Watcher { supervisor, table, connections: HashMap::new(), folders: Folders::new() };
    let mut level = WatchLevel::States;
    let mut timer = every(SECOND);
    let mut networks = every(NETWORKS_EVERY);
    let mut keeping = every(KEEP_EVERY);
    keeping.reset();
    let mut host = HostSampler::default();
    let mut host_is_seen = false;
    let mut gathering = JoinSet::new();
    let store = Store::new(watcher.supervisor.paths().histories());
    let paths = watcher.supervisor.paths().clone();
    if let Ok(Err(error)) = spawn_blocking(move || paths.create()).await {
        tracing::warn!("the library cannot be watched: {error}");
    }
    // The list is shown first: reading a day of many guests takes a while.
    watcher.scan().await;
    histories::load(store.clone(), Arc::clone(&watcher.table)).await;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::SetLevel(chosen)) => level = chosen,
                Some(Order::SetInterval(interval)) => timer = every(interval.max(SECOND)),
                Some(Order::SeeHost(seen)) => host_is_seen = seen,
                Some(Order::Rescan) => watcher.scan().await,
                None => return,
            },
            () = watcher.folders.changed() => watcher.scan().await,
            _ = timer.tick(), if host_is_seen || level == WatchLevel::Statistics && !watcher.connections.is_empty() => {
                if let Some(point) = host.sample(watcher.table.guests_use(), now()) {
                    watcher.table.add_host(point);
                }
                // A worker that hangs must not keep the rest from being watched.
                gathering.spawn(gather(Arc::clone(&watcher.table)));
            }
            _ = networks.tick(), if level == WatchLevel::Statistics && !watcher.connections.is_empty() => {
                gathering.spawn(look_at_networks(Arc::clone(&watcher.table)));
            }
            _ = keeping.tick(), if level == WatchLevel::Statistics => {
                let (store, table) = (store.clone(), Arc::clone(&watcher.table));
                spawn_blocking(move || histories::save(&store, &table));
            }
            Some(_) = gathering.join_next() => {}
        }
    }
}

/// Rings at once and from then on, later rather than twice.
fn every(interval: Duration) -> Interval {
    let mut timer = time::interval(interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

struct Watcher {
    supervisor: Supervisor,
    table: Arc<Table>,
    /// Who follows which worker. Dropped, they stop.
    connections: HashMap<GuestId, Follower>,
    folders: Folders,
}

struct Follower {
    /// The name under which the worker is found; another one after a rename.
    name: String,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A guest as a scan finds it.
struct Found {
    view: GuestView,
    /// Its worker's lock is held.
    running: bool,
}

impl Watcher {
    /// Looks what there is, and follows every worker that is not followed yet.
    async fn scan(&mut self) {
        self.connections.retain(|_, follower| !follower.task.is_finished());
        let (library, paths) = (self.supervisor.library().clone(), self.supervisor.paths().clone());
        let found = match spawn_blocking(move || look(&library, &paths)).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!("the library cannot be read: {error}"),
        };
        // What comes back under the same id is followed anew.
        self.connections.retain(|id, _| found.iter().any(|found| found.view.id == *id));
        let names: Vec<String> = found.iter().map(|found| found.view.name.clone()).collect();
        self.folders.add(self.supervisor.paths(), &names);
        let mut views = Vec::with_capacity(found.len());
        let mut running = Vec::new();
        for Found { mut view, running: runs } in found {
            let followed = self.connections.get(&view.id).is_some_and(|follower| follower.name == view.name);
            if runs && !followed {
                view.state = GuestState::Starting;
                running.push((view.id.clone(), view.name.clone()));
            } else if !runs && !followed && view.definition.is_ok() {
                view.state = self.at_rest(&view).await;
                self.table.set_state(&view.id, view.state.clone());
            }
            views.push(view);
        }
        self.table.update(views);
        for (id, name) in running {
            self.table.set_state(&id, GuestState::Starting);
            let follow = connection::follow(self.supervisor.clone(), Arc::clone(&self.table), id.clone(), name.clone());
            self.connections.insert(id, Follower { name, task: tokio::spawn(follow) });
        }
    }

    /// The state of a guest that does not run. What a worker left behind that ended unseen is cleaned up.
    async fn at_rest(&self, view: &GuestView) -> GuestState {
        let GuestId::Known(uuid) = view.id else { return GuestState::Off };
        if self.supervisor.paths().running(uuid).folder.exists() {
            return self.supervisor.state(&view.name).await.unwrap_or_default();
        }
        self.supervisor.state_at_rest(&view.name).await
    }
}

/// Asks every worker for its figures, all at once.
async fn gather(table: Arc<Table>) {
    let mut requests = JoinSet::new();
    for (id, client) in table.clients() {
        requests.spawn(async move { (id, client.statistics_within(FIGURES_WITHIN).await.ok()) });
    }
    let time = now();
    while let Some(Ok((id, figures))) = requests.join_next().await {
        table.add_figures(&id, figures.as_ref(), time);
    }
    table.tell_figures();
}

/// Asks every worker how its networks are, all at once.
async fn look_at_networks(table: Arc<Table>) {
    let mut requests = JoinSet::new();
    for (id, client) in table.clients_with_networks() {
        requests.spawn(async move { (id, time::timeout(FIGURES_WITHIN, client.network_problems()).await) });
    }
    while let Some(Ok((id, answer))) = requests.join_next().await {
        if let Ok(Ok(problems)) = answer {
            table.set_network_problems(&id, problems);
        }
    }
}

fn look(library: &Library, paths: &Paths) -> Vec<Found> {
    let entries = match library.list() {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!("the library cannot be read: {error}");
            return Vec::new();
        }
    };
    let found = entries.into_iter().map(|entry| {
        let running = library.is_running(&entry.name).unwrap_or(false);
        let (id, definition) = match entry.definition {
            Ok(stored) => (GuestId::Known(stored.definition.uuid), Ok(stored.definition)),
            Err(error) => (GuestId::Broken(entry.name.clone()), Err(error.to_string())),
        };
        let runs = running && definition.is_ok();
        let has = definition.as_ref().ok().filter(|_| running).and_then(|stored| library.running(stored).ok()?);
        let last_used = last_used(paths, &entry.name);
        let (name, network_problems) = (entry.name, Vec::new());
        let view =
            GuestView { id, name, definition, running: has, state: GuestState::Off, last_used, network_problems };
        Found { view, running: runs }
    });
    found.collect()
}

/// When the guest has last said something to its log, or ended.
fn last_used(paths: &Paths, name: &str) -> Option<u64> {
    let changed = |path: PathBuf| {
        let time = fs::metadata(path).and_then(|data| data.modified()).ok()?;
        time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
    };
    [paths.log(name), paths.last_exit(name)].into_iter().filter_map(changed).max()
}
