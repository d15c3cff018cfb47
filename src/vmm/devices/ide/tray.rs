//! The tray of a CD-ROM drive: what the guest, its host and the firmware's boot order have in common of it.

#![forbid(unsafe_code)]

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::vmm::block::Disk;

/// Told when the tray has moved: whether it is open now.
pub type TrayObserver = Arc<dyn Fn(bool) + Send + Sync>;

/// A tray. A clone is a handle to the same one.
#[derive(Clone)]
pub struct Tray {
    shared: Arc<Shared>,
}

struct Shared {
    observer: TrayObserver,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    medium: Option<Arc<dyn Disk>>,
    volatile: TrayState,
}

/// What a tray is like at a moment, without its medium.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrayState {
    pub(super) open: bool,
    pub(super) locked: bool,
    pub(super) change: Change,
    pub(super) event: MediaEvent,
}

/// What the guest is yet to learn of a change of medium, by errors of its commands. Some systems miss a change unless the drive
/// was empty in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Nothing.
    #[default]
    Known,
    /// That there was no medium.
    Gone,
    /// That there is another one.
    Replaced,
}

/// What happened to the medium, for those who ask (MMC-5, section 6.6.2, media class events).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaEvent {
    /// Nothing since the last question.
    #[default]
    Nothing,
    /// Somebody wants the medium back.
    EjectRequest,
    /// There is a new one.
    NewMedia,
    /// There is none any more.
    Removal,
}

/// What a tray is like, for its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrayInfo {
    /// Whether it is open.
    pub open: bool,
    /// Whether the guest keeps it from opening.
    pub locked: bool,
    /// The medium's size in bytes, if there is one.
    pub capacity: Option<u64>,
}

/// The guest keeps the tray from opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked;

impl Tray {
    /// A closed tray with or without a medium. `observer` is told when the guest moves it.
    pub fn new(medium: Option<Arc<dyn Disk>>, observer: TrayObserver) -> Self {
        let state = State { medium, volatile: TrayState::default() };
        Self { shared: Arc::new(Shared { observer, state: Mutex::new(state) }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is like.
    pub fn info(&self) -> TrayInfo {
        let state = self.state();
        let TrayState { open, locked, .. } = state.volatile;
        TrayInfo { open, locked, capacity: state.medium.as_ref().map(|medium| medium.capacity()) }
    }

    /// The medium, while it can be read: a closed tray's.
    pub fn medium(&self) -> Option<Arc<dyn Disk>> {
        let state = self.state();
        state.medium.clone().filter(|_| !state.volatile.open)
    }

    /// The host presses the drive's button, or pushes a needle into its hole (`force`). A locked tray stays closed, but
    /// the guest learns of the wish. Returns whether the tray has moved.
    pub fn open(&self, force: bool) -> Result<bool, Locked> {
        let mut state = self.state();
        if state.volatile.open {
            return Ok(false);
        }
        if state.volatile.locked && !force {
            state.volatile.event = MediaEvent::EjectRequest;
            return Err(Locked);
        }
        state.move_tray(true);
        Ok(true)
    }

    /// Closes the tray. Returns whether it has moved.
    pub fn close(&self) -> bool {
        let mut state = self.state();
        let moves = state.volatile.open;
        if moves {
            state.move_tray(false);
        }
        moves
    }

    /// Puts another medium, or none, into an open tray; `false` if it is closed.
    pub fn exchange(&self, medium: Option<Arc<dyn Disk>>) -> bool {
        let mut state = self.state();
        if state.volatile.open {
            state.medium = medium;
        }
        state.volatile.open
    }

    /// The guest locks or unlocks the tray.
    pub(super) fn lock(&self, locked: bool) {
        self.state().volatile.locked = locked;
    }

    /// The guest moves the tray.
    pub(super) fn guest_moves(&self, open: bool) -> Result<(), Locked> {
        let mut state = self.state();
        if state.volatile.open == open {
            return Ok(());
        }
        if open && state.volatile.locked {
            return Err(Locked);
        }
        state.move_tray(open);
        drop(state);
        (self.shared.observer)(open);
        Ok(())
    }

    /// The next thing to learn of a change; it is learned by this.
    pub(super) fn next_change(&self) -> Change {
        let mut state = self.state();
        let is_ready = state.medium.is_some() && !state.volatile.open;
        let (told, next) = match state.volatile.change {
            Change::Gone => (Change::Gone, Change::Replaced),
            Change::Replaced if is_ready => (Change::Replaced, Change::Known),
            // A drive that is empty has nothing new to offer.
            other => (Change::Known, other),
        };
        state.volatile.change = next;
        told
    }

    /// What happened since the last question.
    pub(super) fn take_event(&self) -> MediaEvent {
        let mut state = self.state();
        let event = std::mem::take(&mut state.volatile.event);
        if event == MediaEvent::NewMedia && state.volatile.change == Change::Gone {
            // Who asks for events knows by this that the old medium is gone.
            state.volatile.change = Change::Replaced;
        }
        event
    }

    /// The machine is reset: the tray stays where it is, but nobody locks it.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        state.volatile = TrayState { open: state.volatile.open, ..TrayState::default() };
    }

    /// What is to be saved of it.
    pub(super) fn save(&self) -> TrayState {
        self.state().volatile
    }

    /// Takes over what was saved.
    pub(super) fn restore(&self, saved: TrayState) {
        self.state().volatile = saved;
    }
}

impl State {
    fn move_tray(&mut self, open: bool) {
        self.volatile.open = open;
        let had_medium = self.medium.is_some();
        if open {
            // Whoever forced it open has the guest's lock off, too.
            self.volatile.locked = false;
            self.volatile.change = Change::Gone;
        }
        self.volatile.event = match (open, had_medium) {
            (true, true) => MediaEvent::Removal,
            (false, true) => MediaEvent::NewMedia,
            (_, false) => MediaEvent::Nothing,
        };
    }
}

impl fmt::Debug for Tray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::vmm::block::{self, Format, Image};

    fn medium(sectors: u64) -> Arc<dyn Disk> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(sectors * 2048).unwrap();
        block::open(Image { file, format: Format::Raw }, true, Vec::new()).unwrap().into()
    }

