//! A dialog with fields: a line below them says what is wrong with one, and until that is mended the dialog cannot be
//! accepted.

use std::{cell::RefCell, rc::Rc};

use adw::prelude::*;

use crate::ui::{
    dialogs::{self, ACCEPT},
    i18n::gettext,
    widgets::{field, names::name_list},
};

/// The least width of a form, in logical pixels.
const WIDTH: i32 = 360;
/// Bytes of the unit in which sizes are entered.
const GIB: f64 = (1u64 << 30) as f64;
const MIB: f64 = (1u64 << 20) as f64;
/// The largest size that can be entered, in that unit.
const MOST_GIB: f64 = (1u64 << 23) as f64;

/// What is wrong, and with which field. Without words something is only missing yet.
pub type Complaint = (gtk::Widget, String);

type Judge = Box<dyn Fn() -> Option<Complaint>>;

/// The fields of a dialog. Clones are the same ones.
#[derive(Clone)]
pub struct Form {
    dialog: adw::MessageDialog,
    content: gtk::Box,
    group: adw::PreferencesGroup,
    problem: gtk::Label,
    fields: Rc<RefCell<Vec<gtk::Widget>>>,
    judge: Rc<RefCell<Option<Judge>>>,
}

impl Form {
    /// Puts a form into `dialog`; `name` is what screen readers call its list of fields.
    pub fn new(dialog: &adw::MessageDialog, name: &str) -> Self {
        dialog.set_default_response(Some(ACCEPT));
        let content = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(6).build();
        content.set_width_request(WIDTH);
        let group = adw::PreferencesGroup::new();
        let problem = gtk::Label::builder().css_classes(["error", "caption"]).xalign(0.0).wrap(true).build();
        content.append(&group);
        content.append(&problem);
        dialog.set_extra_child(Some(&content));
        // The group makes its list with its first row, so that it is named when the dialog is shown.
        let name = name.to_owned();
        group.connect_map(move |group| {
            if let Some(row) = first_row(group.upcast_ref()) {
                name_list(&row, &name);
            }
        });
        let (fields, judge) = (Rc::default(), Rc::default());
        Self { dialog: dialog.clone(), content, group, problem, fields, judge }
    }

    /// Puts something above the fields.
    pub fn put_above(&self, widget: &impl IsA<gtk::Widget>) {
        self.content.prepend(widget);
    }

    /// Adds a field for a text.
    pub fn entry(&self, title: &str, text: &str) -> adw::EntryRow {
        let entry = adw::EntryRow::builder().title(title).text(text).activates_default(true).build();
        self.add(&entry, &entry);
        let form = self.weak();
        entry.connect_changed(move |_| form());
        entry
    }

    /// Adds a choice of several.
    pub fn choice(&self, title: &str, choices: &[String]) -> adw::ComboRow {
        let choices: Vec<_> = choices.iter().map(String::as_str).collect();
        let row = adw::ComboRow::builder().title(title).model(&gtk::StringList::new(&choices)).build();
        field::show_chosen(&row);
        self.add(&row, &row);
        let form = self.weak();
        row.connect_selected_notify(move |_| form());
        row
    }

    /// Adds a field for a size, in GiB.
    pub fn size(&self, title: &str, bytes: u64) -> gtk::SpinButton {
        let adjustment = gtk::Adjustment::new(bytes as f64 / GIB, 0.0, MOST_GIB, 1.0, 16.0, 0.0);
        let spin = gtk::SpinButton::builder().adjustment(&adjustment).digits(1).numeric(true).width_chars(8).build();
        spin.set_valign(gtk::Align::Center);
        if let Some(text) = spin.delegate().and_downcast::<gtk::Text>() {
            text.set_activates_default(true);
        }
        let row = adw::ActionRow::builder().title(title).activatable_widget(&spin).build();
        row.add_suffix(&spin);
        row.add_suffix(&gtk::Label::builder().label(gettext("GiB")).css_classes(["dim-label"]).build());
        self.add(&row, &spin);
        let form = self.weak();
        spin.connect_value_changed(move |_| form());
        spin
    }

