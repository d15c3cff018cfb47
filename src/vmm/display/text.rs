//! Drawing text modes: characters are drawn when they, their attributes, the cursor on them or the fonts have changed.

#![forbid(unsafe_code)]

use std::{ops::Range, time::Duration};

use super::{
    canvas::Canvas,
    mode::{TextMode, TextStyle},
    window::PLANE_SIZE,
};

/// Lines that each glyph of a font has room for.
const GLYPH_LINES: usize = 32;
/// Bytes of a font in its plane.
const FONT_SIZE: usize = 256 * GLYPH_LINES;
/// The cursor is on for 16 frames of 70 Hz, then off for 16.
const CURSOR_PERIOD: Duration = Duration::from_millis(229);
/// Blinking characters are on for 32 frames of 70 Hz, then off for 32.
const BLINK_PERIOD: Duration = Duration::from_millis(457);
/// The characters that draw lines and meet their neighbours.
const LINE_GRAPHICS: Range<u8> = 0xc0..0xe0;

/// A key has the character in bits 0 to 7, its attribute in bits 8 to 15, then these.
const KEY_HIDDEN: u32 = 1 << 16;
const KEY_CURSOR: u32 = 1 << 17;
const KEY_CURSOR_FIRST: u32 = 18;
const KEY_CURSOR_LAST: u32 = 23;

/// Which of what blinks is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// The cursor.
    pub cursor: bool,
    /// Blinking characters.
    pub characters: bool,
}

impl Phases {
    /// The phases `time` after the screen was switched on.
    pub fn at(time: Duration) -> Self {
        let on = |period: Duration| (time.as_millis() / period.as_millis()).is_multiple_of(2);
        Self { cursor: on(CURSOR_PERIOD), characters: on(BLINK_PERIOD) }
    }
}

/// Lines of the screen that show the same row of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Band {
    lines: Range<u32>,
    address: u32,
    panning: u32,
}

/// What has been drawn.
#[derive(Debug, Default)]
pub struct TextPainter {
    style: Option<TextStyle>,
    fonts: [Vec<u8>; 2],
    rows: Vec<(Band, Vec<u32>)>,
    phases: Option<Phases>,
    blinks: bool,
    // Buffers
    bytes: Vec<u8>,
    keys: Vec<u32>,
    pixels: Vec<u32>,
}

impl TextPainter {
    /// Something else has been drawn on the surface.
    pub fn forget(&mut self) {
        self.rows.clear();
        self.phases = None;
    }

    /// Draws what has changed.
    pub fn draw(&mut self, mode: &TextMode, phases: Phases, canvas: &mut Canvas) {
        let blinks = self.blinks && self.phases != Some(phases);
        if !blinks && self.phases.is_some() && canvas.changed(0..PLANE_SIZE * 4).is_none() {
            return;
        }
        if self.load_fonts(&mode.style, canvas) || self.style.as_ref() != Some(&mode.style) {
            self.style = Some(mode.style.clone());
            self.rows.clear();
        }
        self.phases = Some(phases);
        self.blinks = false;
        let mut y = 0;
        let mut index = 0;
        while y < mode.scan.height {
            let band = band(mode, y);
            y = band.lines.end;
            self.read_keys(mode, &band, phases, canvas);
            self.draw_band(mode, index, &band, canvas);
            index += 1;
        }
        self.rows.truncate(index);
    }

    /// Copies the fonts out of plane 2; says whether they have changed.
    fn load_fonts(&mut self, style: &TextStyle, canvas: &Canvas) -> bool {
        let mut changed = false;
        for (font, &start) in self.fonts.iter_mut().zip(&style.fonts) {
            if !font.is_empty() && canvas.changed(start..start + FONT_SIZE * 4).is_none() {
                continue;
            }
            self.bytes.resize(FONT_SIZE * 4, 0);
            canvas.read(start, &mut self.bytes);
            let glyphs = self.bytes.as_chunks::<4>().0.iter().map(|planes| planes[2]);
            if font.len() != FONT_SIZE || !glyphs.clone().eq(font.iter().copied()) {
                font.clear();
                font.extend(glyphs);
                changed = true;
            }
        }
        changed
    }

