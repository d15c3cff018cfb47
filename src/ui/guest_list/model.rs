//! The list's model: of all guests in an order those that the search finds, under the headings of their groups or without,
//! and of these rows the selected ones.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap, HashSet},
};

use gtk::{gio, glib, prelude::*};

use super::{
    group::{Folding, Group, GroupItem, Groups},
    item::GuestItem,
    order::Order,
    query::Query,
};
use crate::ui::backend::{GuestChange, GuestId, GuestView};

/// The model.
pub struct GuestModel {
    items: HashMap<GuestId, GuestItem>,
    /// All of them in their order.
    sorted: Vec<GuestItem>,
    query: Query,
    order: Order,
    /// The groups that they were in last, and whether the list shows them.
    groups: Groups,
    grouped: bool,
    /// What the list shows: guests and headings.
    rows: gio::ListStore,
    /// Which of the rows are selected.
    pub selection: gtk::MultiSelection,
}

impl GuestModel {
    /// A model without guests, which will be in this order, under headings if `grouped`.
    pub fn new(order: Order, grouped: bool, collapsed: BTreeSet<String>) -> Self {
        let rows = gio::ListStore::new::<glib::Object>();
        let selection = gtk::MultiSelection::new(Some(rows.clone()));
        let (items, sorted, query, groups) = (HashMap::new(), Vec::new(), Query::default(), Groups::new(collapsed));
        Self { items, sorted, query, order, groups, grouped, rows, selection }
    }

    /// Takes over changes. Those that come together, as the first ones do, change the list in one step: a thousand single
    /// insertions would be a thousand layouts.
    pub fn apply(&mut self, changes: Vec<GuestChange>) {
        let mut moved = false;
        for change in changes {
            match change {
                GuestChange::Added(view) | GuestChange::Changed(view) => moved |= self.take_over(view),
                GuestChange::Removed(id) => {
                    if let Some(item) = self.items.remove(&id) {
                        self.sorted.retain(|other| *other != item);
                        moved = true;
                    }
                }
                GuestChange::TurnsItselfOff(_) => {}
                GuestChange::Statistics => self.tell_sampled(),
            }
        }
        if moved {
            self.arrange();
        }
    }

    /// Takes over what is known of a guest. Whether it may stand elsewhere now.
    fn take_over(&mut self, view: GuestView) -> bool {
        if let Some(item) = self.items.get(&view.id) {
            let moves = {
                let before = item.view();
                before.name != view.name
                    || tags(&before) != tags(&view)
                    || self.order.place(&before) != self.order.place(&view)
            };
            item.set_view(view);
            return moves;
        }
        let item = GuestItem::new(view);
        self.items.insert(item.id(), item.clone());
        self.sorted.push(item);
        true
    }

    fn tell_sampled(&self) {
        self.items.values().filter(|item| item.view().state.is_active()).for_each(GuestItem::tell_sampled);
    }

    /// How many guests there are, found or not.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// How many rows the list shows.
    pub fn shown(&self) -> u32 {
        self.rows.n_items()
    }

    /// Which groups are collapsed.
    pub fn collapsed(&self) -> &BTreeSet<String> {
        self.groups.collapsed()
    }

    /// The guest of that identity.
    pub fn get(&self, id: &GuestId) -> Option<&GuestItem> {
        self.items.get(id)
    }

    /// Every tag that a guest has, in order. Of those that differ in case there is one.
    pub fn tags(&self) -> Vec<String> {
        let mut tags = Vec::new();
        for item in self.items.values() {
            if let Ok(definition) = &item.view().definition {
                tags.extend(definition.tags.iter().map(|tag| (tag.to_lowercase(), tag.clone())));
            }
        }
        tags.sort();
        tags.dedup_by(|one, other| one.0 == other.0);
        tags.into_iter().map(|(_, tag)| tag).collect()
    }

    /// The selected guests.
    pub fn selected(&self) -> Vec<GuestItem> {
        let selected = self.selection.selection();
        let count = u32::try_from(selected.size()).unwrap_or(u32::MAX);
        (0..count).filter_map(|index| self.selection.item(selected.nth(index)).and_downcast()).collect()
    }

    /// Selects that guest and no other, if the search finds it. Its group is expanded. Returns its place in the list.
    pub fn select(&mut self, id: &GuestId) -> Option<u32> {
        let item = self.items.get(id)?.clone();
        if self.grouped && self.groups.is_collapsed(&item.group()) {
            let group = item.group().clone();
            self.fold(Folding::Expand(group));
        }
        self.select_row(item.upcast_ref())
    }

    /// Selects the heading of a group and nothing else. Returns its place in the list.
    pub fn select_heading(&self, group: &Group) -> Option<u32> {
        self.select_row(self.groups.heading(group)?.upcast_ref())
    }

