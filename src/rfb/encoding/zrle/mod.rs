//! ZRLE: tiles of 64 by 64 pixels, each as pixels, one colour, a packed palette or runs, in one zlib stream for the whole
//! connection (RFC 6143 section 7.7.6).

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::{Encoder, is_better_halved};

/// The width and height of a tile.
pub const TILE: u32 = 64;
/// Half of its height.
pub const HALF: u32 = TILE / 2;
/// So many colours may be in a palette of packed pixels; each has at most four bits.
const MAX_PACKED: usize = 16;

/// The first byte of a tile.
mod kind {
    /// Pixels.
    pub const RAW: u8 = 0;
    /// One colour.
    pub const SOLID: u8 = 1;
    /// Runs of pixels.
    pub const RUNS: u8 = 128;
    // 2 to 16 packed pixels, 130 to 255 runs, with a palette of so many (less 128) colours.
}

/// How many bits a packed pixel has.
fn packed_bits(colours: usize) -> usize {
    match colours {
        0..=2 => 1,
        3..=4 => 2,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::super::DecodeError;
    use super::super::tests::{noise, only, some_rect};
    use super::*;
    use crate::rfb::pixel_format::{PixelFormat, Translator};
    use crate::screen::{Rect, Surface};

    fn encoded(encoder: &mut Encoder, surface: &Surface, rect: Rect) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoder.encode(surface, rect, &Translator::new(&PixelFormat::NATIVE), &mut bytes).unwrap();
        let (length, body) = bytes.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, body.len());
        body.to_vec()
    }

    #[test]
    fn what_is_decoded_is_what_was_encoded_by_every_kind_of_tile() {
        // One stream for all, as in a connection.
        let (mut encoder, mut decoder) = (Encoder::new(1), Decoder::new());
        let mut random = fastrand::Rng::with_seed(2);
        let kinds = [(1, 1), (2, 1), (2, 50), (4, 2), (5, 3), (16, 1), (17, 30), (127, 100), (128, 600), (9000, 1)];
        for (seed, (colours, longest_run)) in (0..60).zip(kinds.into_iter().cycle()) {
            let surface = noise(seed, 200, 150, colours, longest_run);
            let rect = some_rect(&mut random, &surface);
            let mut decoded = Surface::new(200, 150);

            let bytes = encoded(&mut encoder, &surface, rect);
            decoder.decode(&bytes, rect, &mut decoded).unwrap();

            assert!(decoded == only(&surface, rect), "{colours} colours in runs up to {longest_run}, {rect:?}");
        }
    }

    #[test]
    fn runs_of_every_length_are_decoded() {
        let (mut encoder, mut decoder) = (Encoder::new(1), Decoder::new());
        for length in [1, 2, 254, 255, 256, 257, 510, 511, 512, 4095] {
            let mut surface = Surface::new(64, 64);
            surface.pixels[..length].fill(0x0012_3456);
            let rect = surface.bounds().unwrap();
            let mut decoded = Surface::new(64, 64);

            let bytes = encoded(&mut encoder, &surface, rect);
            decoder.decode(&bytes, rect, &mut decoded).unwrap();

            assert!(decoded == surface, "a run of {length}");
        }
    }

    #[test]
    fn every_rectangle_of_a_photograph_is_whole_before_the_next() {
        let (mut encoder, mut decoder) = (Encoder::new(1), Decoder::new());
        for seed in 0..40 {
            let mut surface = noise(seed, 600 + seed as u32 * 4, 64, 5000, 1);
            for (index, pixel) in (0..).zip(&mut surface.pixels) {
                *pixel = (*pixel & 0x0003_0303) + ((index / 64) & 0xFF) * 0x0001_0001 / 2;
            }
            let rect = surface.bounds().unwrap();
            let mut decoded = Surface::new(surface.width, surface.height);

            let bytes = encoded(&mut encoder, &surface, rect);
            decoder.decode(&bytes, rect, &mut decoded).unwrap();

            assert!(decoded == surface, "picture {seed}");
        }
    }

    #[test]
    fn a_text_console_becomes_small() {
        let surface = noise(1, 640, 400, 4, 12);
        let rect = surface.bounds().unwrap();

        let bytes = encoded(&mut Encoder::new(1), &surface, rect);

        assert!(bytes.len() < 640 * 400 / 4, "{} bytes", bytes.len());
    }

    #[test]
    fn tiles_with_a_few_colours_too_many_are_better_halved_and_others_are_not() {
        let halved = |surface: &Surface| is_better_halved(surface, surface.bounds().unwrap());
        let with_colours = |colours: u32| {
            let mut surface = Surface::new(64, 64);
            surface.pixels.iter_mut().zip(0..).for_each(|(pixel, at)| *pixel = at * colours / (64 * 64));
            surface
        };

        assert!(!halved(&Surface::new(64, 64)) && !halved(&with_colours(127)), "a palette for all");
        assert!(halved(&with_colours(129)) && halved(&with_colours(250)));
        assert!(!halved(&with_colours(300)) && !halved(&noise(1, 64, 64, 9000, 1)), "no palette for a half either");
        assert!(
            !is_better_halved(&with_colours(250), Rect { x: 0, y: 0, width: 64, height: 32 }),
            "it is a half already"
        );
    }

    #[test]
    fn a_rectangle_cut_off_anywhere_is_refused() {
        let surface = noise(1, 40, 30, 9000, 3);
        let rect = surface.bounds().unwrap();
        let bytes = encoded(&mut Encoder::new(1), &surface, rect);

        // Without its last bytes, the mark of the flush, a rectangle is still whole.
        for length in 0..bytes.len() - 8 {
            let result = Decoder::new().decode(&bytes[..length], rect, &mut Surface::new(40, 30));

            assert_eq!(result, Err(DecodeError::Length("fewer")), "cut at {length}");
        }
    }

    #[test]
    fn more_pixels_than_the_rectangle_has_are_refused() {
        let surface = noise(1, 64, 64, 9000, 1);
        let bytes = encoded(&mut Encoder::new(1), &surface, surface.bounds().unwrap());
        let smaller = Rect { x: 0, y: 0, width: 64, height: 63 };

        let result = Decoder::new().decode(&bytes, smaller, &mut Surface::new(64, 64));

        assert_eq!(result, Err(DecodeError::Length("more")));
    }

    #[test]
    fn garbage_is_refused_and_hurts_nobody() {
        let mut random = fastrand::Rng::with_seed(3);
        let surface = noise(1, 100, 100, 20, 9);
        let rect = surface.bounds().unwrap();
        let good = encoded(&mut Encoder::new(1), &surface, rect);
        for _ in 0..500 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..20) {
                let place = random.usize(..bytes.len());
                bytes[place] = random.u8(..);
            }

            // Some damage is only to colours; the others must be found.
            let _ = Decoder::new().decode(&bytes, rect, &mut Surface::new(100, 100));
        }
        assert!(Decoder::new().decode(&[0xFF; 64], rect, &mut Surface::new(100, 100)).is_err());
    }

    #[test]
    fn tiles_that_contradict_themselves_are_refused() {
        let damaged: [(&str, &[u8]); 7] = [
            ("a kind between the palettes", &[17]),
            ("runs without a kind", &[129, 0, 0, 0]),
            ("a run longer than its tile", &[kind::RUNS, 1, 2, 3, 4]),
            ("a run that goes on and on", &[kind::RUNS, 1, 2, 3, 255, 255, 255, 255, 255, 255, 255, 0]),
            ("a packed colour that the palette lacks", &[3, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0xFF, 0xFF]),
            ("a run of a colour that the palette lacks", &[130, 1, 1, 1, 2, 2, 2, 5, 5, 5, 5]),
            ("a long run of a colour that the palette lacks", &[130, 1, 1, 1, 2, 2, 2, 0x85, 3]),
        ];
        for (what, tile) in damaged {
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut zlib, tile).unwrap();
            let bytes = zlib.finish().unwrap();

            let rect = Rect { x: 0, y: 0, width: 2, height: 2 };
            let result = Decoder::new().decode(&bytes, rect, &mut Surface::new(2, 2));

            assert_eq!(result, Err(DecodeError::Damaged), "{what}");
        }
    }
}
