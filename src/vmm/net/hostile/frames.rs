//! What a guest might send to harm the host: frames of every length, with headers that are right, nearly right or nonsense, and with
//! headers of virtio-net that lie about them. Chance or a fuzzer chooses.
//!
//! The file stands alone: tests of other programs take it in as theirs.

/// Bytes of virtio-net's header.
const HEADER_SIZE: usize = 12;

/// What comes out of the bytes of chance or of a fuzzer. When they are used up everything is 0.
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether there is nothing left to choose.
    pub fn are_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes.split_off_first().copied().unwrap_or(0)
    }

    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.word()) % limit.max(1)
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number as attackers like them: at an edge, in the frame's headers or anything.
    pub fn edgy(&mut self) -> u16 {
        match self.byte() % 4 {
            0 => self.one_of(&[0, 1, 13, 14, 34, 54, 0x7fff, 0x8000, 0xfffe, 0xffff]),
            1 => self.byte().into(),
            _ => self.word(),
        }
    }
}

/// Addresses that those who carry frames know: everybody, groups, libslirp's and our switch's own, nobody's.
const ADDRESSES: [[u8; 6]; 7] = [
    [0xff; 6],
    [0x33, 0x33, 0, 0, 0, 1],
    [1, 0x80, 0xc2, 0, 0, 0],
    [0x52, 0x55, 10, 0, 2, 2],
    [0x02, b'l', b'o', b'd', b'g', b'e'],
    [0x52, 0x54, 0, 0x12, 0x34, 0x56],
    [0; 6],
];
/// ARP, IPv4, IPv6, a tag, two tags, NC-SI (which libslirp answers), jumbo frames and none at all.
const TYPES: [u16; 8] = [0x0806, 0x0800, 0x86dd, 0x8100, 0x88a8, 0x88f8, 0x8870, 60];
const IPV4: [[u8; 4]; 8] =
    [[10, 0, 2, 15], [10, 0, 2, 2], [10, 0, 2, 3], [10, 77, 0, 1], [255; 4], [0; 4], [224, 0, 0, 1], [127, 0, 0, 1]];
/// The last byte of fec0::, fe80:: and ff02::.
const IPV6: [u8; 3] = [0xfe, 0xff, 0xfd];
/// ICMP, IGMP, TCP, UDP, hop-by-hop options, fragments, ICMPv6 and one that nobody knows.
const PROTOCOLS: [u8; 8] = [1, 2, 6, 17, 0, 44, 58, 255];
/// DHCP, TFTP, names, DHCPv6.
const PORTS: [u16; 7] = [67, 68, 69, 53, 546, 547, 0];
/// The lengths at which something ends.
const LENGTHS: [usize; 13] = [0, 1, 6, 13, 14, 15, 33, 59, 60, 1514, 1518, 65_535 + 14, 65_535 + 14 + 4];

/// A frame, and the header before it as virtio-net has it.
pub fn frame(choices: &mut Choices<'_>) -> Vec<u8> {
    let content = content(choices);
    [&header(choices)[..], &content].concat()
}

/// `virtio_net_hdr_v1`: offloads that fit TCP over IPv4, or anything (virtio 1.2, section 5.1.6).
fn header(choices: &mut Choices<'_>) -> [u8; HEADER_SIZE] {
    let mut header = [0; HEADER_SIZE];
    let kind = choices.byte() % 4;
    if kind > 0 {
        header = [1, choices.one_of(&[0, 1, 4, 0x81, 0x84]), 54, 0, 0xe8, 3, 34, 0, 16, 0, 0, 0];
    }
    if kind > 1 {
        (header[0], header[1]) = (choices.byte(), choices.one_of(&[0, 1, 3, 4, 5, 0x80, 0x83, 0xff]));
    }
    if kind > 2 {
        for field in header[2..].chunks_mut(2) {
            field.copy_from_slice(&choices.edgy().to_le_bytes());
        }
    }
    header
}

/// The frame itself.
pub fn content(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut frame = [choices.one_of(&ADDRESSES), choices.one_of(&ADDRESSES)].concat();
    let mut kind = choices.one_of(&TYPES);
    for _ in 0..2 {
        if matches!(kind, 0x8100 | 0x88a8) {
            frame.extend(kind.to_be_bytes());
            frame.extend(choices.word().to_be_bytes());
            kind = choices.one_of(&TYPES);
        }
    }
    frame.extend(kind.to_be_bytes());
    let length = match choices.byte() % 4 {
        0 => choices.one_of(&LENGTHS),
        1 => choices.below(0x1_0000),
        _ => choices.below(300),
    };
    match kind {
        0x0806 => arp(choices, &mut frame),
        0x0800 => ipv4(choices, &mut frame, length),
        0x86dd => ipv6(choices, &mut frame, length),
        _ => {}
    }
    // Something is wrong with most of them.
    for _ in 0..choices.below(4) {
        let at = choices.below(frame.len());
        frame[at] = choices.byte();
    }
    let filling = choices.byte();
    frame.resize(if choices.byte().is_multiple_of(4) { length } else { frame.len().max(length) }, filling);
    frame.truncate(65_535 + 14 + 4);
    frame
}

