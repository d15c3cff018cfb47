//! The surface that viewers look at, with the moment at which each of its tiles has changed last.
//!
//! Whatever is drawn is compared with what is there, so that drawing the same pixels again damages nothing.

use super::tiles::{TILE_WIDTH, Tiles};
use super::{Generation, Rect, Surface};

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
        self.draw_as(x, y, pixels, |pixel| pixel);
    }

    /// The same with what stands for pixels, each of which is one as `pixel` says.
    pub fn draw_as<T: Copy>(&mut self, x: usize, y: usize, pixels: &[T], pixel: impl Fn(T) -> u32) {
        let width = self.surface.width as usize;
        if y >= self.surface.height as usize || x >= width {
            return;
        }
        let end = width.min(x + pixels.len());
        let (old, new) = (&mut self.surface.pixels[y * width + x..y * width + end], &pixels[..end - x]);
        let generation = self.generation + 1;
        self.changed |= self.tiles.change(y, generation, |tiles| draw_row(x, old, new, pixel, tiles, generation));
    }

    /// Notes that what is seen in a part of the surface has changed, though its pixels have not.
    pub fn touch(&mut self, part: Rect) {
        let first = part.x as usize / TILE_WIDTH;
        let end = (part.x as usize + part.width as usize).div_ceil(TILE_WIDTH);
        let generation = self.generation + 1;
        for y in part.y..part.y.saturating_add(part.height).min(self.surface.height) {
            self.changed |= self.tiles.change(y as usize, generation, |tiles| {
                let end = end.min(tiles.len());
                let touched = tiles.get_mut(first..end).unwrap_or_default();
                touched.fill(generation);
                !touched.is_empty()
            });
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

/// Makes `old`, which begins at column `x` of its row, the pixels of `new`; tells whether that changes anything, and sets the
/// generation of the tiles where it does.
fn draw_row<T: Copy>(
    x: usize,
    old: &mut [u32],
    new: &[T],
    pixel: impl Fn(T) -> u32,
    tiles: &mut [Generation],
    generation: Generation,
) -> bool {
    let head = (x.next_multiple_of(TILE_WIDTH) - x).min(old.len());
    let (old_head, old) = old.split_at_mut(head);
    let (new_head, new) = new.split_at(head);
    let (old, old_tail) = old.as_chunks_mut::<TILE_WIDTH>();
    let (new, new_tail) = new.as_chunks::<TILE_WIDTH>();
    let first = (x + head) / TILE_WIDTH;
    let mut changed = false;
    for ((old, new), tile) in old.iter_mut().zip(new).zip(&mut tiles[first..]) {
        let new = new.map(&pixel);
        if *old != new {
            *old = new;
            *tile = generation;
            changed = true;
        }
    }
    for (tile, old, new) in [(x / TILE_WIDTH, old_head, new_head), (first + old.len(), old_tail, new_tail)] {
        for (old, new) in old.iter_mut().zip(new.iter().copied().map(&pixel)) {
            if *old != new {
                *old = new;
                tiles[tile] = generation;
                changed = true;
            }
        }
    }
    changed
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
        assert_eq!(shadow.damage(first), [rect(128, 16, 8, 2)]);
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

        assert_eq!(shadow.damage(before), [rect(56, 14, 16, 4)]);
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

        assert_eq!(shadow.damage(late), [rect(64, 16, 8, 2)]);
        assert_eq!(shadow.damage(early), [rect(0, 0, 8, 2), rect(64, 16, 8, 2)]);
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

        assert_eq!(shadow.damage(before), [rect(64, 0, 8, 2)]);
    }

    #[test]
    fn whoever_copies_the_damage_has_every_pixel_and_hardly_more() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20 {
            let (width, height) = (random.u32(1..100), random.u32(1..40));
            let mut shadow = Shadow::new(0);
            shadow.resize(width, height);
            let mut seen = shadow.finish();
            let mut copy = Surface::new(width, height);
            for _ in 0..50 {
                let before = shadow.surface().clone();
                for _ in 0..random.usize(..4) {
                    let pixels: Vec<u32> = (0..random.usize(1..40)).map(|_| random.u32(..3)).collect();
                    shadow.draw(random.usize(..100), random.usize(..40), &pixels);
                    shadow.finish();
                }
                let damage = shadow.damage(seen);
                seen = shadow.finish();

                for rect in damage {
                    let mut different = false;
                    for y in rect.y..rect.y + rect.height {
                        for x in rect.x..rect.x + rect.width {
                            let place = (y * width + x) as usize;
                            different |= before.pixels[place] != shadow.surface().pixels[place];
                            copy.pixels[place] = shadow.surface().pixels[place];
                        }
                    }
                    assert!(different || rect.width * rect.height <= 64, "{rect:?} is too much");
                }
                assert!(copy == *shadow.surface());
            }
        }
    }
}
