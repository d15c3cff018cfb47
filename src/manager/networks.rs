//! The networks that a guest of this person can be on, and how each is at this moment.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::{
    definition::{Definition, NetworkDefinition, NetworkKind},
    host::{Root, networks},
    library::{Library, LibraryError},
    network,
    virtual_networks::VirtualNetworks,
};

/// What a new isolated network is called, and which addresses it has.
const NEW_ISOLATED: (&str, &str) = ("private", "10.55.0.0/24");

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkChoice {
    /// A card that is connected to it, without an address.
    pub card: NetworkDefinition,
    /// What keeps guests from starting on it, and how to mend it.
    pub problem: Option<String>,
    /// The guests that have a card on it, in the order of their names.
    pub guests: Vec<String>,
}

/// All networks that a card can be connected to: address translation, isolated networks (those that guests have, or a new one),
/// the host's networks, those interfaces and bridges of the host that can be used or that guests have. Reads the library and a few small files; call it
/// on a blocking thread.
pub fn choices(library: &Library, root: &Root) -> Result<Vec<NetworkChoice>, LibraryError> {
    let mut choices = networks::usable(root);
    let mut definitions = Vec::new();
    for name in library.names()? {
        // One that cannot be read has no cards.
        definitions.extend(library.load(&name).ok().map(|stored| stored.definition));
    }
    choices.extend(isolated(&definitions));
    let virtual_networks = VirtualNetworks::new(root).list();
    // Those of networks are offered as these.
    choices.retain(|card| !virtual_networks.iter().any(|network| card.bridge.as_ref() == Some(&network.bridge)));
    choices.extend(virtual_networks.into_iter().map(|network| NetworkDefinition::network(network.name)));
    let cards = || definitions.iter().flat_map(|definition| &definition.networks);
    for card in cards().filter(|card| card.kind != NetworkKind::None) {
        if !choices.iter().any(|known| is_same(known, card)) {
            choices.push(plain(card));
        }
    }
    choices.sort_by_key(|card| place(card.kind));
    let choice = |card: NetworkDefinition| NetworkChoice {
        problem: network::look(&card, root).err().map(|error| error.message),
        guests: guests(&definitions, &card),
        card,
    };
    Ok(choices.into_iter().map(choice).collect())
}

/// The isolated networks of these guests, or a new one when there is none.
fn isolated(definitions: &[Definition]) -> Vec<NetworkDefinition> {
    let mut networks = BTreeMap::new();
    for card in definitions.iter().flat_map(|definition| &definition.networks) {
        if let Some(name) = card.network.as_ref().filter(|_| card.kind == NetworkKind::Isolated) {
            let dhcp = networks.entry(name.clone()).or_insert(None);
            *dhcp = dhcp.or(card.dhcp);
        }
    }
    if networks.is_empty() {
        let (name, subnet) = NEW_ISOLATED;
        networks.insert(name.to_owned(), subnet.parse().ok());
    }
    networks.into_iter().map(|(name, dhcp)| NetworkDefinition { dhcp, ..NetworkDefinition::isolated(name) }).collect()
}

fn guests(definitions: &[Definition], network: &NetworkDefinition) -> Vec<String> {
    let is_on = |definition: &&Definition| definition.networks.iter().any(|card| is_same(card, network));
    let mut names: Vec<_> = definitions.iter().filter(is_on).map(|definition| definition.name.clone()).collect();
    names.sort_unstable();
    names
}

/// Whether both cards are connected to the same network.
fn is_same(one: &NetworkDefinition, other: &NetworkDefinition) -> bool {
    let key = |card: &NetworkDefinition| (card.kind, card.network.clone(), card.bridge.clone(), card.tap.clone());
    key(one) == key(other)
}

/// The card without what is its own.
fn plain(card: &NetworkDefinition) -> NetworkDefinition {
    let NetworkDefinition { bridge, tap, network, dhcp, .. } = card.clone();
    NetworkDefinition { bridge, tap, network, dhcp, ..NetworkDefinition::new(card.kind) }
}

/// The order in which they are offered.
fn place(kind: NetworkKind) -> u8 {
    match kind {
        NetworkKind::Nat => 0,
        NetworkKind::Isolated => 1,
        NetworkKind::Network => 2,
        NetworkKind::Bridge => 3,
        NetworkKind::Tap => 4,
        NetworkKind::None => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{paths::Paths, size::Size};

    /// The choices of a person with guests that have these cards, on a host with nothing.
    fn choices_with(guests: &[(&str, NetworkDefinition)]) -> Vec<NetworkChoice> {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        let library = Library::new(paths);
        for (name, card) in guests {
            let mut definition = Definition { memory: Size::mib(64), ..Definition::new(*name) };
            definition.add_network(card.clone());
            library.create(&definition).unwrap();
        }
        choices(&library, &Root::new(folder.path())).unwrap()
    }

    #[test]
    fn everybody_can_have_address_translation_and_an_isolated_network() {
        let choices = choices_with(&[]);

        let cards: Vec<_> = choices.iter().map(|choice| (choice.card.kind, choice.problem.clone())).collect();
        assert_eq!(cards, [(NetworkKind::Nat, None), (NetworkKind::Isolated, None)]);
        assert_eq!(choices[1].card.network.as_deref(), Some("private"));
        let mut guest = Definition::new("web");
        choices.into_iter().for_each(|choice| guest.add_network(choice.card));
        assert_eq!(guest.validate(), Ok(()));
    }

    #[test]
    fn what_guests_have_is_offered_with_its_guests_and_what_is_wrong_with_it() {
        let lab = NetworkDefinition::isolated("lab");
        let with_addresses = NetworkDefinition { dhcp: "10.1.0.0/24".parse().ok(), ..lab.clone() };
        let choices =
            choices_with(&[("web", lab), ("db", with_addresses.clone()), ("old", NetworkDefinition::bridge("br9"))]);

        let [nat, isolated, bridge] = &choices[..] else { panic!("{choices:?}") };
        assert!(nat.guests.is_empty());
        assert_eq!((&isolated.card, &isolated.guests[..]), (&with_addresses, &["db".to_owned(), "web".to_owned()][..]));
        assert_eq!((bridge.card.mac.as_ref(), &bridge.guests[..]), (None, &["old".to_owned()][..]));
        assert!(bridge.problem.as_ref().unwrap().contains("ip link add br9"), "{bridge:?}");
    }
}
