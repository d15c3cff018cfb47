//! What the application does when a person asks for something: of guests in the list, or with an action.

use adw::prelude::*;
use relm4::prelude::*;

use super::{App, AppCommand, AppMsg, check_host};
use crate::ui::{
    about,
    actions::{self, Action},
    backend::{Created, GuestView},
    bulk, dialogs,
    guest_list::{GuestListMsg, GuestRequest},
    help,
    host::{HostPage, HostWindow},
    i18n::gettext_f,
    operations, preferences,
    widgets::dropped::Dropped,
    wizard::{Wizard, WizardInit, WizardMsg},
};

impl App {
    pub(super) fn request(
        &mut self,
        request: GuestRequest,
        mut guests: Vec<GuestView>,
        sender: &ComponentSender<Self>,
    ) {
        let Some(guest) = guests.pop() else { return };
        if !guests.is_empty() {
            guests.push(guest);
            return self.request_of_several(request, guests);
        }
        match request {
            GuestRequest::Open => self.open(guest, sender),
            GuestRequest::Operate(operation) => operations::operate(&self.backend, &self.place, operation, &guest),
            GuestRequest::Reboot => operations::reboot(&self.backend, &self.place, &guest),
            GuestRequest::SaveState => operations::save_state(&self.backend, &self.place, &guest),
            GuestRequest::DiscardSaved => operations::discard_saved(&self.backend, &self.place, &guest),
            GuestRequest::Clone => operations::clone(&self.backend, &self.place, &guest),
            GuestRequest::Rename => operations::rename(&self.backend, &self.place, &guest),
            GuestRequest::Delete => operations::delete(&self.backend, &self.place, &guest),
            GuestRequest::Menu | GuestRequest::SelectAll => {}
        }
    }

    fn request_of_several(&self, request: GuestRequest, guests: Vec<GuestView>) {
        match request {
            GuestRequest::Operate(operation) => bulk::operate(&self.backend, &self.place, operation, guests),
            GuestRequest::Reboot => bulk::reboot(&self.backend, &self.place, guests),
            GuestRequest::SaveState => bulk::save_states(&self.backend, &self.place, guests),
            GuestRequest::Delete => bulk::delete(&self.backend, &self.place, guests),
            _ => {}
        }
    }

    pub(super) fn act(&mut self, action: Action, sender: &ComponentSender<Self>, root: &adw::ApplicationWindow) {
        match action {
            Action::NewGuest => self.open_wizard(None, sender),
            Action::TryTestCard => {
                let backend = self.backend.clone();
                sender.oneshot_command(async move { AppCommand::TestCard(backend.create_test_card().await) });
            }
            Action::Search => self.list.emit(GuestListMsg::ToggleSearch),
            Action::HostUsage => self.show_host(HostPage::Usage),
            Action::Storage => self.show_host(HostPage::Storage),
            Action::Networks => self.show_host(HostPage::Networks),
            Action::Trash => self.show_host(HostPage::Trash),
            Action::HostCheck => check_host(&self.backend, true, sender),
            Action::CloseMainWindow => root.close(),
            Action::Preferences => {
                let input = sender.input_sender().clone();
                let parent = relm4::main_application().active_window().unwrap_or_else(|| root.clone().upcast());
                preferences::present(&parent, &self.backend, move || input.emit(AppMsg::Preferred));
            }
            Action::Help => {
                let active = relm4::main_application().active_window();
                let topic = match &active {
                    Some(window) if window != root.upcast_ref::<gtk::Window>() => help::Topic::Screen,
                    _ => help::Topic::FirstGuest,
                };
                help::present(active.as_ref(), topic);
            }
            Action::Shortcuts => {
                let window = actions::shortcuts_window();
                window.set_transient_for(relm4::main_application().active_window().as_ref());
                window.present();
            }
            Action::About => about::present(relm4::main_application().active_window().as_ref()),
            Action::Quit => self.ask_windows(sender),
            _ => {}
        }
    }

    /// Opens the wizard, with a file if there is one; one that is open already comes to the front and takes the file.
    pub(super) fn open_wizard(&mut self, file: Option<Dropped>, sender: &ComponentSender<Self>) {
        if let Some(wizard) = &self.wizard {
            wizard.widget().present();
            return file.into_iter().for_each(|file| wizard.emit(WizardMsg::Take(file)));
        }
        let init = WizardInit { backend: self.backend.clone(), parent: self.place.window.clone(), file };
        self.wizard = Some(Wizard::builder().launch(init).forward(sender.input_sender(), AppMsg::Wizard));
    }

    fn show_host(&mut self, page: HostPage) {
        let (backend, parent) = (&self.backend, &self.place.window);
        self.host.get_or_insert_with(|| HostWindow::new(backend, parent)).present(page);
    }

    pub(super) fn open(&mut self, guest: GuestView, sender: &ComponentSender<Self>) {
        let input = sender.input_sender().clone();
        self.windows.open(guest, move |output| input.emit(AppMsg::GuestWindow(output)));
    }

    /// Selects a guest that was just made, and opens its window if it was to be started.
    pub(super) fn show_created(&mut self, created: Created, sender: &ComponentSender<Self>) {
        if let Some(Err(reason)) = &created.started {
            let heading = gettext_f("“{name}” Was Created but Could Not Be Started", &[("name", &created.name)]);
            dialogs::error(&self.place.window, &heading, reason);
        }
        self.awaited = Some((created.id, created.started == Some(Ok(()))));
        self.look_for_awaited(sender);
    }

    pub(super) fn look_for_awaited(&mut self, sender: &ComponentSender<Self>) {
        let found = self.awaited.as_ref().and_then(|(id, open)| Some((self.backend.guests().get(id)?, *open)));
        if let Some((guest, open)) = found {
            self.awaited = None;
            self.list.emit(GuestListMsg::Select(guest.id.clone()));
            if open {
                self.open(guest, sender);
            }
        }
    }
}
