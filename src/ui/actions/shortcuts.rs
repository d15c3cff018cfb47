//! The window that lists all shortcuts, made from the table of actions.

use gtk::glib;

use super::{Action, Scope};
use crate::ui::i18n::gettext;

/// How many lines a column of the shortcuts window has at most: it fits onto small screens, and each section onto one page.
const SHORTCUTS_HIGH: usize = 15;

/// The window that lists all shortcuts.
pub fn shortcuts_window() -> gtk::ShortcutsWindow {
    let builder = gtk::Builder::from_string(&shortcuts_xml());
    builder.object("shortcuts").expect("the XML made here has this object")
}

/// GTK 4.8 takes the contents of a shortcuts window from XML only.
fn shortcuts_xml() -> String {
    let main = [Scope::Application, Scope::MainWindow, Scope::Guest];
    let sections = [
        ("main", gettext("Main Window"), main.as_slice()),
        ("guest-window", Scope::GuestWindow.title(), &[Scope::GuestWindow]),
    ];
    let sections = sections.map(|(name, title, scopes)| {
        let groups: String = scopes.iter().map(|scope| shortcut_groups(*scope)).collect();
        let (name, title) = (property("section-name", name), property("title", &title));
        let height = property("max-height", &SHORTCUTS_HIGH.to_string());
        format!("<child><object class=\"GtkShortcutsSection\">{name}{title}{height}{groups}</object></child>")
    });
    format!(
        "<interface><object class=\"GtkShortcutsWindow\" id=\"shortcuts\">{modal}{sections}</object></interface>",
        modal = property("modal", "1"),
        sections = sections.concat(),
    )
}

/// The shortcuts of a scope, in groups that are no longer than a column.
fn shortcut_groups(scope: Scope) -> String {
    let is_there = |action: &Action| action.entry().scope == scope && !action.entry().accelerators.is_empty();
    let actions: Vec<Action> = Action::ALL.into_iter().filter(is_there).collect();
    let shortcut = |action: &Action| {
        let accelerators = property("accelerator", &action.entry().accelerators.join(" "));
        let title = property("title", action.title().trim_end_matches('…'));
        format!("<child><object class=\"GtkShortcutsShortcut\">{title}{accelerators}</object></child>")
    };
    let title = property("title", &scope.title());
    let group = |shortcuts: &[Action]| {
        let shortcuts: String = shortcuts.iter().map(shortcut).collect();
        format!("<child><object class=\"GtkShortcutsGroup\">{title}{shortcuts}</object></child>")
    };
    actions.chunks(SHORTCUTS_HIGH - 2).map(group).collect()
}

/// A property of an object in GTK's XML.
fn property(name: &str, value: &str) -> String {
    format!("<property name=\"{name}\">{}</property>", glib::markup_escape_text(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_with_a_shortcut_is_in_the_shortcuts_window() {
        let xml = shortcuts_xml();

        for action in Action::ALL.into_iter().filter(|action| !action.entry().accelerators.is_empty()) {
            let title = action.title();
            assert!(xml.contains(title.trim_end_matches('…')), "{title} is missing");
        }
    }
}
