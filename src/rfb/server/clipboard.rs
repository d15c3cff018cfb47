//! Who of guest and viewers has text, and who waits for it. Viewers get text of the guest, not of each other; the guest gets that
//! of the viewer who had some last.

use super::order::ClipboardKind;
use super::session::Session;
use super::{Shared, ViewerId};
use crate::clipboard::{GuestClipboard, HostClipboard};
use crate::rfb::clipboard::{ClipboardMessage, compress, decompress, from_latin1, to_latin1};
use crate::rfb::protocol::{MAX_CUT_TEXT, SERVER_CUT_TEXT, write_string};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A guest that was asked is asked again, when somebody wants its text, after this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a viewer is to be told: only ever the newest.
#[derive(Debug, Default)]
pub(super) struct ClipboardNews {
    /// How it takes them.
    pub kind: ClipboardKind,
    /// How it was greeted.
    greeted: ClipboardKind,
    greet: bool,
    request: bool,
    notify: Option<bool>,
    text: Option<Arc<str>>,
}

impl ClipboardNews {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        !self.greet && !self.request && self.notify.is_none() && self.text.is_none()
    }

    /// Takes what is to be told.
    pub(super) fn take(&mut self) -> Self {
        let Self { kind, greeted, .. } = *self;
        std::mem::replace(self, Self { kind, greeted, ..Self::default() })
    }

    /// The messages.
    pub(super) fn messages(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.kind {
            ClipboardKind::None => {}
            ClipboardKind::Plain => {
                // A longer one is not what its reader expects.
                let latin1 = self.text.as_ref().map(|text| to_latin1(text));
                if let Some(text) = latin1.filter(|text| text.len() <= MAX_CUT_TEXT as usize) {
                    out.extend_from_slice(&[SERVER_CUT_TEXT, 0, 0, 0]);
                    write_string(&text, &mut out);
                }
            }
            ClipboardKind::Extended => {
                let messages = [
                    self.greet.then_some(ClipboardMessage::Capabilities),
                    self.notify.map(|text| ClipboardMessage::Notify { text }),
                    self.text.as_ref().map(|text| ClipboardMessage::Provide(compress(text))),
                    self.request.then_some(ClipboardMessage::Request),
                ];
                messages.iter().flatten().for_each(|message| message.write(SERVER_CUT_TEXT, &mut out));
            }
        }
        out
    }

    /// The viewer's requests that were not answered never are.
    fn notify(&mut self, text: bool) {
        (self.notify, self.text) = (Some(text), None);
    }
}

/// What is shared with the guest, if anything is.
#[derive(Default)]
pub(super) struct Hub {
    guest: OnceLock<Arc<dyn GuestClipboard>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The guest has text.
    guest_offers: bool,
    /// Who has the text that the guest was offered last.
    owner: Option<Owner>,
    /// Viewers who wait for the guest's text.
    waiting: BTreeSet<ViewerId>,
    /// When the guest was asked.
    asked: Option<Instant>,
}

struct Owner {
    viewer: ViewerId,
    /// Its text, if it came at once.
    text: Option<Arc<str>>,
    /// The guest waits for it.
    wanted: bool,
}

impl State {
    /// What was asked of the guest does not come.
    fn give_up(&mut self) {
        (self.asked, self.waiting) = (None, BTreeSet::new());
    }

