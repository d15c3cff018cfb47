//! What a network is, as its file says it.
//!
//! ```toml
//! version = 1
//! bridge = "lodgebr0"
//! subnet = "192.168.122.0/24"
//! autostart = true
//! ```

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::VirtualNetworkError;
use crate::{
    manager::{definition, host::Root},
    switch,
};

/// The version of the file that this program writes, and the newest it reads.
const VERSION: u32 = 1;
/// What bridges are called that nobody has named.
const BRIDGE: &str = "lodgebr";

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualNetwork {
    /// Its name.
    pub name: String,
    /// The bridge that it has while it is started.
    pub bridge: String,
    /// The addresses of its guests; the first one is the host's.
    pub subnet: Ipv4Net,
    /// Whether it is started together with the host.
    pub autostart: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    bridge: String,
    subnet: Ipv4Net,
    #[serde(default)]
    autostart: bool,
}

impl VirtualNetwork {
    /// The host's address on it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.hosts().next().unwrap_or(self.subnet.network())
    }

    /// The nft table that belongs to it.
    pub fn table(&self) -> String {
        format!("lodge_{}", self.name)
    }

    pub(super) fn from_toml(text: &str, name: &str) -> Result<Self, String> {
        let table: toml::Table = toml::from_str(text).map_err(|error| error.message().replace('\n', ", "))?;
        let version = table.get("version").and_then(toml::Value::as_integer).unwrap_or(0);
        if version > VERSION.into() {
            return Err(format!("it has version {version}, and this Lodge knows up to {VERSION}"));
        }
        let File { bridge, subnet, autostart, .. } =
            table.try_into().map_err(|error: toml::de::Error| error.message().replace('\n', ", "))?;
        let network = Self { name: name.to_owned(), bridge, subnet, autostart };
        network.check(&[]).map_err(|error| error.to_string())?;
        Ok(network)
    }

    pub(super) fn to_toml(&self) -> String {
        let Self { name, bridge, subnet, autostart } = self;
        let text = format!(
            "# A network of Lodge. \"lodgectl network start {name}\" makes it.\nversion = {VERSION}\nbridge = \"{bridge}\"\nsubnet = \
             \"{subnet}\"\n"
        );
        if *autostart { text + "autostart = true\n" } else { text }
    }

    /// Whether it can be, beside `others`.
    pub(super) fn check(&self, others: &[Self]) -> Result<(), VirtualNetworkError> {
        let wrong = |reason: String| Err(VirtualNetworkError::Bridge { bridge: self.bridge.clone(), reason });
        if !definition::is_interface_name(&self.bridge) || !switch::is_name(&self.bridge) {
            return wrong("is no name of a bridge".to_owned());
        }
        if !definition::is_private_subnet(self.subnet) {
            return Err(VirtualNetworkError::Subnet(self.subnet));
        }
        for other in others.iter().filter(|other| other.name != self.name) {
            if other.bridge == self.bridge {
                return wrong(format!("is the bridge of the network \"{}\"", other.name));
            }
            if meets(self.subnet, other.subnet) {
                let whose = format!("the network \"{}\" has", other.name);
                return Err(VirtualNetworkError::Overlap { subnet: self.subnet, other: other.subnet, whose });
            }
        }
        Ok(())
    }
}

/// Whether both have an address.
pub fn meets(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// Whether it can be a network's name.
pub fn check_name(name: &str) -> Result<(), VirtualNetworkError> {
    if switch::is_name(name) { Ok(()) } else { Err(VirtualNetworkError::Name(name.to_owned())) }
}

/// The first of the usual subnets that meets neither one of `others` nor `taken`.
pub fn free_subnet(others: &[VirtualNetwork], taken: &[(Ipv4Net, String)]) -> Result<Ipv4Net, VirtualNetworkError> {
    let all = others.iter().map(|other| other.subnet).chain(taken.iter().map(|(subnet, _)| *subnet));
    let all: Vec<_> = all.collect();
    let candidates = (122..255).filter_map(|third| Ipv4Net::new(Ipv4Addr::new(192, 168, third, 0), 24).ok());
    let is_free = |subnet: &Ipv4Net| !all.iter().any(|other| meets(*subnet, *other));
    candidates.into_iter().find(is_free).ok_or(VirtualNetworkError::NoSubnet)
}

/// A name for a bridge that nobody has.
pub fn free_bridge(others: &[VirtualNetwork], root: &Root) -> String {
    let is_free = |name: &String| {
        !others.iter().any(|other| other.bridge == *name) && !root.exists(format!("/sys/class/net/{name}"))
    };
    (0..).map(|number| format!("{BRIDGE}{number}")).find(is_free).unwrap_or_default()
}
