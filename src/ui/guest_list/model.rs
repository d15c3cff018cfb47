//! The list's model: all guests in an order, of these the ones that the search finds, and of those the selected ones.

use std::{cell::RefCell, cmp::Ordering, collections::HashMap, collections::HashSet, rc::Rc};

use gtk::{gio, prelude::*};

use super::{item::GuestItem, order::Order, query::Query};
use crate::ui::backend::{GuestChange, GuestId, GuestView};

/// The model.
pub struct GuestModel {
    store: gio::ListStore,
    items: HashMap<GuestId, GuestItem>,
    filter: gtk::CustomFilter,
    query: Rc<RefCell<Query>>,
    order: Order,
    /// What the list shows of it and which of these are selected.
    pub selection: gtk::MultiSelection,
}

impl GuestModel {
    /// A model without guests, which will be in this order.
    pub fn new(order: Order) -> Self {
        let store = gio::ListStore::new::<GuestItem>();
        let query = Rc::new(RefCell::new(Query::default()));
        let filter = gtk::CustomFilter::new({
            let query = query.clone();
            move |object| object.downcast_ref::<GuestItem>().is_some_and(|item| item.is_found_by(&query.borrow()))
        });
        let found = gtk::FilterListModel::new(Some(store.clone()), Some(filter.clone()));
        let selection = gtk::MultiSelection::new(Some(found));
        Self { store, items: HashMap::new(), filter, query, order, selection }
    }

    /// Takes over changes. Those that come together, as the first ones do, are added in one step: a thousand single
    /// insertions would be a thousand layouts.
    pub fn apply(&mut self, changes: Vec<GuestChange>) {
        if changes.iter().all(|change| *change == GuestChange::Statistics) {
            return self.tell_sampled();
        }
        self.keeping_selection(|model| model.take_over(changes));
    }

