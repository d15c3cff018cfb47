//! The end of the application: what would be lost by it is asked about first.

use adw::prelude::*;
use relm4::prelude::*;

use super::{App, AppMsg};
use crate::ui::{
    dialogs::{self, ACCEPT, CANCEL},
    i18n::gettext,
    widgets::jobs,
};

/// Whether something goes on that the application's end would end.
pub fn would_lose() -> bool {
    !jobs::under_way().is_empty()
}

impl App {
    /// Asks the guests' windows whether the application may end, and ends it if they let it.
    pub(super) fn ask_windows(&self, sender: &ComponentSender<Self>) {
        let (asked, input) = (self.windows.may_go(), sender.input_sender().clone());
        relm4::spawn_local(async move {
            if asked.await {
                input.emit(AppMsg::Quit);
            }
        });
    }

    /// Ends the application where no window is left.
    pub(super) fn quit_without_windows(&self, root: &adw::ApplicationWindow, sender: &ComponentSender<Self>) {
        if self.windows.is_empty() && !root.is_visible() {
            self.quit(root, sender);
        }
    }

    /// Ends the application, after a question if something goes on that would end with it.
    pub(super) fn quit(&self, root: &adw::ApplicationWindow, sender: &ComponentSender<Self>) {
        if !would_lose() {
            return sender.input(AppMsg::End);
        }
        root.present();
        if let Some(open) = self.quitting.upgrade().filter(|open| open.is_visible()) {
            return open.present();
        }
        let given_up = gettext("What is not done yet is given up. Guests run on.");
        let message = format!("{}\n\n{given_up}", jobs::under_way().join("\n"));
        let dialog = dialogs::blank(root, &gettext("Quit While Work Is Going On?"), &message);
        dialog.add_responses(&[(CANCEL, &gettext("_Keep Running")), (ACCEPT, &gettext("_Quit"))]);
        dialog.set_response_appearance(ACCEPT, adw::ResponseAppearance::Destructive);
        dialog.set_default_response(Some(CANCEL));
        self.quitting.set(Some(&dialog));
        let input = sender.input_sender().clone();
        relm4::spawn_local(async move {
            if dialogs::choose(&dialog).await {
                input.emit(AppMsg::End);
            }
        });
    }
}
