//! What the two threads of a viewer share: what it asked for, and whether it is leaving.

use super::ViewerId;
use super::clipboard::ClipboardNews;
use super::flow::Flow;
use super::order::{ClipboardKind, Encodings, Notices, Order};
use crate::rfb::fence::Fence;
use crate::rfb::pixel_format::PixelFormat;
use crate::rfb::protocol::ProtocolError;
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
    /// Nobody is to be woken for what bears waiting.
    resting: bool,
    /// Somebody has typed, or something else will soon change the screen.
    hurry: bool,
    /// The updates that it waits for.
    order: Option<Order>,
    /// Things to tell it with the next update.
    notices: Notices,
    settings: Settings,
    /// Fences, and updates that it does not wait for.
    flow: Flow,
    /// Where its person has last had the pointer.
    pointed: Option<(u16, u16, Instant)>,
    /// What it is to be told of clipboards.
    clipboard: ClipboardNews,
}

/// What a viewer has said about what it understands; `None` where nothing is new.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The pixels that it wants.
    pub format: Option<PixelFormat>,
    /// What it understands.
    pub encodings: Option<Encodings>,
}

/// What is to be done for a viewer.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Messages to write first.
    pub messages: Vec<u8>,
    /// What to tell it of clipboards then.
    pub clipboard: ClipboardNews,
    /// What it has said of itself; it holds for all that follows the messages.
    pub settings: Settings,
    /// Where it wants changes now, if anywhere, and what it is to be told with them.
    pub update: Option<(Order, Notices)>,
}

impl State {
    /// Where the viewer wants changes now.
    fn wanted(&self) -> Option<Order> {
        let flowing = self.flow.area().map(|area| Order { area, anew: None });
        match (self.order, flowing) {
            (Some(order), flowing) => Some(order.merged(flowing)),
            (None, flowing) => flowing,
        }
    }

    /// Whether there is nothing to do.
    fn rests(&self) -> bool {
        !self.leaving && self.wanted().is_none() && !self.has_messages()
    }

    /// Whether nothing is so urgent that the screen must be looked at before its time.
    fn bears_waiting(&self) -> bool {
        let urgent = self.order.is_some_and(|order| order.anew.is_some()) || self.notices != Notices::default();
        !self.leaving && !self.hurry && !urgent && !self.has_messages()
    }

    /// Whether something waits to be written that is no update.
    fn has_messages(&self) -> bool {
        self.flow.has_messages() || !self.clipboard.is_empty()
    }

