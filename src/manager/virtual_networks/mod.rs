//! Networks that root makes for guests of everybody: a bridge with addresses by DHCP, which reaches the host's networks by address
//! translation.
//!
//! A network is a file, `/etc/lodge/networks/NAME.toml`. While it is started there are, each marked as this network's:
//!
//! ```text
//!  the bridge              with the first address of the subnet; guests' interfaces are put into it
//!  the nft table lodge_NAME   masquerade and forwarding for the subnet. No other table is touched
//!  dnsmasq                 gives addresses and answers questions for names, on the bridge only
//!  /run/lodge/networks/NAME/  dnsmasq's configuration, its process id and its leases
//! ```
//!
//! and the kernel forwards packets (`net.ipv4.ip_forward`). Stopping takes all of it away.

#![forbid(unsafe_code)]

mod definition;
mod error;
mod host;
mod lifecycle;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::PathBuf,
};

use ipnet::Ipv4Net;
use rustix::fs::FlockOperation;
use serde::Serialize;

pub use definition::VirtualNetwork;
pub use error::VirtualNetworkError;
pub use lifecycle::Change;

use super::{
    atomic_file,
    host::{Root, networks},
};

/// Where the networks are written down.
const DEFINITIONS: &str = "/etc/lodge/networks";
/// Where what belongs to started ones lies.
const RUNNING: &str = "/run/lodge/networks";

/// What is there once the systemd unit that starts networks together with the host is enabled.
const ENABLED: [&str; 2] = [
    "/etc/systemd/system/multi-user.target.wants/lodge-networks.service",
    "/usr/lib/systemd/system/multi-user.target.wants/lodge-networks.service",
];

/// How a network is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkState {
    /// Nothing of it is there.
    Stopped,
    /// Guests can be on it.
    Running,
    /// Some of it is missing.
    Damaged {
        /// What.
        missing: Vec<String>,
    },
}

/// An address that a guest has been given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The card's address.
    pub mac: String,
    /// The address that it has.
    pub address: String,
    /// What the guest calls itself, if it does.
    pub hostname: Option<String>,
}

/// The networks of a host. Everybody can look at them, only root can change them.
#[derive(Debug, Clone, Default)]
pub struct VirtualNetworks {
    root: Root,
}

impl VirtualNetworks {
    /// Those below this root.
    pub fn new(root: &Root) -> Self {
        Self { root: root.clone() }
    }

