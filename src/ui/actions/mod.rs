//! Every action of the application: its name, label and shortcuts, in one table ([`Action::entry`]). Menus, shortcuts and
//! the shortcuts window are made from it, so that they cannot disagree.
//!
//! An action lives in the [`Scope`] that its group of GIO actions is inserted under: menus name it `scope.name`.

mod shortcuts;

use gtk::{gdk, gio, glib, prelude::*};

use crate::ui::i18n::gettext;

pub use shortcuts::shortcuts_window;

/// Where an action works, which is also the prefix of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere in the application.
    Application,
    /// In the main window.
    MainWindow,
    /// On the guest that is selected in the list.
    Guest,
    /// On the guest of a guest window. These shortcuts carry Shift: where it is preferred they act while the guest has the keyboard,
    /// which then keeps the plain ones.
    GuestWindow,
}

impl Scope {
    /// The prefix of the scope's actions in menus.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::MainWindow => "win",
            Self::Guest => "guest",
            Self::GuestWindow => "machine",
        }
    }

    /// The heading in the shortcuts window.
    fn title(self) -> String {
        match self {
            Self::Application => gettext("General"),
            Self::MainWindow => gettext("Guest List"),
            Self::Guest => gettext("Selected Guest"),
            Self::GuestWindow => gettext("Guest Window"),
        }
    }
}

/// An action of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opens the wizard.
    NewGuest,
    /// Makes the test card guest and opens it.
    TryTestCard,
    /// Shows or hides the search entry.
    Search,
    /// Lists the guests in another order; takes one by name.
    SortBy,
    /// Searches for the guests with a tag; takes the tag.
    FindTag,
    /// Shows or hides pictures of the guests' screens.
    ShowScreens,
    /// Shows or hides the guests' use of the CPU.
    ShowCpu,
    /// Shows or hides the guests' memory.
    ShowMemory,
    /// Shows or hides what guests read and write.
    ShowDisk,
    /// Shows or hides what guests send and receive.
    ShowNetwork,
    /// Lists the guests under headings of their tags.
    GroupByTag,
    /// Selects the guests of the group whose heading is selected.
    SelectGroup,
    /// Hides the guests of every group.
    CollapseAll,
    /// Shows the guests of every group.
    ExpandAll,
    /// Opens the main menu.
    MainMenu,
    /// Shows what the host uses.
    HostUsage,
    /// Shows where disks lie.
    Storage,
    /// Shows what guests can be connected to.
    Networks,
    /// Shows the guests that were deleted.
    Trash,
    /// Shows what the host offers.
    HostCheck,
    /// Shows what can be preferred.
    Preferences,
    /// Shows the help.
    Help,
    /// Shows the shortcuts window.
    Shortcuts,
    /// Shows the about window.
    About,
    /// Closes the main window.
    CloseMainWindow,
    /// Closes all windows; guests run on.
    Quit,
    /// Follows or overrides the system's light or dark style; takes a [`crate::ui::settings::Style`] by name.
    Style,
    /// Opens the guest's window.
    Open,
    /// Starts the guest, or lets it go on when it is paused.
    Run,
    /// Holds the guest.
    Pause,
    /// Presses the guest's reset button.
    Reset,
    /// Presses the guest's power button.
    ShutDown,
    /// Shuts the guest down and starts it anew.
    Reboot,
    /// Pulls the guest's plug.
    ForceOff,
    /// Keeps the guest's state, memory included, and ends it.
    SaveState,
    /// Removes the state that was kept.
    DiscardSaved,
    /// Makes another guest that is like it.
    Clone,
    /// Gives the guest another name.
    Rename,
    /// Deletes the guest.
    Delete,
    /// Opens the guest's menu.
    GuestMenu,
    /// Selects all guests that are listed.
    SelectAll,
    /// Runs the window's guest.
    MachineRun,
    /// Holds the window's guest.
    MachinePause,
    /// Resets the window's guest.
    MachineReset,
    /// Presses the power button of the window's guest.
    MachineShutDown,
    /// Shuts the window's guest down and starts it anew.
    MachineReboot,
    /// Pulls the plug of the window's guest.
    MachineForceOff,
    /// Keeps the state of the window's guest, and ends it.
    MachineSaveState,
    /// Removes the kept state of the window's guest.
    MachineDiscardSaved,
    /// Makes another guest that is like the window's.
    MachineClone,
    /// Takes a snapshot of the window's guest.
    TakeSnapshot,
    /// Presses Ctrl+Alt+Delete in the guest.
    SendCtrlAltDelete,
    /// Types what the clipboard holds into the guest.
    TypeClipboard,
    /// Saves a picture of the guest's screen.
    Screenshot,
    /// Shows the guest's screen to viewers that come over a network.
    ShowOnNetwork,
    /// Puts a disc into the guest's CD-ROM drive.
    InsertDisc,
    /// Takes out the disc that is in it.
    EjectDisc,
    /// Whether the guest's picture fills the window.
    ScaleToWindow,
    /// Have the guest's screen take the size of the window.
    ResizeToWindow,
    /// The guest's screen and nothing else.
    FullScreen,
    /// Keeps keys and the pointer from the guest.
    ViewOnly,
    /// Shows the guest's screen.
    ShowConsole,
    /// Shows the guest's serial port.
    ShowSerial,
    /// Shows the guest's snapshots.
    ShowSnapshots,
    /// Shows what the guest uses.
    ShowPerformance,
    /// Shows what the guest consists of.
    ShowDetails,
    /// Searches what the shown port has said.
    FindInPort,
    /// Copies what is selected in the port's terminal.
    CopyFromPort,
    /// Types what the clipboard holds into the port's terminal.
    PasteIntoPort,
    /// Takes over what was changed in the details.
    ApplyDetails,
    /// Forgets what was changed in the details.
    RevertDetails,
    /// Opens the menu of hardware that can be added.
    AddHardware,
    /// Adds a disk.
    AddDisk,
    /// Adds a CD-ROM drive.
    AddDrive,
    /// Adds a network card.
    AddCard,
    /// Takes out the hardware that is shown.
    RemoveHardware,
    /// Opens the window's menu.
    MachineMenu,
    /// Closes the guest's window.
    CloseGuestWindow,
}

