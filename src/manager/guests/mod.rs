//! The live view of all guests, for the application: one task watches the library, the runtime folder and the running
//! workers, and tells of changes over a channel. One timer serves all guests.
//!
//! ```text
//!  inotify ──▶ scan ──▶ table ──▶ GuestChange ──▶ the application
//!  (library,   (what       ▲
//!   runtime)   is there)   │ states, by QMP events     ┌─ worker
//!                          ├───── a connection each ───┼─ worker
//!                          │ figures, once a second    └─ worker
//!                        timer (only while somebody looks at graphs)
//! ```

mod connection;
mod folders;
mod histories;
mod table;
mod watcher;

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    client::Client,
    definition::Definition,
    editing,
    statistics::{History, host::HostPoint, rings::Rings, store::Store},
    supervisor::{GuestState, Supervisor},
};
use table::Table;

/// What identifies a guest in the live view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GuestId {
    /// A guest whose definition can be read; stays through renames.
    Known(Uuid),
    /// A guest whose definition cannot be read, by the name of its folder.
    Broken(String),
}

/// A guest as the application shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestView {
    /// Which.
    pub id: GuestId,
    /// Its name.
    pub name: String,
    /// Its definition, or why that cannot be read.
    pub definition: Result<Definition, String>,
    /// What it runs with, while it runs: its definition as it was at its start, with what was changed in it since then.
    pub running: Option<Definition>,
    /// What it is doing.
    pub state: GuestState,
    /// When it has last done something, in seconds since 1970 (UTC), as far as the last look at the library saw; nothing when it has
    /// never run.
    pub last_used: Option<u64>,
    /// What keeps the network cards of a running guest from working, each with the card's name before it; as far as figures are taken
    /// ([`WatchLevel::Statistics`]).
    pub network_problems: Vec<String>,
}

impl GuestView {
    /// What hardware it has: that which it runs with, and else that of its definition.
    pub fn hardware(&self) -> Option<&Definition> {
        let running = self.running.as_ref().filter(|_| self.state.is_active());
        running.or(self.definition.as_ref().ok())
    }

    /// The number that the card which its definition has as number `index` has in its hardware.
    pub fn place_of_card(&self, index: usize) -> Option<usize> {
        self.hardware()?.place_of_card(self.definition.as_ref().ok()?.networks.get(index)?)
    }

    /// Whether it has this disk or drive already.
    pub fn has_disk(&self, id: &str) -> bool {
        let stored = self.definition.as_ref().ok().and_then(|stored| stored.disks.iter().find(|disk| disk.id == id));
        let has = |hardware: &Definition| stored.is_some_and(|disk| hardware.disks.iter().any(|has| has.is_same(disk)));
        self.hardware().is_some_and(has)
    }

    /// Whether it runs, and something of its definition waits for its next start.
    pub fn waits(&self) -> bool {
        self.hardware().zip(self.definition.as_ref().ok()).is_some_and(|(has, stored)| editing::waits(has, stored))
    }
}

/// What has changed.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestChange {
    /// There is a new guest.
    Added(GuestView),
    /// A guest's name, definition or state is another one now.
    Changed(GuestView),
    /// A guest is gone.
    Removed(GuestId),
    /// A running guest turns itself off, and nobody has pressed its power button.
    TurnsItselfOff(GuestId),
    /// Every running guest has a new point in its history.
    Statistics,
}

/// How closely guests are watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchLevel {
    /// States only: nothing is polled.
    #[default]
    States,
    /// States, and figures of every running guest at each interval.
    Statistics,
}

/// The live view. Cheap to clone; the watching ends with the last clone.
#[derive(Debug, Clone)]
pub struct Guests {
    supervisor: Supervisor,
    table: Arc<Table>,
    orders: mpsc::UnboundedSender<Order>,
}

/// What the watching task is told.
#[derive(Debug)]
enum Order {
    SetLevel(WatchLevel),
    SetInterval(Duration),
    SeeHost(bool),
    Rescan,
}

impl Guests {
    /// Begins to watch, on the current tokio runtime. The first changes are one [`GuestChange::Added`] for each guest.
    pub fn watch(supervisor: Supervisor) -> (Self, mpsc::UnboundedReceiver<GuestChange>) {
        let (changes, receiver) = mpsc::unbounded_channel();
        let (orders, ordered) = mpsc::unbounded_channel();
        let table = Arc::new(Table::new(changes));
        tokio::spawn(watcher::run(supervisor.clone(), Arc::clone(&table), ordered));
        (Self { supervisor, table, orders }, receiver)
    }

    /// Who starts and ends the guests.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// All guests now, by name.
    pub fn all(&self) -> Vec<GuestView> {
        self.table.all()
    }

    /// One guest now.
    pub fn get(&self, id: &GuestId) -> Option<GuestView> {
        self.table.get(id)
    }

    /// The connection to a running guest.
    pub fn client(&self, id: &GuestId) -> Option<Client> {
        self.table.client(id)
    }

    /// Chooses how closely to watch: [`WatchLevel::States`] while no graph can be seen.
    pub fn set_level(&self, level: WatchLevel) {
        // The task ends only with the runtime.
        let _ = self.orders.send(Order::SetLevel(level));
    }

    /// Chooses how often figures are taken; once a second where nothing is chosen.
    pub fn set_interval(&self, interval: Duration) {
        let _ = self.orders.send(Order::SetInterval(interval));
    }

    /// Takes figures of the host, and of the guests, also while no guest runs: its graphs are `seen`.
    pub fn see_host(&self, seen: bool) {
        let _ = self.orders.send(Order::SeeHost(seen));
    }

    /// Looks at the library and the running guests at once, without waiting for the system to tell of a change.
    pub fn rescan(&self) {
        let _ = self.orders.send(Order::Rescan);
    }

    /// Looks at a guest's history; quick, so that it can be called while drawing.
    pub fn with_history<T>(&self, id: &GuestId, look: impl FnOnce(&History) -> T) -> Option<T> {
        self.table.with_history(id, look)
    }

    /// Looks at the host's history; as quick.
    pub fn with_host_history<T>(&self, look: impl FnOnce(&Rings<HostPoint>) -> T) -> T {
        self.table.with_host_history(look)
    }

    /// Writes histories to disk that have grown since the last time, for the application's next run. Blocks.
    pub fn keep_histories(&self) {
        histories::save(&Store::new(self.supervisor.paths().histories()), &self.table);
    }
}

#[cfg(test)]
mod tests;
