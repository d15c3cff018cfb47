//! The application and its main window: the guest list, a bar for what is wrong with the host, the main menu. It opens the
//! other windows and tells them what happens to the guests.
//!
//! Closing the application leaves the guests running and ends none; it asks about what would be lost otherwise.

mod acting;
mod leaving;
mod menu;

use std::time::Duration;

use adw::prelude::*;
use gtk::{accessible::Property, gdk, gio, glib};
use lodge::manager::{host::Finding, paths::Paths};
use relm4::prelude::*;
use tokio::sync::oneshot;

use crate::ui::{
    actions::Action,
    backend::{Backend, Created, GuestChange, GuestId},
    dialogs,
    guest_list::{self, GuestList, GuestListInit, GuestListMsg, GuestListOutput},
    guest_window::GuestWindowOutput,
    host::HostWindow,
    host_check,
    i18n::{self, gettext, gettext_f},
    notices::{self, Notices},
    operations::Place,
    preferences, pump, search_provider,
    settings::{Settings, Style},
    stalls,
    widgets::{
        dropped::{self, Dropped},
        info_bar::{InfoBar, InfoBarMsg, InfoBarOutput},
        list_hidden_windows_first,
    },
    windows::GuestWindows,
    wizard::{Wizard, WizardOutput},
};

/// The application's name on the session bus, of its desktop file and of its icon.
pub const APPLICATION_ID: &str = "org.lodgevm.Lodge";

/// Runs the application until its last window is closed; it begins with the wizard if a new guest is wanted. Where one runs
/// already, that one comes to the front.
pub fn run(new_guest: bool) -> anyhow::Result<()> {
    let paths = Paths::from_environment()?;
    if gtk::init().is_err() {
        anyhow::bail!("there is no display to open a window on. Use lodgectl, or log in to a graphical session");
    }
    i18n::init();
    adw::init()?;
    gio::resources_register_include!("lodge.gresource")?;
    glib::set_application_name("Lodge");
    gtk::Window::set_default_icon_name(APPLICATION_ID);
    let application = adw::Application::new(Some(APPLICATION_ID), gio::ApplicationFlags::empty());
    if new_guest && menu::asked_elsewhere(&application)? {
        return Ok(());
    }
    stalls::trace();
    // The arguments were read already; GLib would read them once more.
    let no_arguments = std::env::args().take(1).collect();
    relm4::RelmApp::from_app(application)
        .visible_on_activate(false)
        .with_args(no_arguments)
        .run::<App>((paths, new_guest));
    Ok(())
}

/// The main window.
pub struct App {
    backend: Backend,
    list: Controller<GuestList>,
    host_bar: Controller<InfoBar>,
    windows: GuestWindows,
    wizard: Option<Controller<Wizard>>,
    host: Option<HostWindow>,
    place: Place,
    settings: Settings,
    notices: Notices,
    findings: Vec<Finding>,
    /// The action whose state the search button shows.
    search: gio::SimpleAction,
    /// The guest that was just made, to be selected as soon as the live view has it, and whether to open its window.
    awaited: Option<(GuestId, bool)>,
    /// The question whether to quit, as long as it is asked.
    quitting: glib::WeakRef<adw::MessageDialog>,
}

/// What the main window is told.
#[derive(Debug)]
pub enum AppMsg {
    /// Guests have changed. The sender is dropped when the main loop has time for more.
    Changes(Vec<GuestChange>, oneshot::Sender<()>),
    /// The list tells something.
    List(GuestListOutput),
    /// A guest's window tells something.
    GuestWindow(GuestWindowOutput),
    /// The wizard tells something.
    Wizard(WizardOutput),
    /// An action of the application or the main window was activated.
    Action(Action),
    /// Light or dark was chosen.
    Style(Style),
    /// The main window is about to close.
    Closing,
    /// The application is to end; no window keeps it.
    Quit,
    /// The application ends.
    End,
    /// The main window was shown, hidden or minimized.
    Seen,
    /// Something else is preferred.
    Preferred,
    /// A notification about the guest of this key was clicked.
    OpenOf(String),
    /// Something was chosen in the desktop's search.
    Found(search_provider::Wanted),
    /// A file was dropped, to make a guest of it.
    Dropped(Dropped),
}

