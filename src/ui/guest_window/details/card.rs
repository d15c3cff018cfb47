//! The page about a network card: what it is connected to, which card the guest sees, its limits, what the guest boots from it, and
//! the host's ports that lead through it. The cable of a running guest is plugged in and out at once.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use adw::prelude::*;
use gtk::{accessible::Property, glib};
use lodge::manager::{
    definition::{Definition, Forward, NatBackend, NetworkDefinition, NetworkKind, NetworkModel},
    size::Size,
};

use super::{
    Context, boot,
    form::{Form, Page, set_fact, switch_row},
    forward,
};
use crate::ui::{
    backend::{Backend, CardFacts, GuestId, Surroundings},
    dialogs,
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
    widgets::field::{self, NoteLine, Weight},
};

/// Seconds between two looks at the running guest's card.
const LOOK_AGAIN: u32 = 2;
/// The subnet that an isolated network gives addresses of, unless its text says another one.
const SUBNET: &str = "10.55.0.0/24";

/// The page of card number `index`.
pub fn page(context: &Context<'_>, definition: &Definition, index: usize) -> Page {
    let mut form = Form::new(context.on_edit);
    let Some(card) = definition.networks.get(index) else { return form.finish() };
    now(&mut form, context, index);
    let words =
        gettext("The connection, limits and forwarded ports apply at once, everything else at the guest’s next start.");
    form.applies_to(&words, move |guest| guest.place_of_card(index).is_some());
    connection(&mut form, context, card, index);
    hardware(&mut form, card, index);
    limits(&mut form, card, index);
    booting(&mut form, card, index);
    forwards(&mut form, context, index);
    form.removal(&gettext("_Remove Card…"));
    form.finish()
}

/// An edit of card number `index`.
fn of_card<T, E: Fn(&mut NetworkDefinition, T)>(index: usize, edit: E) -> impl Fn(&mut Definition, T) + use<T, E> {
    move |definition, value| {
        if let Some(card) = definition.networks.get_mut(index) {
            edit(card, value);
        }
    }
}

/// The field of what a card is connected to by name.
fn name_of(card: &mut NetworkDefinition) -> Option<&mut Option<String>> {
    match card.kind {
        NetworkKind::Isolated | NetworkKind::Network => Some(&mut card.network),
        NetworkKind::Bridge => Some(&mut card.bridge),
        NetworkKind::Tap => Some(&mut card.tap),
        _ => None,
    }
}

/// Connects a card with something else: what belongs to the old kind goes.
fn connect(card: &mut NetworkDefinition, to: NetworkDefinition) {
    *card = card.connected_to(to);
}

/// The likeliest connection of a kind.
fn likeliest(kind: NetworkKind, around: &Surroundings) -> NetworkDefinition {
    let known = around.networks.iter().find(|network| network.kind == kind);
    known.cloned().unwrap_or_else(|| match kind {
        NetworkKind::Isolated => NetworkDefinition::isolated("lab"),
        NetworkKind::Network => NetworkDefinition::network("default"),
        NetworkKind::Bridge => NetworkDefinition::bridge("br0"),
        NetworkKind::Tap => NetworkDefinition::tap("tap0"),
        _ => NetworkDefinition::new(kind),
    })
}

