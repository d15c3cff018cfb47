//! A switch that learns: a frame goes to the port behind which its receiver is, or to all others while that is not known.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    os::{fd::AsFd, fd::BorrowedFd, unix::net::UnixStream},
    time::Instant,
};

use ipnet::Ipv4Net;

use super::{
    dhcp,
    port::{Next, Port, SHORTEST},
    table::{Mac, PortNumber, Table},
};

/// The most ports.
pub const PORTS_MAX: usize = 256;
/// Addresses that mean whoever is at the other end of the wire, and are never passed on (IEEE 802.1Q, table 8-1): the last
/// four bits are any.
const LINK_LOCAL: Mac = [0x01, 0x80, 0xc2, 0, 0, 0];

/// See the module.
#[derive(Default)]
pub struct Switch {
    ports: BTreeMap<PortNumber, Port>,
    last: PortNumber,
    table: Table,
    dhcp: Option<dhcp::Server>,
}

impl Switch {
    /// Adds a port with this stream to its card.
    pub fn add(&mut self, stream: UnixStream, now: Instant) -> io::Result<PortNumber> {
        let port = Port::new(stream, now)?;
        self.last += 1;
        self.ports.insert(self.last, port);
        Ok(self.last)
    }

    /// Takes a port away.
    pub fn remove(&mut self, port: PortNumber) {
        self.ports.remove(&port);
        self.table.forget(port);
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.forget(port);
        }
    }

    /// How many ports there are.
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// The ports, each with its stream and whether frames wait for its card.
    pub fn ports(&self) -> impl Iterator<Item = (PortNumber, BorrowedFd<'_>, bool)> {
        self.ports.iter().map(|(&number, port)| (number, port.as_fd(), port.is_waiting()))
    }

    /// Gives addresses of this subnet by DHCP from now on. There can be one only, which is returned when it is another.
    pub fn serve(&mut self, subnet: Ipv4Net) -> Result<(), Ipv4Net> {
        match &self.dhcp {
            Some(dhcp) if dhcp.subnet() != subnet => Err(dhcp.subnet()),
            Some(_) => Ok(()),
            None => {
                self.dhcp = Some(dhcp::Server::new(subnet));
                Ok(())
            }
        }
    }

    /// The subnet of which it gives addresses.
    pub fn subnet(&self) -> Option<Ipv4Net> {
        self.dhcp.as_ref().map(dhcp::Server::subnet)
    }

    /// The address that it has given to the card with this address behind a port.
    pub fn address(&self, port: PortNumber, mac: Mac, now: Instant) -> Option<Ipv4Addr> {
        self.dhcp.as_ref()?.address(port, mac, now)
    }

    /// Passes on what a card has sent. An error or `false` means that its stream is of no use any more.
    pub fn receive(&mut self, number: PortNumber, now: Instant) -> io::Result<bool> {
        let Some(port) = self.ports.get_mut(&number) else { return Ok(true) };
        let Some(input) = port.take()? else { return Ok(false) };
        let mut done = 0;
        loop {
            match input.next(done) {
                Next::Frame(frame, end) => {
                    self.pass_on(number, frame, now);
                    done = end;
                }
                Next::Nothing => break,
                Next::Impossible(length) => {
                    return Err(io::Error::other(format!("it says that a frame has {length} bytes")));
                }
            }
        }
        if let Some(port) = self.ports.get_mut(&number) {
            port.give_back(input, done);
        }
        Ok(true)
    }

    /// Sends what waits for cards; returns the ports whose streams are of no use any more.
    pub fn flush(&mut self) -> Vec<PortNumber> {
        let waiting = self.ports.iter_mut().filter(|(_, port)| port.is_waiting());
        waiting.filter_map(|(&number, port)| port.flush().err().map(|_| number)).collect()
    }

    fn pass_on(&mut self, from: PortNumber, frame: &[u8], now: Instant) {
        let (Some(&to), Some(&source)) = (frame.first_chunk::<6>(), frame.get(6..).and_then(|rest| rest.first_chunk()))
        else {
            return;
        };
        // No frame comes from a group, and none from ourselves.
        if frame.len() < SHORTEST || is_group(&source) || source == dhcp::MAC || is_link_local(&to) {
            return;
        }
        self.table.learn(source, from, now);
        if let Some(dhcp) = &mut self.dhcp
            && (to == dhcp::MAC || is_group(&to))
            && let Some(answer) = dhcp.answer(from, frame, now)
            && let Some(port) = self.ports.get_mut(&from)
        {
            port.push(&answer);
        }
        if to == dhcp::MAC && self.dhcp.is_some() {
            return;
        }
        match self.table.find(&to, now).filter(|_| !is_group(&to)) {
            Some(port) if port == from => {}
            Some(port) => {
                if let Some(port) = self.ports.get_mut(&port) {
                    port.push(frame);
                }
            }
            None => {
                if self.ports.get_mut(&from).is_some_and(|port| port.may_flood(now)) {
                    for (_, port) in self.ports.iter_mut().filter(|(number, _)| **number != from) {
                        port.push(frame);
                    }
                }
            }
        }
    }
}

fn is_group(mac: &Mac) -> bool {
    mac[0] & 1 == 1
}

fn is_link_local(mac: &Mac) -> bool {
    mac[..5] == LINK_LOCAL[..5] && mac[5] & 0xf0 == 0
}

#[cfg(test)]
mod tests;
