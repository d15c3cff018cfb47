//! Which parts of a viewer's screen are out of date.
//!
//! One bit for eight pixels of a row: it takes little memory, whatever the guest does, and adding to it never allocates.
//! What is taken of it is as few rectangles as are worth it: each costs the viewer and the connection something, and so
//! does each pixel between two of them.

use crate::screen::Rect;
use std::ops::Range;

/// Pixels of a row that have a bit: the width of a character.
const COLUMN: u32 = 8;
/// Rows whose rectangles may become one: as many as a line of text has.
const BAND: usize = 16;
/// More rectangles than this are worth nothing.
const MAX_RECTS: usize = 512;

/// What is out of date.
pub(super) struct Damage {
    width: u32,
    bits: Bits,
}

/// Rows of bits, the first one lowest in the first word.
struct Bits {
    /// Words of a row.
    words: usize,
    rows: Vec<u64>,
}

/// A rectangle's columns of bits and its rows.
struct Part {
    columns: Range<u32>,
    rows: Range<usize>,
}

impl Damage {
    /// Nothing of a screen.
    pub(super) fn none(width: u32, height: u32) -> Self {
        let words = width.div_ceil(COLUMN).div_ceil(u64::BITS).max(1) as usize;
        Self { width, bits: Bits { words, rows: vec![0; words * height as usize] } }
    }

    /// All of a screen.
    pub(super) fn all(width: u32, height: u32) -> Self {
        let mut damage = Self::none(width, height);
        damage.add(Rect { x: 0, y: 0, width, height });
        damage
    }

    /// Adds what of a rectangle lies on the screen.
    pub(super) fn add(&mut self, rect: Rect) {
        let part = self.part(rect);
        for row in self.bits.rows_mut(part.rows) {
            for (word, bits) in row.iter_mut().enumerate() {
                *bits |= mask(word, &part.columns);
            }
        }
    }

    /// Whether anything in a rectangle is out of date.
    pub(super) fn touches(&self, rect: Rect) -> bool {
        let part = self.part(rect);
        let touches = |row: &[u64]| row.iter().enumerate().any(|(word, bits)| bits & mask(word, &part.columns) != 0);
        part.rows.clone().any(|y| touches(self.bits.row(y)))
    }

    /// Whether anything in a row is out of date.
    pub(super) fn has(&self, y: usize) -> bool {
        self.bits.row(y).iter().any(|bits| *bits != 0)
    }

    /// Forgets a row.
    pub(super) fn clear_row(&mut self, y: usize) {
        self.bits.rows_mut(y..y.saturating_add(1)).for_each(|row| row.fill(0));
    }

    /// Takes away what lies in a rectangle's columns and rows, as rectangles that do not overlap, from the top down. A
    /// rectangle costs as much as so many pixels: for less, what lies between two is taken along.
    pub(super) fn take(&mut self, area: Rect, cost: u64) -> Vec<Rect> {
        let part = self.part(area);
        let mut taken = Bits { words: self.bits.words, rows: Vec::with_capacity(self.bits.words * part.rows.len()) };
        for row in self.bits.rows_mut(part.rows.clone()) {
            for (word, bits) in row.iter_mut().enumerate() {
                let mask = mask(word, &part.columns);
                taken.rows.push(*bits & mask);
                *bits &= !mask;
            }
        }
        let dearest = u64::from(self.width) * BAND as u64;
        let mut cost = cost;
        let mut rects = taken.rects(cost);
        while rects.len() > MAX_RECTS && cost < dearest {
            cost = (cost * 8).max(1);
            rects = taken.rects(cost);
        }
        for rect in &mut rects {
            rect.y += part.rows.start as u32;
            rect.width = rect.width.min(self.width - rect.x);
        }
        rects
    }

    /// Where the bits of a rectangle are.
    fn part(&self, rect: Rect) -> Part {
        let end = self.width.min(rect.x.saturating_add(rect.width));
        let columns = rect.x.min(end) / COLUMN..end.div_ceil(COLUMN);
        let height = self.bits.rows.len() / self.bits.words;
        let first = height.min(rect.y as usize);
        let rows = first..height.min((rect.y as usize).saturating_add(rect.height as usize));
        let empty = rect.width == 0 || rect.x >= self.width;
        Part { columns: if empty { 0..0 } else { columns }, rows }
    }
}

impl Bits {
    fn row(&self, y: usize) -> &[u64] {
        self.rows.get(y * self.words..(y + 1) * self.words).unwrap_or_default()
    }

    fn rows_mut(&mut self, rows: Range<usize>) -> impl Iterator<Item = &mut [u64]> {
        self.rows.chunks_exact_mut(self.words).skip(rows.start).take(rows.len())
    }

