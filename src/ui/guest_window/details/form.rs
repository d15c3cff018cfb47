//! What the pages of the details are made of: groups of fields. Each field shows what the definition says, sends what a person
//! changes as an [`Edit`], and has a line below for what is wrong with it.

use std::{fmt, rc::Rc};

use adw::prelude::*;
use gtk::{accessible::Property, glib};
use lodge::manager::{
    definition::{Definition, Review},
    size::{MIB, Size},
};

use crate::ui::{
    actions::Action,
    backend::{Backend, GuestView, Surroundings},
    i18n::gettext,
    judgement::judge,
    pump,
    widgets::{
        field::{self, NoteLine, Weight},
        text_button::TextButton,
    },
};

/// A change of the definition.
pub struct Edit(Box<dyn FnOnce(&mut Definition)>);

impl Edit {
    /// This change.
    pub fn new(change: impl FnOnce(&mut Definition) + 'static) -> Self {
        Self(Box::new(change))
    }

    /// Makes it.
    pub fn make(self, definition: &mut Definition) {
        (self.0)(definition);
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Edit")
    }
}

/// Where the fields send what was changed.
pub type OnEdit = Rc<dyn Fn(Edit)>;

/// What a page shows.
pub struct Shown<'a> {
    /// The manager.
    pub backend: &'a Backend,
    /// The guest as it is.
    pub guest: &'a GuestView,
    /// The definition as it is to be.
    pub definition: &'a Definition,
    /// What is wrong with it.
    pub review: &'a Review,
    /// What it is judged by.
    pub around: &'a Surroundings,
}

impl Shown<'_> {
    /// What is to be said about `field`.
    pub fn note(&self, field: &str) -> Option<(Weight, String)> {
        judge(self.definition, self.review, &self.around.limits, field)
    }
}

