//! Shows a guest's screen to VNC viewers that come over TCP, for as long as its window is open and the guest runs.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use adw::prelude::*;
use gtk::{accessible::Property, pango};
use lodge::{
    manager::network_screen::{Listening, NetworkScreen, Showing},
    rfb::gate::Password,
};

use crate::ui::{
    backend::{Backend, GuestId, GuestView},
    dialogs,
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
    widgets::form::Form,
    wording,
};

/// VNC's own port.
const PORT: u16 = 5900;

/// Whether the screen of one window's guest is shown, and how. Clones are the same.
#[derive(Clone, Default)]
pub struct OnNetwork {
    shown: Rc<RefCell<Option<Shown>>>,
    asking: Rc<Cell<bool>>,
}

struct Shown {
    screen: NetworkScreen,
    password: String,
}

impl OnNetwork {
    /// Whether viewers are let in.
    pub fn is_shown(&self) -> bool {
        self.shown.borrow().is_some()
    }

    /// Lets nobody in any more when the guest has ended.
    pub fn follow(&self, guest: &GuestView) {
        if !guest.state.is_active() {
            self.shown.replace(None);
        }
    }

    /// Asks how the screen is to be shown, or tells how it is. `ended` is called when that is over, with `true` when the person
    /// wants to change what the definition says of it.
    pub fn ask(&self, backend: &Backend, place: &Place, guest: &GuestView, ended: impl FnOnce(bool) + 'static) {
        if self.asking.replace(true) {
            return;
        }
        let (this, backend, place, guest) = (self.clone(), backend.clone(), place.clone(), guest.clone());
        relm4::spawn_local(async move {
            let (asked, of) = (backend.clone(), guest.clone());
            // Whoever has let viewers in by hand can stop that, whatever the definition says since.
            let listening = match this.is_shown() {
                true => Ok(None),
                false => on_tokio(async move { asked.listening(&of).await }).await,
            };
            let mut change = false;
            if let Ok(Some(listening)) = listening {
                change = tell_of_definition(&place, &guest, listening).await;
            } else {
                if !this.is_shown() {
                    this.open(&backend, &place, &guest).await;
                }
                if this.is_shown() && this.tell(&place, &guest).await {
                    this.shown.replace(None);
                }
            }
            this.asking.set(false);
            ended(change);
        });
    }

    async fn open(&self, backend: &Backend, place: &Place, guest: &GuestView) {
        let GuestId::Known(uuid) = guest.id else { return };
        let Some((showing, password)) = ask_how(place, guest).await else { return };
        let opening = backend.clone();
        let opened = on_tokio(async move { opening.show_on_network(uuid, showing).await }).await;
        let active = backend.guests().get(&guest.id).is_some_and(|guest| guest.state.is_active());
        match opened {
            Ok(screen) if active => drop(self.shown.replace(Some(Shown { screen, password }))),
            failed => {
                let heading = gettext_f("“{name}” Cannot Be Shown on the Network", &[("name", &guest.name)]);
                // Whatever else is said when it has ended meanwhile.
                let error = failed.err().filter(|_| active);
                place.complain(&heading, &error.unwrap_or_else(wording::ended_meanwhile));
            }
        }
    }

    /// Tells where viewers find the screen. Whether it is to end.
    async fn tell(&self, place: &Place, guest: &GuestView) -> bool {
        let heading = gettext_f("“{name}” Is Shown on the Network", &[("name", &guest.name)]);
        let message = gettext("VNC viewers are let in until you stop it, close this window, or the guest ends.");
        let stop = gettext("_Stop Showing");
        let dialog = dialogs::question(&place.window, &heading, &message, &stop, adw::ResponseAppearance::Destructive);
        dialog.set_response_label(dialogs::CANCEL, &gettext("_Close"));
        dialog.set_default_response(Some(dialogs::CANCEL));
        if let Some(Shown { screen, password }) = &*self.shown.borrow() {
            let facts = facts(Some(screen.address), Some(password), screen.fingerprint.as_deref());
            dialog.set_extra_child(Some(&facts));
        }
        dialogs::choose(&dialog).await
    }
}

/// Tells where viewers find a screen that is shown because the definition says so. Whether that is to be changed.
async fn tell_of_definition(place: &Place, guest: &GuestView, listening: Listening) -> bool {
    let heading = gettext_f("“{name}” Is Shown on the Network", &[("name", &guest.name)]);
    let message = gettext("Its settings let VNC viewers in whenever it runs, whether this window is open or not.");
    let change = gettext("C_hange…");
    let dialog = dialogs::question(&place.window, &heading, &message, &change, adw::ResponseAppearance::Default);
    dialog.set_response_label(dialogs::CANCEL, &gettext("_Close"));
    dialog.set_default_response(Some(dialogs::CANCEL));
    let Listening { address, password, certificate } = listening;
    let fingerprint = certificate.as_ref().map(|(_, fingerprint)| fingerprint.as_str());
    dialog.set_extra_child(Some(&facts(address, password.as_deref(), fingerprint)));
    dialogs::choose(&dialog).await
}