    /// All of them, in the order of their names. What cannot be read is left out.
    pub fn list(&self) -> Vec<VirtualNetwork> {
        let files = fs::read_dir(self.root.path(DEFINITIONS)).into_iter().flatten().flatten();
        let names = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".toml")?.to_owned()));
        let mut networks: Vec<_> = names.filter_map(|name| self.load(&name).ok()).collect();
        networks.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        networks
    }

    /// The network of this name.
    pub fn load(&self, name: &str) -> Result<VirtualNetwork, VirtualNetworkError> {
        definition::check_name(name)?;
        let path = self.file(name);
        match atomic_file::read_text(&path) {
            Ok(text) => VirtualNetwork::from_toml(&text, name)
                .map_err(|reason| VirtualNetworkError::Definition { path, reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(VirtualNetworkError::NotFound(name.to_owned()))
            }
            Err(source) => Err(VirtualNetworkError::Io { path, source }),
        }
    }

    /// Writes a new network down. What is left out is chosen so that it meets nothing that is there.
    pub fn create(
        &self,
        name: &str,
        subnet: Option<Ipv4Net>,
        bridge: Option<&str>,
    ) -> Result<VirtualNetwork, VirtualNetworkError> {
        definition::check_name(name)?;
        self.check_rights()?;
        let _lock = self.lock()?;
        let path = self.file(name);
        if path.exists() {
            return Err(VirtualNetworkError::Exists(name.to_owned()));
        }
        let others = self.list();
        let subnet = match subnet {
            Some(subnet) => subnet,
            None => definition::free_subnet(&others, &host::subnets(&self.root)?)?,
        };
        let bridge = match bridge {
            Some(bridge) => bridge.to_owned(),
            None => definition::free_bridge(&others, &self.root),
        };
        let network = VirtualNetwork { name: name.to_owned(), bridge, subnet, autostart: false };
        network.check(&others)?;
        self.write_down(&network)?;
        Ok(network)
    }

    /// Has the host start the network when it starts itself, or no longer. Returns whether `lodge-networks.service`, which does it, is
    /// enabled.
    pub fn set_autostart(&self, name: &str, autostart: bool) -> Result<bool, VirtualNetworkError> {
        let network = self.load(name)?;
        self.check_rights()?;
        let _lock = self.lock()?;
        self.write_down(&VirtualNetwork { autostart, ..network })?;
        Ok(ENABLED.iter().any(|path| self.root.path(path).symlink_metadata().is_ok()))
    }

    fn write_down(&self, network: &VirtualNetwork) -> Result<(), VirtualNetworkError> {
        let (path, folder) = (self.file(&network.name), self.root.path(DEFINITIONS));
        let failed = |source| VirtualNetworkError::Io { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
        atomic_file::replace(&path, network.to_toml().as_bytes()).map_err(failed)?;
        // There is nothing private in it, and everybody's guests can be on it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(failed)
    }

    /// Forgets a network that is stopped.
    pub fn delete(&self, name: &str) -> Result<(), VirtualNetworkError> {
        let network = self.load(name)?;
        self.check_rights()?;
        let _lock = self.lock()?;
        if self.state(&network) != NetworkState::Stopped {
            return Err(VirtualNetworkError::Started(name.to_owned()));
        }
        let path = self.file(name);
        fs::remove_file(&path).map_err(|source| VirtualNetworkError::Io { path, source })
    }

    /// How a network is, as far as everybody can see.
    pub fn state(&self, network: &VirtualNetwork) -> NetworkState {
        let has_bridge = host::is_our_bridge(&self.root, network);
        let has_server = host::server(&self.root, &self.running(network)).is_some();
        let missing = [(has_bridge, format!("the bridge {}", network.bridge)), (has_server, "dnsmasq".to_owned())];
        let missing: Vec<_> = missing.into_iter().filter(|(is_there, _)| !is_there).map(|(_, what)| what).collect();
        match (missing.len(), self.running(network).exists()) {
            (0, _) => NetworkState::Running,
            (2, false) => NetworkState::Stopped,
            _ => NetworkState::Damaged { missing },
        }
    }

    /// The addresses that guests on a network have.
    pub fn leases(&self, network: &VirtualNetwork) -> Vec<Lease> {
        let text = fs::read_to_string(self.running(network).join(host::LEASES)).unwrap_or_default();
        let lease = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [_, mac, address, hostname, ..] => Some(Lease {
                mac: mac.to_owned(),
                address: address.to_owned(),
                hostname: Some(hostname.to_owned()).filter(|name| name != "*"),
            }),
            _ => None,
        };
        text.lines().filter_map(lease).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path(DEFINITIONS).join(format!("{name}.toml"))
    }

    /// Where what belongs to a started network lies.
    fn running(&self, network: &VirtualNetwork) -> PathBuf {
        self.root.path(RUNNING).join(&network.name)
    }

    fn check_rights(&self) -> Result<(), VirtualNetworkError> {
        let may = networks::may_make(&self.root) && rustix::process::geteuid().is_root();
        if may { Ok(()) } else { Err(VirtualNetworkError::NotRoot) }
    }

    /// Keeps others from changing networks meanwhile.
    fn lock(&self) -> Result<fs::File, VirtualNetworkError> {
        let folder = self.root.path(RUNNING);
        let path = folder.join(".lock");
        let lock = || -> io::Result<fs::File> {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
            let file = fs::File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
            Ok(file)
        };
        lock().map_err(|source| VirtualNetworkError::Io { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests;