    /// A viewer waits for the guest's text.
    fn want(&mut self, viewer: ViewerId, guest: &dyn GuestClipboard) {
        self.waiting.insert(viewer);
        if self.asked.is_none_or(|asked| asked.elapsed() > PATIENCE) {
            self.asked = guest.request().then(Instant::now);
        }
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Shares the clipboard of a guest; of one only.
    pub(super) fn share_clipboard(self: &Arc<Self>, guest: Arc<dyn GuestClipboard>) {
        let host: Arc<dyn HostClipboard> = Arc::<Self>::clone(self);
        if self.clipboard.guest.set(Arc::clone(&guest)).is_ok() {
            guest.connect(Arc::downgrade(&host));
        }
    }

    /// A viewer has said what it understands: tells it what there is.
    pub(super) fn greet_clipboard(&self, session: &Session) {
        let Some(guest) = self.clipboard.guest.get() else { return };
        let mut state = self.clipboard.state();
        let (offers, mut plain) = (state.guest_offers, false);
        session.tell_clipboard(|news| {
            if std::mem::replace(&mut news.greeted, news.kind) != news.kind {
                news.greet = true;
                news.notify = offers.then_some(true);
                plain = news.kind == ClipboardKind::Plain;
            }
        });
        if offers && plain {
            state.want(session.id, &**guest);
        }
    }

    /// A viewer without the extension has text.
    pub(super) fn hear_text(&self, session: &Session, latin1: &[u8]) {
        if !latin1.is_empty() {
            let text = from_latin1(latin1).replace("\r\n", "\n");
            self.viewer_offers(session, Some(text.into()));
        }
    }

    /// A viewer has said something about its clipboard, or the guest's.
    pub(super) fn hear_clipboard(&self, session: &Session, message: ClipboardMessage) {
        let Some(guest) = self.clipboard.guest.get().filter(|_| session.shares_clipboard()) else { return };
        match message {
            ClipboardMessage::Notify { text: true } => self.viewer_offers(session, None),
            ClipboardMessage::Notify { text: false } => self.viewer_withdraws(session.id),
            ClipboardMessage::Request => {
                let mut state = self.clipboard.state();
                match state.guest_offers {
                    true => state.want(session.id, &**guest),
                    false => session.tell_clipboard(|news| news.notify(false)),
                }
            }
            ClipboardMessage::Peek => {
                let offers = self.clipboard.state().guest_offers;
                session.tell_clipboard(|news| news.notify = Some(offers));
            }
            ClipboardMessage::Provide(compressed) => {
                let mut state = self.clipboard.state();
                let owner = state.owner.as_mut().filter(|owner| owner.viewer == session.id);
                if owner.is_some_and(|owner| std::mem::take(&mut owner.wanted)) {
                    guest.provide(decompress(&compressed).as_deref());
                }
            }
            ClipboardMessage::Capabilities | ClipboardMessage::Other => {}
        }
    }

    fn viewer_offers(&self, session: &Session, text: Option<Arc<str>>) {
        let Some(guest) = self.clipboard.guest.get().filter(|_| session.shares_clipboard()) else { return };
        let mut state = self.clipboard.state();
        state.owner = Some(Owner { viewer: session.id, text, wanted: false });
        state.give_up();
        guest.offer(true);
        if std::mem::take(&mut state.guest_offers) {
            for other in self.sessions().iter().filter(|other| other.id != session.id) {
                other.tell_clipboard(|news| news.notify(false));
            }
        }
    }

    /// A viewer has no text any more, or has gone.
    pub(super) fn viewer_withdraws(&self, viewer: ViewerId) {
        let Some(guest) = self.clipboard.guest.get() else { return };
        let mut state = self.clipboard.state();
        state.waiting.remove(&viewer);
        if state.owner.take_if(|owner| owner.viewer == viewer).is_some() {
            guest.offer(false);
        }
    }
}

impl HostClipboard for Shared {
    fn offer(&self, offered: bool) {
        let Some(guest) = self.clipboard.guest.get() else { return };
        let mut state = self.clipboard.state();
        state.guest_offers = offered;
        state.give_up();
        if offered {
            state.owner = None;
        }
        for session in self.sessions().iter() {
            let mut plain = false;
            session.tell_clipboard(|news| {
                plain = news.kind == ClipboardKind::Plain;
                news.notify(offered);
            });
            // It cannot ask.
            if plain && offered {
                state.want(session.id, &**guest);
            }
        }
    }

    fn request(&self) {
        let Some(guest) = self.clipboard.guest.get() else { return };
        let mut state = self.clipboard.state();
        let Some(owner) = &mut state.owner else { return guest.provide(None) };
        if let Some(text) = &owner.text {
            return guest.provide(Some(text));
        }
        owner.wanted = true;
        if let Some(session) = self.sessions().iter().find(|session| session.id == owner.viewer) {
            session.tell_clipboard(|news| news.request = true);
        }
    }

    fn provide(&self, text: Option<Arc<str>>) {
        let mut state = self.clipboard.state();
        state.asked = None;
        let waiting = std::mem::take(&mut state.waiting);
        for session in self.sessions().iter().filter(|session| waiting.contains(&session.id)) {
            session.tell_clipboard(|news| match &text {
                Some(text) => news.text = Some(Arc::clone(text)),
                None => news.notify(false),
            });
        }
    }
}
