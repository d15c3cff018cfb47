//! The wizard that makes a guest, in virt-manager's five steps: what to begin with, the image, memory and vCPUs, the disk,
//! the name and all that was entered. Going back and forward keeps what was entered; what is wrong is said at its field.

mod draft;
mod media;
mod naming;
mod notes;
mod pages;
mod resources;
mod summary;
#[cfg(test)]
mod testing;

use std::time::Duration;

use adw::prelude::*;
use gtk::{accessible::Property, gdk, glib};
use relm4::prelude::*;

use self::{
    draft::{Draft, Edit, Look, Step},
    notes::{Note, notes},
    pages::{Pages, Shown},
};
use crate::ui::{
    actions,
    backend::{Backend, Created, NewGuest, Surroundings},
    dialogs,
    i18n::{gettext, gettext_f},
    judgement::Inspected,
    preferences,
    widgets::{dropped::Dropped, text_button::TextButton},
};

/// How long to wait after the last typed letter before a file is looked at.
const TYPING_PAUSE: Duration = Duration::from_millis(200);

/// The wizard.
pub struct Wizard {
    backend: Backend,
    draft: Draft,
    step: Step,
    around: Surroundings,
    pages: Pages,
    notes: Vec<Note>,
    /// Whether the person has tried to leave this page forwards.
    tried: bool,
    /// Whether the guest is being made.
    busy: bool,
}

/// What the wizard starts with.
pub struct WizardInit {
    /// The manager.
    pub backend: Backend,
    /// The window that it belongs to.
    pub parent: gtk::Window,
    /// An image to begin with.
    pub file: Option<Dropped>,
}

/// What the wizard is told.
#[derive(Debug)]
pub enum WizardMsg {
    /// Something was entered.
    Edit(Edit),
    /// An image was dropped, to begin with.
    Take(Dropped),
    /// To the next page, or make the guest.
    Forward,
    /// To the page before, or away.
    Back,
    /// Away.
    Close,
}

/// What the manager has answered.
#[derive(Debug)]
pub enum WizardCommand {
    /// What entries are judged by.
    Around(anyhow::Result<Surroundings>),
    /// What a file is.
    Inspected(Look, Result<Inspected, String>),
    /// Whether the guest was made.
    Created(anyhow::Result<Created>),
}

/// What the wizard tells.
#[derive(Debug)]
pub enum WizardOutput {
    /// It was closed without a guest.
    Closed,
    /// The guest was made.
    Created(Created),
}

#[relm4::component(pub)]
impl Component for Wizard {
    type Init = WizardInit;
    type Input = WizardMsg;
    type Output = WizardOutput;
    type CommandOutput = WizardCommand;

    view! {
        adw::Window {
            set_title: Some(&gettext("New Guest")),
            set_modal: true,
            set_default_size: (600, 620),
            set_size_request: (360, 294),
            connect_close_request[sender] => move |_| {
                let _ = sender.output(WizardOutput::Closed);
                glib::Propagation::Proceed
            },

            gtk::Box {
                set_orientation: gtk::Orientation::Vertical,

                adw::HeaderBar {
                    set_show_start_title_buttons: false,
                    set_show_end_title_buttons: false,
                    #[wrap(Some)]
                    set_title_widget = &adw::WindowTitle {
                        set_title: &gettext("New Guest"),
                        #[watch]
                        set_subtitle: &model.progress(),
                    },
                    pack_start = &gtk::Button {
                        #[watch]
                        set_button_text: &if model.is_first() { gettext("_Cancel") } else { gettext("_Back") },
                        #[watch]
                        set_sensitive: !model.busy,
                        connect_clicked => WizardMsg::Back,
                    },
                    #[name = "forward"]
                    pack_end = &gtk::Button {
                        add_css_class: "suggested-action",
                        #[watch]
                        set_button_text: &if model.is_last() { gettext("_Create") } else { gettext("_Next") },
                        #[watch]
                        set_sensitive: !model.busy,
                        connect_clicked => WizardMsg::Forward,
                    },
                    pack_end = &gtk::Spinner {
                        #[watch]
                        set_spinning: model.busy,
                        #[watch]
                        set_visible: model.busy,
                        update_property: &[Property::Label(&gettext("The guest is being made"))],
                    },
                },

                #[name = "toasts"]
                adw::ToastOverlay {
                    #[wrap(Some)]
                    #[local_ref]
                    set_child = stack -> gtk::Stack {
                        set_vexpand: true,
                        set_transition_type: gtk::StackTransitionType::SlideLeftRight,
                        #[watch]
                        set_sensitive: !model.busy,
                    },
                },
            },
        }
    }

