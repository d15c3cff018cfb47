//! The clipboard that the console's guest shares with the desktop: text, by demand, and only while the guest has the keyboard.
//!
//! What the desktop's clipboard has is offered to the guest when it gets the keyboard, and read when the guest asks for it, if it
//! has the keyboard still. What the guest has is put on the desktop's clipboard as a promise: [`GuestText`] asks the guest when
//! somebody pastes. A guest that nobody works with neither reads nor changes the desktop's clipboard.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use gtk::{gdk, gio, glib, prelude::*, subclass::prelude::*};
use lodge::{clipboard::MAX_TEXT, rfb::client::Client};
use tokio::sync::oneshot;

/// How long a program that pastes waits for the guest's text.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many may wait.
const MAX_WAITING: usize = 64;
/// What text is called, the best name first.
const TEXTS: [&str; 2] = ["text/plain;charset=utf-8", "text/plain"];

/// The sharing. Clones are the same.
#[derive(Clone)]
pub struct Clipboard(Rc<Inner>);

struct Inner {
    desktop: gdk::Clipboard,
    followed: RefCell<Option<glib::SignalHandlerId>>,
    client: RefCell<Option<Client>>,
    /// The guest has the keyboard.
    active: Cell<bool>,
    /// The desktop's clipboard has something that the guest does not know of.
    news: Cell<bool>,
    /// The guest has text that the desktop does not know of.
    guest_offers: Cell<bool>,
    /// What stands for the guest's text on the desktop's clipboard.
    promise: GuestText,
    /// Who waits for the guest's text.
    waiting: RefCell<Vec<oneshot::Sender<String>>>,
}

impl Clipboard {
    /// Shares the clipboard of a display with a guest that is yet to come.
    pub fn new(display: &gdk::Display) -> Self {
        let this = Self(Rc::new(Inner {
            desktop: display.clipboard(),
            followed: RefCell::default(),
            client: RefCell::default(),
            active: Cell::new(false),
            news: Cell::new(true),
            guest_offers: Cell::new(false),
            promise: glib::Object::new(),
            waiting: RefCell::default(),
        }));
        let weak = Rc::downgrade(&this.0);
        this.0.promise.imp().clipboard.replace(weak.clone());
        let followed = this.0.desktop.connect_changed(move |_| {
            if let Some(inner) = weak.upgrade() {
                Self(inner).desktop_changed();
            }
        });
        this.0.followed.replace(Some(followed));
        this
    }

    /// The guest is there (again), or gone.
    pub fn set_client(&self, client: Option<Client>) {
        self.0.client.replace(client);
        self.0.news.set(true);
        self.withdraw();
        self.share();
    }

    /// The guest has got the keyboard, or lost it.
    pub fn set_active(&self, active: bool) {
        self.0.active.set(active);
        self.share();
    }

    /// The guest has another text, or none any more.
    pub fn guest_offers(&self, offers: bool) {
        self.0.waiting.borrow_mut().clear();
        self.0.guest_offers.set(offers);
        if offers {
            self.share();
        } else {
            self.withdraw();
        }
    }

    /// The guest wants the desktop's text.
    pub fn guest_requests(&self) {
        let Some(client) = self.0.client.borrow().clone() else { return };
        let inner = Rc::clone(&self.0);
        relm4::spawn_local(async move {
            let readable = inner.active.get() && inner.has_text() && !inner.is_promise();
            let text = if readable { inner.desktop.read_text_future().await.ok().flatten() } else { None };
            let text = text.map(String::from).filter(|text| text.len() <= MAX_TEXT).unwrap_or_default();
            // Compressing takes a moment.
            relm4::spawn(async move { client.provide_clipboard(&text) });
        });
    }

    /// The guest's text has come.
    pub fn guest_provides(&self, text: &str) {
        for waiting in self.0.waiting.take() {
            // It may have given up.
            let _ = waiting.send(text.to_owned());
        }
    }

    fn desktop_changed(&self) {
        if !self.0.is_promise() {
            self.0.news.set(true);
            self.0.guest_offers.set(false);
            self.share();
        }
    }

