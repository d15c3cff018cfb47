//! What is asked before something is done with a snapshot.

use std::path::Path;

use adw::prelude::*;
use gtk::{accessible::Property, gdk};
use lodge::manager::definition::NAME_MAX_CHARACTERS;

use crate::ui::{
    backend::{Edit, GuestState, GuestView, NewSnapshot, Preview, Snapshot, Tree},
    dialogs,
    i18n::{gettext, gettext_f},
    widgets::form::Form,
    wording,
};

/// The width of what is in the dialogs, in logical pixels.
const WIDTH: i32 = 360;

/// Fields for a snapshot's name and description.
struct Words {
    form: Form,
    name: adw::EntryRow,
    description: adw::EntryRow,
}

impl Words {
    /// Adds them to `dialog`, which is accepted only with a name that no other snapshot of the guest has.
    fn add_to(dialog: &adw::MessageDialog, name: &str, description: &str, taken: Vec<String>) -> Self {
        let form = Form::new(dialog, &gettext("Snapshot"));
        let name = form.entry(&gettext("Name"), name);
        let description = form.entry(&gettext("Description"), description);
        let judged = name.clone();
        form.judge(move || Some((judged.clone().upcast(), complaint_about(judged.text().trim(), &taken)?)));
        Self { form, name, description }
    }

    fn entered(&self) -> (String, String) {
        (self.name.text().trim().to_owned(), self.description.text().trim().to_owned())
    }
}

/// What is wrong with a snapshot's name, if anything.
fn complaint_about(name: &str, taken: &[String]) -> Option<String> {
    if name.is_empty() {
        return Some(gettext("Give the snapshot a name."));
    }
    if name.chars().count() > NAME_MAX_CHARACTERS {
        let most = NAME_MAX_CHARACTERS.to_string();
        return Some(gettext_f("The name is too long. Write at most {n} characters.", &[("n", &most)]));
    }
    if name.chars().any(char::is_control) {
        return Some(gettext("A name cannot contain line breaks or control characters."));
    }
    taken.iter().any(|other| other == name).then(|| gettext("Another snapshot has this name."))
}

/// The first name that no snapshot has.
fn free_name(tree: &Tree) -> String {
    let is_free = |name: &String| tree.snapshots.iter().all(|snapshot| snapshot.name != *name);
    (1..).map(|number| format!("snapshot-{number}")).find(is_free).unwrap_or_default()
}

/// Asks what a new snapshot is to be, and whether with the memory of a guest that runs.
pub async fn ask_new(parent: &gtk::Window, guest: &GuestView, tree: &Tree) -> Option<(NewSnapshot, bool)> {
    let heading = gettext_f("Take a Snapshot of “{name}”", &[("name", &guest.name)]);
    let dialog = dialogs::question(parent, &heading, "", &gettext("_Take"), adw::ResponseAppearance::Suggested);
    let taken = tree.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
    let words = Words::add_to(&dialog, &free_name(tree), "", taken);
    let memory = guest.state.is_active().then(|| memory_switch(guest, &words.form));
    if !words.form.run().await {
        return None;
    }
    let (name, description) = words.entered();
    let memory = memory.is_some_and(|switch| switch.is_active());
    Some((NewSnapshot { name: Some(name), description }, memory))
}

fn memory_switch(guest: &GuestView, form: &Form) -> gtk::Switch {
    let memory = guest.hardware().map_or(0, |hardware| hardware.memory.bytes());
    let subtitle = gettext_f(
        "Reverting, the guest goes on where it was. Takes up to {size}, and the guest stands still meanwhile.",
        &[("size", &wording::bytes(memory))],
    );
    form.switch(&gettext("With _Memory"), &subtitle, true)
}

/// Shows a snapshot and asks what it is to be called.
pub async fn ask_words(
    parent: &gtk::Window,
    tree: &Tree,
    snapshot: &Snapshot,
    picture: Option<&gdk::Texture>,
) -> Option<Edit> {
    let dialog = dialogs::question(
        parent,
        &gettext_f("Snapshot “{name}”", &[("name", &snapshot.name)]),
        &wording::moment(snapshot.created, wording::now()),
        &gettext("_Save"),
        adw::ResponseAppearance::Suggested,
    );
    let others = tree.snapshots.iter().filter(|other| other.id != snapshot.id);
    let taken = others.map(|snapshot| snapshot.name.clone()).collect();
    let words = Words::add_to(&dialog, &snapshot.name, &snapshot.description, taken);
    if let Some(picture) = picture {
        let widget = gtk::Picture::for_paintable(picture);
        widget.set_alternative_text(Some(&gettext("Screen of the guest when the snapshot was taken")));
        let label = gettext("Screen of the guest when the snapshot was taken");
        widget.update_property(&[Property::Label(&label)]);
        let frame = adw::Bin::builder().child(&widget).css_classes(["snapshot-picture"]).build();
        frame.set_overflow(gtk::Overflow::Hidden);
        frame.set_halign(gtk::Align::Center);
        frame.set_margin_bottom(6);
        words.form.put_above(&frame);
    }
    if !words.form.run().await {
        return None;
    }
    let (name, description) = words.entered();
    Some(Edit { name: Some(name), description: Some(description) })
}

