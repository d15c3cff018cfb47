//! Tells of guests that need a person or have turned themselves off while nobody looks at them, and keeps the computer awake while
//! guests run, as far as that is preferred.

use std::collections::HashMap;

use gtk::{gio, glib, prelude::*};

use crate::ui::{
    app::APPLICATION_ID,
    backend::{GuestChange, GuestId, GuestState, GuestView},
    i18n::{gettext, gettext_f},
    preferences, wording,
};

/// The application's action that opens a guest; takes its id.
pub const OPEN_GUEST: &str = "open-guest";

/// What was seen last of the guests.
#[derive(Debug, Default)]
pub struct Notices {
    guests: HashMap<GuestId, GuestView>,
    /// Those of which something is told.
    told: HashMap<GuestId, Told>,
    /// What keeps the computer awake.
    inhibited: Option<u32>,
}

/// What is told of a guest, which says for how long that is worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It has failed or waits: until it no longer does.
    Trouble,
    /// It has turned itself off: until it runs again.
    End,
}

impl Notices {
    /// Takes note of what has happened to guests. `is_watched` says whether a guest's window is in use.
    pub fn follow(&mut self, changes: &[GuestChange], is_watched: impl Fn(&GuestId) -> bool) {
        if changes.iter().all(|change| *change == GuestChange::Statistics) {
            return;
        }
        for change in changes {
            match change {
                GuestChange::Added(guest) | GuestChange::Changed(guest) => self.look_at(guest, &is_watched),
                GuestChange::Removed(id) => {
                    self.guests.remove(id);
                    self.withdraw(id);
                }
                GuestChange::TurnsItselfOff(id) if is_watched(id) || !preferences::get().notify_ends => {}
                GuestChange::TurnsItselfOff(id) => self.tell_end(id),
                GuestChange::Statistics => {}
            }
        }
        self.keep_awake();
    }

    fn look_at(&mut self, guest: &GuestView, is_watched: &impl Fn(&GuestId) -> bool) {
        let before = self.guests.insert(guest.id.clone(), guest.clone());
        match before.and_then(|before| news(&before.state, &guest.state)) {
            Some(_) if is_watched(&guest.id) || !preferences::get().notify => {}
            Some(reason) => self.tell(guest, &guest.state, &reason, Told::Trouble),
            None if self.told.get(&guest.id).is_some_and(|told| told.is_over(&guest.state)) => self.withdraw(&guest.id),
            None => {}
        }
    }

    fn tell_end(&mut self, id: &GuestId) {
        if let Some(guest) = self.guests.get(id).cloned() {
            self.tell(&guest, &GuestState::Off, &gettext("The guest has turned itself off"), Told::End);
        }
    }

    fn tell(&mut self, guest: &GuestView, state: &GuestState, reason: &str, told: Told) {
        let state = wording::state(state);
        let title = gettext_f("{name}: {state}", &[("name", &guest.name), ("state", &state)]);
        let notification = gio::Notification::new(&title);
        notification.set_body(Some(reason));
        notification.set_icon(&gio::ThemedIcon::new(APPLICATION_ID));
        notification.set_priority(match told {
            Told::Trouble => gio::NotificationPriority::High,
            Told::End => gio::NotificationPriority::Normal,
        });
        let action = format!("app.{OPEN_GUEST}");
        notification.set_default_action_and_target_value(&action, Some(&key(&guest.id).to_variant()));
        relm4::main_application().send_notification(Some(&key(&guest.id)), &notification);
        self.told.insert(guest.id.clone(), told);
    }

    /// Takes back what was told of a guest: it is no longer so.
    fn withdraw(&mut self, id: &GuestId) {
        if self.told.remove(id).is_some() {
            relm4::main_application().withdraw_notification(&key(id));
        }
    }

    /// Keeps the computer awake, or no longer, as it is preferred now.
    pub fn keep_awake(&mut self) {
        let wanted = preferences::get().keep_awake && self.guests.values().any(|guest| runs(&guest.state));
        let application = relm4::main_application();
        match self.inhibited {
            None if wanted => {
                let reason = gettext("Virtual machines are running");
                let flags = gtk::ApplicationInhibitFlags::SUSPEND;
                let cookie = application.inhibit(None::<&gtk::Window>, flags, Some(&reason));
                // 0: the desktop has no way to.
                self.inhibited = Some(cookie).filter(|cookie| *cookie != 0);
            }
            Some(cookie) if !wanted => {
                application.uninhibit(cookie);
                self.inhibited = None;
            }
            _ => {}
        }
    }
}

impl Told {
    /// Whether it says nothing any more of a guest in this state.
    fn is_over(self, state: &GuestState) -> bool {
        match self {
            Self::Trouble => news(&GuestState::Running, state).is_none(),
            Self::End => runs(state) && *state != GuestState::Stopping,
        }
    }
}

/// What identifies the guest in notifications.
pub fn key(id: &GuestId) -> String {
    match id {
        GuestId::Known(uuid) => uuid.to_string(),
        GuestId::Broken(name) => name.clone(),
    }
}

/// Adds the action that opens the guest of a notification.
pub fn add_open_action(map: &impl IsA<gio::ActionMap>, open: impl Fn(String) + 'static) {
    let action = gio::SimpleAction::new(OPEN_GUEST, Some(glib::VariantTy::STRING));
    action.connect_activate(move |_, target| {
        if let Some(key) = target.and_then(|key| key.str()) {
            open(key.to_owned());
        }
    });
    map.add_action(&action);
}

fn runs(state: &GuestState) -> bool {
    state.is_active() && !matches!(state, GuestState::Paused { .. } | GuestState::InternalError { .. })
}

/// What a person should know who does not look, if anything.
fn news(before: &GuestState, now: &GuestState) -> Option<String> {
    if std::mem::discriminant(before) == std::mem::discriminant(now) && before.reason() == now.reason() {
        return None;
    }
    match now {
        GuestState::Crashed { reason } | GuestState::InternalError { reason } => Some(reason.clone()),
        GuestState::Paused { reason } => reason.clone(),
        GuestState::NotResponding => Some(gettext("The guest's process does not answer")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_fails_or_waits_is_news_once_and_one_that_is_paused_by_hand_is_none() {
        let crashed = GuestState::Crashed { reason: "it was killed".into() };
        let full = GuestState::Paused { reason: Some("no room".into()) };

        assert_eq!(news(&GuestState::Running, &crashed).as_deref(), Some("it was killed"));
        assert_eq!(news(&GuestState::Running, &full).as_deref(), Some("no room"));
        assert_eq!(news(&crashed, &crashed), None);
        assert_eq!(news(&GuestState::Running, &GuestState::PAUSED), None);
        assert_eq!(news(&GuestState::Running, &GuestState::Off), None);
        assert!(Told::Trouble.is_over(&GuestState::Off) && !Told::Trouble.is_over(&crashed));
        assert!(Told::End.is_over(&GuestState::Running));
        assert!(!Told::End.is_over(&GuestState::Stopping) && !Told::End.is_over(&GuestState::Off));
        assert!(runs(&GuestState::Running) && !runs(&GuestState::PAUSED) && !runs(&GuestState::Off));
    }
}
