//! A guest's own window: its screen, its serial port and what it is. Closing it leaves the guest running.

mod details;
mod disc;
mod full_screen_bar;
mod leaving;
mod machine_actions;
mod on_network;
mod pages;
mod performance;
mod screen_page;
mod screenshot;
mod serial;
mod snapshots;
mod typing;

use std::time::Duration;

use adw::prelude::*;
use gtk::accessible::Property;
use lodge::manager::drives;
use relm4::prelude::*;
use tokio::sync::oneshot;

use crate::ui::{
    actions::Action,
    backend::{Backend, GuestId, GuestState, GuestView},
    dialogs,
    i18n::gettext_f,
    operations::{self, Place, on_tokio},
    preferences, pump,
    widgets::list_hidden_windows_first,
    wording,
};
use details::{Can, Details, DetailsInit, DetailsMsg, DetailsOutput, Item};
use leaving::{Answer, Leaving};
use machine_actions::MachineActions;
use on_network::OnNetwork;
use pages::{CONSOLE, DETAILS, PERFORMANCE, SERIAL, SNAPSHOTS, page_switcher, pages};
use performance::PerformancePage;
use screen_page::ScreenPage;
use serial::SerialPage;
use snapshots::SnapshotsPage;
use typing::Typing;

/// The window of one guest.
pub struct GuestWindow {
    backend: Backend,
    guest: GuestView,
    place: Place,
    actions: MachineActions,
    screen: ScreenPage,
    serial: SerialPage,
    snapshots: SnapshotsPage,
    performance: PerformancePage,
    details: Controller<Details>,
    typing: Typing,
    on_network: OnNetwork,
    leaving: Leaving,
    /// What can be done with what was changed in the details.
    can: Can,
    stack: adw::ViewStack,
    captured: bool,
    scaled: bool,
    scaled_in_full_screen: bool,
    resizes_guest: bool,
    full_screen: bool,
}

/// What a guest's window starts with.
pub struct GuestWindowInit {
    /// The manager.
    pub backend: Backend,
    /// The guest.
    pub guest: GuestView,
}

/// What a guest's window is told.
#[derive(Debug)]
pub enum GuestWindowMsg {
    /// The window is made, and is to be shown.
    Made,
    /// Come to the front.
    Present,
    /// The guest's name, definition or state has changed.
    Changed(Box<GuestView>),
    /// The guest has a new point in its history.
    Sampled,
    /// The guest was deleted.
    Removed,
    /// The window is to go; whether it may is told.
    Leave(oneshot::Sender<bool>),
    /// What is to become of the changes in the details, so that the window may go.
    Answered(Answer),
    /// What was changed in the details was applied or not.
    Applied(bool),
    /// The window goes.
    Close,
    /// Keys are to be pressed together in the guest: `ctrl-alt-f1`.
    SendKeys(String),
    /// An action of the window was activated.
    Action(Action),
    /// The console has the person's keyboard, or not any more.
    Captured(bool),
    /// The window is full screen, or not any more.
    FullScreen(bool),
    /// Another page is shown.
    Page,
    /// What can be done with what was changed in the details.
    Can(Can),
    /// No text is typed into the guest any more.
    Typed,
    /// Whether the screen is shown on a network has been asked or told; what the definition says of it is to be changed or not.
    OnNetwork {
        /// Whether it is to be changed.
        change: bool,
    },
}

/// What a guest's window tells.
#[derive(Debug)]
pub enum GuestWindowOutput {
    /// It was closed.
    Closed(GuestId),
}

#[relm4::component(pub)]
impl Component for GuestWindow {
    type Init = GuestWindowInit;
    type Input = GuestWindowMsg;
    type Output = GuestWindowOutput;
    type CommandOutput = ();