fn connection(form: &mut Form, context: &Context<'_>, card: &NetworkDefinition, index: usize) {
    let group = form.group(&gettext("Connection"));
    let field = |name: &str| format!("network[{index}].{name}");
    let around = context.around.clone();
    form.choice(
        &field("kind"),
        [&gettext("Connected To"), ""],
        &[
            (NetworkKind::Nat, gettext("The host (NAT)")),
            (NetworkKind::Isolated, gettext("An isolated network")),
            (NetworkKind::Network, gettext("A host network")),
            (NetworkKind::Bridge, gettext("A bridge")),
            (NetworkKind::Tap, gettext("A TAP interface")),
            (NetworkKind::None, gettext("Nothing")),
        ],
        &card.kind,
        of_card(index, move |card: &mut NetworkDefinition, kind| connect(card, likeliest(kind, &around))),
    );
    let mut shown = card.clone();
    let name = name_of(&mut shown).and_then(Option::take).unwrap_or_default();
    let row = form.entry(
        "",
        &gettext("Its name"),
        &name,
        of_card(index, |card, text: String| {
            if let Some(name) = name_of(card) {
                *name = Some(text);
            }
        }),
    );
    let line = NoteLine::below(&row, &group);
    let backends = [
        (NatBackend::Auto, gettext("The best there is")),
        (NatBackend::Passt, "passt".to_owned()),
        (NatBackend::Slirp, "libslirp".to_owned()),
    ];
    let backend = form.choice(
        &field("backend"),
        [&gettext("Address Translation"), ""],
        &backends,
        &card.backend,
        of_card(index, |card, backend| card.backend = backend),
    );
    let subnet = card.dhcp.map_or_else(|| SUBNET.to_owned(), |subnet| subnet.to_string());
    let words = gettext_f("Guests on it get addresses of {subnet}", &[("subnet", &subnet)]);
    let (dhcp_row, dhcp) = switch_row(&gettext("Addresses by DHCP"), &words, card.dhcp.is_some());
    form.add(&dhcp_row);
    form.note(&field("dhcp"), &dhcp);
    let send = form.sender(of_card(index, move |card, on: bool| card.dhcp = subnet.parse().ok().filter(|_| on)));
    dhcp.connect_active_notify(move |dhcp| send(dhcp.is_active()));
    let kind = Cell::new(card.kind);
    form.watch(move |shown| {
        let Some(card) = shown.definition.networks.get(index) else { return };
        backend.set_visible(card.kind == NetworkKind::Nat);
        dhcp_row.set_visible(card.kind == NetworkKind::Isolated);
        let mut card = card.clone();
        let name = name_of(&mut card).map(|name| name.take().unwrap_or_default());
        row.set_visible(name.is_some());
        let fields = ["network", "bridge", "tap"].map(|name| format!("network[{index}].{name}"));
        let note = fields.iter().find_map(|field| shown.note(field));
        line.show(note.as_ref().map(|(weight, text)| (*weight, text.as_str())), true);
        // Only then: what is known here is a little behind what is being typed.
        if kind.replace(card.kind) != card.kind {
            row.set_text(&name.unwrap_or_default());
        }
    });
}

fn hardware(form: &mut Form, card: &NetworkDefinition, index: usize) {
    form.group(&gettext("Card"));
    let field = |name: &str| format!("network[{index}].{name}");
    form.choice(
        &field("model"),
        [&gettext("Model"), &gettext("e1000 is slower, for systems without a driver for virtio")],
        &[(NetworkModel::Virtio, "virtio".to_owned()), (NetworkModel::E1000, "e1000".to_owned())],
        &card.model,
        of_card(index, |card, model| card.model = model),
    );
    form.entry(
        &field("mac"),
        &gettext("Address (MAC)"),
        card.mac.as_deref().unwrap_or_default(),
        of_card(index, |card, text: String| card.mac = Some(text)),
    );
    let queues = form.number(
        &field("queues"),
        &gettext("Pairs of Queues"),
        None,
        (card.queues.into(), 1.0, 0),
        of_card(index, |card, count: f64| card.queues = count as u32),
    );
    if let Some(row) = queues.ancestor(adw::ActionRow::static_type()).and_downcast::<adw::ActionRow>() {
        row.set_subtitle(&gettext("With several, vCPUs send and receive at the same time"));
    }
}

fn limits(form: &mut Form, card: &NetworkDefinition, index: usize) {
    let group = form.group(&gettext("Limits"));
    group.set_description(Some(&gettext("0 is no limit. What bursts may have is written in the definition’s text.")));
    let limits = card.limits;
    let mut bytes = |title: String, now: Option<Size>, set: fn(&mut NetworkDefinition, Option<Size>)| {
        form.byte_limit(&title, now, of_card(index, set));
    };
    bytes(gettext("Received"), limits.inbound_bytes_sec, |card, size| card.limits.inbound_bytes_sec = size);
    bytes(gettext("Sent"), limits.outbound_bytes_sec, |card, size| card.limits.outbound_bytes_sec = size);
    let mut frames = |title: String, now: Option<u64>, set: fn(&mut NetworkDefinition, Option<u64>)| {
        form.count_limit(&title, now, of_card(index, set))
    };
    frames(gettext("Packets Received"), limits.inbound_packets_sec, |card, count| {
        card.limits.inbound_packets_sec = count;
    });
    let last = frames(gettext("Packets Sent"), limits.outbound_packets_sec, |card, count| {
        card.limits.outbound_packets_sec = count;
    });
    form.note(&format!("network[{index}].limits"), &last);
}

