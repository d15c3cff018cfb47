//! The disc in the guest's CD-ROM drive: put another one in, take it out. It is there at the guest's next start, too.

use std::path::PathBuf;

use crate::ui::{
    backend::{Backend, GuestView},
    choosers, dialogs,
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
};
use lodge::manager::drives::{Change, Changed, DriveError};

/// Asks for an ISO image and puts it into the drive, or into the first one.
pub fn insert(backend: &Backend, place: &Place, guest: &GuestView, drive: Option<String>) {
    let (backend, place, guest) = (backend.clone(), place.clone(), guest.clone());
    relm4::spawn_local(async move {
        let Some(path) = choose_image(&place).await else { return };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match change(&backend, &place, &guest, drive, Some(path)).await {
            Some(Changed { at_next_start: true, .. }) => place.toast(&gettext("The guest has it from its next start")),
            Some(_) => place.toast(&gettext_f("“{disc}” was inserted", &[("disc", &name)])),
            None => {}
        }
    });
}

/// Takes out what is in the drive, or in the first one.
pub fn eject(backend: &Backend, place: &Place, guest: &GuestView, drive: Option<String>) {
    let (backend, place, guest) = (backend.clone(), place.clone(), guest.clone());
    relm4::spawn_local(async move {
        if change(&backend, &place, &guest, drive, None).await.is_some() {
            place.toast(&gettext("The disc was ejected"));
        }
    });
}

/// Changes the disc; by force only after a question. Nothing where it was not done.
async fn change(
    backend: &Backend,
    place: &Place,
    guest: &GuestView,
    drive: Option<String>,
    medium: Option<PathBuf>,
) -> Option<Changed> {
    let attempt = |force| {
        let (backend, name) = (backend.clone(), guest.name.clone());
        let change = Change { drive: drive.clone(), medium: medium.clone(), force, live_only: false };
        on_tokio(async move { backend.change_medium(&name, &change).await })
    };
    let mut done = attempt(false).await;
    let is_locked = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(DriveError::Locked { .. }));
    if done.as_ref().is_err_and(is_locked) {
        let heading = gettext_f("“{name}” Uses the Disc", &[("name", &guest.name)]);
        let message = gettext("The guest has locked the drive. Programs in it that read from the disc will fail.");
        if !dialogs::confirm(&place.window, &heading, &message, &gettext("_Eject Anyway")).await {
            return None;
        }
        done = attempt(true).await;
    }
    if let Err(error) = &done {
        let heading = gettext_f("The Disc of “{name}” Could Not Be Changed", &[("name", &guest.name)]);
        dialogs::error(&place.window, &heading, &error.to_string());
    }
    done.ok()
}

async fn choose_image(place: &Place) -> Option<PathBuf> {
    let images = choosers::Kind { name: gettext("ISO images"), endings: &["iso"] };
    choosers::choose_file(&place.window, &gettext("Insert Disc"), &gettext("_Insert"), images).await
}
