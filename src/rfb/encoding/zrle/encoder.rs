//! The encoder: takes for each tile the kind that makes it smallest before zlib.

use super::super::deflater::Deflater;
use super::super::palette::Palette;
use super::super::{is_solid, row_part};
use super::{HALF, MAX_PACKED, TILE, kind, packed_bits};
use crate::rfb::pixel_format::Translator;
use crate::screen::{Rect, Surface};
use flate2::{CompressError, FlushCompress};

/// So many bytes of tiles are gathered before zlib sees them.
const GATHERED: usize = 32 * 1024;

/// One viewer's encoder; its zlib stream lasts as long as the connection.
pub struct Encoder {
    zlib: Deflater,
    /// The values of one tile, in the viewer's format.
    tile: Vec<u32>,
    palette: Palette,
    plain: Vec<u8>,
}

/// What the choice of a tile's kind depends on.
struct Runs {
    count: usize,
    /// Runs of one pixel.
    single: usize,
    /// The bytes of all lengths, those of single runs included.
    length_bytes: usize,
}

impl Encoder {
    /// An encoder that compresses with a level of zlib's, 0 (not at all) to 9.
    pub fn new(level: u32) -> Self {
        Self {
            zlib: Deflater::new(level),
            tile: Vec::with_capacity((TILE * TILE) as usize),
            palette: Palette::new(),
            plain: Vec::with_capacity(GATHERED),
        }
    }

