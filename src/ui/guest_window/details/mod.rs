//! The details page of a guest's window: what the guest consists of, each with a page where it is edited. What was changed is applied
//! all at once, or forgotten; what is wrong is said at its field and never stored.
//!
//! - [`item`]: the entries. [`sidebar`]: their list.
//! - [`draft`]: the definition while it is edited. [`form`]: what pages are made of.
//! - The pages: [`general`] (with [`now`]), [`processors`], [`memory`], [`boot`], [`disk`], [`drive`], [`card`] (with
//!   [`forward`]), [`devices`], [`text`].
//! - [`showing`]: what of all this is seen. [`parts`]: hardware that is added and taken out, with the dialogs of [`hardware`].

mod boot;
mod card;
mod devices;
mod disk;
mod draft;
mod drive;
mod form;
mod forward;
mod general;
mod hardware;
mod item;
mod listening;
mod memory;
mod now;
mod parts;
mod processors;
mod showing;
mod sidebar;
mod text;

use adw::prelude::*;
use gtk::accessible::Property;
use lodge::manager::{definition::Review, editing::Saved};
use relm4::prelude::*;

pub use self::item::Item;
use self::{
    draft::{Draft, Rebased},
    form::{Edit, OnEdit, Page},
    item::items,
    sidebar::Sidebar,
    text::TextPage,
};
use crate::ui::{
    actions::Action,
    backend::{Backend, GuestView, Loaded, Surroundings},
    dialogs,
    i18n::{gettext, gettext_f},
    operations::Place,
    widgets::{
        ellipsized,
        info_bar::{InfoBar, InfoBarOutput},
        text_button::TextButton,
    },
};

/// The page.
pub struct Details {
    backend: Backend,
    place: Place,
    guest: GuestView,
    around: Surroundings,
    draft: Option<Draft>,
    /// What is wrong with the draft, and how many judgements are awaited still.
    review: Review,
    judging: u32,
    item: Item,
    /// What is to be shown as soon as it is there.
    awaited: Option<Item>,
    page: Option<Shape>,
    sidebar: Sidebar,
    bin: adw::Bin,
    leaflet: adw::Leaflet,
    notice: Controller<InfoBar>,
    on_edit: OnEdit,
    /// Whether the page was ever seen; until then it costs nothing.
    seen: bool,
    /// Whether changes are being applied.
    busy: bool,
    can: Can,
}

/// What pages are made with.
pub struct Context<'a> {
    /// The manager.
    pub backend: &'a Backend,
    /// The window.
    pub place: &'a Place,
    /// The guest.
    pub guest: &'a GuestView,
    /// What definitions are judged by.
    pub around: &'a Surroundings,
    /// Where changes go.
    pub on_edit: &'a OnEdit,
}

/// A page that is shown.
enum Shape {
    Form(Page),
    Text(TextPage),
}

/// What can be done now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Can {
    /// Whether there are changes that can be applied.
    pub apply: bool,
    /// Whether there are changes.
    pub revert: bool,
    /// Whether what is shown can be taken out.
    pub remove: bool,
}

/// What the page starts with.
pub struct DetailsInit {
    /// The manager.
    pub backend: Backend,
    /// The guest.
    pub guest: GuestView,
    /// The window that it is in.
    pub place: Place,
}

/// What the page is told.
#[derive(Debug)]
pub enum DetailsMsg {
    /// The guest's name, definition or state has changed.
    Changed(Box<GuestView>),
    /// The guest has a new point in its history.
    Sampled,
    /// The page can be seen now.
    Seen,
    /// The page is shown.
    Focus,
    /// An entry was chosen in the list.
    Choose(Item),
    /// Turn to the page of the chosen entry, where that and the list do not fit side by side.
    Open,
    /// Choose an entry and turn to its page.
    Select(Item),
    /// Back to the list of entries.
    Back,
    /// Something was changed.
    Edit(Edit),
    /// The definition's text was changed.
    EditText(String),
    /// Take over what was changed.
    Apply,
    /// Forget what was changed.
    Revert,
    /// Open the menu of what can be added, or add something.
    Add(Action),
    /// Take out what is shown.
    Remove,
    /// The running guest is to keep so many bytes of its memory.
    Keep(u64),
}

