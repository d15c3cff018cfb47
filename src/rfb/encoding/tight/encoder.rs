//! The encoder: one colour, a palette, pixels or JPEG, by what is in the rectangle.

use super::super::deflater::Deflater;
use super::super::palette::Palette;
use super::super::{is_solid, row_part};
use super::{LEAST_COMPRESSED, control, filter};
use crate::rfb::pixel_format::{PixelFormat, Translator};
use crate::screen::{Rect, Surface};
use flate2::{CompressError, FlushCompress};
use jpeg_encoder::{ColorType, SamplingFactor};

/// Rectangles with fewer pixels are as small without JPEG.
const SMALLEST_PHOTOGRAPH: usize = 1024;
/// What each level means to an encoder of JPEG, in percent: what servers that know TightVNC's levels make of them.
const PERCENT: [u8; 10] = [5, 10, 15, 25, 37, 50, 60, 70, 75, 80];
/// At this level colours are as sharp as brightness.
const SHARP_COLOURS: u32 = 9;
/// Of so many photographs one is encoded both with and without loss, to see which is smaller.
const TRIED: u32 = 16;

/// The streams: for pixels, for two colours, for more.
const PIXELS: usize = 0;
const TWO_COLOURS: usize = 1;
const COLOURS: usize = 2;

/// One viewer's encoder; its zlib streams last as long as the connection.
pub struct Encoder {
    level: u32,
    streams: [Option<Deflater>; 3],
    pixels: Vec<u32>,
    palette: Palette,
    plain: Vec<u8>,
    compressed: Vec<u8>,
    /// How many photographs come before one is tried, and whether the last one that was is smaller without loss.
    untried: u32,
    is_smaller_without_loss: bool,
}

impl Encoder {
    /// An encoder that compresses with a level of zlib's, 0 (not at all) to 9.
    pub fn new(level: u32) -> Self {
        Self {
            level,
            streams: [None, None, None],
            pixels: Vec::new(),
            palette: Palette::new(),
            plain: Vec::new(),
            compressed: Vec::new(),
            untried: 0,
            is_smaller_without_loss: false,
        }
    }

    /// Appends the bytes of a rectangle that is not wider than [`super::MAX_WIDTH`]. What lies outside the surface is black.
    /// With a `quality`, 0 to 9, photographs may lose some of theirs.
    pub fn encode(
        &mut self,
        surface: &Surface,
        rect: Rect,
        translator: &Translator,
        quality: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        self.load(surface, rect);
        let Some(first) = self.pixels.first() else { return Ok(()) };
        if is_solid(&self.pixels, *first) {
            out.push(control::FILL);
            translator.write_tight(&[*first], out);
            return Ok(());
        }
        let runs = self.measure();
        let palette_is_smaller = |colours: &&[u32]| {
            let size = translator.bytes_per_tight_pixel();
            colours.len() == 2 || colours.len() * size + self.pixels.len() < self.pixels.len() * size
        };
        if self.palette.colours().filter(palette_is_smaller).is_some() {
            return self.write_numbers(rect.width as usize, translator, out);
        }
        // In a photograph hardly a pixel is like its neighbour; text, however smooth, stands on a ground.
        let photograph = self.pixels.len() >= SMALLEST_PHOTOGRAPH && runs > self.pixels.len() / 2;
        if let Some(quality) = quality.filter(|_| photograph && translator.shows_photographs())
            && self.write_photograph(rect, quality, translator, out)?
        {
            return Ok(());
        }
        self.plain.clear();
        translator.write_tight(&self.pixels, &mut self.plain);
        let start = out.len();
        out.push((PIXELS << 4) as u8);
        self.compress(PIXELS, out)?;
        if out.len() - start > self.pixels.len() {
            // So large without loss: the next photograph is tried, whatever the last one was like.
            self.untried = 0;
        }
        Ok(())
    }

    fn load(&mut self, surface: &Surface, rect: Rect) {
        self.pixels.clear();
        for y in rect.y..rect.y + rect.height {
            let end = self.pixels.len() + rect.width as usize;
            let row = row_part(surface, rect.x, y, rect.width);
            self.pixels.extend(row.iter().map(|pixel| pixel & 0x00FF_FFFF));
            self.pixels.resize(end, 0);
        }
    }

    /// Gathers the palette and counts the runs.
    fn measure(&mut self) -> usize {
        self.palette.clear();
        let mut runs = 0;
        for run in self.pixels.chunk_by(u32::eq) {
            self.palette.add(run[0]);
            runs += 1;
        }
        runs
    }

