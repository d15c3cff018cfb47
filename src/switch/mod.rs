//! Isolated networks, without root: what the supervisor, the keepers and the switches of `lodge-switch` say to each other.
//!
//! ```text
//!  supervisor ── launch description, readiness ──▶ keeper ── starts, when there is none ──▶ switch
//!      │                                            │  │ └────── membership, a stream ───────▶ │
//!      └───── starts ──▶ lodge-worker ◀── feed ─────┘  │                                       │
//!                         │  └────────── control ──────┘                                       │
//!                         └──────────────────────── frames ────────────────────────────────────┘
//! ```
//!
//! A network is a name. Its switch listens in `$XDG_RUNTIME_DIR/lodge/networks/`, where only its user can connect, and is
//! started by the first guest's keeper; it ends when nobody is on it. Each network card has a keeper, which gets it a stream
//! to the switch and another one when the switch has died; it ends when the worker closes its end of the control socket, however
//! that ends. Whoever starts a switch, joins it or (the switch itself) ends it holds the network's lock meanwhile.

#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::nat::Isolated;

/// The file descriptor on which `lodge-switch` finds its launch description.
pub const LAUNCH_FD: RawFd = 3;
/// The version of the description that this program writes and reads.
pub const LAUNCH_VERSION: u32 = 1;
/// The longest packet that cards are told of, in bytes: Ethernet's, since not every card on the network can have more.
pub const MTU: u16 = 1500;
/// The longest name of a network, in bytes.
pub const NAME_MAX: usize = 32;
/// Bits of the network in the address of a DHCP server's subnet, at least and at most.
pub const PREFIXES: std::ops::RangeInclusive<u8> = 8..=29;

/// What `lodge-switch` is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// [`LAUNCH_VERSION`].
    pub version: u32,
    /// The network's name.
    pub network: String,
    /// What the process is.
    pub role: Role,
}

/// What a `lodge-switch` is. The file descriptors are numbers of those that it inherits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Keeps one network card on the network.
    Keeper(Keeper),
    /// Carries the frames.
    Switch {
        /// The listening SEQPACKET socket where keepers join.
        listener: RawFd,
        /// The network's lock, not locked.
        lock: RawFd,
    },
}

/// What a keeper is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeper {
    /// Whom it keeps on the network.
    pub member: Member,
    /// The folder of the networks.
    pub folder: RawFd,
    /// The SEQPACKET socket through which the card gets its streams.
    pub feed: RawFd,
    /// The SEQPACKET socket over which the worker's requests come.
    pub control: RawFd,
    /// Where a [`Reply`](crate::nat::Reply) tells whoever has started it that the card is on the network, or why not.
    pub ready: RawFd,
}

/// A network card that is on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The guest's name.
    pub guest: String,
    /// The card's name in QMP and in logs.
    pub card: String,
    /// The card's address.
    pub mac: [u8; 6],
    /// The subnet of which the switch is to give addresses by DHCP.
    pub dhcp: Option<Ipv4Net>,
}

/// What a keeper asks a switch. Each is one message, and is answered by an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// To let a card join; a message with its end of a stream follows.
    Join(Member),
    /// How the network is.
    Query,
}

/// How the network is, or why the card cannot join it.
pub type Answer = Result<Isolated, String>;

/// Whether this can be a network's name: it is part of the names of files.
pub fn is_name(name: &str) -> bool {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    (1..=NAME_MAX).contains(&name.len())
        && name.chars().all(is_plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// The name of the socket where a network's switch listens.
pub fn socket_name(network: &str) -> String {
    format!("{network}.sock")
}

/// The name of a network's lock.
pub fn lock_name(network: &str) -> String {
    format!("{network}.lock")
}

/// The name of the log of a network's switch.
pub fn log_name(network: &str) -> String {
    format!("{network}.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_networks_name_is_a_plain_one() {
        for good in ["lab", "a", "web-2.test_net"] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", ".", "..", "-a", "a/b", "a b", "ä", "a%d", &"x".repeat(33)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