    view! {
        adw::Window {
            set_default_size: (880, 720),
            set_size_request: (360, 294),
            #[watch]
            set_title: Some(&model.title()),
            connect_close_request[sender] => move |_| {
                leaving::close_if_it_may(sender.input_sender());
                gtk::glib::Propagation::Stop
            },
            connect_fullscreened_notify[sender] => move |window| {
                sender.input(GuestWindowMsg::FullScreen(window.is_fullscreen()));
            },

            gtk::Box {
                set_orientation: gtk::Orientation::Vertical,

                adw::HeaderBar {
                    #[watch]
                    set_visible: !model.full_screen,

                    pack_start = &gtk::Button {
                        set_icon_name: "media-playback-start-symbolic",
                        set_tooltip_text: Some(&Action::MachineRun.tooltip()),
                        set_action_name: Some(&Action::MachineRun.detailed_name()),
                        update_property: &[Property::Label(&Action::MachineRun.title())],
                        #[watch]
                        set_visible: !model.runs(),
                    },
                    pack_start = &gtk::Button {
                        set_icon_name: "media-playback-pause-symbolic",
                        set_tooltip_text: Some(&Action::MachinePause.tooltip()),
                        set_action_name: Some(&Action::MachinePause.detailed_name()),
                        update_property: &[Property::Label(&Action::MachinePause.title())],
                        #[watch]
                        set_visible: model.runs(),
                    },
                    pack_start = &gtk::Button {
                        set_icon_name: "system-shutdown-symbolic",
                        set_tooltip_text: Some(&Action::MachineShutDown.tooltip()),
                        set_action_name: Some(&Action::MachineShutDown.detailed_name()),
                        update_property: &[Property::Label(&Action::MachineShutDown.title())],
                    },
                    #[wrap(Some)]
                    set_title_widget = &adw::WindowTitle {
                        #[watch]
                        set_title: &model.guest.name,
                        #[watch]
                        set_subtitle: &wording::state(&model.guest.state),
                    },
                    #[name = "menu_button"]
                    pack_end = &gtk::MenuButton {
                        set_icon_name: "open-menu-symbolic",
                        set_tooltip_text: Some(&Action::MachineMenu.tooltip()),
                        set_menu_model: Some(&machine_actions::menu()),
                        set_primary: false,
                        update_property: &[Property::Label(&Action::MachineMenu.title())],
                    },
                    pack_end = &gtk::Button {
                        set_icon_name: "view-fullscreen-symbolic",
                        set_tooltip_text: Some(&Action::FullScreen.tooltip()),
                        set_action_name: Some(&Action::FullScreen.detailed_name()),
                        update_property: &[Property::Label(&Action::FullScreen.title())],
                    },
                    pack_end = &gtk::Button {
                        set_icon_name: "network-transmit-receive-symbolic",
                        set_tooltip_text: Some(&Action::ShowOnNetwork.tooltip()),
                        set_action_name: Some(&Action::ShowOnNetwork.detailed_name()),
                        update_property: &[Property::Label(&Action::ShowOnNetwork.title())],
                        #[watch]
                        set_visible: model.on_network.is_shown(),
                    },
                    #[local_ref]
                    pack_end = switcher -> gtk::Box {},
                },

                #[local_ref]
                toasts -> adw::ToastOverlay {
                    set_vexpand: true,
                    set_child: Some(&model.stack),
                },

                #[local_ref]
                changes -> gtk::ActionBar {
                    #[watch]
                    set_visible: model.stack.visible_child_name().as_deref() == Some(DETAILS),
                },

                #[local_ref]
                jobs -> gtk::Box {},

                gtk::Label {
                    add_css_class: "capture-hint",
                    set_wrap: true,
                    #[watch]
                    set_label: &gettext_f("The guest has the keyboard. {keys} lets it go.", &[("keys", &release_keys())]),
                    #[watch]
                    set_visible: model.captured && !model.full_screen,
                },
            },
        }
    }

