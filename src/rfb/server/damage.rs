//! Which parts of a viewer's screen are out of date.
//!
//! One word a row of pixels, one bit a column of pixels: it takes 8 bytes a row, whatever the guest does, and adding to it
//! never allocates.

use crate::screen::Rect;

/// Columns are at least so wide (as a power of two): the width of a character.
const NARROWEST: u32 = 3;
/// More rectangles than this are not worth their headers.
const MAX_RECTS: usize = 256;
/// The height of the bands that are sent instead.
const BAND: usize = 64;

/// What is out of date.
pub(super) struct Damage {
    width: u32,
    /// A column's width is two to the power of this.
    shift: u32,
    rows: Vec<u64>,
}

impl Damage {
    /// Nothing of a screen.
    pub(super) fn none(width: u32, height: u32) -> Self {
        let shift = (NARROWEST..16).find(|shift| width.div_ceil(1 << shift) <= u64::BITS).unwrap_or(16);
        Self { width, shift, rows: vec![0; height as usize] }
    }

    /// All of a screen.
    pub(super) fn all(width: u32, height: u32) -> Self {
        let mut damage = Self::none(width, height);
        damage.add(Rect { x: 0, y: 0, width, height });
        damage
    }

    /// Adds what of a rectangle lies on the screen.
    pub(super) fn add(&mut self, rect: Rect) {
        let columns = self.columns(rect);
        for row in self.rows_mut(rect) {
            *row |= columns;
        }
    }

    /// Whether anything in a rectangle is out of date.
    pub(super) fn touches(&self, rect: Rect) -> bool {
        let columns = self.columns(rect);
        self.rows.iter().skip(rect.y as usize).take(rect.height as usize).any(|row| row & columns != 0)
    }

    /// Whether anything in a row is out of date.
    pub(super) fn has(&self, y: usize) -> bool {
        self.rows.get(y).is_some_and(|row| *row != 0)
    }

    /// Forgets a row.
    pub(super) fn clear_row(&mut self, y: usize) {
        if let Some(row) = self.rows.get_mut(y) {
            *row = 0;
        }
    }

    /// Takes away what lies in a rectangle's columns and rows, as rectangles from the top down.
    pub(super) fn take(&mut self, area: Rect) -> Vec<Rect> {
        let columns = self.columns(area);
        let first = (area.y as usize).min(self.rows.len());
        let end = (first + area.height as usize).min(self.rows.len());
        let mut rects = Vec::new();
        let mut y = first;
        for rows in self.rows[first..end].chunk_by(|a, b| a & columns == b & columns) {
            self.push_runs(rows[0] & columns, y, rows.len(), &mut rects);
            y += rows.len();
        }
        if rects.len() > MAX_RECTS {
            rects.clear();
            for (band, y) in self.rows[first..end].chunks(BAND).zip((first..).step_by(BAND)) {
                let used = band.iter().fold(0, |used, row| used | row & columns);
                self.push_runs(fill_gaps(used), y, band.len(), &mut rects);
            }
        }
        for row in &mut self.rows[first..end] {
            *row &= !columns;
        }
        rects
    }

    /// Adds one rectangle for each run of columns.
    fn push_runs(&self, mut columns: u64, y: usize, height: usize, rects: &mut Vec<Rect>) {
        while columns != 0 {
            let start = columns.trailing_zeros();
            let length = (columns >> start).trailing_ones();
            let x = start << self.shift;
            let end = self.width.min((start + length) << self.shift);
            rects.push(Rect { x, y: y as u32, width: end - x, height: height as u32 });
            columns &= !(ones(length) << start);
        }
    }

    /// The columns that a rectangle touches.
    fn columns(&self, rect: Rect) -> u64 {
        if rect.width == 0 || rect.x >= self.width {
            return 0;
        }
        let end = self.width.min(rect.x.saturating_add(rect.width));
        let (first, last) = (rect.x >> self.shift, (end - 1) >> self.shift);
        ones(last - first + 1) << first
    }

