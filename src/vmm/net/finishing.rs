//! A back end that gets frames as the driver leaves them for another one, of which it cannot do all: the rest is done before
//! ([`super::unfinished`]). A card has one when it is switched to a network that can do less than that of its start, since what a
//! driver may leave is agreed upon once.

#![forbid(unsafe_code)]

use std::{io, os::fd::BorrowedFd};

use super::{
    HEADER_SIZE, NetBackend, Offloads, Sent, TAG, TAGGED, checksum, gather,
    unfinished::{ChecksumOrder, Division, Unfinished},
};
use crate::vmm::memory::GuestSlice;

/// Of `virtio_net_hdr_v1` (virtio 1.2, section 5.1.6).
const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_ECN: u8 = 0x80;
/// Bytes of addresses and type.
const ETHERNET: usize = 14;
/// Where IPv4's header has its checksum, and TCP's the length of itself, in words, in the upper half of a byte.
const IPV4_CHECKSUM: usize = 10;
const TCP_LENGTH: usize = 12;

/// See the module.
pub struct Finishing {
    inner: Box<dyn NetBackend>,
    offloads: Offloads,
    /// What was taken and is not sent yet.
    outgoing: Option<Unfinished>,
    /// The next frame of it, header first; empty when it has to be made.
    frame: Vec<u8>,
}

impl Finishing {
    /// Does for `inner` what it cannot do.
    pub fn new(inner: Box<dyn NetBackend>) -> Self {
        let offloads = inner.offloads();
        Self { inner, offloads, outgoing: None, frame: Vec::new() }
    }

    /// Sends what was taken; `false` when there is no room for all.
    fn send_rest(&mut self) -> io::Result<bool> {
        while let Some(outgoing) = &mut self.outgoing {
            if self.frame.is_empty() && !outgoing.next(self.offloads, &mut self.frame) {
                self.frame.clear();
                self.outgoing = None;
                break;
            }
            if self.inner.send(&[GuestSlice::from(self.frame.as_mut_slice())])? == Sent::Full {
                return Ok(false);
            }
            self.frame.clear();
        }
        Ok(true)
    }
}

impl NetBackend for Finishing {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.inner.descriptor()
    }

    fn offloads(&self) -> Offloads {
        Offloads { checksum: true, tso4: true, tso6: true, ecn: true }
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
        let mut bytes = gather(frame);
        let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else { return Ok(Sent::Taken) };
        if header[0] & NEEDS_CHECKSUM == 0 && header[1] == 0 {
            return self.inner.send(frame);
        }
        self.outgoing = unfinished(*header, bytes.split_off(HEADER_SIZE));
        self.send_rest()?;
        Ok(Sent::Taken)
    }

    fn room(&self) -> Option<BorrowedFd<'_>> {
        self.inner.room()
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(self.inner.flush()? && self.send_rest()?)
    }

    fn receive(&mut self, buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>> {
        self.inner.receive(buffers)
    }

    fn holds_frames(&self) -> bool {
        self.inner.holds_frames()
    }
}