    fn init(init: WizardInit, root: Self::Root, sender: ComponentSender<Self>) -> ComponentParts<Self> {
        let WizardInit { backend, parent, file } = init;
        let stack = gtk::Stack::new();
        let input = sender.input_sender().clone();
        let pages = Pages::new(&stack, move |edit| input.emit(WizardMsg::Edit(edit)));
        let around = backend.surroundings_without_looking();
        let preferred = preferences::get();
        let mut draft = Draft::preferring(preferred.new_guest_network);
        draft.follow(&around);
        let looking = backend.clone();
        sender.oneshot_command(
            async move { WizardCommand::Around(looking.surroundings(preferred.new_guest_pool).await) },
        );
        let step = Step::Method;
        let mut model = Self { backend, draft, step, around, pages, notes: Vec::new(), tried: false, busy: false };
        let stack = &stack;
        let mut widgets = view_output!();
        root.set_transient_for(Some(&parent));
        root.set_default_widget(Some(&widgets.forward));
        add_keys(&root, &sender);
        match &file {
            Some(file) => model.take(file, &widgets, &sender),
            None => model.show(Step::Method, &widgets),
        }
        model.update_view(&mut widgets, sender);
        root.present();
        model.pages.focus(model.step, None);
        ComponentParts { model, widgets }
    }

    fn update_with_view(
        &mut self,
        widgets: &mut Self::Widgets,
        message: WizardMsg,
        sender: ComponentSender<Self>,
        root: &Self::Root,
    ) {
        match message {
            WizardMsg::Edit(edit) => {
                if let Some(look) = self.draft.apply(edit, &self.around) {
                    self.look_at(look, &sender);
                }
                self.refresh();
            }
            WizardMsg::Take(_) if self.busy => {
                let words = gettext("A guest is being made: drop the file again after that");
                widgets.toasts.add_toast(adw::Toast::new(&words));
            }
            WizardMsg::Take(file) => {
                self.take(&file, widgets, &sender);
                self.pages.focus(self.step, None);
            }
            WizardMsg::Forward if self.busy => {}
            WizardMsg::Forward => self.forward(widgets, &sender),
            WizardMsg::Back if self.busy => {}
            WizardMsg::Back => match self.neighbour(-1) {
                Some(step) => self.go_to(step, widgets),
                None => root.close(),
            },
            WizardMsg::Close if self.busy => {}
            WizardMsg::Close => root.close(),
        }
        self.update_view(widgets, sender);
    }

    fn update_cmd(&mut self, message: WizardCommand, sender: ComponentSender<Self>, root: &Self::Root) {
        match message {
            WizardCommand::Around(Ok(around)) => {
                self.around = around;
                self.draft.follow(&self.around);
                self.pages.fill(self.step, &self.draft);
                self.refresh();
            }
            WizardCommand::Around(Err(error)) => {
                dialogs::error(root, &gettext("The Host Could Not Be Looked At"), &error.to_string());
            }
            WizardCommand::Inspected(look, result) => {
                self.draft.looked_at(&look, &result, &self.around);
                self.refresh();
            }
            WizardCommand::Created(Ok(created)) => {
                let _ = sender.output(WizardOutput::Created(created));
                root.destroy();
            }
            WizardCommand::Created(Err(error)) => {
                self.busy = false;
                let heading = gettext_f("“{name}” Could Not Be Created", &[("name", &self.draft.name)]);
                dialogs::error(root, &heading, &error.to_string());
            }
        }
    }
}

impl Wizard {
    fn neighbour(&self, offset: isize) -> Option<Step> {
        let steps = self.draft.method.steps();
        let here = steps.iter().position(|step| *step == self.step)?;
        steps.get(here.checked_add_signed(offset)?).copied()
    }

    fn is_first(&self) -> bool {
        self.neighbour(-1).is_none()
    }

    fn is_last(&self) -> bool {
        self.neighbour(1).is_none()
    }

