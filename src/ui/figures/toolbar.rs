//! What stands above graphs: the range of time, pause and export.

use std::{cell::Cell, rc::Rc};

use gtk::{accessible::Property, prelude::*};

use crate::ui::i18n::{gettext, ngettext_f};

/// The ranges, in seconds.
pub const RANGES: [u64; 5] = [60, 10 * 60, 60 * 60, 6 * 60 * 60, 24 * 60 * 60];
/// The one that is shown at first.
const FIRST: u64 = RANGES[1];

/// The toolbar.
pub struct Toolbar {
    widget: gtk::Box,
    ranges: Vec<gtk::ToggleButton>,
    range: Rc<Cell<u64>>,
    pause: gtk::ToggleButton,
    export: gtk::Button,
}

impl Toolbar {
    /// With ten minutes, not paused.
    pub fn new() -> Self {
        let group = gtk::Box::builder().css_classes(["linked", "ranges"]).hexpand(true).build();
        let mut ranges: Vec<gtk::ToggleButton> = Vec::new();
        for seconds in RANGES {
            let button = gtk::ToggleButton::builder().label(short(seconds)).active(seconds == FIRST).build();
            button.set_tooltip_text(Some(&words(seconds)));
            button.update_property(&[Property::Label(&words(seconds))]);
            button.set_group(ranges.first());
            group.append(&button);
            ranges.push(button);
        }
        let pause = gtk::ToggleButton::builder().icon_name("media-playback-pause-symbolic").build();
        pause.set_tooltip_text(Some(&gettext("Hold the Graphs Still")));
        pause.update_property(&[Property::Label(&gettext("Hold the Graphs Still"))]);
        let export = gtk::Button::builder().icon_name("document-save-symbolic").build();
        export.set_tooltip_text(Some(&gettext("Export Figures…")));
        export.update_property(&[Property::Label(&gettext("Export Figures…"))]);
        let widget = gtk::Box::builder().spacing(6).build();
        widget.append(&group);
        widget.append(&pause);
        widget.append(&export);
        Self { widget, ranges, range: Rc::new(Cell::new(FIRST)), pause, export }
    }

    /// The widget.
    pub fn widget(&self) -> &gtk::Box {
        &self.widget
    }

    /// The chosen range, in seconds.
    pub fn range(&self) -> u64 {
        self.range.get()
    }

    /// Whether the graphs are held still.
    pub fn is_paused(&self) -> bool {
        self.pause.is_active()
    }

    /// Calls `changed` when the range or the pause is another one.
    pub fn connect_changed(&self, changed: impl Fn() + Clone + 'static) {
        for (button, seconds) in self.ranges.iter().zip(RANGES) {
            let (range, changed) = (self.range.clone(), changed.clone());
            button.connect_toggled(move |button| {
                if button.is_active() {
                    range.set(seconds);
                    changed();
                }
            });
        }
        self.pause.connect_toggled(move |_| changed());
    }

    /// Calls `pressed` when the figures are to be exported.
    pub fn connect_export(&self, pressed: impl Fn() + 'static) {
        self.export.connect_clicked(move |_| pressed());
    }
}

/// A range of time on a button.
fn short(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours) {
        // Translators: minutes, short.
        (_, 0) => ngettext_f("{n} min", "{n} min", minutes as u32, &[]),
        // Translators: hours, short.
        (0, _) => ngettext_f("{n} h", "{n} h", hours as u32, &[]),
        // Translators: days, short.
        _ => ngettext_f("{n} d", "{n} d", days as u32, &[]),
    }
}

/// A range of time in words.
fn words(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (_, _, 1) => gettext("The last minute"),
        (_, 1, _) => gettext("The last hour"),
        (1, _, _) => gettext("The last day"),
        (_, 0, _) => ngettext_f("The last {n} minute", "The last {n} minutes", minutes as u32, &[]),
        (0, _, _) => ngettext_f("The last {n} hour", "The last {n} hours", hours as u32, &[]),
        _ => ngettext_f("The last {n} day", "The last {n} days", days as u32, &[]),
    }
}
