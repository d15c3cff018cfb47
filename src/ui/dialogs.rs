//! Questions and complaints: small dialogs over a window.

use adw::prelude::*;
use gtk::accessible::Property;
use lodge::manager::{
    clone::NewClone,
    definition::{NAME_MAX_BYTES, NAME_MAX_CHARACTERS, check_name},
    library::Deleted,
};
use tokio::sync::oneshot;

use crate::ui::{
    backend::{GuestState, GuestView, free_name},
    i18n::{gettext, gettext_f, ngettext_f},
    widgets::form::Form,
};

/// The response of closing a dialog without an answer.
pub const CANCEL: &str = "cancel";
/// The response that does what a dialog asks about.
pub const ACCEPT: &str = "accept";

/// How high the list of disks is at most, in logical pixels.
const DISKS_HIGH: i32 = 240;

/// Says that something failed.
pub fn error(parent: &impl IsA<gtk::Window>, heading: &str, message: &str) {
    let dialog = adw::MessageDialog::new(Some(parent), Some(heading), Some(message));
    dialog.add_response(CANCEL, &gettext("_Close"));
    dialog.present();
}

/// Asks before something that cannot be taken back. True when the person wants it.
pub async fn confirm(parent: &impl IsA<gtk::Window>, heading: &str, message: &str, accept: &str) -> bool {
    let dialog = question(parent, heading, message, accept, adw::ResponseAppearance::Destructive);
    // A slip of the Enter key must not do it.
    dialog.set_default_response(Some(CANCEL));
    choose(&dialog).await
}

/// What is said before so many guests go to the trash.
pub fn kept_for_a_week(count: u32) -> String {
    ngettext_f(
        "It can be brought back for a week: at once by “Undo”, later from “Deleted Guests” in the main menu.",
        "They can be brought back for a week: at once by “Undo”, later from “Deleted Guests” in the main menu.",
        count,
        &[],
    )
}

/// Asks before guests are deleted, showing which disk images could go with it. `None` when it is to be kept, else whether
/// its disks are to be deleted too.
pub async fn confirm_delete(
    parent: &impl IsA<gtk::Window>,
    heading: &str,
    message: &str,
    disks: &Deleted,
) -> Option<bool> {
    let dialog = question(parent, heading, message, &gettext("_Delete"), adw::ResponseAppearance::Destructive);
    dialog.set_default_response(Some(CANCEL));
    let with_disks = gtk::CheckButton::with_mnemonic(&gettext("Delete its _disk images too"));
    let list = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(6).build();
    if !disks.removed.is_empty() {
        list.append(&with_disks);
    }
    for path in &disks.removed {
        list.append(&disk_label(&path.display().to_string(), None));
    }
    for (path, reason) in &disks.kept {
        list.append(&disk_label(&path.display().to_string(), Some(reason)));
    }
    if list.first_child().is_some() {
        let scrolled = gtk::ScrolledWindow::builder().child(&list).propagate_natural_height(true).build();
        scrolled.set_hscrollbar_policy(gtk::PolicyType::Never);
        scrolled.set_max_content_height(DISKS_HIGH);
        dialog.set_extra_child(Some(&scrolled));
    }
    choose(&dialog).await.then(|| with_disks.is_active())
}

/// Asks for another name for the guest; `taken` are the names that others have.
pub async fn ask_name(parent: &impl IsA<gtk::Window>, name: &str, taken: Vec<String>) -> Option<String> {
    let heading = gettext_f("Rename “{name}”", &[("name", name)]);
    let dialog = question(parent, &heading, "", &gettext("_Rename"), adw::ResponseAppearance::Suggested);
    let (form, entry) = name_entry(&dialog, name, Some(name), taken);
    form.run().await.then(|| entry.text().into())
}

/// Asks what a guest is to be that is like this one; `taken` are the names that there are.
pub async fn ask_clone(parent: &impl IsA<gtk::Window>, guest: &GuestView, taken: Vec<String>) -> Option<NewClone> {
    let heading = gettext_f("Clone “{name}”", &[("name", &guest.name)]);
    let mut message = gettext("The clone gets an identity and network addresses of its own. Snapshots are not copied.");
    if guest.state == GuestState::Saved {
        message += "\n\n";
        message += &gettext("Its saved state is not copied: the clone begins as if the guest’s plug had been pulled.");
    }
    let dialog = question(parent, &heading, &message, &gettext("_Clone"), adw::ResponseAppearance::Suggested);
    let (form, entry) = name_entry(&dialog, &free_name(&guest.name, &taken), None, taken);
    let copies = form.switch(
        &gettext("Co_py Disks"),
        &gettext("Without copies the clone takes no time and no room at first: both guests go on from the disks as they are now."),
        true,
    );
    let accepted = form.run().await;
    accepted.then(|| NewClone { name: entry.text().into(), linked: !copies.is_active(), snapshot: None })
}

