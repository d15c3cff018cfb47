//! A card on a bench: tests set modes and draw as a guest does, through ports and the window, and look at the pixels.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Vga, VgaScreen,
    vga::{BAR_REGISTERS, REGION_DISPI_PORTS, REGION_VGA_PORTS, REGION_WINDOW, VGA_PORTS},
    video_memory::testing::FakeVideoMemory,
};
use crate::{
    screen::{Generation, Rect, Screen, Surface},
    vmm::device::Device,
};

/// The registers of a mode, as the VGA's BIOS sets them.
pub struct ModeTable {
    pub miscellaneous: u8,
    pub sequencer: [u8; 5],
    pub crtc: [u8; 25],
    pub graphics: [u8; 9],
    pub attribute: [u8; 21],
}

const EGA_PALETTE: [u8; 16] = [0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f];
const STRAIGHT_PALETTE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

const fn attributes(palette: [u8; 16], rest: [u8; 5]) -> [u8; 21] {
    let mut all = [0; 21];
    let mut index = 0;
    while index < 21 {
        all[index] = if index < 16 { palette[index] } else { rest[index - 16] };
        index += 1;
    }
    all
}

/// Mode 3: text, 80 × 25 characters of 9 × 16 dots.
pub const TEXT: ModeTable = ModeTable {
    miscellaneous: 0x67,
    sequencer: [3, 0, 3, 0, 2],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f, 0x28, 0x1f,
        0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
    attribute: attributes(EGA_PALETTE, [0x0c, 0, 0x0f, 8, 0]),
};

/// Mode 7: mono text, 80 × 25 characters of 9 × 16 dots.
pub const MONO_TEXT: ModeTable = ModeTable {
    miscellaneous: 0xa6,
    sequencer: [3, 0, 3, 0, 2],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f, 0x28, 0x0f,
        0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0a, 0, 0xff],
    attribute: attributes(
        [0, 8, 8, 8, 8, 8, 8, 8, 0x10, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18],
        [0x0e, 0, 0x0f, 8, 0],
    ),
};

/// Mode 1: text, 40 × 25 characters of 8 × 16 dots, each dot two pixels wide.
pub const WIDE_TEXT: ModeTable = ModeTable {
    miscellaneous: 0x67,
    sequencer: [3, 9, 3, 0, 2],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0xa0, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f, 0x14, 0x1f,
        0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
    attribute: attributes(EGA_PALETTE, [0x08, 0, 0x0f, 0, 0]),
};

/// Mode 4: CGA, 320 × 200 pixels of four colours.
pub const CGA: ModeTable = ModeTable {
    miscellaneous: 0x63,
    sequencer: [3, 9, 3, 0, 2],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f, 0x14, 0, 0x96,
        0xb9, 0xa2, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff],
    attribute: attributes(
        [0, 0x13, 0x15, 0x17, 2, 4, 6, 7, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17],
        [1, 0, 3, 0, 0],
    ),
};

/// Mode 6: CGA, 640 × 200 pixels of two colours.
pub const CGA_FINE: ModeTable = ModeTable {
    miscellaneous: 0x63,
    sequencer: [3, 1, 1, 0, 6],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f, 0x28, 0, 0x96,
        0xb9, 0xc2, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0, 0x0d, 0, 0xff],
    attribute: attributes([0, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0, 0, 0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0]),
};

/// Mode 0x12: 640 × 480 pixels of 16 colours in four planes.
pub const PLANAR: ModeTable = ModeTable {
    miscellaneous: 0xe3,
    sequencer: [3, 1, 0x0f, 0, 6],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x0c, 0xdf, 0x28, 0, 0xe7,
        0x04, 0xe3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff],
    attribute: attributes(EGA_PALETTE, [1, 0, 0x0f, 0, 0]),
};

/// Mode 0x13: 320 × 200 pixels of 256 colours, chain-4.
pub const PACKED: ModeTable = ModeTable {
    miscellaneous: 0x63,
    sequencer: [3, 1, 0x0f, 0, 0x0e],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f, 0x28, 0x40, 0x96,
        0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff],
    attribute: attributes(STRAIGHT_PALETTE, [0x41, 0, 0x0f, 0, 0]),
};

/// A card, its memory and its screen, with a viewer.
pub struct Bench {
    pub card: Arc<Mutex<Vga>>,
    pub memory: Arc<FakeVideoMemory>,
    pub screen: Arc<VgaScreen>,
    /// What the clock of the screen shows.
    pub time: Duration,
}

impl Bench {
    /// A card as after power-on, watched by one viewer.
    pub fn new() -> Self {
        let memory = Arc::new(FakeVideoMemory::new(16 << 20));
        let (card, screen) = Vga::new(memory.clone());
        screen.attach();
        Self { card, memory, screen, time: Duration::ZERO }
    }

    /// A card in a VGA mode, with colours as [`colour`] says.
    pub fn in_mode(mode: &ModeTable) -> Self {
        let mut bench = Self::new();
        bench.set_mode(mode);
        bench
    }

    /// A card in a VBE mode, with colours as [`colour`] says.
    pub fn in_vbe_mode(width: u16, height: u16, depth: u16) -> Self {
        let mut bench = Self::new();
        bench.port(0x3c2, 0x67);
        bench.load_colours();
        bench.port(0x3c0, 0x20);
        bench.set_vbe_mode(width, height, depth);
        bench
    }

