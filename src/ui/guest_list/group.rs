//! Groups of the list: guests with the same first tag, whatever its case, under a heading that can be collapsed. A guest
//! stands in one group only, so that it is counted and selected once; those without tags come last.

use std::collections::{BTreeMap, BTreeSet};

use gtk::{glib, prelude::*, subclass::prelude::*};

use super::item::GuestItem;
use crate::ui::{backend::GuestView, i18n::gettext};

/// The group that a guest is in. Groups are ordered by their tags, with numbers in their natural order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    untagged: bool,
    order: glib::FilenameCollationKey,
    tag: String,
}

impl Group {
    /// The group of this guest.
    pub fn of(view: &GuestView) -> Self {
        let tag = first_tag(view).map(str::to_lowercase).unwrap_or_default();
        Self { untagged: tag.is_empty(), order: tag.as_str().into(), tag }
    }
}

fn first_tag(view: &GuestView) -> Option<&str> {
    view.definition.as_ref().ok()?.tags.first().map(String::as_str)
}

/// What is asked of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folding {
    /// Hide or show the guests of this one.
    Toggle(Group),
    /// Hide them.
    Collapse(Group),
    /// Show them.
    Expand(Group),
    /// Hide those of every group.
    CollapseAll,
    /// Show those of every group.
    ExpandAll,
}

/// The groups that are listed, and those that are collapsed, by their tags in lower case; guests without tags are "".
#[derive(Default)]
pub struct Groups {
    listed: BTreeMap<Group, GroupItem>,
    collapsed: BTreeSet<String>,
}

impl Groups {
    /// Groups of which these are collapsed.
    pub fn new(collapsed: BTreeSet<String>) -> Self {
        Self { listed: BTreeMap::new(), collapsed }
    }

    /// Which groups are collapsed.
    pub fn collapsed(&self) -> &BTreeSet<String> {
        &self.collapsed
    }

    /// Whether the guests of this group are hidden.
    pub fn is_collapsed(&self, group: &Group) -> bool {
        self.collapsed.contains(&group.tag)
    }

    /// Collapses or expands.
    pub fn fold(&mut self, folding: Folding) {
        match folding {
            Folding::Toggle(group) if self.is_collapsed(&group) => self.fold(Folding::Expand(group)),
            Folding::Toggle(group) | Folding::Collapse(group) => drop(self.collapsed.insert(group.tag)),
            Folding::Expand(group) => drop(self.collapsed.remove(&group.tag)),
            Folding::CollapseAll => self.collapsed.extend(self.listed.keys().map(|group| group.tag.clone())),
            Folding::ExpandAll => self.collapsed.clear(),
        }
    }

    /// The heading of a group that is listed.
    pub fn heading(&self, group: &Group) -> Option<&GroupItem> {
        self.listed.get(group)
    }

    /// The list's rows for guests that are sorted by their groups: headings, and the guests of groups that are not collapsed.
    /// While something is searched for, `all_open`, they all are open.
    pub fn divide(&mut self, guests: &[GuestItem], all_open: bool) -> Vec<glib::Object> {
        let mut before = std::mem::take(&mut self.listed);
        let mut rows = Vec::with_capacity(guests.len());
        for members in guests.chunk_by(|one, next| *one.group() == *next.group()) {
            let Some(first) = members.first() else { continue };
            let group = first.group().clone();
            let heading = before.remove(&group).unwrap_or_else(|| GroupItem::new(&group, &first.view()));
            let collapsed = !all_open && self.is_collapsed(&group);
            heading.show(Shown { count: u32::try_from(members.len()).unwrap_or(u32::MAX), collapsed, fixed: all_open });
            rows.push(heading.clone().upcast());
            if !collapsed {
                rows.extend(members.iter().map(|item| item.clone().upcast()));
            }
            self.listed.insert(group, heading);
        }
        rows
    }
}

/// How a heading looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// How many guests of the group are found.
    pub count: u32,
    /// Whether they are hidden.
    pub collapsed: bool,
    /// Whether that cannot be changed now.
    pub fixed: bool,
}

