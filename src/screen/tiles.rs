//! When each tile of a surface has changed last.

use std::ops::Range;

use super::{Generation, Rect};

/// Width of a tile in pixels: that of a character.
pub const TILE_WIDTH: usize = 8;
/// Height of a tile in pixels. A tile takes 8 bytes, an eighth of its pixels.
pub const TILE_HEIGHT: usize = 2;

/// The tiles of a surface.
#[derive(Debug, Default)]
pub struct Tiles {
    width: u32,
    height: u32,
    columns: usize,
    changed: Vec<Generation>,
    /// When any tile of each row of tiles has changed last.
    rows: Vec<Generation>,
}

impl Tiles {
    /// The tiles of a surface of this size, all changed at `generation`.
    pub fn new(width: u32, height: u32, generation: Generation) -> Self {
        let columns = (width as usize).div_ceil(TILE_WIDTH);
        let rows = (height as usize).div_ceil(TILE_HEIGHT);
        Self { width, height, columns, changed: vec![generation; columns * rows], rows: vec![generation; rows] }
    }

    /// Changes some of the tiles of pixel row `y` at `generation`: `change` is given them from left to right, sets those that
    /// have changed, and tells whether there are any.
    pub fn change(&mut self, y: usize, generation: Generation, change: impl FnOnce(&mut [Generation]) -> bool) -> bool {
        let row = y / TILE_HEIGHT;
        let start = row * self.columns;
        let (Some(tiles), Some(newest)) = (self.changed.get_mut(start..start + self.columns), self.rows.get_mut(row))
        else {
            return false;
        };
        let any = change(tiles);
        if any {
            *newest = generation;
        }
        any
    }

    /// What has changed after `since`: disjoint rectangles of tiles, merged where they form larger ones, cut to the surface.
    pub fn after(&self, since: Generation) -> Vec<Rect> {
        let mut done = Vec::new();
        // The rectangles that end with the row above and may grow, from left to right.
        let mut open: Vec<Rect> = Vec::new();
        for (row, newest) in self.rows.iter().enumerate() {
            let mut above = std::mem::take(&mut open).into_iter().peekable();
            if *newest > since {
                let y = (row * TILE_HEIGHT) as u32;
                let height = (TILE_HEIGHT as u32).min(self.height - y);
                for columns in runs(&self.changed[row * self.columns..(row + 1) * self.columns], since) {
                    let x = (columns.start * TILE_WIDTH) as u32;
                    let width = ((columns.end * TILE_WIDTH) as u32).min(self.width) - x;
                    while let Some(rect) = above.next_if(|rect| rect.x < x) {
                        done.push(rect);
                    }
                    match above.next_if(|rect| rect.x == x && rect.width == width) {
                        Some(rect) => open.push(Rect { height: rect.height + height, ..rect }),
                        None => open.push(Rect { x, y, width, height }),
                    }
                }
            }
            done.extend(above);
        }
        done.extend(open);
        done
    }
}

/// The runs of tiles of one row that changed after `since`.
fn runs(changed: &[Generation], since: Generation) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next + changed[next..].iter().position(|&generation| generation > since)?;
        let len = changed[start..].iter().position(|&generation| generation <= since);
        next = len.map_or(changed.len(), |len| start + len);
        Some(start..next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn everything_is_one_rectangle() {
        let tiles = Tiles::new(101, 41, 3);

        assert_eq!(tiles.after(0), [rect(0, 0, 101, 41)]);
        assert_eq!(tiles.after(2), [rect(0, 0, 101, 41)]);
        assert_eq!(tiles.after(3), []);
    }

    #[test]
    fn equal_runs_grow_downwards_and_others_stay_apart() {
        let mut tiles = Tiles::new(8 * 5, 2 * 4, 1);
        for (x, y) in [(0, 0), (2, 0), (3, 0), (0, 1), (2, 1), (3, 1), (4, 1), (2, 3)] {
            tiles.change(y * TILE_HEIGHT, 2, |row| {
                row[x] = 2;
                true
            });
        }

        let mut damage = tiles.after(1);
        damage.sort_by_key(|rect| (rect.y, rect.x));

        assert_eq!(damage, [rect(0, 0, 8, 4), rect(16, 0, 16, 2), rect(16, 2, 24, 2), rect(16, 6, 8, 2)]);
    }

    #[test]
    fn a_surface_without_pixels_has_no_damage() {
        assert_eq!(Tiles::new(0, 0, 1).after(0), []);
        assert_eq!(Tiles::new(0, 10, 1).after(0), []);
    }

    #[test]
    fn outside_there_are_no_tiles() {
        let mut tiles = Tiles::new(8, 3, 1);

        assert!(!tiles.change(4, 2, |_| true));
        assert_eq!(tiles.after(1), []);
    }
}
