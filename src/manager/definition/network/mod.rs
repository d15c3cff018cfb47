//! The network cards of a definition.
//!
//! ```toml
//! [[network]]
//! kind = "nat"                # address translation: needs nothing
//!
//! [[network.forward]]         # port 2222 of the host is port 22 of the guest
//! port = 2222
//! guest_port = 22
//!
//! [[network]]
//! kind = "isolated"           # a network of your own guests, which leads nowhere else
//! network = "lab"
//! dhcp = "10.55.0.0/24"       # has addresses of this subnet for them
//!
//! [[network]]
//! kind = "network"            # a network of the host that root has made
//! network = "default"
//!
//! [[network]]
//! kind = "tap"                # an interface that is there already and belongs to you
//! tap = "tap0"
//! mac = "52:54:00:12:34:56"   # given when left out
//! model = "virtio"            # or "e1000", for guests without drivers for virtio
//! queues = 2                  # pairs of queues, for guests with several vCPUs
//! ```

#![forbid(unsafe_code)]

use std::{collections::HashSet, path::PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Definition, NetworkLimitsDefinition, Problem, mac};
use crate::switch;
pub use crate::{
    nat::{Backend as NatBackend, Forward, Protocol},
    worker::launch::NetworkModel,
};

/// Most network cards of a guest.
pub const MAX_NETWORKS: usize = 8;
/// Most ports of the host that lead to one card.
const MAX_FORWARDS: usize = 64;
/// Most pairs of queues of a card.
const MAX_QUEUES: u32 = 8;
/// The longest name of a file to boot: BOOTP's field has 128 bytes with the closing zero.
const BOOTFILE_MAX: usize = 127;
/// What an interface's name can have at most: IFNAMSIZ is 16 with the closing zero.
const INTERFACE_MAX: usize = 15;

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDefinition {
    /// What it is connected to.
    pub kind: NetworkKind,
    /// The host's bridge, for [`NetworkKind::Bridge`].
    #[serde(default)]
    pub bridge: Option<String>,
    /// The host's TAP interface, for [`NetworkKind::Tap`].
    #[serde(default)]
    pub tap: Option<String>,
    /// The network's name, for [`NetworkKind::Isolated`] and [`NetworkKind::Network`].
    #[serde(default)]
    pub network: Option<String>,
    /// The subnet of which guests get addresses by DHCP, for [`NetworkKind::Isolated`]. One guest on the network is enough to ask
    /// for it.
    #[serde(default)]
    pub dhcp: Option<Ipv4Net>,
    /// Which card the guest sees.
    #[serde(default)]
    pub model: NetworkModel,
    /// The card's address, as `52:54:00:12:34:56`. Given after the guest's UUID when left out.
    #[serde(default)]
    pub mac: Option<String>,
    /// Pairs of queues, at most 8.
    #[serde(default = "super::one")]
    pub queues: u32,
    /// Who translates addresses, for [`NetworkKind::Nat`].
    #[serde(default)]
    pub backend: NatBackend,
    /// The host's ports that lead into the guest, for [`NetworkKind::Nat`].
    #[serde(default, rename = "forward")]
    pub forwards: Vec<Forward>,
    /// Its place in the boot order, from 1, which it shares with the disks. A card without one is not booted from.
    #[serde(default)]
    pub boot: Option<u32>,
    /// What a guest is told to boot, for [`NetworkKind::Nat`] by libslirp: a file in `tftp`, or an address like
    /// `http://10.0.2.2:8080/boot.ipxe`, with which iPXE can do something.
    #[serde(default)]
    pub bootfile: Option<String>,
    /// A folder whose files the guest can read by TFTP, for [`NetworkKind::Nat`] by libslirp.
    #[serde(default)]
    pub tftp: Option<PathBuf>,
    /// How much it may carry.
    #[serde(default, skip_serializing_if = "NetworkLimitsDefinition::is_none")]
    pub limits: NetworkLimitsDefinition,
}

/// What a network card is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// The host's network by address translation, without root.
    Nat,
    /// A network of this user's guests, which leads nowhere else, without root.
    Isolated,
    /// A network of the host that root has made (`lodgectl network create`).
    Network,
    /// A bridge of the host, through an interface that is made for it and goes with it. That needs the right to do so.
    Bridge,
    /// A TAP interface of the host that is there already and that this user may use.
    Tap,
    /// Nothing: the card has no link.
    None,
}

