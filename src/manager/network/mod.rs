//! The host's end of network cards: TAP interfaces (Linux, `Documentation/networking/tuntap.rst`). An interface that is
//! there already is opened; one for a bridge is made, by `qemu-bridge-helper` for those who may not, and goes when its last
//! descriptor is closed: with the worker, however that ends.

mod helper;
mod tap;

use std::{io, os::fd::OwnedFd};

pub use helper::BridgeHelper;

use super::{
    definition::{NetworkDefinition, NetworkKind},
    host::{Root, networks},
    virtual_networks::{VirtualNetworkError, VirtualNetworks},
};
use crate::{qmp::types::ConnectionInfo, system_error::words};
use tap::{TUN, attach};

/// What an interface that is made is called: the kernel puts in the first free number.
const PATTERN: &str = "lodge%d";

/// A TAP interface that is a card's end at the host.
#[derive(Debug)]
pub struct Tap {
    /// Its name.
    pub interface: String,
    /// Its queues: one for each pair of the card's.
    pub queues: Vec<OwnedFd>,
}

/// Why a card's end at the host could not be opened: what it is about, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NetworkError {
    /// Which field of the card's definition is to be mended.
    pub field: &'static str,
    /// What happened and how to mend it.
    pub message: String,
}

impl NetworkError {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

/// What would keep the host's end of a card from being opened, as far as that can be seen without opening it.
pub fn look(network: &NetworkDefinition, root: &Root) -> Result<(), NetworkError> {
    match network.kind {
        NetworkKind::None | NetworkKind::Nat | NetworkKind::Isolated => Ok(()),
        NetworkKind::Tap => look_at_tap(network, root).map(drop),
        NetworkKind::Bridge | NetworkKind::Network => {
            let bridge = bridge_of(network, root)?;
            match networks::may_make(root) {
                true => Ok(()),
                false => BridgeHelper::find(root).look(&bridge, network.queues).map(drop),
            }
        }
    }
}

/// Opens the TAP interface of a card; `None` for a card without one.
pub fn open(network: &NetworkDefinition, root: &Root) -> Result<Option<Tap>, NetworkError> {
    match network.kind {
        NetworkKind::None | NetworkKind::Nat | NetworkKind::Isolated => Ok(None),
        NetworkKind::Tap => open_tap(network, root).map(Some),
        NetworkKind::Bridge | NetworkKind::Network => {
            let bridge = bridge_of(network, root)?;
            match networks::may_make(root) {
                true => make_in_bridge(&bridge, network, root),
                false => BridgeHelper::find(root).open(&bridge, network.queues),
            }
            .map(Some)
        }
    }
}

/// What has become of the interface at the host's end of a running guest's card, if that is not as it was made.
pub fn trouble(info: &ConnectionInfo, root: &Root) -> Option<String> {
    let interface = info.interface.as_deref()?;
    if !root.exists(format!("/sys/class/net/{interface}")) {
        return Some(format!(
            "the host has no interface {interface} any more. Connect the card again (\"lodgectl network attach\")"
        ));
    }
    let bridge = match info.source.split_once('=')? {
        ("bridge", bridge) => bridge.to_owned(),
        ("network", name) => match VirtualNetworks::new(root).load(name) {
            Ok(network) => network.bridge,
            Err(error) => return Some(error.to_string()),
        },
        _ => return None,
    };
    if !root.exists(format!("/sys/class/net/{bridge}")) {
        return Some(format!("the host has no bridge {bridge} any more"));
    }
    let port = format!("/sys/class/net/{bridge}/brif/{interface}");
    (!root.exists(port))
        .then(|| format!("{interface} is no longer in {bridge}: \"ip link set {interface} master {bridge}\""))
}

/// The card's TAP interface, and whether it has several queues.
fn look_at_tap<'a>(network: &'a NetworkDefinition, root: &Root) -> Result<(&'a str, bool), NetworkError> {
    let (name, queues) = (network.tap.as_deref().unwrap_or_default(), network.queues);
    let refused = |message: String| NetworkError::new("tap", message);
    let folder = format!("/sys/class/net/{name}");
    if !root.exists(&folder) {
        let how = make_persistent(name, queues);
        return Err(refused(format!("the host has no interface {name}. Have root make it: \"{how}\"")));
    }
    let flags = root.read(format!("{folder}/tun_flags")).ok().and_then(|text| parse_hexadecimal(&text));
    let Some(flags) = flags.filter(|flags| flags & libc::IFF_TAP != 0) else {
        return Err(refused(format!("{name} is no TAP interface. Use one, or put a TAP and {name} into a bridge")));
    };
    let several = flags & libc::IFF_MULTI_QUEUE != 0;
    if queues > 1 && !several {
        let message = format!("{name} has one queue only. Write queues = 1, or have root make it with \"multi_queue\"");
        return Err(NetworkError::new("queues", message));
    }
    Ok((name, several))
}

