//! The Bochs display interface ("dispi", VBE DISPI 0xB0C5): graphics modes beyond the VGA's, set through an index and a data
//! port. The Bochs sources' `vbe.h` and QEMU's `docs/specs/standard-vga.rst` describe it.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// The largest width and height of a mode, in pixels, as far as the video memory reaches.
pub const MAX_SIZE: u16 = 2560;
const MAX_DEPTH: u16 = 32;
/// The window shows this many bytes of video memory at a time.
pub const BANK_SIZE: u64 = 64 << 10;

const ID_FIRST: u16 = 0xb0c0;
const ID_LATEST: u16 = 0xb0c5;

const INDEX_ID: u16 = 0;
const INDEX_WIDTH: u16 = 1;
const INDEX_HEIGHT: u16 = 2;
const INDEX_DEPTH: u16 = 3;
const INDEX_ENABLE: u16 = 4;
const INDEX_BANK: u16 = 5;
const INDEX_VIRTUAL_WIDTH: u16 = 6;
const INDEX_VIRTUAL_HEIGHT: u16 = 7;
const INDEX_X_OFFSET: u16 = 8;
const INDEX_Y_OFFSET: u16 = 9;
const INDEX_VIDEO_MEMORY: u16 = 10;

const ENABLED: u16 = 0x01;
const GET_CAPABILITIES: u16 = 0x02;
const EIGHT_BIT_DAC: u16 = 0x20;
const LINEAR_FRAMEBUFFER: u16 = 0x40;
const NO_CLEAR: u16 = 0x80;
const ENABLE_MASK: u16 = ENABLED | GET_CAPABILITIES | EIGHT_BIT_DAC | LINEAR_FRAMEBUFFER | NO_CLEAR;

/// How a pixel is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// 16 colours in four planes, through the VGA's registers.
    Planar4,
    /// 256 colours of the palette.
    Indexed8,
    /// 5 bits a component.
    Rgb15,
    /// 5, 6 and 5 bits.
    Rgb16,
    /// 8 bits a component, three bytes.
    Rgb24,
    /// 8 bits a component, four bytes.
    Rgb32,
}

impl Depth {
    fn from_bits(bits: u16) -> Option<Self> {
        Some(match bits {
            4 => Self::Planar4,
            8 => Self::Indexed8,
            15 => Self::Rgb15,
            16 => Self::Rgb16,
            24 => Self::Rgb24,
            32 => Self::Rgb32,
            _ => return None,
        })
    }

    /// Bytes of video memory that `pixels` pixels of a row take (four planes are four bytes for eight pixels).
    pub fn bytes(self, pixels: usize) -> usize {
        match self {
            Self::Planar4 => pixels / 8 * 4,
            Self::Indexed8 => pixels,
            Self::Rgb15 | Self::Rgb16 => pixels * 2,
            Self::Rgb24 => pixels * 3,
            Self::Rgb32 => pixels * 4,
        }
    }
}

/// The mode that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VbeMode {
    /// Visible pixels a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// How a pixel is stored.
    pub depth: Depth,
    /// Bytes from row to row.
    pub stride: usize,
    /// Where the first pixel is, in bytes from the start of the video memory.
    pub start: usize,
}

/// What a write to a register asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The picture may have changed.
    Changed,
    /// A mode was set: so many bytes at the start of the video memory become 0, and the picture may have changed.
    Cleared(usize),
}

/// The registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispi {
    index: u16,
    id: u16,
    width: u16,
    height: u16,
    depth: u16,
    enable: u16,
    bank: u16,
    virtual_width: u16,
    x_offset: u16,
    y_offset: u16,
}

impl Default for Dispi {
    fn default() -> Self {
        Self {
            index: 0,
            id: ID_LATEST,
            width: 0,
            height: 0,
            depth: 0,
            enable: 0,
            bank: 0,
            virtual_width: 0,
            x_offset: 0,
            y_offset: 0,
        }
    }
}

impl Dispi {
    /// The index port.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Sets the index port.
    pub fn set_index(&mut self, index: u16) {
        self.index = index;
    }

