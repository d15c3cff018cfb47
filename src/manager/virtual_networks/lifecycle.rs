//! Making what a network consists of, and taking it away.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{NetworkState, RUNNING, VirtualNetwork, VirtualNetworkError, VirtualNetworks, definition::meets, host};

/// Whether the kernel forwards packets.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Says that it did not before the first network was started.
const FORWARDING_MARK: &str = ".ip_forward";

/// What has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// What was asked for.
    Done,
    /// Nothing: it was so already.
    Nothing,
}

impl VirtualNetworks {
    /// Makes what the network consists of, as far as it is not there. Of what it makes nothing is left when something fails. Guests
    /// that were on it before are on it again.
    pub fn start(&self, name: &str) -> Result<Change, VirtualNetworkError> {
        let network = self.load(name)?;
        self.check_rights()?;
        let _lock = self.lock()?;
        for program in [host::IP, host::NFT, host::DNSMASQ] {
            program.find()?;
        }
        let was_running = self.state(&network) == NetworkState::Running;
        let had_bridge = host::is_our_bridge(&self.root, &network);
        let made = self.make(&network);
        if made.is_err() && !was_running {
            // What it says matters less than why there is something to take away.
            if let Err(error) = self.take_away(&network, had_bridge) {
                tracing::warn!("{error}");
            }
        }
        made?;
        Ok(if was_running { Change::Nothing } else { Change::Done })
    }

    /// Takes away what the network consists of. With guests on it only when it is `force`d: they go on, and are on it again when
    /// it is started.
    pub fn stop(&self, name: &str, force: bool) -> Result<Change, VirtualNetworkError> {
        let network = self.load(name)?;
        self.check_rights()?;
        let _lock = self.lock()?;
        let was_stopped = self.state(&network) == NetworkState::Stopped;
        let ports = match host::is_our_bridge(&self.root, &network) {
            true => host::ports(&self.root, &network.bridge),
            false => Vec::new(),
        };
        if !ports.is_empty() && !force {
            return Err(VirtualNetworkError::InUse { name: network.name, interfaces: ports.join(", ") });
        }
        self.take_away(&network, false)?;
        Ok(if was_stopped { Change::Nothing } else { Change::Done })
    }

    fn make(&self, network: &VirtualNetwork) -> Result<(), VirtualNetworkError> {
        let VirtualNetwork { bridge, subnet, .. } = network;
        let folder = self.running(network);
        self.check_subnet(network)?;
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder).map_err(failed(&folder))?;
        if !host::is_our_bridge(&self.root, network) {
            if self.root.exists(format!("/sys/class/net/{bridge}")) {
                let reason = "is an interface of the host already".to_owned();
                return Err(VirtualNetworkError::Bridge { bridge: bridge.clone(), reason });
            }
            let mac = bridge_address(network);
            // With an address that stays, whatever interfaces come and go.
            host::ip(&format!("link add name {bridge} address {mac} type bridge"))?;
            host::IP.run(&["link", "set", "dev", bridge, "alias", &host::mark(network)], "")?;
        }
        let address = format!("{}/{}", network.gateway(), subnet.prefix_len());
        host::ip(&format!("address replace {address} dev {bridge}"))?;
        host::ip(&format!("link set dev {bridge} up"))?;
        host::NFT.run(&["-f", "-"], &host::rules(network))?;
        self.forward_packets()?;
        if host::server(&self.root, &folder).is_none() {
            host::start_server(network, &folder)?;
        }
        for interface in host::orphans(&self.root, bridge) {
            host::ip(&format!("link set dev {interface} master {bridge}"))?;
        }
        Ok(())
    }

    /// Takes away all that is there, even of a network that is half made.
    fn take_away(&self, network: &VirtualNetwork, keep_bridge: bool) -> Result<(), VirtualNetworkError> {
        let folder = self.running(network);
        host::stop_server(&self.root, &folder);
        let table = network.table();
        // Made first, so that it is no fault when it is not there.
        let without_rules = host::NFT.run(&["-f", "-"], &format!("add table ip {table}\ndelete table ip {table}\n"));
        let without_bridge = match host::is_our_bridge(&self.root, network) && !keep_bridge {
            true => host::ip(&format!("link delete dev {}", network.bridge)).map(drop),
            false => Ok(()),
        };
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&folder)(error)),
            _ => {}
        }
        self.stop_forwarding()?;
        without_rules.and(without_bridge)
    }

    /// Refuses a subnet that the host reaches elsewhere: then guests, or what was there, could not be reached.
    fn check_subnet(&self, network: &VirtualNetwork) -> Result<(), VirtualNetworkError> {
        let subnets = host::subnets(&self.root)?;
        let met = subnets.into_iter().find(|(other, interface)| {
            *interface != network.bridge && other.prefix_len() > 0 && meets(network.subnet, *other)
        });
        match met {
            None => Ok(()),
            Some((other, interface)) => {
                let whose = format!("the host reaches by {interface}");
                Err(VirtualNetworkError::Overlap { subnet: network.subnet, other, whose })
            }
        }
    }

    fn forwarding_mark(&self) -> PathBuf {
        self.root.path(RUNNING).join(FORWARDING_MARK)
    }

    /// Has the kernel forward packets, and remembers when it did not.
    fn forward_packets(&self) -> Result<(), VirtualNetworkError> {
        let path = self.root.path(FORWARDING);
        if fs::read_to_string(&path).map_err(failed(&path))?.trim() != "0" {
            return Ok(());
        }
        let mark = self.forwarding_mark();
        fs::write(&mark, "0\n").map_err(failed(&mark))?;
        fs::write(&path, "1\n").map_err(failed(&path))
    }

    /// Has the kernel no longer forward packets, if it does so for networks of ours only and none is started.
    fn stop_forwarding(&self) -> Result<(), VirtualNetworkError> {
        let (path, mark) = (self.root.path(FORWARDING), self.forwarding_mark());
        let is_needed = self.list().iter().any(|network| self.state(network) != NetworkState::Stopped);
        if is_needed || !mark.exists() {
            return Ok(());
        }
        fs::write(&path, "0\n").map_err(failed(&path))?;
        fs::remove_file(&mark).map_err(failed(&mark))
    }
}

/// The address of a network's bridge: of no manufacturer's card, and after the subnet, of which a host has one only.
fn bridge_address(network: &VirtualNetwork) -> String {
    let [a, b, c, d] = network.subnet.network().octets();
    format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> VirtualNetworkError {
    move |source| VirtualNetworkError::Io { path: path.to_owned(), source }
}
