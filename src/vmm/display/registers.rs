//! The VGA's registers and the ports they are reached through, without video memory: IBM PS/2 Hardware Interface Technical
//! Reference, "Video Subsystem"; the FreeVGA project describes the same registers.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::dac::Dac;

/// Indices of the sequencer's registers.
pub mod sequencer {
    /// Dots per character (bit 0), half dot clock (bit 3), screen off (bit 5).
    pub const CLOCKING_MODE: usize = 1;
    /// Which planes the processor writes.
    pub const MAP_MASK: usize = 2;
    /// Where in plane 2 the two fonts are.
    pub const CHARACTER_MAP_SELECT: usize = 3;
    /// Sequential (not odd/even) addressing (bit 2), chain-4 (bit 3).
    pub const MEMORY_MODE: usize = 4;
}

/// Indices of the graphics controller's registers.
pub mod graphics {
    /// The colour that [`ENABLE_SET_RESET`] writes.
    pub const SET_RESET: usize = 0;
    /// The planes that take their bits from [`SET_RESET`].
    pub const ENABLE_SET_RESET: usize = 1;
    /// The colour that read mode 1 looks for.
    pub const COLOUR_COMPARE: usize = 2;
    /// Rotation (bits 0 to 2) and logic function (bits 3 and 4) of written bytes.
    pub const DATA_ROTATE: usize = 3;
    /// The plane that read mode 0 reads.
    pub const READ_MAP_SELECT: usize = 4;
    /// Write mode (bits 0, 1), read mode (bit 3), odd/even reads (bit 4), shift register (bits 5, 6).
    pub const MODE: usize = 5;
    /// Graphics (bit 0) or text; where the window is (bits 2 and 3).
    pub const MISCELLANEOUS: usize = 6;
    /// The planes that read mode 1 compares.
    pub const COLOUR_DONT_CARE: usize = 7;
    /// The bits that are written; the others come from the latches.
    pub const BIT_MASK: usize = 8;
}

/// Indices of the attribute controller's registers after the 16 palette registers.
pub mod attribute {
    /// Mono (bit 1), line graphics (bit 2), blinking (bit 3), panning ends at the split (bit 5), 8-bit colour (bit 6),
    /// palette bits 4 and 5 from [`COLOUR_SELECT`] (bit 7).
    pub const MODE: usize = 0x10;
    /// Which planes are seen.
    pub const COLOUR_PLANE_ENABLE: usize = 0x12;
    /// How many dots the picture is moved to the left.
    pub const PANNING: usize = 0x13;
    /// The upper bits of a colour's index.
    pub const COLOUR_SELECT: usize = 0x14;
    /// In the index: the palette is in use; without it the screen is blank.
    pub const PALETTE_IN_USE: u8 = 0x20;
}

/// Indices of the CRT controller's registers.
pub mod crtc {
    /// The last character of a row.
    pub const HORIZONTAL_DISPLAY_END: usize = 0x01;
    /// Upper bits of vertical counts.
    pub const OVERFLOW: usize = 0x07;
    /// First scan line of the first row (bits 0 to 4), bytes to pan (bits 5 and 6).
    pub const PRESET_ROW_SCAN: usize = 0x08;
    /// Lines a row less one (bits 0 to 4), line compare bit 9 (bit 6), every line twice (bit 7).
    pub const MAXIMUM_SCAN_LINE: usize = 0x09;
    /// The cursor's first line (bits 0 to 4), cursor off (bit 5).
    pub const CURSOR_START: usize = 0x0a;
    /// The cursor's last line (bits 0 to 4).
    pub const CURSOR_END: usize = 0x0b;
    /// Address of the first character, upper byte.
    pub const START_ADDRESS_HIGH: usize = 0x0c;
    /// Address of the first character, lower byte.
    pub const START_ADDRESS_LOW: usize = 0x0d;
    /// Address of the cursor, upper byte.
    pub const CURSOR_LOCATION_HIGH: usize = 0x0e;
    /// Address of the cursor, lower byte.
    pub const CURSOR_LOCATION_LOW: usize = 0x0f;
    /// Bit 7 protects registers 0 to 7.
    pub const VERTICAL_RETRACE_END: usize = 0x11;
    /// The last line, lower byte.
    pub const VERTICAL_DISPLAY_END: usize = 0x12;
    /// Half the distance between rows.
    pub const OFFSET: usize = 0x13;
    /// The line that is underlined.
    pub const UNDERLINE_LOCATION: usize = 0x14;
    /// CGA (bit 0) and Hercules (bit 1) addressing when clear, byte addresses (bit 6).
    pub const MODE_CONTROL: usize = 0x17;
    /// The line after which the picture starts again at address 0, lower byte.
    pub const LINE_COMPARE: usize = 0x18;
}

