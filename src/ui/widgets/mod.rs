//! Widgets that know nothing of guests.

pub mod chart;
pub mod dropped;
pub mod field;
pub mod form;
pub mod graph;
pub mod info_bar;
pub mod jobs;
pub mod menu;
pub mod names;
pub mod still;
pub mod text_button;

use gtk::{gio, glib, pango, prelude::*};

/// A label of one line. What does not fit is in its tooltip.
pub fn ellipsized(text: &str, classes: &[&str]) -> gtk::Label {
    let label = gtk::Label::builder().label(text).xalign(0.0).ellipsize(pango::EllipsizeMode::End).build();
    label.set_css_classes(classes);
    label.set_has_tooltip(true);
    label.connect_query_tooltip(|label, _, _, _, tooltip| {
        tooltip.set_text(Some(&label.label()));
        label.layout().is_ellipsized()
    });
    label
}

/// Sets a tooltip if it is another one, and says whether it is: after each change GTK asks the display where the pointer is.
pub fn set_tooltip(widget: &impl IsA<gtk::Widget>, text: Option<&str>) -> bool {
    let is_new = widget.tooltip_text().as_deref() != text;
    if is_new {
        widget.set_tooltip_text(text);
    }
    is_new
}

/// Puts the windows that are not shown first in GTK's list, in the same turn of the main loop in which one is made or hidden. GTK 4.8
/// answers a screen reader that asks for one window too many, as one has just closed, with the last one of its list, and ends the
/// application where that is not shown (`gtk/a11y/gtkatspiroot.c`, `GetChildAtIndex`). Never while a window is being destroyed: GTK
/// has its place in mind then.
pub fn list_hidden_windows_first() {
    let is_shown =
        |window: &glib::Object| window.downcast_ref::<gtk::Widget>().is_some_and(|window| window.is_mapped());
    // A GTK that keeps another list has another mistake, or none.
    if let Some(windows) = gtk::Window::toplevels().downcast_ref::<gio::ListStore>() {
        windows.sort(|one, other| is_shown(one).cmp(&is_shown(other)));
    }
}

/// Whether the widget's window is drawn without a graphics card.
pub fn renders_with_cairo(widget: &impl IsA<gtk::Widget>) -> bool {
    let renderer = widget.native().and_then(|native| native.renderer());
    renderer.is_some_and(|renderer| renderer.type_().name() == "GskCairoRenderer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::with_gtk;

    #[test]
    fn the_last_window_in_gtks_list_is_one_that_is_shown() {
        with_gtk(|| {
            let shown = gtk::Window::new();
            shown.present();
            let hidden = gtk::Window::new();
            let last = || gtk::Window::toplevels().iter::<gtk::Widget>().last().unwrap().unwrap();

            assert_eq!(last(), hidden);
            list_hidden_windows_first();
            assert_eq!(last(), shown);

            [shown, hidden].iter().for_each(gtk::Window::destroy);
        });
    }
}