    /// Selects the guests of a group and no others.
    pub fn select_group(&mut self, group: &Group) {
        self.fold(Folding::Expand(group.clone()));
        let members = self.positions(|row| row.downcast_ref::<GuestItem>().is_some_and(|item| *item.group() == *group));
        self.selection.set_selection(&members, &gtk::Bitset::new_range(0, self.shown()));
    }

    /// The heading that is listed there, if it is one.
    pub fn heading_at(&self, position: u32) -> Option<GroupItem> {
        self.rows.item(position).and_downcast()
    }

    fn select_row(&self, row: &glib::Object) -> Option<u32> {
        let position = self.rows.find(row)?;
        self.selection.select_item(position, true);
        Some(position)
    }

    /// Shows only the guests that are found by what was entered.
    pub fn search(&mut self, text: &str) {
        let query = Query::parse(text);
        if query != self.query {
            self.query = query;
            self.arrange();
        }
    }

    /// Lists the guests in another order.
    pub fn set_order(&mut self, order: Order) {
        self.order = order;
        self.arrange();
    }

    /// Lists the guests under headings, or without.
    pub fn set_grouped(&mut self, grouped: bool) {
        self.grouped = grouped;
        self.arrange();
    }

    /// Collapses or expands groups, which all are open while something is searched for.
    pub fn fold(&mut self, folding: Folding) {
        if self.query.is_empty() {
            self.groups.fold(folding);
            self.arrange();
        }
    }

    /// Sorts the guests anew and changes the rows that differ. The same guests stay selected; where none of them is left, the
    /// next one is.
    fn arrange(&mut self) {
        let (order, grouped) = (self.order, self.grouped);
        self.sorted.sort_by(|a, b| match grouped {
            true => a.group().cmp(&b.group()).then_with(|| compare(order, a, b)),
            false => compare(order, a, b),
        });
        let found = self.sorted.iter().filter(|item| item.is_found_by(&self.query));
        let rows: Vec<glib::Object> = match grouped {
            false => found.map(|item| item.clone().upcast()).collect(),
            true => {
                let found: Vec<GuestItem> = found.cloned().collect();
                self.groups.divide(&found, !self.query.is_empty())
            }
        };
        let selected = self.selection.selection();
        let before: HashSet<glib::Object> = (0..self.shown())
            .filter(|position| selected.contains(*position))
            .filter_map(|position| self.selection.item(position))
            .collect();
        let was_empty = self.shown() == 0;
        self.show(&rows);
        let mut wanted = self.positions(|row| before.contains(row));
        if wanted.is_empty() && (was_empty || !before.is_empty()) {
            let first = if was_empty { 0 } else { selected.minimum() };
            wanted = self.nearest_guest(first);
        }
        if !wanted.equals(&self.selection.selection()) {
            self.selection.set_selection(&wanted, &gtk::Bitset::new_range(0, self.shown()));
        }
    }

    /// Replaces what differs, in one step.
    fn show(&self, rows: &[glib::Object]) {
        let before: Vec<glib::Object> = self.rows.iter().filter_map(Result::ok).collect();
        let same = before.iter().zip(rows).take_while(|(one, other)| one == other).count();
        let (before, rows) = (&before[same..], &rows[same..]);
        let after = before.iter().rev().zip(rows.iter().rev()).take_while(|(one, other)| one == other).count();
        let (removed, added) = (before.len() - after, &rows[..rows.len() - after]);
        if removed > 0 || !added.is_empty() {
            self.rows.splice(number(same), number(removed), added);
        }
    }

    /// The place of the guest that is listed nearest to this one, preferably below it.
    fn nearest_guest(&self, position: u32) -> gtk::Bitset {
        let is_guest = |position: &u32| self.rows.item(*position).is_some_and(|row| row.is::<GuestItem>());
        let position = position.min(self.shown().saturating_sub(1));
        let nearest = (position..self.shown()).find(is_guest).or_else(|| (0..position).rev().find(is_guest));
        nearest.map_or_else(gtk::Bitset::new_empty, |place| gtk::Bitset::new_range(place, 1))
    }

    fn positions(&self, wanted: impl Fn(&glib::Object) -> bool) -> gtk::Bitset {
        let positions = gtk::Bitset::new_empty();
        for position in (0..self.shown()).filter(|position| self.rows.item(*position).is_some_and(|row| wanted(&row))) {
            positions.add(position);
        }
        positions
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn tags(view: &GuestView) -> Option<&Vec<String>> {
    view.definition.as_ref().ok().map(|definition| &definition.tags)
}

fn compare(order: Order, a: &GuestItem, b: &GuestItem) -> Ordering {
    let places = order.place(&a.view()).cmp(&order.place(&b.view()));
    places.then_with(|| a.sort_key().cmp(&b.sort_key())).then_with(|| a.name().cmp(&b.name()))
}

#[cfg(test)]
mod tests;
