//! What the registers put on the screen: a snapshot that can be drawn without the card's lock.

#![forbid(unsafe_code)]

use std::ops::RangeInclusive;

use super::{
    dac::Dac,
    registers::{Registers, attribute, crtc, graphics, sequencer},
    scan::Scan,
    vbe::{Depth, Dispi, VbeMode},
};

/// Smaller pictures come from registers that nobody has set up yet.
const SMALLEST_WIDTH: u32 = 160;
const SMALLEST_HEIGHT: u32 = 100;
/// Bytes of video memory from one font to the next: 256 glyphs of 32 lines in one plane of four.
const FONT_STRIDE: usize = 256 * 32 * 4;
const SCREEN_OFF: u8 = 0x20;

/// What is on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    /// Nothing: the screen is off or being set up. It keeps its size.
    Blank,
    /// Characters.
    Text(TextMode),
    /// Graphics of the VGA, out of four planes.
    Planes(PlanesMode),
    /// Graphics of the Bochs display interface, pixel after pixel.
    Linear(LinearMode),
}

/// A text mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextMode {
    /// Its lines.
    pub scan: Scan,
    /// Characters a row.
    pub columns: u32,
    /// How characters look.
    pub style: TextStyle,
    /// The cursor, when it is on.
    pub cursor: Option<Cursor>,
}

/// How characters look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextStyle {
    /// The 16 colours.
    pub colours: [u32; 16],
    /// A character has nine dots, not eight.
    pub nine_dots: bool,
    /// Every dot is two pixels wide.
    pub wide: bool,
    /// Attribute bit 7 makes a character blink; without this it brightens the background.
    pub blinking: bool,
    /// The ninth dot of the line-drawing characters repeats the eighth.
    pub line_graphics: bool,
    /// The line of a character that an underline takes, in mono modes.
    pub underline: Option<u32>,
    /// Where in the video memory the fonts of characters without and with attribute bit 3 begin, in bytes.
    pub fonts: [usize; 2],
}

impl TextStyle {
    /// Width of a character in pixels.
    pub fn cell_width(&self) -> usize {
        (8 + usize::from(self.nine_dots)) << u32::from(self.wide)
    }
}

/// The cursor of a text mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The address of its character.
    pub address: u32,
    /// The lines of the character that it fills.
    pub lines: RangeInclusive<u32>,
}

/// How the bits of four planes make pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// One bit of each plane: 16 colours.
    Planar,
    /// Pairs of bits, first of planes 0 and 2, then of 1 and 3: CGA's four colours.
    Interleaved,
    /// A byte a pixel, two dots wide: 256 colours.
    Packed,
}

/// A graphics mode of the VGA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanesMode {
    /// Its lines.
    pub scan: Scan,
    /// Addresses (four bytes of video memory, eight dots) a line.
    pub columns: u32,
    /// Addresses after which they begin again at 0, a power of two.
    pub addresses: u32,
    /// Every dot is two pixels wide.
    pub wide: bool,
    /// How bits make pixels.
    pub shift: Shift,
    /// The colours, 16 or 256.
    pub colours: Vec<u32>,
}

/// A linear graphics mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearMode {
    /// Size, depth and place.
    pub vbe: VbeMode,
    /// The most significant byte of a pixel comes first.
    pub big_endian: bool,
    /// The 256 colours of an indexed mode.
    pub colours: Vec<u32>,
}

