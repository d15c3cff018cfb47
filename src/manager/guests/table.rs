//! What is known of every guest now, shared by the watching task and the application's thread. Every change to it is told.

#![forbid(unsafe_code)]

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::{GuestChange, GuestId, GuestView};
use crate::{
    manager::{
        client::Client,
        definition::Definition,
        statistics::{
            History, Point, Reading,
            host::{GuestsUse, HostPoint},
            rings::Rings,
        },
        supervisor::GuestState,
    },
    qmp::types::Statistics,
};

/// Requests for figures that a worker may leave unanswered before it counts as one that hangs.
const PATIENCE: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    rows: Mutex<HashMap<GuestId, Row>>,
    host: Mutex<HostHistory>,
    /// The histories of guests that are not seen yet, by name of file.
    kept: Mutex<HashMap<GuestId, Rings<Point>>>,
    changes: mpsc::UnboundedSender<GuestChange>,
}

#[derive(Debug)]
struct Row {
    view: GuestView,
    client: Option<Client>,
    history: History,
    last: Option<Reading>,
    unanswered: u32,
    /// The history has points that are in no file.
    unsaved: bool,
}

#[derive(Debug, Default)]
struct HostHistory {
    rings: Rings<HostPoint>,
    unsaved: bool,
}

/// Histories with points that are in no file.
#[derive(Debug)]
pub(super) struct Unsaved {
    pub guests: Vec<(GuestId, Rings<Point>)>,
    pub host: Option<Rings<HostPoint>>,
}

impl Table {
    pub fn new(changes: mpsc::UnboundedSender<GuestChange>) -> Self {
        Self { rows: Mutex::default(), host: Mutex::default(), kept: Mutex::default(), changes }
    }

    /// Takes over what a scan has found. States are kept: they come from the connections.
    pub fn update(&self, found: Vec<GuestView>) {
        let mut rows = self.rows();
        let ids: HashSet<GuestId> = found.iter().map(|view| view.id.clone()).collect();
        for view in found {
            match rows.get_mut(&view.id) {
                None => {
                    self.tell(GuestChange::Added(view.clone()));
                    let history = History::new(lock(&self.kept).remove(&view.id).unwrap_or_default());
                    let row = Row { view, client: None, history, last: None, unanswered: 0, unsaved: false };
                    rows.insert(row.view.id.clone(), row);
                }
                Some(row) => {
                    let (state, network_problems) = (row.view.state.clone(), row.view.network_problems.clone());
                    let view = GuestView { state, network_problems, ..view };
                    if row.view != view {
                        row.view = view;
                        self.tell(GuestChange::Changed(row.view.clone()));
                    }
                }
            }
        }
        rows.retain(|id, _| {
            let stays = ids.contains(id);
            if !stays {
                self.tell(GuestChange::Removed(id.clone()));
            }
            stays
        });
    }

    /// A guest is doing something else.
    pub fn set_state(&self, id: &GuestId, state: GuestState) {
        if let Some(row) = self.rows().get_mut(id) {
            self.set_row_state(row, state);
        }
    }

    fn set_row_state(&self, row: &mut Row, state: GuestState) {
        row.unanswered = 0;
        if row.view.state != state {
            row.view.state = state;
            self.tell(GuestChange::Changed(row.view.clone()));
        }
    }

    /// What a guest runs with.
    pub fn set_running(&self, id: &GuestId, running: Option<Definition>) {
        if let Some(row) = self.rows().get_mut(id)
            && row.view.running != running
        {
            row.view.running = running;
            self.tell(GuestChange::Changed(row.view.clone()));
        }
    }

    /// A guest turns itself off.
    pub fn turns_itself_off(&self, id: &GuestId) {
        self.tell(GuestChange::TurnsItselfOff(id.clone()));
    }

    /// A guest has a connection now, or (`None`) none any more.
    pub fn set_client(&self, id: &GuestId, client: Option<Client>) {
        if let Some(row) = self.rows().get_mut(id) {
            if client.is_none() {
                self.set_row_network(row, Vec::new());
            }
            row.client = client;
            row.last = None;
        }
    }

    /// What keeps a guest's network cards from working, each with the card's name before it.
    pub fn set_network_problems(&self, id: &GuestId, problems: Vec<String>) {
        if let Some(row) = self.rows().get_mut(id)
            && row.client.is_some()
        {
            let problems = match (row.view.hardware(), &row.view.definition) {
                (Some(has), Ok(stored)) => problems.iter().map(|problem| stored.name_problem(has, problem)).collect(),
                _ => problems,
            };
            self.set_row_network(row, problems);
        }
    }

    fn set_row_network(&self, row: &mut Row, problems: Vec<String>) {
        if row.view.network_problems != problems {
            row.view.network_problems = problems;
            self.tell(GuestChange::Changed(row.view.clone()));
        }
    }

