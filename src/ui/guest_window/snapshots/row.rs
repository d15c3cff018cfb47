//! The lines of the list.

use adw::prelude::*;
use gtk::{accessible::Property, gdk, gio, pango};

use super::{
    lines::{Line, Node},
    rail,
};
use crate::ui::{
    actions,
    backend::{GuestView, Snapshot},
    i18n::{gettext, gettext_f},
    wording,
};

/// The width of a picture in the list, and the height of what stands for one, in logical pixels.
const PICTURE: (i32, i32) = (80, 50);

/// What a person can ask for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Go back to it.
    Revert,
    /// Change its name and description, and see its picture.
    Edit,
    /// Delete it.
    Delete,
}

impl Request {
    const ALL: [Self; 3] = [Self::Revert, Self::Edit, Self::Delete];

    fn name(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Edit => "edit",
            Self::Delete => "delete",
        }
    }

    fn label(self) -> String {
        match self {
            Self::Revert => gettext("_Revert to This…"),
            Self::Edit => gettext("Re_name and Describe…"),
            Self::Delete => gettext("_Delete…"),
        }
    }
}

/// What the line of a snapshot needs to know.
pub struct Shown<'a> {
    /// Whose snapshots they are.
    pub guest: &'a GuestView,
    /// The snapshot's picture.
    pub picture: Option<&'a gdk::Texture>,
    /// Seconds since 1970.
    pub now: u64,
}

/// The row of a line. `asked` is called with what a person asks for it.
pub fn row(line: &Line<'_>, shown: &Shown<'_>, asked: impl Fn(Request) + Clone + 'static) -> gtk::ListBoxRow {
    let content = gtk::Box::builder().spacing(12).css_classes(["snapshot"]).build();
    content.append(&rail::area(line.rail.clone(), line.node == Node::Now));
    let row = gtk::ListBoxRow::builder().child(&content).build();
    row.update_property(&[Property::Level(i32::try_from(line.rail.column()).unwrap_or(0) + 1)]);
    match line.node {
        Node::Now => fill_now(&row, &content, shown),
        Node::Snapshot(snapshot) => fill(&row, &content, snapshot, shown, asked),
    }
    row
}

fn fill_now(row: &gtk::ListBoxRow, content: &gtk::Box, shown: &Shown<'_>) {
    let state = wording::state(&shown.guest.state);
    content.append(&texts(&gettext("Now"), &[&state]));
    content.add_css_class("now");
    row.set_activatable(false);
    row.update_property(&[Property::Label(&gettext_f("Now: {state}", &[("state", &state)]))]);
}

fn fill(
    row: &gtk::ListBoxRow,
    content: &gtk::Box,
    snapshot: &Snapshot,
    shown: &Shown<'_>,
    asked: impl Fn(Request) + Clone + 'static,
) {
    let when = wording::moment(snapshot.created, shown.now);
    let facts = format!("{when} · {}", kind(snapshot));
    let description = snapshot.description.replace('\n', " ");
    content.append(&picture(shown.picture));
    content.append(&texts(&snapshot.name, &[&facts, &description]));
    let name = [("name", snapshot.name.as_str())];
    let revert = gtk::Button::builder()
        .icon_name("document-revert-symbolic")
        .tooltip_text(gettext("Revert to This…"))
        .action_name("snapshot.revert")
        .css_classes(["flat", "circular"])
        .valign(gtk::Align::Center)
        .build();
    revert.update_property(&[Property::Label(&gettext_f("Revert to {name}", &name))]);
    let menu = gtk::MenuButton::builder()
        .icon_name("view-more-symbolic")
        .tooltip_text(gettext("Menu"))
        .menu_model(&menu())
        .css_classes(["flat", "circular"])
        .valign(gtk::Align::Center)
        .build();
    menu.update_property(&[Property::Label(&gettext_f("Menu of {name}", &name))]);
    content.append(&revert);
    content.append(&menu);
    let words = [snapshot.name.as_str(), &facts, &description];
    let words: Vec<_> = words.into_iter().filter(|text| !text.is_empty()).collect();
    row.update_property(&[Property::Label(&words.join(", "))]);

    let group = gio::SimpleActionGroup::new();
    for request in Request::ALL {
        let action = gio::SimpleAction::new(request.name(), None);
        let asked = asked.clone();
        action.connect_activate(move |_, _| asked(request));
        group.add_action(&action);
    }
    row.insert_action_group("snapshot", Some(&group));
    actions::add_key(row, gdk::Key::Delete, {
        let asked = asked.clone();
        move || asked(Request::Delete)
    });
    actions::add_key(row, gdk::Key::F2, move || asked(Request::Edit));
    actions::add_key(row, gdk::Key::Menu, move || menu.popup());
}

/// What it has of the guest.
fn kind(snapshot: &Snapshot) -> String {
    match (snapshot.running, snapshot.state.is_some()) {
        (_, true) => gettext("disks and memory"),
        (true, false) => gettext("disks, taken while it ran"),
        (false, false) => gettext("disks"),
    }
}

fn menu() -> gio::Menu {
    let menu = gio::Menu::new();
    for request in Request::ALL {
        menu.append(Some(&request.label()), Some(&format!("snapshot.{}", request.name())));
    }
    menu
}

fn picture(texture: Option<&gdk::Texture>) -> gtk::Widget {
    let frame = adw::Bin::builder().css_classes(["snapshot-picture"]).valign(gtk::Align::Center).build();
    frame.set_overflow(gtk::Overflow::Hidden);
    match texture {
        Some(texture) => {
            let picture = gtk::Picture::for_paintable(texture);
            picture.set_accessible_role(gtk::AccessibleRole::Presentation);
            frame.set_child(Some(&picture));
        }
        None => {
            let icon = gtk::Image::builder().icon_name("drive-harddisk-symbolic").height_request(PICTURE.1).build();
            icon.set_accessible_role(gtk::AccessibleRole::Presentation);
            frame.set_child(Some(&icon));
        }
    }
    frame.set_size_request(PICTURE.0, -1);
    // A picture would else take the room that it has by itself.
    let clamp = adw::Clamp::builder().maximum_size(PICTURE.0).tightening_threshold(PICTURE.0).child(&frame).build();
    clamp.upcast()
}

/// A name, and what is to be said of it below.
fn texts(name: &str, facts: &[&str]) -> gtk::Box {
    let texts = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(2).hexpand(true).build();
    texts.set_valign(gtk::Align::Center);
    texts.append(&label(name, &["snapshot-name"]));
    for fact in facts.iter().filter(|fact| !fact.is_empty()) {
        texts.append(&label(fact, &["caption", "dim-label"]));
    }
    texts
}

fn label(text: &str, classes: &[&str]) -> gtk::Label {
    let label = gtk::Label::builder().label(text).xalign(0.0).ellipsize(pango::EllipsizeMode::End).build();
    label.set_css_classes(classes);
    // What does not fit can be read all the same.
    label.set_has_tooltip(true);
    label.connect_query_tooltip(|label, _, _, _, tooltip| {
        tooltip.set_text(Some(&label.label()));
        label.layout().is_ellipsized()
    });
    label
}