const SEQUENCER_MASKS: [u8; 5] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GRAPHICS_MASKS: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const CRTC_PROTECT: u8 = 0x80;
const LINE_COMPARE_BIT_8: u8 = 0x10;
/// Input status 1: the display is between lines.
const STATUS_DISPLAY_DISABLED: u8 = 0x01;
/// Input status 1: the display is between frames.
const STATUS_VERTICAL_RETRACE: u8 = 0x08;
/// Input status 0: a monitor is connected.
const STATUS_SWITCH_SENSE: u8 = 0x10;
/// Miscellaneous output: the CRT controller answers at 0x3D4 (colour), not at 0x3B4 (mono).
const MISCELLANEOUS_COLOUR: u8 = 0x01;

/// All registers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    miscellaneous_output: u8,
    feature_control: u8,
    sequencer_index: u8,
    /// The sequencer, see [`sequencer`].
    pub sequencer: [u8; 5],
    graphics_index: u8,
    /// The graphics controller, see [`graphics`].
    pub graphics: [u8; 9],
    attribute_index: u8,
    /// The flip-flop: port 0x3C0 takes data next, not an index.
    attribute_data_next: bool,
    /// The attribute controller: 16 palette registers, then see [`attribute`].
    pub attribute: [u8; 21],
    crtc_index: u8,
    /// The CRT controller, see [`crtc`].
    pub crtc: [u8; 25],
    /// The palette.
    pub dac: Dac,
    status: u8,
}

impl Registers {
    /// Reads the byte port `port` (0x3B0 to 0x3DF). What is not there reads as ones.
    pub fn read(&mut self, port: u16) -> u8 {
        if self.is_hidden(port) {
            return 0xff;
        }
        match port {
            0x3c0 => self.attribute_index,
            0x3c1 => register(&self.attribute, self.attribute_index & 0x1f),
            0x3c2 => STATUS_SWITCH_SENSE,
            0x3c4 => self.sequencer_index,
            0x3c5 => register(&self.sequencer, self.sequencer_index),
            0x3c6 => self.dac.mask,
            0x3c7 => self.dac.state(),
            0x3c8 => self.dac.write_index(),
            0x3c9 => self.dac.read(),
            0x3ca => self.feature_control,
            0x3cc => self.miscellaneous_output,
            0x3ce => self.graphics_index,
            0x3cf => register(&self.graphics, self.graphics_index),
            0x3b4 | 0x3d4 => self.crtc_index,
            0x3b5 | 0x3d5 => register(&self.crtc, self.crtc_index),
            0x3ba | 0x3da => {
                self.attribute_data_next = false;
                // No beam moves here: whoever waits for a retrace to begin or to end sees it at once.
                self.status ^= STATUS_DISPLAY_DISABLED | STATUS_VERTICAL_RETRACE;
                self.status
            }
            _ => 0xff,
        }
    }

    /// Writes the byte port `port` (0x3B0 to 0x3DF). Says whether that may have changed the picture.
    pub fn write(&mut self, port: u16, value: u8) -> bool {
        if self.is_hidden(port) {
            return false;
        }
        match port {
            0x3c0 => return self.write_attribute(value),
            0x3c2 => self.miscellaneous_output = value,
            0x3c4 => self.sequencer_index = value & 7,
            0x3c5 => return set(&mut self.sequencer, self.sequencer_index, value, &SEQUENCER_MASKS),
            0x3c6 => return std::mem::replace(&mut self.dac.mask, value) != value,
            0x3c7 => self.dac.set_read_index(value),
            0x3c8 => self.dac.set_write_index(value),
            0x3c9 => return self.dac.write(value),
            0x3ce => self.graphics_index = value & 0x0f,
            0x3cf => return set(&mut self.graphics, self.graphics_index, value, &GRAPHICS_MASKS),
            0x3b4 | 0x3d4 => self.crtc_index = value,
            0x3b5 | 0x3d5 => return self.write_crtc(value),
            0x3ba | 0x3da => self.feature_control = value & 0x10,
            _ => {}
        }
        false
    }

    /// Whether the attribute controller shows the picture at all.
    pub fn palette_in_use(&self) -> bool {
        self.attribute_index & attribute::PALETTE_IN_USE != 0
    }

    /// Whether a restored state can be worked with.
    pub fn is_sound(&self) -> bool {
        let within =
            |registers: &[u8], masks: &[u8]| registers.iter().zip(masks).all(|(value, mask)| value & !mask == 0);
        self.dac.is_sound() && within(&self.sequencer, &SEQUENCER_MASKS) && within(&self.graphics, &GRAPHICS_MASKS)
    }

    /// Whether `port` belongs to the kind of monitor (mono, colour) that is not selected.
    fn is_hidden(&self, port: u16) -> bool {
        if self.miscellaneous_output & MISCELLANEOUS_COLOUR == 0 {
            (0x3d0..0x3e0).contains(&port)
        } else {
            (0x3b0..0x3c0).contains(&port)
        }
    }

