//! The list's model: all guests sorted by name, and of these the ones that the search finds.

use std::{cell::RefCell, cmp::Ordering, collections::HashMap, rc::Rc};

use gtk::{gio, prelude::*};

use super::item::GuestItem;
use crate::ui::backend::{GuestChange, GuestId, GuestView};

/// The model.
pub struct GuestModel {
    store: gio::ListStore,
    items: HashMap<GuestId, GuestItem>,
    filter: gtk::CustomFilter,
    needle: Rc<RefCell<String>>,
    /// What the list shows of it and which of these is selected.
    pub selection: gtk::SingleSelection,
}

impl Default for GuestModel {
    fn default() -> Self {
        let store = gio::ListStore::new::<GuestItem>();
        let needle = Rc::new(RefCell::new(String::new()));
        let filter = gtk::CustomFilter::new({
            let needle = needle.clone();
            move |object| object.downcast_ref::<GuestItem>().is_some_and(|item| item.matches(&needle.borrow()))
        });
        let found = gtk::FilterListModel::new(Some(store.clone()), Some(filter.clone()));
        let selection = gtk::SingleSelection::builder().model(&found).autoselect(true).build();
        Self { store, items: HashMap::new(), filter, needle, selection }
    }
}

impl GuestModel {
    /// Takes over changes. Those that come together, as the first ones do, are added in one step: a thousand single
    /// insertions would be a thousand layouts.
    pub fn apply(&mut self, changes: Vec<GuestChange>) {
        let mut added = Vec::new();
        for change in changes {
            match change {
                GuestChange::Added(view) | GuestChange::Changed(view) => match self.items.get(&view.id).cloned() {
                    Some(item) => self.update(&item, view),
                    None => {
                        let item = GuestItem::new(view);
                        self.items.insert(item.id(), item.clone());
                        added.push(item);
                    }
                },
                GuestChange::Removed(id) => {
                    added.retain(|item: &GuestItem| item.id() != id);
                    self.remove(&id);
                }
                GuestChange::Statistics => {
                    self.items.values().filter(|item| item.view().state.is_active()).for_each(GuestItem::tell_sampled);
                }
            }
        }
        match added.as_slice() {
            [] => {}
            [item] => self.insert(item),
            _ => self.insert_all(added),
        }
    }

    /// How many guests there are, found or not.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// How many guests the search has found.
    pub fn found(&self) -> u32 {
        self.selection.n_items()
    }

    /// The guest of that identity.
    #[cfg(test)]
    pub fn get(&self, id: &GuestId) -> Option<&GuestItem> {
        self.items.get(id)
    }

    /// The selected guest.
    pub fn selected(&self) -> Option<GuestItem> {
        self.selection.selected_item().and_downcast()
    }

    /// Selects that guest, if the search finds it. Returns its place in the list.
    pub fn select(&self, id: &GuestId) -> Option<u32> {
        let position = (0..self.selection.n_items()).find(|&index| self.id_at(index).as_ref() == Some(id))?;
        self.selection.set_selected(position);
        Some(position)
    }

    /// Shows only the guests whose names contain `text`.
    pub fn search(&self, text: &str) {
        let needle = text.trim().to_lowercase();
        let before = self.needle.replace(needle.clone());
        let change = if needle.starts_with(&before) {
            gtk::FilterChange::MoreStrict
        } else if before.starts_with(&needle) {
            gtk::FilterChange::LessStrict
        } else {
            gtk::FilterChange::Different
        };
        if needle != before {
            self.filter.changed(change);
        }
    }

    fn id_at(&self, position: u32) -> Option<GuestId> {
        self.selection.item(position).and_downcast::<GuestItem>().map(|item| item.id())
    }

    fn update(&mut self, item: &GuestItem, view: GuestView) {
        if item.set_view(view)
            && let Some(position) = self.store.find(item)
        {
            let selected = self.selected().as_ref() == Some(item);
            self.store.remove(position);
            self.insert(item);
            if selected {
                self.select(&item.id());
            }
        }
    }

    fn insert_all(&self, added: Vec<GuestItem>) {
        let selected = self.selected().map(|item| item.id());
        let mut items: Vec<_> = self.store.iter::<GuestItem>().filter_map(Result::ok).chain(added).collect();
        items.sort_by(compare);
        self.store.splice(0, self.store.n_items(), &items);
        if let Some(id) = selected {
            self.select(&id);
        }
    }

    fn insert(&self, item: &GuestItem) {
        self.store.insert_sorted(item, |a, b| match (a.downcast_ref(), b.downcast_ref()) {
            (Some(a), Some(b)) => compare(a, b),
            _ => Ordering::Equal,
        });
    }

    fn remove(&mut self, id: &GuestId) {
        if let Some(item) = self.items.remove(id)
            && let Some(position) = self.store.find(&item)
        {
            self.store.remove(position);
        }
    }
}

