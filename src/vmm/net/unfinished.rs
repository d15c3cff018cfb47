//! Frames of which a driver has left work to its card: checksums, and the division of a long packet into segments. The card leaves
//! it to the back end where that can do it (virtio 1.2, section 5.1.6.2), and else it is done here.
//!
//! Nothing that a guest says of its frame is believed: what points outside of it is left out.

#![forbid(unsafe_code)]

use super::{HEADER_SIZE, Offloads, checksum};

/// The least payload of a segment, in bytes: that of Linux's `tcp_min_snd_mss`. Less would make floods of a packet.
const SEGMENT_MIN: usize = 48;
/// The most bytes of headers that each segment begins with: far more than IPv6 with options and TCP have. More would make floods of
/// a packet too.
const HEADERS_MAX: usize = 512;
/// The type of frames with a tag, of IPv4's header what its length counts, and of IPv6's what it does not.
const ADDRESSES: usize = 12;
const IPV6_HEADER: usize = 40;
/// Flags of TCP, in the byte at this offset.
const TCP_FLAGS: usize = 13;
const TCP_FIN_AND_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// A checksum to be made. Offsets count from the frame's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksumOrder {
    /// The first byte that counts.
    pub start: usize,
    /// Where the checksum is put. What is there counts too.
    pub at: usize,
    /// Behind the last byte that counts; the frame's end when there is none.
    pub end: Option<usize>,
}

/// The division of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// Bytes of all headers, which each segment begins with.
    pub headers: usize,
    /// Bytes of payload in a segment.
    pub size: usize,
    /// Where the IP header is.
    pub ip: usize,
    /// Whether that is one of IPv4.
    pub is_ipv4: bool,
    /// Where the header of TCP or UDP is.
    pub transport: usize,
    /// Whether that is TCP.
    pub is_tcp: bool,
}

/// A VLAN tag that is to be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag {
    /// Its type.
    pub protocol: u16,
    /// Priority and VLAN.
    pub tag: u16,
}

/// A frame as the driver left it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The checksum of its IP header.
    pub ip_checksum: Option<ChecksumOrder>,
    /// That of what is in it.
    pub checksum: Option<ChecksumOrder>,
    /// How it is divided.
    pub division: Option<Division>,
    /// Its tag.
    pub vlan: Option<VlanTag>,
    /// Frames that were made of it.
    pub made: usize,
}

impl Unfinished {
    /// Makes the next frame of it, with its header, in `out`; `false` when there is none left.
    pub fn next(&mut self, offloads: Offloads, out: &mut Vec<u8>) -> bool {
        out.clear();
        out.resize(HEADER_SIZE, 0);
        let made = self.made;
        self.made += 1;
        match self.division {
            Some(division) => self.next_segment(division, made, offloads, out),
            None if made == 0 => {
                out.extend(&self.bytes);
                self.seal(offloads, out);
                true
            }
            None => false,
        }
    }

    fn next_segment(&self, division: Division, made: usize, offloads: Offloads, out: &mut Vec<u8>) -> bool {
        let Division { headers, size, .. } = division;
        let is_possible = size >= SEGMENT_MIN && headers <= HEADERS_MAX;
        let Some((headers, payload)) = self.bytes.split_at_checked(headers).filter(|_| is_possible) else {
            return false;
        };
        if let Some(kind) = self.left_to(offloads, division, payload.len()) {
            if made > 0 {
                return false;
            }
            out.extend(&self.bytes);
            let length = adjust(out, division, &Place { number: 0, payload: 0, is_last: true });
            self.prepare_checksum(out, length);
            let fields = [(2, headers.len()), (4, size)];
            set(out, 1, &[kind]);
            fields.into_iter().for_each(|(at, value)| set(out, at, &(value as u16).to_le_bytes()));
            self.seal(offloads, out);
            return true;
        }
        let done = made.saturating_mul(size);
        let Some(rest) = payload.get(done..).filter(|rest| !rest.is_empty() || made == 0) else { return false };
        let part = rest.get(..size).unwrap_or(rest);
        out.extend(headers);
        out.extend(part);
        let place = Place { number: made, payload: done, is_last: part.len() == rest.len() };
        let length = adjust(out, division, &place);
        self.prepare_checksum(out, length);
        self.seal(offloads, out);
        true
    }

    /// The kind of the packet (`gso_type`), if the back end can divide it.
    fn left_to(&self, offloads: Offloads, division: Division, payload: usize) -> Option<u8> {
        let Division { ip, is_ipv4, transport, is_tcp, size, .. } = division;
        let (able, kind) = if is_ipv4 { (offloads.tso4, GSO_TCP4) } else { (offloads.tso6, GSO_TCP6) };
        let is_cwr = self.bytes.get(transport.checked_add(TCP_FLAGS)?)? & TCP_CWR != 0;
        let fits = self.bytes.len().saturating_sub(ip) <= usize::from(u16::MAX) && payload > size;
        let checksum = self.checksum.is_some_and(|order| order.start == transport && order.end.is_none());
        let able = able && offloads.checksum && (offloads.ecn || !is_cwr);
        let kind = kind | if is_cwr { GSO_ECN } else { 0 };
        (able && fits && checksum && is_tcp && self.vlan.is_none()).then_some(kind)
    }