/// Asks whether the guest is to go back to the snapshot. `Some(true)` when it is to run on from there.
pub async fn ask_revert(
    parent: &gtk::Window,
    guest: &GuestView,
    snapshot: &Snapshot,
    preview: &Preview,
) -> Option<bool> {
    let heading = gettext_f("Revert to “{name}”?", &[("name", &snapshot.name)]);
    let dialog = dialogs::question(
        parent,
        &heading,
        &what_is_lost(&guest.state),
        &gettext("_Revert"),
        adw::ResponseAppearance::Destructive,
    );
    dialog.set_default_response(Some(dialogs::CANCEL));
    let content = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(12).build();
    content.set_width_request(WIDTH);
    let go_on = gtk::CheckButton::with_mnemonic(&gettext("_Go on where the guest was then"));
    go_on.set_active(true);
    if snapshot.state.is_some() {
        content.append(&go_on);
    }
    content.append(&dialogs::file_list(&words_about(preview)));
    dialog.set_extra_child(Some(&content));
    dialogs::choose(&dialog).await.then(|| snapshot.state.is_some() && go_on.is_active())
}

/// What going back costs a guest in this state.
fn what_is_lost(state: &GuestState) -> String {
    let disks =
        gettext("What the guest has written since its last snapshot is lost, and its settings are as they were.");
    let more = match state {
        GuestState::Saved => Some(gettext("Its saved state is lost, too.")),
        state if state.is_active() => {
            Some(gettext("It is forced off first: what it has only in its memory is lost, too."))
        }
        _ => None,
    };
    [Some(disks), more].into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

/// Asks whether a snapshot is to go, showing what becomes of which files.
pub async fn confirm_delete(parent: &gtk::Window, snapshot: &Snapshot, preview: &Preview) -> bool {
    let dialog = dialogs::question(
        parent,
        &gettext_f("Delete the Snapshot “{name}”?", &[("name", &snapshot.name)]),
        &gettext("The guest cannot go back to it any more. The guest and its other snapshots keep what they have."),
        &gettext("_Delete"),
        adw::ResponseAppearance::Destructive,
    );
    dialog.set_default_response(Some(dialogs::CANCEL));
    let files = dialogs::file_list(&words_about(preview));
    files.set_width_request(WIDTH);
    dialog.set_extra_child(Some(&files));
    dialogs::choose(&dialog).await
}

/// The files that are touched, in words.
fn words_about(preview: &Preview) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let merged = preview.merge.iter().map(|merging| {
        // Beside it, its name is enough.
        let beside = merging.into.file_name().filter(|_| merging.from.parent() == merging.into.parent());
        let (from, into) = (path(&merging.from), path(beside.map_or(&*merging.into, Path::new)));
        gettext_f("{from} is merged into {into}", &[("from", &from), ("into", &into)])
    });
    // What was merged is removed then; said once is enough.
    let removed = preview.remove.iter().filter(|path| !preview.merge.iter().any(|merging| merging.from == **path));
    let removed = removed.map(|file| gettext_f("{path} is removed", &[("path", &path(file))]));
    let kept = preview
        .keep
        .iter()
        .map(|kept| gettext_f("{path} is kept: {reason}", &[("path", &path(&kept.path)), ("reason", &kept.reason)]));
    let is_definition = |file: &Path| file.extension().is_some_and(|ending| ending == "toml");
    let merged_into = |file: &Path| preview.merge.iter().any(|merging| merging.into == file);
    let changed = preview.change.iter().filter(|file| !is_definition(file) && !merged_into(file));
    let changed = changed.map(|file| gettext_f("{path} is changed", &[("path", &path(file))]));
    removed.chain(merged).chain(changed).chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodge::manager::snapshots::{Kept, Merging};

    #[test]
    fn a_snapshots_name_is_there_and_is_nobody_elses() {
        let taken = ["first".to_owned()];

        assert_eq!(complaint_about("", &taken).as_deref(), Some("Give the snapshot a name."));
        assert_eq!(complaint_about("first", &taken).as_deref(), Some("Another snapshot has this name."));
        assert!(complaint_about(&"x".repeat(NAME_MAX_CHARACTERS + 1), &taken).is_some());
        assert_eq!(complaint_about("before the update", &taken), None);
    }

    #[test]
    fn of_a_running_guest_the_memory_is_lost_and_of_a_saved_one_that_state() {
        assert!(!what_is_lost(&GuestState::Off).contains("lost, too"));
        assert!(what_is_lost(&GuestState::Running).contains("only in its memory"));
        assert!(what_is_lost(&GuestState::Saved).contains("saved state"));
    }

    #[test]
    fn each_file_is_told_once() {
        let preview = Preview {
            change: ["/g/guest.toml", "/g/snapshots.toml", "/d/base.qcow2"].map(Into::into).into(),
            merge: vec![Merging { from: "/d/above.qcow2".into(), into: "/d/base.qcow2".into() }],
            remove: ["/g/picture.png", "/d/above.qcow2"].map(Into::into).into(),
            keep: vec![Kept { path: "/d/other.qcow2".into(), reason: "\"copy\" uses it".to_owned() }],
            ..Preview::default()
        };

        assert_eq!(
            words_about(&preview),
            [
                "/g/picture.png is removed",
                "/d/above.qcow2 is merged into base.qcow2",
                "/d/other.qcow2 is kept: \"copy\" uses it",
            ]
        );
    }
}