/// What the manager has answered.
#[derive(Debug)]
pub enum AppCommand {
    /// The library was looked at for the first time.
    Looked {
        /// Whether it has guests, which are to be shown.
        has_guests: bool,
    },
    /// The host was looked at; show the window if the person has asked for it.
    Host {
        /// What was found.
        findings: anyhow::Result<Vec<Finding>>,
        /// Whether to show it.
        show: bool,
    },
    /// The test card guest was made.
    TestCard(anyhow::Result<Created>),
}

#[relm4::component(pub)]
impl Component for App {
    /// Where everything lies, and whether a new guest is wanted.
    type Init = (Paths, bool);
    type Input = AppMsg;
    type Output = ();
    type CommandOutput = AppCommand;

    view! {
        adw::ApplicationWindow {
            set_title: Some("Lodge"),
            set_size_request: (360, 294),
            set_default_size: (model.settings.width, model.settings.height),
            set_maximized: model.settings.maximized,
            connect_close_request[sender] => move |_| {
                sender.input(AppMsg::Closing);
                glib::Propagation::Stop
            },
            connect_visible_notify => AppMsg::Seen,
            connect_realize[sender] => move |window| {
                if let Some(toplevel) = window.surface().and_downcast::<gdk::Toplevel>() {
                    let input = sender.input_sender().clone();
                    toplevel.connect_state_notify(move |_| input.emit(AppMsg::Seen));
                }
            },

            gtk::Box {
                set_orientation: gtk::Orientation::Vertical,

                adw::HeaderBar {
                    pack_start = &gtk::Button {
                        set_icon_name: "list-add-symbolic",
                        set_tooltip_text: Some(&Action::NewGuest.tooltip()),
                        set_action_name: Some(&Action::NewGuest.detailed_name()),
                        update_property: &[Property::Label(&Action::NewGuest.title())],
                    },
                    #[name = "menu_button"]
                    pack_end = &gtk::MenuButton {
                        set_icon_name: "open-menu-symbolic",
                        set_tooltip_text: Some(&Action::MainMenu.tooltip()),
                        set_menu_model: Some(&menu::main_menu()),
                        set_primary: true,
                        update_property: &[Property::Label(&Action::MainMenu.title())],
                    },
                    #[local_ref]
                    pack_end = view_button -> gtk::MenuButton {},
                    pack_end = &gtk::ToggleButton {
                        set_icon_name: "system-search-symbolic",
                        set_tooltip_text: Some(&Action::Search.tooltip()),
                        set_action_name: Some(&Action::Search.detailed_name()),
                        update_property: &[Property::Label(&Action::Search.title())],
                    },
                },

                #[local_ref]
                host_bar -> gtk::Revealer {},

                #[local_ref]
                toasts -> adw::ToastOverlay {
                    set_vexpand: true,
                    set_child: Some(model.list.widget()),
                },

                #[local_ref]
                jobs -> gtk::Box {},
            },
        }
    }

