//! The dialog for a port of the host that is to lead into a guest. A port that somebody has is said at once.

use std::{cell::RefCell, net::IpAddr, rc::Rc};

use adw::prelude::*;
use lodge::manager::definition::{Forward, Protocol};

use crate::ui::{
    backend::Backend,
    dialogs,
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
    widgets::{
        field::{self, NoteLine, Weight},
        names::name_list,
    },
};

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// Asks for a forward; `there` are those that the card has already.
pub async fn ask(backend: &Backend, place: &Place, there: Vec<Forward>) -> Option<Forward> {
    let dialog = dialogs::question(
        &place.window,
        &gettext("New Forwarded Port"),
        "",
        &gettext("_Forward"),
        adw::ResponseAppearance::Suggested,
    );
    dialog.set_default_response(Some(dialogs::ACCEPT));
    let fields = Rc::new(Fields::new());
    dialog.set_extra_child(Some(&fields.group));
    let entered: Rc<RefCell<Option<Forward>>> = Rc::default();
    let refresh: Rc<dyn Fn()> = Rc::new({
        let (fields, entered, backend) = (Rc::downgrade(&fields), entered.clone(), backend.clone());
        let dialog = dialog.downgrade();
        move || {
            let Some((fields, dialog)) = fields.upgrade().zip(dialog.upgrade()) else { return };
            let forward = fields.entered();
            entered.replace(forward.as_ref().ok().copied());
            let wrong = match &forward {
                Err(text) => Some(text.clone()),
                Ok(forward) if there.iter().any(|other| other.is_at(forward)) => {
                    Some(gettext("This port is forwarded already. Choose another one."))
                }
                Ok(_) => None,
            };
            fields.note.show(wrong.as_deref().map(|text| (Weight::Wrong, text)), true);
            dialog.set_response_enabled(dialogs::ACCEPT, false);
            let (None, Ok(forward)) = (wrong, forward) else { return };
            let (backend, entered) = (backend.clone(), entered.clone());
            relm4::spawn_local(async move {
                let free = on_tokio(async move { backend.port_is_free(&forward).await }).await;
                if *entered.borrow() != Some(forward) {
                    return;
                }
                dialog.set_response_enabled(dialogs::ACCEPT, free.is_ok());
                if let Err(reason) = free {
                    let text = gettext_f("This port cannot be had: {reason}.", &[("reason", &reason.to_string())]);
                    fields.note.show(Some((Weight::Wrong, &text)), true);
                }
            });
        }
    });
    fields.connect(&refresh);
    refresh();
    let accepted = dialogs::choose(&dialog).await;
    entered.take().filter(|_| accepted)
}

struct Fields {
    group: adw::PreferencesGroup,
    protocol: adw::ComboRow,
    address: adw::EntryRow,
    port: gtk::SpinButton,
    guest_port: gtk::SpinButton,
    note: NoteLine,
}

impl Fields {
    fn new() -> Self {
        let group = adw::PreferencesGroup::builder().width_request(380).build();
        let words = gtk::StringList::new(&["TCP", "UDP"]);
        let protocol = adw::ComboRow::builder().title(gettext("Protocol")).model(&words).build();
        group.add(&protocol);
        name_list(&protocol, &gettext("New Forwarded Port"));
        let address = adw::EntryRow::builder().title(gettext("Host address (0.0.0.0: from everywhere)")).build();
        address.set_text("127.0.0.1");
        group.add(&address);
        let number = |title: &str, port: f64| {
            let adjustment = gtk::Adjustment::new(port, 0.0, 1e6, 1.0, 100.0, 0.0);
            let (row, spin) = field::number_row(title, None, &adjustment, 0);
            group.add(&row);
            spin
        };
        let port = number(&gettext("Port of the Host"), 2222.0);
        let guest_port = number(&gettext("Port of the Guest"), 22.0);
        let note = NoteLine::below(&port, &group);
        Self { group, protocol, address, port, guest_port, note }
    }

    fn connect(&self, refresh: &Rc<dyn Fn()>) {
        let again = refresh.clone();
        self.protocol.connect_selected_notify(move |_| again());
        let again = refresh.clone();
        self.address.connect_changed(move |_| again());
        for spin in [&self.port, &self.guest_port] {
            let again = refresh.clone();
            spin.connect_value_changed(move |_| again());
        }
    }

    fn entered(&self) -> Result<Forward, String> {
        let address: IpAddr =
            self.address.text().trim().parse().map_err(|_| gettext("This is no address. Write one like 127.0.0.1."))?;
        let port = |spin: &gtk::SpinButton| {
            let port = u16::try_from(spin.value() as u64).ok().filter(|port| *port > 0);
            port.ok_or_else(|| gettext("Ports go from 1 to 65535."))
        };
        let protocol = PROTOCOLS.get(self.protocol.selected() as usize).copied().unwrap_or_default();
        Ok(Forward { protocol, address, port: port(&self.port)?, guest_port: port(&self.guest_port)? })
    }
}
