//! Fields for forms: rows that take a number, a file or a choice, and the line below that says what is wrong with what was
//! entered.

use std::path::PathBuf;

use adw::prelude::*;
use gtk::{accessible::Property, gio, glib};

use crate::ui::{choosers, i18n::gettext};

/// How many characters of what is chosen there is room for at least.
const CHOSEN_WIDTH: usize = 20;

/// How much a note weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It informs.
    Fact,
    /// It works, but it is likely not what the person wants.
    Warning,
    /// The answer is not there yet.
    Waiting,
    /// Nothing was entered yet; it is no mistake until the person wants to go on.
    Missing,
    /// It does not work.
    Wrong,
}

impl Weight {
    /// Whether it keeps the person from going on.
    pub fn stops(self) -> bool {
        matches!(self, Self::Waiting | Self::Missing | Self::Wrong)
    }
}

/// The line below a field that says what is wrong or what was found.
pub struct NoteLine {
    field: gtk::Widget,
    label: gtk::Label,
}

impl NoteLine {
    /// A line for `field`, to be added to `group` below it.
    pub fn below(field: &impl IsA<gtk::Widget>, group: &adw::PreferencesGroup) -> Self {
        let label = gtk::Label::builder()
            .xalign(0.0)
            .wrap(true)
            .wrap_mode(gtk::pango::WrapMode::WordChar)
            .natural_wrap_mode(gtk::NaturalWrapMode::None)
            .css_classes(["note"])
            .visible(false)
            .build();
        group.add(&label);
        Self { field: field.clone().upcast(), label }
    }

    /// Shows the note, or nothing. What is missing is shown as a mistake only after the person has `tried` to go on.
    pub fn show(&self, note: Option<(Weight, &str)>, tried: bool) {
        let scolds = note.is_some_and(|(weight, _)| weight == Weight::Wrong || weight == Weight::Missing && tried);
        let class = match note.map(|(weight, _)| weight) {
            _ if scolds => "error",
            Some(Weight::Warning) => "warning",
            _ => "dim-label",
        };
        let text = note.map(|(_, text)| text).unwrap_or_default();
        self.label.set_css_classes(&["note", "caption", class]);
        self.label.set_label(text);
        self.label.set_visible(!text.is_empty());
        if scolds {
            self.field.add_css_class("error");
        } else {
            self.field.remove_css_class("error");
        }
        let invalid = if scolds { gtk::AccessibleInvalidState::True } else { gtk::AccessibleInvalidState::False };
        self.field.update_state(&[gtk::accessible::State::Invalid(invalid)]);
        self.field.update_property(&[Property::Description(text)]);
    }
}

/// A row with a choice of several; the first row made leads the group of radio buttons.
pub fn radio_row(
    title: &str,
    subtitle: &str,
    icon: &str,
    leader: Option<&gtk::CheckButton>,
) -> (adw::ActionRow, gtk::CheckButton) {
    let check = gtk::CheckButton::builder().valign(gtk::Align::Center).build();
    check.set_group(leader);
    check.update_property(&[Property::Description(subtitle)]);
    let row = adw::ActionRow::builder().title(title).subtitle(subtitle).activatable_widget(&check).build();
    row.add_prefix(&check);
    let image = gtk::Image::builder().icon_name(icon).css_classes(["dim-label"]).build();
    image.set_accessible_role(gtk::AccessibleRole::Presentation);
    row.add_suffix(&image);
    (row, check)
}

/// Has a row show what is chosen, for which libadwaita leaves whatever room the subtitle does not take.
pub fn show_chosen(row: &adw::ComboRow) {
    // The list of choices has its marks from there.
    let Some(usual) = row.factory() else { return };
    let factory = gtk::SignalListItemFactory::new();
    factory.connect_setup(|_, item| {
        if let Some(item) = item.downcast_ref::<gtk::ListItem>() {
            let label = gtk::Label::builder().ellipsize(gtk::pango::EllipsizeMode::End).xalign(1.0).build();
            item.set_child(Some(&label));
        }
    });
    factory.connect_bind(|_, item| {
        let Some(item) = item.downcast_ref::<gtk::ListItem>() else { return };
        let label = item.child().and_downcast::<gtk::Label>();
        if let Some((label, chosen)) = label.zip(item.item().and_downcast::<gtk::StringObject>()) {
            let text = chosen.string();
            label.set_width_chars(text.chars().count().min(CHOSEN_WIDTH) as i32);
            label.set_label(&text);
        }
    });
    row.set_factory(Some(&factory));
    row.set_list_factory(Some(&usual));
}

