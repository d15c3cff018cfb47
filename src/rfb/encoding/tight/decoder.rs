//! The decoder, for whoever reads the stream: what follows a rectangle's first byte, and what becomes of its body. JPEG is
//! not decoded; who does not ask for a quality gets none.

use super::super::{DecodeError, row_part_mut};
use super::{LEAST_COMPRESSED, MAX_WIDTH, control, filter};
use crate::screen::{Rect, Surface};
use flate2::{Decompress, FlushDecompress, Status};

/// No rectangle has more pixels.
const MAX_PIXELS: usize = 1 << 22;
/// The bytes of a TPIXEL in our format.
const PIXEL: usize = 3;

/// What a rectangle's first byte announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// One colour of three bytes.
    Fill,
    /// Compressed pixels, through the stream with this number. First comes the filter's number, if there is one.
    Basic {
        /// The stream's number.
        stream: usize,
        /// Whether a filter's number comes.
        filter: bool,
    },
}

/// How a rectangle's body is to be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    filter: u8,
    /// The colours, of the filter that has some.
    palette: Vec<u32>,
}

/// One connection's decoder.
#[derive(Default)]
pub struct Decoder {
    streams: [Option<Decompress>; 4],
    plain: Vec<u8>,
}

impl Body {
    /// A body with a filter.
    pub fn new(filter: u8) -> Result<Self, DecodeError> {
        match filter {
            filter::COPY | filter::PALETTE | filter::GRADIENT => Ok(Self { filter, palette: Vec::new() }),
            _ => Err(DecodeError::Damaged),
        }
    }

    /// Whether the number of colours, less one, and three bytes for each come before the body.
    pub fn has_palette(&self) -> bool {
        self.filter == filter::PALETTE
    }

    /// Notes the colours.
    pub fn set_palette(&mut self, bytes: &[u8]) {
        self.palette = bytes.as_chunks().0.iter().map(colour).collect();
    }

    /// The bytes of a rectangle's body before they are compressed.
    pub fn length(&self, rect: Rect) -> Result<usize, DecodeError> {
        let (width, height) = (rect.width as usize, rect.height as usize);
        if rect.width > MAX_WIDTH || width * height > MAX_PIXELS {
            return Err(DecodeError::Length("more"));
        }
        Ok(match (self.filter, self.palette.len()) {
            (filter::PALETTE, 0..=2) => width.div_ceil(8) * height,
            (filter::PALETTE, _) => width * height,
            _ => width * height * PIXEL,
        })
    }

    /// Whether a body of so many bytes is compressed: then its length comes before it.
    pub fn is_compressed(length: usize) -> bool {
        length >= LEAST_COMPRESSED
    }
}

impl Decoder {
    /// Reads a rectangle's first byte.
    pub fn begin(&mut self, first: u8) -> Result<Head, DecodeError> {
        for (number, stream) in self.streams.iter_mut().enumerate() {
            if first & control::RESETS & 1 << number != 0 {
                *stream = None;
            }
        }
        match first & !control::RESETS {
            control::FILL => Ok(Head::Fill),
            basic if basic < control::FILL => {
                let stream = usize::from(basic >> 4 & 3);
                Ok(Head::Basic { stream, filter: basic & control::WITH_FILTER != 0 })
            }
            _ => Err(DecodeError::Damaged),
        }
    }

    /// Fills a rectangle.
    pub fn fill(bytes: [u8; 3], rect: Rect, surface: &mut Surface) -> Result<(), DecodeError> {
        for y in rect.y..rect.y + rect.height {
            row_part_mut(surface, rect.x, y, rect.width)?.fill(colour(&bytes));
        }
        Ok(())
    }

    /// Puts a body in place, which came through a stream, or not compressed (`None`).
    pub fn decode(
        &mut self,
        body: &Body,
        stream: Option<usize>,
        bytes: &[u8],
        rect: Rect,
        surface: &mut Surface,
    ) -> Result<(), DecodeError> {
        let length = body.length(rect)?;
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        match stream {
            Some(stream) => self.inflate(stream, bytes, length, &mut plain)?,
            None => plain.extend_from_slice(bytes),
        }
        if plain.len() != length {
            return Err(DecodeError::Length("fewer"));
        }
        if length > 0 {
            place(body, &plain, rect, surface)?;
        }
        self.plain = plain;
        Ok(())
    }

    fn inflate(&mut self, stream: usize, bytes: &[u8], length: usize, plain: &mut Vec<u8>) -> Result<(), DecodeError> {
        let stream = self.streams.get_mut(stream).ok_or(DecodeError::Damaged)?;
        let zlib = stream.get_or_insert_with(|| Decompress::new(true));
        plain.reserve_exact(length);
        let before = zlib.total_in();
        while plain.len() < length {
            let (seen, given) = (zlib.total_in(), plain.len());
            let rest = bytes.get((seen - before) as usize..).unwrap_or(&[]);
            let status = zlib.decompress_vec(rest, plain, FlushDecompress::Sync).map_err(|_| DecodeError::Damaged)?;
            let stuck = zlib.total_in() == seen && plain.len() == given;
            if stuck || status == Status::StreamEnd && plain.len() < length {
                return Err(DecodeError::Length("fewer"));
            }
        }
        // The mark of the flush is left.
        let rest = bytes.get((zlib.total_in() - before) as usize..).unwrap_or(&[]);
        let mut nothing = [0; 1];
        let end = zlib.total_out();
        zlib.decompress(rest, &mut nothing, FlushDecompress::Sync).map_err(|_| DecodeError::Damaged)?;
        if zlib.total_out() != end { Err(DecodeError::Length("more")) } else { Ok(()) }
    }
}

/// Puts filtered bytes, which are as many as the rectangle needs, in place.
fn place(body: &Body, plain: &[u8], rect: Rect, surface: &mut Surface) -> Result<(), DecodeError> {
    let width = rect.width as usize;
    let two_colours = body.has_palette() && body.palette.len() <= 2;
    let mut above = vec![0; width];
    for (row, y) in plain.chunks(plain.len() / rect.height as usize).zip(rect.y..) {
        let places = row_part_mut(surface, rect.x, y, rect.width)?;
        for x in 0..width {
            places[x] = match body.filter {
                filter::PALETTE => {
                    let number = if two_colours { row[x / 8] >> (7 - x % 8) & 1 } else { row[x] };
                    *body.palette.get(usize::from(number)).ok_or(DecodeError::Damaged)?
                }
                _ => colour(&[row[x * PIXEL], row[x * PIXEL + 1], row[x * PIXEL + 2]]),
            };
        }
        if body.filter == filter::GRADIENT {
            add_expected(places, &above);
            above.copy_from_slice(places);
        }
    }
    Ok(())
}

/// Makes colours of differences: each is expected to be its left neighbour, changed as those above are.
fn add_expected(row: &mut [u32], above: &[u32]) {
    let (mut left, mut corner) = (0u32, 0u32);
    for (pixel, above) in row.iter_mut().zip(above) {
        let component = |shift: u32| {
            let of = |pixel: u32| (pixel >> shift & 0xFF) as i32;
            let expected = (of(left) + of(*above) - of(corner)).clamp(0, 255);
            ((expected + of(*pixel)) as u32 & 0xFF) << shift
        };
        *pixel = component(16) | component(8) | component(0);
        (left, corner) = (*pixel, *above);
    }
}

fn colour(bytes: &[u8; 3]) -> u32 {
    let [red, green, blue] = *bytes;
    u32::from_be_bytes([0, red, green, blue])
}