    fn init((paths, new_guest): Self::Init, root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let (backend, mut changes) = Backend::watch(paths);
        let input = sender.input_sender().clone();
        relm4::spawn(async move {
            // What has gathered meanwhile is told at once: a thousand guests are one message.
            let mut batch = Vec::new();
            while changes.recv_many(&mut batch, 4096).await > 0 {
                let (taken, rested) = oneshot::channel();
                if input.send(AppMsg::Changes(batch.split_off(0), taken)).is_err() {
                    return;
                }
                // However many come, all else has its turn between the batches.
                let _ = rested.await;
            }
        });
        look_around(&backend, &sender);

        let settings = Settings::load();
        if let Err(error) = preferences::load() {
            complain_about_preferences(&root, &error);
        }
        let search = menu::add_actions(&root, settings.style, &sender);
        settings.style.apply();
        let toasts = adw::ToastOverlay::new();
        let tags = gio::Menu::new();
        let init = GuestListInit { backend: backend.clone(), view: settings.list.clone(), tags: tags.clone() };
        let list = GuestList::builder().launch(init).forward(sender.input_sender(), AppMsg::List);
        let view_button = &guest_list::view_button(&root, &settings.list, &tags, list.sender());
        let model = Self {
            list,
            host_bar: InfoBar::builder()
                .launch(())
                .forward(sender.input_sender(), |InfoBarOutput::Pressed| AppMsg::Action(Action::HostCheck)),
            windows: GuestWindows::new(backend.clone(), settings.guest_windows.clone()),
            wizard: None,
            host: None,
            place: Place::new(&root, &toasts),
            settings,
            notices: Notices::default(),
            findings: Vec::new(),
            search,
            awaited: None,
            quitting: glib::WeakRef::new(),
            backend,
        };
        let host_bar = model.host_bar.widget();
        let (toasts, jobs) = (&toasts, model.place.jobs.widget());
        model.take_figures_as_preferred();
        let widgets = view_output!();
        let input = sender.input_sender().clone();
        dropped::accept(model.list.widget(), move |file| {
            input.emit(AppMsg::Dropped(file));
            true
        });
        let input = sender.input_sender().clone();
        notices::add_open_action(&relm4::main_application(), move |key| input.emit(AppMsg::OpenOf(key)));
        let input = sender.input_sender().clone();
        let found = move |wanted| input.emit(AppMsg::Found(wanted));
        search_provider::offer(&relm4::main_application(), &model.backend, found);
        let window = root.clone();
        relm4::main_application().connect_activate(move |_| window.present());
        if new_guest {
            sender.input(AppMsg::Action(Action::NewGuest));
        }
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: AppMsg,
        sender: ComponentSender<Self>,
        root: &Self::Root,
    ) {
        match message {
            AppMsg::Changes(changes, taken) => {
                self.tell(changes, &sender);
                relm4::spawn_local(async move {
                    pump::rest(Duration::ZERO).await;
                    drop(taken);
                });
            }
            AppMsg::List(GuestListOutput::Searching(searching)) => self.search.set_state(&searching.to_variant()),
            AppMsg::List(GuestListOutput::Request(request, guests)) => self.request(request, guests, &sender),
            AppMsg::List(GuestListOutput::View(view)) => {
                self.settings.list = view;
                self.settings.save_soon();
            }
            AppMsg::GuestWindow(GuestWindowOutput::Closed(id)) => {
                self.windows.closed(&id);
                self.settings.guest_windows = self.windows.sizes();
                self.settings.save_soon();
                self.choose_watch_level(root);
                self.quit_without_windows(root, &sender);
            }
            AppMsg::Wizard(WizardOutput::Closed) => self.wizard = None,
            AppMsg::Wizard(WizardOutput::Created(created)) => {
                self.wizard = None;
                self.show_created(created, &sender);
            }
            AppMsg::Action(Action::MainMenu) => widgets.menu_button.popup(),
            AppMsg::Action(action) => self.act(action, &sender, root),
            AppMsg::Style(style) => {
                self.settings.style = style;
                style.apply();
                self.settings.save_soon();
            }
            // Its last window stays until that is answered.
            AppMsg::Closing if self.windows.is_empty() && leaving::would_lose() => self.quit(root, &sender),
            AppMsg::Quit => self.quit(root, &sender),
            AppMsg::End => {
                self.remember_size(root);
                relm4::main_application().quit();
            }
            AppMsg::Closing => {
                self.remember_size(root);
                if let Some(host) = &self.host {
                    host.close();
                }
                root.set_visible(false);
                list_hidden_windows_first();
                self.quit_without_windows(root, &sender);
            }
            AppMsg::Seen => self.choose_watch_level(root),
            AppMsg::Preferred => {
                self.notices.keep_awake();
                self.take_figures_as_preferred();
            }
            AppMsg::Found(search_provider::Wanted::Search(text)) => {
                root.present();
                self.list.emit(GuestListMsg::SearchFor(text));
            }
            AppMsg::OpenOf(key) | AppMsg::Found(search_provider::Wanted::Open(key)) => {
                let guest = self.backend.guests().all().into_iter().find(|guest| notices::key(&guest.id) == key);
                match guest {
                    Some(guest) if guest.definition.is_ok() => self.open(guest, &sender),
                    _ => root.present(),
                }
            }
            AppMsg::Dropped(file) => self.open_wizard(Some(file), &sender),
        }
    }

