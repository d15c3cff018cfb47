//! What a definition may say of network cards.

use super::*;

fn complaints(networks: impl IntoIterator<Item = NetworkDefinition>) -> Vec<String> {
    let mut guest = Definition::new("web");
    guest.networks.extend(networks);
    guest.validate().err().map(|problems| problems.0).unwrap_or_default().into_iter().map(|p| p.field).collect()
}

#[test]
fn a_card_that_is_connected_to_something_else_stays_the_card_it_is() {
    let limits = NetworkLimitsDefinition { inbound_packets_sec: Some(1000), ..NetworkLimitsDefinition::default() };
    let mac = Some("52:54:00:12:34:56".to_owned());
    let card = NetworkDefinition { model: NetworkModel::E1000, mac, boot: Some(2), limits, ..NetworkDefinition::nat() };

    let moved = card.connected_to(NetworkDefinition::bridge("br0"));

    assert_eq!((moved.kind, moved.bridge.as_deref()), (NetworkKind::Bridge, Some("br0")));
    assert_eq!((moved.model, moved.mac, moved.boot, moved.limits), (card.model, card.mac, card.boot, card.limits));
    assert_eq!(moved.forwards, []);
}

#[test]
fn cards_get_addresses_that_stay_and_differ() {
    let mut guest = Definition::new("web");
    guest.add_network(NetworkDefinition::new(NetworkKind::None));
    guest.add_network(NetworkDefinition::tap("tap0"));
    let mut again = guest.clone();
    again.networks.iter_mut().for_each(|network| network.mac = None);

    again.address_networks();

    assert_eq!(again, guest);
    assert_ne!(guest.networks[0].mac, guest.networks[1].mac);
    assert!(guest.networks[0].mac.as_ref().unwrap().starts_with("52:54:00:"));
    assert_eq!(guest.validate(), Ok(()));
}

#[test]
fn each_kind_names_its_interface_and_no_other() {
    let both = NetworkDefinition { bridge: Some("br0".into()), ..NetworkDefinition::tap("tap0") };

    assert!(complaints([NetworkDefinition::bridge("br0"), NetworkDefinition::tap("tap0")]).is_empty());
    assert_eq!(complaints([NetworkDefinition::new(NetworkKind::Bridge)]), ["network[0].bridge"]);
    assert_eq!(complaints([NetworkDefinition::new(NetworkKind::Tap)]), ["network[0].tap"]);
    assert_eq!(complaints([both]), ["network[0].bridge"]);
    for wrong in ["", "..", "a/b", "tap%d", "sixteen-letters-"] {
        assert_eq!(complaints([NetworkDefinition::tap(wrong)]), ["network[0].tap"], "{wrong}");
    }
}

#[test]
fn ports_are_forwarded_to_a_card_with_address_translation_only_and_once() {
    let forward = |text: &str| text.parse::<Forward>().unwrap();
    let card = NetworkDefinition { forwards: vec![forward("2222:22")], ..NetworkDefinition::nat() };
    let twice = NetworkDefinition { forwards: vec![forward("udp:2222:22"), forward("2222:80")], ..card.clone() };
    let slirp = NatBackend::Slirp;
    let several = NetworkDefinition { queues: 2, backend: slirp, forwards: vec![forward("[::1]:1:2")], ..card.clone() };

    assert!(complaints([card.clone()]).is_empty());
    assert_eq!(complaints([card.clone(), twice]), ["network[1].forward[1].port"]);
    assert_eq!(complaints([several]), ["network[0].queues", "network[0].forward[0].address"]);
    let tap = NetworkDefinition { backend: slirp, kind: NetworkKind::None, ..card };
    assert_eq!(complaints([tap]), ["network[0].backend", "network[0].forward"]);
}

#[test]
fn an_isolated_network_has_a_name_and_perhaps_private_addresses() {
    let card = |name: &str, dhcp: &str| NetworkDefinition {
        dhcp: Some(dhcp.parse().unwrap()),
        ..NetworkDefinition::isolated(name)
    };

    assert!(complaints([NetworkDefinition::isolated("lab"), card("lab-2", "192.168.50.0/24")]).is_empty());
    assert_eq!(complaints([NetworkDefinition::new(NetworkKind::Isolated)]), ["network[0].network"]);
    assert_eq!(complaints([NetworkDefinition::new(NetworkKind::Network)]), ["network[0].network"]);
    assert!(complaints([NetworkDefinition { queues: 4, ..NetworkDefinition::network("default") }]).is_empty());
    assert_eq!(complaints([card("../lab", "8.8.8.0/24")]), ["network[0].network", "network[0].dhcp"]);
    for wrong in ["10.0.0.1/24", "10.0.0.0/30", "10.0.0.0/7"] {
        assert_eq!(complaints([card("lab", wrong)]), ["network[0].dhcp"], "{wrong}");
    }
    let several = NetworkDefinition { queues: 2, ..NetworkDefinition::isolated("lab") };
    assert_eq!(complaints([several]), ["network[0].queues"]);
    let tap = NetworkDefinition { kind: NetworkKind::None, ..card("lab", "10.0.0.0/24") };
    assert_eq!(complaints([tap]), ["network[0].network", "network[0].dhcp"]);
}

#[test]
fn booting_from_a_network_that_offers_nothing_is_told_of() {
    let warnings = |card: NetworkDefinition| {
        let mut guest = Definition::new("web");
        guest.add_network(NetworkDefinition { boot: Some(1), ..card });
        guest.boot_warnings()
    };
    let passt = NetworkDefinition { backend: NatBackend::Passt, ..NetworkDefinition::nat() };
    let served = NetworkDefinition { bootfile: Some("a.ipxe".into()), ..NetworkDefinition::nat() };

    assert!(warnings(NetworkDefinition::nat())[0].to_string().contains("nobody on it tells guests what to boot"));
    assert!(warnings(passt)[0].to_string().contains("backend = \"slirp\" and bootfile"));
    assert_eq!([warnings(served), warnings(NetworkDefinition::bridge("br0"))], [[], []]);
}

#[test]
fn what_two_cards_cannot_share_is_named() {
    let card = NetworkDefinition { mac: Some("52:54:00:00:00:01".into()), ..NetworkDefinition::tap("tap0") };

    assert_eq!(complaints([card.clone(), card]), ["network[1].mac", "network[1].tap"]);
}

#[test]
fn what_a_running_guests_card_suffers_from_is_told_by_the_definitions_name_for_it() {
    let mut running = Definition::new("web");
    running.add_network(NetworkDefinition::nat());
    running.add_network(NetworkDefinition::isolated("lab"));
    let mut stored = running.clone();
    let removed = stored.networks.remove(0).mac.unwrap();

    assert_eq!(stored.name_problem(&running, "net1: the switch has ended"), "net0: the switch has ended");
    assert_eq!(stored.name_problem(&running, "net0: passt: gone"), format!("{removed}: passt: gone"));
    assert_eq!(running.name_problem(&running, "net0: passt has ended"), "net0: passt has ended");
}