/// Adds an entry for a guest's name to `dialog`, which is accepted only with one that can be. `own` is the name that the
/// guest has already.
fn name_entry(dialog: &adw::MessageDialog, name: &str, own: Option<&str>, taken: Vec<String>) -> (Form, adw::EntryRow) {
    let form = Form::new(dialog, &gettext("Name"));
    let entry = form.entry(&gettext("Name"), name);
    let (judged, own) = (entry.clone(), own.unwrap_or_default().to_owned());
    form.judge(move || {
        let name = judged.text();
        // The name that it has is nothing new, but not wrong.
        let complaint = complaint_about_name(&name, &own, &taken);
        let complaint = complaint.or_else(|| (name == own.as_str()).then(String::new))?;
        Some((judged.clone().upcast(), complaint))
    });
    (form, entry)
}

/// What is wrong with a guest's name, if anything. `own` is the name that the guest has already.
pub fn complaint_about_name(name: &str, own: &str, taken: &[String]) -> Option<String> {
    if name.is_empty() {
        return Some(gettext("Give the guest a name."));
    }
    if let Err(message) = check_name(name) {
        return Some(words_about_name(name).unwrap_or(message));
    }
    let is_taken = name != own && taken.iter().any(|other| other == name);
    is_taken.then(|| gettext("Another guest has this name."))
}

/// Words for the manager's complaint about a name, if they are known.
fn words_about_name(name: &str) -> Option<String> {
    if name.chars().count() > NAME_MAX_CHARACTERS || name.len() > NAME_MAX_BYTES {
        let most = NAME_MAX_CHARACTERS.to_string();
        Some(gettext_f("The name is too long. Write at most {n} characters.", &[("n", &most)]))
    } else if name.contains('/') {
        Some(gettext("A name cannot contain a slash."))
    } else if name.chars().any(char::is_control) {
        Some(gettext("A name cannot contain line breaks or control characters."))
    } else if name.starts_with(['.', '-']) {
        Some(gettext("A name cannot begin with a dot or a dash."))
    } else if name.trim() != name {
        Some(gettext("A name cannot begin or end with a space."))
    } else {
        None
    }
}

/// Shows what is wrong with a field at the field, for eyes and for screen readers, or that it is fine.
pub fn show_complaint(
    field: &(impl IsA<gtk::Widget> + IsA<gtk::Accessible>),
    label: &gtk::Label,
    complaint: Option<&str>,
) {
    label.set_visible(complaint.is_some());
    label.set_label(complaint.unwrap_or_default());
    let (invalid, class): (_, fn(&gtk::Widget)) = match complaint {
        Some(_) => (gtk::AccessibleInvalidState::True, |field| field.add_css_class("error")),
        None => (gtk::AccessibleInvalidState::False, |field| field.remove_css_class("error")),
    };
    class(field.upcast_ref());
    field.update_state(&[gtk::accessible::State::Invalid(invalid)]);
    field.update_property(&[Property::Description(complaint.unwrap_or_default())]);
}

/// A dialog that asks something: it is answered with [`ACCEPT`] or [`CANCEL`].
pub fn question(
    parent: &impl IsA<gtk::Window>,
    heading: &str,
    message: &str,
    accept: &str,
    appearance: adw::ResponseAppearance,
) -> adw::MessageDialog {
    let dialog = adw::MessageDialog::new(Some(parent), Some(heading), Some(message));
    dialog.add_responses(&[(CANCEL, &gettext("_Cancel")), (ACCEPT, accept)]);
    dialog.set_response_appearance(ACCEPT, appearance);
    dialog.set_close_response(CANCEL);
    dialog
}

/// Shows the dialog and waits for its answer. True when it was accepted.
pub async fn choose(dialog: &adw::MessageDialog) -> bool {
    let (sender, answer) = oneshot::channel();
    let sender = std::cell::Cell::new(Some(sender));
    dialog.connect_response(None, move |_, response| {
        if let Some(sender) = sender.take() {
            let _ = sender.send(response == ACCEPT);
        }
    });
    dialog.present();
    answer.await.unwrap_or(false)
}

fn disk_label(path: &str, kept: Option<&str>) -> gtk::Label {
    let text = match kept {
        Some(reason) => gettext_f("{path} is kept: {reason}", &[("path", path), ("reason", reason)]),
        None => path.to_owned(),
    };
    path_label(&text)
}

/// A small text with a path in it, which goes on in the next line wherever it must.
pub fn path_label(text: &str) -> gtk::Label {
    gtk::Label::builder()
        .label(text)
        .css_classes(["caption", "dim-label"])
        .xalign(0.0)
        .wrap(true)
        .wrap_mode(gtk::pango::WrapMode::WordChar)
        .build()
}