/// What the table says about an action.
#[derive(Debug)]
pub struct Entry {
    /// Where it works.
    pub scope: Scope,
    /// Its name within the scope.
    pub name: &'static str,
    /// Its label in menus, with a mnemonic.
    pub label: String,
    /// Its shortcuts, as GTK spells them. The first is shown.
    pub accelerators: &'static [&'static str],
}

impl Action {
    /// All of them, in the order of the shortcuts window.
    pub const ALL: [Self; 78] = [
        Self::NewGuest,
        Self::TryTestCard,
        Self::Search,
        Self::SortBy,
        Self::FindTag,
        Self::ShowScreens,
        Self::ShowCpu,
        Self::ShowMemory,
        Self::ShowDisk,
        Self::ShowNetwork,
        Self::GroupByTag,
        Self::SelectGroup,
        Self::CollapseAll,
        Self::ExpandAll,
        Self::MainMenu,
        Self::HostUsage,
        Self::Storage,
        Self::Networks,
        Self::Trash,
        Self::HostCheck,
        Self::CloseMainWindow,
        Self::Preferences,
        Self::Help,
        Self::Shortcuts,
        Self::About,
        Self::Style,
        Self::Quit,
        Self::Open,
        Self::Run,
        Self::Pause,
        Self::Reset,
        Self::ShutDown,
        Self::Reboot,
        Self::ForceOff,
        Self::SaveState,
        Self::DiscardSaved,
        Self::Clone,
        Self::Rename,
        Self::Delete,
        Self::GuestMenu,
        Self::SelectAll,
        Self::MachineRun,
        Self::MachinePause,
        Self::MachineReset,
        Self::MachineShutDown,
        Self::MachineReboot,
        Self::MachineForceOff,
        Self::MachineSaveState,
        Self::MachineDiscardSaved,
        Self::MachineClone,
        Self::TakeSnapshot,
        Self::SendCtrlAltDelete,
        Self::TypeClipboard,
        Self::Screenshot,
        Self::ShowOnNetwork,
        Self::InsertDisc,
        Self::EjectDisc,
        Self::ScaleToWindow,
        Self::ResizeToWindow,
        Self::FullScreen,
        Self::ViewOnly,
        Self::ShowConsole,
        Self::ShowSerial,
        Self::ShowSnapshots,
        Self::ShowPerformance,
        Self::ShowDetails,
        Self::FindInPort,
        Self::CopyFromPort,
        Self::PasteIntoPort,
        Self::ApplyDetails,
        Self::RevertDetails,
        Self::AddHardware,
        Self::AddDisk,
        Self::AddDrive,
        Self::AddCard,
        Self::RemoveHardware,
        Self::MachineMenu,
        Self::CloseGuestWindow,
    ];

