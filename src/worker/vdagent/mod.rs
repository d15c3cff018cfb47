//! The clipboard's way into the guest: the host's end of the vdagent protocol, which the agent of SPICE speaks in nearly every
//! system (the package `spice-vdagent`, or the SPICE guest tools for Windows), over a port of the virtio console.
//!
//! The protocol is that of spice-protocol's `spice/vd_agent.h`. Of all that it can do we do the clipboard: text, by demand. What
//! the agent sends is the guest's and may be anything. It is taken as it comes and answered at once; a message that makes no
//! sense ends the conversation, and another begins when the agent has closed its port and opens it again.

#![forbid(unsafe_code)]

#[cfg(any(test, fuzzing))]
pub mod hostile;
mod incoming;
mod message;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use vmm_sys_util::eventfd::EventFd;

use crate::{
    clipboard::{GuestClipboard, HostClipboard, MAX_TEXT, with_carriage_returns, with_line_feeds},
    vmm::virtio::console::PortProgram,
};
use incoming::{Incoming, Raw};
use message::{Capabilities, Clipboard, Malformed, Message, kind};

/// The port's name, by which agents find it.
pub const PORT: &str = "com.redhat.spice.0";

/// An agent that leaves so many messages unread is not there any more.
const MAX_WAITING: usize = 256;
/// With more than this many bytes waiting for it, no text is added to them.
const MAX_BEFORE_TEXT: usize = 64 << 10;

/// The host's end.
pub struct VdAgent {
    news: EventFd,
    state: Mutex<State>,
    host: Mutex<Option<Weak<dyn HostClipboard>>>,
}

/// What has happened in the guest, for the host's side.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// The guest has text, or none any more.
    Offer(bool),
    /// It wants some.
    Request,
    /// Here it is.
    Provide(Option<Arc<str>>),
}

struct State {
    /// The clipboard is shared.
    enabled: bool,
    /// A program of the guest has the port open.
    open: bool,
    /// What it says cannot be understood until it has closed the port.
    lost: bool,
    /// What the agent can, once it has answered.
    agreed: Option<Capabilities>,
    incoming: Incoming,
    /// The messages for the guest, and how much of the first one has been sent.
    outgoing: VecDeque<Vec<u8>>,
    sent: usize,
    /// The number of the next grab, of either side.
    serial: u32,
    /// The guest's clipboard has text.
    guest_offers: bool,
    /// The host's has.
    host_offers: bool,
    /// The guest was asked for its text.
    asked: bool,
    /// Somebody has been told that the agent makes no sense.
    warned: bool,
}

impl VdAgent {
    /// One that shares the clipboard.
    pub fn new() -> io::Result<Self> {
        let state = State {
            enabled: true,
            open: false,
            lost: false,
            agreed: None,
            incoming: Incoming::default(),
            outgoing: VecDeque::new(),
            sent: 0,
            serial: 0,
            guest_offers: false,
            host_offers: false,
            asked: false,
            warned: false,
        };
        let news = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { news, state: Mutex::new(state), host: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, has the port look for output, and tells the host's side what has happened.
    fn change(&self, change: impl FnOnce(&mut State, &mut Vec<Told>)) {
        let mut told = Vec::new();
        change(&mut self.state(), &mut told);
        // Nobody has to read it: each write is an edge. A counter that is full has been written to long enough.
        let _ = self.news.write(1);
        self.tell(told);
    }

    fn tell(&self, told: Vec<Told>) {
        if told.is_empty() {
            return;
        }
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade);
        let Some(host) = host else { return };
        for told in told {
            match told {
                Told::Offer(offered) => host.offer(offered),
                Told::Request => host.request(),
                Told::Provide(text) => host.provide(text),
            }
        }
    }

    /// Shares the clipboard from now on, or no longer. The agent stays connected: one that is not would try again and again.
    pub fn set_enabled(&self, enabled: bool) {
        self.change(|state, told| {
            if std::mem::replace(&mut state.enabled, enabled) == enabled {
                return;
            }
            state.asked = false;
            if state.guest_offers {
                told.push(Told::Offer(enabled));
            }
            match state.clipboard().filter(|_| state.host_offers) {
                Some(_) if enabled => state.grab(),
                Some(clipboard) => _ = state.push(clipboard.release()),
                None => {}
            }
        });
    }
}

impl State {
    /// The conversation has ended.
    fn forget(&mut self, told: &mut Vec<Told>) {
        self.incoming = Incoming::default();
        self.outgoing = VecDeque::new();
        (self.sent, self.serial, self.agreed) = (0, 0, None);
        self.set_guest_offers(false, told);
    }

