//! Sending: descriptors, of the legacy and of the extended kind, become frames (manual, sections 3.3 to 3.5).

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

use super::{
    core::{Core, Descriptor, NoMemory},
    interrupts,
    registers::{self, TRANSMIT, counter, ctrl, tctl},
};
use crate::vmm::net::{
    FRAME_MAX, HEADER_SIZE,
    unfinished::{ChecksumOrder, Division, Unfinished, VlanTag},
};

/// The most descriptors of a frame: drivers use some dozens.
const DESCRIPTORS_MAX: u32 = 1024;
/// The longest frame in bytes.
const LONGEST: usize = FRAME_MAX - HEADER_SIZE;
/// What a frame without its checksum has at least, in bytes.
const SHORTEST: usize = 60;
/// The frame check sequence, which a driver may have made itself.
const CRC: usize = 4;

/// Commands, the same ones in all kinds of descriptors.
const END_OF_PACKET: u8 = 1 << 0;
const INSERT_CRC: u8 = 1 << 1;
/// In a legacy descriptor: make a checksum. In the others: divide.
const INSERT_CHECKSUM: u8 = 1 << 2;
const DIVIDE: u8 = 1 << 2;
const REPORT: u8 = 1 << 3;
const EXTENDED: u8 = 1 << 5;
const VLAN: u8 = 1 << 6;
/// The types of extended descriptors.
const CONTEXT: u8 = 0;
const DATA: u8 = 1;
/// In a context: it is for TCP; it is for IPv4.
const TCP: u8 = 1 << 0;
const IPV4: u8 = 1 << 1;
/// Which checksums are made.
const IP_CHECKSUM: u8 = 1 << 0;
const CONTENT_CHECKSUM: u8 = 1 << 1;
/// The status: the descriptor is done.
const DONE: u64 = 1 << 32;

/// What the last context descriptors have said, one that divides and one that does not.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contexts {
    plain: Context,
    dividing: Context,
}

/// A context descriptor's content.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Context {
    ip_start: u8,
    ip_at: u8,
    ip_end: u16,
    start: u8,
    at: u8,
    end: u16,
    command: u8,
    headers: u8,
    size: u16,
}

impl Context {
    fn parse(descriptor: &Descriptor) -> Self {
        let [ip_start, ip_at, a, b, start, at, c, d, _, _, _, command, _, headers, e, f] = *descriptor;
        let [ip_end, end, size] = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
        Self { ip_start, ip_at, ip_end, start, at, end, command, headers, size }
    }

    fn ip_checksum(self) -> ChecksumOrder {
        order(self.ip_start, self.ip_at, self.ip_end)
    }

    fn checksum(self) -> ChecksumOrder {
        order(self.start, self.at, self.end)
    }

    fn division(self) -> Division {
        Division {
            headers: self.headers.into(),
            size: self.size.into(),
            ip: self.ip_start.into(),
            is_ipv4: self.command & IPV4 != 0,
            transport: self.start.into(),
            is_tcp: self.command & TCP != 0,
        }
    }
}

/// A checksum from `start` to the byte `end`, 0 for the frame's last one.
fn order(start: u8, at: u8, end: u16) -> ChecksumOrder {
    let end = (end != 0).then(|| usize::from(end) + 1);
    ChecksumOrder { start: start.into(), at: at.into(), end }
}

/// A descriptor.
enum Parsed {
    Context(Context),
    Data(Piece),
}

/// A descriptor that names a piece of a frame.
struct Piece {
    address: u64,
    length: usize,
    command: u8,
    is_extended: bool,
    /// For a legacy descriptor where the checksum is put and where it starts, for an extended one which checksums are made.
    options: [u8; 2],
    special: u16,
}

fn parse(descriptor: &Descriptor) -> Parsed {
    let [a, b, c, d, e, f, g, h, low, middle, high, command, _, options, tag_low, tag_high] = *descriptor;
    let is_extended = command & EXTENDED != 0;
    if is_extended && high >> 4 == CONTEXT {
        return Parsed::Context(Context::parse(descriptor));
    }
    // A legacy descriptor has a shorter length, and where its checksum is put behind that.
    let (upper, put) = if is_extended { (high & 0xf, options) } else { (0, high) };
    Parsed::Data(Piece {
        address: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        length: u32::from_le_bytes([low, middle, upper, 0]) as usize,
        command,
        // Another type means nothing: the descriptor is an empty piece.
        is_extended: is_extended && high >> 4 == DATA,
        options: [put, options],
        special: u16::from_le_bytes([tag_low, tag_high]),
    })
}

/// A frame that is being collected.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    /// The options of the first descriptor, if it is an extended one.
    extended: Option<(u8, u8)>,
    descriptors: u32,
    is_wrong: bool,
}

impl Core {
    /// Takes the next frame off the ring, if there is a whole one. Descriptors count as done as soon as what they name is
    /// copied; what cannot be a frame is dropped.
    pub fn take_frame(&mut self) -> Option<Unfinished> {
        while self.has_frame() {
            match self.collect() {
                Ok(Some(frame)) => return Some(frame),
                // It was no frame, but there may be one behind it.
                Ok(None) => {}
                Err(NoMemory) => {
                    tracing::debug!("the transmit ring of a card lies where there is no memory");
                    self.is_incomplete = true;
                }
            }
        }
        None
    }