impl NetworkDefinition {
    /// This card, connected to what `other` is connected to: what the guest sees of it and what limits it stays.
    pub fn connected_to(&self, other: Self) -> Self {
        let Self { model, mac, queues, boot, limits, .. } = self.clone();
        Self { model, mac, queues, boot, limits, ..other }
    }

    /// A card with one pair of queues.
    pub fn new(kind: NetworkKind) -> Self {
        let (backend, forwards) = (NatBackend::default(), Vec::new());
        let model = NetworkModel::default();
        Self {
            kind,
            bridge: None,
            tap: None,
            network: None,
            dhcp: None,
            model,
            mac: None,
            queues: 1,
            backend,
            forwards,
            boot: None,
            bootfile: None,
            tftp: None,
            limits: NetworkLimitsDefinition::default(),
        }
    }

    /// A card that reaches the host's network by address translation.
    pub fn nat() -> Self {
        Self::new(NetworkKind::Nat)
    }

    /// A card on the isolated network of this name.
    pub fn isolated(name: impl Into<String>) -> Self {
        Self { network: Some(name.into()), ..Self::new(NetworkKind::Isolated) }
    }

    /// A card on the host's network of this name.
    pub fn network(name: impl Into<String>) -> Self {
        Self { network: Some(name.into()), ..Self::new(NetworkKind::Network) }
    }

    /// A card in the host's bridge of this name.
    pub fn bridge(name: impl Into<String>) -> Self {
        Self { bridge: Some(name.into()), ..Self::new(NetworkKind::Bridge) }
    }

    /// A card at the host's TAP interface of this name.
    pub fn tap(name: impl Into<String>) -> Self {
        Self { tap: Some(name.into()), ..Self::new(NetworkKind::Tap) }
    }

    /// What it is connected to, as `lodgectl create --network` takes it: `nat`, `isolated=lab`, `bridge=br0`.
    pub fn source(&self) -> String {
        let named = |kind: &str, name: &Option<String>| format!("{kind}={}", name.as_deref().unwrap_or_default());
        match self.kind {
            NetworkKind::Nat => "nat".to_owned(),
            NetworkKind::Isolated => named("isolated", &self.network),
            NetworkKind::Network => named("network", &self.network),
            NetworkKind::Bridge => named("bridge", &self.bridge),
            NetworkKind::Tap => named("tap", &self.tap),
            NetworkKind::None => "none".to_owned(),
        }
    }

    /// The card's address in bytes; `None` when there is none or it is wrong.
    pub fn mac_bytes(&self) -> Option<[u8; 6]> {
        mac::parse(self.mac.as_deref()?)
    }

    /// Whether both cards have one address and may be in one network: what a TAP interface is connected to is not known.
    pub fn clashes(&self, other: &Self) -> bool {
        let apart = match (self.kind, other.kind) {
            (NetworkKind::None | NetworkKind::Nat, _) | (_, NetworkKind::None | NetworkKind::Nat) => true,
            (NetworkKind::Isolated, NetworkKind::Isolated) => self.network != other.network,
            (NetworkKind::Isolated, _) | (_, NetworkKind::Isolated) => true,
            (NetworkKind::Network, NetworkKind::Network) => self.network != other.network,
            (NetworkKind::Bridge, NetworkKind::Bridge) => self.bridge != other.bridge,
            _ => false,
        };
        !apart && self.mac_bytes().is_some() && self.mac_bytes() == other.mac_bytes()
    }

