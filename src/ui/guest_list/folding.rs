//! Collapsing and expanding groups of the list, by keys, menu and pointer.

use gtk::{gdk, glib, prelude::*};
use relm4::{ComponentSender, Sender};

use super::{
    GuestList, GuestListMsg, GuestListOutput,
    group::{Folding, GroupItem},
    menu,
    rows::{self, Row},
};

/// Left collapses the group that has the keyboard, Right expands it; from right to left it is the other way round.
pub fn keys(view: &gtk::ListView, list: &Sender<GuestListMsg>) -> gtk::EventControllerKey {
    // The list itself does nothing with these keys and takes them all the same.
    let keys = gtk::EventControllerKey::builder().propagation_phase(gtk::PropagationPhase::Capture).build();
    let (list, view) = (list.clone(), view.downgrade());
    keys.connect_key_pressed(move |_, key, _, modifiers| {
        let Some(view) = view.upgrade() else { return glib::Propagation::Proceed };
        let left = match key {
            gdk::Key::Left | gdk::Key::KP_Left => true,
            gdk::Key::Right | gdk::Key::KP_Right => false,
            _ => return glib::Propagation::Proceed,
        };
        let plain = !modifiers.intersects(gtk::accelerator_get_default_mod_mask());
        if !plain || Row::focused(&view).is_none() {
            return glib::Propagation::Proceed;
        }
        list.emit(GuestListMsg::FoldHere { collapse: left == (view.direction() != gtk::TextDirection::Rtl) });
        glib::Propagation::Stop
    });
    keys
}

impl GuestList {
    /// Collapses or expands, and has it remembered.
    pub(super) fn fold(&mut self, folding: Folding, sender: &ComponentSender<Self>) {
        self.model.fold(folding);
        self.remember_folding(sender);
    }

    /// Does what Left or Right means where the keyboard is: a guest's group is left for its heading first.
    pub(super) fn fold_here(&mut self, collapse: bool, view: &gtk::ListView, sender: &ComponentSender<Self>) {
        match Row::focused(view) {
            Some(Row::Heading(heading)) if collapse == heading.shown().collapsed => {}
            Some(Row::Heading(heading)) if collapse => self.fold(Folding::Collapse(heading.group()), sender),
            Some(Row::Heading(heading)) => self.fold(Folding::Expand(heading.group()), sender),
            Some(Row::Guest(item)) if collapse => {
                let group = item.group().clone();
                if let Some(position) = self.model.select_heading(&group) {
                    scroll_to(view, position);
                    focus_heading(view, group);
                }
            }
            Some(Row::Guest(_)) | None => {}
        }
    }

    /// The heading that is selected while no guest is.
    pub(super) fn selected_heading(&self) -> Option<GroupItem> {
        let selected = self.model.selection.selection();
        let heading = self.model.heading_at(selected.minimum());
        heading.filter(|_| selected.size() == 1)
    }

    /// Opens the menu of the heading that is selected.
    pub(super) fn menu_of_heading(&self, view: &gtk::ListView) {
        let row = self.selected_heading().and_then(|heading| rows::heading_row(view, &heading.group()));
        if let Some(bounds) = row.and_then(|row| row.compute_bounds(view)) {
            menu::popup_of_group(view, super::rectangle(&bounds));
        }
    }

    /// Has it remembered how the list is shown.
    pub(super) fn tell_view(&self, sender: &ComponentSender<Self>) {
        let _ = sender.output(GuestListOutput::View(self.view.borrow().clone()));
    }

    /// Has it remembered which groups are collapsed.
    pub(super) fn remember_folding(&mut self, sender: &ComponentSender<Self>) {
        if self.view.borrow().collapsed != *self.model.collapsed() {
            self.view.borrow_mut().collapsed = self.model.collapsed().clone();
            self.tell_view(sender);
        }
    }
}

/// Has a row be seen. GTK 4.8's list views scroll to an item by this action only.
pub fn scroll_to(view: &gtk::ListView, position: u32) {
    let _ = view.activate_action("list.scroll-to-item", Some(&position.to_variant()));
}

/// Gives the keyboard to a heading, once the list has made its row.
fn focus_heading(view: &gtk::ListView, group: super::group::Group) {
    let view = view.downgrade();
    glib::idle_add_local_once(move || {
        if let Some(row) = view.upgrade().and_then(|view| rows::heading_row(&view, &group)) {
            row.grab_focus();
        }
    });
}