    /// Reads register `index`; `memory` is the size of the video memory in bytes.
    pub fn read(&self, index: u16, memory: usize) -> u16 {
        let capabilities = self.enable & GET_CAPABILITIES != 0;
        match index {
            INDEX_ID => self.id,
            INDEX_WIDTH | INDEX_HEIGHT if capabilities => MAX_SIZE,
            INDEX_DEPTH if capabilities => MAX_DEPTH,
            INDEX_WIDTH => self.width,
            INDEX_HEIGHT => self.height,
            INDEX_DEPTH => self.depth,
            INDEX_ENABLE => self.enable,
            INDEX_BANK => self.bank,
            INDEX_VIRTUAL_WIDTH => self.virtual_width.max(self.width),
            INDEX_VIRTUAL_HEIGHT => match Depth::from_bits(self.depth).map(|depth| self.stride(depth)) {
                None | Some(0) => 0,
                Some(stride) => u16::try_from(memory / stride).unwrap_or(u16::MAX),
            },
            INDEX_X_OFFSET => self.x_offset,
            INDEX_Y_OFFSET => self.y_offset,
            INDEX_VIDEO_MEMORY => u16::try_from(memory as u64 / BANK_SIZE).unwrap_or(u16::MAX),
            _ => 0,
        }
    }

    /// Writes register `index`; `memory` is the size of the video memory in bytes.
    pub fn write(&mut self, index: u16, value: u16, memory: usize) -> Effect {
        let register = match index {
            INDEX_ENABLE => return self.set_enable(value, memory),
            INDEX_ID if (ID_FIRST..=ID_LATEST).contains(&value) => &mut self.id,
            INDEX_WIDTH if value <= MAX_SIZE => &mut self.width,
            INDEX_HEIGHT if value <= MAX_SIZE => &mut self.height,
            INDEX_DEPTH => &mut self.depth,
            INDEX_BANK => &mut self.bank,
            INDEX_VIRTUAL_WIDTH => &mut self.virtual_width,
            INDEX_X_OFFSET => &mut self.x_offset,
            INDEX_Y_OFFSET => &mut self.y_offset,
            _ => return Effect::None,
        };
        // A depth of 0 stands for the 8 bits that the interface had before it could be set.
        let value = if index == INDEX_DEPTH && value == 0 { 8 } else { value };
        let changed = std::mem::replace(register, value) != value;
        if changed && self.is_enabled() { Effect::Changed } else { Effect::None }
    }

    /// Whether the interface drives the screen, and not the VGA.
    pub fn is_enabled(&self) -> bool {
        self.enable & ENABLED != 0
    }

    /// Whether palette colours have 8 bits a component.
    pub fn has_wide_dac(&self) -> bool {
        self.enable & EIGHT_BIT_DAC != 0
    }

    /// The part of the video memory in the window, in units of [`BANK_SIZE`].
    pub fn bank(&self) -> u16 {
        self.bank
    }

    /// The mode that is shown; `None` when there is none, or one that does not fit into `memory` bytes.
    pub fn mode(&self, memory: usize) -> Option<VbeMode> {
        if !self.is_enabled() || self.width == 0 || self.height == 0 {
            return None;
        }
        let depth = Depth::from_bits(self.depth)?;
        let stride = self.stride(depth);
        if stride == 0 || stride * usize::from(self.height) > memory {
            return None;
        }
        let start = usize::from(self.y_offset) * stride + depth.bytes(usize::from(self.x_offset));
        Some(VbeMode { width: self.width, height: self.height, depth, stride, start })
    }

    /// Whether a restored state can be worked with.
    pub fn is_sound(&self) -> bool {
        self.width <= MAX_SIZE && self.height <= MAX_SIZE && self.enable & !ENABLE_MASK == 0
    }

    fn stride(&self, depth: Depth) -> usize {
        depth.bytes(usize::from(self.virtual_width.max(self.width)))
    }

