//! What a guest's screen is: pixels, rectangles and what has changed. The engine draws it, RFB sends it, the application
//! and `screendump` show it; this module knows none of them.

#![forbid(unsafe_code)]

pub mod canvas;
pub mod cursor;
pub mod heads;
pub mod shadow;
mod tiles;

use cursor::Cursor;

/// A rectangle of the screen, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width, not 0.
    pub width: u32,
    /// Height, not 0.
    pub height: u32,
}

impl Rect {
    /// What of it lies in a picture of this size, if anything.
    pub fn within(self, width: u32, height: u32) -> Option<Self> {
        self.intersection(Self { x: 0, y: 0, width, height })
    }

    /// The pixels that it and another have in common, if there are any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let common = |start: u32, length: u32, others_start: u32, others_length: u32| {
            let first = start.max(others_start);
            let end = start.saturating_add(length).min(others_start.saturating_add(others_length));
            Some((first, end.checked_sub(first).filter(|&length| length > 0)?))
        };
        let (x, width) = common(self.x, self.width, other.x, other.width)?;
        let (y, height) = common(self.y, self.height, other.y, other.height)?;
        Some(Self { x, y, width, height })
    }

    /// The smallest rectangle around it and another.
    pub fn around(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = self.x.saturating_add(self.width).max(other.x.saturating_add(other.width));
        let bottom = self.y.saturating_add(self.height).max(other.y.saturating_add(other.height));
        Self { x, y, width: right - x, height: bottom - y }
    }

    /// Whether it and another have a pixel in common.
    pub fn meets(self, other: Self) -> bool {
        self.intersection(other).is_some()
    }
}

/// A picture in memory: one `u32` a pixel, `0x00RRGGBB`, rows from the top without gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surface {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height` pixels.
    pub pixels: Vec<u32>,
}

impl Surface {
    /// A black surface.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, pixels: vec![0; width as usize * height as usize] }
    }

    /// Row `y`; empty when there is no such row.
    pub fn row(&self, y: u32) -> &[u32] {
        let width = self.width as usize;
        let start = y as usize * width;
        self.pixels.get(start..start + width).unwrap_or(&[])
    }

    /// The whole surface as a rectangle, or `None` when it has no pixels.
    pub fn bounds(&self) -> Option<Rect> {
        (self.width > 0 && self.height > 0).then_some(Rect { x: 0, y: 0, width: self.width, height: self.height })
    }
}

/// A moment in the life of a screen: grows with every change that a [`Screen::refresh`] has found.
pub type Generation = u64;

/// A screen that viewers can look at. Each viewer remembers the generation it has seen and asks for what came after; a slow
/// viewer therefore costs nothing to the others.
pub trait Screen: Send + Sync {
    /// Brings the surface up to date with what the guest has drawn and returns the generation it now has. Cheap when
    /// nothing has changed (a look at the dirty log).
    fn refresh(&self) -> Generation;

    /// Calls `look` with the surface and the rectangles (disjoint, inside the surface) that have changed after `since`; 0
    /// means everything. Returns the generation that was shown. A change of size damages everything.
    fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation;

    /// The same, but without the pointer that [`Self::cursor`] tells of. Where that is, or was, may be damaged too.
    fn look_without_cursor(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.look(since, look)
    }

    /// The pointer that lies over the picture, as of the last [`Self::refresh`]; `None` when the guest shows none or draws
    /// it into the picture itself.
    fn cursor(&self) -> Option<Cursor> {
        None
    }

    /// A viewer has come: the surface must be kept from now on.
    fn attach(&self);

    /// A viewer has gone. When it was the last one the surface's memory may be given back.
    fn detach(&self);

    /// Whether the guest has switched the screen on. A machine with two graphics cards shows the one that is.
    fn is_shown(&self) -> bool {
        true
    }

    /// Whether the guest is told of a preferred size while it runs.
    fn follows_preferred_size(&self) -> bool {
        false
    }

    /// A viewer would like the screen to have this size, in pixels: that of its window. The guest may follow or not.
    fn set_preferred_size(&self, _width: u32, _height: u32) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_picture_is_cut_off() {
        let rect = Rect { x: 10, y: 20, width: 30, height: u32::MAX };

        assert_eq!(rect.within(100, 50), Some(Rect { height: 30, ..rect }));
        assert_eq!(rect.within(15, 50), Some(Rect { width: 5, height: 30, ..rect }));
        assert_eq!([rect.within(10, 50), rect.within(9, 50), rect.within(100, 20)], [None; 3]);
    }

    #[test]
    fn rectangles_that_only_touch_have_no_pixel_in_common() {
        let rect = Rect { x: 10, y: 10, width: 10, height: 10 };

        let others =
            [(0, 0, 10, 10), (20, 10, 1, 1), (19, 19, 1, 1), (0, 0, u32::MAX, u32::MAX), (12, 12, 1, 1), (5, 15, 5, 1)];

        let meets = others.map(|(x, y, width, height)| rect.meets(Rect { x, y, width, height }));
        assert_eq!(meets, [false, false, true, true, true, false]);
    }
}
