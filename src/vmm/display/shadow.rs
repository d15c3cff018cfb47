//! The surface that viewers look at, with the moment at which each of its tiles has changed last.
//!
//! Whatever is drawn is compared with what is there, so that drawing the same pixels again damages nothing.

#![forbid(unsafe_code)]

use super::damage::{TILE_WIDTH, Tiles};
use crate::screen::{Generation, Rect, Surface};

/// A surface that knows its damage.
#[derive(Debug, Default)]
pub struct Shadow {
    surface: Surface,
    tiles: Tiles,
    generation: Generation,
    changed: bool,
}

impl Shadow {
    /// An empty surface whose first change comes after `generation`.
    pub fn new(generation: Generation) -> Self {
        Self { generation, ..Self::default() }
    }

    /// The surface.
    pub fn surface(&self) -> &Surface {
        &self.surface
    }

    /// The surface, for something that is put over it for a moment.
    pub fn surface_mut(&mut self) -> &mut Surface {
        &mut self.surface
    }

    /// What has changed after `since`.
    pub fn damage(&self, since: Generation) -> Vec<Rect> {
        self.tiles.after(since)
    }

    /// Makes the surface `width` × `height` pixels, black and all damaged, unless it has that size already. Says whether it
    /// has changed.
    pub fn resize(&mut self, width: u32, height: u32) -> bool {
        if (self.surface.width, self.surface.height) == (width, height) {
            return false;
        }
        // The old pixels go before the new ones come: only one surface is ever in memory.
        self.surface = Surface::default();
        self.surface = Surface::new(width, height);
        self.tiles = Tiles::new(width, height, self.generation + 1);
        self.changed = true;
        true
    }

    /// Draws `pixels` from column `x` of row `y`; what is outside the surface is cut off.
    pub fn draw(&mut self, x: usize, y: usize, pixels: &[u32]) {
        let width = self.surface.width as usize;
        if y >= self.surface.height as usize || x >= width {
            return;
        }
        let end = width.min(x + pixels.len());
        let row = &mut self.surface.pixels[y * width..(y + 1) * width];
        let tiles = self.tiles.row_mut(y);
        let mut from = x;
        while from < end {
            let tile = from / TILE_WIDTH;
            let to = end.min((tile + 1) * TILE_WIDTH);
            let (old, new) = (&mut row[from..to], &pixels[from - x..to - x]);
            if *old != *new {
                old.copy_from_slice(new);
                tiles[tile] = self.generation + 1;
                self.changed = true;
            }
            from = to;
        }
    }

    /// Notes that what is seen in a part of the surface has changed, though its pixels have not.
    pub fn touch(&mut self, part: Rect) {
        let first = part.x as usize / TILE_WIDTH;
        let end = (part.x as usize + part.width as usize).div_ceil(TILE_WIDTH);
        for y in part.y..part.y.saturating_add(part.height).min(self.surface.height) {
            for tile in self.tiles.row_mut(y as usize).iter_mut().take(end).skip(first) {
                *tile = self.generation + 1;
                self.changed = true;
            }
        }
    }

    /// Makes everything black.
    pub fn blank(&mut self) {
        let black = vec![0; self.surface.width as usize];
        for y in 0..self.surface.height as usize {
            self.draw(0, y, &black);
        }
    }

    /// Ends a round of drawing and returns the generation that the surface has now.
    pub fn finish(&mut self) -> Generation {
        self.generation += Generation::from(std::mem::take(&mut self.changed));
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn one_pixel_damages_only_its_tile() {
        let mut shadow = Shadow::new(0);
        shadow.resize(200, 50);
        let first = shadow.finish();

        shadow.draw(130, 17, &[0xff_ffff]);
        let second = shadow.finish();

        assert_eq!(shadow.damage(0), [rect(0, 0, 200, 50)]);
        assert_eq!(shadow.damage(first), [rect(128, 16, 64, 16)]);
        assert_eq!(shadow.damage(second), []);
    }

    #[test]
    fn equal_pixels_damage_nothing() {
        let mut shadow = Shadow::new(7);
        shadow.resize(64, 16);
        shadow.draw(0, 3, &[5; 64]);
        let before = shadow.finish();

        shadow.draw(0, 3, &[5; 64]);
        shadow.draw(10, 3, &[5; 3]);

        assert_eq!(shadow.finish(), before);
        assert_eq!(before, 8);
    }

    #[test]
    fn what_is_touched_is_damaged_and_keeps_its_pixels() {
        let mut shadow = Shadow::new(0);
        shadow.resize(200, 50);
        let before = shadow.finish();

        shadow.touch(rect(60, 15, 5, 2));
        shadow.touch(rect(0, u32::MAX, 5, 5));
        shadow.finish();

        assert_eq!(shadow.damage(before), [rect(0, 0, 128, 32)]);
        assert_eq!(shadow.surface(), &Surface::new(200, 50));
    }

    #[test]
    fn two_viewers_see_what_each_has_missed() {
        let mut shadow = Shadow::new(0);
        shadow.resize(128, 32);
        let early = shadow.finish();
        shadow.draw(0, 0, &[1]);
        let late = shadow.finish();
        shadow.draw(64, 16, &[1]);
        shadow.finish();

        assert_eq!(shadow.damage(late), [rect(64, 16, 64, 16)]);
        assert_eq!(shadow.damage(early), [rect(0, 0, 64, 16), rect(64, 16, 64, 16)]);
    }

    #[test]
    fn a_new_size_damages_everything_and_forgets_the_old_pixels() {
        let mut shadow = Shadow::new(0);
        shadow.resize(64, 16);
        shadow.draw(0, 0, &[1; 64]);
        let before = shadow.finish();

        assert!(shadow.resize(32, 32));
        assert!(!shadow.resize(32, 32));
        shadow.finish();

        assert_eq!(shadow.damage(before), [rect(0, 0, 32, 32)]);
        assert_eq!(shadow.surface(), &Surface::new(32, 32));
    }

    #[test]
    fn what_is_outside_is_cut_off() {
        let mut shadow = Shadow::new(0);
        shadow.resize(10, 2);

        shadow.draw(8, 1, &[1, 2, 3, 4]);
        shadow.draw(10, 1, &[9]);
        shadow.draw(0, 2, &[9]);

        assert_eq!(shadow.surface().row(1), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_blank_screen_damages_what_was_not_black() {
        let mut shadow = Shadow::new(0);
        shadow.resize(128, 16);
        shadow.draw(64, 0, &[1]);
        let before = shadow.finish();

        shadow.blank();
        shadow.finish();

        assert_eq!(shadow.damage(before), [rect(64, 0, 64, 16)]);
    }
}
