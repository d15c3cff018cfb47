//! What waits to be sent to the server. Nobody waits for the server here: what a person does is put in a queue, and
//! movements that the server was too slow for become one.

use super::buttons;
use crate::input::Key;
use crate::input::keys::{self, LEFT_SHIFT, RIGHT_SHIFT};
use crate::rfb::fence::Fence;
use crate::rfb::protocol::{ClientMessage, ProtocolError, WireRect};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// A server that leaves so many messages unread is not going to read them; more are dropped.
const MAX_MESSAGES: usize = 4096;
/// A server that sends so many fences without waiting for an answer means harm.
const MAX_FENCES: usize = 64;
/// What is added to movement, so that it is not negative.
const STILL: i32 = 0x7FFF;

/// The queue, and what decides how messages look.
pub(super) struct Outgoing {
    state: Mutex<State>,
    news: Notify,
}

struct State {
    queue: VecDeque<ClientMessage>,
    width: u16,
    height: u16,
    /// An update was requested and has not come.
    requested: bool,
    /// The next request is for everything.
    anew: bool,
    flow: Flow,
    /// An update has come that the consumer has not taken.
    untaken: bool,
    /// Fences that are answered when it has.
    fences: Vec<Fence>,
    /// The server understands scan codes.
    extended_keys: bool,
    extended_buttons: bool,
    /// Shift is down.
    shifts: [bool; 2],
    /// The last pointer message was a movement.
    moving: bool,
}

/// How updates come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Each is requested.
    Requested,
    /// As yet each is requested, but the server can send every change.
    Offered,
    /// The server sends every change.
    Continuous,
}