    fn validate(&self, field: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        for (name, value, kind) in [("bridge", &self.bridge, NetworkKind::Bridge), ("tap", &self.tap, NetworkKind::Tap)]
        {
            let message = match value {
                None if self.kind == kind => {
                    format!("the name of the host's {name} is missing. Write it, like {name} = \"{name}0\"")
                }
                Some(_) if self.kind != kind => format!("only kind = \"{name}\" has one. Remove it"),
                Some(value) if value.len() > INTERFACE_MAX => {
                    format!("{value:?} is too long for an interface. Write a name of at most {INTERFACE_MAX} letters")
                }
                Some(value) if !is_interface_name(value) => {
                    format!("{value:?} is no name of an interface. Correct it")
                }
                _ => continue,
            };
            problems.push(Problem::new(field(name), message));
        }
        if let Some(mac) = &self.mac
            && mac::parse(mac).is_none()
        {
            let message = format!("{mac:?} is no address of a card. Write one like 52:54:00:12:34:56");
            problems.push(Problem::new(field("mac"), message));
        }
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            let message = format!("{} is not possible. Choose 1 to {MAX_QUEUES}", self.queues);
            problems.push(Problem::new(field("queues"), message));
        } else if self.queues > 1 && self.model == NetworkModel::E1000 {
            problems.push(Problem::new(field("queues"), "a card of this model has one pair only. Write queues = 1"));
        }
        if let Some(message) = self.limits.problem() {
            problems.push(Problem::new(field("limits"), message));
        }
        self.validate_name(field, problems);
        self.validate_addresses(field, problems);
        self.validate_translation(field, problems);
    }

    fn validate_name(&self, field: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        let has_name = matches!(self.kind, NetworkKind::Isolated | NetworkKind::Network);
        let message = match self.network.as_deref() {
            None if has_name => "the network's name is missing. Write one, like network = \"lab\"".to_owned(),
            Some(_) if !has_name => "only kind = \"isolated\" and kind = \"network\" have one. Remove it".to_owned(),
            Some(name) if !switch::is_name(name) => format!(
                "{name:?} is no name of a network. Write at most {} letters, digits, \".\", \"_\" and \"-\"",
                switch::NAME_MAX
            ),
            _ => return,
        };
        problems.push(Problem::new(field("network"), message));
    }

    fn validate_addresses(&self, field: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        let is_isolated = self.kind == NetworkKind::Isolated;
        if let Some(subnet) = self.dhcp {
            let message = match is_isolated {
                false => Some("only kind = \"isolated\" has one. Remove it".to_owned()),
                true if is_private_subnet(subnet) => None,
                true => Some(format!("{subnet} cannot be given to guests. Write a private subnet, like 10.55.0.0/24")),
            };
            problems.extend(message.map(|message| Problem::new(field("dhcp"), message)));
        }
        if is_isolated && self.queues > 1 {
            problems.push(Problem::new(field("queues"), "an isolated network has one only. Write queues = 1"));
        }
    }

    fn validate_translation(&self, field: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        if self.kind != NetworkKind::Nat {
            let wrong = [
                ("backend", self.backend != NatBackend::default()),
                ("forward", !self.forwards.is_empty()),
                ("bootfile", self.bootfile.is_some()),
                ("tftp", self.tftp.is_some()),
            ];
            let wrong = wrong.into_iter().filter(|(_, is_there)| *is_there);
            problems.extend(wrong.map(|(name, _)| Problem::new(field(name), "only kind = \"nat\" has one. Remove it")));
            return;
        }
        if self.queues > 1 {
            problems.push(Problem::new(field("queues"), "address translation has one only. Write queues = 1"));
        }
        self.validate_boot_server(field, problems);
        if self.forwards.len() > MAX_FORWARDS {
            let message = format!("{} are too many. Keep at most {MAX_FORWARDS}", self.forwards.len());
            problems.push(Problem::new(field("forward"), message));
        }
        for (index, forward) in self.forwards.iter().enumerate() {
            let field = |name: &str| field(&format!("forward[{index}].{name}"));
            for (name, port) in [("port", forward.port), ("guest_port", forward.guest_port)] {
                if port == 0 {
                    problems.push(Problem::new(field(name), "0 is no port. Choose 1 to 65535"));
                }
            }
            if self.backend == NatBackend::Slirp && forward.address.is_ipv6() {
                let message = "backend = \"slirp\" forwards nothing from IPv6. Write an IPv4 address, like 127.0.0.1";
                problems.push(Problem::new(field("address"), message));
            }
        }
    }

    fn validate_boot_server(&self, field: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
        for (name, is_there) in [("bootfile", self.bootfile.is_some()), ("tftp", self.tftp.is_some())] {
            if is_there && self.backend == NatBackend::Passt {
                let message = "passt offers guests nothing to boot. Write backend = \"slirp\", or remove the line";
                problems.push(Problem::new(field(name), message));
            }
        }
        let is_possible =
            |file: &str| (1..=BOOTFILE_MAX).contains(&file.len()) && file.chars().all(|c| c.is_ascii_graphic());
        if let Some(file) = self.bootfile.as_ref().filter(|file| !is_possible(file)) {
            let message =
                format!("{file:?} is no file to boot. Write at most {BOOTFILE_MAX} characters without blanks");
            problems.push(Problem::new(field("bootfile"), message));
        }
        if self.tftp.as_ref().is_some_and(|folder| !folder.is_absolute()) {
            problems.push(Problem::new(field("tftp"), "the path has to begin at the root. Write it like /srv/tftp"));
        }
    }
}

impl Definition {
    /// Adds a network card and gives it an address when it has none.
    pub fn add_network(&mut self, network: NetworkDefinition) {
        self.networks.push(network);
        self.address_networks();
    }

