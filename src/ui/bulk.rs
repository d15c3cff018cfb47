//! What a person does to several guests at once: one question, one strip that tells how far it is, one complaint.

use lodge::manager::library::Deleted;
use uuid::Uuid;

use crate::ui::{
    actions::Action,
    backend::{Backend, GuestView, Operation},
    dialogs,
    i18n::{gettext, ngettext_f},
    operations::{self, Place, on_tokio},
    preferences,
    progress::Progress,
};

/// So many guests are named in a question or a complaint.
const NAMED: usize = 8;

/// Does `operation` to the guests, one after the other, after a confirmation where that is due.
pub fn operate(backend: &Backend, place: &Place, operation: Operation, guests: Vec<GuestView>) {
    let (backend, place) = (backend.clone(), place.clone());
    relm4::spawn_local(async move {
        let preferred = preferences::get();
        let confirmed = match operation {
            Operation::ForceOff if preferred.confirm_force_off => confirm_force_off(&place, &guests).await,
            Operation::Reset if preferred.confirm_reset => confirm_reset(&place, &guests).await,
            _ => true,
        };
        if !confirmed {
            return;
        }
        let action = match operation {
            Operation::Run => Action::Run,
            Operation::Pause => Action::Pause,
            Operation::Reset => Action::Reset,
            Operation::ShutDown => Action::ShutDown,
            Operation::ForceOff => Action::ForceOff,
        };
        let demand = operations::memory_demand(&backend, operation, &guests).await;
        let call = move |guest: GuestView, _| {
            let backend = backend.clone();
            async move { backend.operate(operation, &guest.id).await }
        };
        each(&place, action, guests, call).await;
        operations::warn_of_demand(&place, demand);
    });
}

/// Has the guests shut down and starts them anew.
pub fn reboot(backend: &Backend, place: &Place, guests: Vec<GuestView>) {
    let (backend, place) = (backend.clone(), place.clone());
    relm4::spawn_local(async move {
        let call = move |guest: GuestView, stop: Progress| {
            let backend = backend.clone();
            async move { operations::reboot_within(&backend, &guest.name, stop).await }
        };
        each(&place, Action::Reboot, guests, call).await;
    });
}

/// Keeps the guests' states, memory included, and ends them.
pub fn save_states(backend: &Backend, place: &Place, guests: Vec<GuestView>) {
    let (backend, place) = (backend.clone(), place.clone());
    relm4::spawn_local(async move {
        let call = move |guest: GuestView, stop: Progress| {
            let backend = backend.clone();
            async move { backend.save_state(&guest.name, stop).await }
        };
        each(&place, Action::SaveState, guests, call).await;
    });
}

/// Asks whether the guests are to be deleted, and their disks, and does it.
pub fn delete(backend: &Backend, place: &Place, guests: Vec<GuestView>) {
    let (backend, place) = (backend.clone(), place.clone());
    relm4::spawn_local(async move {
        let preview = preview(&backend, &guests).await;
        let count = number(guests.len());
        let heading = ngettext_f("Delete {n} Guest?", "Delete {n} Guests?", count, &[]);
        let message = format!("{}\n\n{}", named(&guests), dialogs::kept_for_a_week(count));
        let asked = dialogs::confirm_delete(&place.window, &heading, &message, &preview);
        let Some(disks) = asked.await else { return };
        let calling = backend.clone();
        let call = move |guest: GuestView, _| {
            let backend = calling.clone();
            async move { backend.delete(guest.name, disks).await }
        };
        let deleted = each(&place, Action::Delete, guests, call).await;
        let in_trash: Vec<(String, Uuid)> =
            deleted.into_iter().filter_map(|(name, deleted)| Some((name, deleted.trash?))).collect();
        if !in_trash.is_empty() {
            let count = number(in_trash.len());
            let text = ngettext_f("{n} guest was deleted", "{n} guests were deleted", count, &[]);
            let overlay = place.clone();
            overlay.toast_with_undo(&text, move || operations::restore(&backend, &place, in_trash.clone()));
        }
    });
}