    /// All that is set, as rectangles; as wide as the columns are, also at the right edge.
    fn rects(&self, cost: u64) -> Vec<Rect> {
        let height = self.rows.len() / self.words;
        let mut stack = Stack::default();
        let mut used = vec![0; self.words];
        for first in (0..height).step_by(BAND) {
            let band = first..height.min(first + BAND);
            used.fill(0);
            for y in band.clone() {
                used.iter_mut().zip(self.row(y)).for_each(|(used, bits)| *used |= bits);
            }
            let mut found = Vec::new();
            for columns in joined(runs(&used, 0..u32::MAX), cost / u64::from(COLUMN) / band.len() as u64) {
                self.push_rects(columns, band.clone(), cost, &mut found);
            }
            found.sort_unstable_by_key(|rect| (rect.y, rect.x));
            stack.add(found);
        }
        stack.finish()
    }

    /// Adds what is set in some columns of a band: as one rectangle around it, or as several where that costs less.
    fn push_rects(&self, columns: Range<u32>, band: Range<usize>, cost: u64, found: &mut Vec<Rect>) {
        let is_used = |y: &usize| runs(self.row(*y), columns.clone()).next().is_some();
        let (Some(first), Some(last)) = (band.clone().find(is_used), band.clone().rfind(is_used)) else { return };
        let rect = |columns: &Range<u32>, y: usize, height: usize| Rect {
            x: columns.start * COLUMN,
            y: y as u32,
            width: columns.len() as u32 * COLUMN,
            height: height as u32,
        };
        let around = rect(&columns, first, last + 1 - first);
        let price = |rect: &Rect| cost + u64::from(rect.width) * u64::from(rect.height);
        let mut stack = Stack::default();
        for y in first..=last {
            stack.add(runs(self.row(y), columns.clone()).map(|run| rect(&run, y, 1)).collect());
        }
        let several = stack.finish();
        match several.iter().map(price).sum::<u64>() < price(&around) {
            true => found.extend(several),
            false => found.push(around),
        }
    }
}

/// Rectangles from the top down; those that lie on top of each other and are equally wide become one.
#[derive(Default)]
struct Stack {
    done: Vec<Rect>,
    /// Those that were added last, and may grow.
    open: Vec<Rect>,
}

impl Stack {
    /// Adds rectangles below those that were added before.
    fn add(&mut self, mut rects: Vec<Rect>) {
        for rect in &mut rects {
            let ends_here =
                |above: &Rect| (above.x, above.width, above.y + above.height) == (rect.x, rect.width, rect.y);
            if let Some(place) = self.open.iter().position(ends_here) {
                let above = self.open.swap_remove(place);
                *rect = Rect { y: above.y, height: above.height + rect.height, ..*rect };
            }
        }
        self.done.append(&mut self.open);
        self.open = rects;
    }

    fn finish(mut self) -> Vec<Rect> {
        self.done.append(&mut self.open);
        self.done
    }
}

/// The bits of a word of a row that lie in some columns.
fn mask(word: usize, columns: &Range<u32>) -> u64 {
    let first = word as u32 * u64::BITS;
    let ones = |end: u32| u64::MAX.checked_shr(u64::BITS - end.saturating_sub(first).min(u64::BITS)).unwrap_or(0);
    ones(columns.end) & !ones(columns.start)
}

/// The runs of set bits in some columns of a row.
fn runs(row: &[u64], columns: Range<u32>) -> impl Iterator<Item = Range<u32>> {
    let mut next = columns.start;
    let end = columns.end.min(row.len() as u32 * u64::BITS);
    std::iter::from_fn(move || {
        let start = next_bit(row, next..end, true);
        next = next_bit(row, start..end, false);
        (start < end).then_some(start..next)
    })
}

/// The first bit in some columns that is set, or is not; their end if there is none.
fn next_bit(row: &[u64], columns: Range<u32>, set: bool) -> u32 {
    let mut column = columns.start;
    while column < columns.end {
        let word = row.get((column / u64::BITS) as usize).copied().unwrap_or(0);
        let rest = (if set { word } else { !word }) >> (column % u64::BITS);
        if rest != 0 {
            return columns.end.min(column + rest.trailing_zeros());
        }
        column = (column / u64::BITS + 1) * u64::BITS;
    }
    columns.end
}

