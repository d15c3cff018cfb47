//! What the two threads of a viewer share: what it asked for, and whether it is leaving.

use super::ViewerId;
use super::order::{Encodings, Notices, Order};
use crate::rfb::pixel_format::PixelFormat;
use crate::screen::Rect;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who has moved the pointer within this time is moving it still: the guest's lags behind.
const MOVING: Duration = Duration::from_secs(1);
/// So many pixels from where it was told to be the pointer is still where it was told.
const NEAR: u16 = 2;

/// A connected viewer.
pub(super) struct Session {
    /// Its number.
    pub id: ViewerId,
    /// The connection; both threads use it.
    pub stream: UnixStream,
    state: Mutex<State>,
    changed: Condvar,
    /// The screen's width and height in the upper and lower half.
    size: AtomicU64,
}

/// What is known of a viewer.
#[derive(Default)]
struct State {
    leaving: bool,
    initialized: bool,
    shared: bool,
    /// Somebody has typed, or something else will soon change the screen.
    hurry: bool,
    /// The updates that it waits for.
    order: Option<Order>,
    /// Things to tell it with the next update.
    notices: Notices,
    settings: Settings,
    /// Where its person has last had the pointer.
    pointed: Option<(u16, u16, Instant)>,
}

/// What a viewer has said about what it understands; `None` where nothing is new.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The pixels that it wants.
    pub format: Option<PixelFormat>,
    /// What it understands.
    pub encodings: Option<Encodings>,
}

impl Session {
    /// A viewer that has just connected.
    pub(super) fn new(id: ViewerId, stream: UnixStream) -> Self {
        Self { id, stream, state: Mutex::default(), changed: Condvar::new(), size: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// The size of the screen that the viewer points at.
    pub(super) fn size(&self) -> (u32, u32) {
        let size = self.size.load(Ordering::Relaxed);
        ((size >> 32) as u32, size as u32)
    }

    /// Notes the screen's size.
    pub(super) fn set_size(&self, (width, height): (u32, u32)) {
        self.size.store(u64::from(width) << 32 | u64::from(height), Ordering::Relaxed);
    }

    /// The handshake is over.
    pub(super) fn set_initialized(&self, shared: bool) {
        self.change(|state| (state.initialized, state.shared) = (true, shared));
    }

    /// What QMP says of it.
    pub(super) fn describe(&self) -> super::Viewer {
        let state = self.state();
        super::Viewer { id: self.id, initialized: state.initialized, shared: state.shared }
    }

    /// Ends the connection; both threads notice at once, wherever they wait.
    pub(super) fn leave(&self) {
        self.change(|state| state.leaving = true);
        // It fails when the viewer was quicker.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The screen will change soon: look at it at full speed again.
    pub(super) fn hurry(&self) {
        self.change(|state| state.hurry = true);
    }

    /// The viewer's person has the pointer here.
    pub(super) fn point(&self, x: u16, y: u16) {
        self.state().pointed = Some((x, y, Instant::now()));
    }

    /// Whether the viewer's person is who has the pointer at a place, or is moving it.
    pub(super) fn has_pointed_to(&self, (x, y): (u16, u16)) -> bool {
        let near = |a: u16, b: u16| a.abs_diff(b) <= NEAR;
        self.state().pointed.is_some_and(|(own_x, own_y, at)| at.elapsed() < MOVING || near(own_x, x) && near(own_y, y))
    }

    /// The viewer wants other pixels.
    pub(super) fn set_format(&self, format: PixelFormat) {
        self.change(|state| state.settings.format = Some(format));
    }

    /// The viewer has said what it understands.
    pub(super) fn set_encodings(&self, encodings: Encodings) {
        self.change(|state| {
            state.notices.merge(encodings.greetings());
            state.settings.encodings = Some(encodings);
        });
    }

    /// Tells the viewer something with the next update.
    pub(super) fn notify(&self, notices: Notices) {
        self.change(|state| state.notices.merge(notices));
    }

    /// The viewer waits for an update.
    pub(super) fn request(&self, incremental: bool, area: Rect) {
        self.change(|state| {
            let order = Order { area, anew: (!incremental).then_some(area) };
            state.order = Some(order.merged(state.order));
        });
    }

    /// Waits until the viewer wants an update; `None` when it leaves. The order is the caller's, who gives it back with
    /// [`Self::give_back`] if it could not be carried out.
    pub(super) fn next_order(&self) -> Option<(Order, Notices, Settings)> {
        let waiting = |state: &mut State| !state.leaving && state.order.is_none();
        let mut state = self.changed.wait_while(self.state(), waiting).unwrap_or_else(PoisonError::into_inner);
        if state.leaving {
            return None;
        }
        let order = state.order.take()?;
        Some((order, std::mem::take(&mut state.notices), std::mem::take(&mut state.settings)))
    }

    /// There was nothing to send: the viewer still waits. What it wanted anew is known as damage by now.
    pub(super) fn give_back(&self, order: Order) {
        let mut state = self.state();
        state.order = Some(Order { anew: None, ..order }.merged(state.order));
    }

    /// Waits for `until`, or until something does not bear waiting. Tells whether somebody has typed meanwhile.
    pub(super) fn rest(&self, until: Instant) -> bool {
        let resting = |state: &mut State| {
            let urgent = state.order.is_some_and(|order| order.anew.is_some()) || state.notices != Notices::default();
            !state.leaving && !state.hurry && !urgent
        };
        let timeout = until.saturating_duration_since(Instant::now());
        let (mut state, _) =
            self.changed.wait_timeout_while(self.state(), timeout, resting).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.hurry)
    }
}