async fn confirm_force_off(place: &Place, guests: &[GuestView]) -> bool {
    let heading = ngettext_f("Force {n} Guest Off?", "Force {n} Guests Off?", number(guests.len()), &[]);
    let message = gettext("They are cut off as if their plugs were pulled. What they have not saved is lost.");
    let message = format!("{}\n\n{message}", named(guests));
    dialogs::confirm(&place.window, &heading, &message, &gettext("_Force Off")).await
}

async fn confirm_reset(place: &Place, guests: &[GuestView]) -> bool {
    let heading = ngettext_f("Reset {n} Guest?", "Reset {n} Guests?", number(guests.len()), &[]);
    let message = gettext("They begin anew at once. What they have not saved is lost.");
    let message = format!("{}\n\n{message}", named(guests));
    dialogs::confirm(&place.window, &heading, &message, &gettext("_Reset")).await
}

/// What would go with the guests' disks, and what would stay.
async fn preview(backend: &Backend, guests: &[GuestView]) -> Deleted {
    let (backend, names): (_, Vec<String>) = (backend.clone(), guests.iter().map(|guest| guest.name.clone()).collect());
    let previews = on_tokio(async move {
        let mut all = Deleted::default();
        for name in names {
            // A definition that cannot be read has no disks that are known; the guest can be deleted all the same.
            let one = backend.preview_delete(name).await.unwrap_or_default();
            all.removed.extend(one.removed);
            all.kept.extend(one.kept);
        }
        Ok(all)
    });
    previews.await.unwrap_or_default()
}

/// Calls the manager for each guest, one after the other, until a person stops it. Complains of all failures at once, and returns
/// what was done.
async fn each<T: Send + 'static, F>(
    place: &Place,
    action: Action,
    guests: Vec<GuestView>,
    call: impl Fn(GuestView, Progress) -> F + Send + 'static,
) -> Vec<(String, T)>
where
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let title = action.title();
    let values = [("action", title.trim_end_matches('…'))];
    let doing = ngettext_f("{action}: {n} guest", "{action}: {n} guests", number(guests.len()), &values);
    let total = guests.len() as u64;
    let results = place.run_long(&doing, true, |progress| async move {
        let mut results = Vec::new();
        for (done, guest) in (0..).zip(guests) {
            if !progress.tell(done, total) {
                break;
            }
            let name = guest.name.clone();
            // What each tells of itself would make the bar jump; only the way to stop it is shared.
            results.push((name, call(guest, progress.of_a_part()).await));
        }
        Ok(results)
    });
    let results = results.await.and_then(Result::ok).unwrap_or_default();
    let (done, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
    complain(place, &failed);
    done.into_iter().filter_map(|(name, result)| Some((name, result.ok()?))).collect()
}

fn complain<T>(place: &Place, failed: &[(String, anyhow::Result<T>)]) {
    let mut lines: Vec<String> = failed
        .iter()
        .take(NAMED)
        .filter_map(|(name, result)| Some(format!("{name}: {}", result.as_ref().err()?)))
        .collect();
    if lines.is_empty() {
        return;
    }
    if failed.len() > NAMED {
        lines.push("…".to_owned());
    }
    let heading = ngettext_f("{n} Guest Refused", "{n} Guests Refused", number(failed.len()), &[]);
    dialogs::error(&place.window, &heading, &lines.join("\n\n"));
}

/// The guests' names, as far as there is room.
fn named(guests: &[GuestView]) -> String {
    let mut names: Vec<String> = guests.iter().take(NAMED).map(|guest| format!("“{}”", guest.name)).collect();
    if guests.len() > NAMED {
        names.push("…".to_owned());
    }
    names.join(", ")
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::guest_view;

    #[test]
    fn of_many_guests_only_some_are_named() {
        let guests: Vec<_> = (0..9).map(|index| guest_view(&format!("g{index}"))).collect();

        assert_eq!(named(&guests[..2]), "“g0”, “g1”");
        assert!(named(&guests).ends_with("“g7”, …"));
    }
}