    fn set_enable(&mut self, value: u16, memory: usize) -> Effect {
        let was_enabled = self.is_enabled();
        let before = std::mem::replace(&mut self.enable, value & ENABLE_MASK);
        if was_enabled && !self.is_enabled() {
            self.bank = 0;
        }
        if was_enabled || !self.is_enabled() {
            return if before == self.enable { Effect::None } else { Effect::Changed };
        }
        (self.virtual_width, self.x_offset, self.y_offset, self.bank) = (0, 0, 0, 0);
        match self.mode(memory) {
            Some(mode) if value & NO_CLEAR == 0 => Effect::Cleared(mode.stride * usize::from(mode.height)),
            _ => Effect::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 16 << 20;

    fn set_mode(dispi: &mut Dispi, width: u16, height: u16, depth: u16, enable: u16) -> Effect {
        dispi.write(INDEX_ENABLE, 0, MEMORY);
        dispi.write(INDEX_WIDTH, width, MEMORY);
        dispi.write(INDEX_HEIGHT, height, MEMORY);
        dispi.write(INDEX_DEPTH, depth, MEMORY);
        dispi.write(INDEX_ENABLE, enable, MEMORY)
    }

    #[test]
    fn it_presents_itself_and_accepts_older_names() {
        let mut dispi = Dispi::default();
        assert_eq!(dispi.read(INDEX_ID, MEMORY), 0xb0c5);
        dispi.write(INDEX_ID, 0xb0c2, MEMORY);
        assert_eq!(dispi.read(INDEX_ID, MEMORY), 0xb0c2);
        dispi.write(INDEX_ID, 0x1234, MEMORY);
        assert_eq!(dispi.read(INDEX_ID, MEMORY), 0xb0c2);
        assert_eq!(dispi.read(INDEX_VIDEO_MEMORY, MEMORY), 256);
    }

    #[test]
    fn capabilities_are_read_in_place_of_the_mode() {
        let mut dispi = Dispi::default();
        set_mode(&mut dispi, 640, 480, 16, ENABLED);
        dispi.write(INDEX_ENABLE, GET_CAPABILITIES | ENABLED, MEMORY);

        let capabilities = [INDEX_WIDTH, INDEX_HEIGHT, INDEX_DEPTH].map(|index| dispi.read(index, MEMORY));
        dispi.write(INDEX_ENABLE, ENABLED, MEMORY);
        let mode = [INDEX_WIDTH, INDEX_HEIGHT, INDEX_DEPTH].map(|index| dispi.read(index, MEMORY));

        assert_eq!(capabilities, [2560, 2560, 32]);
        assert_eq!(mode, [640, 480, 16]);
    }

    #[test]
    fn enabling_clears_what_will_be_seen_unless_told_not_to() {
        let mut dispi = Dispi::default();
        assert_eq!(set_mode(&mut dispi, 800, 600, 32, ENABLED | LINEAR_FRAMEBUFFER), Effect::Cleared(800 * 600 * 4));
        assert_eq!(set_mode(&mut dispi, 800, 600, 24, ENABLED | NO_CLEAR), Effect::Changed);
        assert_eq!(set_mode(&mut dispi, 800, 600, 4, ENABLED), Effect::Cleared(800 * 600 / 2));
    }

    #[test]
    fn panning_moves_the_start_by_rows_of_the_virtual_width() {
        let mut dispi = Dispi::default();
        set_mode(&mut dispi, 1024, 768, 16, ENABLED);
        dispi.write(INDEX_VIRTUAL_WIDTH, 2048, MEMORY);
        dispi.write(INDEX_X_OFFSET, 10, MEMORY);
        assert_eq!(dispi.write(INDEX_Y_OFFSET, 3, MEMORY), Effect::Changed);

        let mode = dispi.mode(MEMORY).unwrap();
        assert_eq!((mode.stride, mode.start), (4096, 3 * 4096 + 20));
        assert_eq!(dispi.read(INDEX_VIRTUAL_HEIGHT, MEMORY), 4096);

        set_mode(&mut dispi, 1024, 768, 16, ENABLED);
        assert_eq!(dispi.mode(MEMORY).unwrap().start, 0, "a new mode starts at the beginning");
        assert_eq!(dispi.read(INDEX_VIRTUAL_WIDTH, MEMORY), 1024);
    }

    #[test]
    fn the_largest_mode_fits_and_what_does_not_is_not_shown() {
        let mut dispi = Dispi::default();
        set_mode(&mut dispi, 2560, 1600, 32, ENABLED);
        assert!(dispi.mode(MEMORY).is_some());
        for (width, height, depth) in [(2560, 2560, 32), (0, 480, 32), (640, 0, 32), (640, 480, 7), (7, 480, 4)] {
            set_mode(&mut dispi, width, height, depth, ENABLED);
            assert_eq!(dispi.mode(MEMORY), None, "{width}x{height}x{depth}");
        }
    }

    #[test]
    fn any_write_to_any_index_is_survived() {
        let mut dispi = Dispi::default();
        for value in [0, 1, 4, 32, 0x7fff, 0xffff] {
            for index in 0..16 {
                dispi.write(index, value, MEMORY);
                dispi.read(index, MEMORY);
                dispi.mode(MEMORY);
            }
        }
    }
}
