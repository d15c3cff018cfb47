//! How the list is shown: its order and its columns; what is remembered of it, and the menu to choose it with.

use std::collections::BTreeSet;

use gtk::{accessible::Property, gio, glib, prelude::*};
use relm4::Sender;
use serde::{Deserialize, Serialize};

use super::{GuestListMsg, group::Folding, order::Order};
use crate::ui::{actions::Action, i18n::gettext};

/// What a row needs beside its figures, in logical pixels: for the screen, for a name that is not too long, and for the buttons.
const BESIDE_FIGURES: i32 = 300;
/// What a figure needs with its graph.
const FIGURE: i32 = 150;
/// How much wider the graph of the CPU is.
const WIDER_CPU: i32 = 25;
/// How wide rows become at most, unless their figures need more.
const WIDEST: i32 = 900;
/// How wide they are in a window as it is at first.
const USUAL: i32 = 780;

/// How the list is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// In which order.
    pub order: Order,
    /// What each row tells besides name and state.
    pub columns: Vec<Column>,
    /// Whether guests stand under headings of their first tags.
    pub group_by_tag: bool,
    /// The groups that are collapsed, by their tags in lower case.
    pub collapsed: BTreeSet<String>,
    /// Whether there is room for the figures without their graphs only. It depends on the window, and is not remembered.
    #[serde(skip)]
    pub is_narrow: bool,
}

impl Default for View {
    fn default() -> Self {
        let columns = vec![Column::Screen, Column::Cpu, Column::Memory];
        Self { order: Order::Name, columns, group_by_tag: false, collapsed: BTreeSet::new(), is_narrow: false }
    }
}

impl View {
    /// Shows a column that is hidden, or hides it.
    pub fn toggle(&mut self, column: Column) {
        match self.columns.iter().position(|shown| *shown == column) {
            Some(index) => drop(self.columns.remove(index)),
            None => self.columns.push(column),
        }
    }

    /// Takes note of how wide rows are; 0 is not known yet. Whether something is shown in another way then.
    pub fn fit(&mut self, width: i32) -> bool {
        let is_narrow = (if width > 0 { width } else { USUAL }) < self.room();
        std::mem::replace(&mut self.is_narrow, is_narrow) != is_narrow
    }

    /// How wide rows become at most.
    pub fn widest(&self) -> i32 {
        self.room().saturating_add(FIGURE).max(WIDEST)
    }

    /// What a row needs.
    fn room(&self) -> i32 {
        let room = |column: &Column| match column {
            Column::Screen => 0,
            Column::Cpu => FIGURE + WIDER_CPU,
            Column::Memory | Column::Disk | Column::Network => FIGURE,
        };
        BESIDE_FIGURES + self.columns.iter().map(room).sum::<i32>()
    }
}

/// Something that a row tells of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// A small picture of its screen.
    Screen,
    /// Its use of the CPU.
    Cpu,
    /// Its memory.
    Memory,
    /// What it reads and writes on its disks.
    Disk,
    /// What it sends and receives.
    Network,
}

impl Column {
    /// All of them, from left to right.
    pub const ALL: [Self; 5] = [Self::Screen, Self::Cpu, Self::Memory, Self::Disk, Self::Network];

    fn action(self) -> Action {
        match self {
            Self::Screen => Action::ShowScreens,
            Self::Cpu => Action::ShowCpu,
            Self::Memory => Action::ShowMemory,
            Self::Disk => Action::ShowDisk,
            Self::Network => Action::ShowNetwork,
        }
    }
}

/// The button with the menu. Its actions are added to `window` and tell `list`; `tags` are the menu's items for tags.
pub fn button(
    window: &impl IsA<gio::ActionMap>,
    view: &View,
    tags: &gio::Menu,
    list: &Sender<GuestListMsg>,
) -> gtk::MenuButton {
    add_actions(window, view, list);
    let button = gtk::MenuButton::builder()
        .icon_name("view-sort-descending-symbolic")
        .tooltip_text(gettext("View"))
        .menu_model(&menu(tags))
        .build();
    button.update_property(&[Property::Label(&gettext("View"))]);
    button
}

fn menu(tags: &gio::Menu) -> gio::Menu {
    let orders = gio::Menu::new();
    for order in Order::ALL {
        orders.append_item(&chosen(&order.label(), Action::SortBy, order.name()));
    }
    let columns = gio::Menu::new();
    Column::ALL.into_iter().for_each(|column| columns.append_item(&column.action().menu_item()));
    let menu = gio::Menu::new();
    let groups = gio::Menu::new();
    groups.append_item(&Action::GroupByTag.menu_item());
    menu.append_section(Some(&Action::SortBy.title()), &orders);
    menu.append_section(None, &groups);
    menu.append_section(Some(&gettext("Columns")), &columns);
    menu.append_section(None, tags);
    menu
}