    /// Reads the characters of a band into `keys`: whatever makes two of them look different makes their keys different.
    fn read_keys(&mut self, mode: &TextMode, band: &Band, phases: Phases, canvas: &Canvas) {
        let columns = mode.columns + u32::from(band.panning > 0);
        self.bytes.resize(columns as usize * 4, 0);
        canvas.read_planes(band.address, PLANE_SIZE as u32, &mut self.bytes);
        self.keys.clear();
        for planes in self.bytes.as_chunks::<4>().0 {
            let mut key = u32::from(u16::from_le_bytes([planes[0], planes[1]]));
            if mode.style.blinking && planes[1] & 0x80 != 0 {
                self.blinks = true;
                key |= if phases.characters { 0 } else { KEY_HIDDEN };
            }
            self.keys.push(key);
        }
        let Some(cursor) = &mode.cursor else { return };
        let within = |address: u32| address % PLANE_SIZE as u32;
        let column = within(cursor.address.wrapping_sub(band.address));
        if let Some(key) = self.keys.get_mut(column as usize) {
            self.blinks = true;
            if phases.cursor {
                *key |= KEY_CURSOR | cursor.lines.start() << KEY_CURSOR_FIRST | cursor.lines.end() << KEY_CURSOR_LAST;
            }
        }
    }

    /// Draws those of the characters in `keys` that differ from what band `index` shows.
    fn draw_band(&mut self, mode: &TextMode, index: usize, band: &Band, canvas: &mut Canvas) {
        let mut cells = 0..self.keys.len();
        if let Some((shown, keys)) = self.rows.get(index)
            && shown == band
            && band.panning == 0
        {
            let differs = |column: &usize| self.keys[*column] != keys[*column];
            let Some(first) = cells.find(differs) else { return };
            let last = cells.rfind(differs).unwrap_or(first);
            cells = first..last + 1;
        }
        let wide = u32::from(mode.style.wide);
        let x = cells.start * mode.style.cell_width();
        let skip = (band.panning as usize) << wide;
        let width = mode.columns as usize * mode.style.cell_width();
        let mut drawn = None;
        for y in band.lines.clone() {
            let row_line = mode.scan.line(y).row_line;
            if drawn != Some(row_line) {
                drawn = Some(row_line);
                self.pixels.clear();
                for &key in &self.keys[cells.clone()] {
                    draw_character(&mode.style, &self.fonts, key, row_line, &mut self.pixels);
                }
            }
            let visible = self.pixels.get(skip..).unwrap_or(&[]);
            canvas.shadow.draw(x, y as usize, &visible[..visible.len().min(width)]);
        }
        let keys = std::mem::take(&mut self.keys);
        match self.rows.get_mut(index) {
            Some(row) => {
                row.0 = band.clone();
                self.keys = std::mem::replace(&mut row.1, keys);
            }
            None => self.rows.push((band.clone(), keys)),
        }
    }
}

/// The lines from `y` on that show the same row of characters.
fn band(mode: &TextMode, y: u32) -> Band {
    let first = mode.scan.line(y);
    let end = if y < mode.scan.split { mode.scan.height.min(mode.scan.split) } else { mode.scan.height };
    let mut row_line = first.row_line;
    let is_next_row = |y: &u32| {
        let line = mode.scan.line(*y);
        let is_next = line.address != first.address || line.row_line < row_line;
        row_line = line.row_line;
        is_next
    };
    let end = (y + 1..end).find(is_next_row).unwrap_or(end);
    Band { lines: y..end, address: first.address, panning: first.panning }
}