type Watcher = Box<dyn Fn(&Shown<'_>)>;

/// A page.
pub struct Page {
    root: adw::PreferencesPage,
    notes: Vec<(String, NoteLine)>,
    watchers: Vec<Watcher>,
}

impl Page {
    /// All of it.
    pub fn root(&self) -> &adw::PreferencesPage {
        &self.root
    }

    /// Brings what is said about its fields up to date.
    pub fn show(&self, shown: &Shown<'_>) {
        for (field, line) in &self.notes {
            let note = shown.note(field);
            line.show(note.as_ref().map(|(weight, text)| (*weight, text.as_str())), true);
        }
        self.watchers.iter().for_each(|watcher| watcher(shown));
    }
}

/// A page that is being made.
pub struct Form {
    page: Page,
    groups: Vec<adw::PreferencesGroup>,
    group: adw::PreferencesGroup,
    on_edit: OnEdit,
}

impl Form {
    /// A page without any field. What is changed goes to `on_edit`.
    pub fn new(on_edit: &OnEdit) -> Self {
        let page = Page { root: adw::PreferencesPage::new(), notes: Vec::new(), watchers: Vec::new() };
        Self { page, groups: Vec::new(), group: adw::PreferencesGroup::new(), on_edit: on_edit.clone() }
    }

    /// The page. A page has many widgets, and to measure them takes its time: it is shown group by group, with all else having its turn
    /// in between. Groups that cannot be seen are not waited for, so that there is something to see from the first moment on.
    pub fn finish(self) -> Page {
        let groups = self.groups;
        let root = self.page.root.downgrade();
        relm4::spawn_local(async move {
            let mut is_empty = true;
            for group in groups {
                let Some(page) = root.upgrade() else { return };
                if group.is_visible() && !std::mem::take(&mut is_empty) {
                    let drawn = pump::drawn(page.upcast_ref());
                    drop(page);
                    drawn.await;
                }
                root.upgrade().iter().for_each(|root| root.add(&group));
            }
        });
        self.page
    }

    /// Begins a group.
    pub fn group(&mut self, title: &str) -> adw::PreferencesGroup {
        self.group = adw::PreferencesGroup::builder().title(title).build();
        self.groups.push(self.group.clone());
        self.group.clone()
    }

    /// Adds a group that was made elsewhere.
    pub fn adopt(&mut self, group: &adw::PreferencesGroup) {
        self.groups.push(group.clone());
    }

    /// Says when changes apply, for as long as the guest runs.
    pub fn applies(&mut self, text: &str) {
        self.applies_to(text, |_| true);
    }

    /// [`Form::applies`] for hardware that the running guest may have (`has`) or not have yet.
    pub fn applies_to(&mut self, text: &str, has: impl Fn(&GuestView) -> bool + 'static) {
        let (text, later) = (text.to_owned(), gettext("The guest has it from its next start."));
        let label = gtk::Label::builder().xalign(0.0).wrap(true).css_classes(["dim-label"]).build();
        let group = adw::PreferencesGroup::new();
        group.add(&label);
        self.groups.push(group.clone());
        self.watch(move |shown| {
            let words = if has(shown.guest) { &text } else { &later };
            if label.text() != *words {
                label.set_text(words);
            }
            group.set_visible(shown.guest.state.is_active());
        });
    }

    /// The button that takes the hardware of the page out.
    pub fn removal(&mut self, label: &str) {
        let button = gtk::Button::builder()
            .action_name(Action::RemoveHardware.detailed_name())
            .tooltip_text(Action::RemoveHardware.tooltip())
            .halign(gtk::Align::Center)
            .css_classes(["destructive-action", "pill"])
            .build();
        button.set_button_text(label);
        let group = adw::PreferencesGroup::new();
        group.add(&button);
        self.groups.push(group);
    }

    /// Calls `watcher` whenever something has changed.
    pub fn watch(&mut self, watcher: impl Fn(&Shown<'_>) + 'static) {
        self.page.watchers.push(Box::new(watcher));
    }

    /// Adds a widget to the group.
    pub fn add(&self, widget: &impl IsA<gtk::Widget>) {
        self.group.add(widget);
    }

    /// Adds the line for what is wrong with `field`, below `widget`.
    pub fn note(&mut self, field: &str, widget: &impl IsA<gtk::Widget>) {
        self.page.notes.push((field.to_owned(), NoteLine::below(widget, &self.group)));
    }

    /// What cannot be changed.
    pub fn fact(&self, title: &str, value: &str) -> adw::ActionRow {
        let row = adw::ActionRow::builder().title(title).subtitle_lines(0).build();
        set_fact(&row, value);
        self.group.add(&row);
        row
    }

    /// A line of text. Without a `field` nothing is said about it.
    pub fn entry(
        &mut self,
        field: &str,
        title: &str,
        value: &str,
        edit: impl Fn(&mut Definition, String) + 'static,
    ) -> adw::EntryRow {
        let row = adw::EntryRow::builder().title(title).text(value).build();
        self.group.add(&row);
        if !field.is_empty() {
            self.note(field, &row);
        }
        let send = self.sender(edit);
        row.connect_changed(move |row| send(row.text().into()));
        row
    }

    /// A number, shown with so many digits behind the point. Without a `field` nothing is said about it.
    pub fn number(
        &mut self,
        field: &str,
        title: &str,
        unit: Option<&str>,
        (value, step, digits): (f64, f64, u32),
        edit: impl Fn(&mut Definition, f64) + 'static,
    ) -> gtk::SpinButton {
        let adjustment = gtk::Adjustment::new(value, 0.0, 1e9, step, step * 4.0, 0.0);
        let (row, spin) = field::number_row(title, unit, &adjustment, digits);
        self.group.add(&row);
        if !field.is_empty() {
            self.note(field, &spin);
        }
        let send = self.sender(edit);
        spin.connect_value_changed(move |spin| send(spin.value()));
        spin
    }

    /// A limit in bytes a second; 0 is none.
    pub fn byte_limit(
        &mut self,
        title: &str,
        now: Option<Size>,
        edit: impl Fn(&mut Definition, Option<Size>) + 'static,
    ) -> gtk::SpinButton {
        let mib = now.map_or(0.0, |size| size.bytes() as f64 / MIB as f64);
        self.number("", title, Some(&gettext("MiB/s")), (mib, 10.0, 1), move |definition, mib| {
            let size = Size((mib * MIB as f64).round() as u64);
            edit(definition, Some(size).filter(|size| size.bytes() > 0));
        })
    }

    /// A limit in something a second; 0 is none.
    pub fn count_limit(
        &mut self,
        title: &str,
        now: Option<u64>,
        edit: impl Fn(&mut Definition, Option<u64>) + 'static,
    ) -> gtk::SpinButton {
        let count = now.unwrap_or_default() as f64;
        self.number("", title, Some(&gettext("a second")), (count, 100.0, 0), move |definition, number| {
            edit(definition, Some(number as u64).filter(|number| *number > 0));
        })
    }

    /// Something that is on or off.
    pub fn switch(
        &mut self,
        field: &str,
        [title, subtitle]: [&str; 2],
        on: bool,
        edit: impl Fn(&mut Definition, bool) + 'static,
    ) -> gtk::Switch {
        let (row, switch) = switch_row(title, subtitle, on);
        self.group.add(&row);
        self.note(field, &switch);
        let send = self.sender(edit);
        switch.connect_active_notify(move |switch| send(switch.is_active()));
        switch
    }

    /// One of several.
    pub fn choice<T: Clone + PartialEq + 'static>(
        &mut self,
        field: &str,
        [title, subtitle]: [&str; 2],
        options: &[(T, String)],
        value: &T,
        edit: impl Fn(&mut Definition, T) + 'static,
    ) -> adw::ComboRow {
        let words: Vec<_> = options.iter().map(|(_, words)| words.as_str()).collect();
        let row = adw::ComboRow::builder().title(title).subtitle(subtitle).build();
        field::show_chosen(&row);
        row.set_model(Some(&gtk::StringList::new(&words)));
        let selected = options.iter().position(|(option, _)| option == value);
        row.set_selected(selected.map_or(gtk::INVALID_LIST_POSITION, |index| index as u32));
        self.group.add(&row);
        self.note(field, &row);
        let send = self.sender(edit);
        let options: Vec<_> = options.iter().map(|(option, _)| option.clone()).collect();
        row.connect_selected_notify(move |row| {
            if let Some(option) = options.get(row.selected() as usize) {
                send(option.clone());
            }
        });
        row
    }

    /// What sends an edit with what was entered.
    pub fn sender<T: 'static>(&self, edit: impl Fn(&mut Definition, T) + 'static) -> Rc<dyn Fn(T)> {
        let (edit, on_edit) = (Rc::new(edit), self.on_edit.clone());
        Rc::new(move |value| {
            let edit = edit.clone();
            on_edit(Edit::new(move |definition| edit(definition, value)));
        })
    }
}

