//! What a person does to a guest, from the list or from its window: asked about where it cannot be taken back, done on
//! tokio, and complained about when it fails.

use gtk::glib;
use uuid::Uuid;

use crate::ui::{
    backend::{Backend, GuestView, Operation},
    dialogs,
    i18n::{gettext, gettext_f},
};

/// How long a toast waits that takes something back, in seconds.
const UNDO_SECONDS: u32 = 15;

/// Where a person is told how it went.
#[derive(Debug, Clone)]
pub struct Place {
    /// The window that dialogs belong to.
    pub window: gtk::Window,
    /// Where toasts appear in it.
    pub toasts: adw::ToastOverlay,
}

impl Place {
    /// Says something that needs no answer.
    pub fn toast(&self, text: &str) {
        self.toasts.add_toast(adw::Toast::new(&glib::markup_escape_text(text)));
    }

    /// Says something that can be taken back.
    fn toast_with_undo(&self, text: &str, undo: impl Fn() + 'static) {
        let toast = adw::Toast::builder()
            .title(glib::markup_escape_text(text))
            .button_label(gettext("_Undo"))
            .timeout(UNDO_SECONDS)
            .build();
        toast.connect_button_clicked(move |_| undo());
        self.toasts.add_toast(toast);
    }
}

/// Does `operation` to the guest, after a confirmation where that is due.
pub fn operate(backend: &Backend, place: &Place, operation: Operation, guest: &GuestView) {
    let (backend, place, guest) = (backend.clone(), place.clone(), guest.clone());
    relm4::spawn_local(async move {
        let name = [("name", guest.name.as_str())];
        if operation == Operation::ForceOff {
            let heading = gettext_f("Force “{name}” Off?", &name);
            let message = gettext("The guest is cut off as if its plug were pulled. What it has not saved is lost.");
            if !dialogs::confirm(&place.window, &heading, &message, &gettext("_Force Off")).await {
                return;
            }
        }
        let id = guest.id.clone();
        let done = on_tokio(async move { backend.operate(operation, &id).await }).await;
        if let Err(error) = done {
            let heading = match operation {
                Operation::Run => gettext_f("“{name}” Could Not Be Run", &name),
                Operation::Pause => gettext_f("“{name}” Could Not Be Paused", &name),
                Operation::Reset => gettext_f("“{name}” Could Not Be Reset", &name),
                Operation::ShutDown => gettext_f("“{name}” Could Not Be Shut Down", &name),
                Operation::ForceOff => gettext_f("“{name}” Could Not Be Forced Off", &name),
            };
            dialogs::error(&place.window, &heading, &error.to_string());
        }
    });
}

/// Asks for another name and gives it to the guest.
pub fn rename(backend: &Backend, place: &Place, guest: &GuestView) {
    let (backend, place, old_name) = (backend.clone(), place.clone(), guest.name.clone());
    relm4::spawn_local(async move {
        let taken = backend.guests().all().into_iter().map(|guest| guest.name).collect();
        let Some(new_name) = dialogs::ask_name(&place.window, &old_name, taken).await else { return };
        let old = old_name.clone();
        if let Err(error) = on_tokio(async move { backend.rename(old, new_name).await }).await {
            let heading = gettext_f("“{name}” Could Not Be Renamed", &[("name", &old_name)]);
            dialogs::error(&place.window, &heading, &error.to_string());
        }
    });
}

/// Asks whether the guest is to be deleted, and its disks, and does it.
pub fn delete(backend: &Backend, place: &Place, guest: &GuestView) {
    let (backend, place, name) = (backend.clone(), place.clone(), guest.name.clone());
    relm4::spawn_local(async move {
        let preview = {
            let (backend, name) = (backend.clone(), name.clone());
            // A definition that cannot be read has no disks that are known; the guest can be deleted all the same.
            on_tokio(async move { backend.preview_delete(name).await }).await.unwrap_or_default()
        };
        let Some(disks) = dialogs::confirm_delete(&place.window, &name, &preview).await else { return };
        let deleted = {
            let name = name.clone();
            let backend = backend.clone();
            on_tokio(async move { backend.delete(name, disks).await }).await
        };
        match deleted {
            Ok(deleted) => {
                let (text, place) = (gettext_f("“{name}” was deleted", &[("name", &name)]), place.clone());
                let Some(id) = deleted.trash else { return };
                let overlay = place.clone();
                overlay.toast_with_undo(&text, move || restore(&backend, &place, &name, id));
            }
            Err(error) => {
                let heading = gettext_f("“{name}” Could Not Be Deleted", &[("name", &name)]);
                dialogs::error(&place.window, &heading, &error.to_string());
            }
        }
    });
}

/// Brings a deleted guest back.
fn restore(backend: &Backend, place: &Place, name: &str, id: Uuid) {
    let (backend, place, name) = (backend.clone(), place.clone(), name.to_owned());
    relm4::spawn_local(async move {
        if let Err(error) = on_tokio(async move { backend.restore(id).await }).await {
            let heading = gettext_f("“{name}” Could Not Be Brought Back", &[("name", &name)]);
            dialogs::error(&place.window, &heading, &error.to_string());
        }
    });
}

/// Runs a call of the manager on tokio and waits for it without holding up the window.
pub async fn on_tokio<T: Send + 'static>(
    call: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    relm4::spawn(call).await.unwrap_or_else(|error| Err(error.into()))
}