fn open_tap(network: &NetworkDefinition, root: &Root) -> Result<Tap, NetworkError> {
    let (name, several) = look_at_tap(network, root)?;
    let queues = network.queues;
    let refused = |message: String| NetworkError::new("tap", message);
    let opened = (0..queues)
        .map(|_| attach(name, several, root).map(|(file, _)| file.into()))
        .collect::<io::Result<Vec<OwnedFd>>>()
        .map_err(|error| {
            refused(match error.raw_os_error() {
                Some(libc::EBUSY) => format!("{name} is in use. End the guest or program that has it, or use another"),
                Some(libc::EPERM) => {
                    let how = make_persistent(name, queues);
                    format!("{name} belongs to somebody else. Have root make one for you: \"{how}\"")
                }
                _ => format!("{name} cannot be opened: {}. Look at {TUN} and at the interface", words(&error)),
            })
        })?;
    tap::switch_on(name).map_err(|error| {
        refused(format!(
            "{name} is switched off ({}). Have root switch it on: \"ip link set {name} up\"",
            words(&error)
        ))
    })?;
    Ok(Tap { interface: name.to_owned(), queues: opened })
}

/// What an interface is marked with that was made for a guest in this bridge.
pub fn mark(bridge: &str) -> String {
    format!("Lodge's guest in {bridge}")
}

/// The bridge that the card is to be in.
fn bridge_of(network: &NetworkDefinition, root: &Root) -> Result<String, NetworkError> {
    if network.kind == NetworkKind::Bridge {
        return look_at_bridge(network, root).map(str::to_owned);
    }
    let networks = VirtualNetworks::new(root);
    let refused = |error: VirtualNetworkError| NetworkError::new("network", error.to_string());
    let found = networks.load(network.network.as_deref().unwrap_or_default()).map_err(refused)?;
    match root.exists(format!("/sys/class/net/{}/bridge", found.bridge)) {
        true => Ok(found.bridge),
        false => Err(refused(VirtualNetworkError::Stopped(found.name))),
    }
}

/// The card's bridge.
fn look_at_bridge<'a>(network: &'a NetworkDefinition, root: &Root) -> Result<&'a str, NetworkError> {
    let bridge = network.bridge.as_deref().unwrap_or_default();
    let refused = |message: String| NetworkError::new("bridge", message);
    if !root.exists(format!("/sys/class/net/{bridge}")) {
        let message =
            format!("the host has no bridge {bridge}. Have root make it: \"ip link add {bridge} type bridge\"");
        return Err(refused(message));
    }
    if !root.exists(format!("/sys/class/net/{bridge}/bridge")) {
        return Err(refused(format!("{bridge} is no bridge. Write the name of one")));
    }
    Ok(bridge)
}