    fn collect(&mut self) -> Result<Option<Unfinished>, NoMemory> {
        let mut position = self.registers.get(TRANSMIT.head());
        let tail = self.registers.get(TRANSMIT.tail());
        let mut contexts = self.contexts.clone();
        let mut collected = Collected::default();
        while position != tail {
            let descriptor = self.descriptor(TRANSMIT, position)?;
            let next = self.behind(TRANSMIT, position);
            collected.descriptors += 1;
            match parse(&descriptor) {
                Parsed::Context(context) => {
                    let dividing = context.command & DIVIDE != 0;
                    *(if dividing { &mut contexts.dividing } else { &mut contexts.plain }) = context;
                }
                Parsed::Data(piece) => {
                    self.add(&piece, &mut collected);
                    if piece.command & END_OF_PACKET != 0 {
                        self.done_up_to(next)?;
                        self.contexts = contexts;
                        return Ok(self.complete(collected, &piece));
                    }
                }
            }
            let has_pieces = collected.extended.is_some() || !collected.bytes.is_empty();
            if !has_pieces || collected.descriptors >= DESCRIPTORS_MAX {
                self.done_up_to(next)?;
                self.contexts = contexts.clone();
            }
            if collected.descriptors >= DESCRIPTORS_MAX {
                self.card.statistics().dropped();
                return Ok(None);
            }
            position = next;
        }
        // The frame's end is to come, or there were only contexts.
        self.is_incomplete = self.waiting(TRANSMIT) > 0;
        Ok(None)
    }

    /// Copies a piece of a frame.
    fn add(&self, piece: &Piece, collected: &mut Collected) {
        let [_, options] = piece.options;
        if collected.bytes.is_empty() && collected.extended.is_none() && piece.is_extended {
            collected.extended = Some((piece.command, options));
        }
        let start = collected.bytes.len();
        let end = start.saturating_add(piece.length);
        if collected.is_wrong || end > LONGEST {
            collected.is_wrong = true;
            return;
        }
        collected.bytes.resize(end, 0);
        let place = collected.bytes.get_mut(start..).unwrap_or_default();
        if !place.is_empty() && self.memory.read_slice(place, GuestAddress(piece.address)).is_err() {
            collected.is_wrong = true;
        }
    }

    /// Gives the descriptors before `next` back to the driver, and tells it of those of which it wants to know.
    fn done_up_to(&mut self, next: u32) -> Result<(), NoMemory> {
        let mut position = self.registers.get(TRANSMIT.head());
        while position != next {
            let descriptor = self.descriptor(TRANSMIT, position)?;
            let [.., a, b, c, command, d, e, f, g] = descriptor;
            if command & REPORT != 0 {
                let upper = u64::from_le_bytes([a, b, c, command, d, e, f, g]);
                self.finish_descriptor(TRANSMIT, position, upper | DONE)?;
                self.interrupts.raise(interrupts::SENT);
            }
            position = self.behind(TRANSMIT, position);
        }
        self.registers.set(TRANSMIT.head(), next);
        if self.waiting(TRANSMIT) == 0 {
            self.interrupts.raise(interrupts::SEND_QUEUE_EMPTY);
        }
        Ok(())
    }

    /// The frame whose last piece is `last`; `None` when it cannot be one.
    fn complete(&mut self, collected: Collected, last: &Piece) -> Option<Unfinished> {
        let Collected { mut bytes, extended, is_wrong, .. } = collected;
        let mut frame = Unfinished::default();
        match extended {
            Some((command, options)) => {
                let dividing = command & DIVIDE != 0;
                let context = if dividing { self.contexts.dividing } else { self.contexts.plain };
                frame.ip_checksum = (options & IP_CHECKSUM != 0).then(|| context.ip_checksum());
                frame.checksum = (options & CONTENT_CHECKSUM != 0).then(|| context.checksum());
                frame.division = dividing.then(|| context.division());
            }
            None if last.command & INSERT_CHECKSUM != 0 => {
                let [at, start] = last.options;
                frame.checksum = Some(order(start, at, 0));
            }
            None => {}
        }
        if last.command & INSERT_CRC == 0 && frame.division.is_none() {
            bytes.truncate(bytes.len().saturating_sub(CRC));
        }
        if is_wrong || bytes.is_empty() {
            self.card.statistics().dropped();
            return None;
        }
        if self.registers.get(registers::TCTL) & tctl::PAD != 0 && bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        if last.command & VLAN != 0 && self.registers.get(registers::CTRL) & ctrl::VLAN_MODE != 0 {
            let protocol = self.registers.get(registers::VET) as u16;
            frame.vlan = Some(VlanTag { protocol, tag: last.special });
        }
        if frame.division.is_some() {
            self.registers.count(counter::SEGMENTED, 1);
        }
        frame.bytes = bytes;
        Some(frame)
    }

    /// Counts a frame that has gone out, without its header.
    pub fn count_sent(&mut self, frame: &[u8]) {
        let bytes = (frame.len() + CRC) as u64;
        for counter in [counter::SENT, counter::ALL_SENT] {
            self.registers.count(counter, 1);
        }
        for counter in [counter::SENT_BYTES, counter::ALL_SENT_BYTES] {
            self.registers.count(counter, bytes);
        }
        self.registers.count_size(counter::SENT_64, frame.len() + CRC);
        match frame.get(..6) {
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => self.registers.count(counter::SENT_BROADCAST, 1),
            Some([first, ..]) if first & 1 != 0 => self.registers.count(counter::SENT_MULTICAST, 1),
            _ => {}
        }
    }
}
