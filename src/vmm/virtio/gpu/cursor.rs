//! The pointer's picture, which lies over the screen.

#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::screen::Rect;

/// Width and height of the picture, in pixels (section 5.7.6.10).
pub const CURSOR_SIZE: u32 = 64;

/// A pointer on the screen.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// [`CURSOR_SIZE`]² pixels: how opaque in the highest byte, then red, green and blue, already weighted with it.
    pub pixels: Arc<Vec<u32>>,
    /// Where its left edge is on the screen.
    pub x: i32,
    /// Where its top edge is on the screen.
    pub y: i32,
}

impl Cursor {
    /// Whether it looks the same in the same place.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.x, self.y) == (other.x, other.y) && Arc::ptr_eq(&self.pixels, &other.pixels)
    }

    /// The part of a screen of this size that it covers.
    pub fn covers(&self, width: u32, height: u32) -> Option<Rect> {
        let span = |start: i32, size: u32| {
            let end = i64::from(start) + i64::from(CURSOR_SIZE);
            let start = i64::from(start).clamp(0, size.into());
            let end = end.clamp(start, size.into());
            (end > start).then_some((start as u32, (end - start) as u32))
        };
        let ((x, width), (y, height)) = (span(self.x, width)?, span(self.y, height)?);
        Some(Rect { x, y, width, height })
    }

    /// Draws its part of row `y` over `pixels`, which begin at column `x`.
    pub fn draw_over(&self, x: u32, y: u32, pixels: &mut [u32]) {
        let line = i64::from(y) - i64::from(self.y);
        if !(0..i64::from(CURSOR_SIZE)).contains(&line) {
            return;
        }
        let size = CURSOR_SIZE as usize;
        let picture = self.pixels.get(line as usize * size..(line as usize + 1) * size).unwrap_or(&[]);
        let shift = i64::from(self.x) - i64::from(x);
        // Where the row and the picture begin to overlap, in each of them.
        let (from, skip) = (shift.max(0) as usize, (-shift).max(0) as usize);
        for (pixel, &over) in pixels.iter_mut().skip(from).zip(picture.iter().skip(skip)) {
            *pixel = blend(*pixel, over);
        }
    }
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
        Cursor { pixels: Arc::new(vec![pixel; 64 * 64]), x, y }
    }

    #[test]
    fn opacity_weighs_what_is_under_it() {
        assert_eq!(blend(0x12_34_56, 0xff_aa_bb_cc), 0xaa_bb_cc);
        assert_eq!(blend(0x12_34_56, 0), 0x12_34_56);
        assert_eq!(blend(0xff_00_80, 0x80_40_40_40), 0xbf_40_80);
        assert_eq!(blend(0xff_ff_ff, 0x01_ff_ff_ff), 0xff_ff_ff, "colours that were not weighted do not overflow");
    }

    #[test]
    fn only_what_it_covers_is_drawn_over() {
        let mut row = [1; 70];
        cursor(3, 10, 0xff_00_00_07).draw_over(0, 10, &mut row);
        assert_eq!([row[2], row[3], row[66], row[67]], [1, 7, 7, 1]);

        let mut row = [1; 4];
        cursor(-62, -63, 0xff_00_00_07).draw_over(0, 0, &mut row);
        assert_eq!(row, [7, 7, 1, 1]);
        cursor(0, 1, 0xff_00_00_09).draw_over(0, 0, &mut row);
        assert_eq!(row, [7, 7, 1, 1]);

        let mut row = [1; 4];
        cursor(12, 0, 0xff_00_00_07).draw_over(10, 0, &mut row);
        assert_eq!(row, [1, 1, 7, 7]);
    }

    #[test]
    fn it_covers_what_of_it_is_on_the_screen() {
        assert_eq!(cursor(10, 20, 0).covers(100, 100), Some(Rect { x: 10, y: 20, width: 64, height: 64 }));
        assert_eq!(cursor(-60, 90, 0).covers(100, 100), Some(Rect { x: 0, y: 90, width: 4, height: 10 }));
        assert_eq!(cursor(-64, 0, 0).covers(100, 100), None);
        assert_eq!(cursor(i32::MAX, i32::MIN, 0).covers(100, 100), None);
    }
}