fn arp(choices: &mut Choices<'_>, frame: &mut Vec<u8>) {
    frame.extend([0, 1, 8, 0, 6, 4, 0, choices.byte() % 4]);
    for _ in 0..2 {
        frame.extend(choices.one_of(&ADDRESSES));
        frame.extend(choices.one_of(&IPV4));
    }
}

fn ipv4(choices: &mut Choices<'_>, frame: &mut Vec<u8>, length: usize) {
    let start = frame.len();
    let version = choices.one_of(&[0x45, 0x45, 0x45, 0x46, 0x4f, 0x40, 0x65]);
    let total = if choices.byte().is_multiple_of(4) { choices.edgy() } else { length as u16 };
    let fragment = if choices.byte().is_multiple_of(4) { choices.word() } else { 0 };
    let protocol = choices.one_of(&PROTOCOLS);
    frame.extend([version, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, choices.byte() % 2]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, 0, 0]);
    frame.extend(choices.one_of(&IPV4));
    frame.extend(choices.one_of(&IPV4));
    let sum = checksum(&frame[start..], 0);
    frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
    frame.resize(start + 4 * usize::from(version & 0xf).max(5), choices.byte());
    transport(choices, frame, protocol, length);
}

fn ipv6(choices: &mut Choices<'_>, frame: &mut Vec<u8>, length: usize) {
    let total = if choices.byte().is_multiple_of(4) { choices.edgy() } else { length.saturating_sub(40) as u16 };
    let mut protocol = choices.one_of(&PROTOCOLS);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([protocol, choices.one_of(&[255, 1, 0])]);
    for _ in 0..2 {
        let first = choices.one_of(&IPV6);
        let second = match first {
            0xfe => choices.one_of(&[0xc0, 0x80]),
            _ => 2,
        };
        frame.extend([first, second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, choices.byte() % 4]);
    }
    // Headers behind headers.
    while matches!(protocol, 0 | 44) && !choices.are_over() && frame.len() < 300 {
        protocol = choices.one_of(&PROTOCOLS);
        frame.extend([protocol, choices.byte() % 3, 0, choices.byte(), 0, 0, 0, 0]);
    }
    transport(choices, frame, protocol, length);
}

fn transport(choices: &mut Choices<'_>, frame: &mut Vec<u8>, protocol: u8, length: usize) {
    let port = |choices: &mut Choices<'_>| match choices.byte() % 2 {
        0 => choices.one_of(&PORTS),
        _ => choices.word(),
    };
    let [from, to] = [port(choices), port(choices)].map(u16::to_be_bytes);
    match protocol {
        6 => {
            frame.extend([from, to].concat());
            frame.extend((0..8).map(|_| choices.byte()));
            frame.extend([choices.one_of(&[0x50, 0x50, 0x60, 0xf0, 0]), choices.byte()]);
            frame.extend([0xff, 0xff, 0, 0, choices.byte(), choices.byte()]);
        }
        17 => {
            let claimed =
                if choices.byte().is_multiple_of(4) { choices.edgy() } else { length.saturating_sub(34) as u16 };
            frame.extend([from, to, claimed.to_be_bytes(), [0, 0]].concat());
            match u16::from_be_bytes(to) {
                67 => dhcp(choices, frame),
                69 => frame.extend([0, choices.byte() % 7, b'a', 0, b'o', b'c', b't', b'e', b't', 0]),
                _ => {}
            }
        }
        58 => frame.extend([choices.one_of(&[128, 133, 134, 135, 136, 143]), 0, 0, 0, 0, 0, 0, 0]),
        _ => frame.extend([choices.byte() % 20, choices.byte() % 4, 0, 0]),
    }
    frame.extend((0..choices.below(24)).map(|_| choices.byte()));
}

/// A question of BOOTP with options that may not end.
fn dhcp(choices: &mut Choices<'_>, frame: &mut Vec<u8>) {
    frame.extend([1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
    frame.extend([0; 16]);
    frame.extend(choices.one_of(&ADDRESSES));
    frame.resize(frame.len() + 10 + 192, 0);
    frame.extend([99, 130, 83, 99, 53, choices.byte() % 3, choices.byte() % 9]);
    for _ in 0..choices.below(5) {
        frame.extend([choices.one_of(&[50, 51, 53, 54, 55, 61, 0, 255]), choices.byte() % 8, choices.byte()]);
    }
}

/// RFC 1071's.
fn checksum(bytes: &[u8], before: u32) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |byte| u32::from(*byte)));
    let sum = words.fold(before, |sum, word| sum + word);
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Plays some attacks of chance, or as many as the environment variable `LODGE_FUZZ_ROUNDS` says, from number `LODGE_FUZZ_FIRST` on.
/// The number of the last one is told when the test fails.
#[cfg(test)]
pub fn each_attack(play: fn(&[u8])) {
    let variable = |name, usual| std::env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let first: u64 = variable("LODGE_FUZZ_FIRST", 0);
    for number in first..first + variable("LODGE_FUZZ_ROUNDS", 150) {
        println!("attack {number}");
        let mut random = fastrand::Rng::with_seed(number);
        let length = random.usize(..1500);
        let input: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        play(&input);
    }
}
