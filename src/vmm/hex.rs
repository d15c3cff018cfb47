//! Many bytes in a saved state, as hexadecimal digits: a list of numbers would take many times the memory when it is read.

#![forbid(unsafe_code)]

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Bytes that are saved as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
        let text: String = self.0.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte & 0xf)]).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let byte = |pair: &[u8]| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self).ok_or_else(|| D::Error::custom("these are no hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_digits_and_bytes_again() {
        let bytes = HexBytes((0..=255).collect());

        let text = serde_json::to_string(&bytes).unwrap();

        assert!(text.starts_with("\"00010203") && text.ends_with("feff\""), "{text}");
        assert_eq!(serde_json::from_str::<HexBytes>(&text).unwrap(), bytes);
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["\"0\"", "\"0g\"", "\"é0\"", "\"FF\"", "[1]"] {
            assert!(serde_json::from_str::<HexBytes>(text).is_err(), "{text}");
        }
    }
}
