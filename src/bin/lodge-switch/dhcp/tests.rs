use super::*;

const CARD: Mac = [0x52, 0x54, 0, 0, 0, 1];
const OTHER: Mac = [0x52, 0x54, 0, 0, 0, 2];

fn server(subnet: &str) -> Server {
    Server::new(subnet.parse().unwrap())
}

/// A message of a card.
struct Question {
    kind: DhcpMessageType,
    mac: Mac,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    has: Ipv4Addr,
}

impl Question {
    fn new(kind: DhcpMessageType, mac: Mac) -> Self {
        Self { kind, mac, requested: None, server: None, has: Ipv4Addr::UNSPECIFIED }
    }

    fn frame(&self) -> Vec<u8> {
        let mac = EthernetAddress(self.mac);
        let dhcp = DhcpRepr {
            message_type: self.kind,
            transaction_id: 7,
            secs: 0,
            client_hardware_address: mac,
            client_ip: self.has,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: self.requested,
            client_identifier: None,
            server_identifier: self.server,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let udp = UdpRepr { src_port: CLIENT_PORT, dst_port: SERVER_PORT };
        let ip = Ipv4Repr {
            src_addr: self.has,
            dst_addr: Ipv4Addr::BROADCAST,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + dhcp.buffer_len(),
            hop_limit: 64,
        };
        let header =
            EthernetRepr { src_addr: mac, dst_addr: EthernetAddress::BROADCAST, ethertype: EthernetProtocol::Ipv4 };
        let mut bytes = vec![0; header.buffer_len() + ip.buffer_len() + ip.payload_len];
        header.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &checksums);
        udp.emit(
            &mut UdpPacket::new_unchecked(&mut bytes[34..]),
            &ip.src_addr.into(),
            &ip.dst_addr.into(),
            dhcp.buffer_len(),
            |content| dhcp.emit(&mut DhcpPacket::new_unchecked(content)).unwrap(),
            &checksums,
        );
        bytes
    }

    /// The kind of answer, the address in it, its receiver and how long the address is given for.
    fn ask(
        &self,
        server: &mut Server,
        port: PortNumber,
        now: Instant,
    ) -> Option<(DhcpMessageType, Ipv4Addr, Mac, u32)> {
        let bytes = server.answer(port, &self.frame(), now)?;
        let frame = EthernetFrame::new_checked(&bytes[..]).unwrap();
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(packet.verify_checksum());
        let datagram = UdpPacket::new_checked(packet.payload()).unwrap();
        assert!(datagram.verify_checksum(&packet.src_addr().into(), &packet.dst_addr().into()));
        let message = DhcpPacket::new_checked(datagram.payload()).unwrap();
        let reply = DhcpRepr::parse(&message).unwrap();
        assert_eq!((reply.transaction_id, reply.router, reply.server_identifier), (7, None, Some(packet.src_addr())));
        Some((reply.message_type, reply.your_ip, frame.dst_addr().0, reply.lease_duration.unwrap_or_default()))
    }
}

/// Has a card get an address in the usual way.
fn get(server: &mut Server, mac: Mac, port: PortNumber, now: Instant) -> Option<Ipv4Addr> {
    let (kind, offered, ..) = Question::new(DhcpMessageType::Discover, mac).ask(server, port, now)?;
    assert_eq!(kind, DhcpMessageType::Offer);
    let request = Question { requested: Some(offered), ..Question::new(DhcpMessageType::Request, mac) };
    let (kind, given, to, seconds) = request.ask(server, port, now)?;
    assert_eq!((kind, given, to, seconds), (DhcpMessageType::Ack, offered, mac, 3600));
    Some(given)
}

#[test]
fn a_card_gets_an_address_and_the_same_again() {
    let (mut server, now) = (server("10.55.0.0/24"), Instant::now());

    let address = get(&mut server, CARD, 1, now).unwrap();

    assert!(server.subnet().contains(&address) && address > Ipv4Addr::new(10, 55, 0, 1), "{address}");
    assert_eq!(server.address(1, CARD, now), Some(address));
    assert_ne!(get(&mut server, OTHER, 2, now), Some(address));
    assert_eq!(get(&mut server, CARD, 1, now), Some(address));
    // Another switch, which knows nothing of it.
    let mut another = Server::new(server.subnet());
    assert_eq!(get(&mut another, CARD, 9, now), Some(address));
}

