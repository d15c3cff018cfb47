//! The part of the screen's page about viewers that come over a network.

use std::{
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
};

use adw::prelude::*;
use lodge::{
    manager::definition::{Definition, ListenDefinition},
    rfb::gate::Password,
};

use super::form::{Form, switch_row};
use crate::ui::{i18n::gettext, widgets::field};

/// VNC's own port.
const PORT: u16 = 5900;

/// Adds the fields.
pub fn add(form: &mut Form, definition: &Definition) {
    let group = form.group(&gettext("Viewers on the Network"));
    group.set_description(Some(&gettext(
        "VNC viewers see and drive the guest whenever it runs. A change puts out those that are there.",
    )));
    let now = definition.display.listen.clone();
    let shown = now.clone().unwrap_or_else(suggestion);

    let places = places(now.as_ref());
    let viewers = adw::ComboRow::builder().title(gettext("Viewers")).build();
    field::show_chosen(&viewers);
    let words: Vec<_> = places.iter().map(|(_, words)| words.as_str()).collect();
    viewers.set_model(Some(&gtk::StringList::new(&words)));
    let place = now.as_ref().map(|listen| listen.address);
    let selected = places.iter().position(|(address, _)| *address == place).unwrap_or_default();
    viewers.set_selected(selected as u32);
    let adjustment = gtk::Adjustment::new(shown.port.into(), 0.0, u16::MAX.into(), 1.0, 10.0, 0.0);
    let (port_row, port) = field::number_row(&gettext("Port"), None, &adjustment, 0);
    // Translators: “Show on the Network” is the item of the menu.
    let chosen = gettext("0 chooses a free one at each start: “Show on the Network” in the window’s menu tells which.");
    port_row.set_subtitle(&chosen);
    port_row.set_subtitle_lines(0);
    let password =
        adw::EntryRow::builder().title(gettext("Password")).text(shown.password.clone().unwrap_or_default()).build();
    let (tls_row, tls) = switch_row(
        &gettext("Encrypt with TLS"),
        &gettext("Without it others on the network can see what viewers see and type. Old viewers do not know it."),
        shown.tls,
    );
    let (view_only_row, view_only) =
        switch_row(&gettext("View Only"), &gettext("Viewers’ keys and pointers go nowhere."), shown.view_only);
    for (field, row, noted) in [
        ("display.listen", viewers.upcast_ref::<gtk::Widget>(), viewers.upcast_ref::<gtk::Widget>()),
        ("display.listen.port", port_row.upcast_ref(), port.upcast_ref()),
        ("display.listen.password", password.upcast_ref(), password.upcast_ref()),
        ("display.listen.tls", tls_row.upcast_ref(), tls.upcast_ref()),
        ("display.listen.view_only", view_only_row.upcast_ref(), view_only.upcast_ref()),
    ] {
        group.add(row);
        form.note(field, noted);
    }

    let send = form.sender(|definition: &mut Definition, listen| definition.display.listen = listen);
    let entered = {
        let (viewers, port, password) = (viewers.clone(), port.clone(), password.clone());
        let (tls, view_only) = (tls.clone(), view_only.clone());
        move || {
            let address = places.get(viewers.selected() as usize)?.0?;
            Some(ListenDefinition {
                address,
                port: port.value() as u16,
                password: Some(password.text().into()).filter(|text: &String| !text.is_empty()),
                tls: tls.is_active(),
                view_only: view_only.is_active(),
                ..shown.clone()
            })
        }
    };
    let changed = Rc::new(move || send(entered()));
    let on_change = || {
        let changed = changed.clone();
        move || changed()
    };
    let (a, b, c, d, e) = (on_change(), on_change(), on_change(), on_change(), on_change());
    viewers.connect_selected_notify(move |_| a());
    port.connect_value_changed(move |_| b());
    password.connect_changed(move |_| c());
    tls.connect_active_notify(move |_| d());
    view_only.connect_active_notify(move |_| e());
    form.watch(move |shown| {
        let is_shown = shown.definition.display.listen.is_some();
        for row in [
            port_row.upcast_ref::<gtk::Widget>(),
            password.upcast_ref(),
            tls_row.upcast_ref(),
            view_only_row.upcast_ref(),
        ] {
            row.set_visible(is_shown);
        }
    });
}

/// What a guest has at first that is to be shown.
fn suggestion() -> ListenDefinition {
    let password = Password::random().ok().map(|(_, text)| text);
    ListenDefinition { password, ..ListenDefinition::at((Ipv4Addr::LOCALHOST, PORT).into()) }
}

/// The addresses that viewers can come to, in words.
fn places(now: Option<&ListenDefinition>) -> Vec<(Option<IpAddr>, String)> {
    let mut places = vec![
        (None, gettext("Nobody")),
        (Some(Ipv4Addr::LOCALHOST.into()), gettext("On this computer")),
        (Some(Ipv4Addr::UNSPECIFIED.into()), gettext("On other computers too")),
    ];
    // One that was written into the definition.
    if let Some(address) = now.map(|listen| listen.address)
        && !places.iter().any(|(place, _)| *place == Some(address))
    {
        places.push((Some(address), address.to_string()));
    }
    places
}
