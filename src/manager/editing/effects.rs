//! What a change of a definition does to the guest while it runs. A guest has the hardware with which it was started, whatever was
//! added to its definition and taken out of it since then: a card is known by its address, a disk by its name.

use crate::{
    manager::definition::{Definition, DiskDefinition, Forward, NetworkDefinition, NetworkKind},
    worker::launch::Limits,
};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// The disks whose limits are others, by name.
    pub limits: Vec<(String, Limits)>,
    /// The network cards whose limits are others, by the running guest's name for them.
    pub card_limits: Vec<(String, Limits)>,
    /// The network cards that are connected to something else, by the running guest's number.
    pub attached: Vec<usize>,
    /// The ports that are forwarded no longer (`false`) or from now on (`true`), with the running guest's name for their card.
    pub forwards: Vec<(String, Forward, bool)>,
    /// Whether the clipboard is shared with it from now on, where that is another matter than before.
    pub clipboard: Option<bool>,
    /// Whether its screen is shown on the network in another way from now on, or no longer.
    pub showing: bool,
    /// Whether something can only change at its next start.
    pub next_start: bool,
}

impl Effects {
    /// What it does to a guest that runs with `running` to store `after` instead of `before`.
    pub fn of(running: &Definition, before: &Definition, after: &Definition) -> Self {
        let next_start = with_live_changes(before, running, before, after) != *after;
        Self { next_start, ..Self::between(running, &with_live_changes(running, running, before, after)) }
    }

    /// What makes `reached` of a guest that runs with `running`: both have the same hardware.
    pub(super) fn between(running: &Definition, reached: &Definition) -> Self {
        let mut effects = Self::default();
        let sharing = reached.devices.clipboard;
        effects.clipboard = (running.devices.clipboard != sharing).then_some(sharing);
        effects.showing = running.display.listen != reached.display.listen;
        for (disk, wanted) in running.disks.iter().zip(&reached.disks) {
            if disk.limits != wanted.limits {
                effects.limits.push((disk.id.clone(), wanted.limits.limits()));
            }
        }
        for (index, (card, wanted)) in running.networks.iter().zip(&reached.networks).enumerate() {
            effects.add_card(index, card, wanted);
        }
        effects
    }

    /// What it does to make `wanted` of card number `index`.
    fn add_card(&mut self, index: usize, card: &NetworkDefinition, wanted: &NetworkDefinition) {
        let name = format!("net{index}");
        if card.limits != wanted.limits {
            self.card_limits.push((name.clone(), wanted.limits.limits()));
        }
        if !is_connected_alike(card, wanted) {
            self.attached.push(index);
        } else if card.kind == NetworkKind::Nat {
            let gone = card.forwards.iter().filter(|forward| !wanted.forwards.contains(forward));
            self.forwards.extend(gone.map(|forward| (name.clone(), *forward, false)));
            let new = wanted.forwards.iter().filter(|forward| !card.forwards.contains(forward));
            self.forwards.extend(new.map(|forward| (name.clone(), *forward, true)));
        }
    }

    /// Whether something changes in the running guest at once.
    pub fn at_once(&self) -> bool {
        !self.limits.is_empty()
            || !self.forwards.is_empty()
            || !self.card_limits.is_empty()
            || !self.attached.is_empty()
            || self.clipboard.is_some()
            || self.showing
    }
}

/// Whether something of what is stored waits for the next start of a guest that runs with `running`.
pub fn waits(running: &Definition, stored: &Definition) -> bool {
    let mut wanted = running.clone();
    take_words(&mut wanted, stored);
    wanted != *stored
}

/// Takes over what has nothing to do with a running guest.
fn take_words(definition: &mut Definition, after: &Definition) {
    definition.name.clone_from(&after.name);
    definition.description.clone_from(&after.description);
    definition.os.clone_from(&after.os);
    definition.tags.clone_from(&after.tags);
    definition.autostart = after.autostart;
}

/// `base`, in which all is changed that is another matter in `after` than in `before` and that a guest with the hardware of `running`
/// takes over while it runs.
pub(super) fn with_live_changes(
    base: &Definition,
    running: &Definition,
    before: &Definition,
    after: &Definition,
) -> Definition {
    let mut reached = base.clone();
    take_words(&mut reached, after);
    if before.devices.clipboard != after.devices.clipboard {
        reached.devices.clipboard = after.devices.clipboard;
    }
    if before.display.listen != after.display.listen {
        reached.display.listen.clone_from(&after.display.listen);
    }
    for disk in reached.disks.iter_mut().filter(|disk| find_disk(running, disk).is_some()) {
        let Some(wanted) = find_disk(after, disk) else { continue };
        if find_disk(before, disk).is_none_or(|known| known.limits != wanted.limits) {
            disk.limits = wanted.limits;
        }
    }
    for card in reached.networks.iter_mut().filter(|card| running.place_of_card(card).is_some()) {
        let find = |definition: &Definition| definition.networks.get(definition.place_of_card(card)?).cloned();
        if let Some(wanted) = find(after) {
            let known = find(before);
            change_card(card, known.as_ref(), wanted);
        }
    }
    reached
}

