//! Small pictures of guests' screens, made of what their workers send, and when to ask for the next ones.

use std::time::{Duration, Instant};

use gtk::{gdk, glib, prelude::*};

/// How large they are at most, in pixels: for displays that have two of them for a logical one.
const LARGEST: (usize, usize) = (128, 96);
/// A larger screen is none.
const MOST_PIXELS: usize = 1 << 26;
/// How often somebody looks which picture is to be renewed.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How old a picture becomes.
const OLD: Duration = Duration::from_secs(10);
/// So many that were never seen are asked for at once.
const NEW_AT_ONCE: usize = 4;

/// A picture in small.
#[derive(Debug, PartialEq, Eq)]
pub struct Thumbnail {
    width: usize,
    height: usize,
    /// Blue, green, red and a full opacity, line after line: what cairo draws without another look at each pixel.
    pixels: Vec<u8>,
}

impl Thumbnail {
    /// Makes the picture in a PNG file small; `None` if it cannot be read.
    pub fn of_png(bytes: &[u8]) -> Option<Self> {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().ok()?;
        let (width, height) = (reader.info().width as usize, reader.info().height as usize);
        if width.checked_mul(height)? > MOST_PIXELS || reader.output_color_type().0 != png::ColorType::Rgb {
            return None;
        }
        let mut pixels = vec![0; reader.output_buffer_size()?];
        reader.next_frame(&mut pixels).ok()?;
        Self::shrunk(width, height, &pixels)
    }

    /// Each pixel is the mean of those that it stands for.
    fn shrunk(width: usize, height: usize, pixels: &[u8]) -> Option<Self> {
        let by = width.div_ceil(LARGEST.0).max(height.div_ceil(LARGEST.1)).max(1);
        let (small_width, small_height) = (width / by, height / by);
        if small_width == 0 || small_height == 0 {
            return None;
        }
        let mut small = Vec::with_capacity(small_width * small_height * 4);
        for y in 0..small_height {
            for x in 0..small_width {
                let mut sums = [0u32; 3];
                for line in 0..by {
                    let start = ((y * by + line) * width + x * by) * 3;
                    for pixel in pixels.get(start..start + by * 3)?.chunks_exact(3) {
                        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
                    }
                }
                let [red, green, blue] = sums.map(|sum| (sum / (by * by) as u32) as u8);
                small.extend([blue, green, red, u8::MAX]);
            }
        }
        Some(Self { width: small_width, height: small_height, pixels: small })
    }

    /// For GTK.
    pub fn texture(self) -> Option<gdk::Texture> {
        let (width, height) = (i32::try_from(self.width).ok()?, i32::try_from(self.height).ok()?);
        let bytes = glib::Bytes::from_owned(self.pixels);
        Some(
            gdk::MemoryTexture::new(width, height, gdk::MemoryFormat::B8g8r8a8Premultiplied, &bytes, self.width * 4)
                .upcast(),
        )
    }
}

/// Of what is on the screen, each with the moment when it was last asked for: those to ask for now. What was never asked for comes
/// first; of the others one at a time, so that many guests cost no more than few.
pub fn due<T>(shown: Vec<(T, Option<Instant>)>, now: Instant) -> Vec<T> {
    let (new, mut old): (Vec<_>, Vec<_>) = shown.into_iter().partition(|(_, asked)| asked.is_none());
    if !new.is_empty() {
        return new.into_iter().take(NEW_AT_ONCE).map(|(id, _)| id).collect();
    }
    old.retain(|(_, asked)| asked.is_some_and(|asked| now.duration_since(asked) >= OLD));
    old.into_iter().min_by_key(|(_, asked)| *asked).map(|(id, _)| id).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_becomes_small_with_the_same_colours() {
        let (width, height) = (640, 400);
        let mut pixels = vec![0; width * height * 3];
        pixels.chunks_exact_mut(3).enumerate().for_each(|(index, pixel)| {
            pixel.copy_from_slice(if index % width < 320 { &[200, 100, 50] } else { &[0, 0, 255] });
        });

        let small = Thumbnail::shrunk(width, height, &pixels).unwrap();

        assert_eq!((small.width, small.height), (128, 80));
        assert_eq!(
            (&small.pixels[..4], &small.pixels[small.pixels.len() - 4..]),
            (&[50, 100, 200, 255][..], &[255, 0, 0, 255][..])
        );
    }

    #[test]
    fn what_is_no_picture_gives_none() {
        assert_eq!(Thumbnail::of_png(b"\x89PNG\r\n\x1a\nbut no more"), None);
        assert_eq!(Thumbnail::shrunk(100, 100, &[0; 30]), None);
    }

    #[test]
    fn new_pictures_come_first_and_old_ones_one_at_a_time() {
        let now = Instant::now() + 2 * OLD;
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));

        assert_eq!(due(vec![("a", ago(15)), ("b", None), ("c", None)], now), ["b", "c"]);
        assert_eq!(due(vec![("a", ago(12)), ("b", ago(15)), ("c", ago(1))], now), ["b"]);
        assert_eq!(due(vec![("c", ago(1))], now), [""; 0]);
    }
}