/// What the manager has answered.
#[derive(Debug)]
pub enum DetailsCommand {
    /// The definition as it is now.
    Loaded(anyhow::Result<Loaded>),
    /// What definitions are judged by.
    Around(anyhow::Result<Surroundings>),
    /// What is wrong with the draft.
    Reviewed(anyhow::Result<Review>),
    /// The changes were applied or not.
    Applied(anyhow::Result<Saved>),
    /// Something was added or not.
    Added(anyhow::Result<Item>),
    /// The running guest was asked to keep so much of its memory, and has a driver that does so, or not.
    Kept(anyhow::Result<bool>),
}

/// What the page tells.
#[derive(Debug)]
pub enum DetailsOutput {
    /// What can be done now.
    Can(Can),
    /// What was changed was applied or not.
    Applied(bool),
}

#[relm4::component(pub)]
impl Component for Details {
    type Init = DetailsInit;
    type Input = DetailsMsg;
    type Output = DetailsOutput;
    type CommandOutput = DetailsCommand;

    view! {
        #[root]
        gtk::Box {
            set_orientation: gtk::Orientation::Vertical,

            append: model.notice.widget(),
            #[local_ref]
            append = leaflet -> adw::Leaflet {
                set_can_navigate_back: true,
                append = &gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_width_request: 220,
                    gtk::ScrolledWindow {
                        set_hscrollbar_policy: gtk::PolicyType::Never,
                        set_vexpand: true,
                        set_child: Some(model.sidebar.list()),
                    },
                    #[name = "add"]
                    gtk::MenuButton {
                        add_css_class: "flat",
                        set_margin_all: 6,
                        set_direction: gtk::ArrowType::Up,
                        set_menu_model: Some(&additions()),
                        set_tooltip_text: Some(&Action::AddHardware.tooltip()),
                        update_property: &[Property::Label(&Action::AddHardware.title())],
                        #[wrap(Some)]
                        set_child = &adw::ButtonContent {
                            set_icon_name: "list-add-symbolic",
                            set_label: &Action::AddHardware.entry().label,
                            set_use_underline: true,
                        },
                    },
                },
                append = &gtk::Separator {} -> {
                    set_navigatable: false,
                },
                #[name = "content"]
                append = &gtk::Box {
                    set_orientation: gtk::Orientation::Vertical,
                    set_hexpand: true,
                    set_width_request: 320,

                    gtk::Box {
                        add_css_class: "toolbar",
                        #[watch]
                        set_visible: model.leaflet.is_folded(),
                        #[name = "back"]
                        gtk::Button {
                            set_icon_name: "go-previous-symbolic",
                            set_tooltip_text: Some(&gettext("Back")),
                            update_property: &[Property::Label(&gettext("Back"))],
                            connect_clicked => DetailsMsg::Back,
                        },
                        gtk::Label {
                            add_css_class: "heading",
                            set_ellipsize: gtk::pango::EllipsizeMode::End,
                            #[watch]
                            set_label: &model.title(),
                        },
                    },
                    append: &model.bin,
                },
            },
        },
        // The window has it below the page, and below its toasts, which must not cover it.
        #[name = "bar"]
        gtk::ActionBar {
            #[watch]
            set_revealed: model.can.revert || model.busy,
            #[local_ref]
            pack_start = changes -> gtk::Label {
                set_width_chars: 12,
                #[watch]
                set_label: &model.state_of_changes(),
            },
            pack_end = &gtk::Button {
                add_css_class: "suggested-action",
                set_button_text: &gettext("_Apply"),
                set_action_name: Some(&Action::ApplyDetails.detailed_name()),
                set_tooltip_text: Some(&Action::ApplyDetails.tooltip()),
            },
            pack_end = &gtk::Button {
                set_button_text: &gettext("Re_vert"),
                set_action_name: Some(&Action::RevertDetails.detailed_name()),
                set_tooltip_text: Some(&Action::RevertDetails.tooltip()),
            },
        },
    }

    fn init(init: DetailsInit, _root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let DetailsInit { backend, guest, place } = init;
        let input = sender.input_sender().clone();
        let on_edit: OnEdit = std::rc::Rc::new(move |edit| input.emit(DetailsMsg::Edit(edit)));
        let (chosen, opened) = (sender.input_sender().clone(), sender.input_sender().clone());
        let sidebar =
            Sidebar::new(move |item| chosen.emit(DetailsMsg::Choose(item)), move || opened.emit(DetailsMsg::Open));
        let notice = InfoBar::builder().launch(()).forward(sender.input_sender(), |output| match output {
            InfoBarOutput::Pressed => DetailsMsg::Revert,
        });
        let leaflet = adw::Leaflet::new();
        let model = Self {
            around: backend.surroundings_without_looking(),
            backend,
            place,
            guest,
            draft: None,
            review: Review::default(),
            judging: 0,
            item: Item::Overview,
            awaited: None,
            page: None,
            sidebar,
            bin: adw::Bin::builder().vexpand(true).build(),
            leaflet: leaflet.clone(),
            notice,
            on_edit,
            seen: false,
            busy: false,
            can: Can::default(),
        };
        let (leaflet, changes) = (&leaflet, &ellipsized("", &["caption"]));
        let widgets = view_output!();
        let input = sender.input_sender().clone();
        leaflet.connect_folded_notify(move |_| input.emit(DetailsMsg::Sampled));
        let input = sender.input_sender().clone();
        leaflet.connect_map(move |_| input.emit(DetailsMsg::Seen));
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: DetailsMsg,
        sender: ComponentSender<Self>,
        _root: &Self::Root,
    ) {
        match message {
            DetailsMsg::Changed(guest) => {
                self.guest = *guest;
                let stored = self.draft.as_ref().and_then(Draft::stored);
                if self.seen && (stored.is_none() || stored != self.guest.definition.as_ref().ok()) {
                    self.load(&sender);
                }
                if self.leaflet.is_mapped() {
                    self.show_page();
                }
            }
            DetailsMsg::Sampled if !self.leaflet.is_mapped() => return,
            DetailsMsg::Sampled => self.show_page(),
            DetailsMsg::Seen => {
                if !std::mem::replace(&mut self.seen, true) {
                    self.load(&sender);
                }
                self.show_page();
            }
            DetailsMsg::Focus => {
                self.look_around(&sender);
                self.focus(widgets);
            }
            DetailsMsg::Choose(item) => self.choose(item, &sender),
            DetailsMsg::Open => self.open(widgets),
            DetailsMsg::Select(item) => {
                self.choose(item, &sender);
                self.open(widgets);
            }
            DetailsMsg::Back => {
                self.leaflet.navigate(adw::NavigationDirection::Back);
                self.sidebar.focus();
            }
            DetailsMsg::Edit(edit) => {
                if let Some(draft) = self.draft.as_mut() {
                    draft.edit(|definition| edit.make(definition));
                }
                self.judge(&sender);
            }
            DetailsMsg::EditText(text) => {
                if let Some(draft) = self.draft.as_mut() {
                    draft.set_text(text);
                }
                self.judge(&sender);
            }
            DetailsMsg::Apply => self.apply(&sender),
            DetailsMsg::Revert => {
                if let Some(draft) = &mut self.draft {
                    draft.revert();
                }
                self.build_page(&sender);
            }
            DetailsMsg::Add(Action::AddHardware) => widgets.add.popup(),
            DetailsMsg::Add(action) => self.add(action, &sender),
            DetailsMsg::Remove => self.remove(),
            DetailsMsg::Keep(bytes) => {
                let (backend, id) = (self.backend.clone(), self.guest.id.clone());
                sender.oneshot_command(async move { DetailsCommand::Kept(backend.keep_memory(&id, bytes).await) });
            }
        }
        self.tell(&sender);
        self.update_view(widgets, sender);
    }

    fn update_cmd(&mut self, answer: DetailsCommand, sender: ComponentSender<Self>, _root: &Self::Root) {
        match answer {
            DetailsCommand::Loaded(Ok(loaded)) => self.take(loaded, &sender),
            // It was deleted, and the window goes with it; or the next look finds it.
            DetailsCommand::Loaded(Err(error)) => tracing::warn!("{error}"),
            DetailsCommand::Around(Ok(around)) => {
                self.around = around;
                self.judge(&sender);
            }
            DetailsCommand::Around(Err(error)) => tracing::warn!("the host cannot be looked at: {error}"),
            DetailsCommand::Reviewed(result) => {
                self.judging -= 1;
                if let Ok(review) = result
                    && self.judging == 0
                {
                    self.review = review;
                }
                self.show_page();
            }
            DetailsCommand::Applied(Ok(saved)) => {
                self.busy = false;
                let _ = sender.output(DetailsOutput::Applied(true));
                let Saved { stored, applied } = saved;
                let (name, revision) = (stored.definition.name.clone(), stored.revision);
                self.draft = Some(Draft::new(Loaded { name, revision, definition: Ok(stored.definition) }));
                if applied.cut {
                    self.place.toast(&gettext("Connections that the guest had were cut: the network began anew"));
                }
                if applied.no_clipboard {
                    self.place.toast(&gettext("The clipboard is shared from the guest’s next start on"));
                }
                if applied.not_shown {
                    self.place.toast(&gettext("Viewers come in so from the guest’s next start on"));
                }
                self.judge(&sender);
            }
            DetailsCommand::Applied(Err(error)) => {
                self.busy = false;
                let _ = sender.output(DetailsOutput::Applied(false));
                let heading = gettext_f("“{name}” Could Not Be Changed", &[("name", &self.guest.name)]);
                dialogs::error(&self.place.window, &heading, &error.to_string());
                self.load(&sender);
            }
            DetailsCommand::Added(added) => self.added(added, &sender),
            DetailsCommand::Kept(Ok(true)) => {}
            DetailsCommand::Kept(Ok(false)) => {
                self.place.toast(&gettext("The guest has no driver for the balloon: nothing changes until it has one"));
            }
            DetailsCommand::Kept(Err(error)) => {
                let heading = gettext_f("The Memory of “{name}” Stays as It Is", &[("name", &self.guest.name)]);
                dialogs::error(&self.place.window, &heading, &error.to_string());
            }
        }
        self.tell(&sender);
    }
}