    fn rows_mut(&mut self, rect: Rect) -> impl Iterator<Item = &mut u64> {
        self.rows.iter_mut().skip(rect.y as usize).take(rect.height as usize)
    }
}

/// The lowest so many bits.
fn ones(count: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - count).unwrap_or(0)
}

/// All bits between the first and the last.
fn fill_gaps(columns: u64) -> u64 {
    if columns == 0 {
        return 0;
    }
    ones(u64::BITS - columns.leading_zeros()) & !ones(columns.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    const EVERYWHERE: Rect = rect(0, 0, u32::MAX, u32::MAX);

    #[test]
    fn a_whole_screen_is_one_rectangle() {
        for (width, height) in [(1, 1), (639, 400), (1024, 768), (1920, 1080), (2560, 1600), (65535, 65535)] {
            assert_eq!(Damage::all(width, height).take(EVERYWHERE), [rect(0, 0, width, height)]);
        }
    }

    #[test]
    fn a_small_change_stays_small() {
        let mut damage = Damage::none(1920, 1080);

        damage.add(rect(100, 50, 8, 16));

        assert_eq!(damage.take(EVERYWHERE), [rect(96, 50, 32, 16)]);
        assert!(damage.take(EVERYWHERE).is_empty());
    }

    #[test]
    fn what_is_damaged_is_covered_and_what_is_far_away_is_not() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..50 {
            let (width, height) = (random.u32(1..3000), random.u32(1..300));
            let mut damage = Damage::none(width, height);
            let added: Vec<Rect> = (0..random.usize(1..10))
                .map(|_| {
                    let (x, y) = (random.u32(..width), random.u32(..height));
                    rect(x, y, random.u32(1..=width - x), random.u32(1..=height - y))
                })
                .collect();
            added.iter().for_each(|rect| damage.add(*rect));

            let taken = damage.take(EVERYWHERE);

            for _ in 0..200 {
                let (x, y) = (random.u32(..width), random.u32(..height));
                let inside = |rect: &Rect, margin: u32| {
                    (rect.x.saturating_sub(margin)..rect.x + rect.width + margin).contains(&x)
                        && (rect.y..rect.y + rect.height).contains(&y)
                };
                let covered = taken.iter().filter(|rect| inside(rect, 0)).count();
                assert!(covered <= 1, "rectangles overlap");
                assert!(covered == 1 || !added.iter().any(|rect| inside(rect, 0)), "({x}, {y}) is missing");
                assert!(covered == 0 || added.iter().any(|rect| inside(rect, 64)), "({x}, {y}) is too much");
            }
        }
    }

    #[test]
    fn what_lies_outside_the_screen_is_ignored() {
        let mut damage = Damage::none(100, 100);

        damage.add(rect(100, 0, 5, 5));
        damage.add(rect(0, 100, 5, 5));
        damage.add(rect(u32::MAX, u32::MAX, u32::MAX, u32::MAX));

        assert!(damage.take(EVERYWHERE).is_empty());
    }

    #[test]
    fn taking_a_part_leaves_the_rest() {
        let mut damage = Damage::all(640, 480);

        let part = damage.take(rect(0, 100, 320, 10));

        assert_eq!(part, [rect(0, 100, 320, 10)]);
        assert!(!damage.touches(part[0]));
        assert!(damage.touches(rect(320, 100, 1, 1)) && damage.has(100) && damage.has(99));
    }

    #[test]
    fn many_specks_become_few_rectangles() {
        let mut damage = Damage::none(1024, 1024);
        for speck in 0..128 * 64 {
            damage.add(rect(speck % 64 * 16, speck / 64 * 8 + speck % 2, 1, 1));
        }

        let rects = damage.take(EVERYWHERE);

        assert_eq!(rects.len(), 16);
    }
}