    /// Appends the length and the bytes of a rectangle. What lies outside the surface is black.
    pub fn encode(
        &mut self,
        surface: &Surface,
        rect: Rect,
        translator: &Translator,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        for y in (rect.y..rect.y + rect.height).step_by(TILE as usize) {
            for x in (rect.x..rect.x + rect.width).step_by(TILE as usize) {
                let width = TILE.min(rect.x + rect.width - x);
                let height = TILE.min(rect.y + rect.height - y);
                self.load_tile(surface, Rect { x, y, width, height }, translator);
                self.write_tile(width as usize, translator);
                if self.plain.len() >= GATHERED {
                    self.compress(FlushCompress::None, out)?;
                }
            }
        }
        self.compress(FlushCompress::Sync, out)?;
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn load_tile(&mut self, surface: &Surface, rect: Rect, translator: &Translator) {
        self.tile.clear();
        for y in rect.y..rect.y + rect.height {
            let end = self.tile.len() + rect.width as usize;
            translator.extend_values(row_part(surface, rect.x, y, rect.width), &mut self.tile);
            // Black is 0 in every format.
            self.tile.resize(end, 0);
        }
    }

    fn write_tile(&mut self, width: usize, translator: &Translator) {
        let Some(first) = self.tile.first() else { return };
        if is_solid(&self.tile, *first) {
            self.plain.push(kind::SOLID);
            translator.write_compact(&[*first], &mut self.plain);
            return;
        }
        let runs = self.measure();
        let pixel_bytes = translator.bytes_per_compact_pixel();
        let raw = self.tile.len() * pixel_bytes;
        let plain_runs = runs.count * pixel_bytes + runs.length_bytes;
        let Some(colours) = self.palette.colours() else {
            if plain_runs < raw {
                self.write_runs(translator)
            } else {
                self.write_raw(translator)
            }
            return;
        };
        let palette = colours.len() * pixel_bytes;
        let palette_runs = palette + runs.count + runs.length_bytes - runs.single;
        let packed = if colours.len() <= MAX_PACKED {
            palette + (width * packed_bits(colours.len())).div_ceil(8) * (self.tile.len() / width)
        } else {
            usize::MAX
        };
        match raw.min(plain_runs).min(palette_runs).min(packed) {
            size if size == packed => self.write_packed(width, translator),
            size if size == palette_runs => self.write_palette_runs(translator),
            size if size == plain_runs => self.write_runs(translator),
            _ => self.write_raw(translator),
        }
    }

    /// Counts the runs and gathers the palette.
    fn measure(&mut self) -> Runs {
        self.palette.clear();
        let mut measured = Runs { count: 0, single: 0, length_bytes: 0 };
        for run in self.tile.chunk_by(u32::eq) {
            self.palette.add(run[0]);
            measured.count += 1;
            measured.single += usize::from(run.len() == 1);
            measured.length_bytes += (run.len() - 1) / 255 + 1;
        }
        measured
    }

    fn write_raw(&mut self, translator: &Translator) {
        self.plain.push(kind::RAW);
        translator.write_compact(&self.tile, &mut self.plain);
    }

    fn write_runs(&mut self, translator: &Translator) {
        self.plain.push(kind::RUNS);
        for run in self.tile.chunk_by(u32::eq) {
            translator.write_compact(&run[..1], &mut self.plain);
            write_length(run.len(), &mut self.plain);
        }
    }

    fn write_palette_runs(&mut self, translator: &Translator) {
        let colours = self.palette.colours().unwrap_or(&[]);
        self.plain.push(kind::RUNS + colours.len() as u8);
        translator.write_compact(colours, &mut self.plain);
        for run in self.tile.chunk_by(u32::eq) {
            let number = self.palette.number(run[0]);
            if run.len() == 1 {
                self.plain.push(number);
            } else {
                self.plain.push(number | 128);
                write_length(run.len(), &mut self.plain);
            }
        }
    }

    fn write_packed(&mut self, width: usize, translator: &Translator) {
        let colours = self.palette.colours().unwrap_or(&[]);
        self.plain.push(colours.len() as u8);
        translator.write_compact(colours, &mut self.plain);
        let bits = packed_bits(colours.len());
        let (mut last, mut number) = (self.tile[0], self.palette.number(self.tile[0]));
        for row in self.tile.chunks(width) {
            for pixels in row.chunks(8 / bits) {
                let mut byte = 0;
                for pixel in pixels {
                    if *pixel != last {
                        (last, number) = (*pixel, self.palette.number(*pixel));
                    }
                    byte = byte << bits | number;
                }
                self.plain.push(byte << (bits * (8 / bits - pixels.len())));
            }
        }
    }

    /// Gives zlib what has been gathered.
    fn compress(&mut self, flush: FlushCompress, out: &mut Vec<u8>) -> Result<(), CompressError> {
        self.zlib.compress(&self.plain, flush, out)?;
        self.plain.clear();
        Ok(())
    }
}

/// Whether a part of a screen is better sent in rectangles of [`HALF`] a tile's height: where a whole tile has too many colours
/// for a palette and its halves have not. With a palette a third of the bytes are to be compressed, and what repeats is found.
pub fn is_better_halved(surface: &Surface, part: Rect) -> bool {
    let mut palette = Palette::new();
    let mut fits = |x, y, width, height| has_palette(surface, Rect { x, y, width, height }, &mut palette);
    let steps = |start: u32, length: u32| (start..start + length).step_by(TILE as usize);
    steps(part.y, part.height).flat_map(|y| steps(part.x, part.width).map(move |x| (x, y))).any(|(x, y)| {
        let (width, height) = (TILE.min(part.x + part.width - x), TILE.min(part.y + part.height - y));
        height > HALF
            && !fits(x, y, width, height)
            && fits(x, y, width, HALF)
            && fits(x, y + HALF, width, height - HALF)
    })
}

/// Whether so few colours are in a rectangle that they can be numbered.
fn has_palette(surface: &Surface, rect: Rect, palette: &mut Palette) -> bool {
    palette.clear();
    let mut above: &[u32] = &[];
    for y in rect.y..rect.y + rect.height {
        let row = row_part(surface, rect.x, y, rect.width);
        if row != above {
            row.chunk_by(u32::eq).for_each(|run| palette.add(run[0]));
        }
        if palette.colours().is_none() {
            return false;
        }
        above = row;
    }
    true
}

/// Appends a run's length: bytes whose sum is one less, all but the last 255.
fn write_length(length: usize, out: &mut Vec<u8>) {
    let rest = length - 1;
    out.resize(out.len() + rest / 255, 255);
    out.push((rest % 255) as u8);
}