    fn update_cmd(&mut self, message: AppCommand, sender: ComponentSender<Self>, root: &Self::Root) {
        match message {
            AppCommand::Looked { has_guests: true } => {}
            AppCommand::Looked { has_guests: false } => self.list.emit(GuestListMsg::NothingToCome),
            AppCommand::Host { findings: Ok(findings), show } => {
                self.host_bar.emit(InfoBarMsg::Set(host_check::notice(&findings)));
                if show {
                    host_check::present(root, &findings);
                }
                self.findings = findings;
            }
            AppCommand::Host { findings: Err(error), .. } => tracing::warn!("the host check failed: {error}"),
            AppCommand::TestCard(Ok(created)) => self.show_created(created, &sender),
            AppCommand::TestCard(Err(error)) => {
                dialogs::error(root, &gettext("The Test Card Could Not Be Run"), &error.to_string());
            }
        }
    }

    fn shutdown(&mut self, _widgets: &mut Self::Widgets, _output: relm4::Sender<()>) {
        // The windows are gone by now, so nothing waits for the disk.
        self.settings.guest_windows = self.windows.sizes();
        if let Err(error) = self.settings.save() {
            tracing::warn!("the window's settings cannot be saved: {error}");
        }
        self.backend.guests().keep_histories();
    }
}

impl App {
    fn tell(&mut self, changes: Vec<GuestChange>, sender: &ComponentSender<Self>) {
        self.windows.tell(&changes);
        self.notices.follow(&changes, |id| self.windows.is_in_use(id));
        if let Some(host) = &self.host {
            if changes.contains(&GuestChange::Statistics) {
                host.sampled();
            }
            if changes.iter().any(|change| *change != GuestChange::Statistics) {
                host.follow_guests();
            }
        }
        self.list.emit(GuestListMsg::Apply(changes));
        self.look_for_awaited(sender);
    }

    fn take_figures_as_preferred(&self) {
        self.backend.guests().set_interval(Duration::from_secs(preferences::get().graph_seconds));
    }

    /// Figures are taken only while a graph can be seen.
    fn choose_watch_level(&self, root: &adw::ApplicationWindow) {
        let toplevel = root.surface().and_downcast::<gdk::Toplevel>();
        let minimized = toplevel.is_some_and(|toplevel| toplevel.state().contains(gdk::ToplevelState::MINIMIZED));
        self.backend.look_at_figures(!self.windows.is_empty() || root.is_visible() && !minimized);
    }

    fn remember_size(&mut self, root: &adw::ApplicationWindow) {
        if root.is_visible() {
            self.settings.maximized = root.is_maximized();
            (self.settings.width, self.settings.height) = root.default_size();
        }
    }
}

/// Asks what the window cannot know by itself: whether there are no guests, and how the host stands.
fn look_around(backend: &Backend, sender: &ComponentSender<App>) {
    let watched = backend.clone();
    sender.oneshot_command(async move { AppCommand::Looked { has_guests: watched.has_guests().await } });
    check_host(backend, false, sender);
}

fn check_host(backend: &Backend, show: bool, sender: &ComponentSender<App>) {
    let backend = backend.clone();
    sender.oneshot_command(async move { AppCommand::Host { findings: backend.host_check().await, show } });
}

/// Says once the window is there that the usual preferences hold, and why.
fn complain_about_preferences(window: &adw::ApplicationWindow, error: &preferences::Unusable) {
    let path = preferences::path().display().to_string();
    let message = gettext_f(
        "{path}: {reason}. The usual preferences hold. The file is kept beside it when you change them.",
        &[("path", &path), ("reason", &error.to_string())],
    );
    let window = window.downgrade();
    glib::idle_add_local_once(move || {
        if let Some(window) = window.upgrade() {
            dialogs::error(&window, &gettext("Your Preferences Cannot Be Used"), &message);
        }
    });
}