    /// The table.
    pub fn entry(self) -> Entry {
        use Scope::{Application, Guest, GuestWindow, MainWindow};
        let (scope, name, label, accelerators): (_, _, _, &'static [&'static str]) = match self {
            Self::NewGuest => (MainWindow, "new-guest", gettext("_New Guest…"), &["<Control>n"]),
            Self::TryTestCard => (MainWindow, "try-test-card", gettext("_Try the Test Card"), &["<Control>t"]),
            Self::Search => (MainWindow, "search", gettext("_Search"), &["<Control>f"]),
            Self::SortBy => (MainWindow, "sort-by", gettext("Sort By"), &[]),
            Self::FindTag => (MainWindow, "find-tag", gettext("_Tag"), &[]),
            Self::ShowScreens => (MainWindow, "show-screens", gettext("S_creen"), &[]),
            Self::ShowCpu => (MainWindow, "show-cpu", gettext("C_PU"), &[]),
            Self::ShowMemory => (MainWindow, "show-memory", gettext("_Memory"), &[]),
            Self::ShowDisk => (MainWindow, "show-disk", gettext("_Disk Transfers"), &[]),
            Self::ShowNetwork => (MainWindow, "show-network", gettext("N_etwork Transfers"), &[]),
            Self::GroupByTag => (MainWindow, "group-by-tag", gettext("_Group by Tag"), &["<Control>g"]),
            Self::SelectGroup => (MainWindow, "select-group", gettext("_Select Its Guests"), &[]),
            Self::CollapseAll => (MainWindow, "collapse-all", gettext("_Collapse All Groups"), &[]),
            Self::ExpandAll => (MainWindow, "expand-all", gettext("_Expand All Groups"), &[]),
            Self::MainMenu => (MainWindow, "main-menu", gettext("_Main Menu"), &["F10"]),
            Self::HostUsage => (MainWindow, "host-usage", gettext("Host _Usage"), &["<Control>u"]),
            Self::Storage => (MainWindow, "storage", gettext("Sto_rage"), &["<Control>k"]),
            Self::Networks => (MainWindow, "networks", gettext("N_etworks"), &["<Control>e"]),
            Self::Trash => (MainWindow, "trash", gettext("_Deleted Guests"), &["<Control>BackSpace"]),
            Self::HostCheck => (MainWindow, "host-check", gettext("_Host Check"), &["<Control>h"]),
            Self::CloseMainWindow => (MainWindow, "close", gettext("_Close Window"), &["<Control>w"]),
            Self::Help => (Application, "help", gettext("_Help"), &["F1"]),
            Self::Shortcuts => {
                (Application, "shortcuts", gettext("_Keyboard Shortcuts"), &["<Control>question", "<Control>slash"])
            }
            Self::Preferences => (Application, "preferences", gettext("_Preferences"), &["<Control>comma"]),
            Self::About => (Application, "about", gettext("_About Lodge"), &[]),
            Self::Style => (Application, "style", gettext("S_tyle"), &[]),
            Self::Quit => (Application, "quit", gettext("_Quit"), &["<Control>q"]),
            Self::Open => (Guest, "open", gettext("_Open"), &["<Control>o"]),
            Self::Run => (Guest, "run", gettext("_Run"), &["<Control>r"]),
            Self::Pause => (Guest, "pause", gettext("_Pause"), &["<Control>p"]),
            Self::Reset => (Guest, "reset", gettext("R_eset"), &["<Control><Shift>r"]),
            Self::ShutDown => (Guest, "shut-down", gettext("_Shut Down"), &["<Control>d"]),
            Self::Reboot => (Guest, "reboot", gettext("Re_boot"), &["<Control>b"]),
            Self::ForceOff => (Guest, "force-off", gettext("_Force Off…"), &["<Control><Shift>f"]),
            Self::SaveState => (Guest, "save-state", gettext("Sa_ve State"), &["<Control>s"]),
            Self::DiscardSaved => (Guest, "discard-saved", gettext("Disc_ard Saved State…"), &[]),
            Self::Clone => (Guest, "clone", gettext("_Clone…"), &["<Control><Shift>n"]),
            Self::Rename => (Guest, "rename", gettext("Re_name…"), &["F2"]),
            Self::Delete => (Guest, "delete", gettext("_Delete…"), &["Delete"]),
            Self::GuestMenu => (Guest, "menu", gettext("Guest _Menu"), &["Menu", "<Shift>F10"]),
            Self::SelectAll => (Guest, "select-all", gettext("Select _All"), &["<Control>a"]),
            Self::MachineRun => (GuestWindow, "run", gettext("_Run"), &["<Control><Shift>r"]),
            Self::MachinePause => (GuestWindow, "pause", gettext("_Pause"), &["<Control><Shift>p"]),
            Self::MachineReset => (GuestWindow, "reset", gettext("R_eset"), &["<Control><Shift>t"]),
            Self::MachineShutDown => (GuestWindow, "shut-down", gettext("_Shut Down"), &["<Control><Shift>d"]),
            Self::MachineReboot => (GuestWindow, "reboot", gettext("Re_boot"), &["<Control><Shift>F5"]),
            Self::MachineForceOff => (GuestWindow, "force-off", gettext("_Force Off…"), &["<Control><Shift>f"]),
            Self::MachineSaveState => (GuestWindow, "save-state", gettext("Sa_ve State"), &["<Control><Shift>h"]),
            Self::MachineDiscardSaved => (GuestWindow, "discard-saved", gettext("Disc_ard Saved State…"), &[]),
            Self::MachineClone => (GuestWindow, "clone", gettext("C_lone…"), &[]),
            Self::TakeSnapshot => (GuestWindow, "take-snapshot", gettext("Take S_napshot…"), &["<Control><Shift>k"]),
            Self::SendCtrlAltDelete => {
                (GuestWindow, "ctrl-alt-delete", gettext("Send _Ctrl+Alt+Delete"), &["<Control><Shift>Delete"])
            }
            Self::TypeClipboard => {
                (GuestWindow, "type-clipboard", gettext("T_ype Clipboard as Keys"), &["<Control><Shift>Insert"])
            }
            Self::Screenshot => (GuestWindow, "screenshot", gettext("_Save Screenshot…"), &["<Control><Shift>s"]),
            Self::ShowOnNetwork => {
                (GuestWindow, "show-on-network", gettext("Sh_ow on the Network…"), &["<Control><Shift>q"])
            }
            Self::InsertDisc => (GuestWindow, "insert-disc", gettext("_Insert Disc…"), &["<Control><Shift>i"]),
            Self::EjectDisc => (GuestWindow, "eject-disc", gettext("E_ject Disc"), &["<Control><Shift>j"]),
            Self::ScaleToWindow => (GuestWindow, "scale", gettext("Scale to _Window"), &["<Control><Shift>z"]),
            Self::ResizeToWindow => (GuestWindow, "resize", gettext("Resi_ze Guest to Window"), &["<Control><Shift>y"]),
            Self::FullScreen => (GuestWindow, "full-screen", gettext("F_ull Screen"), &["<Control><Shift>Return"]),
            Self::ViewOnly => (GuestWindow, "view-only", gettext("View _Only"), &["<Control><Shift>F4"]),
            Self::ShowConsole => (GuestWindow, "console", gettext("_Console"), &["<Control><Shift>g"]),
            Self::ShowSerial => (GuestWindow, "serial", gettext("Serial _Port"), &["<Control><Shift>e"]),
            Self::ShowSnapshots => (GuestWindow, "snapshots", gettext("S_napshots"), &["<Control><Shift>n"]),
            Self::ShowPerformance => (GuestWindow, "performance", gettext("Per_formance"), &["<Control><Shift>x"]),
            Self::ShowDetails => (GuestWindow, "details", gettext("_Details"), &["<Control><Shift>o"]),
            Self::FindInPort => {
                (GuestWindow, "find-in-port", gettext("_Find in the Serial Port"), &["<Control><Shift>F3"])
            }
            Self::CopyFromPort => (GuestWindow, "copy", gettext("_Copy From the Serial Port"), &["<Control><Shift>c"]),
            Self::PasteIntoPort => {
                (GuestWindow, "paste", gettext("_Paste Into the Serial Port"), &["<Control><Shift>v"])
            }
            Self::ApplyDetails => (GuestWindow, "apply", gettext("_Apply Changes"), &["<Control><Shift>a"]),
            Self::RevertDetails => (GuestWindow, "revert", gettext("Re_vert Changes"), &["<Control><Shift>u"]),
            Self::AddHardware => (GuestWindow, "add-hardware", gettext("Add _Hardware"), &["<Control><Shift>b"]),
            Self::AddDisk => (GuestWindow, "add-disk", gettext("_Disk…"), &[]),
            Self::AddDrive => (GuestWindow, "add-drive", gettext("_CD-ROM Drive"), &[]),
            Self::AddCard => (GuestWindow, "add-card", gettext("_Network Card"), &[]),
            Self::RemoveHardware => {
                (GuestWindow, "remove-hardware", gettext("_Remove Hardware…"), &["<Control><Shift>l"])
            }
            Self::MachineMenu => (GuestWindow, "menu", gettext("Window _Menu"), &["<Control><Shift>m"]),
            Self::CloseGuestWindow => (GuestWindow, "close", gettext("_Close Window"), &["<Control><Shift>w"]),
        };
        Entry { scope, name, label, accelerators }
    }

    /// Whether its action is made where its state is kept, and not from the table.
    pub fn has_state(self) -> bool {
        use Action::{
            CollapseAll, ExpandAll, FindTag, GroupByTag, Search, SelectGroup, ShowCpu, ShowDisk, ShowMemory,
            ShowNetwork, ShowScreens, SortBy, Style,
        };
        let of_groups = matches!(self, GroupByTag | SelectGroup | CollapseAll | ExpandAll);
        let of_columns = matches!(self, ShowScreens | ShowCpu | ShowMemory | ShowDisk | ShowNetwork);
        of_groups || of_columns || matches!(self, Search | SortBy | FindTag | Style)
    }

    /// The name that menus and buttons use: `scope.name`.
    pub fn detailed_name(self) -> String {
        let Entry { scope, name, .. } = self.entry();
        format!("{}.{name}", scope.prefix())
    }

    /// The label without the mnemonic's underscore: for buttons, tooltips and screen readers.
    pub fn title(self) -> String {
        self.entry().label.replace('_', "")
    }

    /// The title with the first shortcut behind it.
    pub fn tooltip(self) -> String {
        let accelerator = self.entry().accelerators.first().and_then(|text| gtk::accelerator_parse(*text));
        let title = self.title();
        match accelerator {
            Some((key, modifiers)) => format!("{title} ({})", gtk::accelerator_get_label(key, modifiers)),
            None => title,
        }
    }

    /// An entry for a menu.
    pub fn menu_item(self) -> gio::MenuItem {
        gio::MenuItem::new(Some(&self.entry().label), Some(&self.detailed_name()))
    }

    /// Makes the GIO action and adds it to `map`.
    pub fn add_to(self, map: &impl IsA<gio::ActionMap>, activate: impl Fn() + 'static) -> gio::SimpleAction {
        let action = gio::SimpleAction::new(self.entry().name, None);
        action.connect_activate(move |_, _| activate());
        map.add_action(&action);
        action
    }
}

