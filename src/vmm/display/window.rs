//! The window at 0xA0000–0xBFFFF through which the processor reaches the four planes of the VGA (IBM PS/2 Hardware Interface
//! Technical Reference, "Video Memory"; FreeVGA, "Accessing the VGA Display Memory").
//!
//! Byte `4 * address + plane` of the video memory is the byte `address` of `plane`. Chain-4 spreads consecutive bytes over the
//! planes, so its memory is linear, as that of the VBE modes is; odd/even modes spread pairs over two planes, so that a cell of
//! text is four bytes: character, attribute, font, nothing.

#![forbid(unsafe_code)]

use vm_memory::{Bytes, VolatileSlice};

use super::{
    damage::DirtyPages,
    registers::{Registers, graphics, sequencer},
    vbe::BANK_SIZE,
};

/// Bytes of each plane that a VGA without extensions addresses.
pub const PLANE_SIZE: usize = 64 << 10;

const SEQUENTIAL: u8 = 0x04;
const CHAIN_4: u8 = 0x08;
const READ_ODD_EVEN: u8 = 0x10;
const READ_COMPARE: u8 = 0x08;

/// A byte in every lane of a word of four planes.
const LANES: u32 = 0x0101_0101;

/// What the extended modes do to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// A plain VGA.
    None,
    /// A planar VBE mode: addresses begin at this bank.
    Planar(u16),
    /// A linear VBE mode: the window shows this bank.
    Linear(u16),
}

/// The bytes of the four planes that were read last; the lowest byte is plane 0.
pub type Latches = u32;

/// Where an address of the window leads.
enum Target {
    /// Nowhere.
    Nothing,
    /// To one byte of the video memory.
    Byte(usize),
    /// To the byte at `address` of the planes in `write`; plane `read` is read.
    Planes { address: usize, write: u8, read: u8 },
}

/// Reads the byte at `offset` in the window.
pub fn read(
    registers: &Registers,
    extension: Extension,
    latches: &mut Latches,
    memory: &VolatileSlice,
    offset: u64,
) -> u8 {
    match decode(registers, extension, offset) {
        Target::Nothing => 0xff,
        Target::Byte(address) => memory.read_obj(address).unwrap_or(0xff),
        Target::Planes { address, read, .. } => {
            let Ok(planes) = memory.read_obj::<u32>(address * 4) else { return 0xff };
            *latches = u32::from_le(planes);
            if registers.graphics[graphics::MODE] & READ_COMPARE == 0 {
                return latches.to_le_bytes()[usize::from(read & 3)];
            }
            let different = (*latches ^ spread(registers.graphics[graphics::COLOUR_COMPARE]))
                & spread(registers.graphics[graphics::COLOUR_DONT_CARE]);
            let [a, b, c, d] = different.to_le_bytes();
            !(a | b | c | d)
        }
    }
}

/// Writes the byte at `offset` in the window and marks its page.
pub fn write(
    registers: &Registers,
    extension: Extension,
    latches: Latches,
    memory: &VolatileSlice,
    dirty: &mut DirtyPages,
    offset: u64,
    value: u8,
) {
    match decode(registers, extension, offset) {
        Target::Nothing => {}
        Target::Byte(address) => {
            if memory.write_obj(value, address).is_ok() {
                dirty.mark(address);
            }
        }
        Target::Planes { address, write, .. } => {
            let mask = spread(write & registers.sequencer[sequencer::MAP_MASK]);
            let Ok(old) = memory.read_obj::<u32>(address * 4).map(u32::from_le) else { return };
            let new = old & !mask | compose(&registers.graphics, latches, value) & mask;
            if new != old && memory.write_obj(new.to_le(), address * 4).is_ok() {
                dirty.mark(address * 4);
            }
        }
    }
}

/// What the graphics controller makes of a written byte: a byte for each plane.
fn compose(registers: &[u8; 9], latches: Latches, value: u8) -> u32 {
    let rotate = registers[graphics::DATA_ROTATE];
    let rotated = value.rotate_right(u32::from(rotate & 7));
    let bit_mask = registers[graphics::BIT_MASK];
    let set_reset = spread(registers[graphics::SET_RESET]);
    let (planes, bit_mask) = match registers[graphics::MODE] & 3 {
        0 => {
            let enabled = spread(registers[graphics::ENABLE_SET_RESET]);
            ((u32::from(rotated) * LANES) & !enabled | set_reset & enabled, bit_mask)
        }
        1 => return latches,
        2 => (spread(value), bit_mask),
        _ => (set_reset, bit_mask & rotated),
    };
    let planes = match rotate >> 3 & 3 {
        0 => planes,
        1 => planes & latches,
        2 => planes | latches,
        _ => planes ^ latches,
    };
    let bit_mask = u32::from(bit_mask) * LANES;
    planes & bit_mask | latches & !bit_mask
}