    fn tray(medium: Option<Arc<dyn Disk>>) -> (Tray, Arc<AtomicU32>) {
        let moves = Arc::new(AtomicU32::new(0));
        let counter = moves.clone();
        let observer = Arc::new(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (Tray::new(medium, observer), moves)
    }

    #[test]
    fn a_locked_tray_opens_only_by_force_and_tells_the_guest_of_the_wish() {
        let (tray, moves) = tray(Some(medium(1)));
        tray.lock(true);

        assert_eq!(tray.open(false), Err(Locked));
        assert_eq!(tray.take_event(), MediaEvent::EjectRequest);
        assert_eq!(tray.guest_moves(true), Err(Locked));
        assert_eq!(tray.open(true), Ok(true));
        assert_eq!(tray.info(), TrayInfo { open: true, locked: false, capacity: Some(2048) });
        assert_eq!(moves.load(Ordering::SeqCst), 0, "only the guest's moves are news");
    }

    #[test]
    fn a_medium_is_exchanged_in_an_open_tray_only() {
        let (tray, _) = tray(Some(medium(1)));

        let closed = tray.exchange(Some(medium(2)));
        tray.open(false).unwrap();
        let opened = tray.exchange(Some(medium(3)));
        let while_open = tray.medium().is_none();
        tray.close();

        assert!(!closed && opened && while_open);
        assert_eq!(tray.medium().unwrap().capacity(), 3 * 2048);
    }

    #[test]
    fn a_guest_that_sees_the_open_tray_or_asks_for_events_learns_of_the_new_medium_at_once() {
        let changes = |tray: &Tray| [tray.next_change(), tray.next_change(), tray.next_change()];
        let change = |look: fn(&Tray), ask: fn(&Tray)| {
            let (tray, _) = tray(Some(medium(1)));
            tray.open(false).unwrap();
            look(&tray);
            tray.close();
            ask(&tray);
            changes(&tray)
        };

        let blind = change(|_| (), |_| ());
        let looking = change(|tray| assert_eq!(tray.next_change(), Change::Gone), |_| ());
        let asking = change(|_| (), |tray| assert_eq!(tray.take_event(), MediaEvent::NewMedia));

        assert_eq!(blind, [Change::Gone, Change::Replaced, Change::Known]);
        assert_eq!(looking, [Change::Replaced, Change::Known, Change::Known]);
        assert_eq!(asking, [Change::Replaced, Change::Known, Change::Known]);
    }

    #[test]
    fn the_guest_opens_and_closes_it_and_the_host_is_told() {
        let (tray, moves) = tray(None);

        tray.guest_moves(true).unwrap();
        tray.guest_moves(true).unwrap();
        tray.guest_moves(false).unwrap();

        assert_eq!(moves.load(Ordering::SeqCst), 2);
        assert!(!tray.info().open);
    }
}
