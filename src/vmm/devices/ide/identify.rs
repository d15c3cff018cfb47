//! What drives say of themselves: IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA/ATAPI-6, sections 8.15 and 8.16).

#![forbid(unsafe_code)]

use super::ata::Geometry;

/// Bytes of the data.
pub const SIZE: usize = 512;
/// The most sectors of a block of READ MULTIPLE and WRITE MULTIPLE.
pub const MAX_MULTIPLE: u8 = 16;

/// The largest number of sectors that 28-bit addresses reach.
pub const LBA28_SECTORS: u64 = 0x0fff_ffff;

/// Mode numbers (table 28 of section 8.46.4): PIO, multiword DMA, Ultra DMA.
pub const MULTIWORD: u8 = 0b0010_0000;
pub const ULTRA: u8 = 0b0100_0000;
/// The modes that are offered: multiword DMA 0 to 2, Ultra DMA 0 to 5.
const MULTIWORD_MODES: u16 = 0x07;
const ULTRA_MODES: u16 = 0x3f;

/// LBA, DMA, I/O ready.
const CAPABILITIES: u16 = 1 << 11 | 1 << 9 | 1 << 8;
/// Words 54 to 58, 64 to 70 and 88 hold something.
const VALID: u16 = 0b111;
/// ATA/ATAPI-4 to -7: Linux believes only what is as new as that when it says that it can be trimmed.
const VERSIONS: u16 = 0b1111 << 4;
/// The most blocks of a list of ranges that are no longer needed.
pub const MAX_TRIM_BLOCKS: u16 = 8;
/// NOP, write cache.
const NOP: u16 = 1 << 14;
const WRITE_CACHE: u16 = 1 << 5;
/// PACKET.
const PACKET: u16 = 1 << 4;
/// What word 83, 84 and 87 have in bits 15 and 14 to show that they say something.
const SAYS: u16 = 1 << 14;
/// FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses.
const FLUSHES: u16 = 1 << 13 | 1 << 12;
const LBA48: u16 = 1 << 10;
/// Eight sectors of a physical block of 4 KiB, as hosts have.
const PHYSICAL_BLOCK: u16 = 1 << 14 | 1 << 13 | 3;
/// A cable with 80 wires, and the result of the reset of a device 0 that found itself by jumper.
const CABLE: u16 = 1 << 14 | 1 << 13 | 1;

/// What a disk is like.
pub struct DiskFacts<'a> {
    /// Its serial number.
    pub serial: &'a [u8],
    /// Its size in sectors.
    pub sectors: u64,
    /// Its shape by default, and as software has set it.
    pub geometry: Geometry,
    /// As software has set it.
    pub current: Geometry,
    /// Sectors of a block of READ MULTIPLE; 0: not set.
    pub multiple: u8,
    /// The transfer mode in use.
    pub mode: u8,
    /// Whether the write cache is on.
    pub write_cache: bool,
    /// Whether it takes lists of ranges that are no longer needed.
    pub trims: bool,
}

struct Words([u8; SIZE]);

impl Words {
    fn set(&mut self, word: usize, value: u16) {
        self.0[word * 2..][..2].copy_from_slice(&value.to_le_bytes());
    }