fn compare(a: &GuestItem, b: &GuestItem) -> Ordering {
    a.sort_key().cmp(&b.sort_key()).then_with(|| a.name().cmp(&b.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{
        backend::GuestState,
        testing::{guest_view, with_gtk},
    };

    fn names(model: &GuestModel) -> Vec<String> {
        (0..model.found()).map(|at| model.selection.item(at).and_downcast::<GuestItem>().unwrap().name()).collect()
    }

    fn model_of(names: &[&str]) -> (GuestModel, Vec<GuestId>) {
        let views: Vec<_> = names.iter().map(|name| guest_view(name)).collect();
        let ids = views.iter().map(|view| view.id.clone()).collect();
        let mut model = GuestModel::default();
        model.apply(views.into_iter().map(GuestChange::Added).collect());
        (model, ids)
    }

    #[test]
    fn guests_are_sorted_by_name_with_numbers_in_order() {
        with_gtk(|| {
            let (mut model, _) = model_of(&["web-10", "web-2", "database"]);

            model.apply(vec![GuestChange::Added(guest_view("mail"))]);

            assert_eq!(names(&model), ["database", "mail", "web-2", "web-10"]);
        });
    }

    #[test]
    fn a_renamed_guest_moves_and_stays_selected() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["a", "b", "c"]);
            model.select(&ids[0]);

            model.apply(vec![GuestChange::Changed(GuestView { id: ids[0].clone(), ..guest_view("z") })]);

            assert_eq!(names(&model), ["b", "c", "z"]);
            assert_eq!(model.selected().unwrap().name(), "z");
        });
    }

    #[test]
    fn guests_that_are_added_leave_the_selection_alone() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["m", "n"]);
            model.select(&ids[1]);

            model.apply(["a", "b", "z"].map(|name| GuestChange::Added(guest_view(name))).into());

            assert_eq!(model.selected().unwrap().name(), "n");
        });
    }

    #[test]
    fn a_change_of_state_keeps_the_item_and_tells_its_row() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["a", "b"]);
            let item = model.get(&ids[1]).unwrap().clone();
            let told = Rc::new(RefCell::new(0));
            item.connect_changed({
                let told = told.clone();
                move |_| *told.borrow_mut() += 1
            });
            let running = GuestView { state: GuestState::Running, ..item.view().clone() };

            model.apply(vec![GuestChange::Changed(running.clone()), GuestChange::Changed(running)]);

            assert_eq!(model.get(&ids[1]), Some(&item));
            assert_eq!(item.view().state, GuestState::Running);
            assert_eq!(*told.borrow(), 1, "a change that changes nothing is not told");
        });
    }

    #[test]
    fn the_search_ignores_case_and_surrounding_space() {
        with_gtk(|| {
            let (model, _) = model_of(&["Web", "database", "webmail"]);

            model.search(" WEB ");
            assert_eq!(names(&model), ["Web", "webmail"]);
            model.search("webm");
            assert_eq!(names(&model), ["webmail"]);
            model.search("");
            assert_eq!(model.found(), 3);
        });
    }

    #[test]
    fn a_guest_that_is_added_and_removed_in_one_breath_is_not_shown() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["a", "b"]);
            let brief = guest_view("brief");

            model.apply(vec![
                GuestChange::Added(brief.clone()),
                GuestChange::Removed(brief.id),
                GuestChange::Removed(ids[0].clone()),
            ]);

            assert_eq!(names(&model), ["b"]);
            assert_eq!(model.len(), 1);
        });
    }

    #[test]
    fn only_guests_that_run_are_told_of_statistics() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["a", "b"]);
            let told = Rc::new(RefCell::new(Vec::new()));
            for id in &ids {
                model.get(id).unwrap().connect_sampled({
                    let told = told.clone();
                    move |item| told.borrow_mut().push(item.name())
                });
            }
            let running = GuestView { state: GuestState::Running, ..model.get(&ids[1]).unwrap().view().clone() };

            model.apply(vec![GuestChange::Changed(running), GuestChange::Statistics]);

            assert_eq!(*told.borrow(), ["b"]);
        });
    }

    #[test]
    fn a_thousand_guests_are_listed_in_one_step() {
        with_gtk(|| {
            let mut model = GuestModel::default();
            let steps = Rc::new(RefCell::new(0));
            model.selection.connect_items_changed({
                let steps = steps.clone();
                move |_, _, _, _| *steps.borrow_mut() += 1
            });

            model.apply((0..1000).map(|index| GuestChange::Added(guest_view(&format!("guest {index}")))).collect());

            assert_eq!((model.found(), *steps.borrow()), (1000, 1));
            assert_eq!(names(&model)[999], "guest 999");
        });
    }
}
