//! Before a guest's window goes: what was changed in the details and not applied is asked about, by whoever wants it to go.

use adw::prelude::*;
use tokio::sync::oneshot;

use super::{GuestWindowMsg, details::Can};
use crate::ui::{
    dialogs::{self, ACCEPT, CANCEL},
    i18n::{gettext, gettext_f},
};

/// The response that forgets what was changed.
const DISCARD: &str = "discard";

/// The question, and who waits for its answer.
#[derive(Default)]
pub struct Leaving {
    dialog: Option<adw::MessageDialog>,
    waiting: Vec<oneshot::Sender<bool>>,
}

/// What is to become of the changes.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// They are gone on with.
    Keep,
    /// They are forgotten.
    Discard,
    /// They are taken over, if that can be done.
    Apply,
}

/// Has the window of `input` close, unless the person wants to keep it.
pub fn close_if_it_may(input: &relm4::Sender<GuestWindowMsg>) {
    let (may, answer) = oneshot::channel();
    input.emit(GuestWindowMsg::Leave(may));
    let input = input.clone();
    relm4::spawn_local(async move {
        if answer.await.unwrap_or(false) {
            input.emit(GuestWindowMsg::Close);
        }
    });
}

impl Leaving {
    /// Tells `may` whether `window` may go, at once or when the person has answered. `answered` is called with that.
    pub fn ask(
        &mut self,
        window: &impl IsA<gtk::Window>,
        name: &str,
        can: Can,
        may: oneshot::Sender<bool>,
        answered: impl Fn(Answer) + 'static,
    ) {
        let is_first = self.waiting.is_empty();
        if is_first && !can.revert {
            // Whoever has asked may be gone.
            let _ = may.send(true);
            return;
        }
        self.waiting.push(may);
        window.present();
        if is_first {
            let heading = gettext_f("Apply the Changes to “{name}”?", &[("name", name)]);
            let message = gettext("What was changed in the details is lost otherwise.");
            let dialog = dialogs::blank(window, &heading, &message);
            dialog.add_responses(&[
                (CANCEL, &gettext("_Cancel")),
                (DISCARD, &gettext("_Discard")),
                (ACCEPT, &gettext("_Apply")),
            ]);
            dialog.set_response_appearance(DISCARD, adw::ResponseAppearance::Destructive);
            dialog.set_response_appearance(ACCEPT, adw::ResponseAppearance::Suggested);
            dialog.set_default_response(Some(ACCEPT));
            dialog.connect_response(None, move |_, response| {
                answered(match response {
                    ACCEPT => Answer::Apply,
                    DISCARD => Answer::Discard,
                    _ => Answer::Keep,
                });
            });
            self.dialog = Some(dialog);
            self.enable(can);
        }
        if let Some(dialog) = &self.dialog {
            dialog.present();
        }
    }

    /// Offers what can be done with the changes now.
    pub fn enable(&self, can: Can) {
        if let Some(dialog) = &self.dialog {
            dialog.set_response_enabled(ACCEPT, can.apply);
        }
    }

    /// The question is answered; whoever waits for it goes on waiting.
    pub fn is_answered(&mut self) {
        self.dialog = None;
    }

    /// Tells whoever waits whether the window may go.
    pub fn end(&mut self, may: bool) {
        self.is_answered();
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(may);
        }
    }
}
