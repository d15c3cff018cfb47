//! The guest windows that are open: at most one a guest. They are told what happens to their guests.

use std::collections::HashMap;

use gtk::prelude::*;
use relm4::prelude::*;

use crate::ui::{
    backend::{Backend, GuestChange, GuestId, GuestView},
    guest_window::{GuestWindow, GuestWindowInit, GuestWindowMsg, GuestWindowOutput},
};

/// The registry of guest windows.
pub struct GuestWindows {
    backend: Backend,
    open: HashMap<GuestId, Controller<GuestWindow>>,
}

impl GuestWindows {
    /// A registry without any window.
    pub fn new(backend: Backend) -> Self {
        Self { backend, open: HashMap::new() }
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
        self.open.insert(id, window);
    }

    /// Forgets a window that was closed.
    pub fn closed(&mut self, id: &GuestId) {
        self.open.remove(id);
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
