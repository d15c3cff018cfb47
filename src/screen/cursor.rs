//! The pointer over a guest's picture, when the graphics card draws it: viewers may do that in its place, without waiting
//! for a new picture whenever it moves.

use std::sync::Arc;

use super::{Rect, Surface};

/// How a pointer looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CursorImage {
    /// Width in pixels; 0 when nothing is to be seen.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The pixel of it that points.
    pub hot_spot: (u32, u32),
    /// `width * height` pixels: how opaque in the highest byte, then red, green and blue, already weighted with it.
    pub pixels: Vec<u32>,
}

/// A pointer on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// How it looks.
    pub image: Arc<CursorImage>,
    /// Where its left edge is on the screen.
    pub x: i32,
    /// Where its top edge is on the screen.
    pub y: i32,
}

/// What of a surface was under a pointer that was drawn on it.
pub struct Under {
    rect: Rect,
    pixels: Vec<u32>,
}

impl CursorImage {
    /// Row `y`; empty when there is no such row.
    fn row(&self, y: u32) -> &[u32] {
        let width = self.width as usize;
        let start = y as usize * width;
        self.pixels.get(start..start + width).unwrap_or(&[])
    }
}

impl Cursor {
    /// The pixel of the screen that it points to.
    pub fn points_to(&self) -> (i32, i32) {
        let along = |start: i32, hot: u32| start.saturating_add(i32::try_from(hot).unwrap_or(0));
        (along(self.x, self.image.hot_spot.0), along(self.y, self.image.hot_spot.1))
    }

    /// The part of a screen of this size that it covers.
    pub fn covers(&self, width: u32, height: u32) -> Option<Rect> {
        let span = |start: i32, length: u32, size: u32| {
            let end = i64::from(start) + i64::from(length);
            let start = i64::from(start).clamp(0, size.into());
            let end = end.clamp(start, size.into());
            (end > start).then_some((start as u32, (end - start) as u32))
        };
        let ((x, width), (y, height)) =
            (span(self.x, self.image.width, width)?, span(self.y, self.image.height, height)?);
        Some(Rect { x, y, width, height })
    }

    /// Draws it on a surface; what was there before can be put back.
    pub fn draw_on(&self, surface: &mut Surface) -> Option<Under> {
        let rect = self.covers(surface.width, surface.height)?;
        let mut under = Vec::with_capacity(rect.width as usize * rect.height as usize);
        for y in rect.y..rect.y + rect.height {
            // What it covers lies inside of it.
            let column = (i64::from(rect.x) - i64::from(self.x)) as usize;
            let line = (i64::from(y) - i64::from(self.y)) as u32;
            let over = self.image.row(line).get(column..).unwrap_or(&[]);
            let row = part_mut(surface, rect, y);
            under.extend_from_slice(row);
            for (pixel, over) in row.iter_mut().zip(over) {
                *pixel = blend(*pixel, *over);
            }
        }
        Some(Under { rect, pixels: under })
    }
}

impl Under {
    /// Takes the pointer off the surface that it was drawn on.
    pub fn put_back(&self, surface: &mut Surface) {
        for (y, pixels) in (self.rect.y..).zip(self.pixels.chunks(self.rect.width as usize)) {
            part_mut(surface, self.rect, y).copy_from_slice(pixels);
        }
    }
}

/// The pixels of row `y` in a rectangle that lies on the surface.
fn part_mut(surface: &mut Surface, rect: Rect, y: u32) -> &mut [u32] {
    let start = y as usize * surface.width as usize + rect.x as usize;
    &mut surface.pixels[start..start + rect.width as usize]
}

/// `over`, whose components are weighted with its opacity, on top of `under`.
fn blend(under: u32, over: u32) -> u32 {
    let transparency = 255 - (over >> 24);
    let component = |shift: u32| {
        let under = (under >> shift & 0xff) * transparency;
        // Division by 255, rounded.
        let rest = (under + 128 + ((under + 128) >> 8)) >> 8;
        ((over >> shift & 0xff) + rest).min(255) << shift
    };
    component(16) | component(8) | component(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(x: i32, y: i32, pixel: u32) -> Cursor {
        let image = CursorImage { width: 64, height: 64, hot_spot: (3, 5), pixels: vec![pixel; 64 * 64] };
        Cursor { image: Arc::new(image), x, y }
    }

    #[test]
    fn opacity_weighs_what_is_under_it() {
        assert_eq!(blend(0x12_34_56, 0xff_aa_bb_cc), 0xaa_bb_cc);
        assert_eq!(blend(0x12_34_56, 0), 0x12_34_56);
        assert_eq!(blend(0xff_00_80, 0x80_40_40_40), 0xbf_40_80);
        assert_eq!(blend(0xff_ff_ff, 0x01_ff_ff_ff), 0xff_ff_ff, "colours that were not weighted do not overflow");
    }

    #[test]
    fn only_what_it_covers_is_drawn_over_and_can_be_put_back() {
        for (x, y, columns, rows) in [(97, 0, 97..100, 0..10), (-60, -63, 0..4, 0..1), (30, 9, 30..94, 9..10)] {
            let before = Surface { width: 100, height: 10, pixels: vec![1; 1000] };
            let mut surface = before.clone();

            let under = cursor(x, y, 0xff_00_00_07).draw_on(&mut surface).unwrap();

            for (place, pixel) in (0..).zip(&surface.pixels) {
                let covered = columns.contains(&(place % 100)) && rows.contains(&(place / 100));
                assert_eq!(*pixel, if covered { 7 } else { 1 }, "pixel {place}, the pointer at {x}, {y}");
            }
            under.put_back(&mut surface);
            assert_eq!(surface, before, "the pointer at {x}, {y}");
        }
    }

    #[test]
    fn it_covers_what_of_it_is_on_the_screen() {
        assert_eq!(cursor(10, 20, 0).covers(100, 100), Some(Rect { x: 10, y: 20, width: 64, height: 64 }));
        assert_eq!(cursor(-60, 90, 0).covers(100, 100), Some(Rect { x: 0, y: 90, width: 4, height: 10 }));
        assert_eq!(cursor(-64, 0, 0).covers(100, 100), None);
        assert_eq!(cursor(i32::MAX, i32::MIN, 0).covers(100, 100), None);
        assert!(cursor(100, 0, 0).draw_on(&mut Surface::new(100, 100)).is_none());
    }

    #[test]
    fn it_points_with_its_hot_spot() {
        assert_eq!(cursor(10, -2, 0).points_to(), (13, 3));
        assert_eq!(cursor(i32::MAX, 0, 0).points_to(), (i32::MAX, 5));
    }
}
