//! Gives the cards on a network addresses (RFC 2131), and nothing else: an isolated network leads nowhere, so there is no router
//! and no name server. The formats are smoltcp's.
//!
//! The first address of the subnet is the server's own. A card gets an address after its own one where that is free, so that it
//! gets the same again from a switch that has forgotten all.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame,
        EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
    },
};

use super::table::{Mac, PortNumber};

/// The server's own address, of no manufacturer's card.
pub const MAC: Mac = [0x02, b'l', b'o', b'd', b'g', b'e'];
/// How long an address is a card's.
const LEASE: Duration = Duration::from_secs(3600);
/// How long one is held for a card that it was offered to.
const OFFER: Duration = Duration::from_secs(60);
/// How long one is left alone that somebody has without having asked for it.
const DECLINED: Duration = Duration::from_secs(600);
/// The most addresses for the cards behind one port: a guest may have guests.
const LEASES_MAX: usize = 64;
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// See the module.
pub struct Server {
    subnet: Ipv4Net,
    own: Ipv4Addr,
    leases: BTreeMap<Ipv4Addr, Lease>,
}

struct Lease {
    port: PortNumber,
    /// Whose it is; `None` while it is left alone.
    mac: Option<Mac>,
    end: Instant,
}

impl Server {
    /// One for this subnet, which has room for several addresses.
    pub fn new(subnet: Ipv4Net) -> Self {
        let own = subnet.hosts().next().unwrap_or(subnet.network());
        Self { subnet: subnet.trunc(), own, leases: BTreeMap::new() }
    }

    /// Of which addresses are given.
    pub fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    /// The address that a card behind `port` has been given.
    pub fn address(&self, port: PortNumber, mac: Mac, now: Instant) -> Option<Ipv4Addr> {
        let mut all = self.leases.iter();
        all.find(|(_, lease)| lease.port == port && lease.mac == Some(mac) && lease.end > now)
            .map(|(address, _)| *address)
    }

    /// The port is gone. Its cards' addresses stay theirs: they may come back.
    pub fn forget(&mut self, port: PortNumber) {
        self.leases.retain(|_, lease| lease.port != port || lease.mac.is_some());
    }

