//! What a person does to a guest, from the list or from its window: asked about where it cannot be taken back, done on
//! tokio, and complained about when it fails.

use anyhow::bail;
use gtk::{glib, prelude::*};
use lodge::manager::{host::Demand, library::Deleted};
use uuid::Uuid;

use crate::ui::{
    backend::{Backend, GuestState, GuestView, Operation},
    dialogs,
    i18n::{gettext, gettext_f},
    preferences,
    progress::Progress,
    widgets::jobs::Jobs,
    wording,
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
    /// Where it shows what takes long.
    pub jobs: Jobs,
}

impl Place {
    /// In this window, which has its toasts there.
    pub fn new(window: &impl IsA<gtk::Window>, toasts: &adw::ToastOverlay) -> Self {
        Self { window: window.clone().upcast(), toasts: toasts.clone(), jobs: Jobs::new() }
    }

    /// Runs a call of the manager that takes long. The window shows `doing`, how far it is, and if it is `stoppable` what
    /// stops it. `None` when a person has stopped it.
    pub async fn run_long<T: Send + 'static, F>(
        &self,
        doing: &str,
        stoppable: bool,
        call: impl FnOnce(Progress) -> F,
    ) -> Option<anyhow::Result<T>>
    where
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        let progress = Progress::default();
        let _shown = self.jobs.show(doing, stoppable, &progress);
        let result = on_tokio(call(progress.clone())).await;
        // It may have been done before it was stopped.
        (result.is_ok() || !progress.is_stopped()).then_some(result)
    }

    /// Says that something failed.
    pub fn complain(&self, heading: &str, error: &anyhow::Error) {
        dialogs::error(&self.window, heading, &error.to_string());
    }

    /// Says something that needs no answer.
    pub fn toast(&self, text: &str) {
        self.toasts.add_toast(adw::Toast::new(&glib::markup_escape_text(text)));
    }

    /// Says something that can be taken back.
    pub fn toast_with_undo(&self, text: &str, undo: impl Fn() + 'static) {
        let toast = adw::Toast::builder()
            .title(glib::markup_escape_text(text))
            .button_label(gettext("Undo"))
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
        let confirmed = match operation {
            Operation::ForceOff if preferences::get().confirm_force_off => {
                let heading = gettext_f("Force “{name}” Off?", &name);
                let message =
                    gettext("The guest is cut off as if its plug were pulled. What it has not saved is lost.");
                dialogs::confirm(&place.window, &heading, &message, &gettext("_Force Off")).await
            }
            Operation::Reset if preferences::get().confirm_reset => {
                let heading = gettext_f("Reset “{name}”?", &name);
                let message = gettext("The guest begins anew at once. What it has not saved is lost.");
                dialogs::confirm(&place.window, &heading, &message, &gettext("_Reset")).await
            }
            _ => true,
        };
        if !confirmed {
            return;
        }
        let demand = memory_demand(&backend, operation, std::slice::from_ref(&guest)).await;
        let id = guest.id.clone();
        let done = on_tokio(async move { backend.operate(operation, &id).await }).await;
        if done.is_ok() {
            warn_of_demand(&place, demand);
        }
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

/// What running guests may take of the host's memory once these are run, too; `None` where `operation` starts nothing.
pub async fn memory_demand(backend: &Backend, operation: Operation, guests: &[GuestView]) -> Option<Demand> {
    let started: Vec<_> = guests.iter().filter(|guest| !guest.state.is_active()).cloned().collect();
    if operation != Operation::Run || started.is_empty() {
        return None;
    }
    let backend = backend.clone();
    on_tokio(async move { backend.memory_demand(&started).await }).await.ok()
}

/// Says when the guests may take more memory than the host has.
pub fn warn_of_demand(place: &Place, demand: Option<Demand>) {
    if let Some(demand) = demand.filter(Demand::is_too_much) {
        let (more, free) = (wording::bytes(demand.more), wording::bytes(demand.available));
        place.toast(&gettext_f(
            "Running guests may take {more} more, and the host has {free} left",
            &[("more", &more), ("free", &free)],
        ));
    }
}

/// Whether the guest can be asked to shut down, to be started anew.
pub fn can_be_rebooted(guest: &GuestView) -> bool {
    guest.definition.is_ok() && guest.state == GuestState::Running
}

/// Has the guest shut down and starts it anew.
pub fn reboot(backend: &Backend, place: &Place, guest: &GuestView) {
    let (backend, place, name) = (backend.clone(), place.clone(), guest.name.clone());
    relm4::spawn_local(async move {
        let names = [("name", name.as_str())];
        let doing = gettext_f("Rebooting “{name}”…", &names);
        let guest = name.clone();
        let call = |stop| async move { reboot_within(&backend, &guest, stop).await };
        match place.run_long(&doing, true, call).await {
            Some(Ok(())) => {}
            Some(Err(error)) => place.complain(&gettext_f("“{name}” Could Not Be Rebooted", &names), &error),
            None => place.toast(&gettext_f("“{name}” was asked to shut down, and is not started anew", &names)),
        }
    });
}

/// Has the guest shut down and starts it anew; complains when it does not shut down.
pub async fn reboot_within(backend: &Backend, name: &str, stop: Progress) -> anyhow::Result<()> {
    if backend.reboot(name, stop).await? {
        return Ok(());
    }
    bail!(gettext(
        "Its system ignores the power button, or needs longer to shut down. Wait, reset it, or force it off."
    ))
}

/// Whether the guest's state can be kept.
pub fn can_be_saved(guest: &GuestView) -> bool {
    guest.definition.is_ok() && matches!(guest.state, GuestState::Running | GuestState::Paused { .. })
}

/// Whether there can be another guest that is like it.
pub fn can_be_cloned(guest: &GuestView) -> bool {
    guest.definition.is_ok() && !guest.state.is_active()
}

/// Keeps the guest's state, memory included, and ends it.
pub fn save_state(backend: &Backend, place: &Place, guest: &GuestView) {
    let (backend, place, name) = (backend.clone(), place.clone(), guest.name.clone());
    relm4::spawn_local(async move {
        let names = [("name", name.as_str())];
        let doing = gettext_f("Saving the state of “{name}”…", &names);
        let guest = name.clone();
        let saved =
            place.run_long(&doing, true, |progress| async move { backend.save_state(&guest, progress).await }).await;
        match saved {
            Some(Ok(())) => place.toast(&gettext_f("“{name}” is saved, and goes on from there when it is run", &names)),
            Some(Err(error)) => place.complain(&gettext_f("The State of “{name}” Could Not Be Saved", &names), &error),
            None => place.toast(&gettext_f("“{name}” goes on: its state was not saved", &names)),
        }
    });
}

/// Asks whether the state that was kept of the guest is to go, and removes it.
pub fn discard_saved(backend: &Backend, place: &Place, guest: &GuestView) {
    let (backend, place, name) = (backend.clone(), place.clone(), guest.name.clone());
    relm4::spawn_local(async move {
        let names = [("name", name.as_str())];
        let heading = gettext_f("Discard the Saved State of “{name}”?", &names);
        let message = gettext(
            "The guest begins anew at its next start, as if its plug had been pulled. What it has not saved to its disks is lost.",
        );
        if !dialogs::confirm(&place.window, &heading, &message, &gettext("_Discard")).await {
            return;
        }
        let guest = name.clone();
        if let Err(error) = on_tokio(async move { backend.discard_saved(&guest).await }).await {
            place.complain(&gettext_f("The Saved State of “{name}” Could Not Be Discarded", &names), &error);
        }
    });
}

/// Asks for a name and makes a guest of that name that is like this one.
pub fn clone(backend: &Backend, place: &Place, guest: &GuestView) {
    let (backend, place, guest) = (backend.clone(), place.clone(), guest.clone());
    relm4::spawn_local(async move {
        let taken = backend.guests().all().into_iter().map(|guest| guest.name).collect();
        let Some(new) = dialogs::ask_clone(&place.window, &guest, taken).await else { return };
        let (name, new_name) = (guest.name.clone(), new.name.clone());
        let names = [("name", name.as_str()), ("new", new_name.as_str())];
        let doing = gettext_f("Cloning “{name}” as “{new}”…", &names);
        let source = name.clone();
        let call = |progress| async move { backend.clone_guest(source, new, progress).await };
        match place.run_long(&doing, true, call).await {
            Some(Ok(())) => place.toast(&gettext_f("“{name}” was cloned as “{new}”", &names)),
            Some(Err(error)) => place.complain(&gettext_f("“{name}” Could Not Be Cloned", &names), &error),
            None => place.toast(&gettext_f("“{name}” was not cloned", &names)),
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
        let Some(disks) = ask_delete(&place, &name, &preview).await else { return };
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
                overlay.toast_with_undo(&text, move || restore(&backend, &place, vec![(name.clone(), id)]));
            }
            Err(error) => {
                let heading = gettext_f("“{name}” Could Not Be Deleted", &[("name", &name)]);
                dialogs::error(&place.window, &heading, &error.to_string());
            }
        }
    });
}

async fn ask_delete(place: &Place, name: &str, disks: &Deleted) -> Option<bool> {
    let heading = gettext_f("Delete “{name}”?", &[("name", name)]);
    dialogs::confirm_delete(&place.window, &heading, &dialogs::kept_for_a_week(1), disks).await
}

/// Brings deleted guests back, by their names and their places in the trash.
pub fn restore(backend: &Backend, place: &Place, guests: Vec<(String, Uuid)>) {
    let (backend, place) = (backend.clone(), place.clone());
    relm4::spawn_local(async move {
        for (name, id) in guests {
            let backend = backend.clone();
            if let Err(error) = on_tokio(async move { backend.restore(id).await }).await {
                place.complain(&gettext_f("“{name}” Could Not Be Brought Back", &[("name", &name)]), &error);
            }
        }
    });
}

/// Runs a call of the manager on tokio and waits for it without holding up the window.
pub async fn on_tokio<T: Send + 'static>(
    call: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    relm4::spawn(call).await.unwrap_or_else(|error| Err(error.into()))
}