impl Picture {
    /// What these registers show, with `memory` bytes of video memory.
    pub fn decode(registers: &Registers, dispi: &Dispi, big_endian: bool, memory: usize) -> Self {
        if !registers.palette_in_use() {
            return Self::Blank;
        }
        let wide_dac = dispi.has_wide_dac();
        if dispi.is_enabled() {
            return match dispi.mode(memory) {
                None => Self::Blank,
                Some(vbe) if vbe.depth == Depth::Planar4 => Self::Planes(PlanesMode {
                    scan: Scan::linear(u32::from(vbe.height), (vbe.start / 4) as u32, (vbe.stride / 4) as u32),
                    columns: u32::from(vbe.width / 8),
                    addresses: ((memory / 4) as u32 + 1).next_power_of_two() / 2,
                    wide: false,
                    shift: Shift::Planar,
                    colours: colours16(registers, wide_dac).to_vec(),
                }),
                Some(vbe) => {
                    let colours =
                        if vbe.depth == Depth::Indexed8 { colours256(&registers.dac, wide_dac) } else { vec![] };
                    Self::Linear(LinearMode { vbe, big_endian, colours })
                }
            };
        }
        let clocking = registers.sequencer[sequencer::CLOCKING_MODE];
        let scan = Scan::decode(registers);
        let columns = u32::from(registers.crtc[crtc::HORIZONTAL_DISPLAY_END]) + 1;
        let wide = clocking & 0x08 != 0;
        if clocking & SCREEN_OFF != 0 || columns * 8 < SMALLEST_WIDTH || scan.height < SMALLEST_HEIGHT {
            return Self::Blank;
        }
        if registers.graphics[graphics::MISCELLANEOUS] & 1 == 0 {
            return Self::Text(TextMode {
                columns,
                style: text_style(registers, wide, wide_dac),
                cursor: cursor(registers),
                scan,
            });
        }
        let shift = match registers.graphics[graphics::MODE] >> 5 & 3 {
            0 => Shift::Planar,
            1 => Shift::Interleaved,
            _ => Shift::Packed,
        };
        let colours = match shift {
            Shift::Packed => colours256(&registers.dac, wide_dac),
            _ => colours16(registers, wide_dac).to_vec(),
        };
        Self::Planes(PlanesMode { scan, columns, addresses: super::window::PLANE_SIZE as u32, wide, shift, colours })
    }

    /// Width and height in pixels; `None` when the screen keeps the size it had.
    pub fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Blank => None,
            Self::Text(mode) => Some((mode.columns * mode.style.cell_width() as u32, mode.scan.height)),
            Self::Planes(mode) => Some(((mode.columns * 8) << u32::from(mode.wide), mode.scan.height)),
            Self::Linear(mode) => Some((u32::from(mode.vbe.width), u32::from(mode.vbe.height))),
        }
    }
}

/// Whether a character has nine dots.
pub fn has_nine_dots(registers: &Registers) -> bool {
    registers.sequencer[sequencer::CLOCKING_MODE] & 0x01 == 0
}

fn text_style(registers: &Registers, wide: bool, wide_dac: bool) -> TextStyle {
    let mode = registers.attribute[attribute::MODE];
    let select = registers.sequencer[sequencer::CHARACTER_MAP_SELECT];
    // The lowest bit of each selection was added for the VGA and stands apart.
    let font = |bits: u8, low: u8| usize::from((bits << 1 & 6) | low & 1) * FONT_STRIDE;
    let underline = u32::from(registers.crtc[crtc::UNDERLINE_LOCATION] & 0x1f);
    TextStyle {
        colours: colours16(registers, wide_dac),
        nine_dots: has_nine_dots(registers),
        wide,
        blinking: mode & 0x08 != 0,
        line_graphics: mode & 0x04 != 0,
        underline: (mode & 0x02 != 0).then_some(underline),
        fonts: [font(select, select >> 4), font(select >> 2, select >> 5)],
    }
}

fn cursor(registers: &Registers) -> Option<Cursor> {
    let at = |index: usize| u32::from(registers.crtc[index]);
    let (first, last) = (at(crtc::CURSOR_START) & 0x1f, at(crtc::CURSOR_END) & 0x1f);
    let off = at(crtc::CURSOR_START) & 0x20 != 0 || first > last;
    let address = at(crtc::CURSOR_LOCATION_HIGH) << 8 | at(crtc::CURSOR_LOCATION_LOW);
    (!off).then_some(Cursor { address, lines: first..=last })
}

/// The colours of 4-bit pixels: through the attribute controller's palette to the DAC.
fn colours16(registers: &Registers, wide_dac: bool) -> [u32; 16] {
    let select = registers.attribute[attribute::COLOUR_SELECT];
    let selected_low = registers.attribute[attribute::MODE] & 0x80 != 0;
    let enabled = usize::from(registers.attribute[attribute::COLOUR_PLANE_ENABLE] & 0x0f);
    std::array::from_fn(|pixel| {
        let entry = registers.attribute[pixel & enabled];
        let index = match selected_low {
            true => select << 4 | entry & 0x0f,
            false => (select & 0x0c) << 4 | entry & 0x3f,
        };
        registers.dac.pixel(index, wide_dac)
    })
}

/// The colours of 8-bit pixels: straight to the DAC.
fn colours256(dac: &Dac, wide_dac: bool) -> Vec<u32> {
    (0..=255).map(|pixel| dac.pixel(pixel, wide_dac)).collect()
}