impl Details {
    fn load(&self, sender: &ComponentSender<Self>) {
        let (backend, name) = (self.backend.clone(), self.guest.name.clone());
        sender.oneshot_command(async move { DetailsCommand::Loaded(backend.load(name).await) });
        self.look_around(sender);
    }

    fn look_around(&self, sender: &ComponentSender<Self>) {
        let backend = self.backend.clone();
        sender.oneshot_command(async move { DetailsCommand::Around(backend.surroundings(None).await) });
    }

    /// Takes over what the definition is now.
    fn take(&mut self, loaded: Loaded, sender: &ComponentSender<Self>) {
        let is_first = self.draft.is_none();
        let rebased = match &mut self.draft {
            Some(draft) => draft.rebase(loaded),
            None => {
                self.draft = Some(Draft::new(loaded));
                Rebased::Taken
            }
        };
        let there = items(self.draft.as_ref().and_then(Draft::definition));
        let awaited = self.awaited.take_if(|item| there.contains(item));
        if rebased == Rebased::Taken || awaited.is_some() {
            self.item = awaited.unwrap_or_else(|| self.item.clone());
            self.build_page(sender);
        }
        // There was nothing yet to give the keyboard to.
        if is_first && self.leaflet.is_mapped() {
            self.sidebar.focus();
        }
    }