    fn take_over(&mut self, changes: Vec<GuestChange>) {
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
                GuestChange::TurnsItselfOff(_) => {}
                GuestChange::Statistics => self.tell_sampled(),
            }
        }
        match added.as_slice() {
            [] => {}
            [item] => self.insert(item),
            _ => self.insert_all(added),
        }
    }

    fn tell_sampled(&self) {
        self.items.values().filter(|item| item.view().state.is_active()).for_each(GuestItem::tell_sampled);
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

    /// Selects that guest and no other, if the search finds it. Returns its place in the list.
    pub fn select(&self, id: &GuestId) -> Option<u32> {
        let position = (0..self.found()).find(|&index| self.id_at(index).as_ref() == Some(id))?;
        self.selection.select_item(position, true);
        Some(position)
    }

    /// Shows only the guests that are found by what was entered.
    pub fn search(&mut self, text: &str) {
        let query = Query::parse(text);
        let before = self.query.replace(query.clone());
        if let Some(change) = query.change(&before) {
            self.keeping_selection(|model| model.filter.changed(change));
        }
    }

    /// Lists the guests in another order.
    pub fn set_order(&mut self, order: Order) {
        self.order = order;
        self.keeping_selection(|model| model.insert_all(Vec::new()));
    }

    /// Makes a change after which the same guests are selected. Where none of them is left, the next one is.
    fn keeping_selection(&mut self, change: impl FnOnce(&mut Self)) {
        let before: HashSet<GuestItem> = self.selected().into_iter().collect();
        let first = self.selection.selection().minimum();
        let was_empty = self.found() == 0;
        change(self);
        let wanted = gtk::Bitset::new_empty();
        let is_wanted = |position: &u32| {
            self.selection.item(*position).and_downcast::<GuestItem>().is_some_and(|item| before.contains(&item))
        };
        for position in (0..self.found()).filter(is_wanted) {
            wanted.add(position);
        }
        if wanted.is_empty() && self.found() > 0 && (was_empty || !before.is_empty()) {
            wanted.add(if was_empty { 0 } else { first.min(self.found() - 1) });
        }
        if !wanted.equals(&self.selection.selection()) {
            self.selection.set_selection(&wanted, &gtk::Bitset::new_range(0, self.found()));
        }
    }

    fn id_at(&self, position: u32) -> Option<GuestId> {
        self.selection.item(position).and_downcast::<GuestItem>().map(|item| item.id())
    }

    fn update(&self, item: &GuestItem, view: GuestView) {
        let moves = {
            let before = item.view();
            before.name != view.name
                || tags(&before) != tags(&view)
                || self.order.place(&before) != self.order.place(&view)
        };
        item.set_view(view);
        if moves && let Some(position) = self.store.find(item) {
            self.store.remove(position);
            self.insert(item);
        }
    }

    fn insert_all(&self, added: Vec<GuestItem>) {
        let mut items: Vec<_> = self.store.iter::<GuestItem>().filter_map(Result::ok).chain(added).collect();
        items.sort_by(|a, b| compare(self.order, a, b));
        self.store.splice(0, self.store.n_items(), &items);
    }

    fn insert(&self, item: &GuestItem) {
        let order = self.order;
        self.store.insert_sorted(item, move |a, b| match (a.downcast_ref(), b.downcast_ref()) {
            (Some(a), Some(b)) => compare(order, a, b),
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

fn tags(view: &GuestView) -> Option<&Vec<String>> {
    view.definition.as_ref().ok().map(|definition| &definition.tags)
}

fn compare(order: Order, a: &GuestItem, b: &GuestItem) -> Ordering {
    let places = order.place(&a.view()).cmp(&order.place(&b.view()));
    places.then_with(|| a.sort_key().cmp(&b.sort_key())).then_with(|| a.name().cmp(&b.name()))
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

    fn selected(model: &GuestModel) -> Vec<String> {
        model.selected().iter().map(GuestItem::name).collect()
    }

    fn model_of(names: &[&str]) -> (GuestModel, Vec<GuestId>) {
        let views: Vec<_> = names.iter().map(|name| guest_view(name)).collect();
        let ids = views.iter().map(|view| view.id.clone()).collect();
        let mut model = GuestModel::new(Order::Name);
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
            assert_eq!(selected(&model), ["z"]);
        });
    }

    #[test]
    fn guests_that_are_added_leave_the_selection_alone() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["m", "n"]);
            model.select(&ids[1]);

            model.apply(["a", "b", "z"].map(|name| GuestChange::Added(guest_view(name))).into());

            assert_eq!(selected(&model), ["n"]);
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
            let (mut model, _) = model_of(&["Web", "database", "webmail"]);

            model.search(" WEB ");
            assert_eq!(names(&model), ["Web", "webmail"]);
            model.search("webm");
            assert_eq!(names(&model), ["webmail"]);
            model.search("");
            assert_eq!(model.found(), 3);
        });
    }

    #[test]
    fn several_stay_selected_in_another_order_and_through_a_search() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["a", "b", "c", "d"]);
            model.select(&ids[1]);
            model.selection.select_item(3, false);
            let crashed = GuestState::Crashed { reason: "it was killed".into() };
            let view = GuestView { state: crashed, ..model.get(&ids[3]).unwrap().view().clone() };

            model.apply(vec![GuestChange::Changed(view)]);
            model.set_order(Order::State);

            assert_eq!(names(&model), ["d", "a", "b", "c"]);
            assert_eq!(selected(&model), ["d", "b"]);
            model.search("b");
            assert_eq!(selected(&model), ["b"]);
            model.search("c");
            assert_eq!(selected(&model), ["c"], "what is found can be opened by Enter");
        });
    }

    #[test]
    fn when_the_selected_guest_is_removed_its_neighbour_is_selected() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["a", "b", "c"]);
            assert_eq!(selected(&model), ["a"]);
            model.select(&ids[1]);

            model.apply(vec![GuestChange::Removed(ids[1].clone())]);
            assert_eq!(selected(&model), ["c"]);
            model.apply(vec![GuestChange::Removed(ids[2].clone())]);

            assert_eq!(selected(&model), ["a"]);
        });
    }

    #[test]
    fn a_guest_is_found_by_a_tag_that_it_gets_later() {
        with_gtk(|| {
            let (mut model, ids) = model_of(&["a", "b"]);
            model.search("tag:web");
            assert_eq!(model.found(), 0);
            let mut view = model.get(&ids[1]).unwrap().view().clone();
            view.definition.as_mut().unwrap().tags = vec!["Web".to_owned()];

            model.apply(vec![GuestChange::Changed(view)]);

            assert_eq!((names(&model), model.tags()), (vec!["b".to_owned()], vec!["Web".to_owned()]));
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
            let mut model = GuestModel::new(Order::Name);
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
