//! Names for screen readers where libadwaita 1.2 leaves parts of its widgets without.

use adw::prelude::*;
use gtk::accessible::Property;

use crate::ui::i18n::gettext;

/// Names the list that `row` is in for screen readers, where its group has no title.
pub fn name_list(row: &impl IsA<gtk::Widget>, name: &str) {
    if let Some(list) = row.parent() {
        list.update_property(&[Property::Label(name)]);
    }
}

/// Names an expander and the lists, the arrow and the switch inside of it for screen readers; libadwaita 1.2 leaves them without
/// names.
pub fn name_expander(expander: &adw::ExpanderRow, name: &str) {
    expander.update_property(&[Property::Label(name)]);
    let is_part =
        |widget: &gtk::Widget| widget.is::<gtk::ListBox>() || widget.is::<gtk::Image>() || widget.is::<gtk::Switch>();
    name_below(expander.upcast_ref(), &|widget| is_part(widget).then(|| name.to_owned()));
}

/// Names what GTK and libadwaita leave without a name in a window of theirs: lists, images and texts get the window's, buttons with an
/// icon what their tooltips say.
pub fn name_window(window: &impl IsA<gtk::Widget>, name: &str) {
    name_below(window.upcast_ref(), &|widget| name_in_window(widget, name));
}

fn name_below(widget: &gtk::Widget, name_of: &impl Fn(&gtk::Widget) -> Option<String>) {
    if let Some(name) = name_of(widget) {
        widget.update_property(&[Property::Label(&name)]);
    }
    for child in std::iter::successors(widget.first_child(), WidgetExt::next_sibling) {
        name_below(&child, name_of);
    }
}

fn name_in_window(widget: &gtk::Widget, name: &str) -> Option<String> {
    if widget.is::<gtk::SearchEntry>() {
        return Some(gettext("Search"));
    }
    if let Some(button) = widget.downcast_ref::<gtk::Button>() {
        let back = button.icon_name().is_some_and(|icon| icon.starts_with("go-previous"));
        let own = if back { gettext("Back") } else { name.to_owned() };
        let said = text_in(widget).or_else(|| button.tooltip_text().map(String::from));
        return Some(said.unwrap_or(own));
    }
    let nameless = widget.is::<gtk::ListBox>()
        || widget.is::<gtk::Image>()
        || widget.is::<gtk::TextView>()
        || widget.is::<gtk::MenuButton>();
    nameless.then(|| name.to_owned())
}

/// The first text that a widget shows.
fn text_in(widget: &gtk::Widget) -> Option<String> {
    let own = widget.downcast_ref::<gtk::Label>().map(|label| label.text().to_string());
    own.filter(|text| !text.is_empty()).or_else(|| {
        std::iter::successors(widget.first_child(), WidgetExt::next_sibling).find_map(|child| text_in(&child))
    })
}
