//! The answers to `x-lodge-query-networks`, `x-lodge-network-forward-add` and `x-lodge-network-forward-remove`.

use serde::{Deserialize, Serialize};

/// What a network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConnectionInfo {
    /// The card.
    pub id: String,
    /// What it is connected to: `nat`, `isolated=lab`, `bridge=br0`, `tap=tap0` or `none`.
    pub source: String,
    /// The host's TAP interface, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Who carries its frames: `passt`, `slirp`, the `switch` of an isolated network, a `tap`; `none` for nobody, or when that cannot be
    /// found out.
    pub backend: String,
    /// What keeps it from doing so, or is not as it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The host's ports that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Whether a change of the forwards has cut the guest's connections.
    #[serde(default)]
    pub restarted: bool,
    /// The isolated network, for `switch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<IsolatedInfo>,
}

/// An isolated network, as one of the cards on it sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IsolatedInfo {
    /// The network's name.
    pub network: String,
    /// How many cards are on it.
    pub cards: usize,
    /// The subnet of which its switch gives addresses by DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<String>,
    /// The address that it has given to the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A port of the host that leads into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forward {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The host's address.
    pub address: String,
    /// The host's port.
    pub port: u16,
    /// The guest's port.
    pub guest_port: u16,
}