    /// Adds the segment's length to the sum of the pseudo header, in which the driver has left it out.
    fn prepare_checksum(&self, out: &mut [u8], length: usize) {
        if let Some(order) = self.checksum
            && let Some(sum) = get(out, HEADER_SIZE + order.at)
        {
            set(out, HEADER_SIZE + order.at, &checksum::add(sum, length as u16).to_be_bytes());
        }
    }

    /// Makes checksums, or leaves them to the back end, and puts the tag in.
    fn seal(&self, offloads: Offloads, out: &mut Vec<u8>) {
        if let Some(order) = self.ip_checksum {
            insert(out, order, 0);
        }
        if let Some(order) = self.checksum {
            let offset = order.at.checked_sub(order.start).filter(|_| order.end.is_none() && self.vlan.is_none());
            match offset {
                Some(offset) if offloads.checksum => {
                    set(out, 0, &[NEEDS_CHECKSUM]);
                    set(out, 6, &(order.start as u16).to_le_bytes());
                    set(out, 8, &(offset as u16).to_le_bytes());
                }
                _ => insert(out, order, 0xffff),
            }
        }
        if let Some(VlanTag { protocol, tag }) = self.vlan
            && out.len() >= HEADER_SIZE + ADDRESSES
        {
            let [a, b] = protocol.to_be_bytes();
            let [c, d] = tag.to_be_bytes();
            let at = HEADER_SIZE + ADDRESSES;
            out.splice(at..at, [a, b, c, d]);
        }
    }
}

/// Which of a packet's segments it is.
struct Place {
    number: usize,
    /// Bytes of the packet's payload before its own.
    payload: usize,
    is_last: bool,
}

/// Corrects what differs between a packet's headers and a segment's; returns the length of TCP's or UDP's part.
fn adjust(out: &mut [u8], division: Division, place: &Place) -> usize {
    let Division { ip, is_ipv4, transport, is_tcp, .. } = division;
    let length = out.len() - HEADER_SIZE;
    let (ip, transport) = (HEADER_SIZE.saturating_add(ip), HEADER_SIZE.saturating_add(transport));
    let packet = (length + HEADER_SIZE).saturating_sub(ip);
    let content = (length + HEADER_SIZE).saturating_sub(transport);
    if is_ipv4 {
        set(out, ip.saturating_add(2), &(packet as u16).to_be_bytes());
        let identification = get(out, ip.saturating_add(4)).unwrap_or(0).wrapping_add(place.number as u16);
        set(out, ip.saturating_add(4), &identification.to_be_bytes());
    } else {
        set(out, ip.saturating_add(4), &(packet.saturating_sub(IPV6_HEADER) as u16).to_be_bytes());
    }
    if is_tcp {
        let sequence = transport.saturating_add(4);
        let before =
            out.get(sequence..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes));
        set(out, sequence, &before.wrapping_add(place.payload as u32).to_be_bytes());
        if let Some(flags) = out.get_mut(transport.saturating_add(TCP_FLAGS)) {
            *flags &= if place.is_last { 0xff } else { !TCP_FIN_AND_PSH };
            *flags &= if place.number == 0 { 0xff } else { !TCP_CWR };
        }
    } else {
        set(out, transport.saturating_add(4), &(content as u16).to_be_bytes());
    }
    content
}

/// Makes a checksum. One of zero is written as `zero`: UDP has another meaning for zero.
fn insert(out: &mut [u8], order: ChecksumOrder, zero: u16) {
    let frame = out.get_mut(HEADER_SIZE..).unwrap_or_default();
    let end = order.end.unwrap_or(frame.len()).min(frame.len());
    let Some(covered) = frame.get(order.start..end) else { return };
    let made = match !checksum::sum(covered) {
        0 => zero,
        other => other,
    };
    set(frame, order.at, &made.to_be_bytes());
}