    /// The guest's clipboard has other text, or none. What was asked for before does not come any more.
    fn set_guest_offers(&mut self, offers: bool, told: &mut Vec<Told>) {
        self.asked = false;
        if (std::mem::replace(&mut self.guest_offers, offers) || offers) && self.enabled {
            told.push(Told::Offer(offers));
        }
    }

    /// Queues a message; tells whether there was room.
    fn push(&mut self, message: Vec<u8>) -> bool {
        let is_heard = self.open && !self.lost && self.outgoing.len() < MAX_WAITING;
        if is_heard {
            self.outgoing.push_back(message);
        }
        is_heard
    }

    /// The messages about clipboards, once it is known how the agent wants them.
    fn clipboard(&self) -> Option<Clipboard> {
        let agreed = self.agreed.filter(|agreed| agreed.has(Capabilities::BY_DEMAND))?;
        Some(Clipboard { agreed })
    }

    /// Says that we have text.
    fn grab(&mut self) {
        if let Some(clipboard) = self.clipboard().filter(|_| self.enabled) {
            let said = self.push(clipboard.grab(self.serial));
            self.serial = self.serial.wrapping_add(u32::from(said));
        }
    }

    fn receive(&mut self, mut bytes: &[u8], told: &mut Vec<Told>) -> Result<(), Malformed> {
        while let Some(Raw { kind, body }) = self.incoming.take(&mut bytes, self.asked)? {
            match body {
                Some(body) => self.react(Message::parse(kind, &body, self.agreed.unwrap_or_default())?, told),
                None if kind == kind::CLIPBOARD => self.react(Message::Clipboard(None), told),
                None => {}
            }
        }
        Ok(())
    }

    fn react(&mut self, message: Message, told: &mut Vec<Told>) {
        if let Message::Capabilities { asks, capabilities } = message {
            return self.agree(asks, capabilities);
        }
        let Some(clipboard) = self.clipboard() else { return };
        match message {
            Message::Grab { serial, text } => {
                if let Some(serial) = serial {
                    // It has crossed one of ours, which counts: the agent sees that, too.
                    if serial.wrapping_sub(self.serial) > u32::MAX / 2 {
                        return;
                    }
                    self.serial = serial.wrapping_add(1);
                }
                self.host_offers = false;
                // The host's side has lost what it had, even to something that is no text.
                self.guest_offers |= !text;
                self.set_guest_offers(text, told);
            }
            Message::Release => self.set_guest_offers(false, told),
            Message::Request { text } if text && self.host_offers && self.enabled => told.push(Told::Request),
            Message::Request { .. } => _ = self.push(clipboard.text(None)),
            Message::Clipboard(text) if std::mem::take(&mut self.asked) => {
                let text = text.map(|text| with_line_feeds(&text)).filter(|text| !text.is_empty());
                told.push(Told::Provide(text.map(Arc::from)));
            }
            Message::Clipboard(_) | Message::Capabilities { .. } | Message::Other => {}
        }
    }

