//! CopyRect: pixels that the viewer has elsewhere on its screen (RFC 6143 section 7.7.2).

use super::DecodeError;
use crate::screen::{Rect, Surface};

/// Appends the place that is copied from.
pub fn encode(x: u16, y: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&x.to_be_bytes());
    out.extend_from_slice(&y.to_be_bytes());
}

/// Reads the place that is copied from.
pub fn parse(bytes: [u8; 4]) -> (u32, u32) {
    let [x1, x2, y1, y2] = bytes;
    (u16::from_be_bytes([x1, x2]).into(), u16::from_be_bytes([y1, y2]).into())
}

/// Copies from (`x`, `y`) to `rect`; the two may overlap.
pub fn apply(x: u32, y: u32, rect: Rect, surface: &mut Surface) -> Result<(), DecodeError> {
    let inside = |x: u32, y: u32| {
        u64::from(x) + u64::from(rect.width) <= u64::from(surface.width)
            && u64::from(y) + u64::from(rect.height) <= u64::from(surface.height)
    };
    if !inside(x, y) || !inside(rect.x, rect.y) {
        return Err(DecodeError::Outside);
    }
    let stride = surface.width as usize;
    let place = |x: u32, y: u32| y as usize * stride + x as usize;
    let mut copy_row = |row: u32| {
        let source = place(x, y + row);
        surface.pixels.copy_within(source..source + rect.width as usize, place(rect.x, rect.y + row));
    };
    // Downwards the last row goes first, so that none is overwritten before it was copied.
    if rect.y > y {
        (0..rect.height).rev().for_each(&mut copy_row)
    } else {
        (0..rect.height).for_each(&mut copy_row)
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::noise;
    use super::*;

    #[test]
    fn pixels_are_copied_whichever_way_they_overlap() {
        for (from_x, from_y, to_x, to_y) in [(0, 0, 3, 2), (3, 2, 0, 0), (2, 0, 0, 1), (0, 0, 0, 3), (1, 1, 2, 1)] {
            let before = noise(3, 10, 10, 500, 1);
            let mut after = before.clone();

            apply(from_x, from_y, Rect { x: to_x, y: to_y, width: 6, height: 7 }, &mut after).unwrap();

            for y in 0..7 {
                let source = &before.row(from_y + y)[from_x as usize..][..6];
                assert_eq!(&after.row(to_y + y)[to_x as usize..][..6], source);
            }
        }
    }

    #[test]
    fn nothing_is_copied_from_or_to_the_outside() {
        let mut surface = Surface::new(10, 10);
        let rect = Rect { x: 0, y: 0, width: 6, height: 6 };

        assert_eq!(apply(5, 0, rect, &mut surface), Err(DecodeError::Outside));
        assert_eq!(apply(0, 5, rect, &mut surface), Err(DecodeError::Outside));
        assert_eq!(apply(0, 0, Rect { x: 5, ..rect }, &mut surface), Err(DecodeError::Outside));
        assert_eq!(apply(0, 0, Rect { y: u32::MAX, ..rect }, &mut surface), Err(DecodeError::Outside));
    }

    #[test]
    fn the_place_is_read_as_it_was_written() {
        let mut bytes = Vec::new();

        encode(300, 65535, &mut bytes);

        assert_eq!(parse(bytes.try_into().unwrap()), (300, 65535));
    }
}