    fn set_long(&mut self, word: usize, value: u32) {
        self.0[word * 2..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// A string: padded with spaces, the two characters of a word exchanged.
    fn text(&mut self, word: usize, length: usize, text: &[u8]) {
        for (index, byte) in self.0[word * 2..][..length].iter_mut().enumerate() {
            *byte = text.get(index ^ 1).copied().filter(u8::is_ascii_graphic).unwrap_or(b' ');
        }
    }

    /// What both kinds of drives have.
    fn common(&mut self, serial: &[u8], model: &[u8], mode: u8) {
        self.text(10, 20, serial);
        self.text(23, 8, env!("CARGO_PKG_VERSION").as_bytes());
        self.text(27, 40, model);
        // Accesses of 32 bits to the data register.
        self.set(48, 1);
        self.set(49, CAPABILITIES);
        // PIO mode 2 by the old measure.
        self.set(51, 0x0200);
        self.set(53, VALID);
        let chosen = |kind: u8, offered: u16| match mode & !0b111 == kind {
            true => offered | (1 << (mode & 0b111)) << 8,
            false => offered,
        };
        self.set(63, chosen(MULTIWORD, MULTIWORD_MODES));
        // PIO modes 3 and 4, and cycles of 120 ns.
        self.set(64, 0b11);
        (65..=68).for_each(|word| self.set(word, 120));
        self.set(80, VERSIONS);
        self.set(84, SAYS);
        self.set(87, SAYS);
        self.set(88, chosen(ULTRA, ULTRA_MODES));
        self.set(93, CABLE);
    }
}

/// IDENTIFY DEVICE.
pub fn disk(facts: &DiskFacts<'_>) -> [u8; SIZE] {
    let mut words = Words([0; SIZE]);
    words.common(facts.serial, b"LODGE HARDDISK", facts.mode);
    // Not removable.
    words.set(0, 1 << 6);
    let Geometry { cylinders, heads, sectors } = facts.geometry;
    words.set(1, cylinders);
    words.set(3, heads.into());
    words.set(6, sectors.into());
    words.set(47, 0x8000 | u16::from(MAX_MULTIPLE));
    let Geometry { cylinders, heads, sectors } = facts.current;
    words.set(54, cylinders);
    words.set(55, heads.into());
    words.set(56, sectors.into());
    words.set_long(57, u32::from(cylinders) * u32::from(heads) * u32::from(sectors));
    words.set(59, if facts.multiple > 0 { 0x0100 | u16::from(facts.multiple) } else { 0 });
    // No larger than the constant.
    words.set_long(60, facts.sectors.min(LBA28_SECTORS) as u32);
    words.set(82, NOP | WRITE_CACHE);
    words.set(83, SAYS | FLUSHES | LBA48);
    words.set(85, NOP | if facts.write_cache { WRITE_CACHE } else { 0 });
    words.set(86, FLUSHES | LBA48);
    words.0[200..208].copy_from_slice(&facts.sectors.to_le_bytes());
    words.set(106, PHYSICAL_BLOCK);
    // Word 69 stays 0: nothing is promised of what trimmed sectors read as.
    if facts.trims {
        words.set(105, MAX_TRIM_BLOCKS);
        words.set(169, 1);
    }
    words.0
}

/// IDENTIFY PACKET DEVICE.
pub fn cdrom(mode: u8) -> [u8; SIZE] {
    let mut words = Words([0; SIZE]);
    words.common(b"", b"LODGE CD-ROM", mode);
    // ATAPI, a CD-ROM drive, removable medium, ready for the packet within 50 us, packets of 12 bytes.
    words.set(0, 0b10 << 14 | 5 << 8 | 1 << 7 | 0b10 << 5);
    words.set(82, NOP | PACKET);
    words.set(83, SAYS);
    words.set(85, NOP | PACKET);
    words.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(data: &[u8], word: usize) -> u16 {
        u16::from_le_bytes([data[word * 2], data[word * 2 + 1]])
    }

    #[test]
    fn a_large_disk_has_both_sizes_and_its_serial_number_in_swapped_pairs() {
        let geometry = Geometry { cylinders: 16383, heads: 16, sectors: 63 };
        let facts = DiskFacts {
            serial: b"shop-1",
            sectors: 1 << 32,
            geometry,
            current: geometry,
            multiple: 0,
            mode: ULTRA | 5,
            write_cache: true,
            trims: true,
        };

        let data = disk(&facts);

        assert_eq!(&data[20..28], b"hspo1-  ");
        assert_eq!((word(&data, 60), word(&data, 61)), (0xffff, 0x0fff));
        assert_eq!((word(&data, 100), word(&data, 102)), (0, 1));
        assert_eq!(word(&data, 88), 0x203f);
        assert_eq!(word(&data, 63), 0x0007);
    }

    #[test]
    fn a_cdrom_drive_says_what_it_is() {
        let data = cdrom(MULTIWORD | 2);

        assert_eq!(word(&data, 0), 0x85c0);
        assert_eq!(word(&data, 63), 0x0407);
        assert_eq!(&data[54..62], b"OLGD EDC");
    }
}