    /// The number of the card that `card` is: the one with its address, whatever it is connected to.
    pub fn place_of_card(&self, card: &NetworkDefinition) -> Option<usize> {
        let mac = card.mac_bytes()?;
        self.networks.iter().position(|other| other.mac_bytes() == Some(mac))
    }

    /// What this definition calls the card that the worker of a guest that runs with `running` calls `id`: by its number, and by its
    /// address when the card was taken out meanwhile.
    pub fn name_of_card(&self, running: &Self, id: &str) -> String {
        let number = id.strip_prefix("net").and_then(|number| number.parse::<usize>().ok());
        let Some(card) = number.and_then(|number| running.networks.get(number)) else { return id.to_owned() };
        let removed = || card.mac.clone().unwrap_or_default();
        self.place_of_card(card).map_or_else(removed, |place| format!("net{place}"))
    }

    /// `problem`, which begins with what the worker of a guest that runs with `running` calls a card, by the name of that card here.
    pub fn name_problem(&self, running: &Self, problem: &str) -> String {
        let Some((id, what)) = problem.split_once(": ") else { return problem.to_owned() };
        format!("{}: {what}", self.name_of_card(running, id))
    }

    /// Gives an address to the cards that have none: always the same ones to the same guest, so that a card keeps its address
    /// even when nobody writes it down.
    pub fn address_networks(&mut self) {
        let mut taken: HashSet<_> = self.networks.iter().filter_map(NetworkDefinition::mac_bytes).collect();
        for network in self.networks.iter_mut().filter(|network| network.mac.is_none()) {
            let free = (0..).map(|number| mac::derived(self.uuid, number)).find(|mac| taken.insert(*mac));
            network.mac = free.map(mac::format);
        }
    }

    /// What is likely a slip: a guest is to boot from a network where nobody tells it what.
    pub fn boot_warnings(&self) -> Vec<Problem> {
        let is_in_vain =
            |card: &NetworkDefinition| card.kind == NetworkKind::Nat && card.boot.is_some() && card.bootfile.is_none();
        let cards = self.networks.iter().enumerate().filter(|(_, card)| is_in_vain(card));
        let warning = |(index, card): (usize, &NetworkDefinition)| {
            let (who, mend) = match card.backend {
                NatBackend::Passt => ("passt does not tell guests", "Write backend = \"slirp\" and"),
                _ => ("nobody on it tells guests", "Write"),
            };
            let message = format!(
                "{who} what to boot: iPXE gets an address and no more. {mend} bootfile = \"http://10.0.2.2:8080/boot.ipxe\" or a file \
                 of a tftp folder"
            );
            Problem::new(format!("network[{index}].boot"), message)
        };
        cards.map(warning).collect()
    }

    pub(super) fn validate_networks(&self, problems: &mut Vec<Problem>) {
        if self.networks.len() > MAX_NETWORKS {
            let message = format!("{} cards are too many. Keep at most {MAX_NETWORKS}", self.networks.len());
            problems.push(Problem::new("network", message));
        }
        let (mut macs, mut taps, mut ports) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (index, network) in self.networks.iter().enumerate() {
            let field = |name: &str| format!("network[{index}].{name}");
            network.validate(&field, problems);
            if network.mac_bytes().is_some_and(|mac| !macs.insert(mac)) {
                problems.push(Problem::new(field("mac"), "another card of this guest has it. Change it or remove it"));
            }
            if let Some(tap) = network.tap.as_ref().filter(|tap| !taps.insert(*tap)) {
                let message = format!("{tap} is already at another card of this guest. Use another interface");
                problems.push(Problem::new(field("tap"), message));
            }
            for (number, forward) in network.forwards.iter().enumerate() {
                if !ports.insert((forward.protocol, forward.host())) {
                    let message = format!("{} is forwarded twice. Choose another port", forward.host());
                    problems.push(Problem::new(field(&format!("forward[{number}].port")), message));
                }
            }
        }
    }
}

/// Whether guests can get addresses of `subnet`, and nobody else can have them (RFC 1918).
pub fn is_private_subnet(subnet: Ipv4Net) -> bool {
    subnet.network().is_private()
        && subnet.broadcast().is_private()
        && subnet == subnet.trunc()
        && switch::PREFIXES.contains(&subnet.prefix_len())
}

/// Whether the kernel takes `name` for an interface. `%` would make it choose a number.
pub fn is_interface_name(name: &str) -> bool {
    (1..=INTERFACE_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c))
}

#[cfg(test)]
mod tests;
