//! The guest's pointer at one viewer: how it looks, for viewers that draw it themselves, and where it points to.
//!
//! A viewer draws the pointer where its person has it. That is right only while the guest's pointer goes where it is told;
//! else, and for viewers that can't, the pointer is part of the picture.

use super::order::CursorKind;
use crate::rfb::pixel_format::Translator;
use crate::rfb::protocol::{Encoding, WireRect};
use crate::screen::cursor::{Cursor, CursorImage};
use std::sync::Arc;

/// From this opacity on a pixel is there, for viewers that know nothing in between.
const OPAQUE: u32 = 128;

/// What a viewer knows of the pointer.
#[derive(Default)]
pub(super) struct ViewersCursor {
    /// How it looks, if the viewer draws it.
    known: Option<Arc<CursorImage>>,
    /// The viewer was not told that yet.
    due: bool,
    /// Where it pointed to when that was asked last.
    place: Option<(i32, i32)>,
}

impl ViewersCursor {
    /// Notes how the pointer is now, for a viewer that draws it (`drawn`) or does not.
    pub(super) fn follow(&mut self, cursor: Option<&Cursor>, drawn: bool) {
        let image = cursor.filter(|_| drawn).map(|cursor| Arc::clone(&cursor.image));
        if self.known != image {
            self.known = image;
            self.due = true;
        }
    }

    /// Whether the viewer must be told how the pointer looks.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Where the pointer points to, if that is elsewhere than it was.
    pub(super) fn moved(&mut self, cursor: Option<&Cursor>) -> Option<(i32, i32)> {
        let place = cursor.map(Cursor::points_to)?;
        (self.place.replace(place) != Some(place)).then_some(place)
    }

    /// Appends the rectangle that tells how the pointer looks.
    pub(super) fn write(&mut self, kind: CursorKind, translator: &Translator, out: &mut Vec<u8>) {
        self.due = false;
        // Of nothing there is nothing to be seen.
        let image = self.known.clone().unwrap_or_default();
        let narrow = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
        let (x, y) = image.hot_spot;
        let rect = WireRect { x: narrow(x), y: narrow(y), width: narrow(image.width), height: narrow(image.height) };
        match kind {
            CursorKind::Alpha => {
                rect.write_header(Encoding::CURSOR_WITH_ALPHA, out);
                out.extend_from_slice(&Encoding::RAW.0.to_be_bytes());
                out.extend(image.pixels.iter().flat_map(|pixel| {
                    let [alpha, red, green, blue] = pixel.to_be_bytes();
                    [red, green, blue, alpha]
                }));
            }
            CursorKind::Mask => {
                rect.write_header(Encoding::CURSOR, out);
                let colours: Vec<u32> = image.pixels.iter().map(|pixel| unweighted(*pixel)).collect();
                translator.write_pixels(&colours, out);
                for row in image.pixels.chunks(image.width.max(1) as usize) {
                    out.extend(row.chunks(8).map(mask));
                }
            }
        }
    }
}

/// The colour of a pixel whose components are weighted with its opacity.
fn unweighted(pixel: u32) -> u32 {
    let alpha = pixel >> 24;
    let component = |shift: u32| ((pixel >> shift & 0xFF) * 255 / alpha.max(1)).min(255) << shift;
    component(16) | component(8) | component(0)
}

/// A bit for each of up to eight pixels that are there, from the highest bit down.
fn mask(pixels: &[u32]) -> u8 {
    pixels.iter().zip((0..8).rev()).fold(0, |mask, (pixel, bit)| mask | u8::from(pixel >> 24 >= OPAQUE) << bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfb::pixel_format::PixelFormat;

    fn cursor(pixels: Vec<u32>) -> Cursor {
        let image = CursorImage { width: 3, height: 1, hot_spot: (2, 0), pixels };
        Cursor { image: Arc::new(image), x: 10, y: 20 }
    }

    fn written(viewers: &mut ViewersCursor, kind: CursorKind) -> Vec<u8> {
        let mut bytes = Vec::new();
        viewers.write(kind, &Translator::new(&PixelFormat::NATIVE), &mut bytes);
        bytes
    }

    #[test]
    fn the_viewer_is_told_once_how_the_pointer_looks() {
        let (mut viewers, pointer) = (ViewersCursor::default(), cursor(vec![1, 2, 3]));

        viewers.follow(None, true);
        assert!(!viewers.is_due(), "a guest without a pointer says nothing");
        viewers.follow(Some(&pointer), true);
        assert!(viewers.is_due());
        written(&mut viewers, CursorKind::Alpha);
        viewers.follow(Some(&Cursor { x: 11, ..cursor(vec![1, 2, 3]) }), true);
        assert!(!viewers.is_due(), "it looks the same elsewhere");

        viewers.follow(Some(&pointer), false);
        assert!(viewers.is_due());
        assert_eq!(written(&mut viewers, CursorKind::Alpha), b"\0\0\0\0\0\0\0\0\xFF\xFF\xFE\xC6\0\0\0\0");
    }

    #[test]
    fn opacity_is_told_or_becomes_a_mask() {
        let (mut viewers, pointer) = (ViewersCursor::default(), cursor(vec![0xFF11_2233, 0x8010_2040, 0x7F01_0203]));
        viewers.follow(Some(&pointer), true);

        let alpha = written(&mut viewers, CursorKind::Alpha);
        let masked = written(&mut viewers, CursorKind::Mask);

        assert_eq!(alpha[..16], *b"\0\x02\0\0\0\x03\0\x01\xFF\xFF\xFE\xC6\0\0\0\0");
        assert_eq!(alpha[16..], [0x11, 0x22, 0x33, 0xFF, 0x10, 0x20, 0x40, 0x80, 1, 2, 3, 0x7F]);
        assert_eq!(masked[..12], *b"\0\x02\0\0\0\x03\0\x01\xFF\xFF\xFF\x11");
        assert_eq!(masked[12..], [0x33, 0x22, 0x11, 0, 0x7F, 0x3F, 0x1F, 0, 6, 4, 2, 0, 0b1100_0000]);
    }

    #[test]
    fn a_place_is_told_when_it_is_another() {
        let (mut viewers, pointer) = (ViewersCursor::default(), cursor(vec![0; 3]));

        assert_eq!([viewers.moved(Some(&pointer)), viewers.moved(Some(&pointer))], [Some((12, 20)), None]);
        assert_eq!(viewers.moved(None), None);
    }
}