    /// Writes a byte to a port.
    pub fn port(&mut self, port: u16, value: u8) {
        self.card.lock().unwrap().write(REGION_VGA_PORTS, u64::from(port) - VGA_PORTS.start, &[value]);
    }

    /// Reads a byte from a port.
    pub fn read_port(&mut self, port: u16) -> u8 {
        let mut value = [0];
        self.card.lock().unwrap().read(REGION_VGA_PORTS, u64::from(port) - VGA_PORTS.start, &mut value);
        value[0]
    }

    /// Writes a register behind an index port and the data port after it.
    pub fn register(&mut self, port: u16, index: u8, value: u8) {
        self.port(port, index);
        self.port(port + 1, value);
    }

    /// Writes a register of the CRT controller.
    pub fn crtc(&mut self, index: u8, value: u8) {
        self.register(0x3d4, index, value);
    }

    /// Writes a register of the attribute controller.
    pub fn attribute(&mut self, index: u8, value: u8) {
        self.read_port(0x3da);
        self.port(0x3c0, index | 0x20);
        self.port(0x3c0, value);
    }

    /// Writes a register of the Bochs display interface.
    pub fn dispi(&mut self, index: u16, value: u16) {
        let mut card = self.card.lock().unwrap();
        card.write(REGION_DISPI_PORTS, 0, &index.to_le_bytes());
        card.write(REGION_DISPI_PORTS, 1, &value.to_le_bytes());
    }

    /// Sets a VGA mode with colours as [`colour`] says.
    pub fn set_mode(&mut self, mode: &ModeTable) {
        self.port(0x3c2, mode.miscellaneous);
        let base = if mode.miscellaneous & 1 != 0 { 0x3d0 } else { 0x3b0 };
        for (index, value) in (0..).zip(mode.sequencer) {
            self.register(0x3c4, index, value);
        }
        for (index, value) in (0..).zip(mode.crtc) {
            self.register(base + 4, index, value);
        }
        for (index, value) in (0..).zip(mode.graphics) {
            self.register(0x3ce, index, value);
        }
        self.read_port(base + 0xa);
        for (index, value) in (0..).zip(mode.attribute) {
            self.port(0x3c0, index);
            self.port(0x3c0, value);
        }
        self.load_colours();
        self.port(0x3c0, 0x20);
    }

    /// Sets a VBE mode.
    pub fn set_vbe_mode(&mut self, width: u16, height: u16, depth: u16) {
        for (index, value) in [(4, 0), (1, width), (2, height), (3, depth), (4, 0x41)] {
            self.dispi(index, value);
        }
    }

    /// Makes the most significant byte of a pixel the first one.
    pub fn set_big_endian(&mut self) {
        self.card.lock().unwrap().write(BAR_REGISTERS, 0x604, &0xbebe_bebeu32.to_le_bytes());
    }

    /// Fills the palette.
    pub fn load_colours(&mut self) {
        self.port(0x3c8, 0);
        for index in 0..=255u8 {
            for component in components(index) {
                self.port(0x3c9, component);
            }
        }
    }

    /// Writes through the window, byte by byte; `address` is a physical one.
    pub fn window(&mut self, address: u64, bytes: &[u8]) {
        let mut card = self.card.lock().unwrap();
        for (offset, byte) in (address - 0xa0000..).zip(bytes) {
            card.write(REGION_WINDOW, offset, &[*byte]);
        }
    }

    /// Reads a byte through the window.
    pub fn read_window(&mut self, address: u64) -> u8 {
        let mut value = [0];
        self.card.lock().unwrap().read(REGION_WINDOW, address - 0xa0000, &mut value);
        value[0]
    }

    /// Loads the lines of a glyph into font `font` (0 is the one at the start of plane 2), as a BIOS does.
    pub fn load_glyph(&mut self, font: u64, character: u8, lines: &[u8]) {
        for (port, index, value) in [(0x3c4, 2, 4), (0x3c4, 4, 6), (0x3ce, 5, 0), (0x3ce, 6, 5)] {
            self.register(port, index, value);
        }
        self.window(0xa0000 + font * 0x2000 + u64::from(character) * 32, lines);
        for (port, index, value) in [(0x3c4, 2, 3), (0x3c4, 4, 2), (0x3ce, 5, 0x10), (0x3ce, 6, 0x0e)] {
            self.register(port, index, value);
        }
    }

    /// Brings the screen up to date.
    pub fn refresh(&self) -> Generation {
        self.screen.refresh_at(self.time)
    }

    /// Brings the screen up to date and returns it.
    pub fn surface(&self) -> Surface {
        self.refresh();
        self.shown()
    }

    /// The surface as it is.
    pub fn shown(&self) -> Surface {
        let mut surface = Surface::default();
        self.screen.look(0, &mut |shown, _| surface = shown.clone());
        surface
    }

    /// Brings the screen up to date and returns what has changed since `since`, from the top left.
    pub fn damage(&self, since: Generation) -> Vec<Rect> {
        self.refresh();
        let mut damage = Vec::new();
        self.screen.look(since, &mut |_, rects| damage = rects.to_vec());
        damage.sort_by_key(|rect| (rect.y, rect.x));
        damage
    }
}

/// The components of palette entry `index`, different for every entry.
fn components(index: u8) -> [u8; 3] {
    [index >> 2, index & 3, index & 0x3f]
}

/// What palette entry `index` looks like.
pub fn colour(index: u8) -> u32 {
    let [red, green, blue] = components(index).map(|component| u32::from(component << 2 | component >> 4));
    red << 16 | green << 8 | blue
}
