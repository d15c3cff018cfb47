//! The decoder. It believes nothing: no tile writes outside its rectangle, and no more is decompressed than the tiles
//! need.

use super::super::{DecodeError, row_part_mut};
use super::{MAX_PACKED, TILE, kind, packed_bits};
use crate::screen::{Rect, Surface};
use flate2::{Decompress, FlushDecompress};

/// So much is decompressed at a time: room for a raw tile and then some.
const WINDOW: usize = 32 * 1024;
/// The bytes of a CPIXEL in our format.
const PIXEL: usize = 3;

/// One connection's decoder.
pub struct Decoder {
    zlib: Decompress,
    /// Decompressed bytes, of which those from `next` to `end` have not been used.
    window: Box<[u8]>,
    next: usize,
    end: usize,
    tile: Vec<u32>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the beginning of a connection.
    pub fn new() -> Self {
        Self {
            zlib: Decompress::new(true),
            window: vec![0; WINDOW].into_boxed_slice(),
            next: 0,
            end: 0,
            tile: Vec::with_capacity((TILE * TILE) as usize),
        }
    }

    /// Decodes the bytes of a rectangle (without their length) into a surface. After an error the stream is lost.
    pub fn decode(&mut self, bytes: &[u8], rect: Rect, surface: &mut Surface) -> Result<(), DecodeError> {
        let mut input = Input { decoder: self, bytes };
        for y in (rect.y..rect.y + rect.height).step_by(TILE as usize) {
            for x in (rect.x..rect.x + rect.width).step_by(TILE as usize) {
                let width = TILE.min(rect.x + rect.width - x);
                let height = TILE.min(rect.y + rect.height - y);
                input.read_tile(width as usize, height as usize)?;
                for (row, y) in input.decoder.tile.chunks(width as usize).zip(y..) {
                    row_part_mut(surface, x, y, width)?.copy_from_slice(row);
                }
            }
        }
        input.finish()
    }
}

/// A rectangle's bytes on their way through zlib.
struct Input<'a> {
    decoder: &'a mut Decoder,
    bytes: &'a [u8],
}

impl Input<'_> {
    fn read_tile(&mut self, width: usize, height: usize) -> Result<(), DecodeError> {
        let mut tile = std::mem::take(&mut self.decoder.tile);
        tile.clear();
        let result = self.fill_tile(width, height, &mut tile);
        self.decoder.tile = tile;
        result
    }

    fn fill_tile(&mut self, width: usize, height: usize, tile: &mut Vec<u32>) -> Result<(), DecodeError> {
        let pixels = width * height;
        match self.byte()? {
            kind::RAW => tile.extend(self.take(pixels * PIXEL)?.as_chunks().0.iter().map(pixel)),
            kind::SOLID => tile.resize(pixels, self.pixel()?),
            colours @ 2..=16 => self.read_packed(usize::from(colours), width, height, tile)?,
            kind::RUNS => {
                while tile.len() < pixels {
                    let pixel = self.pixel()?;
                    let length = self.length(pixels - tile.len())?;
                    tile.resize(tile.len() + length, pixel);
                }
            }
            colours @ 130..=255 => self.read_palette_runs(usize::from(colours - kind::RUNS), pixels, tile)?,
            _ => return Err(DecodeError::Damaged),
        }
        Ok(())
    }

    fn read_packed(
        &mut self,
        colours: usize,
        width: usize,
        height: usize,
        tile: &mut Vec<u32>,
    ) -> Result<(), DecodeError> {
        let mut palette = [0; MAX_PACKED];
        for colour in palette.iter_mut().take(colours) {
            *colour = self.pixel()?;
        }
        let palette = palette.get(..colours).ok_or(DecodeError::Damaged)?;
        let bits = packed_bits(colours);
        let mask = (1 << bits) - 1;
        let bytes = self.take((width * bits).div_ceil(8) * height)?;
        for row in bytes.chunks((width * bits).div_ceil(8)) {
            for x in 0..width {
                let byte = usize::from(row[x * bits / 8]);
                let number = byte >> (8 - bits - x * bits % 8) & mask;
                tile.push(*palette.get(number).ok_or(DecodeError::Damaged)?);
            }
        }
        Ok(())
    }

    fn read_palette_runs(&mut self, colours: usize, pixels: usize, tile: &mut Vec<u32>) -> Result<(), DecodeError> {
        let palette: Vec<u32> = self.take(colours * PIXEL)?.as_chunks().0.iter().map(pixel).collect();
        while tile.len() < pixels {
            let number = self.byte()?;
            let colour = *palette.get(usize::from(number & 127)).ok_or(DecodeError::Damaged)?;
            let length = if number & 128 == 0 { 1 } else { self.length(pixels - tile.len())? };
            tile.resize(tile.len() + length, colour);
        }
        Ok(())
    }

    /// A run's length, which may not be more than `most`.
    fn length(&mut self, most: usize) -> Result<usize, DecodeError> {
        let mut length = 1;
        loop {
            let byte = self.byte()?;
            length += usize::from(byte);
            if length > most {
                return Err(DecodeError::Damaged);
            }
            if byte != 255 {
                return Ok(length);
            }
        }
    }

    fn pixel(&mut self) -> Result<u32, DecodeError> {
        let bytes = self.take(PIXEL)?;
        bytes.first_chunk().map(pixel).ok_or(DecodeError::Damaged)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// The next `count` bytes, at most a raw tile's.
    fn take(&mut self, count: usize) -> Result<&[u8], DecodeError> {
        if self.decoder.end - self.decoder.next < count {
            self.decompress(count)?;
        }
        let start = self.decoder.next;
        self.decoder.next += count;
        Ok(&self.decoder.window[start..start + count])
    }

    /// Fills the window until it has `count` bytes that have not been used.
    fn decompress(&mut self, count: usize) -> Result<(), DecodeError> {
        let Decoder { zlib, window, next, end, .. } = &mut *self.decoder;
        window.copy_within(*next..*end, 0);
        *end -= std::mem::take(next);
        while *end < count {
            let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
            let result = zlib.decompress(self.bytes, &mut window[*end..], FlushDecompress::None);
            let (taken, given) = (zlib.total_in() - before_in, zlib.total_out() - before_out);
            self.bytes = &self.bytes[taken as usize..];
            *end += given as usize;
            result.map_err(|_| DecodeError::Damaged)?;
            if taken == 0 && given == 0 {
                return Err(DecodeError::Length("fewer"));
            }
        }
        Ok(())
    }

    /// Takes what is left of the rectangle's bytes: the mark of zlib's flush, which stands for no pixels.
    fn finish(&mut self) -> Result<(), DecodeError> {
        while !self.bytes.is_empty() && self.decoder.next == self.decoder.end {
            let left = self.bytes.len();
            match self.decompress(1) {
                Err(DecodeError::Length(_)) if self.bytes.is_empty() => return Ok(()),
                Err(DecodeError::Length(_)) if self.bytes.len() == left => return Err(DecodeError::Length("more")),
                result => result?,
            }
        }
        if self.decoder.next == self.decoder.end { Ok(()) } else { Err(DecodeError::Length("more")) }
    }
}

/// A pixel from a CPIXEL.
fn pixel(bytes: &[u8; PIXEL]) -> u32 {
    let [blue, green, red] = *bytes;
    u32::from_be_bytes([0, red, green, blue])
}
