//! The Internet checksum (RFC 1071), and what a received frame says of its own.

#![forbid(unsafe_code)]

const IPV4: u16 = 0x0800;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bytes of an Ethernet header without a tag.
const ETHERNET: usize = 14;
const IPV4_LEAST: usize = 20;
/// "More fragments", and the fragment's offset.
const FRAGMENT: u16 = 0x3fff;

/// The ones' complement sum of 16-bit words in network order; a last odd byte counts as the upper half of one.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(4).fold(0u64, |sum, chunk| {
        let mut word = [0; 4];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        sum + u64::from(u32::from_be_bytes(word))
    });
    fold(words)
}

/// The sum of two sums.
pub fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// What a frame's checksums are like. What is not checked is `None`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the checksum of its IPv4 header is right.
    pub header: Option<bool>,
    /// Whether that of its TCP segment or UDP datagram is.
    pub content: Option<bool>,
}

/// Looks at the checksums of an Ethernet frame without a tag.
pub fn verify(frame: &[u8]) -> Verdict {
    let nothing = Verdict::default();
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET) else { return nothing };
    if word(ethernet, 12) != Some(IPV4) || packet.first().is_none_or(|version| version >> 4 != 4) {
        return nothing;
    }
    let header_length = packet.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
    let total = word(packet, 2).map_or(0, usize::from);
    let parts = packet.get(..total).and_then(|packet| packet.split_at_checked(header_length));
    let Some((header, content)) = parts.filter(|(header, _)| header.len() >= IPV4_LEAST) else {
        return Verdict { header: Some(false), content: None };
    };
    let is_fragment = word(header, 6).is_some_and(|fragment| fragment & FRAGMENT != 0);
    let protocol = header.get(9).copied().unwrap_or(0);
    let has_checksum = match protocol {
        TCP => true,
        UDP => word(content, 6).is_some_and(|checksum| checksum != 0),
        _ => false,
    };
    let verify_content = || {
        // The pseudo header: addresses, protocol, length.
        let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
        let addresses = sum(header.get(12..IPV4_LEAST).unwrap_or_default());
        add(add(addresses, u16::from(protocol)), add(length, sum(content))) == 0xffff
    };
    Verdict { header: Some(sum(header) == 0xffff), content: (has_checksum && !is_fragment).then(verify_content) }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071, section 3.
    #[test]
    fn sums_are_those_of_the_standard() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[0x12]), 0x1200);
        assert_eq!(add(0xffff, 1), 1);
    }

    #[test]
    fn cut_off_frames_are_looked_at_without_harm() {
        let mut frame = [0; 60];
        (frame[12], frame[14], frame[17]) = (8, 0x4f, 46);
        for length in 0..frame.len() {
            verify(&frame[..length]);
        }
        assert_eq!(verify(&frame[..14]), Verdict::default());
        assert_eq!(verify(&frame[..40]).header, Some(false), "it says that it is longer");
    }
}