    fn progress(&self) -> String {
        let steps = self.draft.method.steps();
        let here = steps.iter().position(|step| *step == self.step).map_or(1, |index| index + 1);
        gettext_f("Step {n} of {count}", &[("n", &here.to_string()), ("count", &steps.len().to_string())])
    }

    fn shown(&self) -> Shown<'_> {
        Shown { draft: &self.draft, around: &self.around, notes: &self.notes, tried: self.tried }
    }

    /// Judges the entries anew and shows them.
    fn refresh(&mut self) {
        self.notes = notes(&self.draft, self.step, &self.around);
        self.pages.show(self.step, &self.shown());
    }

    /// Begins with an image, whatever was chosen before; all else that was entered stays.
    fn take(&mut self, file: &Dropped, widgets: &WizardWidgets, sender: &ComponentSender<Self>) {
        for edit in draft::beginning_with(file.path.clone()) {
            if let Some(look) = self.draft.apply(edit, &self.around) {
                self.look_at(look, sender);
            }
        }
        self.pages.show_chosen(&self.draft);
        self.show(Step::Media, widgets);
        file.complain(&widgets.toasts);
    }

    fn go_to(&mut self, step: Step, widgets: &WizardWidgets) {
        self.show(step, widgets);
        self.pages.focus(step, None);
    }

    fn show(&mut self, step: Step, widgets: &WizardWidgets) {
        self.step = step;
        self.tried = false;
        self.pages.fill(step, &self.draft);
        self.refresh();
        widgets.stack.set_visible_child(self.pages.root(step));
    }

    fn forward(&mut self, widgets: &WizardWidgets, sender: &ComponentSender<Self>) {
        self.tried = true;
        self.refresh();
        if let Some(note) = self.notes.iter().find(|note| note.stops()) {
            self.pages.focus(self.step, Some(note.field));
            return;
        }
        match self.neighbour(1) {
            Some(step) => self.go_to(step, widgets),
            None => {
                self.busy = true;
                let backend = self.backend.clone();
                let guest = NewGuest { pool: Some(self.around.pool.clone()), ..self.draft.new_guest() };
                sender.oneshot_command(async move { WizardCommand::Created(backend.create(guest).await) });
            }
        }
    }

    fn look_at(&self, look: Look, sender: &ComponentSender<Self>) {
        let backend = self.backend.clone();
        sender.oneshot_command(async move {
            tokio::time::sleep(TYPING_PAUSE).await;
            let inspected = Inspected::of(match look.clone() {
                Look::Media(path) => backend.inspect(path).await,
                Look::InitialRamDisk(path) => {
                    backend.inspect_initial_ram_disk(path).await.map(|media| (media, Vec::new()))
                }
            });
            WizardCommand::Inspected(look, inspected)
        });
    }
}

/// Escape closes; Alt and an arrow go back and forward; Enter on a choice takes it and goes on.
fn add_keys(root: &adw::Window, sender: &ComponentSender<Wizard>) {
    let input = sender.input_sender().clone();
    actions::add_key(root, gdk::Key::Escape, move || input.emit(WizardMsg::Close));

    let input = sender.input_sender().clone();
    let keys = gtk::EventControllerKey::new();
    keys.set_propagation_phase(gtk::PropagationPhase::Capture);
    keys.connect_key_pressed(glib::clone!(
        #[weak]
        root,
        #[upgrade_or]
        glib::Propagation::Proceed,
        move |_, key, _, modifiers| {
            let message = match key {
                gdk::Key::Left if modifiers.contains(gdk::ModifierType::ALT_MASK) => WizardMsg::Back,
                gdk::Key::Right if modifiers.contains(gdk::ModifierType::ALT_MASK) => WizardMsg::Forward,
                gdk::Key::Return | gdk::Key::KP_Enter if take_choice(&root) => WizardMsg::Forward,
                _ => return glib::Propagation::Proceed,
            };
            input.emit(message);
            glib::Propagation::Stop
        }
    ));
    root.add_controller(keys);
}

/// Takes the choice whose row or button has the keyboard, if one has.
fn take_choice(root: &adw::Window) -> bool {
    let focus = gtk::prelude::GtkWindowExt::focus(root);
    let row_choice = focus.and_downcast_ref::<adw::ActionRow>().and_then(|row| row.activatable_widget());
    match row_choice.or(focus).and_downcast::<gtk::CheckButton>() {
        Some(check) => {
            check.set_active(true);
            true
        }
        None => false,
    }
}
