//! The help: a window with a page for each topic, which needs no other program and no network.

mod pages;

use adw::prelude::*;
use gtk::{accessible::Property, gdk, pango};

use crate::ui::{
    actions::{self, Action},
    i18n::gettext,
};
pub use pages::Topic;
use pages::{Page, Part, pages};

/// The name by which the window is found again.
const NAME: &str = "help";

/// Shows the page about `topic`, over `parent` unless the help is open already.
pub fn present(parent: Option<&gtk::Window>, topic: Topic) {
    if let Some(open) = relm4::main_application().windows().into_iter().find(|window| window.widget_name() == NAME) {
        return open.present();
    }
    let (window, chosen) = window(topic);
    window.set_transient_for(parent);
    window.present();
    if let Some(row) = chosen {
        row.grab_focus();
    }
}

/// The window, and the entry of the topic.
fn window(topic: Topic) -> (adw::Window, Option<gtk::ListBoxRow>) {
    let pages = pages();
    let list = gtk::ListBox::builder().css_classes(["navigation-sidebar"]).build();
    list.update_property(&[Property::Label(&gettext("Topics"))]);
    // Pages that are not shown do not make the window larger.
    let stack = gtk::Stack::builder().hexpand(true).vhomogeneous(false).build();
    for page in &pages {
        list.append(&entry(page));
        stack.add_named(&content(page), Some(&page.title));
    }
    let topics = gtk::ScrolledWindow::builder()
        .child(&list)
        .hscrollbar_policy(gtk::PolicyType::Never)
        .width_request(250)
        .build();
    stack.set_width_request(340);
    let leaflet = adw::Leaflet::builder().can_navigate_back(true).vexpand(true).build();
    leaflet.append(&topics);
    leaflet.append(&gtk::Separator::new(gtk::Orientation::Vertical)).set_navigatable(false);
    leaflet.append(&stack);
    let back = gtk::Button::builder().icon_name("go-previous-symbolic").tooltip_text(gettext("Topics")).build();
    back.update_property(&[Property::Label(&gettext("Topics"))]);
    let header = adw::HeaderBar::new();
    header.pack_start(&back);
    let whole = gtk::Box::builder().orientation(gtk::Orientation::Vertical).build();
    whole.append(&header);
    whole.append(&leaflet);
    let window = adw::Window::builder()
        .title(Action::Help.title())
        .name(NAME)
        .destroy_with_parent(true)
        .default_width(800)
        .default_height(600)
        .content(&whole)
        .build();

    let returns = leaflet.clone();
    back.connect_clicked(move |_| _ = returns.navigate(adw::NavigationDirection::Back));
    let show_back = move |leaflet: &adw::Leaflet| {
        let on_page = leaflet.visible_child().is_some_and(|child| child.is::<gtk::Stack>());
        back.set_visible(leaflet.is_folded() && on_page);
    };
    show_back(&leaflet);
    leaflet.connect_folded_notify(show_back.clone());
    leaflet.connect_visible_child_notify(show_back);
    let first = pages.iter().position(|page| page.topic == topic).unwrap_or_default();
    let titles = pages.map(|page| page.title);
    let turned = stack.clone();
    list.connect_row_selected(move |_, row| {
        if let Some(title) = row.and_then(|row| titles.get(usize::try_from(row.index()).ok()?)) {
            turned.set_visible_child_name(title);
        }
    });
    // Where only one fits, a page is turned to by a press.
    list.connect_row_activated(move |_, _| leaflet.set_visible_child(&stack));
    let row = list.row_at_index(first as i32);
    list.select_row(row.as_ref());
    let closed = window.downgrade();
    actions::add_key(&window, gdk::Key::Escape, move || {
        if let Some(window) = closed.upgrade() {
            window.close();
        }
    });
    (window, row)
}

/// A topic in the list.
fn entry(page: &Page) -> gtk::ListBoxRow {
    let icon = gtk::Image::builder().icon_name(page.icon).build();
    icon.set_accessible_role(gtk::AccessibleRole::Presentation);
    let title = gtk::Label::builder().label(&page.title).xalign(0.0).ellipsize(pango::EllipsizeMode::End).build();
    let line = gtk::Box::builder().spacing(12).margin_top(6).margin_bottom(6).build();
    line.append(&icon);
    line.append(&title);
    let row = gtk::ListBoxRow::builder().child(&line).tooltip_text(&page.title).build();
    row.update_property(&[Property::Label(&page.title)]);
    row
}

fn content(page: &Page) -> gtk::ScrolledWindow {
    let column = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(12).build();
    column.append(&text(&page.title, &["title-2"]));
    for part in &page.parts {
        match part {
            Part::Text(words) => column.append(&text(words, &[])),
            Part::Steps(steps) => {
                for (index, step) in steps.iter().enumerate() {
                    let number = gtk::Label::builder()
                        .label(format!("{}.", index + 1))
                        .css_classes(["heading", "dim-label"])
                        .valign(gtk::Align::Start)
                        .width_chars(2)
                        .build();
                    let line = gtk::Box::builder().spacing(6).build();
                    line.append(&number);
                    line.append(&text(step, &[]));
                    column.append(&line);
                }
            }
            Part::Commands(commands) => {
                let commands = text(commands, &["monospace", "card", "help-commands"]);
                // They are read from left to right in every language.
                commands.set_direction(gtk::TextDirection::Ltr);
                column.append(&commands);
            }
        }
    }
    let clamp = adw::Clamp::builder().child(&column).maximum_size(560).build();
    clamp.set_margin_top(24);
    clamp.set_margin_bottom(24);
    clamp.set_margin_start(18);
    clamp.set_margin_end(18);
    gtk::ScrolledWindow::builder().child(&clamp).hscrollbar_policy(gtk::PolicyType::Never).build()
}

/// A paragraph, which can be copied. The keyboard goes from topic to topic, not through all paragraphs.
fn text(words: &str, classes: &[&str]) -> gtk::Label {
    gtk::Label::builder()
        .label(words)
        .css_classes(classes.to_vec())
        .wrap(true)
        .wrap_mode(pango::WrapMode::WordChar)
        .xalign(0.0)
        .hexpand(true)
        .selectable(true)
        .focusable(false)
        .build()
}
