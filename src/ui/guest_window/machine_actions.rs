//! The actions of a guest's window, and its menu. Their shortcuts carry Control and Shift, and work whatever has the focus; while the
//! guest has the keyboard they are the guest's, unless it is preferred otherwise.

use gtk::{gio, glib, prelude::*};

use lodge::manager::drives;

use super::details::Can;
use super::snapshots;
use crate::ui::{
    actions::{self, Action, Scope},
    backend::{GuestState, GuestView, Operation},
    i18n::{gettext, gettext_f},
    operations,
};

/// The operations on the guest, by action.
const OPERATIONS: [(Action, Operation); 5] = [
    (Action::MachineRun, Operation::Run),
    (Action::MachinePause, Operation::Pause),
    (Action::MachineReset, Operation::Reset),
    (Action::MachineShutDown, Operation::ShutDown),
    (Action::MachineForceOff, Operation::ForceOff),
];

/// The operation that an action stands for.
pub fn operation(action: Action) -> Option<Operation> {
    OPERATIONS.into_iter().find(|(candidate, _)| *candidate == action).map(|(_, operation)| operation)
}

/// The action that sends keys to the guest; takes what `send-key` of `lodgectl` takes, `ctrl-alt-f1`.
const SEND_KEYS: &str = "send-keys";

/// The actions of one window.
pub struct MachineActions {
    actions: Vec<(Action, gio::SimpleAction)>,
    send_keys: gio::SimpleAction,
    shortcuts: gtk::ShortcutController,
}

impl MachineActions {
    /// Makes them for `window`; `activated` is called when one is, and `send` with the keys that are to be sent.
    pub fn new(
        window: &impl IsA<gtk::Widget>,
        activated: impl Fn(Action) + Clone + 'static,
        send: impl Fn(String) + 'static,
    ) -> Self {
        let group = gio::SimpleActionGroup::new();
        let of_window = Action::ALL.into_iter().filter(|action| action.entry().scope == Scope::GuestWindow);
        let actions = of_window
            .map(|action| {
                let activated = activated.clone();
                let made = match action {
                    Action::ScaleToWindow | Action::ResizeToWindow | Action::FullScreen | Action::ViewOnly => {
                        let initial = matches!(action, Action::ScaleToWindow | Action::ResizeToWindow).to_variant();
                        let made = gio::SimpleAction::new_stateful(action.entry().name, None, &initial);
                        made.connect_activate(move |_, _| activated(action));
                        group.add_action(&made);
                        made
                    }
                    _ => action.add_to(&group, move || activated(action)),
                };
                (action, made)
            })
            .collect();
        let send_keys = gio::SimpleAction::new(SEND_KEYS, Some(glib::VariantTy::STRING));
        send_keys.connect_activate(move |_, keys| send(keys.and_then(|keys| keys.get()).unwrap_or_default()));
        group.add_action(&send_keys);
        window.insert_action_group(Scope::GuestWindow.prefix(), Some(&group));
        let shortcuts = actions::shortcut_controller_but(Scope::GuestWindow, is_of_text);
        window.add_controller(shortcuts.clone());
        let made = Self { actions, send_keys, shortcuts };
        made.enable_shortcuts(true);
        made.enable_changes(Can::default());
        made
    }

    /// Has the shortcuts act, or leaves them to the guest like every other key.
    pub fn enable_shortcuts(&self, act: bool) {
        // Before the console, which would take them for the guest's.
        let phase = if act { gtk::PropagationPhase::Capture } else { gtk::PropagationPhase::None };
        self.shortcuts.set_propagation_phase(phase);
    }

    /// Enables what makes sense for this guest.
    pub fn enable_for(&self, guest: &GuestView) {
        let active = guest.state.is_active();
        self.send_keys.set_enabled(active);
        let definition = guest.definition.as_ref().ok();
        let drives = definition.map(drives::drives).unwrap_or_default();
        for (action, made) in &self.actions {
            let enabled = match (operation(*action), action) {
                (Some(operation), _) => guest.definition.is_ok() && operation.allowed(&guest.state),
                (None, Action::SendCtrlAltDelete | Action::Screenshot | Action::ShowOnNetwork) => active,
                (None, Action::TypeClipboard) => guest.state == GuestState::Running,
                (None, Action::MachineReboot) => operations::can_be_rebooted(guest),
                (None, Action::MachineSaveState) => operations::can_be_saved(guest),
                (None, Action::MachineDiscardSaved) => guest.state == GuestState::Saved,
                (None, Action::TakeSnapshot) => snapshots::can_be_taken(guest),
                (None, Action::MachineClone) => operations::can_be_cloned(guest),
                (None, Action::ApplyDetails | Action::RevertDetails | Action::RemoveHardware) => continue,
                (None, Action::CopyFromPort | Action::PasteIntoPort) => continue,
                (None, Action::AddHardware | Action::AddDisk | Action::AddDrive | Action::AddCard) => {
                    guest.definition.is_ok()
                }
                (None, Action::InsertDisc) => !drives.is_empty(),
                (None, Action::EjectDisc) => drives.iter().any(|(_, medium)| medium.is_some()),
                _ => true,
            };
            made.set_enabled(enabled);
        }
    }