glib::wrapper! {
    /// A group's heading as an item of GTK's list models.
    pub struct GroupItem(ObjectSubclass<imp::GroupItem>);
}

impl GroupItem {
    fn new(group: &Group, first: &GuestView) -> Self {
        let item: Self = glib::Object::new();
        let name = first_tag(first).map_or_else(|| gettext("Without Tags"), str::to_owned);
        item.imp().group.replace(Some((group.clone(), name)));
        item
    }

    /// Which group it is.
    pub fn group(&self) -> Group {
        self.imp().identity().0.clone()
    }

    /// What it is called.
    pub fn name(&self) -> String {
        self.imp().identity().1.clone()
    }

    /// How it looks.
    pub fn shown(&self) -> Shown {
        self.imp().shown.get()
    }

    fn show(&self, shown: Shown) {
        if self.imp().shown.replace(shown) != shown {
            self.emit_by_name::<()>("changed", &[]);
        }
    }

    /// Calls back when it looks different.
    pub fn connect_changed(&self, callback: impl Fn(&Self) + 'static) -> glib::SignalHandlerId {
        self.connect_local("changed", false, move |values| {
            callback(&values[0].get().expect("the signal's first value is its emitter"));
            None
        })
    }
}

mod imp {
    use std::{
        cell::{Cell, Ref, RefCell},
        sync::OnceLock,
    };

    use super::*;

    #[derive(Default)]
    pub struct GroupItem {
        pub group: RefCell<Option<(Group, String)>>,
        pub shown: Cell<Shown>,
    }

    impl GroupItem {
        pub fn identity(&self) -> Ref<'_, (Group, String)> {
            Ref::map(self.group.borrow(), |group| group.as_ref().expect("new() sets it"))
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for GroupItem {
        const NAME: &'static str = "LodgeGroupItem";
        type Type = super::GroupItem;
    }

    impl ObjectImpl for GroupItem {
        fn signals() -> &'static [glib::subclass::Signal] {
            static SIGNALS: OnceLock<Vec<glib::subclass::Signal>> = OnceLock::new();
            SIGNALS.get_or_init(|| vec![glib::subclass::Signal::builder("changed").build()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::guest_view;

    fn guest(name: &str, tags: &[&str]) -> GuestItem {
        let mut view = guest_view(name);
        view.definition.as_mut().unwrap().tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        GuestItem::new(view)
    }

    fn rows(groups: &mut Groups, guests: &[GuestItem], all_open: bool) -> Vec<String> {
        let rows = groups.divide(guests, all_open);
        let text = |row: &glib::Object| match row.downcast_ref::<GroupItem>() {
            Some(heading) => format!("{}: {}", heading.name(), heading.shown().count),
            None => row.downcast_ref::<GuestItem>().unwrap().name(),
        };
        rows.iter().map(text).collect()
    }

    #[test]
    fn groups_are_in_their_natural_order_and_guests_without_tags_come_last() {
        let mut groups = [&["rack10"][..], &[], &["Rack2", "a"]].map(|tags| guest("g", tags).group().clone());

        groups.sort();

        assert_eq!(groups.map(|group| group.tag), ["rack2", "rack10", ""]);
    }

    #[test]
    fn a_collapsed_group_keeps_its_heading_and_is_open_while_something_is_searched_for() {
        let guests = [guest("a", &["Web"]), guest("b", &["web"]), guest("c", &[])];
        let mut groups = Groups::default();
        assert_eq!(rows(&mut groups, &guests, false), ["Web: 2", "a", "b", "Without Tags: 1", "c"]);

        groups.fold(Folding::Toggle(guests[0].group().clone()));
        assert_eq!(rows(&mut groups, &guests, false), ["Web: 2", "Without Tags: 1", "c"]);
        assert_eq!(rows(&mut groups, &guests[1..], true), ["Web: 1", "b", "Without Tags: 1", "c"]);
        groups.fold(Folding::CollapseAll);
        assert_eq!(rows(&mut groups, &guests, false), ["Web: 2", "Without Tags: 1"]);
        groups.fold(Folding::ExpandAll);

        assert_eq!(rows(&mut groups, &guests, false).len(), 5);
    }
}