/// Asks who may see the screen, and with which password.
async fn ask_how(place: &Place, guest: &GuestView) -> Option<(Showing, String)> {
    let heading = gettext_f("Show “{name}” on the Network?", &[("name", &guest.name)]);
    let message =
        gettext("VNC viewers that know the password see the guest’s screen, at once and until this window is closed.");
    let accept = gettext("_Show");
    let dialog = dialogs::question(&place.window, &heading, &message, &accept, adw::ResponseAppearance::Suggested);
    let form = Form::new(&dialog, &gettext("How the screen is shown"));
    let viewers = form.choice(&gettext("Viewers"), &[gettext("On this computer"), gettext("On other computers too")]);
    let port = form.entry(&gettext("Port"), &PORT.to_string());
    let suggested = Password::random().map(|(_, text)| text).unwrap_or_default();
    let password = form.entry(&gettext("Password"), &suggested);
    let tls = form.switch(
        &gettext("_Encrypt with TLS"),
        &gettext("Without it others on the network can see what viewers see and type, and find the password out. Old viewers do not know it."),
        true,
    );
    let view_only = form.switch(&gettext("_View Only"), &gettext("Viewers’ keys and pointers go nowhere."), false);
    let (judged_port, judged_password) = (port.clone(), password.clone());
    form.judge(move || {
        let wrong_port = port_in(&judged_port)
            .is_none()
            .then(|| (judged_port.clone().upcast(), gettext("Write a number from 0 to 65535. 0 chooses a free port.")));
        wrong_port.or_else(|| {
            let complaint =
                Password::new(&judged_password.text()).err().map(|_| gettext("Write one to eight letters or digits."));
            complaint.map(|complaint| (judged_password.clone().upcast(), complaint))
        })
    });
    let accepted = form.run().await;
    let text = String::from(password.text());
    let (port, password) = (port_in(&port)?, Password::new(&text).ok()?);
    let to_others = viewers.selected() == 1;
    let showing = Showing { to_others, port, password, tls: tls.is_active(), view_only: view_only.is_active() };
    accepted.then_some((showing, text))
}

fn port_in(entry: &adw::EntryRow) -> Option<u16> {
    entry.text().trim().parse().ok()
}

/// Where viewers find an address: by this computer's name when they may come from others.
fn reachable(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("{}:{}", gtk::glib::host_name(), address.port()),
        false => address.to_string(),
    }
}

/// What viewers must know.
fn facts(address: Option<SocketAddr>, password: Option<&str>, fingerprint: Option<&str>) -> gtk::Box {
    let facts = gtk::Box::builder().orientation(gtk::Orientation::Vertical).spacing(6).build();
    for (name, text) in [
        (gettext("Address"), address.map(reachable)),
        (gettext("Password"), password.map(str::to_owned)),
        (gettext("SHA-256 fingerprint of the certificate"), fingerprint.map(str::to_owned)),
    ] {
        if let Some(text) = text {
            add_fact(&facts, &name, &text);
        }
    }
    facts
}

/// Adds a text with its name above it; it can be selected, and copied.
fn add_fact(facts: &gtk::Box, name: &str, text: &str) {
    let title = gtk::Label::builder().label(name).css_classes(["caption", "dim-label"]).xalign(0.0).build();
    let value = gtk::Label::builder()
        .label(text)
        .selectable(true)
        .xalign(0.0)
        .wrap(true)
        .wrap_mode(pango::WrapMode::Char)
        .max_width_chars(48)
        .build();
    value.set_attributes(Some(&unbroken(text)));
    value.update_property(&[Property::Label(&format!("{name}: {text}"))]);
    facts.append(&title);
    facts.append(&value);
}

/// Keeps the bytes of a fingerprint, each with its colon, from being broken between two lines.
fn unbroken(text: &str) -> pango::AttrList {
    let attributes = pango::AttrList::new();
    let mut start = 0;
    for part in text.split_inclusive(':') {
        let mut attribute = pango::AttrInt::new_allow_breaks(false);
        attribute.set_start_index(start);
        start += part.len() as u32;
        attribute.set_end_index(start);
        attributes.insert(attribute);
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::with_gtk;

    #[test]
    fn a_fingerprint_is_broken_between_two_bytes() {
        with_gtk(|| {
            let fingerprint = ["D9"; 32].join(":");
            let facts = facts(None, None, Some(&fingerprint));
            let label = facts.last_child().and_downcast::<gtk::Label>().unwrap();
            let layout = label.layout();
            // Whatever the width, which needs not be a multiple of a byte's.
            for width in 80..120 {
                layout.set_width(width * pango::SCALE);
                let starts: Vec<_> = layout.lines_readonly().iter().map(|line| line.start_index()).collect();

                assert!(starts.len() > 2, "{starts:?}");
                assert!(starts.iter().all(|start| start % 3 == 0), "{starts:?}");
            }
        });
    }
}
