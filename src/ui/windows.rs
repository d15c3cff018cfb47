//! The guest windows that are open: at most one a guest. They are told what happens to their guests, and each comes again as large as it
//! was.

use std::collections::{BTreeMap, HashMap};

use gtk::prelude::*;
use relm4::prelude::*;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::ui::{
    backend::{Backend, GuestChange, GuestId, GuestView},
    guest_window::{GuestWindow, GuestWindowInit, GuestWindowMsg, GuestWindowOutput},
    settings::WindowSize,
};

/// The registry of guest windows.
pub struct GuestWindows {
    backend: Backend,
    open: HashMap<GuestId, Controller<GuestWindow>>,
    /// What those had that were closed.
    sizes: BTreeMap<Uuid, WindowSize>,
}

impl GuestWindows {
    /// A registry without any window; these are the sizes that they had last.
    pub fn new(backend: Backend, sizes: BTreeMap<Uuid, WindowSize>) -> Self {
        Self { backend, open: HashMap::new(), sizes }
    }

    /// Opens the guest's window, or brings it to the front. `told` is called with what the window tells.
    pub fn open(&mut self, guest: GuestView, told: impl Fn(GuestWindowOutput) + 'static) {
        if let Some(window) = self.open.get(&guest.id) {
            window.emit(GuestWindowMsg::Present);
            return;
        }
        let id = guest.id.clone();
        let window = GuestWindow::builder()
            .launch(GuestWindowInit { backend: self.backend.clone(), guest })
            .connect_receiver(move |_, output| told(output));
        if let GuestId::Known(uuid) = &id
            && let Some(size) = self.sizes.get(uuid)
        {
            window.widget().set_default_size(size.width, size.height);
            window.widget().set_maximized(size.maximized);
        }
        self.open.insert(id, window);
    }

    /// Forgets a window that was closed, but for its size.
    pub fn closed(&mut self, id: &GuestId) {
        self.sizes = self.sizes();
        self.open.remove(id);
    }

    /// The sizes of all windows that are open or were.
    pub fn sizes(&self) -> BTreeMap<Uuid, WindowSize> {
        let open = self.open.iter().filter_map(|(id, window)| {
            let GuestId::Known(uuid) = id else { return None };
            let (width, height) = window.widget().default_size();
            Some((*uuid, WindowSize { width, height, maximized: window.widget().is_maximized() }))
        });
        self.sizes.clone().into_iter().chain(open).collect()
    }

    /// Asks the windows one after the other whether they may go. False as soon as one may not.
    pub fn may_go(&self) -> impl Future<Output = bool> + 'static {
        let windows: Vec<_> = self.open.values().map(|window| window.sender().clone()).collect();
        async move {
            for window in windows {
                let (may, answer) = oneshot::channel();
                window.emit(GuestWindowMsg::Leave(may));
                // One that goes meanwhile says nothing.
                if !answer.await.unwrap_or(true) {
                    return false;
                }
            }
            true
        }
    }

    /// Whether no guest window is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a person works in the guest's window.
    pub fn is_in_use(&self, id: &GuestId) -> bool {
        self.open.get(id).is_some_and(|window| window.widget().is_active())
    }

    /// Tells the windows of what concerns their guests.
    pub fn tell(&self, changes: &[GuestChange]) {
        for change in changes {
            let (id, message) = match change {
                GuestChange::Added(guest) | GuestChange::Changed(guest) => {
                    (&guest.id, GuestWindowMsg::Changed(Box::new(guest.clone())))
                }
                GuestChange::Removed(id) => (id, GuestWindowMsg::Removed),
                GuestChange::TurnsItselfOff(_) => continue,
                GuestChange::Statistics => {
                    self.open.values().for_each(|window| window.emit(GuestWindowMsg::Sampled));
                    continue;
                }
            };
            if let Some(window) = self.open.get(id) {
                window.emit(message);
            }
        }
    }
}