    /// Adds something that can be on or off.
    pub fn switch(&self, title: &str, subtitle: &str, on: bool) -> gtk::Switch {
        let switch = gtk::Switch::builder().active(on).valign(gtk::Align::Center).build();
        let row = adw::ActionRow::builder().title(title).use_underline(true).subtitle(subtitle).build();
        row.set_subtitle_lines(0);
        row.add_suffix(&switch);
        row.set_activatable_widget(Some(&switch));
        self.add(&row, &switch);
        switch
    }

    /// Accepts the dialog only while `complaint` has none. It is asked with every change.
    pub fn judge(&self, complaint: impl Fn() -> Option<Complaint> + 'static) {
        self.judge.replace(Some(Box::new(complaint)));
        self.look();
    }

    /// Shows the dialog, with the keyboard in its first field. Whether it was accepted.
    pub async fn run(&self) -> bool {
        if let Some(first) = self.fields.borrow().first() {
            first.grab_focus();
        }
        dialogs::choose(&self.dialog).await
    }

    fn add(&self, row: &impl IsA<gtk::Widget>, field: &impl IsA<gtk::Widget>) {
        self.group.add(row);
        self.fields.borrow_mut().push(field.clone().upcast());
    }

    /// Looks at all fields again, as long as the form is there.
    fn weak(&self) -> impl Fn() + 'static {
        let dialog = self.dialog.downgrade();
        let (problem, fields, judge) = (self.problem.downgrade(), self.fields.clone(), self.judge.clone());
        move || {
            if let (Some(dialog), Some(problem)) = (dialog.upgrade(), problem.upgrade()) {
                look(&dialog, &problem, &fields.borrow(), judge.borrow().as_ref());
            }
        }
    }

    fn look(&self) {
        self.weak()();
    }
}

fn look(dialog: &adw::MessageDialog, problem: &gtk::Label, fields: &[gtk::Widget], judge: Option<&Judge>) {
    let complaint = judge.and_then(|judge| judge());
    for field in fields {
        dialogs::show_complaint(field, problem, None);
    }
    if let Some((field, text)) = complaint.as_ref().filter(|(_, text)| !text.is_empty()) {
        dialogs::show_complaint(field, problem, Some(text));
    }
    dialog.set_response_enabled(ACCEPT, complaint.is_none());
}

/// The size that is entered, in bytes.
pub fn bytes_in(size: &gtk::SpinButton) -> u64 {
    // No more exactly than it is shown.
    (size.value() * GIB / MIB).round() as u64 * MIB as u64
}

fn first_row(widget: &gtk::Widget) -> Option<gtk::ListBoxRow> {
    let mut child = widget.first_child();
    while let Some(widget) = child {
        if let Some(row) = widget.clone().downcast().ok().or_else(|| first_row(&widget)) {
            return Some(row);
        }
        child = widget.next_sibling();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::with_gtk;

    #[test]
    fn a_form_is_accepted_only_without_complaint() {
        with_gtk(|| {
            let dialog = dialogs::question(&adw::Window::new(), "", "", "OK", adw::ResponseAppearance::Suggested);
            let form = Form::new(&dialog, "Test");
            let entry = form.entry("Name", "");
            let judged = entry.clone();
            form.judge(move || {
                let text = judged.text();
                let complaint = |text: &str| Some((judged.clone().upcast(), text.to_owned()));
                match text.as_str() {
                    "" => complaint(""),
                    "bad" => complaint("This is bad."),
                    _ => None,
                }
            });

            assert!(!dialog.is_response_enabled(ACCEPT) && form.problem.label().is_empty());
            entry.set_text("bad");
            assert!(!dialog.is_response_enabled(ACCEPT) && entry.has_css_class("error"));
            assert_eq!(form.problem.label(), "This is bad.");
            entry.set_text("good");
            assert!(dialog.is_response_enabled(ACCEPT) && !entry.has_css_class("error"));
        });
    }
}
