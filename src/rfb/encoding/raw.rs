//! Raw: the pixels as they are, row by row (RFC 6143 section 7.7.1).

use super::{DecodeError, row_part, row_part_mut};
use crate::rfb::pixel_format::Translator;
use crate::screen::{Rect, Surface};

/// Appends the pixels of a rectangle. What lies outside the surface is black.
pub fn encode(surface: &Surface, rect: Rect, translator: &Translator, out: &mut Vec<u8>) {
    let row_bytes = rect.width as usize * translator.bytes_per_pixel();
    out.reserve(row_bytes * rect.height as usize);
    for y in rect.y..rect.y + rect.height {
        let end = out.len() + row_bytes;
        translator.write_pixels(row_part(surface, rect.x, y, rect.width), out);
        // Black is 0 in every format.
        out.resize(end, 0);
    }
}

/// Puts whole rows of a rectangle in place, `first_row` (counted from the rectangle's top) and those that follow.
pub fn decode_rows(bytes: &[u8], rect: Rect, first_row: u32, surface: &mut Surface) -> Result<(), DecodeError> {
    let rows = bytes.chunks(rect.width as usize * 4);
    for (row, y) in rows.zip(rect.y + first_row..rect.y + rect.height) {
        let (pixels, rest) = row.as_chunks::<4>();
        let places = row_part_mut(surface, rect.x, y, rect.width)?;
        if pixels.len() != places.len() || !rest.is_empty() {
            return Err(DecodeError::Length("fewer"));
        }
        for (place, pixel) in places.iter_mut().zip(pixels) {
            *place = u32::from_le_bytes(*pixel) & 0x00FF_FFFF;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{noise, only, some_rect};
    use super::*;
    use crate::rfb::pixel_format::PixelFormat;

    #[test]
    fn what_is_decoded_is_what_was_encoded() {
        let translator = Translator::new(&PixelFormat::NATIVE);
        let mut random = fastrand::Rng::with_seed(1);
        for seed in 0..20 {
            let surface = noise(seed, 70, 40, 300, 3);
            let rect = some_rect(&mut random, &surface);
            let (mut bytes, mut decoded) = (Vec::new(), Surface::new(70, 40));

            encode(&surface, rect, &translator, &mut bytes);
            let (top, rest) = bytes.split_at(rect.width as usize * 4);
            decode_rows(top, rect, 0, &mut decoded).unwrap();
            decode_rows(rest, rect, 1, &mut decoded).unwrap();

            assert_eq!(decoded, only(&surface, rect));
        }
    }

    #[test]
    fn what_lies_outside_the_surface_is_black() {
        let surface = noise(1, 4, 4, 300, 1);
        let translator = Translator::new(&PixelFormat::NATIVE);
        let mut bytes = Vec::new();

        encode(&surface, Rect { x: 3, y: 3, width: 3, height: 2 }, &translator, &mut bytes);

        assert_eq!(bytes[..4], surface.pixels[15].to_le_bytes());
        assert_eq!(bytes[4..], [0; 20]);
    }

    #[test]
    fn rows_outside_the_surface_and_broken_rows_are_refused() {
        let mut surface = Surface::new(4, 4);
        let outside = Rect { x: 2, y: 0, width: 3, height: 1 };
        let inside = Rect { x: 0, y: 0, width: 3, height: 1 };

        assert_eq!(decode_rows(&[0; 12], outside, 0, &mut surface), Err(DecodeError::Outside));
        assert_eq!(decode_rows(&[0; 11], inside, 0, &mut surface), Err(DecodeError::Length("fewer")));
    }
}