/// Sets the shortcuts of the application's and the windows' own actions, which win over the focused widget.
pub fn install_accelerators(application: &impl IsA<gtk::Application>) {
    for action in Action::ALL {
        let entry = action.entry();
        if matches!(entry.scope, Scope::Application | Scope::MainWindow) {
            application.set_accels_for_action(&action.detailed_name(), entry.accelerators);
        }
    }
}

/// The shortcuts of a scope for one widget. The focused widget comes first, so that Delete in an entry deletes text.
pub fn shortcut_controller(scope: Scope) -> gtk::ShortcutController {
    shortcut_controller_but(scope, |_| false)
}

/// The shortcuts of a scope for one widget. Those of actions that `is_of_text` are a text's own as long as one has the keyboard.
pub fn shortcut_controller_but(scope: Scope, is_of_text: impl Fn(Action) -> bool) -> gtk::ShortcutController {
    let controller = gtk::ShortcutController::new();
    for action in Action::ALL {
        let entry = action.entry();
        if entry.scope != scope {
            continue;
        }
        for trigger in entry.accelerators.iter().filter_map(|text| gtk::ShortcutTrigger::parse_string(text)) {
            let named = gtk::NamedAction::new(&action.detailed_name());
            let acting: gtk::ShortcutAction = match is_of_text(action) {
                true => gtk::CallbackAction::new(move |widget, _| {
                    let is_done =
                        !text_has_keyboard(widget) && named.activate(gtk::ShortcutActionFlags::empty(), widget, None);
                    if is_done { glib::Propagation::Stop } else { glib::Propagation::Proceed }
                })
                .upcast(),
                false => named.upcast(),
            };
            controller.add_shortcut(gtk::Shortcut::new(Some(trigger), Some(acting)));
        }
    }
    controller
}