fn make_in_bridge(bridge: &str, network: &NetworkDefinition, root: &Root) -> Result<Tap, NetworkError> {
    let make = || -> io::Result<Tap> {
        let (first, interface) = attach(PATTERN, network.queues > 1, root)?;
        let mut queues = vec![first.into()];
        for _ in 1..network.queues {
            queues.push(attach(&interface, true, root)?.0.into());
        }
        tap::set_address(&interface, network.mac_bytes().unwrap_or_default())?;
        tap::add_to_bridge(bridge, &interface)?;
        tap::switch_on(&interface)?;
        // Only for finding it again when the bridge was away.
        let _ = std::fs::write(root.path(format!("/sys/class/net/{interface}/ifalias")), mark(bridge));
        Ok(Tap { interface, queues })
    };
    make().map_err(|error| {
        let message =
            format!("no interface could be made in {bridge}: {}. Look at {TUN} and at the bridge", words(&error));
        NetworkError::new("bridge", message)
    })
}

/// The command that makes an interface for this user.
fn make_persistent(name: &str, queues: u32) -> String {
    let user = rustix::process::getuid().as_raw();
    let several = if queues > 1 { " multi_queue" } else { "" };
    format!("ip tuntap add dev {name} mode tap user {user}{several}")
}

fn parse_hexadecimal(text: &str) -> Option<i32> {
    i32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A host with a bridge, a card and two TAP interfaces, but with no way to open them.
    fn host() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("sys/class/net");
        for path in ["br0/bridge", "eth0", "tap0", "tap1"] {
            fs::create_dir_all(net.join(path)).unwrap();
        }
        fs::write(net.join("tap0/tun_flags"), "0x1802\n").unwrap();
        fs::write(net.join("tap1/tun_flags"), "0x1902\n").unwrap();
        let root = Root::new(folder.path());
        (folder, root)
    }

    fn refused(network: NetworkDefinition) -> (&'static str, String) {
        let (_folder, root) = host();
        let error = open(&network, &root).unwrap_err();
        assert!(error.message.contains(". "), "{error}");
        (error.field, error.message)
    }

    #[test]
    fn a_card_without_a_link_needs_nothing_of_the_host() {
        let (_folder, root) = host();

        for kind in [NetworkKind::None, NetworkKind::Nat, NetworkKind::Isolated] {
            assert!(open(&NetworkDefinition::new(kind), &root).unwrap().is_none());
        }
    }

    #[test]
    fn what_is_not_there_comes_with_the_command_that_makes_it() {
        let (field, message) = refused(NetworkDefinition::tap("tap9"));
        assert!(field == "tap" && message.contains("ip tuntap add dev tap9 mode tap user"), "{message}");

        let (field, message) = refused(NetworkDefinition::bridge("br9"));
        assert!(field == "bridge" && message.contains("ip link add br9 type bridge"), "{message}");
    }

    #[test]
    fn what_is_something_else_is_not_used() {
        assert!(refused(NetworkDefinition::tap("eth0")).1.contains("no TAP interface"));
        assert!(refused(NetworkDefinition::bridge("eth0")).1.contains("no bridge"));
    }

    #[test]
    fn what_has_become_of_a_guests_interface_is_seen() {
        let (folder, root) = host();
        fs::create_dir_all(folder.path().join("sys/class/net/br0/brif/tap0")).unwrap();
        let trouble = |interface: &str, source: &str| {
            let json = serde_json::json!({
                "id": "net0", "source": source, "interface": interface, "backend": "tap", "forwards": []
            });
            trouble(&serde_json::from_value(json).unwrap(), &root)
        };

        assert_eq!([trouble("tap0", "bridge=br0"), trouble("tap1", "tap=tap1")], [None, None]);
        assert!(trouble("lodge7", "tap=lodge7").unwrap().contains("no interface lodge7"));
        assert!(trouble("tap1", "bridge=br9").unwrap().contains("no bridge br9"));
        assert!(trouble("tap1", "bridge=br0").unwrap().contains("ip link set tap1 master br0"));
    }

    #[test]
    fn several_queues_need_an_interface_that_has_them() {
        let two = |name| NetworkDefinition { queues: 2, ..NetworkDefinition::tap(name) };

        assert_eq!(refused(two("tap0")).0, "queues");
        assert!(refused(two("tap1")).1.contains(TUN));
    }
}