/// Fills the menu's part for tags: one item for each, which searches for it.
pub fn show_tags(menu: &gio::Menu, tags: &[String]) {
    menu.remove_all();
    if tags.is_empty() {
        return;
    }
    let items = gio::Menu::new();
    // An underscore in a tag is no mnemonic.
    tags.iter().for_each(|tag| items.append_item(&chosen(&tag.replace('_', "__"), Action::FindTag, tag)));
    menu.append_submenu(Some(&Action::FindTag.entry().label), &items);
}

fn chosen(label: &str, action: Action, target: &str) -> gio::MenuItem {
    let item = gio::MenuItem::new(Some(label), None);
    item.set_action_and_target_value(Some(&action.detailed_name()), Some(&target.to_variant()));
    item
}

fn add_actions(window: &impl IsA<gio::ActionMap>, view: &View, list: &Sender<GuestListMsg>) {
    let name = Action::SortBy.entry().name;
    let sort = gio::SimpleAction::new_stateful(name, Some(glib::VariantTy::STRING), &view.order.name().to_variant());
    let told = list.clone();
    sort.connect_activate(move |action, target| {
        if let Some(order) = target.and_then(|name| Order::from_name(name.str()?)) {
            action.set_state(&order.name().to_variant());
            told.emit(GuestListMsg::Sort(order));
        }
    });
    window.add_action(&sort);

    let find = gio::SimpleAction::new(Action::FindTag.entry().name, Some(glib::VariantTy::STRING));
    let told = list.clone();
    find.connect_activate(move |_, target| {
        if let Some(tag) = target.and_then(|tag| tag.str()) {
            told.emit(GuestListMsg::FindTag(tag.to_owned()));
        }
    });
    window.add_action(&find);

    add_switch(window, Action::GroupByTag, view.group_by_tag, list, GuestListMsg::GroupByTag);
    for column in Column::ALL {
        let shown = view.columns.contains(&column);
        add_switch(window, column.action(), shown, list, move |_| GuestListMsg::Toggle(column));
    }
    let of_groups: [(Action, fn() -> GuestListMsg); 3] = [
        (Action::SelectGroup, || GuestListMsg::SelectGroup),
        (Action::CollapseAll, || GuestListMsg::Fold(Folding::CollapseAll)),
        (Action::ExpandAll, || GuestListMsg::Fold(Folding::ExpandAll)),
    ];
    for (action, message) in of_groups {
        let told = list.clone();
        action.add_to(window, move || told.emit(message()));
    }
}

/// Adds an action that is on or off, and tells `list` when it changes.
fn add_switch(
    window: &impl IsA<gio::ActionMap>,
    action: Action,
    on: bool,
    list: &Sender<GuestListMsg>,
    message: impl Fn(bool) -> GuestListMsg + 'static,
) {
    let switch = gio::SimpleAction::new_stateful(action.entry().name, None, &on.to_variant());
    let told = list.clone();
    switch.connect_activate(move |action, _| {
        let on = action.state().and_then(|state| state.get()).unwrap_or(false);
        action.set_state(&(!on).to_variant());
        told.emit(message(!on));
    });
    window.add_action(&switch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_hidden_and_shown_again() {
        let mut view = View::default();

        view.toggle(Column::Cpu);
        view.toggle(Column::Disk);
        let text = toml::to_string(&view).unwrap();
        assert_eq!(view.columns, [Column::Screen, Column::Memory, Column::Disk]);
        assert_eq!(toml::from_str::<View>(&text).unwrap(), view);
        view.toggle(Column::Cpu);

        assert!(view.columns.contains(&Column::Cpu));
    }

    #[test]
    fn graphs_give_way_to_names_where_there_is_no_room_for_both() {
        let mut view = View::default();
        assert!(!view.fit(USUAL) && !view.is_narrow);
        assert!(view.fit(500) && view.is_narrow);
        view.toggle(Column::Disk);
        assert!(view.fit(USUAL) && !view.is_narrow);
        view.toggle(Column::Network);
        assert!(view.fit(0) && view.is_narrow);

        // In a window that is wide enough there is room for all of them.
        assert!(view.widest() > WIDEST);
        assert!(view.fit(view.widest()) && !view.is_narrow);
        assert_eq!(View::default().widest(), WIDEST);
    }

    #[test]
    fn the_menu_has_the_tags_that_there_are() {
        let menu = gio::Menu::new();

        show_tags(&menu, &["a_b".to_owned(), "web".to_owned()]);
        let items = menu.item_link(0, gio::MENU_LINK_SUBMENU).unwrap();
        assert_eq!(items.n_items(), 2);
        show_tags(&menu, &[]);

        assert_eq!(menu.n_items(), 0);
    }
}
