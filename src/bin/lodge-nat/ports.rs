//! Whether a port of the host can be had.

#![forbid(unsafe_code)]

use std::io;

use lodge::{
    nat::{Forward, Protocol},
    system_error::words,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Looks whether the host's end of a forward can be had at this moment; an error says why not and how to mend it.
pub fn check(forward: &Forward) -> Result<(), String> {
    try_to_have(forward).map_err(|error| {
        let (protocol, host) = (forward.protocol.name(), forward.host());
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{protocol} port {host} is taken by another program. Choose another port, or end that program")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("the host has no address {}. Write 127.0.0.1, 0.0.0.0 or one that it has", forward.address)
            }
            io::ErrorKind::PermissionDenied => {
                format!("{protocol} port {host} is root's. Choose one from 1024 on")
            }
            _ => format!("{protocol} port {host} cannot be had: {}. Choose another", words(&error)),
        }
    })
}

fn try_to_have(forward: &Forward) -> io::Result<()> {
    let family = if forward.address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let kind = match forward.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if forward.protocol == Protocol::Tcp {
        // Connections of an earlier run may linger.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &forward.host())?;
    if forward.protocol == Protocol::Tcp {
        listen(&socket, 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_said_to_be() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let forward = |protocol: &str, port| format!("{protocol}:{port}:80").parse::<Forward>().unwrap();
        let [tcp_port, udp_port] = [tcp.local_addr(), udp.local_addr()].map(|address| address.unwrap().port());

        assert!(check(&forward("tcp", tcp_port)).unwrap_err().contains("is taken"));
        assert!(check(&forward("udp", udp_port)).unwrap_err().contains("is taken"));
        drop((tcp, udp));
        assert_eq!(check(&forward("tcp", tcp_port)), Ok(()));
        assert!(check(&"192.0.2.77:8080:80".parse().unwrap()).unwrap_err().contains("no address"));
    }
}
