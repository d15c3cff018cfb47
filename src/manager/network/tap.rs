//! Requests to the kernel about TAP interfaces and bridges (linux/if_tun.h, linux/sockios.h).

use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::manager::host::Root;

/// Where TAP interfaces are opened and made.
pub const TUN: &str = "/dev/net/tun";
/// The first byte of the address of an interface that is made: of no manufacturer's card, and of one card only.
const HIGH: u8 = 0xfe;
/// Puts an interface into a bridge.
const SIOCBRADDIF: u64 = 0x89a2;

/// Opens one queue of the TAP interface `name`, which is made when it is not there. Says how it is called.
pub fn attach(name: &str, several: bool, root: &Root) -> io::Result<(File, String)> {
    let file = OpenOptions::new().read(true).write(true).open(root.path(TUN))?;
    let mut request = request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | if several { libc::IFF_MULTI_QUEUE } else { 0 };
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    call(&file, libc::TUNSETIFF, &mut request)?;
    Ok((file, named(&request)?))
}

/// How the TAP interface is called of which this is a queue.
pub fn name_of(queue: &OwnedFd) -> io::Result<String> {
    let mut request = request("")?;
    call(queue, libc::TUNGETIFF, &mut request)?;
    named(&request)
}

fn named(request: &libc::ifreq) -> io::Result<String> {
    let name = request.ifr_name.map(|character| character as u8);
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

/// Gives an interface that is made an address after its card's. A bridge takes the lowest one of all its interfaces for its own;
/// this one is high, so that the bridge keeps the one that its network knows.
pub fn set_address(interface: &str, mac: [u8; 6]) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = request(interface)?;
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip([[HIGH].as_slice(), mac.get(1..).unwrap_or_default()].concat()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    call(&socket, libc::SIOCSIFHWADDR, &mut request)
}

pub fn add_to_bridge(bridge: &str, interface: &str) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = request(bridge)?;
    let index = rustix::net::netdevice::name_to_index(&socket, interface)?;
    request.ifr_ifru.ifru_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    call(&socket, SIOCBRADDIF, &mut request)
}

/// Switches an interface on, unless it is on.
pub fn switch_on(interface: &str) -> io::Result<()> {
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