/// Shows another value of what cannot be changed.
pub fn set_fact(row: &adw::ActionRow, value: &str) {
    row.set_subtitle(&glib::markup_escape_text(value));
}

/// A row with a switch.
pub fn switch_row(title: &str, subtitle: &str, on: bool) -> (adw::ActionRow, gtk::Switch) {
    let switch = gtk::Switch::builder().active(on).valign(gtk::Align::Center).build();
    switch.update_property(&[Property::Description(subtitle)]);
    let row = adw::ActionRow::builder().title(title).subtitle(subtitle).activatable_widget(&switch).build();
    row.set_subtitle_lines(0);
    row.add_suffix(&switch);
    (row, switch)
}

/// A button at the end of a row.
pub fn row_button(label: &str) -> gtk::Button {
    let button = gtk::Button::builder().valign(gtk::Align::Center).build();
    button.set_button_text(label);
    button
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::{wait_until, with_gtk};

    #[test]
    fn a_page_begins_with_the_first_group_that_can_be_seen() {
        with_gtk(|| {
            let on_edit: OnEdit = Rc::new(|_| {});
            let mut form = Form::new(&on_edit);
            let groups = ["Now", "Memory", "Behind the Memory"].map(|title| form.group(title));
            let page = form.finish();
            groups[0].set_visible(false);

            // Nothing has been drawn yet.
            wait_until("there is something to see", || groups[1].is_ancestor(page.root()));

            assert!(groups[0].is_ancestor(page.root()) && !groups[2].is_ancestor(page.root()));
        });
    }
}