    fn init(init: GuestWindowInit, root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let GuestWindowInit { backend, guest } = init;
        // It is presented later.
        list_hidden_windows_first();
        let toasts = adw::ToastOverlay::new();
        let place = Place::new(&root, &toasts);
        let input = sender.input_sender().clone();
        let screen = ScreenPage::new(move |captured| input.emit(GuestWindowMsg::Captured(captured)));
        // What is added last sees keys first: the window's own shortcuts, where they act, come before the guest, and that before
        // the application's.
        relm4::main_application().add_window(&root);
        screen.take_keys_of(&root);
        let (input, keys) = (sender.input_sender().clone(), sender.input_sender().clone());
        let actions = MachineActions::new(
            &root,
            move |action| input.emit(GuestWindowMsg::Action(action)),
            move |combination| keys.emit(GuestWindowMsg::SendKeys(combination)),
        );
        let serial = SerialPage::new();
        let snapshots = SnapshotsPage::new(&backend, &place, &guest);
        let performance = PerformancePage::new(&backend, &place, &guest);
        let init = DetailsInit { backend: backend.clone(), guest: guest.clone(), place: place.clone() };
        let details = Details::builder().launch(init).forward(sender.input_sender(), |output| match output {
            DetailsOutput::Can(can) => GuestWindowMsg::Can(can),
            DetailsOutput::Applied(applied) => GuestWindowMsg::Applied(applied),
        });
        let stack = pages([
            screen.widget().upcast_ref(),
            serial.widget().upcast_ref(),
            snapshots.widget().upcast_ref(),
            performance.widget().upcast_ref(),
            details.widget().upcast_ref(),
        ]);
        let input = sender.input_sender().clone();
        stack.connect_visible_child_notify(move |_| input.emit(GuestWindowMsg::Page));
        let preferred = preferences::get();
        let mut model = Self {
            backend,
            guest,
            place,
            actions,
            screen,
            serial,
            snapshots,
            performance,
            details,
            typing: Typing::default(),
            on_network: OnNetwork::default(),
            leaving: Leaving::default(),
            can: Can::default(),
            stack,
            captured: false,
            scaled: preferred.scale_to_window,
            scaled_in_full_screen: preferred.scale_full_screen,
            resizes_guest: preferred.resize_to_window,
            full_screen: false,
        };
        model.follow_guest();
        model.fit_screen();
        let (toasts, jobs) = (&toasts, model.place.jobs.widget());
        let switcher = &page_switcher(&model.stack);
        let changes = &model.details.widgets().bar.clone();
        let widgets = view_output!();
        let input = sender.input_sender().clone();
        relm4::spawn_local(async move {
            // All else has its turn between the making of a window and its first layout.
            pump::rest(Duration::ZERO).await;
            input.emit(GuestWindowMsg::Made);
        });
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: GuestWindowMsg,
        sender: ComponentSender<Self>,
        root: &Self::Root,
    ) {
        match message {
            GuestWindowMsg::Made => {
                root.present();
                self.screen.focus();
            }
            GuestWindowMsg::Present => root.present(),
            GuestWindowMsg::Changed(guest) => {
                self.guest = *guest;
                self.follow_guest();
            }
            GuestWindowMsg::Leave(may) => {
                let input = sender.input_sender().clone();
                let answered = move |answer| input.emit(GuestWindowMsg::Answered(answer));
                self.leaving.ask(root, &self.guest.name, self.can, may, answered);
            }
            GuestWindowMsg::Answered(Answer::Keep) => self.leaving.end(false),
            GuestWindowMsg::Answered(Answer::Discard) => {
                self.details.emit(DetailsMsg::Revert);
                self.leaving.end(true);
            }
            GuestWindowMsg::Answered(Answer::Apply) => {
                self.leaving.is_answered();
                self.details.emit(DetailsMsg::Apply);
            }
            GuestWindowMsg::Applied(applied) => self.leaving.end(applied),
            GuestWindowMsg::Removed | GuestWindowMsg::Close => {
                let _ = sender.output(GuestWindowOutput::Closed(self.guest.id.clone()));
                dialogs::close_over(root);
                root.destroy();
            }
            GuestWindowMsg::Sampled => {
                self.performance.sampled();
                self.details.emit(DetailsMsg::Sampled);
            }
            GuestWindowMsg::Captured(captured) => {
                self.captured = captured;
                self.actions.enable_shortcuts(!captured || preferences::get().window_shortcuts);
            }
            GuestWindowMsg::FullScreen(full) => {
                self.full_screen = full;
                self.screen.set_full_screen(full);
                self.actions.set_on(Action::FullScreen, full);
                self.fit_screen();
            }
            GuestWindowMsg::OnNetwork { change: true } => {
                self.stack.set_visible_child_name(DETAILS);
                self.details.emit(DetailsMsg::Select(Item::Display));
            }
            GuestWindowMsg::Page | GuestWindowMsg::Typed | GuestWindowMsg::OnNetwork { .. } => {
                self.enable_for_page();
                self.focus_page();
            }
            GuestWindowMsg::Can(can) => {
                self.can = can;
                self.actions.enable_changes(can);
                self.leaving.enable(can);
            }
            GuestWindowMsg::Action(Action::MachineMenu) => {
                self.screen.let_go();
                match self.full_screen {
                    true => self.screen.open_menu(),
                    false => widgets.menu_button.popup(),
                }
            }
            GuestWindowMsg::Action(Action::TypeClipboard) => {
                self.screen.let_go();
                let input = sender.input_sender().clone();
                let ended = move || input.emit(GuestWindowMsg::Typed);
                let layout = self.screen.layout();
                self.typing.type_clipboard(&self.backend, &self.place, &self.guest, layout, ended);
            }
            GuestWindowMsg::Action(Action::ShowOnNetwork) => {
                self.screen.let_go();
                let input = sender.input_sender().clone();
                let ended = move |change| input.emit(GuestWindowMsg::OnNetwork { change });
                self.on_network.ask(&self.backend, &self.place, &self.guest, ended);
            }
            GuestWindowMsg::SendKeys(combination) => self.send_keys(combination),
            GuestWindowMsg::Action(action) => self.act(action, root),
        }
        self.update_view(widgets, sender);
    }
}

