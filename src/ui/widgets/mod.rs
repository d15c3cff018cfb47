//! Widgets that know nothing of guests.

pub mod chart;
pub mod field;
pub mod form;
pub mod graph;
pub mod info_bar;
pub mod jobs;
pub mod menu;
pub mod names;
pub mod still;
pub mod text_button;

use gtk::{pango, prelude::*};

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

/// Whether the widget's window is drawn without a graphics card.
pub fn renders_with_cairo(widget: &impl IsA<gtk::Widget>) -> bool {
    let renderer = widget.native().and_then(|native| native.renderer());
    renderer.is_some_and(|renderer| renderer.type_().name() == "GskCairoRenderer")
}