    /// The agent says what it can. Grabs are numbered from the answer to our question on.
    fn agree(&mut self, asks: bool, capabilities: Capabilities) {
        if asks {
            self.push(message::capabilities(false));
            return;
        }
        let Capabilities(both) = Capabilities::OURS;
        let own = Capabilities::CRLF.0 | Capabilities::MAX_CLIPBOARD.0;
        self.agreed = Some(Capabilities(capabilities.0 & (both | own)));
        self.serial = 0;
        if capabilities.has(Capabilities::MAX_CLIPBOARD) {
            self.push(message::max_clipboard(MAX_TEXT));
        }
        if self.host_offers {
            self.grab();
        }
    }
}

impl PortProgram for VdAgent {
    fn news(&self) -> &EventFd {
        &self.news
    }

    fn is_open(&self) -> bool {
        !self.state().lost
    }

    fn guest_opened(&self, open: bool) {
        self.change(|state, told| {
            state.forget(told);
            (state.open, state.lost) = (open, state.lost && open);
            state.push(message::capabilities(true));
        });
    }

    fn restored(&self, open: bool) {
        self.change(|state, told| {
            state.forget(told);
            (state.open, state.lost) = (open, open);
        });
    }

    fn receive(&self, bytes: &[u8]) {
        let mut told = Vec::new();
        let has_news = {
            let mut state = self.state();
            let result = if state.lost { Ok(()) } else { state.receive(bytes, &mut told) };
            if let Err(error) = result {
                state.forget(&mut told);
                state.lost = true;
                if !std::mem::replace(&mut state.warned, true) {
                    tracing::warn!("{error}. the clipboard is not shared until it has opened its port anew");
                }
            }
            state.lost || !state.outgoing.is_empty()
        };
        if has_news {
            let _ = self.news.write(1);
        }
        self.tell(told);
    }

    fn has_output(&self) -> bool {
        !self.state().outgoing.is_empty()
    }

    fn take_output(&self, buffer: &mut [u8]) -> usize {
        let mut state = self.state();
        let mut taken = 0;
        while let Some(message) = state.outgoing.front() {
            let (waiting, room) = (message.get(state.sent..).unwrap_or_default(), buffer.get_mut(taken..));
            let room = room.unwrap_or_default();
            let count = waiting.len().min(room.len());
            if let (Some(room), Some(bytes)) = (room.get_mut(..count), waiting.get(..count)) {
                room.copy_from_slice(bytes);
            }
            taken += count;
            if count < waiting.len() {
                state.sent += count;
                break;
            }
            state.sent = 0;
            state.outgoing.pop_front();
        }
        taken
    }
}

impl GuestClipboard for VdAgent {
    fn connect(&self, host: Weak<dyn HostClipboard>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
        if self.state().guest_offers {
            self.tell(vec![Told::Offer(true)]);
        }
    }

    fn offer(&self, offered: bool) {
        self.change(|state, _| {
            let before = std::mem::replace(&mut state.host_offers, offered);
            if offered {
                (state.guest_offers, state.asked) = (false, false);
                state.grab();
            } else if before
                && state.enabled
                && let Some(clipboard) = state.clipboard()
            {
                state.push(clipboard.release());
            }
        });
    }

    fn request(&self) -> bool {
        let mut state = self.state();
        let offers = state.guest_offers && state.enabled;
        let Some(clipboard) = state.clipboard().filter(|_| offers) else { return false };
        state.asked = true;
        state.push(clipboard.request());
        drop(state);
        let _ = self.news.write(1);
        true
    }

    fn provide(&self, text: Option<&str>) {
        self.change(|state, _| {
            let Some(clipboard) = state.clipboard() else { return };
            let has_room = state.outgoing.iter().map(Vec::len).sum::<usize>() <= MAX_BEFORE_TEXT;
            let text = text.filter(|text| text.len() <= MAX_TEXT && has_room && state.enabled);
            let message = match text {
                Some(text) if clipboard.agreed.has(Capabilities::CRLF) => {
                    clipboard.text(Some(&with_carriage_returns(text)))
                }
                text => clipboard.text(text),
            };
            state.push(message);
        });
    }
}