    fn write_attribute(&mut self, value: u8) -> bool {
        self.attribute_data_next = !self.attribute_data_next;
        if self.attribute_data_next {
            let before = std::mem::replace(&mut self.attribute_index, value & 0x3f);
            return (before ^ value) & attribute::PALETTE_IN_USE != 0;
        }
        let index = usize::from(self.attribute_index & 0x1f);
        let mask = match index {
            0..=0x0f | attribute::COLOUR_PLANE_ENABLE => 0x3f,
            attribute::MODE => !0x10,
            attribute::PANNING | attribute::COLOUR_SELECT => 0x0f,
            _ => 0xff,
        };
        match self.attribute.get_mut(index) {
            Some(register) => std::mem::replace(register, value & mask) != value & mask,
            None => false,
        }
    }

    fn write_crtc(&mut self, value: u8) -> bool {
        let index = usize::from(self.crtc_index);
        let protected = self.crtc[crtc::VERTICAL_RETRACE_END] & CRTC_PROTECT != 0;
        let mask = match index {
            crtc::OVERFLOW if protected => LINE_COMPARE_BIT_8,
            0..=7 if protected => 0,
            _ => 0xff,
        };
        match self.crtc.get_mut(index) {
            Some(register) => {
                let value = *register & !mask | value & mask;
                std::mem::replace(register, value) != value
            }
            None => false,
        }
    }
}

fn register(registers: &[u8], index: u8) -> u8 {
    registers.get(usize::from(index)).copied().unwrap_or(0)
}

/// Sets a register; says whether it changed.
fn set(registers: &mut [u8], index: u8, value: u8, masks: &[u8]) -> bool {
    let index = usize::from(index);
    match (registers.get_mut(index), masks.get(index)) {
        (Some(register), Some(mask)) => std::mem::replace(register, value & mask) != value & mask,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour() -> Registers {
        let mut registers = Registers::default();
        registers.write(0x3c2, 0x67);
        registers
    }

    fn write_indexed(registers: &mut Registers, port: u16, index: u8, value: u8) -> bool {
        registers.write(port, index);
        registers.write(port + 1, value)
    }

    #[test]
    fn the_crt_controller_moves_between_the_mono_and_the_colour_ports() {
        let mut registers = Registers::default();
        write_indexed(&mut registers, 0x3b4, 0x13, 40);
        write_indexed(&mut registers, 0x3d4, 0x13, 99);
        assert_eq!(registers.read(0x3b5), 40);
        assert_eq!(registers.read(0x3d5), 0xff);

        registers.write(0x3c2, 0x67);

        assert_eq!(registers.read(0x3d5), 40);
        assert_eq!(registers.read(0x3b5), 0xff);
        assert_eq!(registers.read(0x3cc), 0x67);
    }

    #[test]
    fn protection_leaves_only_the_line_compare_bit_of_registers_0_to_7_writable() {
        let mut registers = colour();
        write_indexed(&mut registers, 0x3d4, 0x01, 79);
        write_indexed(&mut registers, 0x3d4, 0x11, 0x80);

        write_indexed(&mut registers, 0x3d4, 0x01, 39);
        write_indexed(&mut registers, 0x3d4, 0x07, 0xff);
        write_indexed(&mut registers, 0x3d4, 0x12, 0x8f);

        assert_eq!(registers.crtc[1], 79);
        assert_eq!(registers.crtc[7], 0x10);
        assert_eq!(registers.crtc[0x12], 0x8f);
    }

    #[test]
    fn the_attribute_flip_flop_is_reset_by_reading_the_status() {
        let mut registers = colour();
        registers.write(0x3c0, 0x10);
        registers.read(0x3da);
        registers.write(0x3c0, 0x01);
        registers.write(0x3c0, 0x2a);

        assert_eq!(registers.attribute[1], 0x2a);
        assert_eq!(registers.attribute[0x10], 0);
        assert!(!registers.palette_in_use());
        assert!(registers.write(0x3c0, 0x20), "the picture appears");
        assert!(registers.palette_in_use());
    }

    #[test]
    fn the_retrace_bits_toggle() {
        let mut registers = colour();
        let first = registers.read(0x3da);
        let second = registers.read(0x3da);

        assert_eq!((first ^ second) & 0x09, 0x09);
    }

    #[test]
    fn a_write_of_the_same_value_changes_no_picture() {
        let mut registers = colour();
        assert!(write_indexed(&mut registers, 0x3c4, 1, 0x01));
        assert!(!write_indexed(&mut registers, 0x3c4, 1, 0x01));
        assert!(write_indexed(&mut registers, 0x3d4, 0x0e, 0x07));
        assert!(!write_indexed(&mut registers, 0x3d4, 0x0e, 0x07));
    }

    #[test]
    fn no_port_and_no_index_is_beyond_the_registers() {
        let mut registers = colour();
        for port in 0x3b0..0x3e0 {
            for value in [0x00, 0x08, 0x1f, 0x3f, 0x80, 0xff] {
                registers.write(port, value);
                registers.write(port + 1, value);
                registers.read(port);
            }
        }
        assert!(registers.is_sound());
    }
}
