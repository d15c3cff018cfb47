//! Addresses of network cards, as the definition names them.

use uuid::Uuid;

/// What addresses of KVM's guests begin with.
const PREFIX: [u8; 3] = [0x52, 0x54, 0x00];

/// Card number `number` of a guest: the FNV-1a hash of both makes the last three bytes.
pub(super) fn derived(uuid: Uuid, number: u32) -> [u8; 6] {
    let bytes = uuid.into_bytes().into_iter().chain(number.to_be_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let [.., a, b, c] = (hash ^ hash >> 32).to_be_bytes();
    let [x, y, z] = PREFIX;
    [x, y, z, a, b, c]
}

/// As people write it.
pub(super) fn format(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The address of one card: neither a group's nor all zeroes.
pub(super) fn parse(text: &str) -> Option<[u8; 6]> {
    let parts: Option<Vec<u8>> =
        text.split(':').map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten()).collect();
    let mac: [u8; 6] = parts?.try_into().ok()?;
    (mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_one_card() {
        assert_eq!(parse("52:54:00:12:34:56"), Some([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        for wrong in
            ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "01:00:00:00:00:01", "00:00:00:00:00:00", "+2:54:00:12:34:5"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
