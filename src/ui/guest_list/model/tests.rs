use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::ui::{
    backend::GuestState,
    guest_list::group::GroupItem,
    testing::{guest_view, with_gtk},
};

fn names(model: &GuestModel) -> Vec<String> {
    let name = |row: glib::Object| match row.downcast::<GuestItem>() {
        Ok(guest) => guest.name(),
        Err(row) => format!("# {}", row.downcast::<GroupItem>().unwrap().name()),
    };
    model.rows.iter().map(|row| name(row.unwrap())).collect()
}

fn selected(model: &GuestModel) -> Vec<String> {
    model.selected().iter().map(GuestItem::name).collect()
}

fn model_of(names: &[&str]) -> (GuestModel, Vec<GuestId>) {
    let views: Vec<_> = names.iter().map(|name| guest_view(name)).collect();
    let ids = views.iter().map(|view| view.id.clone()).collect();
    let mut model = GuestModel::new(Order::Name, false, BTreeSet::new());
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
        assert_eq!(model.shown(), 3);
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
        assert_eq!(model.shown(), 0);
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
        let mut model = GuestModel::new(Order::Name, false, BTreeSet::new());
        let steps = Rc::new(RefCell::new(0));
        model.selection.connect_items_changed({
            let steps = steps.clone();
            move |_, _, _, _| *steps.borrow_mut() += 1
        });

        model.apply((0..1000).map(|index| GuestChange::Added(guest_view(&format!("guest {index}")))).collect());

        assert_eq!((model.shown(), *steps.borrow()), (1000, 1));
        assert_eq!(names(&model)[999], "guest 999");
    });
}
fn tagged(name: &str, tag: &str) -> GuestView {
    let mut view = guest_view(name);
    view.definition.as_mut().unwrap().tags = vec![tag.to_owned()];
    view
}

fn grouped() -> (GuestModel, Vec<GuestId>) {
    let mut model = GuestModel::new(Order::Name, true, BTreeSet::new());
    let views = [tagged("b", "web"), tagged("a", "Web"), guest_view("c"), tagged("d", "db")];
    let ids = views.iter().map(|view| view.id.clone()).collect();
    model.apply(views.map(GuestChange::Added).into());
    (model, ids)
}

#[test]
fn groups_come_and_go_with_the_tags_and_names_of_their_guests() {
    with_gtk(|| {
        let (mut model, ids) = grouped();
        assert_eq!(names(&model), ["# db", "d", "# Web", "a", "b", "# Without Tags", "c"]);
        assert_eq!(selected(&model), ["d"], "a heading is not selected by itself");

        let changed = GuestView { id: ids[3].clone(), ..guest_view("d") };
        model.apply(vec![GuestChange::Changed(changed)]);
        assert_eq!(names(&model), ["# Web", "a", "b", "# Without Tags", "c", "d"]);
        assert_eq!(selected(&model), ["d"]);
        model.set_grouped(false);

        assert_eq!(names(&model), ["a", "b", "c", "d"]);
    });
}

#[test]
fn what_is_hidden_in_a_collapsed_group_is_not_selected_and_shown_when_it_is_asked_for() {
    with_gtk(|| {
        let (mut model, ids) = grouped();
        let web = model.get(&ids[0]).unwrap().group().clone();
        model.select_group(&web);
        assert_eq!(selected(&model), ["a", "b"]);

        model.fold(Folding::Collapse(web.clone()));
        assert_eq!(names(&model), ["# db", "d", "# Web", "# Without Tags", "c"]);
        assert_eq!(selected(&model), ["c"]);
        assert_eq!(model.select_heading(&web), Some(2));
        assert_eq!(selected(&model), [""; 0], "a heading stands for no guest");

        assert_eq!(model.select(&ids[0]), Some(4));
        assert_eq!(selected(&model), ["b"]);
    });
}

#[test]
fn the_search_goes_through_all_groups() {
    with_gtk(|| {
        let (mut model, _) = grouped();
        model.fold(Folding::CollapseAll);
        assert_eq!(names(&model), ["# db", "# Web", "# Without Tags"]);

        model.search("b");
        assert_eq!(names(&model), ["# Web", "b"]);
        model.fold(Folding::CollapseAll);
        assert_eq!(names(&model), ["# Web", "b"], "what is found is seen");
        model.search("");

        assert_eq!(names(&model), ["# db", "# Web", "# Without Tags"]);
    });
}

#[test]
fn a_guest_that_moves_leaves_the_rows_around_it_alone() {
    with_gtk(|| {
        let (mut model, ids) = model_of(&["a", "b", "c", "d", "e"]);
        let told = Rc::new(RefCell::new(Vec::new()));
        model.selection.connect_items_changed({
            let told = told.clone();
            move |_, position, removed, added| told.borrow_mut().push((position, removed, added))
        });

        model.apply(vec![GuestChange::Changed(GuestView { id: ids[1].clone(), ..guest_view("cc") })]);
        model.apply(vec![GuestChange::Removed(ids[3].clone())]);

        assert_eq!(*told.borrow(), [(1, 2, 2), (3, 1, 0)]);
    });
}