    /// The figures of one guest have come, or (`None`) have not.
    pub fn add_figures(&self, id: &GuestId, figures: Option<&Statistics>, time: u64) {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(id) else { return };
        let Some(figures) = figures else {
            row.unanswered += 1;
            if row.unanswered == PATIENCE && row.client.is_some() {
                let unanswered = row.unanswered;
                self.set_row_state(row, GuestState::NotResponding);
                row.unanswered = unanswered;
            }
            return;
        };
        row.unanswered = 0;
        if row.view.state == GuestState::NotResponding {
            self.set_row_state(row, GuestState::from_status(figures.status, figures.reason.clone(), None));
        }
        let reading = Reading::from(figures);
        if let Some(point) = row.last.as_ref().and_then(|last| reading.since(last, time)) {
            row.history.push(point);
            row.unsaved = true;
        }
        row.last = Some(reading);
        row.history.set_now(Some(figures));
    }

    /// A guest has ended: its graphs fall to nothing.
    pub fn end_figures(&self, id: &GuestId, time: u64) {
        if let Some(row) = self.rows().get_mut(id)
            && row.history.latest().is_some()
        {
            row.history.push(Point::nothing(time));
            row.history.set_now(None);
            row.unsaved = true;
        }
    }

    /// What all running guests use, by their newest figures.
    pub fn guests_use(&self) -> GuestsUse {
        let mut all = GuestsUse::default();
        for row in self.rows().values().filter(|row| row.client.is_some()) {
            let Some(point) = row.history.latest() else { continue };
            all.cpu += point.cpu;
            all.memory = all.memory.saturating_add(point.memory);
        }
        all
    }

    /// The host's figures have come.
    pub fn add_host(&self, point: HostPoint) {
        let mut host = lock(&self.host);
        host.rings.push(point);
        host.unsaved = true;
    }

    /// Takes over histories that were kept.
    pub fn restore(&self, mut guests: HashMap<GuestId, Rings<Point>>, host: Option<Rings<HostPoint>>) {
        if guests.is_empty() && host.is_none() {
            return;
        }
        for (id, row) in self.rows().iter_mut() {
            if let Some(rings) = guests.remove(id) {
                row.history = History::new(rings);
            }
        }
        *lock(&self.kept) = guests;
        if let Some(rings) = host {
            lock(&self.host).rings = rings;
        }
        self.tell_figures();
    }

    /// The histories that are to be written now.
    pub fn take_unsaved(&self) -> Unsaved {
        // One after the other: who draws a window looks at them too.
        let unsaved = self.rows().iter().filter(|(_, row)| row.unsaved).map(|(id, _)| id.clone()).collect::<Vec<_>>();
        let take = |id: GuestId| {
            let mut rows = self.rows();
            let row = rows.get_mut(&id)?;
            row.unsaved = false;
            Some((id, row.history.rings().clone()))
        };
        let guests = unsaved.into_iter().filter_map(take).collect();
        let mut host = lock(&self.host);
        Unsaved { guests, host: std::mem::take(&mut host.unsaved).then(|| host.rings.clone()) }
    }

    /// Every figure of this second has come.
    pub fn tell_figures(&self) {
        self.tell(GuestChange::Statistics);
    }

    pub fn all(&self) -> Vec<GuestView> {
        let mut views: Vec<_> = self.rows().values().map(|row| row.view.clone()).collect();
        views.sort_by_cached_key(|view| (view.name.to_lowercase(), view.name.clone()));
        views
    }

    pub fn get(&self, id: &GuestId) -> Option<GuestView> {
        self.rows().get(id).map(|row| row.view.clone())
    }

    pub fn client(&self, id: &GuestId) -> Option<Client> {
        self.rows().get(id)?.client.clone()
    }

    /// Every connection.
    pub fn clients(&self) -> Vec<(GuestId, Client)> {
        self.clients_of(|_| true)
    }

    /// The connections of guests with network cards.
    pub fn clients_with_networks(&self) -> Vec<(GuestId, Client)> {
        self.clients_of(|view| view.definition.as_ref().is_ok_and(|definition| !definition.networks.is_empty()))
    }

    fn clients_of(&self, wanted: impl Fn(&GuestView) -> bool) -> Vec<(GuestId, Client)> {
        let rows = self.rows();
        let wanted = rows.iter().filter(|(_, row)| wanted(&row.view));
        wanted.filter_map(|(id, row)| Some((id.clone(), row.client.clone()?))).collect()
    }

    pub fn with_history<T>(&self, id: &GuestId, look: impl FnOnce(&History) -> T) -> Option<T> {
        self.rows().get(id).map(|row| look(&row.history))
    }

    pub fn with_host_history<T>(&self, look: impl FnOnce(&Rings<HostPoint>) -> T) -> T {
        look(&lock(&self.host).rings)
    }

    fn tell(&self, change: GuestChange) {
        // The application may have stopped listening.
        let _ = self.changes.send(change);
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<GuestId, Row>> {
        lock(&self.rows)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