impl GuestWindow {
    fn runs(&self) -> bool {
        matches!(self.guest.state, GuestState::Running | GuestState::Starting | GuestState::Stopping)
    }

    fn title(&self) -> String {
        match self.captured {
            true => {
                let words = [("name", self.guest.name.as_str()), ("keys", &release_keys())];
                gettext_f("{name} — {keys} lets the keyboard go", &words)
            }
            false => self.guest.name.clone(),
        }
    }

    fn follow_guest(&mut self) {
        let paths = match &self.guest.id {
            GuestId::Known(uuid) if self.guest.state.is_active() => Some(self.backend.sockets(*uuid)),
            _ => None,
        };
        self.serial.show(&self.guest, paths.clone());
        self.screen.show(&self.guest, paths.map(|paths| paths.vnc()));
        self.snapshots.show(&self.guest);
        self.performance.show(&self.guest);
        self.details.emit(DetailsMsg::Changed(Box::new(self.guest.clone())));
        self.actions.enable_for(&self.guest);
        self.on_network.follow(&self.guest);
        self.enable_for_page();
    }

    fn shows(&self, page: &str) -> bool {
        self.stack.visible_child_name().as_deref() == Some(page)
    }

    fn enable_for_page(&self) {
        self.actions.enable_port(self.shows(SERIAL));
    }

    /// Whether the picture is scaled where it is now: in its window, or in full screen.
    fn scaled(&mut self) -> &mut bool {
        if self.full_screen { &mut self.scaled_in_full_screen } else { &mut self.scaled }
    }

    /// Has the picture fit the window, and the guest's screen, as it was chosen.
    fn fit_screen(&mut self) {
        let scaled = *self.scaled();
        self.screen.set_scaled(scaled);
        self.actions.set_on(Action::ScaleToWindow, scaled);
        self.screen.set_resizes_guest(self.resizes_guest);
        self.actions.set_on(Action::ResizeToWindow, self.resizes_guest);
    }

    fn focus_page(&self) {
        match self.stack.visible_child_name().as_deref() {
            Some(CONSOLE) => self.screen.focus(),
            Some(SERIAL) => self.serial.focus(),
            Some(DETAILS) => self.details.emit(DetailsMsg::Focus),
            _ => {}
        }
    }

