//! The bar that searches a terminal: what is typed is looked for upwards, where the older lines are.

use std::cell::RefCell;
use std::rc::Rc;

use gtk::{accessible::Property, gdk, glib, prelude::*};
use vte::prelude::*;

use crate::ui::{actions, i18n::gettext};

/// PCRE2's flags, which VTE's headers leave to its own: lines of their own, UTF-8 as the terminal has it, any case.
const FLAGS: u32 = 0x0000_0400 | 0x0008_0000 | 0x0000_0008;

/// The bar. Clones are the same one.
#[derive(Clone)]
pub struct Search {
    bar: gtk::SearchBar,
    entry: gtk::SearchEntry,
    terminal: Rc<RefCell<vte::Terminal>>,
}

impl Search {
    /// Searches this terminal, until another one is shown.
    pub fn new(terminal: &vte::Terminal) -> Self {
        let entry = gtk::SearchEntry::builder().placeholder_text(gettext("Find")).width_chars(28).build();
        entry.update_property(&[Property::Label(&gettext("Find in the port’s output"))]);
        let place = gtk::Box::builder().spacing(6).build();
        place.append(&entry);
        let bar = gtk::SearchBar::builder().child(&place).build();
        bar.connect_entry(&entry);
        let search = Self { bar, entry, terminal: Rc::new(RefCell::new(terminal.clone())) };
        for (icon, label, upwards) in [
            ("go-up-symbolic", gettext("Find Previous (Enter)"), true),
            ("go-down-symbolic", gettext("Find Next (Shift+Enter)"), false),
        ] {
            let button = gtk::Button::builder().icon_name(icon).tooltip_text(&label).css_classes(["flat"]).build();
            button.update_property(&[Property::Label(&label)]);
            place.append(&button);
            let searching = search.clone();
            button.connect_clicked(move |_| searching.find(upwards));
        }
        // GTK's own close button has no name for screen readers.
        let close = gtk::Button::builder().icon_name("window-close-symbolic").css_classes(["flat"]).build();
        close.set_tooltip_text(Some(&gettext("Close")));
        close.update_property(&[Property::Label(&gettext("Close"))]);
        place.append(&close);
        let searching = search.clone();
        close.connect_clicked(move |_| searching.bar.set_search_mode(false));
        search.follow_entry();
        search
    }

    /// The bar's widget.
    pub fn widget(&self) -> &gtk::SearchBar {
        &self.bar
    }

    /// Shows the bar and takes the keyboard.
    pub fn open(&self) {
        self.bar.set_search_mode(true);
        self.entry.grab_focus();
    }

    /// Searches another terminal from now on.
    pub fn look_in(&self, terminal: &vte::Terminal) {
        self.terminal.replace(terminal.clone());
    }

    fn follow_entry(&self) {
        let searching = self.clone();
        self.entry.connect_search_changed(move |_| searching.find(true));
        let searching = self.clone();
        self.entry.connect_activate(move |_| searching.find(true));
        let searching = self.clone();
        actions::add_key_with(&self.entry, gdk::Key::Return, gdk::ModifierType::SHIFT_MASK, move || {
            searching.find(false)
        });
        let searching = self.clone();
        self.bar.connect_search_mode_enabled_notify(move |bar| {
            if !bar.is_search_mode() {
                searching.terminal.borrow().grab_focus();
            }
        });
    }

    fn set_pattern(&self) {
        let text = self.entry.text();
        // What is typed means itself, a full stop too.
        let pattern = glib::Regex::escape_string(text.as_str());
        let regex = (!text.is_empty()).then(|| vte::Regex::for_search(&pattern, FLAGS).ok()).flatten();
        self.terminal.borrow().search_set_regex(regex.as_ref(), 0);
    }

    fn find(&self, upwards: bool) {
        if self.entry.text().is_empty() {
            self.terminal.borrow().unselect_all();
            return self.entry.remove_css_class("error");
        }
        self.set_pattern();
        let terminal = self.terminal.borrow();
        let found = if upwards { terminal.search_find_previous() } else { terminal.search_find_next() };
        match found {
            true => self.entry.remove_css_class("error"),
            false => self.entry.add_css_class("error"),
        }
    }
}