/// A row with a number. What is typed is never silently corrected: the range is wider than what makes sense, and a note
/// says what is wrong.
pub fn number_row(
    title: &str,
    unit: Option<&str>,
    adjustment: &gtk::Adjustment,
    digits: u32,
) -> (adw::ActionRow, gtk::SpinButton) {
    let spin = gtk::SpinButton::builder()
        .adjustment(adjustment)
        .digits(digits)
        .numeric(true)
        .width_chars(8)
        .valign(gtk::Align::Center)
        .build();
    // Enter goes on to the next page. GTK 4.8's spin buttons have no property for that, the text inside has.
    if let Some(text) = spin.delegate().and_downcast::<gtk::Text>() {
        text.set_activates_default(true);
    }
    let row = adw::ActionRow::builder().title(title).activatable_widget(&spin).build();
    row.add_suffix(&spin);
    if let Some(unit) = unit {
        row.add_suffix(&gtk::Label::builder().label(unit).css_classes(["dim-label"]).build());
    }
    (row, spin)
}

/// Files that a person may choose, as a name and patterns.
pub type Filter<'a> = (&'a str, &'a [&'a str]);

/// How files of disk images are usually called.
pub const DISK_SUFFIXES: &[&str] = &["img", "raw", "qcow2"];

/// A row for a file: its path can be typed, chosen, or dropped. `chosen` is called with every change.
pub fn path_row(title: &str, filter: Filter<'_>, chosen: impl Fn(PathBuf) + 'static) -> adw::EntryRow {
    let row = adw::EntryRow::builder().title(title).activates_default(true).build();
    take_path(&row, filter, chosen);
    row
}

/// Makes `row` one for a file, as [`path_row`] does.
pub fn take_path(row: &adw::EntryRow, filter: Filter<'_>, chosen: impl Fn(PathBuf) + 'static) {
    row.connect_changed(move |row| chosen(path_of(&row.text())));

    let browse = gtk::Button::builder()
        .icon_name("document-open-symbolic")
        .tooltip_text(gettext("Choose a File…"))
        .valign(gtk::Align::Center)
        .css_classes(["flat"])
        .build();
    browse.update_property(&[Property::Label(&gettext("Choose a File…"))]);
    let file_filter = gtk::FileFilter::new();
    file_filter.set_name(Some(filter.0));
    filter.1.iter().for_each(|pattern| file_filter.add_suffix(pattern));
    browse.connect_clicked(glib::clone!(
        #[weak]
        row,
        move |_| choose_file(&row, &file_filter)
    ));
    row.add_suffix(&browse);
}

fn choose_file(row: &adw::EntryRow, filter: &gtk::FileFilter) {
    let Some(window) = row.root().and_downcast::<gtk::Window>() else { return };
    let dialog = choosers::chooser(&window, &row.title(), Some(&gettext("_Open")), gtk::FileChooserAction::Open);
    dialog.add_filter(filter);
    let all = gtk::FileFilter::new();
    all.set_name(Some(&gettext("All Files")));
    all.add_pattern("*");
    dialog.add_filter(&all);
    let typed = path_of(&row.text());
    if let Some(folder) = typed.parent().filter(|folder| folder.is_absolute()) {
        // Where the typed path leads nowhere, the dialog opens where it likes.
        let _ = dialog.set_current_folder(Some(&gio::File::for_path(folder)));
    }
    // The closure keeps the dialog alive until it has answered.
    let alive = std::cell::Cell::new(Some(dialog.clone()));
    dialog.connect_response(glib::clone!(
        #[weak]
        row,
        move |dialog, response| {
            if response == gtk::ResponseType::Accept
                && let Some(path) = dialog.file().and_then(|file| file.path())
            {
                row.set_text(&path.to_string_lossy());
            }
            drop(alive.take());
        }
    ));
    dialog.show();
}

/// The path that a person means: `~/` is the home folder, and a pasted `file://` address is understood.
pub fn path_of(text: &str) -> PathBuf {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("~/") {
        return glib::home_dir().join(rest);
    }
    if text.starts_with("file://") {
        return gio::File::for_uri(text).path().unwrap_or_default();
    }
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_understood_as_people_write_them() {
        assert_eq!(path_of(" /isos/a b.iso\n"), PathBuf::from("/isos/a b.iso"));
        assert_eq!(path_of("~/a.iso"), glib::home_dir().join("a.iso"));
        assert_eq!(path_of("file:///isos/a%20b.iso"), PathBuf::from("/isos/a b.iso"));
        assert_eq!(path_of(""), PathBuf::new());
    }
}
