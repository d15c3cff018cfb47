//! The lines of the list.

use adw::prelude::*;
use gtk::{accessible::Property, gdk};

use super::{
    lines::{Line, Node},
    rail,
};
use crate::ui::{
    actions,
    backend::{GuestView, Snapshot},
    i18n::{gettext, gettext_f},
    widgets::{
        ellipsized,
        menu::{RowRequest, action_button, menu_button},
    },
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
}

impl RowRequest for Request {
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
    let label = gettext_f("Revert to {name}", &[("name", &snapshot.name)]);
    content.append(&action_button("document-revert-symbolic", &gettext("Revert to This…"), &label, "row.revert"));
    content.append(&menu_button(row, &snapshot.name, &Request::ALL, &asked));
    let words = [snapshot.name.as_str(), &facts, &description];
    let words: Vec<_> = words.into_iter().filter(|text| !text.is_empty()).collect();
    row.update_property(&[Property::Label(&words.join(", "))]);
    actions::add_key(row, gdk::Key::Delete, {
        let asked = asked.clone();
        move || asked(Request::Delete)
    });
    actions::add_key(row, gdk::Key::F2, move || asked(Request::Edit));
}

/// What it has of the guest.
fn kind(snapshot: &Snapshot) -> String {
    match (snapshot.running, snapshot.state.is_some()) {
        (_, true) => gettext("disks and memory"),
        (true, false) => gettext("disks, taken while it ran"),
        (false, false) => gettext("disks"),
    }
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
    texts.append(&ellipsized(name, &["snapshot-name"]));
    for fact in facts.iter().filter(|fact| !fact.is_empty()) {
        texts.append(&ellipsized(fact, &["caption", "dim-label"]));
    }
    texts
}
