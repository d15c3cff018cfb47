//! Names for screen readers where libadwaita 1.2 leaves parts of its widgets without.

use adw::prelude::*;
use gtk::accessible::Property;

/// Names the list that `row` is in for screen readers, where its group has no title.
pub fn name_list(row: &impl IsA<gtk::Widget>, name: &str) {
    if let Some(list) = row.parent() {
        list.update_property(&[Property::Label(name)]);
    }
}

/// Names an expander and the lists and the arrow inside of it for screen readers; libadwaita 1.2 leaves them without names.
pub fn name_expander(expander: &adw::ExpanderRow, name: &str) {
    fn name_below(widget: &gtk::Widget, name: &str) {
        if widget.is::<gtk::ListBox>() || widget.is::<gtk::Image>() {
            widget.update_property(&[Property::Label(name)]);
        }
        let mut child = widget.first_child();
        while let Some(widget) = child {
            name_below(&widget, name);
            child = widget.next_sibling();
        }
    }
    expander.update_property(&[Property::Label(name)]);
    name_below(expander.upcast_ref(), name);
}