#[test]
fn an_address_is_kept_over_a_switch_that_has_forgotten_it() {
    let (mut server, now) = (server("10.55.0.0/24"), Instant::now());
    let has = Ipv4Addr::new(10, 55, 0, 200);
    let renew = Question { has, ..Question::new(DhcpMessageType::Request, CARD) };
    let theirs = Question { has, ..Question::new(DhcpMessageType::Request, OTHER) };

    assert_eq!(renew.ask(&mut server, 1, now).map(|answer| (answer.0, answer.1)), Some((DhcpMessageType::Ack, has)));
    // Everybody is told, as that card has no address any more.
    let refused = theirs.ask(&mut server, 2, now).unwrap();
    assert_eq!((refused.0, refused.2), (DhcpMessageType::Nak, [0xff; 6]));
    let elsewhere =
        Question { requested: Some([10, 9, 9, 9].into()), ..Question::new(DhcpMessageType::Request, OTHER) };
    assert_eq!(elsewhere.ask(&mut server, 2, now).unwrap().0, DhcpMessageType::Nak);
    Question { has, ..Question::new(DhcpMessageType::Release, CARD) }.ask(&mut server, 1, now);
    assert_eq!(theirs.ask(&mut server, 2, now).unwrap().0, DhcpMessageType::Ack);
}

#[test]
fn a_small_subnet_runs_out_and_addresses_come_back() {
    let (mut server, now) = (server("10.55.0.0/29"), Instant::now());
    let card = |number| [0x52, 0x54, 0, 0, 0, number];

    let given: Vec<_> = (0..10).filter_map(|number| get(&mut server, card(number), number.into(), now)).collect();

    assert_eq!(given.len(), 5, "of 8 addresses, without the network's, the server's and the broadcast: {given:?}");
    let later = now + LEASE + Duration::from_secs(1);
    assert!(get(&mut server, card(100), 100, later).is_some());
}

#[test]
fn one_port_cannot_take_all_addresses() {
    let (mut server, now) = (server("10.0.0.0/8"), Instant::now());
    let card = |number: u16| [0x52, 0x54, 0, 1, (number >> 8) as u8, number as u8];

    let given = (0..1000).filter_map(|number| get(&mut server, card(number), 1, now)).count();

    assert_eq!(given, LEASES_MAX);
    assert!(get(&mut server, OTHER, 2, now).is_some());
}

#[test]
fn an_address_that_somebody_else_has_is_left_alone() {
    let (mut server, now) = (server("10.55.0.0/24"), Instant::now());
    let address = get(&mut server, CARD, 1, now).unwrap();

    let decline = Question { requested: Some(address), ..Question::new(DhcpMessageType::Decline, CARD) };
    assert!(decline.ask(&mut server, 1, now).is_none());

    assert_ne!(get(&mut server, CARD, 1, now), Some(address));
}

#[test]
fn what_is_not_for_the_server_has_no_answer() {
    let (mut server, now) = (server("10.55.0.0/24"), Instant::now());
    let another = Some(Ipv4Addr::new(10, 55, 0, 77));
    let elsewhere = Question { server: another, requested: another, ..Question::new(DhcpMessageType::Request, CARD) };
    let whole = Question::new(DhcpMessageType::Discover, CARD).frame();

    assert!(elsewhere.ask(&mut server, 1, now).is_none());
    for length in 0..whole.len() {
        server.answer(1, &whole[..length], now);
        let mut damaged = whole.clone();
        damaged[length] ^= 0xff;
        server.answer(1, &damaged, now);
    }
    assert!(server.answer(1, &whole, now).is_some());
}

#[test]
fn the_servers_own_address_is_found() {
    let mut server = server("10.55.0.0/24");
    let question = |address: [u8; 4]| {
        let request = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress(CARD),
            source_protocol_addr: [10, 55, 0, 9].into(),
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: address.into(),
        };
        let (mut bytes, header) = frame(EthernetAddress::BROADCAST, EthernetProtocol::Arp, request.buffer_len());
        request.emit(&mut ArpPacket::new_unchecked(&mut bytes[header..]));
        bytes
    };

    let answer = server.answer(1, &question([10, 55, 0, 1]), Instant::now()).unwrap();

    assert_eq!(answer[..12], [CARD, MAC].concat());
    assert!(server.answer(1, &question([10, 55, 0, 2]), Instant::now()).is_none());
}
