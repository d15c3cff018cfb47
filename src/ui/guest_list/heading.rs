//! The row of a group: an arrow that hides and shows its guests, its name, and how many guests it has.

use gtk::{
    accessible::{Property, State},
    glib, pango,
    prelude::*,
    subclass::prelude::*,
};

use super::group::{Folding, GroupItem};
use crate::ui::i18n::{gettext_f, ngettext_f};

glib::wrapper! {
    /// The row.
    pub struct GroupHeading(ObjectSubclass<imp::GroupHeading>)
        @extends gtk::Box, gtk::Widget,
        @implements gtk::Accessible, gtk::Buildable, gtk::ConstraintTarget, gtk::Orientable;
}

/// The style class of the list's own row around it.
const ROW_CLASS: &str = "group";

impl GroupHeading {
    /// An unbound row. `fold` is called when its arrow is pressed.
    pub fn new(fold: impl Fn(Folding) + 'static) -> Self {
        let heading: Self = glib::Object::new();
        let imp = heading.imp();
        heading.set_spacing(6);
        imp.arrow.set_css_classes(&["flat", "circular"]);
        imp.arrow.connect_clicked(glib::clone!(
            #[weak]
            heading,
            move |_| {
                if let Some(item) = heading.item() {
                    fold(Folding::Toggle(item.group()));
                }
            }
        ));
        imp.name.set_css_classes(&["heading"]);
        imp.name.set_ellipsize(pango::EllipsizeMode::End);
        imp.count.set_css_classes(&["caption", "numeric", "dim-label"]);
        heading.append(&imp.arrow);
        heading.append(&imp.name);
        heading.append(&imp.count);
        heading
    }

    /// The group that it shows.
    pub fn item(&self) -> Option<GroupItem> {
        self.imp().bound.borrow().as_ref().map(|(item, _)| item.clone())
    }

    /// Shows this group from now on.
    pub fn bind(&self, item: &GroupItem) {
        let changed = item.connect_changed(glib::clone!(
            #[weak(rename_to = heading)]
            self,
            move |item| heading.show(item)
        ));
        self.imp().bound.replace(Some((item.clone(), changed)));
        if let Some(row) = self.parent() {
            row.add_css_class(ROW_CLASS);
        }
        self.show(item);
    }

    /// Shows no group any more; the list's own row may be a guest's next.
    pub fn unbind(&self) {
        if let Some((item, changed)) = self.imp().bound.take() {
            item.disconnect(changed);
        }
        if let Some(row) = self.parent() {
            row.remove_css_class(ROW_CLASS);
            row.reset_state(gtk::AccessibleState::Expanded);
        }
    }

    fn show(&self, item: &GroupItem) {
        let (imp, name, shown) = (self.imp(), item.name(), item.shown());
        let named = [("name", name.as_str())];
        let (icon, label) = match shown.collapsed {
            true => ("pan-end-symbolic", gettext_f("Expand {name}", &named)),
            false => ("pan-down-symbolic", gettext_f("Collapse {name}", &named)),
        };
        imp.arrow.set_icon_name(icon);
        imp.arrow.set_sensitive(!shown.fixed);
        imp.arrow.update_property(&[Property::Label(&label)]);
        imp.name.set_label(&name);
        imp.count.set_label(&shown.count.to_string());
        // The list's own row widget is what screen readers stop at.
        if let Some(row) = self.parent() {
            let label = ngettext_f("Group {name}, {n} guest", "Group {name}, {n} guests", shown.count, &named);
            row.update_property(&[Property::Label(&label)]);
            row.update_state(&[State::Expanded(Some(!shown.collapsed))]);
        }
    }
}

mod imp {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    pub struct GroupHeading {
        pub arrow: gtk::Button,
        pub name: gtk::Label,
        pub count: gtk::Label,
        pub bound: RefCell<Option<(GroupItem, glib::SignalHandlerId)>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for GroupHeading {
        const NAME: &'static str = "LodgeGroupHeading";
        type Type = super::GroupHeading;
        type ParentType = gtk::Box;
    }

    impl ObjectImpl for GroupHeading {}
    impl WidgetImpl for GroupHeading {}
    impl BoxImpl for GroupHeading {}
}