fn booting(form: &mut Form, card: &NetworkDefinition, index: usize) {
    form.group(&gettext("Network Boot"));
    let field = |name: &str| format!("network[{index}].{name}");
    form.switch(
        &field("boot"),
        [&gettext("Start from This Card"), &gettext("By iPXE, behind the disks; the page Boot has the order")],
        card.boot.is_some(),
        move |definition, on| boot::set_card(definition, index, on),
    );
    let file = form.entry(
        &field("bootfile"),
        &gettext("File to boot, or its address"),
        card.bootfile.as_deref().unwrap_or_default(),
        of_card(index, |card, text: String| card.bootfile = Some(text).filter(|text| !text.is_empty())),
    );
    let folder = form.entry(
        &field("tftp"),
        &gettext("Folder that the guest reads files from (TFTP)"),
        &card.tftp.as_ref().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default(),
        of_card(index, |card, text: String| {
            card.tftp = Some(field::path_of(&text)).filter(|folder| !folder.as_os_str().is_empty());
        }),
    );
    form.watch(move |shown| {
        let card = shown.definition.networks.get(index);
        // Elsewhere the network's own server says what to boot.
        let offers = card.is_some_and(|card| card.boot.is_some() && card.kind == NetworkKind::Nat);
        [&file, &folder].into_iter().for_each(|row| row.set_visible(offers));
    });
}

/// The cable and the addresses of the running guest's card.
fn now(form: &mut Form, context: &Context<'_>, index: usize) {
    let group = form.group(&gettext("Now"));
    let words = gettext("At the guest’s next start it is plugged in again");
    let (row, cable) = switch_row(&gettext("Cable Plugged In"), &words, true);
    group.add(&row);
    let connected = form.fact(&gettext("Connection"), "");
    let address = form.fact(&gettext("Address"), "");
    let looking = Rc::new(Looking {
        backend: context.backend.clone(),
        place: context.place.clone(),
        guest: context.guest.id.clone(),
        index,
        cable: cable.clone(),
        connected,
        address,
        problem: NoteLine::below(&row, &group),
        filling: Cell::new(false),
    });
    looking.follow(&group);
    cable.connect_active_notify({
        let looking = looking.clone();
        move |cable| looking.plug(cable.is_active())
    });
    let was_active = Cell::new(false);
    form.watch(move |shown| {
        let active = shown.guest.state.is_active() && shown.guest.place_of_card(index).is_some();
        group.set_visible(active);
        if active && !was_active.replace(active) {
            looking.look();
        }
        was_active.set(active);
    });
}

/// What shows how the running guest's card is.
struct Looking {
    backend: Backend,
    place: Place,
    guest: GuestId,
    index: usize,
    cable: gtk::Switch,
    connected: adw::ActionRow,
    address: adw::ActionRow,
    problem: NoteLine,
    /// Whether the switch is moved by what was seen, and not by a person.
    filling: Cell<bool>,
}

impl Looking {
    /// Looks again and again for as long as the group can be seen: what carries the card's frames may end, or come back.
    fn follow(self: &Rc<Self>, group: &adw::PreferencesGroup) {
        let (this, group) = (Rc::downgrade(self), group.downgrade());
        glib::timeout_add_seconds_local(LOOK_AGAIN, move || {
            let (Some(this), Some(group)) = (this.upgrade(), group.upgrade()) else { return glib::ControlFlow::Break };
            if group.is_mapped() {
                this.look();
            }
            glib::ControlFlow::Continue
        });
    }

    fn look(self: &Rc<Self>) {
        let this = self.clone();
        relm4::spawn_local(async move {
            let (backend, guest, index) = (this.backend.clone(), this.guest.clone(), this.index);
            // A guest that is just starting or ending does not answer.
            let Ok(facts) = on_tokio(async move { backend.card(&guest, index).await }).await else { return };
            this.filling.set(true);
            this.cable.set_active(facts.link);
            this.filling.set(false);
            set_fact(&this.connected, &words_about(&facts));
            this.problem.show(facts.problem.as_deref().map(|problem| (Weight::Warning, problem)), true);
            let address = facts.address.iter().chain([&facts.mac]).map(String::as_str).collect::<Vec<_>>();
            set_fact(&this.address, &address.join(", "));
        });
    }