    /// The answer to a frame from `port`, if it is a question for this server.
    pub fn answer(&mut self, port: PortNumber, frame: &[u8], now: Instant) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        match frame.ethertype() {
            EthernetProtocol::Arp => self.answer_arp(frame.payload()),
            EthernetProtocol::Ipv4 => self.answer_packet(port, frame.payload(), now),
            _ => None,
        }
    }

    fn answer_arp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?
        else {
            return None;
        };
        if target_protocol_addr != self.own || source_protocol_addr == self.own {
            return None;
        }
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(MAC),
            source_protocol_addr: self.own,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let (mut bytes, header) = frame(source_hardware_addr, EthernetProtocol::Arp, reply.buffer_len());
        reply.emit(&mut ArpPacket::new_unchecked(bytes.get_mut(header..)?));
        Some(bytes)
    }

    fn answer_packet(&mut self, port: PortNumber, packet: &[u8], now: Instant) -> Option<Vec<u8>> {
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        let checksums = ChecksumCapabilities::default();
        let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
        let is_ours = ip.dst_addr == self.own || ip.dst_addr == Ipv4Addr::BROADCAST;
        if !is_ours || ip.next_header != IpProtocol::Udp || packet.more_frags() || packet.frag_offset() != 0 {
            return None;
        }
        let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
        let udp = UdpRepr::parse(&datagram, &ip.src_addr.into(), &ip.dst_addr.into(), &checksums).ok()?;
        if udp.dst_port != SERVER_PORT {
            return None;
        }
        let message = DhcpPacket::new_checked(datagram.payload()).ok()?;
        let request = DhcpRepr::parse(&message).ok()?;
        let reply = self.reply(port, &request, now)?;
        // To one that cannot be reached by its address yet, or does not know that it has lost it: to all that listen there.
        let is_refusal = reply.message_type == DhcpMessageType::Nak;
        let (mac, address) = match (request.client_ip, reply.your_ip) {
            _ if is_refusal || request.broadcast => (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST),
            (Ipv4Addr::UNSPECIFIED, offered) => (request.client_hardware_address, offered),
            (known, _) => (request.client_hardware_address, known),
        };
        self.send(&reply, mac, address)
    }

    /// What a card that asks is told.
    fn reply(&mut self, port: PortNumber, request: &DhcpRepr<'_>, now: Instant) -> Option<DhcpRepr<'static>> {
        let mac = request.client_hardware_address.0;
        let is_for_us = request.server_identifier.is_none_or(|server| server == self.own);
        let wanted = request.requested_ip.or(Some(request.client_ip).filter(|address| !address.is_unspecified()));
        match request.message_type {
            DhcpMessageType::Discover => {
                let address = self.choose(port, mac, wanted, now)?;
                self.lease(port, mac, address, now + OFFER);
                Some(self.message(request, DhcpMessageType::Offer, address))
            }
            DhcpMessageType::Request if is_for_us => {
                let wanted = wanted?;
                if self.is_free_for(mac, wanted, now) && (self.has_room(port, now) || self.is_leased_to(mac, wanted)) {
                    self.lease(port, mac, wanted, now + LEASE);
                    return Some(self.message(request, DhcpMessageType::Ack, wanted));
                }
                Some(self.message(request, DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED))
            }
            // It takes another server's.
            DhcpMessageType::Request => {
                self.leases.retain(|_, lease| lease.mac != Some(mac));
                None
            }
            DhcpMessageType::Decline => {
                let address = request.requested_ip.filter(|&address| self.is_leased_to(mac, address))?;
                self.leases.insert(address, Lease { port, mac: None, end: now + DECLINED });
                None
            }
            DhcpMessageType::Release => {
                if self.is_leased_to(mac, request.client_ip) {
                    self.leases.remove(&request.client_ip);
                }
                None
            }
            // It has an address, and asks for the rest.
            DhcpMessageType::Inform => {
                let mut reply = self.message(request, DhcpMessageType::Ack, Ipv4Addr::UNSPECIFIED);
                reply.lease_duration = None;
                Some(reply)
            }
            _ => None,
        }
    }

    /// An address for a card: the one that it has, the one that it would like, one after its own, any.
    fn choose(&mut self, port: PortNumber, mac: Mac, wanted: Option<Ipv4Addr>, now: Instant) -> Option<Ipv4Addr> {
        let known = self.leases.iter().find(|(_, lease)| lease.mac == Some(mac)).map(|(address, _)| *address);
        if known.is_some() {
            return known;
        }
        self.leases.retain(|_, lease| lease.end > now);
        if !self.has_room(port, now) {
            return None;
        }
        if let Some(wanted) = wanted.filter(|&wanted| self.is_free_for(mac, wanted, now)) {
            return Some(wanted);
        }
        let (first, last) =
            (u32::from(self.own).saturating_add(1), u32::from(self.subnet.broadcast()).saturating_sub(1));
        let count = last.checked_sub(first)?.saturating_add(1);
        let hash = mac.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        // More than that are never taken.
        let tries = u32::try_from(self.leases.len()).unwrap_or(u32::MAX).saturating_add(1).min(count);
        let place = |number: u32| first + (hash % count).wrapping_add(number) % count;
        (0..tries).map(|number| place(number).into()).find(|&address| self.is_free_for(mac, address, now))
    }

    fn is_free_for(&self, mac: Mac, address: Ipv4Addr, now: Instant) -> bool {
        let is_there = self.subnet.contains(&address) && address > self.own && address < self.subnet.broadcast();
        is_there && self.leases.get(&address).is_none_or(|lease| lease.mac == Some(mac) || lease.end <= now)
    }

    fn is_leased_to(&self, mac: Mac, address: Ipv4Addr) -> bool {
        self.leases.get(&address).is_some_and(|lease| lease.mac == Some(mac))
    }

    fn has_room(&self, port: PortNumber, now: Instant) -> bool {
        self.leases.values().filter(|lease| lease.port == port && lease.end > now).count() < LEASES_MAX
    }

    fn lease(&mut self, port: PortNumber, mac: Mac, address: Ipv4Addr, end: Instant) {
        // A card has one.
        self.leases.retain(|other, lease| *other == address || lease.mac != Some(mac));
        let end =
            self.leases.get(&address).filter(|lease| lease.mac == Some(mac)).map_or(end, |lease| lease.end.max(end));
        self.leases.insert(address, Lease { port, mac: Some(mac), end });
    }

    fn message(&self, request: &DhcpRepr<'_>, kind: DhcpMessageType, address: Ipv4Addr) -> DhcpRepr<'static> {
        let is_refusal = kind == DhcpMessageType::Nak;
        let seconds = u32::try_from(LEASE.as_secs()).unwrap_or(u32::MAX);
        DhcpRepr {
            message_type: kind,
            transaction_id: request.transaction_id,
            secs: 0,
            client_hardware_address: request.client_hardware_address,
            client_ip: if is_refusal { Ipv4Addr::UNSPECIFIED } else { request.client_ip },
            your_ip: address,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: (!is_refusal).then(|| self.subnet.netmask()),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: request.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(self.own),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: (!is_refusal).then_some(seconds),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }

    fn send(&self, reply: &DhcpRepr<'_>, mac: EthernetAddress, address: Ipv4Addr) -> Option<Vec<u8>> {
        let checksums = ChecksumCapabilities::default();
        let udp = UdpRepr { src_port: SERVER_PORT, dst_port: CLIENT_PORT };
        let datagram = udp.header_len() + reply.buffer_len();
        let ip = Ipv4Repr {
            src_addr: self.own,
            dst_addr: address,
            next_header: IpProtocol::Udp,
            payload_len: datagram,
            hop_limit: 64,
        };
        let (mut bytes, header) = frame(mac, EthernetProtocol::Ipv4, ip.buffer_len() + datagram);
        let packet = bytes.get_mut(header..)?;
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut *packet), &checksums);
        let mut is_whole = false;
        let emit = |content: &mut [u8]| is_whole = reply.emit(&mut DhcpPacket::new_unchecked(content)).is_ok();
        let mut datagram = UdpPacket::new_unchecked(packet.get_mut(ip.buffer_len()..)?);
        udp.emit(&mut datagram, &self.own.into(), &address.into(), reply.buffer_len(), emit, &checksums);
        is_whole.then_some(bytes)
    }
}

/// A frame from the server with `length` bytes to be filled in, and where these begin.
fn frame(to: EthernetAddress, ethertype: EthernetProtocol, length: usize) -> (Vec<u8>, usize) {
    let header = EthernetRepr { src_addr: EthernetAddress(MAC), dst_addr: to, ethertype };
    let mut bytes = vec![0; header.buffer_len() + length];
    header.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    (bytes, header.buffer_len())
}

#[cfg(test)]
mod tests;