fn get(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Writes `value` at `at` if there is room for it.
fn set(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = at.checked_add(value.len()).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: usize = 14;
    const TCP: usize = 34;
    const HEADERS: usize = 54;
    const ALL: Offloads = Offloads { checksum: true, tso4: true, tso6: true, ecn: true };

    /// A packet of TCP over IPv4 as Linux's driver gives it to its card, to be divided.
    fn packet(payload: usize, size: usize) -> Unfinished {
        let mut bytes = vec![0; HEADERS + payload];
        (bytes[12], bytes[IP], bytes[22], bytes[23]) = (8, 0x45, 64, 6);
        bytes[IP + 4..IP + 6].copy_from_slice(&[0xff, 0xff]);
        bytes[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        bytes[TCP + 4..TCP + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xf0]);
        (bytes[TCP + 12], bytes[TCP + 13]) = (0x50, 0x99);
        bytes[HEADERS..].iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
        let pseudo = checksum::add(checksum::sum(&bytes[26..34]), 6);
        bytes[TCP + 16..TCP + 18].copy_from_slice(&pseudo.to_be_bytes());
        Unfinished {
            bytes,
            ip_checksum: Some(ChecksumOrder { start: IP, at: IP + 10, end: Some(TCP) }),
            checksum: Some(ChecksumOrder { start: TCP, at: TCP + 16, end: None }),
            division: Some(Division { headers: HEADERS, size, ip: IP, is_ipv4: true, transport: TCP, is_tcp: true }),
            ..Unfinished::default()
        }
    }

    fn frames(mut packet: Unfinished, offloads: Offloads) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        std::iter::from_fn(|| packet.next(offloads, &mut out).then(|| out.clone())).collect()
    }

    #[test]
    fn a_packet_is_divided_into_segments_that_are_right() {
        let segments = frames(packet(2500, 1000), Offloads::default());

        assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1066, 1066, 566]);
        let all: Vec<u8> = segments.iter().flat_map(|frame| &frame[HEADER_SIZE + HEADERS..]).copied().collect();
        assert_eq!(all, packet(2500, 1000).bytes[HEADERS..]);
        for frame in &segments {
            let verdict = checksum::verify(&frame[HEADER_SIZE..]);
            assert_eq!(verdict, checksum::Verdict { header: Some(true), content: Some(true) });
            assert_eq!(frame[..HEADER_SIZE], [0; HEADER_SIZE]);
        }
        let field = |at: usize| segments.iter().map(|frame| frame[HEADER_SIZE + at]).collect::<Vec<_>>();
        assert_eq!(
            (field(IP + 5), field(TCP + 13)),
            (vec![0xff, 0, 1], vec![0x90, 0x10, 0x19]),
            "CWR, then FIN and PSH"
        );
        assert_eq!(field(TCP + 7), [0xf0, 0xd8, 0xc0]);
    }

    #[test]
    fn a_back_end_that_can_divide_gets_the_packet_whole() {
        let whole = frames(packet(2500, 1000), ALL);

        assert_eq!(whole.len(), 1);
        let header = &whole[0][..HEADER_SIZE];
        assert_eq!(header, [1, 0x81, 54, 0, 0xe8, 3, 34, 0, 16, 0, 0, 0]);
        let frame = &whole[0][HEADER_SIZE..];
        assert_eq!(get(frame, IP + 2), Some(2540));
        assert_eq!(checksum::verify(frame).header, Some(true));
        assert_eq!(frames(packet(500, 1000), ALL).len(), 1);
        assert_eq!(frames(packet(500, 1000), ALL)[0][1], 0, "it is one segment already");
    }

    #[test]
    fn a_tag_is_put_behind_the_addresses() {
        let vlan = Some(VlanTag { protocol: 0x8100, tag: 5 });
        let tagged = frames(Unfinished { vlan, ..packet(100, 1000) }, ALL);

        assert_eq!(tagged[0][HEADER_SIZE + 12..][..6], [0x81, 0, 0, 5, 8, 0]);
        let plain = [&tagged[0][HEADER_SIZE..][..12], &tagged[0][HEADER_SIZE + 16..]].concat();
        assert_eq!(checksum::verify(&plain).content, Some(true));
    }

    #[test]
    fn what_points_out_of_the_frame_harms_nobody() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let mut number = |limit: usize| match random.u8(..) {
                0..8 => usize::from(u16::MAX),
                _ => random.usize(..limit),
            };
            let mut order = || ChecksumOrder { start: number(80), at: number(80), end: Some(number(200)) };
            let (ip_checksum, checksum) = (Some(order()), Some(ChecksumOrder { end: None, ..order() }));
            let (headers, size, ip, transport) = (number(80), number(200), number(80), number(80));
            let division = Division { headers, size, ip, is_ipv4: size % 2 == 0, transport, is_tcp: size % 3 == 0 };
            let length = number(120) % 120;
            let vlan = (length % 2 == 0).then_some(VlanTag { protocol: 0x8100, tag: 1 });
            let bytes = vec![7; length];
            let frame = Unfinished { bytes, ip_checksum, checksum, division: Some(division), vlan, made: 0 };

            let made = frames(frame.clone(), if size % 5 == 0 { ALL } else { Offloads::default() });

            assert!(made.len() <= 1 + length / SEGMENT_MIN);
            frames(Unfinished { division: None, ..frame }, Offloads::default());
        }
    }
}
