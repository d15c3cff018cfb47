//! The layout of the page of registers in BAR 2 (QEMU's `docs/specs/standard-vga.rst`, "MMIO area spec").

#![forbid(unsafe_code)]

use std::ops::Range;

use super::edid::EDID_SIZE;

/// Size of the page in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Size of the extension registers: the value of the first of them.
pub const EXTENSION_SIZE: u32 = 8;
/// Value of the endianness register when the least significant byte of a pixel comes first.
pub const LITTLE_ENDIAN: u32 = 0x1e1e_1e1e;
/// Value of the endianness register when the most significant byte of a pixel comes first.
pub const BIG_ENDIAN: u32 = 0xbebe_bebe;

const VGA_PORTS: Range<u64> = 0x400..0x420;
const FIRST_PORT: u64 = 0x3c0;
const DISPI: Range<u64> = 0x500..0x516;
const EXTENSION: u64 = 0x600;
const ENDIANNESS: u64 = 0x604;

/// What is at an offset of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// Byte so and so of the monitor's description.
    Edid(usize),
    /// Room for a longer description, zero.
    EdidRoom,
    /// This port of the VGA and those after it.
    Port(u16),
    /// This register of the Bochs display interface and those after it.
    Dispi(u16),
    /// The size of the extension registers.
    ExtensionSize,
    /// The order of a pixel's bytes.
    Endianness,
    /// Nothing.
    Nothing,
}

impl Register {
    /// What is at `offset`.
    pub fn at(offset: u64) -> Self {
        match offset {
            EXTENSION => Self::ExtensionSize,
            ENDIANNESS => Self::Endianness,
            _ if offset < EDID_SIZE as u64 => Self::Edid(offset as usize),
            _ if offset < VGA_PORTS.start => Self::EdidRoom,
            _ if VGA_PORTS.contains(&offset) => Self::Port((offset - VGA_PORTS.start + FIRST_PORT) as u16),
            _ if DISPI.contains(&offset) => Self::Dispi(((offset - DISPI.start) / 2) as u16),
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_where_drivers_expect_it() {
        assert_eq!(Register::at(0), Register::Edid(0));
        assert_eq!(Register::at(127), Register::Edid(127));
        assert_eq!(Register::at(128), Register::EdidRoom);
        assert_eq!(Register::at(0x400), Register::Port(0x3c0));
        assert_eq!(Register::at(0x41f), Register::Port(0x3df));
        assert_eq!(Register::at(0x420), Register::Nothing);
        assert_eq!(Register::at(0x500), Register::Dispi(0));
        assert_eq!(Register::at(0x514), Register::Dispi(10));
        assert_eq!(Register::at(0x604), Register::Endianness);
        assert_eq!(Register::at(u64::MAX), Register::Nothing);
    }
}
