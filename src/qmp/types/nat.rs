//! The answers to `x-lodge-query-nat`, `x-lodge-network-forward-add` and `x-lodge-network-forward-remove`.

use serde::{Deserialize, Serialize};

/// A network card whose addresses are translated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NatInfo {
    /// The card.
    pub id: String,
    /// Who translates: `passt` or `slirp`; `auto` when that cannot be found out.
    pub backend: String,
    /// What keeps it from doing so, or is not as it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The host's ports that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Whether a change of the forwards has cut the guest's connections.
    #[serde(default)]
    pub restarted: bool,
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
