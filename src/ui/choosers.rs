//! Asking for a file or a folder.

use std::path::PathBuf;

use gtk::{gio, prelude::*};

use crate::ui::{i18n::gettext, widgets::list_hidden_windows_first};

/// Files that a person may choose: what they are called, and how their names end.
pub struct Kind<'a> {
    /// What they are called.
    pub name: String,
    /// How their names end, without the dot.
    pub endings: &'a [&'a str],
}

/// Asks for a file that is there. `accept` is the button that takes it.
pub async fn choose_file(parent: &impl IsA<gtk::Window>, title: &str, accept: &str, kind: Kind<'_>) -> Option<PathBuf> {
    let chooser = chooser(parent, title, Some(accept), gtk::FileChooserAction::Open);
    let wanted = gtk::FileFilter::new();
    wanted.set_name(Some(&kind.name));
    kind.endings.iter().for_each(|ending| wanted.add_suffix(ending));
    let all = gtk::FileFilter::new();
    all.set_name(Some(&gettext("All files")));
    all.add_pattern("*");
    chooser.add_filter(&wanted);
    chooser.add_filter(&all);
    chosen(chooser).await
}

/// Asks for a folder.
pub async fn choose_folder(parent: &impl IsA<gtk::Window>, title: &str, accept: &str) -> Option<PathBuf> {
    chosen(chooser(parent, title, Some(accept), gtk::FileChooserAction::SelectFolder)).await
}

/// Asks where to put a new file, which is to be called `name`.
pub async fn choose_new_file(parent: &impl IsA<gtk::Window>, title: &str, name: &str) -> Option<gio::File> {
    let chooser = chooser(parent, title, None, gtk::FileChooserAction::Save);
    chooser.set_current_name(name);
    let response = chooser.run_future().await;
    (response == gtk::ResponseType::Accept).then(|| chooser.file()).flatten()
}

/// A chooser over `parent` that is not shown yet.
pub fn chooser(
    parent: &impl IsA<gtk::Window>,
    title: &str,
    accept: Option<&str>,
    action: gtk::FileChooserAction,
) -> gtk::FileChooserNative {
    let chooser = gtk::FileChooserNative::new(Some(title), Some(parent), action, accept, None);
    chooser.set_modal(true);
    // GTK has one of its own, which is shown where the desktop has none.
    list_hidden_windows_first();
    chooser
}

async fn chosen(chooser: gtk::FileChooserNative) -> Option<PathBuf> {
    let response = chooser.run_future().await;
    (response == gtk::ResponseType::Accept).then(|| chooser.file()?.path()).flatten()
}
