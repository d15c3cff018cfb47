//! The wizard's last page: the name, what will be made, and whether to start it.

use adw::prelude::*;
use gtk::accessible::Property;

use super::{
    draft::{Draft, Edit},
    notes::Field,
    pages::{OnEdit, Shown, page_of, words_about_method},
};
use crate::ui::{
    backend::NewDisk,
    i18n::{gettext, gettext_f},
    widgets::{field::NoteLine, names::name_list},
    wording,
};

/// The page.
pub struct SummaryPage {
    /// All of it.
    pub root: adw::PreferencesPage,
    /// Where the name is entered.
    pub name: adw::EntryRow,
    name_note: NoteLine,
    facts: [adw::ActionRow; 5],
    start: gtk::Switch,
}

impl SummaryPage {
    /// The page; what is entered goes to `on_edit`.
    pub fn new(on_edit: &OnEdit) -> Self {
        let name_group = adw::PreferencesGroup::builder().title(gettext("Ready to Create")).build();
        let name = adw::EntryRow::builder().title(gettext("Name")).activates_default(true).build();
        name_group.add(&name);
        let name_note = NoteLine::below(&name, &name_group);
        name.connect_changed({
            let on_edit = on_edit.clone();
            move |row| on_edit(Edit::Name(row.text().into()))
        });

        let fact_group = adw::PreferencesGroup::new();
        let titles = [gettext("Begins with"), gettext("Memory"), gettext("vCPUs"), gettext("Network"), gettext("Disk")];
        let facts = titles.map(|title| {
            let row = adw::ActionRow::builder().title(title).focusable(true).build();
            row.add_css_class("property");
            row.set_subtitle_lines(3);
            fact_group.add(&row);
            row
        });
        name_list(&facts[0], &gettext("Summary"));

        let start_group = adw::PreferencesGroup::new();
        let start = gtk::Switch::builder().valign(gtk::Align::Center).build();
        let start_row = adw::ActionRow::builder().title(gettext("Start Now")).activatable_widget(&start).build();
        start_row.add_suffix(&start);
        start_group.add(&start_row);
        name_list(&start_row, &gettext("Start Now"));
        start.connect_active_notify({
            let on_edit = on_edit.clone();
            move |switch| on_edit(Edit::Start(switch.is_active()))
        });
        Self { root: page_of(&[&name_group, &fact_group, &start_group]), name, name_note, facts, start }
    }

    /// Fills its fields with what is suggested.
    pub fn fill(&self, draft: &Draft) {
        self.name.set_text(&draft.name);
        self.start.set_active(draft.start);
    }

    /// Brings it up to date.
    pub fn show(&self, shown: &Shown<'_>) {
        let draft = shown.draft;
        self.name_note.show(shown.note(Field::Name), shown.tried);
        let values = [
            source_text(draft),
            wording::bytes(draft.definition().memory.bytes()),
            draft.vcpus.to_string(),
            draft.network.as_ref().map_or_else(|| gettext("None"), wording::network),
            disk_text(draft),
        ];
        for (row, value) in self.facts.iter().zip(values) {
            row.set_subtitle(&gtk::glib::markup_escape_text(&value));
            row.update_property(&[Property::Description(&value)]);
        }
    }
}

fn source_text(draft: &Draft) -> String {
    match draft.media() {
        Some(chosen) => chosen.path.display().to_string(),
        None => words_about_method(draft.method).0,
    }
}

fn disk_text(draft: &Draft) -> String {
    match draft.new_disk() {
        Some(NewDisk::Empty { size, format, .. }) => {
            gettext_f("{size}, {format}, new", &[("size", &wording::bytes(size)), ("format", format.name())])
        }
        Some(NewDisk::TestCard) => gettext("A copy of the test card"),
        None => match draft.definition().disks.iter().find(|disk| !disk.cdrom) {
            Some(disk) => disk.path.display().to_string(),
            None => gettext("None"),
        },
    }
}