    /// Enables what can be done with what was changed in the details.
    pub fn enable_changes(&self, can: Can) {
        for (action, made) in &self.actions {
            match action {
                Action::ApplyDetails => made.set_enabled(can.apply),
                Action::RevertDetails => made.set_enabled(can.revert),
                Action::RemoveHardware => made.set_enabled(can.remove),
                _ => {}
            }
        }
    }

    /// Enables what can be done with a port's terminal while it is shown.
    pub fn enable_port(&self, shown: bool) {
        for (action, made) in &self.actions {
            if matches!(action, Action::CopyFromPort | Action::PasteIntoPort) {
                made.set_enabled(shown);
            }
        }
    }

    /// Shows whether an action that can be on or off is on.
    pub fn set_on(&self, action: Action, on: bool) {
        if let Some((_, made)) = self.actions.iter().find(|(candidate, _)| *candidate == action) {
            made.set_state(&on.to_variant());
        }
    }
}

/// Whether the keys of an action belong to the text while one is entered: they redo there, and enter characters by their numbers.
fn is_of_text(action: Action) -> bool {
    matches!(action, Action::ScaleToWindow | Action::RevertDetails)
}

/// The keys that can be sent beside Ctrl+Alt+Delete, which the desktop or the console of the host may keep for itself: what they are
/// called, in groups.
fn combinations() -> [Vec<(String, String)>; 2] {
    let others = [
        ("ctrl-alt-backspace", gettext("Ctrl+Alt+Backspace")),
        ("ctrl-esc", gettext("Ctrl+Escape")),
        ("alt-tab", gettext("Alt+Tab")),
        ("alt-f4", gettext("Alt+F4")),
        ("win", gettext("Super (Windows Key)")),
        ("print", gettext("Print Screen")),
    ];
    let others = others.map(|(keys, label)| (keys.to_owned(), label)).into();
    let terminals = (1..=12).map(|number| {
        let label = gettext_f("Ctrl+Alt+F{number}", &[("number", &number.to_string())]);
        (format!("ctrl-alt-f{number}"), label)
    });
    [others, terminals.collect()]
}

fn keys_menu() -> gio::Menu {
    let menu = gio::Menu::new();
    for group in combinations() {
        let section = gio::Menu::new();
        for (keys, label) in group {
            let item = gio::MenuItem::new(Some(&label), None);
            let action = format!("{}.{SEND_KEYS}", Scope::GuestWindow.prefix());
            item.set_action_and_target_value(Some(&action), Some(&keys.to_variant()));
            section.append_item(&item);
        }
        menu.append_section(None, &section);
    }
    menu
}

/// The window's menu.
pub fn menu() -> gio::Menu {
    let section = |actions: &[Action]| {
        let section = gio::Menu::new();
        actions.iter().for_each(|action| section.append_item(&action.menu_item()));
        section
    };
    let menu = gio::Menu::new();
    let towards =
        section(&[Action::SendCtrlAltDelete, Action::TypeClipboard, Action::Screenshot, Action::ShowOnNetwork]);
    towards.insert_submenu(1, Some(&gettext("Send Other _Keys")), &keys_menu());
    menu.append_section(None, &towards);
    menu.append_section(None, &section(&[Action::InsertDisc, Action::EjectDisc]));
    menu.append_section(
        None,
        &section(&[Action::ScaleToWindow, Action::ResizeToWindow, Action::FullScreen, Action::ViewOnly]),
    );
    let off = [Action::MachineShutDown, Action::MachineReboot, Action::MachineReset, Action::MachineForceOff];
    menu.append_section(None, &section(&off));
    menu.append_section(
        None,
        &section(&[Action::TakeSnapshot, Action::MachineSaveState, Action::MachineDiscardSaved, Action::MachineClone]),
    );
    menu.append_section(None, &section(&[Action::Help, Action::Shortcuts, Action::CloseGuestWindow]));
    menu
}

#[cfg(test)]
mod tests {
    use lodge::input::keys::parse_combination;

    use super::*;

    #[test]
    fn every_key_that_is_offered_can_be_sent() {
        for (keys, label) in combinations().concat() {
            let parsed = parse_combination(&keys).unwrap_or_else(|error| panic!("{label}: {error}"));
            assert_eq!(parsed.len(), label.split('+').count(), "{label}");
        }
    }
}
