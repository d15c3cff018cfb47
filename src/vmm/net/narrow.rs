//! A back end whose network takes shorter packets than the driver was told of: a driver learns the longest packet once, at its start
//! (virtio 1.2, section 5.1.4), and its card may be switched to another network later. What is too long is put into fragments where
//! the guest allows that (RFC 791), and else the guest is told how long it may be (RFC 1191, RFC 8201), as by a router on the way:
//! from then on it sends no more than that to this receiver.

#![forbid(unsafe_code)]

use std::{collections::VecDeque, io, os::fd::BorrowedFd};

use super::{HEADER_SIZE, NetBackend, Offloads, Sent, TAG, TAGGED, checksum, fill, gather};
use crate::vmm::memory::GuestSlice;

const ADDRESSES: usize = 12;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// IPv4's flags, in its header's word at 6: do not fragment, more fragments; and the fragment's offset, in units of 8 bytes.
const KEEP_WHOLE: u16 = 0x4000;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// The longest answers: what each host has to be able to receive (RFC 1812, section 4.3.2.3; RFC 4443, section 2.4).
const IPV4_ANSWER: usize = 576;
const IPV6_ANSWER: usize = 1280;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOPS: u8 = 64;
/// Answers that wait for the guest. When it does not take them there is no need for more.
const ANSWERS_MAX: usize = 64;

/// See the module.
pub struct Narrow {
    inner: Box<dyn NetBackend>,
    /// The longest packet of the network, in bytes.
    mtu: usize,
    /// Fragments with their headers that are not sent yet.
    outgoing: VecDeque<Vec<u8>>,
    /// Answers with their headers that the guest has not taken yet.
    answers: VecDeque<Vec<u8>>,
}

/// What is to be done with a frame.
enum Fate {
    Pass,
    Fragments(VecDeque<Vec<u8>>),
    Answer(Vec<u8>),
    Drop,
}

impl Narrow {
    /// Keeps what is longer than `mtu` bytes from `inner`.
    pub fn new(inner: Box<dyn NetBackend>, mtu: u16) -> Self {
        Self { inner, mtu: mtu.into(), outgoing: VecDeque::new(), answers: VecDeque::new() }
    }