    fn take_work(&mut self) -> Work {
        let clipboard = self.clipboard.take();
        let (messages, settings) = (self.flow.take_messages(), std::mem::take(&mut self.settings));
        let update = self.wanted().map(|order| (order, std::mem::take(&mut self.notices)));
        if update.is_some() {
            self.order = None;
        }
        Work { messages, clipboard, settings, update }
    }
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
        let mut state = self.state();
        change(&mut state);
        let wakes = !state.resting || !state.bears_waiting();
        drop(state);
        if wakes {
            self.changed.notify_all();
        }
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
        self.change(|state| {
            state.settings.format = Some(format);
            state.flow.release();
        });
    }

    /// The viewer has said what it understands.
    pub(super) fn set_encodings(&self, encodings: Encodings) {
        self.change(|state| {
            state.notices.merge(encodings.greetings());
            state.flow.agree(&encodings);
            state.clipboard.kind = encodings.clipboard;
            state.settings.encodings = Some(encodings);
            state.flow.release();
        });
    }

    /// Tells the viewer something with the next update.
    pub(super) fn notify(&self, notices: Notices) {
        self.change(|state| state.notices.merge(notices));
    }

    /// Tells the viewer something about clipboards.
    pub(super) fn tell_clipboard(&self, tell: impl FnOnce(&mut ClipboardNews)) {
        self.change(|state| tell(&mut state.clipboard));
    }

    /// Whether the viewer takes part in the guest's clipboard.
    pub(super) fn shares_clipboard(&self) -> bool {
        self.state().clipboard.kind != ClipboardKind::None
    }

    /// The viewer waits for an update.
    pub(super) fn request(&self, incremental: bool, area: Rect) {
        self.change(|state| {
            // Whoever gets every change need not ask for them.
            if !incremental || !state.flow.is_on() {
                let order = Order { area, anew: (!incremental).then_some(area) };
                state.order = Some(order.merged(state.order));
            }
        });
    }

    /// The viewer wants every change in an area, or none any more.
    pub(super) fn flow(&self, area: Option<Rect>) {
        self.change(|state| state.flow.switch(area));
    }

    /// A fence has come.
    pub(super) fn fence(&self, fence: Fence) -> Result<(), ProtocolError> {
        let mut result = Ok(());
        self.change(|state| result = state.flow.fence(fence));
        result
    }

    /// The message after a fence has taken effect.
    pub(super) fn release_fence(&self) {
        if self.state().flow.is_held() {
            self.change(|state| state.flow.release());
        }
    }

    /// An update was sent; returns the fence to send after it.
    pub(super) fn sent_update(&self) -> Option<Fence> {
        self.state().flow.sent_update()
    }

    /// Waits until there is something to do; `None` when the viewer leaves. An order is the caller's, who gives it back with
    /// [`Self::give_back`] if it could not be carried out.
    pub(super) fn next_work(&self) -> Option<Work> {
        let waiting = |state: &mut State| state.rests();
        let mut state = self.changed.wait_while(self.state(), waiting).unwrap_or_else(PoisonError::into_inner);
        (!state.leaving).then(|| state.take_work())
    }

    /// There was nothing to send: the viewer still waits. What it wanted anew is known as damage by now.
    pub(super) fn give_back(&self, order: Order) {
        let mut state = self.state();
        if !state.flow.is_on() {
            state.order = Some(Order { anew: None, ..order }.merged(state.order));
        }
    }

    /// Waits for `until`, or until something does not bear waiting. Tells whether somebody has typed meanwhile.
    pub(super) fn rest(&self, until: Instant) -> bool {
        let timeout = until.saturating_duration_since(Instant::now());
        let mut state = self.state();
        state.resting = true;
        let resting = |state: &mut State| state.bears_waiting();
        let rested = self.changed.wait_timeout_while(state, timeout, resting);
        let (mut state, _) = rested.unwrap_or_else(PoisonError::into_inner);
        state.resting = false;
        std::mem::take(&mut state.hurry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfb::protocol::Encoding;

    const AREA: Rect = Rect { x: 0, y: 0, width: 640, height: 480 };

    fn session() -> Session {
        let session = Session::new(ViewerId(1), UnixStream::pair().unwrap().0);
        session.set_encodings(Encodings::new(&[Encoding::FENCE, Encoding::CONTINUOUS_UPDATES]));
        session.state().take_work();
        session
    }

    #[test]
    fn a_format_that_follows_a_fence_holds_from_its_answer_on() {
        let session = session();
        let fence = Fence { flags: Fence::REQUEST | Fence::SYNC_NEXT, payload: vec![9] };
        session.flow(Some(AREA));

        session.fence(fence.clone()).unwrap();
        let before = session.state().take_work();
        session.set_format(PixelFormat::BGR233);
        let after = session.next_work().unwrap();

        let mut answer = Vec::new();
        fence.answer().write(&mut answer);
        assert!(before.messages.is_empty() && before.settings.format.is_none());
        assert_eq!((after.messages, after.settings.format), (answer, Some(PixelFormat::BGR233)));
    }

    #[test]
    fn whoever_gets_every_change_is_asked_no_more_until_it_has_answered() {
        let session = session();
        session.flow(Some(AREA));
        let next = || {
            let work = session.state().take_work();
            work.update.and_then(|_| session.sent_update())
        };
        let fences: Vec<Fence> = std::iter::from_fn(next).take(10).collect();

        assert_eq!(fences.len(), 2);
        session.request(true, AREA);
        assert!(session.state().rests(), "a request for changes does not count");
        session.fence(fences[0].clone().answer()).unwrap();
        assert_eq!(session.state().wanted(), Some(Order { area: AREA, anew: None }));
    }

    #[test]
    fn a_request_bears_waiting_and_a_key_or_a_wish_for_all_of_the_screen_does_not() {
        let session = session();
        session.state().notices = Notices::default();
        let far = || Instant::now() + Duration::from_secs(600);

        session.request(true, AREA);
        assert!(session.state().bears_waiting());
        assert!(!session.rest(Instant::now()), "nobody has typed");
        session.hurry();
        assert!(session.rest(far()));
        let rested = std::thread::scope(|scope| {
            let rest = scope.spawn(|| session.rest(far()));
            while !session.state().resting {
                std::thread::yield_now();
            }
            session.request(true, AREA);
            session.request(false, AREA);
            rest.join().unwrap()
        });
        assert!(!rested && !session.state().resting);
    }

    #[test]
    fn all_of_the_screen_can_be_wanted_at_any_time() {
        let session = session();
        session.flow(Some(AREA));
        session.sent_update();
        session.sent_update();

        session.request(false, AREA);

        let (order, _) = session.next_work().unwrap().update.unwrap();
        assert_eq!(order.anew, Some(AREA));
        assert!(session.state().rests());
    }
}
