//! What the encoder makes of pictures, seen with our decoder. (JPEG is seen with a published viewer: tests/viewer.rs.)

use super::super::DecodeError;
use super::super::tests::{noise, only, some_rect};
use super::*;
use crate::rfb::client::Eye;
use crate::rfb::pixel_format::{PixelFormat, Translator};
use crate::rfb::protocol::{Encoding, WireRect, write_update_header};
use crate::screen::{Rect, Surface};

fn encoded(encoder: &mut Encoder, surface: &Surface, rect: Rect, quality: Option<u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoder.encode(surface, rect, &Translator::new(&PixelFormat::NATIVE), quality, &mut bytes).unwrap();
    bytes
}

/// A whole update with one rectangle.
fn update(rect: Rect, body: &[u8]) -> Vec<u8> {
    let narrow = |value: u32| u16::try_from(value).unwrap();
    let wire =
        WireRect { x: narrow(rect.x), y: narrow(rect.y), width: narrow(rect.width), height: narrow(rect.height) };
    let mut bytes = Vec::new();
    write_update_header(1, &mut bytes);
    wire.write_header(Encoding::TIGHT, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

/// A sky: hardly a pixel is like another.
fn photograph(width: u32, height: u32) -> Surface {
    let mut surface = Surface::new(width, height);
    for (place, pixel) in (0..).zip(&mut surface.pixels) {
        let (x, y) = (place % width, place / width);
        *pixel = (x * 255 / width) << 16 | (y * 255 / height) << 8 | ((x + y + place % 2 * 3) % 256 / 2);
    }
    surface
}

#[test]
fn what_is_seen_is_what_was_encoded_by_every_kind_of_rectangle() {
    // The same streams for all, as in a connection.
    let (mut encoder, mut eye) = (Encoder::new(1), Eye::new(200, 150));
    let mut random = fastrand::Rng::with_seed(2);
    let kinds = [(1, 1), (2, 1), (2, 50), (4, 2), (16, 1), (17, 30), (127, 100), (128, 600), (9000, 1)];
    for (seed, (colours, longest_run)) in (0..60).zip(kinds.into_iter().cycle()) {
        let surface = noise(seed, 200, 150, colours, longest_run);
        let rect = some_rect(&mut random, &surface);

        let bytes = encoded(&mut encoder, &surface, rect, None);
        eye.picture = Surface::new(200, 150);
        eye.see(&update(rect, &bytes));

        assert!(eye.picture == only(&surface, rect), "{colours} colours in runs up to {longest_run}, {rect:?}");
    }
}

#[test]
fn small_rectangles_are_not_compressed() {
    let (mut encoder, mut eye) = (Encoder::new(1), Eye::new(3, 1));
    let surface = Surface { width: 3, height: 1, pixels: vec![0x0001_0203, 0x0004_0506, 0x0007_0809] };

    let bytes = encoded(&mut encoder, &surface, surface.bounds().unwrap(), None);
    eye.see(&update(surface.bounds().unwrap(), &bytes));

    assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(eye.picture, surface);
}

#[test]
fn photographs_are_jpeg_only_for_viewers_that_have_named_a_quality() {
    let surface = photograph(256, 128);
    let rect = surface.bounds().unwrap();
    let text = noise(1, 256, 128, 300, 30);

    assert_eq!(encoded(&mut Encoder::new(1), &surface, rect, None)[0], 0);
    let sizes = [0, 5, 9].map(|quality| {
        let bytes = encoded(&mut Encoder::new(1), &surface, rect, Some(quality));
        assert_eq!(bytes[0], control::JPEG);
        bytes.len()
    });
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert_eq!(encoded(&mut Encoder::new(1), &text, rect, Some(9))[0], 0, "text stays sharp");
    let eight_bits = Translator::new(&PixelFormat::BGR233);
    let mut bytes = Vec::new();
    Encoder::new(1).encode(&surface, rect, &eight_bits, Some(9), &mut bytes).unwrap();
    assert_ne!(bytes[0], control::JPEG);
}

#[test]
fn patterns_that_repeat_lose_nothing_and_photographs_after_them_are_jpeg_again() {
    let mut encoder = Encoder::new(4);
    let mut pattern = Surface::new(256, 256);
    for (place, pixel) in (0..).zip(&mut pattern.pixels) {
        *pixel = (((place % 256) ^ (place / 256)) * 0x0001_0305) & 0x00FF_FFFF;
    }
    let mut first_byte = |surface: &Surface| encoded(&mut encoder, surface, surface.bounds().unwrap(), Some(8))[0];

    assert_eq!([first_byte(&pattern), first_byte(&pattern)], [0, 0]);
    let mut noisy = noise(1, 256, 256, 60_000, 1);
    noisy.pixels.iter_mut().for_each(|pixel| *pixel &= 0x000F_0F0F);
    let kinds = [first_byte(&noisy), first_byte(&noisy), first_byte(&noisy)];
    assert_eq!(kinds[1..], [control::JPEG; 2]);
}

#[test]
fn a_viewer_of_16_bits_gets_its_own_pixels() {
    let format =
        PixelFormat { bits_per_pixel: 16, depth: 16, max: [31, 63, 31], shift: [11, 5, 0], ..PixelFormat::NATIVE };
    let surface = Surface { width: 2, height: 1, pixels: vec![0x00FF_0000, 0x0000_00FF] };
    let mut bytes = Vec::new();

    let rect = surface.bounds().unwrap();
    Encoder::new(1).encode(&surface, rect, &Translator::new(&format), None, &mut bytes).unwrap();

    assert_eq!(bytes, [0x50, 1, 1, 0x00, 0xF8, 0x1F, 0x00, 0b0100_0000]);
}

#[test]
fn differences_become_colours() {
    let mut eye = Eye::new(2, 2);
    // Not compressed, with a filter: the first row differs from black, the second from what is expected.
    let body = [0x40, 2, 10, 20, 30, 1, 1, 1, 5, 5, 5, 255, 255, 255];

    eye.see(&update(Rect { x: 0, y: 0, width: 2, height: 1 }, &body[..8]));
    assert_eq!(eye.picture.pixels[..2], [0x000A_141E, 0x000B_151F]);
}

#[test]
fn rectangles_that_contradict_themselves_are_refused() {
    let rect = Rect { x: 0, y: 0, width: 8, height: 8 };
    let mut surface = Surface::new(8, 8);
    let mut decoder = Decoder::default();
    let copy = Body::new(filter::COPY).unwrap();
    let mut two = Body::new(filter::PALETTE).unwrap();
    two.set_palette(&[1, 2, 3]);
    let wide = Rect { width: MAX_WIDTH + 1, ..rect };

    assert_eq!(decoder.begin(control::JPEG), Err(DecodeError::Damaged));
    assert_eq!(decoder.begin(0xA0), Err(DecodeError::Damaged));
    assert_eq!(Body::new(3), Err(DecodeError::Damaged));
    assert_eq!(copy.length(wide), Err(DecodeError::Length("more")));
    assert_eq!(decoder.decode(&copy, None, &[0; 191], rect, &mut surface), Err(DecodeError::Length("fewer")));
    assert_eq!(decoder.decode(&two, None, &[1; 8], rect, &mut surface), Err(DecodeError::Damaged));
    assert!(decoder.decode(&copy, Some(0), &[0xFF; 64], rect, &mut surface).is_err());
}

#[test]
fn a_rectangle_cut_off_anywhere_is_refused() {
    let surface = noise(1, 40, 30, 9000, 3);
    let rect = surface.bounds().unwrap();
    let bytes = encoded(&mut Encoder::new(1), &surface, rect, None);
    let copy = Body::new(filter::COPY).unwrap();
    // After its first byte and its length; the mark of the flush is not needed.
    for length in 0..bytes.len() - 3 - 8 {
        let result = Decoder::default().decode(&copy, Some(0), &bytes[3..3 + length], rect, &mut Surface::new(40, 30));

        assert_eq!(result, Err(DecodeError::Length("fewer")), "cut at {length}");
    }
    let smaller = Rect { height: 29, ..rect };
    let result = Decoder::default().decode(&copy, Some(0), &bytes[3..], smaller, &mut Surface::new(40, 30));
    assert_eq!(result, Err(DecodeError::Length("more")));
}