    /// Writes the palette and each pixel's number: a bit of two colours, a byte of more.
    fn write_numbers(&mut self, width: usize, translator: &Translator, out: &mut Vec<u8>) -> Result<(), CompressError> {
        let colours = self.palette.colours().unwrap_or(&[]);
        let stream = if colours.len() == 2 { TWO_COLOURS } else { COLOURS };
        // There are at most 127.
        out.extend_from_slice(&[control::WITH_FILTER | (stream << 4) as u8, filter::PALETTE, colours.len() as u8 - 1]);
        translator.write_tight(colours, out);
        self.plain.clear();
        let (mut last, mut number) = (self.pixels[0], self.palette.number(self.pixels[0]));
        let mut number_of = |pixel: u32| {
            if pixel != last {
                (last, number) = (pixel, self.palette.number(pixel));
            }
            number
        };
        if stream == TWO_COLOURS {
            for row in self.pixels.chunks(width) {
                let mut packed = |bits: &[u32]| {
                    bits.iter().zip((0..8).rev()).fold(0, |byte, (bit, at)| byte | number_of(*bit) << at)
                };
                self.plain.extend(row.chunks(8).map(&mut packed));
            }
        } else {
            self.plain.extend(self.pixels.iter().map(|pixel| number_of(*pixel)));
        }
        self.compress(stream, out)
    }

    /// Writes a photograph with loss; `false` if that can't be done, or would not make it smaller.
    fn write_photograph(
        &mut self,
        rect: Rect,
        quality: u32,
        translator: &Translator,
        out: &mut Vec<u8>,
    ) -> Result<bool, CompressError> {
        let tries = self.untried == 0;
        self.untried = self.untried.checked_sub(1).unwrap_or(TRIED - 1);
        if !tries && self.is_smaller_without_loss {
            return Ok(false);
        }
        let Some(jpeg) = self.photograph(rect, quality) else { return Ok(false) };
        if tries {
            self.is_smaller_without_loss = self.size_without_loss(translator)? <= jpeg.len();
        }
        if !self.is_smaller_without_loss {
            out.push(control::JPEG);
            write_length(jpeg.len(), out);
            out.extend_from_slice(&jpeg);
        }
        // Its memory serves the next.
        self.compressed = jpeg;
        Ok(!self.is_smaller_without_loss)
    }

    /// The rectangle as a JPEG file.
    fn photograph(&mut self, rect: Rect, quality: u32) -> Option<Vec<u8>> {
        let (width, height) = (rect.width.try_into().ok()?, rect.height.try_into().ok()?);
        self.plain.clear();
        Translator::new(&PixelFormat::NATIVE).write_pixels(&self.pixels, &mut self.plain);
        let mut jpeg = std::mem::take(&mut self.compressed);
        jpeg.clear();
        let percent = PERCENT[PERCENT.len().min(quality as usize + 1) - 1];
        let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, percent);
        let sampling = if quality >= SHARP_COLOURS { SamplingFactor::F_1_1 } else { SamplingFactor::F_2_2 };
        encoder.set_sampling_factor(sampling);
        encoder.encode(&self.plain, width, height, ColorType::Bgra).ok()?;
        Some(jpeg)
    }

    /// How many bytes the rectangle's pixels would have in a stream of their own.
    fn size_without_loss(&mut self, translator: &Translator) -> Result<usize, CompressError> {
        self.plain.clear();
        translator.write_tight(&self.pixels, &mut self.plain);
        let mut compressed = Vec::new();
        Deflater::new(self.level).compress(&self.plain, FlushCompress::Sync, &mut compressed)?;
        Ok(compressed.len())
    }

    /// Appends what was gathered, through one of the streams.
    fn compress(&mut self, stream: usize, out: &mut Vec<u8>) -> Result<(), CompressError> {
        if self.plain.len() < LEAST_COMPRESSED {
            out.extend_from_slice(&self.plain);
            return Ok(());
        }
        self.compressed.clear();
        let deflater = self.streams[stream].get_or_insert_with(|| Deflater::new(self.level));
        deflater.compress(&self.plain, FlushCompress::Sync, &mut self.compressed)?;
        write_length(self.compressed.len(), out);
        out.extend_from_slice(&self.compressed);
        Ok(())
    }
}

/// Appends a length of less than 4 MiB: seven bits, seven bits and eight bits, as many as there are.
fn write_length(length: usize, out: &mut Vec<u8>) {
    // The lowest bits that are left.
    let low = |bits: usize| (bits & 0x7F) as u8;
    match length {
        0..0x80 => out.push(low(length)),
        0x80..0x4000 => out.extend_from_slice(&[low(length) | 0x80, low(length >> 7)]),
        _ => out.extend_from_slice(&[low(length) | 0x80, low(length >> 7) | 0x80, (length >> 14) as u8]),
    }
}
