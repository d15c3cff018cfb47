//! Questions and complaints: small dialogs over a window.

use adw::prelude::*;
use gtk::accessible::Property;
use lodge::manager::{
    clone::NewClone,
    definition::{NAME_MAX_BYTES, NAME_MAX_CHARACTERS, check_name},
    library::Deleted,
    size::GIB,
};
use tokio::sync::oneshot;

use crate::ui::{
    backend::{GuestState, GuestView, free_name},
    i18n::{gettext, gettext_f, ngettext_f},
    widgets::form::{Form, bytes_in},
    wording,
};

/// The response of closing a dialog without an answer.
pub const CANCEL: &str = "cancel";
/// The response that does what a dialog asks about.
pub const ACCEPT: &str = "accept";

/// So many files are told of at once; a list of more is scrolled.
const FILES_SHOWN: usize = 6;
/// How high a list of files is that is scrolled, in logical pixels.
const FILES_HIGH: i32 = 200;

/// Closes what is asked over `window`, which is to go: nothing else would.
pub fn close_over(window: &impl IsA<gtk::Window>) {
    for toplevel in
        gtk::Window::list_toplevels().into_iter().filter_map(|toplevel| toplevel.downcast::<gtk::Window>().ok())
    {
        if toplevel.is_modal() && toplevel.transient_for().as_ref() == Some(window.upcast_ref()) {
            close_over(&toplevel);
            toplevel.close();
        }
    }
}

/// Says that something failed, and why.
pub fn error(parent: &impl IsA<gtk::Window>, heading: &str, message: &str) {
    let dialog = blank(parent, heading, &wording::sentence(message));
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
        "It can be brought back for a week, by “Undo” or from “Deleted Guests”.",
        "They can be brought back for a week, by “Undo” or from “Deleted Guests”.",
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
    let removed = disks.removed.iter().map(|path| about_disk(&path.display().to_string(), None));
    let kept = disks.kept.iter().map(|(path, reason)| about_disk(&path.display().to_string(), Some(reason)));
    let files: Vec<String> = removed.chain(kept).collect();
    if !files.is_empty() {
        list.append(&file_list(&files));
        dialog.set_extra_child(Some(&list));
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

/// Asks how large a disk is to be that has `size` bytes.
pub async fn ask_size(parent: &impl IsA<gtk::Window>, disk: &str, size: u64) -> Option<u64> {
    let heading = gettext_f("Grow “{disk}”", &[("disk", disk)]);
    let message = gettext_f(
        "It has {size}. Its partitions and file systems stay as large as they are: grow them from the guest.",
        &[("size", &wording::bytes(size))],
    );
    let dialog = question(parent, &heading, &message, &gettext("_Grow"), adw::ResponseAppearance::Suggested);
    let form = Form::new(&dialog, &gettext("Disk"));
    let entered = form.size(&gettext("New Size"), next_size(size));
    let judged = entered.clone();
    form.judge(move || {
        let is_larger = bytes_in(&judged) > size;
        (!is_larger).then(|| (judged.clone().upcast(), gettext("A disk can only grow here.")))
    });
    form.run().await.then(|| bytes_in(&entered))
}

/// The next size of a disk that has `size` bytes: whole GiB.
fn next_size(size: u64) -> u64 {
    (size / GIB).saturating_add(1).saturating_mul(GIB)
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
    let dialog = blank(parent, heading, message);
    dialog.add_responses(&[(CANCEL, &gettext("_Cancel")), (ACCEPT, accept)]);
    dialog.set_response_appearance(ACCEPT, appearance);
    dialog
}

/// A dialog without responses yet. It is closed with [`CANCEL`].
pub fn blank(parent: &impl IsA<gtk::Window>, heading: &str, message: &str) -> adw::MessageDialog {
    let dialog = adw::MessageDialog::new(Some(parent), Some(heading), Some(message));
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

fn about_disk(path: &str, kept: Option<&str>) -> String {
    match kept {
        Some(reason) => gettext_f("{path} is kept: {reason}", &[("path", path), ("reason", reason)]),
        None => path.to_owned(),
    }
}

/// What is said of files, each by itself. A few are shown whole, with as many lines as they take: what is scrolled does not know
/// how many these are.
pub fn file_list(texts: &[String]) -> gtk::Widget {
    let list = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(6).build();
    texts.iter().for_each(|text| list.append(&path_label(text)));
    if texts.len() <= FILES_SHOWN {
        return list.upcast();
    }
    let scrolled = gtk::ScrolledWindow::builder().child(&list).min_content_height(FILES_HIGH).build();
    scrolled.set_hscrollbar_policy(gtk::PolicyType::Never);
    scrolled.upcast()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::with_gtk;

    #[test]
    fn a_disk_is_offered_more_than_it_has() {
        for (size, next) in [(0, 1), (512 << 10, 1), (GIB - 1, 1), (GIB, 2), (3 * GIB / 2, 2), (20 * GIB, 21)] {
            assert_eq!(next_size(size), next * GIB, "{size}");
        }
        assert!(next_size(u64::MAX) > GIB);
    }

    #[test]
    fn a_few_files_are_shown_whole_and_many_are_scrolled() {
        with_gtk(|| {
            let texts = |count| vec!["/a/rather/long/path/to/a/disk.qcow2 is removed".repeat(3); count];
            let high = |list: &gtk::Widget| list.measure(gtk::Orientation::Vertical, 200);
            let (one, few) = (high(&file_list(&texts(1))), high(&file_list(&texts(FILES_SHOWN))));

            assert!(few.0 > 5 * one.0, "{few:?} {one:?}");
            assert_eq!(high(&file_list(&texts(FILES_SHOWN + 1))).0, FILES_HIGH);
        });
    }
}
