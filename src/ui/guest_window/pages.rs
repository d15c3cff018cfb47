//! The pages of a guest's window, and the buttons that turn to them.

use adw::prelude::*;
use gtk::accessible::Property;

use crate::ui::actions::Action;

/// The guest's screen.
pub const CONSOLE: &str = "console";
/// Its serial ports.
pub const SERIAL: &str = "serial";
/// Its snapshots.
pub const SNAPSHOTS: &str = "snapshots";
/// What it uses.
pub const PERFORMANCE: &str = "performance";
/// What it consists of.
pub const DETAILS: &str = "details";

/// The pages by name, with what their buttons show.
const PAGES: [(&str, Action, &str); 5] = [
    (CONSOLE, Action::ShowConsole, "video-display-symbolic"),
    (SERIAL, Action::ShowSerial, "utilities-terminal-symbolic"),
    (SNAPSHOTS, Action::ShowSnapshots, "document-open-recent-symbolic"),
    (PERFORMANCE, Action::ShowPerformance, "power-profile-performance-symbolic"),
    (DETAILS, Action::ShowDetails, "document-properties-symbolic"),
];

/// The pages, one above the other.
pub fn pages(widgets: [&gtk::Widget; PAGES.len()]) -> adw::ViewStack {
    // Pages that are not shown are not measured: a window has many, and opens with one.
    let stack = adw::ViewStack::builder().hhomogeneous(false).vhomogeneous(false).build();
    for ((name, action, _), widget) in PAGES.into_iter().zip(widgets) {
        stack.add_titled(widget, Some(name), &action.title());
    }
    stack
}

/// One button a page, so that the title keeps its place for the guest's name.
pub fn page_switcher(stack: &adw::ViewStack) -> gtk::Box {
    let switcher = gtk::Box::builder().css_classes(["linked"]).build();
    let buttons = PAGES.map(|(name, action, icon)| {
        let button = gtk::ToggleButton::builder().icon_name(icon).tooltip_text(action.tooltip()).build();
        button.update_property(&[Property::Label(&action.title())]);
        let stack = stack.clone();
        button.connect_clicked(move |button| {
            stack.set_visible_child_name(name);
            // A press on the button of the page that is shown turns to no other one.
            button.set_active(true);
        });
        switcher.append(&button);
        (name, button)
    });
    let show = move |stack: &adw::ViewStack| {
        let visible = stack.visible_child_name();
        buttons.iter().for_each(|(name, button)| button.set_active(visible.as_deref() == Some(name)));
    };
    show(stack);
    stack.connect_visible_child_notify(show);
    switcher
}
