//! The row that says what keeping equal pages once saves, with the switch for it where this person may have one.

use std::{cell::RefCell, rc::Rc};

use adw::prelude::*;
use lodge::manager::host::{Counters, MergingSwitch};

use crate::ui::{
    i18n::{gettext, gettext_f},
    wording,
};

/// What switches it on where nobody can be asked.
const SWITCH_ON: &str = "echo 1 | sudo tee /sys/kernel/mm/ksm/run";

/// The row. Clones are the same.
#[derive(Clone)]
pub struct MergingRow {
    row: adw::ActionRow,
    switch: gtk::Switch,
    way: Rc<RefCell<Option<MergingSwitch>>>,
}

impl MergingRow {
    /// The row; its switch does nothing yet.
    pub fn new() -> Self {
        let row = adw::ActionRow::builder().title(gettext("Equal Pages Kept Once (KSM)")).subtitle_lines(0).build();
        let switch = gtk::Switch::builder().valign(gtk::Align::Center).visible(false).build();
        row.add_suffix(&switch);
        row.set_activatable_widget(Some(&switch));
        Self { row, switch, way: Rc::default() }
    }

    /// Calls back when a person switches it.
    pub fn connect_wanted(&self, wanted: impl Fn(MergingSwitch, bool) + 'static) {
        let way = self.way.clone();
        self.switch.connect_state_set(move |switch, on| {
            if let Some(way) = way.borrow().clone().filter(|_| on != switch.state()) {
                wanted(way, on);
            }
            // It is on when the kernel says so.
            gtk::glib::Propagation::Stop
        });
    }

    /// The row's widget.
    pub fn widget(&self) -> &adw::ActionRow {
        &self.row
    }

    /// Takes over how it can be switched.
    pub fn set_way(&self, way: Option<MergingSwitch>) {
        self.switch.set_visible(way.is_some());
        self.way.replace(way);
    }

    /// Shows whether it is on.
    pub fn show_state(&self, host: &Counters) {
        self.switch.set_state(host.merging.on);
        self.switch.set_active(host.merging.on);
    }

    /// Shows what it saves.
    pub fn show(&self, host: &Counters, saved: Option<u64>) {
        super::set_subtitle(&self.row, &about(host, saved, self.way.borrow().is_some()));
    }
}

fn about(host: &Counters, saved: Option<u64>, can_be_switched: bool) -> String {
    if !host.merging.present {
        return gettext("The host’s kernel cannot do it.");
    }
    if host.merging.on {
        return gettext_f("Saves {memory}", &[("memory", &wording::bytes(saved.unwrap_or(host.merging.saved)))]);
    }
    match can_be_switched {
        true => gettext("Switched off. It looks for equal pages of guests whose details say “Merge Equal Pages”."),
        false => {
            gettext_f("Switched off. An administrator switches it on with “{command}”.", &[("command", SWITCH_ON)])
        }
    }
}

#[cfg(test)]
mod tests {
    use lodge::manager::host::Merging;

    use super::*;

    #[test]
    fn it_is_said_how_page_merging_is_switched_on_and_what_it_saves() {
        let host = |present, on| Counters { merging: Merging { present, on, saved: 0 }, ..Counters::default() };

        assert!(about(&host(false, false), None, false).contains("cannot"));
        assert!(about(&host(true, false), None, false).contains(SWITCH_ON));
        assert!(!about(&host(true, false), None, true).contains("sudo"));
        assert_eq!(about(&host(true, true), Some(2 << 30), true), "Saves 2\u{a0}GiB");
    }
}