    fn act(&mut self, action: Action, root: &adw::Window) {
        if let Some(operation) = machine_actions::operation(action) {
            operations::operate(&self.backend, &self.place, operation, &self.guest);
            return;
        }
        match action {
            Action::TakeSnapshot => {
                self.stack.set_visible_child_name(SNAPSHOTS);
                self.snapshots.take();
            }
            Action::MachineReboot => operations::reboot(&self.backend, &self.place, &self.guest),
            Action::MachineSaveState => operations::save_state(&self.backend, &self.place, &self.guest),
            Action::MachineDiscardSaved => operations::discard_saved(&self.backend, &self.place, &self.guest),
            Action::MachineClone => operations::clone(&self.backend, &self.place, &self.guest),
            Action::SendCtrlAltDelete => self.send_keys("ctrl-alt-delete".to_owned()),
            Action::Screenshot => screenshot::save(&self.backend, &self.place, &self.guest),
            Action::InsertDisc | Action::EjectDisc => self.change_disc(action == Action::EjectDisc),
            Action::ScaleToWindow => {
                let scaled = self.scaled();
                *scaled = !*scaled;
                self.fit_screen();
            }
            Action::ResizeToWindow => {
                self.resizes_guest = !self.resizes_guest;
                self.fit_screen();
            }
            Action::ViewOnly => {
                let view_only = self.screen.toggle_view_only(&self.guest);
                self.actions.set_on(Action::ViewOnly, view_only);
            }
            Action::FullScreen => {
                self.stack.set_visible_child_name(CONSOLE);
                root.set_fullscreened(!self.full_screen);
            }
            Action::ShowConsole => self.stack.set_visible_child_name(CONSOLE),
            Action::ShowSerial => self.stack.set_visible_child_name(SERIAL),
            Action::ShowSnapshots => self.stack.set_visible_child_name(SNAPSHOTS),
            Action::ShowPerformance => self.stack.set_visible_child_name(PERFORMANCE),
            Action::ShowDetails => self.stack.set_visible_child_name(DETAILS),
            Action::FindInPort => {
                self.stack.set_visible_child_name(SERIAL);
                self.serial.find();
            }
            Action::CopyFromPort => self.serial.copy(),
            Action::PasteIntoPort => self.serial.paste(),
            Action::ApplyDetails => self.details.emit(DetailsMsg::Apply),
            Action::RevertDetails => self.details.emit(DetailsMsg::Revert),
            Action::RemoveHardware => self.details.emit(DetailsMsg::Remove),
            Action::AddHardware | Action::AddDisk | Action::AddDrive | Action::AddCard => {
                self.stack.set_visible_child_name(DETAILS);
                self.details.emit(DetailsMsg::Add(action));
            }
            Action::CloseGuestWindow => root.close(),
            _ => {}
        }
    }

    /// Changes the disc of the only drive; where there are several, the page of the likeliest one is shown.
    fn change_disc(&self, eject: bool) {
        let Ok(definition) = &self.guest.definition else { return };
        let drives = drives::drives(definition);
        let fitting = drives.iter().find(|(_, medium)| medium.is_some() == eject).or(drives.first());
        match (drives.as_slice(), fitting) {
            ([_], _) if eject => disc::eject(&self.backend, &self.place, &self.guest, None),
            ([_], _) => disc::insert(&self.backend, &self.place, &self.guest, None),
            (_, Some((id, _))) => {
                self.stack.set_visible_child_name(DETAILS);
                self.details.emit(DetailsMsg::Select(Item::Drive((*id).to_owned())));
            }
            _ => {}
        }
    }

    fn send_keys(&self, combination: String) {
        let (backend, place, guest) = (self.backend.clone(), self.place.clone(), self.guest.clone());
        relm4::spawn_local(async move {
            let id = guest.id.clone();
            if let Err(error) = on_tokio(async move { backend.send_keys(&id, &combination).await }).await {
                let heading = gettext_f("The Keys Could Not Be Sent to “{name}”", &[("name", &guest.name)]);
                dialogs::error(&place.window, &heading, &error.to_string());
            }
        });
    }
}

fn release_keys() -> String {
    preferences::get().release_keys.label()
}
