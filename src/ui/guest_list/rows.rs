//! Makes the list's rows: those of guests and the headings of groups.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use gtk::{glib, prelude::*};
use lodge::manager::guests::Guests;
use relm4::Sender;

use super::{
    GuestListMsg,
    group::{Group, GroupItem},
    heading::GroupHeading,
    item::GuestItem,
    row::GuestRow,
    view::View,
};
use crate::ui::backend::GuestId;

/// The rows of guests that are bound now: the menu points to one of them.
pub type Rows = Rc<RefCell<HashMap<GuestId, GuestRow>>>;

/// How the list is shown, for the rows that are made later.
pub type SharedView = Rc<RefCell<View>>;

/// Makes rows, which tell `list` what is asked of them.
struct Maker {
    guests: Guests,
    view: SharedView,
    list: Sender<GuestListMsg>,
    /// Rows whose place has become that of the other kind.
    spare_rows: RefCell<Vec<GuestRow>>,
    spare_headings: RefCell<Vec<GroupHeading>>,
}

impl Maker {
    fn row(&self, list_item: &gtk::ListItem) -> GuestRow {
        let child = match list_item.child().map(gtk::Widget::downcast::<GuestRow>) {
            Some(Ok(row)) => return row,
            Some(Err(other)) => other.downcast::<GroupHeading>().ok(),
            None => None,
        };
        let spare = self.spare_rows.borrow_mut().pop();
        let row = spare.unwrap_or_else(|| {
            let list = self.list.clone();
            GuestRow::new(self.guests.clone(), &self.view.borrow(), move |request| {
                list.emit(GuestListMsg::Row(request));
            })
        });
        list_item.set_child(Some(&row));
        self.spare_headings.borrow_mut().extend(child);
        row
    }

    fn heading(&self, list_item: &gtk::ListItem) -> GroupHeading {
        let child = match list_item.child().map(gtk::Widget::downcast::<GroupHeading>) {
            Some(Ok(heading)) => return heading,
            Some(Err(other)) => other.downcast::<GuestRow>().ok(),
            None => None,
        };
        let spare = self.spare_headings.borrow_mut().pop();
        let heading = spare.unwrap_or_else(|| {
            let list = self.list.clone();
            GroupHeading::new(move |folding| list.emit(GuestListMsg::Fold(folding)))
        });
        list_item.set_child(Some(&heading));
        self.spare_rows.borrow_mut().extend(child);
        heading
    }
}

/// The list's factory.
pub fn factory(
    guests: Guests,
    rows: &Rows,
    view: &SharedView,
    list: &Sender<GuestListMsg>,
) -> gtk::SignalListItemFactory {
    let factory = gtk::SignalListItemFactory::new();
    let (spare_rows, spare_headings) = Default::default();
    let maker = Maker { guests, view: view.clone(), list: list.clone(), spare_rows, spare_headings };
    let bound = rows.clone();
    factory.connect_bind(move |_, object| {
        let Some(list_item) = object.downcast_ref::<gtk::ListItem>() else { return };
        match list_item.item().map(glib::Object::downcast::<GuestItem>) {
            Some(Ok(item)) => {
                let row = maker.row(list_item);
                row.bind(&item);
                row.set_view(&maker.view.borrow());
                bound.borrow_mut().insert(item.id(), row);
            }
            Some(Err(other)) => {
                if let Ok(item) = other.downcast::<GroupItem>() {
                    maker.heading(list_item).bind(&item);
                }
            }
            None => {}
        }
    });
    let rows = rows.clone();
    factory.connect_unbind(move |_, object| {
        let Some(list_item) = object.downcast_ref::<gtk::ListItem>() else { return };
        let Some(child) = list_item.child() else { return };
        if let Some(heading) = child.downcast_ref::<GroupHeading>() {
            heading.unbind();
        }
        if let (Some(row), Some(item)) =
            (child.downcast::<GuestRow>().ok(), list_item.item().and_downcast::<GuestItem>())
        {
            row.unbind();
            // Another row may have been bound to the guest meanwhile.
            if rows.borrow().get(&item.id()) == Some(&row) {
                rows.borrow_mut().remove(&item.id());
            }
        }
    });
    factory
}

/// What a row of the list shows.
pub enum Row {
    /// A guest.
    Guest(GuestItem),
    /// A group's heading.
    Heading(GroupItem),
}

impl Row {
    /// Of the row that `widget` is in, or is, or is around.
    pub fn at(widget: &gtk::Widget) -> Option<Self> {
        let mut widget = Some(widget.clone());
        while let Some(current) = widget {
            if let Some(row) = Self::of(&current).or_else(|| Self::of(&current.first_child()?)) {
                return Some(row);
            }
            widget = current.parent();
        }
        None
    }

    fn of(widget: &gtk::Widget) -> Option<Self> {
        match widget.downcast_ref::<GuestRow>() {
            Some(row) => row.item().map(Self::Guest),
            None => widget.downcast_ref::<GroupHeading>()?.item().map(Self::Heading),
        }
    }

    /// Of the row that has the keyboard itself: not one of its buttons.
    pub fn focused(view: &gtk::ListView) -> Option<Self> {
        let row = view.focus_child().filter(|row| row.has_focus())?;
        Self::of(&row.first_child()?)
    }
}

/// The list's own widget around the heading of a group, if it is to be seen.
pub fn heading_row(view: &gtk::ListView, group: &Group) -> Option<gtk::Widget> {
    let mut row = view.first_child();
    while let Some(current) = row {
        if matches!(current.first_child().as_ref().and_then(Row::of), Some(Row::Heading(item)) if item.group() == *group)
        {
            return Some(current);
        }
        row = current.next_sibling();
    }
    None
}