    fn plug(self: &Rc<Self>, up: bool) {
        if self.filling.get() {
            return;
        }
        let this = self.clone();
        relm4::spawn_local(async move {
            let (backend, guest, index) = (this.backend.clone(), this.guest.clone(), this.index);
            if let Err(error) = on_tokio(async move { backend.plug(&guest, index, up).await }).await {
                dialogs::error(&this.place.window, &gettext("The Cable Stays as It Is"), &error.to_string());
            }
            this.look();
        });
    }
}

/// What a card is connected to at this moment.
fn words_about(facts: &CardFacts) -> String {
    let mut words = vec![facts.backend.clone()];
    words.extend(facts.interface.clone());
    words.join(", ")
}

fn forwards(form: &mut Form, context: &Context<'_>, index: usize) {
    let group = form.group(&gettext("Forwarded Ports"));
    group.set_description(Some(&gettext("Ports of the host that lead to a port of the guest.")));
    let add = gtk::Button::builder()
        .icon_name("list-add-symbolic")
        .tooltip_text(gettext("Forward a Port…"))
        .css_classes(["flat"])
        .build();
    add.update_property(&[Property::Label(&gettext("Forward a Port…"))]);
    group.set_header_suffix(Some(&add));
    form.note(&format!("network[{index}].forward"), &add);
    let listed: Rc<RefCell<Vec<Forward>>> = Rc::default();
    let rows: RefCell<Vec<adw::ActionRow>> = RefCell::default();
    let send = form.sender(of_card(index, |card: &mut NetworkDefinition, edit: ForwardEdit| match edit {
        ForwardEdit::Add(forward) => card.forwards.push(forward),
        ForwardEdit::Remove(forward) => card.forwards.retain(|other| *other != forward),
    }));
    let (backend, place, there, added) = (context.backend.clone(), context.place.clone(), listed.clone(), send.clone());
    add.connect_clicked(move |_| {
        let (backend, place, added, there) = (backend.clone(), place.clone(), added.clone(), there.borrow().clone());
        relm4::spawn_local(async move {
            if let Some(forward) = forward::ask(&backend, &place, there).await {
                added(ForwardEdit::Add(forward));
            }
        });
    });
    form.watch(move |shown| {
        let Some(card) = shown.definition.networks.get(index) else { return };
        group.set_visible(card.kind == NetworkKind::Nat);
        if *listed.borrow() == card.forwards && rows.borrow().len() == card.forwards.len() {
            return;
        }
        listed.borrow_mut().clone_from(&card.forwards);
        rows.borrow_mut().drain(..).for_each(|row| group.remove(&row));
        for forward in &card.forwards {
            let row = forward_row(forward, &send);
            group.add(&row);
            rows.borrow_mut().push(row);
        }
    });
}

enum ForwardEdit {
    Add(Forward),
    Remove(Forward),
}

fn forward_row(forward: &Forward, send: &Rc<dyn Fn(ForwardEdit)>) -> adw::ActionRow {
    let protocol = forward.protocol.name().to_uppercase();
    let values = [
        ("protocol", protocol.as_str()),
        ("host", &forward.host().to_string()),
        ("guest", &forward.guest_port.to_string()),
    ];
    let title = gettext_f("{protocol} {host} to port {guest}", &values);
    let row = adw::ActionRow::builder().title(&title).build();
    let remove = gtk::Button::builder()
        .icon_name("user-trash-symbolic")
        .valign(gtk::Align::Center)
        .tooltip_text(gettext("No Longer Forward"))
        .css_classes(["flat"])
        .build();
    remove.update_property(&[Property::Label(&gettext_f("No longer forward {port}", &[("port", &title)]))]);
    let (forward, send) = (*forward, send.clone());
    remove.connect_clicked(move |_| send(ForwardEdit::Remove(forward)));
    row.add_suffix(&remove);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_keeps_its_address_and_model_wherever_it_is_connected() {
        let mut guest = Definition::new("web");
        let forwards = vec!["2222:22".parse().unwrap()];
        guest.add_network(NetworkDefinition { forwards, model: NetworkModel::E1000, ..NetworkDefinition::nat() });
        let mac = guest.networks[0].mac.clone();

        for to in [NetworkDefinition::isolated("lab"), NetworkDefinition::bridge("br0"), NetworkDefinition::nat()] {
            connect(&mut guest.networks[0], to);

            assert_eq!((&guest.networks[0].mac, guest.networks[0].model), (&mac, NetworkModel::E1000));
            assert_eq!(guest.validate(), Ok(()));
        }
    }
}