/// Four bits to four bytes: each bit fills its plane.
fn spread(bits: u8) -> u32 {
    // The multiplication puts bit n at bit 8n; what it leaves elsewhere is masked away.
    ((u32::from(bits & 0x0f) * 0x0020_4081) & LANES) * 0xff
}

fn decode(registers: &Registers, extension: Extension, offset: u64) -> Target {
    if let Extension::Linear(bank) = extension {
        if offset >= BANK_SIZE {
            return Target::Nothing;
        }
        return Target::Byte((u64::from(bank) * BANK_SIZE + offset) as usize);
    }
    let (start, len) = match registers.graphics[graphics::MISCELLANEOUS] >> 2 & 3 {
        0 => (0, 0x20000),
        1 => (0, 0x10000),
        2 => (0x10000, 0x8000),
        _ => (0x18000, 0x8000),
    };
    let Some(address) = offset.checked_sub(start).filter(|&address| address < len) else { return Target::Nothing };
    let address = address as usize;
    let within = |address: usize| match extension {
        Extension::Planar(bank) => usize::from(bank) * PLANE_SIZE + address,
        _ => address % PLANE_SIZE,
    };
    let memory_mode = registers.sequencer[sequencer::MEMORY_MODE];
    let selected = registers.graphics[graphics::READ_MAP_SELECT];
    if memory_mode & CHAIN_4 != 0 {
        let plane = (address & 3) as u8;
        return Target::Planes { address: within(address / 4), write: 1 << plane, read: plane };
    }
    let odd = (address & 1) as u8;
    let sequential = memory_mode & SEQUENTIAL != 0;
    let read = if registers.graphics[graphics::MODE] & READ_ODD_EVEN != 0 { selected & 2 | odd } else { selected & 3 };
    if sequential {
        Target::Planes { address: within(address), write: 0x0f, read }
    } else {
        Target::Planes { address: within(address / 2), write: 0b0101 << odd, read }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::display::{
        testing::{Bench, PACKED, PLANAR, TEXT},
        video_memory::VideoMemory,
    };

    /// The bytes of the four planes at `address`.
    fn planes(bench: &Bench, address: usize) -> [u8; 4] {
        bench.memory.slice().read_obj(address * 4).unwrap()
    }

    /// A planar mode whose latches hold `latches`.
    fn latched(latches: [u8; 4]) -> Bench {
        let mut bench = Bench::in_mode(&PLANAR);
        bench.memory.guest_write(100 * 4, &latches);
        bench.read_window(0xa0000 + 100);
        bench
    }

    #[test]
    fn write_mode_0_writes_the_selected_planes() {
        let mut bench = Bench::in_mode(&PLANAR);
        bench.register(0x3c4, 2, 0b0101);

        bench.window(0xa0007, &[0xa5]);

        assert_eq!(planes(&bench, 7), [0xa5, 0, 0xa5, 0]);
    }

    #[test]
    fn write_mode_0_rotates_and_takes_masked_bits_from_the_latches() {
        let mut bench = latched([0xff, 0x00, 0xff, 0x00]);
        bench.register(0x3ce, 3, 4);
        bench.register(0x3ce, 8, 0x0f);

        bench.window(0xa0000, &[0x35]);

        assert_eq!(planes(&bench, 0), [0xf3, 0x03, 0xf3, 0x03]);
    }

    #[test]
    fn write_mode_0_sets_and_resets_enabled_planes() {
        let mut bench = Bench::in_mode(&PLANAR);
        bench.register(0x3ce, 0, 0b0001);
        bench.register(0x3ce, 1, 0b0011);

        bench.window(0xa0000, &[0x55]);

        assert_eq!(planes(&bench, 0), [0xff, 0x00, 0x55, 0x55]);
    }

    #[test]
    fn the_logic_functions_combine_with_the_latches() {
        for (function, expected) in [(0, 0x33), (1, 0x11), (2, 0x77), (3, 0x66)] {
            let mut bench = latched([0x55; 4]);
            bench.register(0x3ce, 3, function << 3);

            bench.window(0xa0000, &[0x33]);

            assert_eq!(planes(&bench, 0), [expected; 4], "function {function}");
        }
    }

    #[test]
    fn write_mode_1_copies_the_latches() {
        let mut bench = latched([1, 2, 3, 4]);
        bench.register(0x3ce, 5, 1);

        bench.window(0xa0000, &[0xff]);

        assert_eq!(planes(&bench, 0), [1, 2, 3, 4]);
    }

    #[test]
    fn write_mode_2_writes_a_colour() {
        let mut bench = latched([0; 4]);
        bench.register(0x3ce, 5, 2);
        bench.register(0x3ce, 8, 0x18);

        bench.window(0xa0000, &[0x0a]);

        assert_eq!(planes(&bench, 0), [0, 0x18, 0, 0x18]);
    }

    #[test]
    fn write_mode_3_masks_the_set_colour_with_the_written_byte() {
        let mut bench = latched([0xff; 4]);
        bench.register(0x3ce, 0, 0b0100);
        bench.register(0x3ce, 5, 3);
        bench.register(0x3ce, 8, 0xf0);

        bench.window(0xa0000, &[0x3c]);

        assert_eq!(planes(&bench, 0), [0xcf, 0xcf, 0xff, 0xcf]);
    }

    #[test]
    fn read_mode_0_reads_the_selected_plane() {
        let mut bench = latched([1, 2, 3, 4]);
        bench.register(0x3ce, 4, 2);

        assert_eq!(bench.read_window(0xa0000 + 100), 3);
    }

    #[test]
    fn read_mode_1_finds_a_colour_in_the_planes_that_matter() {
        let mut bench = latched([0b1100, 0b1010, 0, 0b1000]);
        bench.register(0x3ce, 5, 0x08);
        bench.register(0x3ce, 2, 0b0011);
        bench.register(0x3ce, 7, 0b1111);
        let exact = bench.read_window(0xa0000 + 100);
        bench.register(0x3ce, 7, 0b0011);

        assert_eq!(exact, 0);
        assert_eq!(bench.read_window(0xa0000 + 100), 0b1000);
    }

    #[test]
    fn chain_4_spreads_bytes_over_the_planes() {
        let mut bench = Bench::in_mode(&PACKED);

        bench.window(0xa0005, &[1, 2, 3, 4]);

        assert_eq!([planes(&bench, 1), planes(&bench, 2)], [[0, 1, 2, 3], [4, 0, 0, 0]]);
        assert_eq!(bench.read_window(0xa0007), 3);
    }

    #[test]
    fn odd_even_makes_cells_of_characters_and_attributes() {
        let mut bench = Bench::in_mode(&TEXT);
        bench.memory.guest_write(4, &[0, 0, 9, 9]);

        bench.window(0xb8002, b"A\x1f");

        assert_eq!(planes(&bench, 1), [b'A', 0x1f, 9, 9]);
        assert_eq!([bench.read_window(0xb8002), bench.read_window(0xb8003)], [b'A', 0x1f]);
    }

    #[test]
    fn the_memory_map_says_where_the_window_answers() {
        // Memory map, first and last address, an address outside.
        let maps = [
            (0, 0xa0000, 0xaffff, None),
            (1, 0xa0000, 0xaffff, Some(0xb0000)),
            (2, 0xb0000, 0xb7fff, Some(0xb8000)),
            (3, 0xb8000, 0xbffff, Some(0xb7fff)),
        ];
        for (map, first, last, outside) in maps {
            let mut bench = Bench::in_mode(&PLANAR);
            bench.register(0x3ce, 6, 1 | map << 2);

            bench.window(first, &[1]);
            bench.window(last, &[2]);
            let read = outside.map(|address| {
                bench.window(address, &[3]);
                bench.read_window(address)
            });

            assert_eq!(planes(&bench, 0), [1; 4], "map {map}");
            assert_eq!(planes(&bench, (last - first) as usize), [2; 4], "map {map}");
            assert_eq!(read, outside.map(|_| 0xff), "map {map}");
        }
    }

    #[test]
    fn a_linear_mode_shows_a_bank_at_a_time() {
        let mut bench = Bench::in_vbe_mode(1024, 768, 8);
        bench.dispi(5, 3);

        bench.window(0xa0010, &[42]);

        assert_eq!(bench.memory.slice().read_obj::<u8>(3 * 65536 + 16).unwrap(), 42);
        assert_eq!(bench.read_window(0xa0010), 42);
        assert_eq!(bench.read_window(0xb0010), 0xff);
    }

    #[test]
    fn no_bank_reaches_beyond_the_video_memory() {
        for depth in [4, 8] {
            let mut bench = Bench::in_vbe_mode(640, 480, depth);
            bench.register(0x3c4, 4, 6);
            bench.register(0x3ce, 6, 5);
            bench.dispi(5, 0xffff);

            bench.window(0xaffff, &[42]);

            assert_eq!(bench.read_window(0xaffff), 0xff);
        }
    }
}