/// Runs of which those are one that have at most so many columns between them.
fn joined(runs: impl Iterator<Item = Range<u32>>, gap: u64) -> impl Iterator<Item = Range<u32>> {
    let mut runs = runs.peekable();
    std::iter::from_fn(move || {
        let mut run = runs.next()?;
        while let Some(next) = runs.next_if(|next| u64::from(next.start - run.end) <= gap) {
            run.end = next.end;
        }
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    const EVERYWHERE: Rect = rect(0, 0, u32::MAX, u32::MAX);
    /// What rectangles cost.
    const CHEAP: u64 = 16;
    const DEAR: u64 = 1000;

    #[test]
    fn a_whole_screen_is_one_rectangle() {
        for (width, height) in [(1, 1), (639, 400), (1024, 768), (1920, 1080), (2560, 1600), (65535, 65535)] {
            assert_eq!(Damage::all(width, height).take(EVERYWHERE, CHEAP), [rect(0, 0, width, height)]);
        }
    }

    #[test]
    fn a_small_change_stays_small() {
        let mut damage = Damage::none(1920, 1080);

        damage.add(rect(100, 50, 8, 16));

        assert_eq!(damage.take(EVERYWHERE, CHEAP), [rect(96, 50, 16, 16)]);
        assert!(damage.take(EVERYWHERE, CHEAP).is_empty());
    }

    #[test]
    fn what_is_damaged_is_taken_once_and_what_is_far_away_is_not() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..100 {
            let (width, height) = (random.u32(1..3000), random.u32(1..300));
            let mut damage = Damage::none(width, height);
            let added: Vec<Rect> = (0..random.usize(1..10))
                .map(|_| {
                    let (x, y) = (random.u32(..width), random.u32(..height));
                    rect(x, y, random.u32(1..=width - x), random.u32(1..=height - y))
                })
                .collect();
            added.iter().for_each(|rect| damage.add(*rect));

            let taken = damage.take(EVERYWHERE, if round % 2 == 0 { CHEAP } else { DEAR });

            assert!(!damage.touches(EVERYWHERE));
            for _ in 0..200 {
                let (x, y) = (random.u32(..width), random.u32(..height));
                let inside = |rect: &Rect, (right, below): (u32, u32)| {
                    (rect.x.saturating_sub(right)..rect.x + rect.width + right).contains(&x)
                        && (rect.y.saturating_sub(below)..rect.y + rect.height + below).contains(&y)
                };
                let covered = taken.iter().filter(|rect| inside(rect, (0, 0))).count();
                assert!(covered <= 1, "rectangles overlap");
                assert!(covered == 1 || !added.iter().any(|rect| inside(rect, (0, 0))), "({x}, {y}) is missing");
                let near = (DEAR as u32, BAND as u32);
                assert!(covered == 0 || added.iter().any(|rect| inside(rect, near)), "({x}, {y}) is too much");
            }
        }
    }

    #[test]
    fn what_lies_between_two_changes_is_taken_along_when_that_costs_less() {
        let mut damage = Damage::none(640, 480);
        let letters = [rect(0, 0, 8, 12), rect(16, 0, 8, 12)];

        letters.iter().for_each(|letter| damage.add(*letter));
        let cheap = damage.take(EVERYWHERE, CHEAP);
        letters.iter().for_each(|letter| damage.add(*letter));
        let dear = damage.take(EVERYWHERE, DEAR);

        assert_eq!((&cheap[..], &dear[..]), (&letters[..], &[rect(0, 0, 24, 12)][..]));
    }

    #[test]
    fn the_frame_of_a_window_is_its_four_sides() {
        let mut damage = Damage::none(1920, 1080);
        for side in [rect(320, 100, 640, 8), rect(320, 108, 16, 400), rect(944, 108, 16, 400), rect(320, 508, 640, 8)] {
            damage.add(side);
        }

        let pixels: u32 = damage.take(EVERYWHERE, DEAR).iter().map(|rect| rect.width * rect.height).sum();

        assert!(pixels < 2 * 640 * 16 + 2 * 16 * 400, "{pixels} pixels");
    }

    #[test]
    fn what_lies_outside_the_screen_is_ignored() {
        let mut damage = Damage::none(100, 100);

        damage.add(rect(100, 0, 5, 5));
        damage.add(rect(0, 100, 5, 5));
        damage.add(rect(u32::MAX, u32::MAX, u32::MAX, u32::MAX));

        assert!(damage.take(EVERYWHERE, CHEAP).is_empty());
    }

    #[test]
    fn taking_a_part_leaves_the_rest() {
        let mut damage = Damage::all(640, 480);

        let part = damage.take(rect(0, 100, 320, 10), CHEAP);

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

        let rects = damage.take(EVERYWHERE, CHEAP);

        assert!((1..=MAX_RECTS).contains(&rects.len()), "{} rectangles", rects.len());
    }
}