/// Appends line `row_line` of a character.
fn draw_character(style: &TextStyle, fonts: &[Vec<u8>; 2], key: u32, row_line: u32, pixels: &mut Vec<u32>) {
    let [character, attribute, ..] = key.to_le_bytes();
    let background = if style.blinking { attribute >> 4 & 7 } else { attribute >> 4 };
    let [foreground, background] = [attribute & 0x0f, background].map(|index| style.colours[usize::from(index)]);
    let glyph_line = usize::from(character) * GLYPH_LINES + row_line as usize;
    let mut dots = fonts[usize::from(attribute >> 3 & 1)].get(glyph_line).copied().unwrap_or(0);
    let mut ninth = style.line_graphics && LINE_GRAPHICS.contains(&character) && dots & 1 != 0;
    if style.underline == Some(row_line) && attribute & 7 == 1 {
        (dots, ninth) = (0xff, true);
    }
    if key & KEY_HIDDEN != 0 {
        (dots, ninth) = (0, false);
    }
    let cursor = (key >> KEY_CURSOR_FIRST & 0x1f)..=(key >> KEY_CURSOR_LAST & 0x1f);
    if key & KEY_CURSOR != 0 && cursor.contains(&row_line) {
        (dots, ninth) = (0xff, true);
    }
    let difference = foreground ^ background;
    // All ones where the dot is set: no branch for each dot.
    let eight: [u32; 8] =
        std::array::from_fn(|dot| background ^ difference & 0u32.wrapping_sub(u32::from(dots >> (7 - dot) & 1)));
    let ninth = if ninth { foreground } else { background };
    match (style.wide, style.nine_dots) {
        (false, false) => pixels.extend_from_slice(&eight),
        (false, true) => {
            pixels.extend_from_slice(&eight);
            pixels.push(ninth);
        }
        (true, nine_dots) => {
            pixels.extend(eight.iter().flat_map(|&pixel| [pixel; 2]));
            pixels.extend([ninth; 2].iter().take(if nine_dots { 2 } else { 0 }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        screen::{Rect, Surface},
        vmm::display::testing::{Bench, MONO_TEXT, ModeTable, TEXT, WIDE_TEXT, colour},
    };

    /// A glyph whose line n has the bits of `lines[n]`.
    fn bench(mode: &ModeTable, character: u8, lines: &[u8]) -> Bench {
        let mut bench = Bench::in_mode(mode);
        bench.load_glyph(0, character, lines);
        if mode.miscellaneous & 1 == 0 {
            bench.register(0x3ce, 6, 0x0a);
            bench.register(0x3b4, 0x0a, 0x20);
        } else {
            bench.crtc(0x0a, 0x20);
        }
        bench
    }

    /// Line `line` of the character at `column` and `row` of a text of 9 × 16 dots.
    fn cell_line(surface: &Surface, column: usize, row: u32, line: u32) -> &[u32] {
        &surface.row(row * 16 + line)[column * 9..column * 9 + 9]
    }

    /// Nine dots in two colours.
    fn dots(bits: &str, foreground: u8, background: u8) -> Vec<u32> {
        bits.chars().map(|bit| colour(if bit == '#' { foreground } else { background })).collect()
    }

    #[test]
    fn a_character_is_drawn_in_its_colours_with_the_guests_font() {
        let mut bench = bench(&TEXT, b'A', &[0b1010_0001, 0b0000_0001]);
        // Yellow (palette entry 0x3e) on red (4), in row 2, column 3.
        bench.window(0xb8000 + (2 * 80 + 3) * 2, &[b'A', 0x4e]);

        let surface = bench.surface();

        assert_eq!((surface.width, surface.height), (720, 400));
        assert_eq!(cell_line(&surface, 3, 2, 0), dots("#.#....#.", 0x3e, 4));
        assert_eq!(cell_line(&surface, 3, 2, 1), dots(".......#.", 0x3e, 4));
        assert_eq!(cell_line(&surface, 3, 2, 2), dots(".........", 0x3e, 4));
        assert_eq!(cell_line(&surface, 4, 2, 0), dots(".........", 0, 0));
    }

    #[test]
    fn line_drawing_characters_reach_the_ninth_dot() {
        let mut bench = bench(&TEXT, 0xc4, &[0x0f]);
        bench.window(0xb8000, &[0xc4, 0x07]);
        assert_eq!(cell_line(&bench.surface(), 0, 0, 0), dots("....#####", 7, 0));

        bench.attribute(0x10, 0x08);
        assert_eq!(cell_line(&bench.surface(), 0, 0, 0), dots("....####.", 7, 0));
    }

    #[test]
    fn blinking_characters_vanish_for_half_of_the_time() {
        let mut bench = bench(&TEXT, b'B', &[0xf0]);
        bench.window(0xb8000, &[b'B', 0x87]);
        let visible = bench.surface();
        bench.time = BLINK_PERIOD;
        let hidden = bench.surface();
        bench.time = BLINK_PERIOD * 2;

        assert_eq!(cell_line(&visible, 0, 0, 0), dots("####.....", 7, 0));
        assert_eq!(cell_line(&hidden, 0, 0, 0), dots(".........", 7, 0));
        assert_eq!(bench.surface(), visible);
    }

    #[test]
    fn without_blinking_the_bit_brightens_the_background() {
        let mut bench = bench(&TEXT, b'B', &[0xf0]);
        bench.attribute(0x10, 0x04);
        bench.window(0xb8000, &[b'B', 0x97]);
        bench.time = BLINK_PERIOD;

        assert_eq!(cell_line(&bench.surface(), 0, 0, 0), dots("####.....", 7, 0x39));
    }

    #[test]
    fn the_cursor_fills_its_lines_and_blinks() {
        let mut bench = bench(&TEXT, b' ', &[]);
        bench.window(0xb8000 + 82 * 2, &[b' ', 0x1f]);
        for (index, value) in [(0x0a, 14), (0x0b, 15), (0x0e, 0), (0x0f, 82)] {
            bench.crtc(index, value);
        }
        let on = bench.surface();
        bench.time = CURSOR_PERIOD;
        let off = bench.surface();

        assert_eq!(cell_line(&on, 2, 1, 13), dots(".........", 0x3f, 1));
        for line in [14, 15] {
            assert_eq!(cell_line(&on, 2, 1, line), dots("#########", 0x3f, 1));
            assert_eq!(cell_line(&off, 2, 1, line), dots(".........", 0x3f, 1));
        }
    }

    #[test]
    fn a_blinking_cursor_damages_its_tile_alone() {
        let mut bench = bench(&TEXT, b' ', &[]);
        bench.window(0xb8000 + (80 + 8) * 2, &[b' ', 0x07]);
        for (index, value) in [(0x0a, 14), (0x0b, 15), (0x0e, 0), (0x0f, 88)] {
            bench.crtc(index, value);
        }
        let before = bench.refresh();
        bench.time = CURSOR_PERIOD;

        assert_eq!(bench.damage(before), [Rect { x: 72, y: 30, width: 16, height: 2 }]);
    }

    #[test]
    fn text_without_blinking_parts_stays_as_it_is() {
        let mut bench = bench(&TEXT, b'A', &[0xff]);
        bench.window(0xb8000, &[b'A', 7]);
        let before = bench.refresh();
        bench.time = BLINK_PERIOD;

        assert_eq!(bench.refresh(), before);
    }

    #[test]
    fn a_written_character_damages_its_tile_and_the_same_again_nothing() {
        let mut bench = bench(&TEXT, b'A', &[0xff; 16]);
        let before = bench.refresh();

        bench.window(0xb8000 + (3 * 80 + 1) * 2, b"A\x07");
        let damage = bench.damage(before);
        let after = bench.refresh();
        bench.window(0xb8000 + (3 * 80 + 1) * 2, b"A\x07");

        assert_eq!(damage, [Rect { x: 8, y: 48, width: 16, height: 16 }]);
        assert_eq!(bench.refresh(), after);
    }

    #[test]
    fn mono_text_underlines() {
        let mut bench = bench(&MONO_TEXT, b'U', &[]);
        bench.window(0xb0000, &[b'U', 0x01, b'U', 0x07]);

        let surface = bench.surface();

        assert_eq!(cell_line(&surface, 0, 0, 14), dots(".........", 8, 0));
        assert_eq!(cell_line(&surface, 0, 0, 15), dots("#########", 8, 0));
        assert_eq!(cell_line(&surface, 1, 0, 15), dots(".........", 8, 0));
    }

    #[test]
    fn the_attribute_chooses_between_two_fonts() {
        let mut bench = bench(&TEXT, b'A', &[0xff]);
        bench.load_glyph(2, b'A', &[0x01]);
        // Map B (bit 3 clear) is font 0, map A (bit 3 set) the one at 16 KiB.
        bench.register(0x3c4, 3, 0b0000_0100);
        bench.window(0xb8000, &[b'A', 0x07, b'A', 0x0f]);

        let surface = bench.surface();

        assert_eq!(cell_line(&surface, 0, 0, 0), dots("########.", 7, 0));
        assert_eq!(cell_line(&surface, 1, 0, 0), dots(".......#.", 0x3f, 0));
    }

    #[test]
    fn a_changed_font_redraws_the_text() {
        let mut bench = bench(&TEXT, b'A', &[0xff]);
        bench.window(0xb8000, &[b'A', 0x07]);
        bench.refresh();

        bench.load_glyph(0, b'A', &[0x80]);

        assert_eq!(cell_line(&bench.surface(), 0, 0, 0), dots("#........", 7, 0));
    }

    #[test]
    fn forty_columns_are_twice_as_wide() {
        let mut bench = bench(&WIDE_TEXT, b'A', &[0x81]);
        bench.window(0xb8000 + 2, &[b'A', 0x07]);

        let surface = bench.surface();

        assert_eq!((surface.width, surface.height), (640, 400));
        let expected: Vec<u32> = "##............##".chars().map(|dot| colour(if dot == '#' { 7 } else { 0 })).collect();
        assert_eq!(surface.row(0)[16..32], expected);
    }

    #[test]
    fn the_start_address_scrolls_and_wraps() {
        let mut bench = bench(&TEXT, b'A', &[0x80]);
        bench.window(0xb8000, &[b'A', 0x07]);
        bench.refresh();

        // One row before the first address of the planes.
        bench.crtc(0x0c, 0xff);
        bench.crtc(0x0d, 0xb0);

        let surface = bench.surface();
        assert_eq!(surface.row(16)[0], colour(7));
        assert_eq!(surface.row(0)[0], colour(0));
    }

    #[test]
    fn below_the_split_the_text_begins_again() {
        let mut bench = bench(&TEXT, b'A', &[0x80]);
        bench.window(0xb8000, &[b'A', 0x07]);
        bench.crtc(0x0c, 0x10);
        bench.crtc(0x07, 0x0f);
        bench.crtc(0x09, 0x0f);
        bench.crtc(0x18, 199);

        let surface = bench.surface();

        let marked: Vec<u32> = (0..400).filter(|&y| surface.row(y)[0] != colour(0)).collect();
        assert_eq!(marked, [200]);
    }

    #[test]
    fn panning_and_a_preset_row_move_the_text_smoothly() {
        let mut bench = bench(&TEXT, b'A', &[0, 0, 0, 0b0010_0000]);
        bench.window(0xb8000, &[b'A', 0x07]);
        // Nine dots: 1 moves the picture by two.
        bench.attribute(0x13, 1);
        bench.crtc(0x08, 3);

        let surface = bench.surface();

        assert_eq!(surface.row(0)[..3], [7, 0, 0].map(colour));
        assert_eq!(surface.width, 720);
    }

    #[test]
    fn after_graphics_the_text_is_drawn_anew() {
        let mut bench = bench(&TEXT, b'A', &[0x80]);
        bench.window(0xb8000, &[b'A', 0x07]);
        let text = bench.surface();
        bench.register(0x3ce, 6, 0x0f);
        assert_ne!(bench.surface(), text);

        bench.register(0x3ce, 6, 0x0e);

        assert_eq!(bench.surface(), text);
    }
}
