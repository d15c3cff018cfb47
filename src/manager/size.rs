//! Amounts of bytes as people write them: `2 GiB`, `512M`, or a whole number of bytes.

#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One kibibyte, in bytes.
pub const KIB: u64 = 1 << 10;
/// One mebibyte, in bytes.
pub const MIB: u64 = 1 << 20;
/// One gibibyte, in bytes.
pub const GIB: u64 = 1 << 30;
/// One tebibyte, in bytes.
pub const TIB: u64 = 1 << 40;

/// An amount of bytes. Written with the largest binary unit that holds it exactly, so that nothing is lost by writing it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl Size {
    /// So many bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// `count` mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(MIB))
    }

    /// `count` gibibytes.
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(GIB))
    }

    /// Rounded for people: `1.9 GiB`.
    pub fn approximate(self) -> String {
        ByteSize(self.0).display().iec().to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(formatter, "{} {name}", self.0 / unit);
            }
        }
        write!(formatter, "{} B", self.0)
    }
}

/// The text is no amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an amount of bytes. Write it like 512MiB, 2GiB or 1048576")]
pub struct SizeError(pub String);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let trimmed = text.trim();
        // As in QEMU and virsh, a bare letter is the binary unit.
        let bare = trimmed.ends_with(['k', 'm', 'g', 't', 'p', 'K', 'M', 'G', 'T', 'P']);
        let unit = if bare { "iB" } else { "" };
        match format!("{trimmed}{unit}").parse::<ByteSize>() {
            Ok(size) if size.0 < u64::MAX => Ok(Self(size.0)),
            _ => Err(SizeError(text.to_owned())),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an amount of bytes like \"2 GiB\" or 1048576")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary_when_bare_or_written_out() {
        for (text, bytes) in [
            ("2GiB", 2 * GIB),
            ("2 GiB", 2 * GIB),
            ("2g", 2 * GIB),
            ("1.5G", 3 * GIB / 2),
            ("512M", 512 * MIB),
            ("2GB", 2_000_000_000),
            ("1048576", MIB),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for text in ["", "much", "-1", "2 XiB", "GiB", "1e400", "99999999999999999999 TiB"] {
            assert!(text.parse::<Size>().unwrap_err().to_string().contains(&format!("\"{text}\"")), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_to_the_byte() {
        for bytes in [0, 1, 1023, 1024, MIB, MIB + 1, 1536 * MIB, GIB, 5 * TIB, u64::MAX - 1] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
    }
}