    /// Sends the fragments that wait; `false` when there is no room for all.
    fn send_rest(&mut self) -> io::Result<bool> {
        while let Some(mut frame) = self.outgoing.pop_front() {
            if self.inner.send(&[GuestSlice::from(frame.as_mut_slice())])? == Sent::Full {
                self.outgoing.push_front(frame);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl NetBackend for Narrow {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn offloads(&self) -> Offloads {
        self.inner.offloads()
    }

    fn accept(&mut self, offloads: Offloads) -> io::Result<()> {
        self.inner.accept(offloads)
    }

    fn mtu(&self) -> Option<u16> {
        self.inner.mtu()
    }

    fn send(&mut self, frame: &[GuestSlice<'_>]) -> io::Result<Sent> {
        if !self.send_rest()? {
            return Ok(Sent::Full);
        }
        let length: usize = frame.iter().map(|slice| slice.len()).sum();
        if length <= HEADER_SIZE + ADDRESSES + 2 + self.mtu {
            return self.inner.send(frame);
        }
        match judge(&gather(frame), self.mtu) {
            Some(Fate::Pass) => return self.inner.send(frame),
            Some(Fate::Fragments(fragments)) => {
                self.outgoing = fragments;
                self.send_rest()?;
            }
            Some(Fate::Answer(answer)) if self.answers.len() < ANSWERS_MAX => self.answers.push_back(answer),
            Some(Fate::Answer(_) | Fate::Drop) | None => {}
        }
        Ok(Sent::Taken)
    }

    fn room(&self) -> Option<BorrowedFd<'_>> {
        self.inner.room()
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(self.inner.flush()? && self.send_rest()?)
    }

    fn receive(&mut self, buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>> {
        let Some(answer) = self.answers.pop_front() else { return self.inner.receive(buffers) };
        Ok(Some(fill(buffers, 0, &answer)))
    }

    fn holds_frames(&self) -> bool {
        !self.answers.is_empty() || self.inner.holds_frames()
    }
}

/// What is to be done with a frame, given with its header; `None` for one that is none.
fn judge(bytes: &[u8], mtu: usize) -> Option<Fate> {
    let (header, frame) = bytes.split_first_chunk::<HEADER_SIZE>()?;
    // A packet that somebody else divides.
    if header[1] != 0 {
        return Some(Fate::Pass);
    }
    let ethernet = ADDRESSES + 2 + if frame.get(ADDRESSES..)?.starts_with(&TAGGED) { TAG } else { 0 };
    let (link, packet) = frame.split_at_checked(ethernet)?;
    match link.get(ethernet - 2..)? {
        kind if kind == IPV4 => ipv4(link, packet, mtu),
        kind if kind == IPV6 => ipv6(link, packet, mtu),
        // Nobody divides it, and nobody takes it.
        _ => (packet.len() > mtu).then_some(Fate::Drop).or(Some(Fate::Pass)),
    }
}

fn ipv4(link: &[u8], packet: &[u8], mtu: usize) -> Option<Fate> {
    let header = packet.first_chunk::<IPV4_HEADER>()?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let packet = packet.get(..word(2).into())?;
    if packet.len() <= mtu {
        return Some(Fate::Pass);
    }
    // Options would have to be looked at: nobody uses them.
    if header[0] != 0x45 {
        return Some(Fate::Drop);
    }
    let (flags, content) = (word(6), packet.get(IPV4_HEADER..)?);
    if flags & KEEP_WHOLE == 0 {
        return Some(Fate::Fragments(fragments(link, header, content, mtu)));
    }
    let [source, receiver] = [header.get(12..16)?, header.get(16..20)?];
    // Nobody is told of what goes to several, or of fragments but the first (RFC 1812, section 4.3.2.7).
    if is_group(link) || flags & OFFSET != 0 || receiver.first().is_none_or(|first| *first >= 224) {
        return Some(Fate::Drop);
    }
    let told = packet.get(..packet.len().min(IPV4_ANSWER - IPV4_HEADER - 8))?;
    let mut message = [&[3, 4, 0, 0, 0, 0][..], &(mtu as u16).to_be_bytes(), told].concat();
    set_sum(&mut message, 2, 0);
    let total = ((IPV4_HEADER + message.len()) as u16).to_be_bytes();
    let mut answer = [&[0x45, 0][..], &total, &[0, 0, 0, 0, HOPS, ICMP, 0, 0], receiver, source].concat();
    set_sum(&mut answer, 10, 0);
    Some(Fate::Answer(framed(&back(link)?, &[&answer, &message])))
}

/// Divides the content of a packet of IPv4.
fn fragments(link: &[u8], header: &[u8; IPV4_HEADER], content: &[u8], mtu: usize) -> VecDeque<Vec<u8>> {
    let size = mtu.saturating_sub(IPV4_HEADER) & !7;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let mut parts = content.chunks(size.max(8)).peekable();
    let (mut made, mut done) = (VecDeque::new(), 0);
    while let Some(part) = parts.next() {
        let more = if parts.peek().is_some() { MORE } else { flags & MORE };
        let offset = (flags & OFFSET).wrapping_add((done / 8) as u16) & OFFSET;
        let mut header = *header;
        header[2..4].copy_from_slice(&((IPV4_HEADER + part.len()) as u16).to_be_bytes());
        header[6..8].copy_from_slice(&(more | offset).to_be_bytes());
        set_sum(&mut header, 10, 0);
        made.push_back(framed(link, &[&header, part]));
        done += part.len();
    }
    made
}

fn ipv6(link: &[u8], packet: &[u8], mtu: usize) -> Option<Fate> {
    let header = packet.first_chunk::<IPV6_HEADER>()?;
    let content = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let packet = packet.get(..IPV6_HEADER + content)?;
    if packet.len() <= mtu {
        return Some(Fate::Pass);
    }
    let [source, receiver] = [header.get(8..24)?, header.get(24..40)?];
    if is_group(link) || receiver.starts_with(&[0xff]) {
        return Some(Fate::Drop);
    }
    let told = packet.get(..packet.len().min(IPV6_ANSWER - IPV6_HEADER - 8))?;
    let mut message = [&[2, 0, 0, 0][..], &(mtu as u32).to_be_bytes(), told].concat();
    let length = (message.len() as u16).to_be_bytes();
    // The pseudo header: addresses, length, protocol (RFC 8200, section 8.1).
    let pseudo = [receiver, source, &length, &[0, ICMPV6]].concat();
    set_sum(&mut message, 2, checksum::sum(&pseudo));
    let answer = [&[0x60, 0, 0, 0][..], &length, &[ICMPV6, HOPS], receiver, source].concat();
    Some(Fate::Answer(framed(&back(link)?, &[&answer, &message])))
}

/// Puts the checksum of `bytes` in at `at`, on top of the sum of what is not in them.
fn set_sum(bytes: &mut [u8], at: usize, before: u16) {
    bytes[at..at + 2].copy_from_slice(&[0; 2]);
    let sum = !checksum::add(checksum::sum(bytes), before);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Whether a frame goes to several stations.
fn is_group(link: &[u8]) -> bool {
    link.first().is_none_or(|first| first & 1 != 0)
}

/// The beginning of a frame that comes back.
fn back(link: &[u8]) -> Option<Vec<u8>> {
    let (addresses, rest) = link.split_at_checked(ADDRESSES)?;
    let (to, from) = addresses.split_at_checked(ADDRESSES / 2)?;
    Some([from, to, rest].concat())
}

/// A frame with its header.
fn framed(link: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    [&[0; HEADER_SIZE], link, &parts.concat()].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::vmm::net::{FRAME_MAX, testing::Wire};

    const LINK: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

    fn narrow() -> (Narrow, UnixDatagram) {
        let (wire, backend) = Wire::new();
        wire.set_nonblocking(true).unwrap();
        (Narrow::new(Box::new(backend), 1500), wire)
    }

    /// A frame with a packet of UDP over IPv4.
    fn packet(payload: usize, flags: u16) -> Vec<u8> {
        let content: Vec<u8> = (0..payload).map(|index| index as u8).collect();
        let total = ((IPV4_HEADER + payload) as u16).to_be_bytes();
        let mut header = [&[0x45, 0][..], &total, &[0, 7], &flags.to_be_bytes(), &[64, 17, 0, 0]].concat();
        header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        set_sum(&mut header, 10, 0);
        framed(&[&LINK[..], &IPV4].concat(), &[&header, &content])
    }

    fn packet6(payload: usize) -> Vec<u8> {
        let mut header = [&[0x60, 0, 0, 0][..], &(payload as u16).to_be_bytes(), &[17, 64]].concat();
        header.extend([&[0xfd; 15][..], &[1], &[0xfd; 15], &[2]].concat());
        framed(&[&LINK[..], &IPV6].concat(), &[&header, &vec![0; payload]])
    }

    fn send(narrow: &mut Narrow, mut frame: Vec<u8>) {
        assert_eq!(narrow.send(&[GuestSlice::from(frame.as_mut_slice())]).unwrap(), Sent::Taken);
    }

    fn on_the_wire(wire: &UnixDatagram) -> Vec<Vec<u8>> {
        let mut bytes = vec![0; FRAME_MAX];
        std::iter::from_fn(|| wire.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec())).collect()
    }

    /// The packet of the next answer, which is one frame to the guest.
    fn answer(narrow: &mut Narrow) -> Option<Vec<u8>> {
        let mut bytes = vec![0; FRAME_MAX];
        let length = narrow.receive(&[GuestSlice::from(bytes.as_mut_slice())]).unwrap()?;
        let frame = &bytes[HEADER_SIZE..length];
        assert_eq!(frame[..12], [&LINK[6..], &LINK[..6]].concat());
        Some(frame[14..].to_vec())
    }

    #[test]
    fn what_is_short_enough_or_divided_by_others_passes() {
        let (mut narrow, wire) = narrow();
        let mut divided = packet(9000, KEEP_WHOLE);
        divided[1] = 1;

        for frame in [packet(1480, KEEP_WHOLE), packet6(1460), divided] {
            send(&mut narrow, frame.clone());
            assert_eq!(on_the_wire(&wire), [frame]);
        }
        assert!(!narrow.holds_frames());
    }

    #[test]
    fn a_long_packet_that_may_be_divided_is() {
        let (mut narrow, wire) = narrow();

        send(&mut narrow, packet(4000, 0));

        let frames = on_the_wire(&wire);
        let packets: Vec<_> = frames.iter().map(|frame| &frame[HEADER_SIZE + 14..]).collect();
        assert_eq!(packets.iter().map(|packet| packet.len()).collect::<Vec<_>>(), [1500, 1500, 1060]);
        let fields: Vec<_> = packets.iter().map(|packet| u16::from_be_bytes([packet[6], packet[7]])).collect();
        assert_eq!(fields, [MORE, MORE | 185, 370]);
        assert!(packets.iter().all(|packet| checksum::sum(&packet[..IPV4_HEADER]) == 0xffff));
        let content: Vec<u8> = packets.iter().flat_map(|packet| &packet[IPV4_HEADER..]).copied().collect();
        assert_eq!(content, packet(4000, 0)[HEADER_SIZE + 14 + IPV4_HEADER..]);
    }

    #[test]
    fn of_a_long_packet_that_may_not_be_divided_the_guest_is_told() {
        let (mut narrow, wire) = narrow();
        send(&mut narrow, packet(4000, KEEP_WHOLE));
        send(&mut narrow, packet6(4000));
        assert!(narrow.holds_frames() && on_the_wire(&wire).is_empty());

        let [four, six] = [answer(&mut narrow).unwrap(), answer(&mut narrow).unwrap()];

        assert_eq!((four.len(), checksum::sum(&four[..20]), checksum::sum(&four[20..])), (576, 0xffff, 0xffff));
        assert_eq!((&four[12..20], &four[20..22]), (&[10, 0, 0, 2, 10, 0, 0, 1][..], &[3, 4][..]));
        assert_eq!(four[26..28], 1500u16.to_be_bytes());
        assert_eq!(four[28..], packet(4000, KEEP_WHOLE)[HEADER_SIZE + 14..][..548]);
        assert_eq!((six.len(), six[6], &six[40..42], &six[44..48]), (1280, 58, &[2, 0][..], &[0, 0, 5, 220][..]));
        let pseudo = [&six[8..40], &six[4..6], &[0, 58]].concat();
        assert_eq!(checksum::add(checksum::sum(&pseudo), checksum::sum(&six[40..])), 0xffff);
        assert_eq!((answer(&mut narrow), narrow.holds_frames()), (None, false));
    }

    #[test]
    fn what_goes_to_several_or_is_no_packet_goes_nowhere_when_it_is_too_long() {
        let (mut narrow, wire) = narrow();
        let at = HEADER_SIZE + 14;
        let mut group = packet(4000, KEEP_WHOLE);
        group[HEADER_SIZE] = 0xff;
        let mut options = packet(4000, 0);
        options[at] = 0x46;
        let mut liar = packet(4000, 0);
        liar[at + 2] = 0xff;
        let mut unknown = packet(4000, 0);
        unknown[at - 2] = 0x88;

        for frame in [group, options, liar, unknown] {
            send(&mut narrow, frame);
        }
        for _ in 0..1000 {
            send(&mut narrow, packet6(4000));
        }

        assert!(on_the_wire(&wire).is_empty());
        let answers = std::iter::from_fn(|| answer(&mut narrow)).count();
        assert_eq!(answers, ANSWERS_MAX);
    }
}
