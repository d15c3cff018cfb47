//! What has changed: pages of video memory that were written, and tiles of the surface that look different since.

#![forbid(unsafe_code)]

use std::ops::Range;

use crate::screen::{Generation, Rect};

/// The unit of KVM's dirty log, in bytes.
pub const PAGE_SIZE: usize = 4096;
/// Width of a tile in pixels.
pub const TILE_WIDTH: usize = 64;
/// Height of a tile in pixels: that of a line of text.
pub const TILE_HEIGHT: usize = 16;

/// A set of pages of video memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirtyPages {
    /// One bit a page, the lowest bit of element 0 first.
    words: Vec<u64>,
    any: bool,
}

impl DirtyPages {
    /// A set for `size` bytes of video memory.
    pub fn new(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(PAGE_SIZE * 64)], any: false }
    }

    /// Adds the page that holds the byte at `offset`, if there is one.
    pub fn mark(&mut self, offset: usize) {
        let page = offset / PAGE_SIZE;
        if let Some(word) = self.words.get_mut(page / 64) {
            *word |= 1 << (page % 64);
            self.any = true;
        }
    }

    /// Adds the pages that hold the bytes of `range`.
    pub fn mark_range(&mut self, range: Range<usize>) {
        for page in range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE) {
            self.mark(page * PAGE_SIZE);
        }
    }

    /// Whether there are no pages in the set.
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Moves all pages to `other`.
    pub fn drain_into(&mut self, other: &mut Self) {
        if self.any {
            other.fill(|words| {
                words.resize(words.len().max(self.words.len()), 0);
                for (all, new) in words.iter_mut().zip(&mut self.words) {
                    *all |= std::mem::take(new);
                }
            });
            self.any = false;
        }
    }

    /// Lets `fill` add pages to the bitmap.
    pub fn fill(&mut self, fill: impl FnOnce(&mut Vec<u64>)) {
        fill(&mut self.words);
        self.any = self.words.iter().any(|&word| word != 0);
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        if self.any {
            self.words.fill(0);
            self.any = false;
        }
    }

    /// The part of `range` (bytes) from its first to its last page in the set, or `None` when none of its pages is in it.
    pub fn within(&self, range: Range<usize>) -> Option<Range<usize>> {
        if !self.any || range.is_empty() {
            return None;
        }
        let mut pages = range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE);
        let first = pages.find(|&page| self.contains(page))?;
        let last = pages.rfind(|&page| self.contains(page)).unwrap_or(first);
        Some(range.start.max(first * PAGE_SIZE)..range.end.min((last + 1) * PAGE_SIZE))
    }

    fn contains(&self, page: usize) -> bool {
        self.words.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }
}

/// When each tile of a surface has changed last.
#[derive(Debug, Default)]
pub struct Tiles {
    width: u32,
    height: u32,
    columns: usize,
    changed: Vec<Generation>,
}

impl Tiles {
    /// The tiles of a surface of this size, all changed at `generation`.
    pub fn new(width: u32, height: u32, generation: Generation) -> Self {
        let columns = (width as usize).div_ceil(TILE_WIDTH);
        let rows = (height as usize).div_ceil(TILE_HEIGHT);
        Self { width, height, columns, changed: vec![generation; columns * rows] }
    }

    /// The tiles of pixel row `y`, from left to right.
    pub fn row_mut(&mut self, y: usize) -> &mut [Generation] {
        let start = (y / TILE_HEIGHT * self.columns).min(self.changed.len());
        let end = (start + self.columns).min(self.changed.len());
        &mut self.changed[start..end]
    }

    /// What has changed after `since`: disjoint rectangles of tiles, merged where they form larger ones, cut to the surface.
    pub fn after(&self, since: Generation) -> Vec<Rect> {
        if self.columns == 0 {
            return Vec::new();
        }
        let mut done = Vec::new();
        // The rectangles that end with the row above and may grow, from left to right.
        let mut open: Vec<Rect> = Vec::new();
        for (row, changed) in self.changed.chunks(self.columns).enumerate() {
            let y = (row * TILE_HEIGHT) as u32;
            let height = (TILE_HEIGHT as u32).min(self.height - y);
            let mut above = std::mem::take(&mut open).into_iter().peekable();
            for columns in runs(changed, since) {
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
    fn pages_are_found_within_a_range() {
        let mut pages = DirtyPages::new(100 * PAGE_SIZE);
        pages.mark(usize::MAX);
        pages.mark(5 * PAGE_SIZE + 17);
        pages.mark_range(70 * PAGE_SIZE..70 * PAGE_SIZE + 1);

        assert_eq!(pages.within(0..5 * PAGE_SIZE), None);
        assert_eq!(pages.within(0..5 * PAGE_SIZE + 1), Some(5 * PAGE_SIZE..5 * PAGE_SIZE + 1));
        assert_eq!(pages.within(5 * PAGE_SIZE + 100..80 * PAGE_SIZE), Some(5 * PAGE_SIZE + 100..71 * PAGE_SIZE));
        assert_eq!(pages.within(6 * PAGE_SIZE..6 * PAGE_SIZE), None);
    }

    #[test]
    fn drained_pages_are_moved() {
        let (mut from, mut to) = (DirtyPages::new(PAGE_SIZE), DirtyPages::new(100 * PAGE_SIZE));
        from.mark(0);
        to.mark(PAGE_SIZE);

        from.drain_into(&mut to);

        assert!(from.is_empty());
        assert_eq!(from.within(0..PAGE_SIZE), None);
        assert_eq!(to.within(0..4 * PAGE_SIZE), Some(0..2 * PAGE_SIZE));
        to.clear();
        assert!(to.is_empty());
    }

    #[test]
    fn everything_is_one_rectangle() {
        let tiles = Tiles::new(100, 40, 3);

        assert_eq!(tiles.after(0), [rect(0, 0, 100, 40)]);
        assert_eq!(tiles.after(2), [rect(0, 0, 100, 40)]);
        assert_eq!(tiles.after(3), []);
    }

    #[test]
    fn equal_runs_grow_downwards_and_others_stay_apart() {
        let mut tiles = Tiles::new(64 * 5, 16 * 4, 1);
        for (x, y) in [(0, 0), (2, 0), (3, 0), (0, 1), (2, 1), (3, 1), (4, 1), (2, 3)] {
            tiles.row_mut(y * TILE_HEIGHT)[x] = 2;
        }

        let mut damage = tiles.after(1);
        damage.sort_by_key(|rect| (rect.y, rect.x));

        assert_eq!(damage, [rect(0, 0, 64, 32), rect(128, 0, 128, 16), rect(128, 16, 192, 16), rect(128, 48, 64, 16)]);
    }

    #[test]
    fn a_surface_without_pixels_has_no_damage() {
        assert_eq!(Tiles::new(0, 0, 1).after(0), []);
        assert_eq!(Tiles::new(0, 10, 1).after(0), []);
    }
}