fn change_card(card: &mut NetworkDefinition, known: Option<&NetworkDefinition>, wanted: NetworkDefinition) {
    if known.is_none_or(|known| known.limits != wanted.limits) {
        card.limits = wanted.limits;
    }
    let is_as_known =
        known.is_some_and(|known| is_connected_alike(known, &wanted) && known.forwards == wanted.forwards);
    if is_as_known {
        return;
    }
    if !is_connected_alike(card, &wanted) {
        *card = card.connected_to(wanted);
    } else if card.kind == NetworkKind::Nat {
        card.forwards = wanted.forwards;
    }
}

/// The disk that `disk` is.
fn find_disk<'a>(definition: &'a Definition, disk: &DiskDefinition) -> Option<&'a DiskDefinition> {
    definition.disks.iter().find(|other| other.is_same(disk))
}

/// Whether both cards are connected to the same in the same way, whatever is forwarded.
fn is_connected_alike(one: &NetworkDefinition, other: &NetworkDefinition) -> bool {
    let place = |card: &NetworkDefinition| (card.source(), card.dhcp, card.backend);
    place(one) == place(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{
        definition::{DiskFormat, ListenDefinition},
        size::Size,
    };

    fn guest() -> Definition {
        let mut guest = Definition::new("web");
        guest.add_disk(DiskDefinition::new("/a", DiskFormat::Raw));
        let forwards = vec!["2222:22".parse().unwrap()];
        guest.add_network(NetworkDefinition { forwards, ..NetworkDefinition::nat() });
        guest
    }

    fn effects(change: impl FnOnce(&mut Definition)) -> Effects {
        let before = guest();
        let mut after = before.clone();
        change(&mut after);
        Effects::of(&before, &before, &after)
    }

    #[test]
    fn words_about_a_guest_do_nothing_to_it() {
        let told = effects(|guest| {
            (guest.description, guest.os, guest.tags) = ("mail".into(), Some("debian".into()), vec!["web".into()]);
        });

        assert_eq!(told, Effects::default());
    }

    #[test]
    fn limits_and_forwarded_ports_change_at_once() {
        let limited = effects(|guest| guest.disks[0].limits.total_iops_sec = Some(5));
        let forwarded = effects(|guest| guest.networks[0].forwards = vec!["8080:80".parse().unwrap()]);

        assert_eq!((limited.limits[0].0.as_str(), limited.limits[0].1.operations.rate), ("disk0", 5));
        let changes: Vec<_> =
            forwarded.forwards.iter().map(|(card, forward, add)| (card.as_str(), forward.port, *add)).collect();
        assert_eq!(changes, [("net0", 2222, false), ("net0", 8080, true)]);
        assert!(limited.at_once() && forwarded.at_once() && !limited.next_start && !forwarded.next_start);
    }

    #[test]
    fn the_clipboard_is_shared_or_not_at_once() {
        let off = effects(|guest| guest.devices.clipboard = false);
        let more = effects(|guest| (guest.devices.clipboard, guest.devices.rng) = (false, false));

        assert_eq!((off.clipboard, off.at_once(), off.next_start), (Some(false), true, false));
        assert_eq!((more.clipboard, more.at_once(), more.next_start), (Some(false), true, true));
        assert_eq!(effects(|_| {}).clipboard, None);
    }

    #[test]
    fn the_screen_is_shown_on_the_network_or_not_at_once() {
        let shown = effects(|guest| guest.display.listen = Some(ListenDefinition::at(([127, 0, 0, 1], 5901).into())));
        let more = effects(|guest| {
            guest.display.listen = Some(ListenDefinition::at(([127, 0, 0, 1], 5901).into()));
            guest.vcpus = 2;
        });

        assert_eq!((shown.showing, shown.at_once(), shown.next_start), (true, true, false));
        assert_eq!((more.showing, more.at_once(), more.next_start), (true, true, true));
        assert!(!effects(|_| {}).showing);
    }

    #[test]
    fn hardware_changes_at_the_next_start() {
        let memory = effects(|guest| guest.memory = Size::gib(3));
        let both = effects(|guest| {
            guest.vcpus = 2;
            guest.disks[0].limits.total_iops_sec = Some(5);
        });
        let other = effects(|guest| guest.networks[0] = NetworkDefinition::tap("tap0"));
        let new = effects(|guest| guest.add_disk(DiskDefinition::empty_drive()));
        let image = effects(|guest| guest.disks[0].path = "/b".into());

        assert!(memory.next_start && !memory.at_once());
        assert!(both.next_start && both.at_once());
        assert!(other.next_start && !other.at_once() && new.next_start, "another card, and one more");
        assert!(image.next_start && !image.at_once(), "another image of a disk");
    }

    #[test]
    fn a_card_is_connected_to_something_else_and_limited_at_once() {
        let moved = effects(|guest| guest.networks[0] = guest.networks[0].connected_to(NetworkDefinition::tap("tap0")));
        let limited = effects(|guest| guest.networks[0].limits.inbound_packets_sec = Some(1000));
        let booted = effects(|guest| {
            (guest.networks[0].boot, guest.networks[0].bootfile) = (Some(1), Some("boot.ipxe".into()));
        });

        assert_eq!((&moved.attached[..], moved.forwards.len(), moved.next_start), (&[0][..], 0, false));
        let [(card, limits)] = &limited.card_limits[..] else { panic!("{limited:?}") };
        assert_eq!((card.as_str(), limits.reads.rate, limited.next_start), ("net0", 1000, false));
        assert!(booted.next_start && !booted.at_once());
    }

    /// A guest that runs, and what is stored of it: its first card and its disk were taken out, and others were added.
    fn replaced() -> (Definition, Definition) {
        let mut running = guest();
        running.add_network(NetworkDefinition::isolated("lab"));
        let mut stored = running.clone();
        stored.networks.remove(0);
        stored.add_network(NetworkDefinition { mac: Some("52:54:00:00:00:09".into()), ..NetworkDefinition::nat() });
        stored.disks.remove(0);
        stored.add_disk(DiskDefinition::new("/b", DiskFormat::Raw));
        (running, stored)
    }

    #[test]
    fn the_card_that_has_moved_up_keeps_its_name_in_the_running_guest() {
        let (running, stored) = replaced();
        let mut after = stored.clone();
        after.networks[0].limits.inbound_packets_sec = Some(1000);
        let mut moved = stored.clone();
        moved.networks[0] = moved.networks[0].connected_to(NetworkDefinition::tap("tap0"));

        let limited = Effects::of(&running, &stored, &after);
        let moved = Effects::of(&running, &stored, &moved);

        assert_eq!((limited.card_limits[0].0.as_str(), limited.next_start), ("net1", false));
        assert_eq!((&moved.attached[..], moved.next_start), (&[1][..], false));
    }

    #[test]
    fn what_was_added_while_the_guest_runs_changes_at_its_next_start() {
        let (running, stored) = replaced();
        let mut after = stored.clone();
        after.networks[1].forwards = vec!["2222:22".parse().unwrap()];
        after.disks[0].limits.total_iops_sec = Some(5);
        assert_eq!(running.disks[0].id, after.disks[0].id, "another disk of that name");

        let effects = Effects::of(&running, &stored, &after);

        assert_eq!(effects, Effects { next_start: true, ..Effects::default() });
    }

    #[test]
    fn what_waits_already_is_not_done_by_the_next_change() {
        let running = guest();
        let mut stored = running.clone();
        (stored.vcpus, stored.disks[0].limits.total_iops_sec) = (2, Some(5));
        let mut after = stored.clone();
        after.devices.clipboard = false;

        let effects = Effects::of(&running, &stored, &after);

        assert_eq!(effects, Effects { clipboard: Some(false), ..Effects::default() });
    }

    #[test]
    fn a_card_that_is_put_back_gets_what_it_is_to_have() {
        let (running, stored) = replaced();
        let mut after = stored.clone();
        after.networks.insert(0, NetworkDefinition { forwards: Vec::new(), ..running.networks[0].clone() });

        let effects = Effects::of(&running, &stored, &after);

        let changes: Vec<_> =
            effects.forwards.iter().map(|(card, forward, add)| (&**card, forward.port, *add)).collect();
        assert_eq!(changes, [("net0", 2222, false)]);
    }

    #[test]
    fn a_card_that_is_put_back_elsewhere_is_connected_there_when_it_is_set_up() {
        let (running, mut stored) = replaced();
        stored.networks.insert(0, running.networks[0].connected_to(NetworkDefinition::isolated("lab")));
        let mut after = stored.clone();
        after.networks[0] = after.networks[0].connected_to(NetworkDefinition::isolated("yard"));
        let mut limited = stored.clone();
        limited.networks[0].limits.inbound_packets_sec = Some(1000);

        let (moved, limited) = (Effects::of(&running, &stored, &after), Effects::of(&running, &stored, &limited));

        assert_eq!((&moved.attached[..], moved.next_start), (&[0][..], false));
        assert!(limited.attached.is_empty() && limited.card_limits.len() == 1, "{limited:?}");
    }

    #[test]
    fn a_guest_waits_for_its_next_start_for_hardware_and_not_for_words() {
        let running = guest();
        let waits_for = |change: fn(&mut Definition)| {
            let mut stored = running.clone();
            change(&mut stored);
            waits(&running, &stored)
        };

        assert!(waits_for(|guest| guest.vcpus = 2) && waits_for(|guest| guest.add_network(NetworkDefinition::nat())));
        assert!(!waits_for(|guest| guest.description = "mail".into()) && !waits_for(|_| {}));
    }
}