impl Outgoing {
    /// An empty queue to a server with a screen of this size.
    pub(super) fn new(width: u16, height: u16) -> Self {
        let state = State {
            queue: VecDeque::new(),
            width,
            height,
            requested: false,
            anew: true,
            flow: Flow::Requested,
            untaken: false,
            fences: Vec::new(),
            extended_keys: false,
            extended_buttons: false,
            shifts: [false; 2],
            moving: false,
        };
        Self { state: Mutex::new(state), news: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message.
    pub(super) fn push(&self, message: ClientMessage) {
        self.state().push(message);
        self.news.notify_one();
    }

    /// The consumer has taken what came and wants more. While the server sends every change, that is the answer to its
    /// fences; else an update is requested, unless one is on its way.
    pub(super) fn request_update(&self) {
        {
            let mut state = self.state();
            state.untaken = false;
            for fence in std::mem::take(&mut state.fences) {
                state.push(ClientMessage::Fence(fence.answer()));
            }
            state.ask();
        }
        self.news.notify_one();
    }

    /// An update has come, with something in it for the consumer or not: then it still waits.
    pub(super) fn update_arrived(&self, with_news: bool) {
        {
            let mut state = self.state();
            state.requested = false;
            state.untaken |= with_news;
            if !with_news {
                state.ask();
            }
        }
        self.news.notify_one();
    }

    /// The server can send every change.
    pub(super) fn offer_flow(&self) {
        {
            let mut state = self.state();
            if state.flow != Flow::Requested {
                return;
            }
            state.flow = Flow::Offered;
            // If the consumer waits for an update already it need not be asked.
            if state.requested {
                state.switch_flow(true);
            }
        }
        self.news.notify_one();
    }

    /// The consumer wants nothing for now.
    pub(super) fn pause(&self) {
        {
            let mut state = self.state();
            if state.flow != Flow::Continuous {
                return;
            }
            state.switch_flow(false);
        }
        self.news.notify_one();
    }

    /// A fence has come.
    pub(super) fn fence(&self, fence: Fence) -> Result<(), ProtocolError> {
        {
            let mut state = self.state();
            match fence.is_request() {
                true if state.untaken && state.fences.len() < MAX_FENCES => state.fences.push(fence),
                true if state.untaken => return Err(ProtocolError::Malformed("fences without end")),
                true => state.push(ClientMessage::Fence(fence.answer())),
                // We have sent none.
                false => {}
            }
        }
        self.news.notify_one();
        Ok(())
    }

    /// The screen's size is another: nothing of the picture is worth anything.
    pub(super) fn resized(&self, width: u16, height: u16) {
        let mut state = self.state();
        (state.width, state.height, state.anew) = (width, height, true);
    }

    /// The server understands scan codes.
    pub(super) fn enable_extended_keys(&self) {
        self.state().extended_keys = true;
    }

    /// The server understands side buttons.
    pub(super) fn enable_extended_buttons(&self) {
        self.state().extended_buttons = true;
    }

    /// A key goes down or up.
    pub(super) fn key(&self, key: Key, down: bool) {
        {
            let mut state = self.state();
            for (shift, held) in [LEFT_SHIFT, RIGHT_SHIFT].into_iter().zip(&mut state.shifts) {
                if key == shift {
                    *held = down;
                }
            }
            let keysym = keys::keysym(key, state.shifts.contains(&true));
            match (keys::xt(key), keysym) {
                (Some(code), _) if state.extended_keys => {
                    let (keysym, code) = (keysym.unwrap_or(0), code.into());
                    state.push(ClientMessage::ExtendedKey { down, keysym, code });
                }
                (_, Some(keysym)) => state.push(ClientMessage::Key { down, keysym }),
                _ => return,
            }
        }
        self.news.notify_one();
    }

    /// The pointer is at a pixel.
    pub(super) fn pointer_to(&self, x: u32, y: u32, buttons: u16) {
        {
            let mut state = self.state();
            let buttons = state.known(buttons);
            let inside =
                |place: u32, length: u16| u16::try_from(place).unwrap_or(u16::MAX).min(length.saturating_sub(1));
            let (x, y) = (inside(x, state.width), inside(y, state.height));
            if !state.moving
                && let Some(ClientMessage::Pointer { buttons: last, x: last_x, y: last_y }) = state.queue.back_mut()
                && *last == buttons
            {
                (*last_x, *last_y) = (x, y);
                return;
            }
            state.moving = false;
            state.push(ClientMessage::Pointer { buttons, x, y });
        }
        self.news.notify_one();
    }

    /// The pointer has moved.
    pub(super) fn pointer_by(&self, dx: i32, dy: i32, buttons: u16) {
        {
            let mut state = self.state();
            let buttons = state.known(buttons);
            // At most 65535, since it is clamped.
            let shifted = |delta: i32| delta.saturating_add(STILL).clamp(0, 0xFFFF) as u16;
            if state.moving
                && let Some(ClientMessage::Pointer { buttons: last, x, y }) = state.queue.back_mut()
                && *last == buttons
            {
                *x = shifted(dx.saturating_add(i32::from(*x) - STILL));
                *y = shifted(dy.saturating_add(i32::from(*y) - STILL));
                return;
            }
            state.moving = true;
            state.push(ClientMessage::Pointer { buttons, x: shifted(dx), y: shifted(dy) });
        }
        self.news.notify_one();
    }
}

impl State {
    /// Those of the buttons that the server understands.
    fn known(&self, buttons: u16) -> u16 {
        if self.extended_buttons { buttons } else { buttons & !(buttons::SIDE | buttons::EXTRA) }
    }

    /// Asks for an update where that is needed.
    fn ask(&mut self) {
        if self.flow == Flow::Offered || self.flow == Flow::Continuous && self.anew {
            self.switch_flow(true);
        }
        if self.requested || self.flow == Flow::Continuous && !self.anew {
            return;
        }
        self.requested = true;
        let (incremental, area) = (!std::mem::take(&mut self.anew), self.area());
        self.push(ClientMessage::UpdateRequest { incremental, area });
    }

    /// Has the server send every change of the screen, or none.
    fn switch_flow(&mut self, enable: bool) {
        self.flow = if enable { Flow::Continuous } else { Flow::Offered };
        self.push(ClientMessage::ContinuousUpdates { enable, area: self.area() });
    }

    fn area(&self) -> WireRect {
        WireRect { x: 0, y: 0, width: self.width, height: self.height }
    }

    fn push(&mut self, message: ClientMessage) {
        if self.queue.len() < MAX_MESSAGES {
            self.queue.push_back(message);
        }
    }
}

/// Writes what comes into the queue, until the server takes no more.
pub(super) async fn run(outgoing: Arc<Outgoing>, mut writer: impl AsyncWrite + Unpin) {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        outgoing.state().queue.drain(..).for_each(|message| message.write(&mut bytes));
        if bytes.is_empty() {
            outgoing.news.notified().await;
        } else if writer.write_all(&bytes).await.is_err() {
            // The reader notices too, and tells why.
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::keys::from_qcode;

    fn queued(outgoing: &Outgoing) -> Vec<ClientMessage> {
        outgoing.state().queue.drain(..).collect()
    }

    #[test]
    fn one_request_is_on_its_way_at_a_time() {
        let outgoing = Outgoing::new(640, 480);
        let area = WireRect { x: 0, y: 0, width: 640, height: 480 };

        outgoing.request_update();
        outgoing.request_update();
        assert_eq!(queued(&outgoing), [ClientMessage::UpdateRequest { incremental: false, area }]);

        outgoing.update_arrived(true);
        outgoing.request_update();
        assert_eq!(queued(&outgoing), [ClientMessage::UpdateRequest { incremental: true, area }]);

        outgoing.update_arrived(true);
        outgoing.resized(800, 600);
        outgoing.request_update();
        let area = WireRect { width: 800, height: 600, ..area };
        assert_eq!(queued(&outgoing), [ClientMessage::UpdateRequest { incremental: false, area }]);
    }

    #[test]
    fn a_server_that_can_sends_every_change_and_fences_are_answered_when_it_was_taken() {
        let outgoing = Outgoing::new(640, 480);
        let area = WireRect { x: 0, y: 0, width: 640, height: 480 };
        let flow = |enable, area| ClientMessage::ContinuousUpdates { enable, area };
        let fence = |number| Fence { flags: Fence::REQUEST | Fence::BLOCK_BEFORE, payload: vec![number] };
        let answer = |number| ClientMessage::Fence(fence(number).answer());

        outgoing.fence(fence(0)).unwrap();
        outgoing.request_update();
        outgoing.offer_flow();
        let anew = ClientMessage::UpdateRequest { incremental: false, area };
        assert_eq!(queued(&outgoing), [answer(0), anew, flow(true, area)]);

        outgoing.update_arrived(true);
        outgoing.fence(fence(1)).unwrap();
        outgoing.update_arrived(true);
        outgoing.fence(fence(2)).unwrap();
        assert_eq!(queued(&outgoing), []);
        outgoing.request_update();
        assert_eq!(queued(&outgoing), [answer(1), answer(2)]);

        outgoing.update_arrived(false);
        outgoing.fence(fence(3)).unwrap();
        assert_eq!(queued(&outgoing), [answer(3)], "there was nothing to take");

        outgoing.resized(800, 600);
        outgoing.update_arrived(true);
        outgoing.request_update();
        let area = WireRect { width: 800, height: 600, ..area };
        let anew = ClientMessage::UpdateRequest { incremental: false, area };
        assert_eq!(queued(&outgoing), [flow(true, area), anew]);

        outgoing.pause();
        outgoing.pause();
        assert_eq!(queued(&outgoing), [flow(false, area)]);
        outgoing.offer_flow();
        outgoing.update_arrived(true);
        outgoing.request_update();
        assert_eq!(queued(&outgoing), [flow(true, area)]);
    }

    #[test]
    fn fences_without_end_are_refused() {
        let outgoing = Outgoing::new(1, 1);
        outgoing.update_arrived(true);

        assert!((0..100).any(|_| outgoing.fence(Fence { flags: Fence::REQUEST, payload: Vec::new() }).is_err()));
    }

    #[test]
    fn movements_that_wait_become_one_and_clicks_are_kept() {
        let outgoing = Outgoing::new(640, 480);

        outgoing.pointer_to(1, 1, 0);
        outgoing.pointer_to(2, 9000, 0);
        outgoing.pointer_to(2, 9000, buttons_left());
        outgoing.pointer_by(5, -1, buttons_left());
        outgoing.pointer_by(5, -2, buttons_left());
        outgoing.pointer_by(i32::MIN, i32::MAX, buttons_left());

        let pointer = |buttons, x, y| ClientMessage::Pointer { buttons, x, y };
        assert_eq!(queued(&outgoing), [pointer(0, 2, 479), pointer(1, 2, 479), pointer(1, 0, 0xFFFF)],);
    }

    #[test]
    fn side_buttons_are_told_as_soon_as_the_server_understands_them() {
        let outgoing = Outgoing::new(1, 1);
        let all = buttons::LEFT | buttons::WHEEL_RIGHT | buttons::SIDE | buttons::EXTRA;

        outgoing.pointer_to(0, 0, all);
        outgoing.enable_extended_buttons();
        outgoing.pointer_to(0, 0, all);

        let pointer = |buttons| ClientMessage::Pointer { buttons, x: 0, y: 0 };
        assert_eq!(queued(&outgoing), [pointer(0b0_0100_0001), pointer(0b1_1100_0001)]);
    }

    fn buttons_left() -> u16 {
        buttons::LEFT
    }

    #[test]
    fn keys_are_scan_codes_as_soon_as_the_server_understands_them() {
        let outgoing = Outgoing::new(1, 1);
        let a = from_qcode("a").unwrap();

        outgoing.key(LEFT_SHIFT, true);
        outgoing.key(a, true);
        outgoing.enable_extended_keys();
        outgoing.key(LEFT_SHIFT, false);
        outgoing.key(a, false);

        assert_eq!(
            queued(&outgoing),
            [
                ClientMessage::Key { down: true, keysym: 0xFFE1 },
                ClientMessage::Key { down: true, keysym: 'A'.into() },
                ClientMessage::ExtendedKey { down: false, keysym: 0xFFE1, code: 0x2A },
                ClientMessage::ExtendedKey { down: false, keysym: 'a'.into(), code: 0x1E },
            ]
        );
    }

    #[test]
    fn a_server_that_reads_nothing_costs_a_bounded_queue() {
        let outgoing = Outgoing::new(1, 1);

        (0..10_000).for_each(|_| outgoing.key(from_qcode("a").unwrap(), true));

        assert_eq!(outgoing.state().queue.len(), MAX_MESSAGES);
    }
}