/// What is left to be done for a frame with this header; `None` when the header cannot be right.
fn unfinished(header: [u8; HEADER_SIZE], mut bytes: Vec<u8>) -> Option<Unfinished> {
    let field = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let (kind, size, start) = (header[1] & !GSO_ECN, field(4), field(6));
    let checksum = ChecksumOrder { start, at: start + field(8), end: None };
    if kind == 0 {
        return Some(Unfinished { bytes, checksum: Some(checksum), ..Unfinished::default() });
    }
    if !matches!(kind, GSO_TCP4 | GSO_TCP6) || header[0] & NEEDS_CHECKSUM == 0 {
        return None;
    }
    let is_ipv4 = kind == GSO_TCP4;
    let ip = if bytes.get(12..14)? == TAGGED { ETHERNET + TAG } else { ETHERNET };
    let words = usize::from(bytes.get(start + TCP_LENGTH)? >> 4);
    let headers = start + 4 * words;
    let content = u16::try_from(bytes.len().checked_sub(start)?).ok()?;
    // The driver has put the length of the whole into the sum of the pseudo header; each segment gets its own.
    let sum = bytes.get_mut(checksum.at..)?.first_chunk_mut::<2>()?;
    *sum = checksum::add(u16::from_be_bytes(*sum), !content).to_be_bytes();
    let ip_checksum = is_ipv4.then_some(ChecksumOrder { start: ip, at: ip + IPV4_CHECKSUM, end: Some(start) });
    if let Some(order) = ip_checksum {
        *bytes.get_mut(order.at..)?.first_chunk_mut::<2>()? = [0; 2];
    }
    let division = Some(Division { headers, size, ip, is_ipv4, transport: start, is_tcp: true });
    Some(Unfinished { bytes, ip_checksum, checksum: Some(checksum), division, ..Unfinished::default() })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;
    use crate::vmm::net::stream::{PREFIX, Stream, hand_over};

    const TCP: usize = 34;
    const HEADERS: usize = 54;

    /// A stream that can do nothing for a frame, and its other end.
    fn finishing() -> (Finishing, UnixStream, std::os::fd::OwnedFd) {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let kind = rustix::net::SocketType::SEQPACKET;
        let (feed, ours) = rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None).unwrap();
        let (stream, theirs) = UnixStream::pair().unwrap();
        hand_over(&ours, &theirs).unwrap();
        stream.set_nonblocking(true).unwrap();
        (Finishing::new(Box::new(Stream::new(feed, 1500).unwrap())), stream, ours)
    }

    fn send(backend: &mut Finishing, mut bytes: Vec<u8>) -> Sent {
        backend.send(&[GuestSlice::from(bytes.as_mut_slice())]).unwrap()
    }

    fn received(stream: &mut UnixStream) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        // There is no end, but no more for now.
        let _ = stream.read_to_end(&mut bytes);
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX>() {
            let (frame, next) = behind.split_at(u32::from_be_bytes(*prefix) as usize);
            frames.push(frame.to_vec());
            rest = next;
        }
        frames
    }

    /// A packet of TCP over IPv4 as Linux's driver gives it to virtio-net, to be divided if `kind` says so.
    fn packet(payload: usize, kind: u8) -> Vec<u8> {
        let mut frame = vec![0; HEADERS + payload];
        let total = (HEADERS - ETHERNET + payload) as u16;
        (frame[12], frame[ETHERNET], frame[22], frame[23]) = (8, 0x45, 64, 6);
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        (frame[TCP + 12], frame[TCP + 13]) = (0x50, 0x18);
        frame[HEADERS..].iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
        let header_sum = !checksum::sum(&frame[ETHERNET..TCP]);
        frame[24..26].copy_from_slice(&header_sum.to_be_bytes());
        let pseudo = checksum::add(checksum::add(checksum::sum(&frame[26..34]), 6), total - 20);
        frame[TCP + 16..TCP + 18].copy_from_slice(&pseudo.to_be_bytes());
        let header = [NEEDS_CHECKSUM, kind, 54, 0, 0xe8, 3, TCP as u8, 0, 16, 0, 0, 0];
        [&header[..], &frame].concat()
    }

    #[test]
    fn what_the_driver_has_left_is_done() {
        let (mut backend, mut stream, _feed) = finishing();
        let right = checksum::Verdict { header: Some(true), content: Some(true) };

        send(&mut backend, packet(700, 0));
        send(&mut backend, packet(2500, GSO_TCP4 | GSO_ECN));
        send(&mut backend, [&[0; HEADER_SIZE][..], b"a frame that is whole"].concat());

        let frames = received(&mut stream);
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [754, 1054, 1054, 554, 21]);
        assert!(frames[..4].iter().all(|frame| checksum::verify(frame) == right), "{frames:?}");
        let content: Vec<u8> = frames[1..4].iter().flat_map(|frame| &frame[HEADERS..]).copied().collect();
        assert_eq!(content, packet(2500, 0)[HEADER_SIZE + HEADERS..]);
    }

    #[test]
    fn what_has_no_room_waits_and_nothing_is_lost() {
        let (mut backend, mut stream, _feed) = finishing();
        let mut taken = 0;
        while send(&mut backend, packet(30_000, GSO_TCP4)) == Sent::Taken {
            taken += 1;
        }

        let mut frames = Vec::new();
        loop {
            frames.extend(received(&mut stream));
            if backend.flush().unwrap() {
                break;
            }
        }
        frames.extend(received(&mut stream));

        assert!(taken > 1 && frames.len() == 30 * taken, "{} of {taken} packets", frames.len());
        assert_eq!(send(&mut backend, packet(100, 0)), Sent::Taken);
    }

    #[test]
    fn a_header_that_lies_harms_nobody() {
        let (mut backend, mut stream, _feed) = finishing();
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..20_000 {
            let mut bytes = packet(random.usize(..300), random.u8(..6));
            for _ in 0..4 {
                let at = random.usize(..60);
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..400));
            send(&mut backend, bytes);
            received(&mut stream);
        }
        stream.write_all(&[0, 0, 0, 0]).unwrap();
    }
}
