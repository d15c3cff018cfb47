//! Address translation for guests, without root: what the supervisor, the worker and `lodge-nat` say to each other.
//!
//! ```text
//!  supervisor ── launch description, readiness ──▶ lodge-nat ── runs ──▶ passt, or libslirp in itself
//!      │                                             │    │
//!      └───── starts ──▶ lodge-worker ◀── feed ──────┘    │    streams of frames, handed over through the feed
//!                            └────────── control ─────────┘    requests: what is forwarded, and what else is to be
//! ```
//!
//! There is one `lodge-nat` for each network card. It ends when the worker closes its end of the control socket, however that
//! ends. The translator's own code (`src/bin/lodge-nat/`) belongs to that program: it links libslirp, which the worker does not
//! need.

#![forbid(unsafe_code)]

mod control;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::RawFd,
    path::PathBuf,
    str::FromStr,
};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use control::{Control, Reply, Request, Task, read_message, write_message};

/// The file descriptor on which `lodge-nat` finds its launch description.
pub const LAUNCH_FD: RawFd = 3;
/// The version of the description that this program writes and reads.
pub const LAUNCH_VERSION: u32 = 3;
/// The longest packet of a card that takes long ones, in bytes. Both back ends take up to 65520, but a guest gives a new connection a window of 64 KiB only: with one
/// packet in it at a time passt 2023-03 waits in vain for more room now and then.
pub const MTU: u16 = 32_768;
/// The longest packet of a card that takes usual ones only, in bytes.
pub const USUAL_MTU: u16 = 1500;

/// What `lodge-nat` is told. The file descriptors are numbers of those that it inherits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// [`LAUNCH_VERSION`].
    pub version: u32,
    /// The guest's name.
    pub guest: String,
    /// The card's name in QMP and in logs.
    pub card: String,
    /// The card's address.
    pub mac: [u8; 6],
    /// The longest packet that the card takes, in bytes.
    pub mtu: u16,
    /// Who translates.
    pub backend: Backend,
    /// The host's ports that lead into the guest.
    pub forwards: Vec<Forward>,
    /// What the guest is told to boot, and the folder whose files it can read by TFTP. Only libslirp can do that.
    pub boot: BootServer,
    /// The SEQPACKET socket through which the card gets its streams.
    pub feed: RawFd,
    /// The SEQPACKET socket over which the worker's requests come.
    pub control: RawFd,
    /// Where a [`Reply`] tells whoever has started it that it is ready, or why not.
    pub ready: RawFd,
}

/// What a guest finds to boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootServer {
    /// The file's name or address.
    pub bootfile: Option<String>,
    /// The folder that is served.
    pub folder: Option<PathBuf>,
}

impl BootServer {
    /// Whether there is nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Who translates addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `passt` where it is installed and can run, else libslirp.
    #[default]
    Auto,
    /// `passt`: quick, with IPv6 where the host has it. It needs a network on the host.
    Passt,
    /// libslirp: slower, but always there.
    Slirp,
}

impl Backend {
    /// The word for it in definitions and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Passt => "passt",
            Self::Slirp => "slirp",
        }
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Auto, Self::Passt, Self::Slirp];
        let found = known.into_iter().find(|backend| backend.name() == text);
        found.ok_or_else(|| format!("\"{text}\" translates nothing. Write backend=auto, passt or slirp"))
    }
}

/// What a port belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// The word for it in definitions and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Tcp, Self::Udp].into_iter().find(|protocol| protocol.name() == text);
        found.ok_or_else(|| format!("\"{text}\" is no protocol. Write tcp or udp"))
    }
}

/// A port of the host that leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forward {
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// The host's address: `127.0.0.1` for programs of the host only, `0.0.0.0` for everybody who reaches the host.
    #[serde(default = "localhost")]
    pub address: IpAddr,
    /// The host's port.
    pub port: u16,
    /// The guest's port.
    pub guest_port: u16,
}

/// The usual address: the guest's ports are nobody's business but the host's.
pub fn localhost() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

impl Forward {
    /// The host's end.
    pub fn host(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Whether both begin at the same port of the host.
    pub fn is_at(&self, other: &Self) -> bool {
        (self.protocol, self.host()) == (other.protocol, other.host())
    }
}

impl fmt::Display for Forward {
    /// As [`Forward::from_str`] reads it, with the address always.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, guest_port, .. } = self;
        write!(formatter, "{}:{}:{guest_port}", protocol.name(), self.host())
    }
}

impl FromStr for Forward {
    type Err = String;

    /// `[PROTOCOL:][ADDRESS:]PORT:GUEST_PORT`, an address of IPv6 in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" forwards nothing. Write like tcp:2222:22 or udp:127.0.0.1:5353:53");
        let port = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0).ok_or_else(wrong);
        let (rest, guest_port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (rest, host_port) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (protocol, address) = match rest.split_once(':') {
            Some((protocol @ ("tcp" | "udp"), address)) => (protocol.parse()?, Some(address)),
            None if matches!(rest, "tcp" | "udp") => (rest.parse()?, None),
            _ => (Protocol::default(), Some(rest).filter(|rest| !rest.is_empty())),
        };
        let address = match address {
            None => localhost(),
            Some(text) => {
                let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                inner.unwrap_or(text).parse().map_err(|_| wrong())?
            }
        };
        Ok(Self { protocol, address, port: port(host_port)?, guest_port: port(guest_port)? })
    }
}

/// Who carries a card's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// `passt`.
    Passt,
    /// libslirp.
    Slirp,
    /// The switch of an isolated network, which is no translator, but is asked in the same way.
    Switch,
}

impl Carrier {
    /// The word for it in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passt => "passt",
            Self::Slirp => "slirp",
            Self::Switch => "switch",
        }
    }
}

/// What a card's translator or switch does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Who carries the card's frames.
    pub carrier: Carrier,
    /// What keeps it from doing so at this moment, or something that is not as it was asked for.
    pub problem: Option<String>,
    /// What is forwarded.
    pub forwards: Vec<Forward>,
    /// Whether the last request has cut the guest's connections: `passt` has to begin anew for other forwards.
    pub restarted: bool,
    /// The isolated network, for [`Carrier::Switch`].
    #[serde(default)]
    pub isolated: Option<Isolated>,
}

impl State {
    /// That of one who carries frames as it should, and forwards nothing.
    pub fn new(carrier: Carrier) -> Self {
        Self { carrier, problem: None, forwards: Vec::new(), restarted: false, isolated: None }
    }
}

/// An isolated network, as one of the cards on it is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Isolated {
    /// The network's name.
    pub network: String,
    /// How many cards are on it.
    pub cards: usize,
    /// The subnet of which its switch gives addresses by DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Ipv4Net>,
    /// The address that it has given to this card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_may_leave_out_what_is_usual() {
        let parse = |text: &str| text.parse::<Forward>().map(|forward| forward.to_string());

        assert_eq!(parse("2222:22").unwrap(), "tcp:127.0.0.1:2222:22");
        assert_eq!(parse("udp:5353:53").unwrap(), "udp:127.0.0.1:5353:53");
        assert_eq!(parse("0.0.0.0:8080:80").unwrap(), "tcp:0.0.0.0:8080:80");
        assert_eq!(parse("tcp:[::1]:8080:80").unwrap(), "tcp:[::1]:8080:80");
        for wrong in ["", "22", "0:22", "2222:0", "sctp:1:2", "tcp:localhost:1:2", "tcp:::", "70000:22", "tcp::1:2"] {
            assert!(parse(wrong).unwrap_err().contains("tcp:2222:22"), "{wrong}");
        }
    }
}
