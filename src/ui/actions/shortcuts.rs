//! The window that lists all shortcuts, made from the table of actions.

use gtk::{glib, prelude::*};

use super::{Action, Scope};
use crate::ui::{i18n::gettext, widgets::names::name_window};

/// How many lines a column of the shortcuts window has at most: it fits onto small screens, and each section onto one page.
const SHORTCUTS_HIGH: usize = 15;

/// The window that lists all shortcuts.
pub fn shortcuts_window() -> gtk::ShortcutsWindow {
    let builder = gtk::Builder::from_string(&shortcuts_xml());
    let window: gtk::ShortcutsWindow = builder.object("shortcuts").expect("the XML made here has this object");
    let title = Action::Shortcuts.title();
    window.set_title(Some(&title));
    name_window(&window, &title);
    window
}

/// GTK 4.8 takes the contents of a shortcuts window from XML only.
fn shortcuts_xml() -> String {
    let scopes = [Scope::Application, Scope::MainWindow, Scope::Guest];
    let main = scopes.map(|scope| (scope.title(), of_scope(scope))).to_vec();
    let mut window = of_scope(Scope::GuestWindow);
    let first = window.iter().position(|action| *action == Action::ShowConsole).unwrap_or(window.len());
    let pages = window.split_off(first);
    let (window_title, pages_title) = (Scope::GuestWindow.title(), gettext("Pages of a Guest Window"));
    let sections = [
        ("main", gettext("Main Window"), main),
        ("guest-window", window_title.clone(), vec![(window_title, window)]),
        ("guest-pages", pages_title.clone(), vec![(pages_title, pages)]),
    ];
    let sections = sections.map(|(name, title, groups)| {
        let groups: String = groups.iter().map(|(title, actions)| shortcut_groups(title, actions)).collect();
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

/// The actions of a scope that have shortcuts.
fn of_scope(scope: Scope) -> Vec<Action> {
    let is_there = |action: &Action| action.entry().scope == scope && !action.entry().accelerators.is_empty();
    Action::ALL.into_iter().filter(is_there).collect()
}

/// The shortcuts of these actions, in groups that are no longer than a column.
fn shortcut_groups(title: &str, actions: &[Action]) -> String {
    let shortcut = |action: &Action| {
        let accelerators = property("accelerator", &action.entry().accelerators.join(" "));
        let title = property("title", action.title().trim_end_matches('…'));
        format!("<child><object class=\"GtkShortcutsShortcut\">{title}{accelerators}</object></child>")
    };
    let title = property("title", title);
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
