//! Menus: that of a row in a list, with what can be done with the thing that the row stands for, and one where the pointer is.

use gtk::{accessible::Property, gdk, gio, glib, prelude::*};

use crate::ui::{
    actions,
    i18n::{gettext, gettext_f},
};

/// Something that can be asked for such a thing.
pub trait RowRequest: Copy + 'static {
    /// The name of its action, `row.name`.
    fn name(self) -> &'static str;

    /// What the menu calls it, with a mnemonic.
    fn label(self) -> String;
}

/// A button with a menu of `requests` for the row of the thing called `name`, also opened by the Menu key there. The
/// requests are actions `row.…` of the row. `asked` is told which one is chosen.
pub fn menu_button<R: RowRequest>(
    row: &impl IsA<gtk::Widget>,
    name: &str,
    requests: &[R],
    asked: &(impl Fn(R) + Clone + 'static),
) -> gtk::MenuButton {
    let (menu, group) = (gio::Menu::new(), gio::SimpleActionGroup::new());
    for &request in requests {
        menu.append(Some(&request.label()), Some(&format!("row.{}", request.name())));
        let action = gio::SimpleAction::new(request.name(), None);
        let asked = asked.clone();
        action.connect_activate(move |_, _| asked(request));
        group.add_action(&action);
    }
    row.insert_action_group("row", Some(&group));
    let button = gtk::MenuButton::builder()
        .icon_name("view-more-symbolic")
        .tooltip_text(gettext("Menu"))
        .menu_model(&menu)
        .css_classes(["flat", "circular"])
        .valign(gtk::Align::Center)
        .build();
    button.update_property(&[Property::Label(&gettext_f("Menu of {name}", &[("name", name)]))]);
    let opened = button.downgrade();
    actions::add_key(row, gdk::Key::Menu, move || {
        if let Some(button) = opened.upgrade() {
            button.popup();
        }
    });
    button
}

/// A round button in a row that does `action`, one of the row's.
pub fn action_button(icon: &str, tooltip: &str, label: &str, action: &str) -> gtk::Button {
    let button = gtk::Button::builder()
        .icon_name(icon)
        .tooltip_text(tooltip)
        .action_name(action)
        .css_classes(["flat", "circular"])
        .valign(gtk::Align::Center)
        .build();
    button.update_property(&[Property::Label(label)]);
    button
}

/// Opens a menu of `model`, pointing at `place` in `list`.
pub fn popup(list: &impl IsA<gtk::Widget>, place: &gdk::Rectangle, model: &gio::Menu) {
    let menu = gtk::PopoverMenu::from_model(Some(model));
    menu.set_parent(list);
    // The last row is not the list's last child any more, which the style sheet has to know.
    list.add_css_class("with-menu");
    menu.set_has_arrow(false);
    menu.set_pointing_to(Some(place));
    menu.set_position(gtk::PositionType::Bottom);
    menu.set_halign(gtk::Align::Start);
    // The menu's action is activated after it has closed, so its parent is taken from it only then.
    let list = list.downgrade();
    menu.connect_closed(move |menu| {
        let (menu, list) = (menu.clone(), list.clone());
        glib::idle_add_local_once(move || {
            if let Some(list) = list.upgrade() {
                list.remove_css_class("with-menu");
                // GTK gives the keyboard back to the menu's parent with the next frame, when it has none any more, and now and then
                // to the first button of the window.
                let focus = list.root().and_then(|root| root.focus());
                if list.is_mapped() && !focus.is_some_and(|focus| focus.is_ancestor(&list) && !focus.is_ancestor(&menu))
                {
                    list.grab_focus();
                }
            }
            menu.unparent();
        });
    });
    // GTK puts the separators between the sections when it is idle, and gives a menu that is open no more room for them.
    glib::idle_add_local_once(move || menu.popup());
}