    /// Offers each side what it does not know of. The person's latest copy outside of the guest comes first.
    fn share(&self) {
        let inner = &*self.0;
        let client = inner.client.borrow();
        let Some(client) = client.as_ref().filter(|_| inner.active.get()) else { return };
        if inner.guest_offers.get() && !inner.news.get() {
            inner.guest_offers.set(false);
            // Another program may be about to take the clipboard; then it stays that one's.
            let _ = inner.desktop.set_content(Some(&inner.promise));
        } else if inner.news.take() && !inner.is_promise() {
            inner.guest_offers.set(false);
            client.offer_clipboard(inner.has_text());
        }
    }

    /// Takes the guest's text from the desktop's clipboard.
    fn withdraw(&self) {
        self.0.waiting.borrow_mut().clear();
        self.0.guest_offers.set(false);
        if self.0.is_promise() {
            let _ = self.0.desktop.set_content(gdk::ContentProvider::NONE);
        }
    }
}

impl Inner {
    /// Whether the desktop's clipboard has this guest's text.
    fn is_promise(&self) -> bool {
        self.desktop.content().is_some_and(|content| content == self.promise)
    }

    fn has_text(&self) -> bool {
        let formats = self.desktop.formats();
        formats.contains_type(glib::Type::STRING) || TEXTS.iter().any(|name| formats.contain_mime_type(name))
    }

    /// Asks the guest for its text.
    fn ask(&self) -> Option<oneshot::Receiver<String>> {
        let client = self.client.borrow();
        let mut waiting = self.waiting.borrow_mut();
        let client = client.as_ref().filter(|_| waiting.len() < MAX_WAITING)?;
        let (sender, receiver) = oneshot::channel();
        waiting.push(sender);
        client.request_clipboard();
        Some(receiver)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(followed) = self.followed.take() {
            self.desktop.disconnect(followed);
        }
        if self.is_promise() {
            let _ = self.desktop.set_content(gdk::ContentProvider::NONE);
        }
    }
}

glib::wrapper! {
    /// Stands for the guest's text on the desktop's clipboard.
    pub struct GuestText(ObjectSubclass<imp::GuestText>) @extends gdk::ContentProvider;
}

mod imp {
    use std::{cell::RefCell, future::Future, pin::Pin, rc::Weak};

    use super::{Inner, PATIENCE, TEXTS, gdk, gio, glib};
    use gtk::{gdk::subclass::prelude::*, gio::prelude::*};

    #[derive(Default)]
    pub struct GuestText {
        pub(super) clipboard: RefCell<Weak<Inner>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for GuestText {
        const NAME: &'static str = "LodgeGuestText";
        type Type = super::GuestText;
        type ParentType = gdk::ContentProvider;
    }

    impl ObjectImpl for GuestText {}

    impl ContentProviderImpl for GuestText {
        fn formats(&self) -> gdk::ContentFormats {
            gdk::ContentFormats::new(&TEXTS)
        }

        fn write_mime_type_future(
            &self,
            _mime_type: &str,
            stream: &gio::OutputStream,
            io_priority: glib::Priority,
        ) -> Pin<Box<dyn Future<Output = Result<(), glib::Error>> + 'static>> {
            let (clipboard, stream) = (self.clipboard.borrow().clone(), stream.clone());
            Box::pin(async move {
                let failed = |what: &str| glib::Error::new(gio::IOErrorEnum::Failed, what);
                let answer = clipboard.upgrade().and_then(|clipboard| clipboard.ask());
                let answer = answer.ok_or_else(|| failed("the guest is gone"))?;
                let text = glib::future_with_timeout(PATIENCE, answer).await;
                let text = text.ok().and_then(Result::ok).ok_or_else(|| failed("the guest does not give its text"))?;
                let written = stream.write_all_future(text.into_bytes(), io_priority).await;
                written.map_err(|(_, error)| error).and_then(|(_, _, error)| error.map_or(Ok(()), Err))?;
                stream.close_future(io_priority).await
            })
        }
    }
}