/// Whether a text is entered in the window of `widget`.
fn text_has_keyboard(widget: &gtk::Widget) -> bool {
    let focused = widget.root().and_then(|root| root.focus());
    focused.is_some_and(|focused| focused.is::<gtk::Text>() || focused.is::<gtk::TextView>())
}

/// Adds a shortcut for `key` to `widget`.
pub fn add_key(widget: &impl IsA<gtk::Widget>, key: gdk::Key, activate: impl Fn() + 'static) {
    add_key_with(widget, key, gdk::ModifierType::empty(), activate);
}

/// Adds a shortcut for `key` together with `modifiers` to `widget`.
pub fn add_key_with(
    widget: &impl IsA<gtk::Widget>,
    key: gdk::Key,
    modifiers: gdk::ModifierType,
    activate: impl Fn() + 'static,
) {
    let controller = gtk::ShortcutController::new();
    let action = gtk::CallbackAction::new(move |_, _| {
        activate();
        glib::Propagation::Stop
    });
    let trigger = gtk::KeyvalTrigger::new(key, modifiers);
    controller.add_shortcut(gtk::Shortcut::new(Some(trigger), Some(action)));
    widget.add_controller(controller);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_actions_share_a_name() {
        let names: HashSet<_> = Action::ALL.into_iter().map(Action::detailed_name).collect();

        assert_eq!(names.len(), Action::ALL.len());
    }

    #[test]
    fn no_two_actions_of_a_window_share_a_shortcut() {
        for guests in [false, true] {
            let mut seen = HashSet::new();
            let of_window = |action: &Action| (action.entry().scope == Scope::GuestWindow) == guests;
            for action in Action::ALL.into_iter().filter(of_window) {
                for accelerator in action.entry().accelerators {
                    assert!(seen.insert(*accelerator), "{accelerator} is there twice");
                }
            }
        }
    }
}
