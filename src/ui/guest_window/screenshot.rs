//! Saves a picture of the guest's screen, as the worker sees it.

use gtk::{gio, prelude::*};

use crate::ui::{
    backend::{Backend, GuestView},
    choosers, dialogs,
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
};

/// Takes the picture, then asks where to put it.
pub fn save(backend: &Backend, place: &Place, guest: &GuestView) {
    let (backend, place, guest) = (backend.clone(), place.clone(), guest.clone());
    relm4::spawn_local(async move {
        let failed = |error: String| {
            let heading = gettext_f("No Screenshot of “{name}”", &[("name", &guest.name)]);
            dialogs::error(&place.window, &heading, &error);
        };
        let id = guest.id.clone();
        let picture = match on_tokio(async move { backend.screenshot(&id).await }).await {
            Ok(picture) => picture,
            Err(error) => return failed(error.to_string()),
        };
        let name = format!("{}.png", guest.name);
        let Some(file) = choosers::choose_new_file(&place.window, &gettext("Save Screenshot"), &name).await else {
            return;
        };
        let written = file.replace_contents_future(picture, None, false, gio::FileCreateFlags::REPLACE_DESTINATION);
        match written.await {
            Ok(_) => place.toast(&gettext("The screenshot was saved")),
            Err((_, error)) => failed(error.to_string()),
        }
    });
}