    /// Has the draft judged.
    fn judge(&mut self, sender: &ComponentSender<Self>) {
        if let Some(definition) = self.draft.as_ref().and_then(Draft::definition).cloned() {
            self.judging += 1;
            let (backend, limits) = (self.backend.clone(), self.around.limits);
            sender.oneshot_command(async move { DetailsCommand::Reviewed(backend.review(definition, limits).await) });
        }
        self.show_page();
    }

    fn apply(&mut self, sender: &ComponentSender<Self>) {
        let Some(wanted) = self.draft.as_ref().and_then(Draft::wanted).filter(|_| self.can.apply) else {
            let _ = sender.output(DetailsOutput::Applied(false));
            return;
        };
        self.busy = true;
        let (backend, name) = (self.backend.clone(), self.guest.name.clone());
        sender.oneshot_command(async move { DetailsCommand::Applied(backend.save(name, wanted).await) });
    }
}

/// The menu of what can be added.
fn additions() -> gtk::gio::Menu {
    let menu = gtk::gio::Menu::new();
    [Action::AddDisk, Action::AddDrive, Action::AddCard]
        .iter()
        .for_each(|action| menu.append_item(&action.menu_item()));
    menu
}

impl Shape {
    fn root(&self) -> &gtk::Widget {
        match self {
            Self::Form(page) => page.root().upcast_ref(),
            Self::Text(page) => page.root().upcast_ref(),
        }
    }
}
