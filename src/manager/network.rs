//! The host's end of network cards: TAP interfaces (Linux, `Documentation/networking/tuntap.rst`). An interface that is
//! there already is opened; one for a bridge is made, and goes when its last descriptor is closed: with the worker, however that
//! ends.

use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{
    definition::{NetworkDefinition, NetworkKind},
    host::Root,
};

/// Where TAP interfaces are opened and made.
const TUN: &str = "/dev/net/tun";
/// What an interface that is made is called: the kernel puts in the first free number.
const PATTERN: &str = "lodge%d";
/// The first byte of its address: of no manufacturer's card, and of one card only.
const HIGH: u8 = 0xfe;
/// linux/sockios.h: puts an interface into a bridge.
const SIOCBRADDIF: u64 = 0x89a2;

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
        NetworkKind::Bridge => look_at_bridge(network, root).map(drop),
    }
}

/// Opens the TAP interface of a card: one descriptor for each pair of queues, none for a card without one.
pub fn open(network: &NetworkDefinition, root: &Root) -> Result<Vec<OwnedFd>, NetworkError> {
    match network.kind {
        NetworkKind::None | NetworkKind::Nat | NetworkKind::Isolated => Ok(Vec::new()),
        NetworkKind::Tap => open_tap(network, root),
        NetworkKind::Bridge => make_in_bridge(network, root),
    }
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

fn open_tap(network: &NetworkDefinition, root: &Root) -> Result<Vec<OwnedFd>, NetworkError> {
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
                _ => format!("{name} cannot be opened: {error}. Look at {TUN} and at the interface"),
            })
        })?;
    switch_on(name).map_err(|error| {
        refused(format!("{name} is switched off ({error}). Have root switch it on: \"ip link set {name} up\""))
    })?;
    Ok(opened)
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

fn make_in_bridge(network: &NetworkDefinition, root: &Root) -> Result<Vec<OwnedFd>, NetworkError> {
    let (bridge, queues) = (look_at_bridge(network, root)?, network.queues);
    let refused = |message: String| NetworkError::new("bridge", message);
    let make = || -> io::Result<Vec<OwnedFd>> {
        let (first, name) = attach(PATTERN, queues > 1, root)?;
        let mut opened = vec![first.into()];
        for _ in 1..queues {
            opened.push(attach(&name, true, root)?.0.into());
        }
        set_address(&name, network.mac_bytes().unwrap_or_default())?;
        add_to_bridge(bridge, &name)?;
        switch_on(&name)?;
        Ok(opened)
    };
    make().map_err(|error| {
        refused(match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                let how = make_persistent("tap0", queues);
                format!(
                    "making an interface in {bridge} needs the right CAP_NET_ADMIN. Have root make one for you: \"{how} && ip \
                     link set tap0 master {bridge} up\", and write kind = \"tap\", tap = \"tap0\""
                )
            }
            _ => format!("no interface could be made in {bridge}: {error}. Look at {TUN} and at the bridge"),
        })
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

/// Opens one queue of the TAP interface `name`, which is made when it is not there. Says how it is called.
fn attach(name: &str, several: bool, root: &Root) -> io::Result<(File, String)> {
    let file = OpenOptions::new().read(true).write(true).open(root.path(TUN))?;
    let mut request = request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | if several { libc::IFF_MULTI_QUEUE } else { 0 };
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    call(&file, libc::TUNSETIFF, &mut request)?;
    let name = request.ifr_name.map(|character| character as u8);
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok((file, name.to_string_lossy().into_owned()))
}

/// Gives an interface that is made an address after its card's. A bridge takes the lowest one of all its interfaces for its own;
/// this one is high, so that the bridge keeps the one that its network knows.
fn set_address(interface: &str, mac: [u8; 6]) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = request(interface)?;
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip([[HIGH].as_slice(), mac.get(1..).unwrap_or_default()].concat()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    call(&socket, libc::SIOCSIFHWADDR, &mut request)
}

fn add_to_bridge(bridge: &str, interface: &str) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = request(bridge)?;
    let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
    request.ifr_ifru.ifru_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    call(&socket, SIOCBRADDIF, &mut request)
}

/// Switches an interface on, unless it is on.
fn switch_on(interface: &str) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = request(interface)?;
    call(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just written the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let on = libc::IFF_UP as libc::c_short;
    if flags & on != 0 {
        return Ok(());
    }
    request.ifr_ifru.ifru_flags = flags | on;
    call(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Any socket will do for requests about interfaces.
fn control_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

/// A request about the interface `name`.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all of it are plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn call(descriptor: &impl AsRawFd, number: u64, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: each of these calls reads and writes one ifreq, which outlives the call, and keeps no pointer to it.
    match unsafe { libc::ioctl(descriptor.as_raw_fd(), number as libc::Ioctl, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

        for kind in [NetworkKind::None, NetworkKind::Nat] {
            assert!(open(&NetworkDefinition::new(kind), &root).unwrap().is_empty());
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
    fn several_queues_need_an_interface_that_has_them() {
        let two = |name| NetworkDefinition { queues: 2, ..NetworkDefinition::tap(name) };

        assert_eq!(refused(two("tap0")).0, "queues");
        assert!(refused(two("tap1")).1.contains(TUN));
    }
}
