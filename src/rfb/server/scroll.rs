//! What a viewer has on its screen, as a hash a row, and how far it has scrolled.
//!
//! A copy of every viewer's screen would cost more memory than all of the server. Hashes of rows cost 8 bytes each, take
//! in the time of a memory copy only those rows that changed, and find what matters: rows that were drawn anew with the
//! same pixels, and text that moved up.

use crate::screen::Surface;
use foldhash::fast::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Fewer rows than this are as quick to send as to copy.
const FEWEST_ROWS: usize = 16;
/// So many hashes of parts make a row's.
const LANES: usize = 4;
/// To hash so many rows is worth nothing if all of them are new. Fewer are always hashed: a pointer that moves changes none.
const MANY_ROWS: usize = 128;
/// After so many updates in which nothing was found nothing is looked for, for so many updates.
const PATIENCE: u32 = 4;
const REST: u32 = 28;
/// The hash of a row of which nobody knows what the viewer has.
const UNKNOWN: u64 = 0;

/// Rows that the viewer has elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    /// The first row that is copied from.
    pub from: usize,
    /// The first row that is copied to.
    pub to: usize,
    /// How many rows.
    pub height: usize,
}

/// The rows of a viewer's screen.
pub(super) struct Rows {
    hashes: Vec<u64>,
    state: RandomState,
    /// How many updates there were since something was found, or since the last rest began.
    in_vain: u32,
}

impl Rows {
    /// A screen of which nothing is known.
    pub(super) fn unknown(height: u32) -> Self {
        Self { hashes: vec![UNKNOWN; height as usize], state: RandomState::default(), in_vain: 0 }
    }

    /// Forgets a row.
    pub(super) fn forget(&mut self, y: usize) {
        if let Some(hash) = self.hashes.get_mut(y) {
            *hash = UNKNOWN;
        }
    }

    /// Notes that the viewer's row is (or will be, when what was promised is sent) as `hash` says.
    pub(super) fn note(&mut self, y: usize, hash: u64) {
        if let Some(known) = self.hashes.get_mut(y) {
            *known = hash;
        }
    }

    /// Whether the viewer has this row already.
    pub(super) fn is(&self, y: usize, hash: u64) -> bool {
        self.hashes.get(y) == Some(&hash)
    }

    /// The hash of a row of the surface.
    pub(super) fn hash(&self, surface: &Surface, y: usize) -> u64 {
        // Hashes that do not wait for each other are calculated at the same time.
        let mut hashers: [_; LANES] = std::array::from_fn(|_| self.state.build_hasher());
        let (blocks, rest) = surface.row(y as u32).as_chunks::<{ 4 * LANES }>();
        for block in blocks {
            for (hasher, [a, b, c, d]) in hashers.iter_mut().zip(block.as_chunks::<4>().0) {
                let (low, high) = (u64::from(*a) | u64::from(*b) << 32, u64::from(*c) | u64::from(*d) << 32);
                hasher.write_u128(u128::from(low) | u128::from(high) << 64);
            }
        }
        let mut hasher = self.state.build_hasher();
        hashers.iter().for_each(|lane| hasher.write_u64(lane.finish()));
        rest.iter().for_each(|pixel| hasher.write_u32(*pixel));
        hasher.finish().max(UNKNOWN + 1)
    }

    /// Whether it is likely enough that something is found in so many rows.
    pub(super) fn are_worth_hashing(&self, rows: usize) -> bool {
        rows < MANY_ROWS || self.in_vain < PATIENCE
    }

    /// Notes whether something was found in so many rows, or that nothing was looked for.
    pub(super) fn note_found(&mut self, rows: usize, found: bool) {
        if rows >= MANY_ROWS {
            self.in_vain = if found { 0 } else { (self.in_vain + 1) % (PATIENCE + REST) };
        }
    }

    /// Finds what of `changed` (row and new hash, from the top down) the viewer has elsewhere. The copies are in the order
    /// in which they must be made.
    pub(super) fn find_copies(&self, changed: &[(usize, u64)]) -> Vec<Copy> {
        if changed.len() < FEWEST_ROWS {
            return Vec::new();
        }
        match self.distance(changed) {
            Some(distance) => self.copies(changed, distance),
            None => Vec::new(),
        }
    }

    /// How far most of the changed rows have moved: the row where they are now, less the one where they were.
    fn distance(&self, changed: &[(usize, u64)]) -> Option<isize> {
        let mut known: Vec<(u64, usize)> =
            self.hashes.iter().copied().zip(0..).filter(|row| row.0 != UNKNOWN).collect();
        known.sort_unstable();
        let mut distances: Vec<isize> = changed
            .iter()
            .filter_map(|(y, hash)| {
                let place = known.binary_search_by_key(hash, |row| row.0).ok()?;
                // Rows that are alike (empty ones) say nothing about where they came from.
                let unique = [place.checked_sub(1), Some(place + 1)]
                    .into_iter()
                    .all(|place| place.and_then(|place| known.get(place)).is_none_or(|row| row.0 != *hash));
                unique.then(|| y.wrapping_sub(known[place].1) as isize)
            })
            .collect();
        distances.sort_unstable();
        distances
            .chunk_by(isize::eq)
            .max_by_key(|alike| alike.len())
            .filter(|alike| alike.len() >= FEWEST_ROWS / 2)
            .map(|alike| alike[0])
    }

    /// The runs of rows that have moved by `distance`.
    fn copies(&self, changed: &[(usize, u64)], distance: isize) -> Vec<Copy> {
        let (Some((first, _)), Some((last, _))) = (changed.first(), changed.last()) else { return Vec::new() };
        let mut now = self.hashes.clone();
        for (y, hash) in changed {
            now[*y] = *hash;
        }
        let source = |y: usize| y.wrapping_add_signed(-distance);
        let moved = |y: &usize| now[*y] != UNKNOWN && self.hashes.get(source(*y)) == Some(&now[*y]);
        let rows: Vec<usize> = (*first..=*last).collect();
        let mut copies: Vec<Copy> = rows
            .chunk_by(|a, b| moved(a) == moved(b))
            .filter(|run| run.len() >= FEWEST_ROWS && moved(&run[0]))
            .map(|run| Copy { from: source(run[0]), to: run[0], height: run.len() })
            .collect();
        // Downwards the last goes first, so that none is overwritten before it was copied.
        if distance > 0 {
            copies.reverse();
        }
        copies
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::encoding::tests::noise;
    use super::*;

    /// What a viewer knows that has all of a surface.
    fn known(surface: &Surface) -> Rows {
        let mut rows = Rows::unknown(surface.height);
        for y in 0..surface.height as usize {
            let hash = rows.hash(surface, y);
            rows.note(y, hash);
        }
        rows
    }

    fn changed(rows: &Rows, surface: &Surface) -> Vec<(usize, u64)> {
        (0..surface.height as usize)
            .map(|y| (y, rows.hash(surface, y)))
            .filter(|(y, hash)| !rows.is(*y, *hash))
            .collect()
    }

    /// Moves rows `from..to` up by `distance`, and draws the rows below anew.
    fn scrolled(before: &Surface, from: usize, to: usize, distance: usize) -> Surface {
        let mut after = before.clone();
        let width = before.width as usize;
        after.pixels.copy_within((from + distance) * width..to * width, from * width);
        after.pixels[(to - distance) * width..to * width].fill(0x0012_3456);
        after
    }

    #[test]
    fn rows_that_are_alike_have_the_same_hash() {
        let (one, other) = (noise(1, 101, 2, 500, 1), noise(2, 101, 2, 500, 1));
        let rows = known(&one);

        assert!(rows.is(0, rows.hash(&one.clone(), 0)));
        assert!(!rows.is(0, rows.hash(&other, 0)));
        assert!(!rows.is(0, rows.hash(&one, 1)));
    }

    #[test]
    fn a_single_pixel_changes_its_rows_hash() {
        let before = Surface::new(103, 1);
        let rows = known(&before);
        for x in 0..103 {
            let mut after = before.clone();
            after.pixels[x] = 1;

            assert!(!rows.is(0, rows.hash(&after, 0)), "pixel {x}");
        }
    }

    #[test]
    fn text_that_scrolls_up_is_found() {
        let before = noise(1, 720, 400, 3, 40);
        let rows = known(&before);
        let after = scrolled(&before, 0, 400, 16);

        let copies = rows.find_copies(&changed(&rows, &after));

        assert_eq!(copies, [Copy { from: 16, to: 0, height: 384 }]);
    }

    #[test]
    fn text_that_scrolls_down_is_found() {
        let after = noise(1, 720, 400, 3, 40);
        let rows = known(&scrolled(&after, 0, 400, 16));

        let copies = rows.find_copies(&changed(&rows, &after));

        assert_eq!(copies, [Copy { from: 0, to: 16, height: 384 }]);
    }

    #[test]
    fn a_region_scrolls_with_empty_lines_in_it_and_a_cursor_left_behind() {
        let mut before = noise(1, 720, 400, 3, 40);
        before.pixels[720 * 96..720 * 208].fill(0);
        let rows = known(&before);
        let mut after = scrolled(&before, 32, 368, 16);
        after.pixels[720 * 254..720 * 256].fill(7);

        let copies = rows.find_copies(&changed(&rows, &after));

        assert_eq!(
            copies,
            [Copy { from: 48, to: 32, height: 254 - 32 }, Copy { from: 272, to: 256, height: 352 - 256 }]
        );
    }

    #[test]
    fn copies_made_in_their_order_give_what_is_there_now() {
        let mut random = fastrand::Rng::with_seed(5);
        for seed in 0..100 {
            let picture = noise(seed, 16, 200, 4, 20);
            let (top, bottom) = (random.usize(..20), random.usize(100..200));
            let mut moved = scrolled(&picture, top, bottom, random.usize(1..60));
            for _ in 0..random.usize(..4) {
                moved.pixels[random.usize(..16 * 200)] = 1;
            }
            let (mut viewer, now) = if seed % 2 == 0 { (picture, moved) } else { (moved, picture) };
            let rows = known(&viewer);

            let copies = rows.find_copies(&changed(&rows, &now));

            for copy in copies {
                viewer.pixels.copy_within(copy.from * 16..(copy.from + copy.height) * 16, copy.to * 16);
                let place = copy.to * 16..(copy.to + copy.height) * 16;
                assert_eq!(viewer.pixels[place.clone()], now.pixels[place]);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_not_copied() {
        let before = noise(1, 100, 100, 500, 1);
        let after = scrolled(&before, 0, 100, 10);
        let mut rows = known(&before);
        for y in 20..100 {
            rows.forget(y);
        }

        assert!(rows.find_copies(&changed(&rows, &after)).iter().all(|copy| copy.from + copy.height <= 20));
    }

    #[test]
    fn a_picture_that_is_new_has_no_copies() {
        let rows = known(&noise(1, 100, 100, 500, 1));

        assert!(rows.find_copies(&changed(&rows, &noise(2, 100, 100, 500, 1))).is_empty());
    }

    #[test]
    fn where_nothing_is_ever_found_it_is_looked_for_less_often() {
        let mut rows = Rows::unknown(600);
        let mut looks = |found| {
            let mut worth = 0;
            for _ in 0..PATIENCE + REST {
                worth += u32::from(rows.are_worth_hashing(MANY_ROWS));
                rows.note_found(MANY_ROWS, found);
                assert!(rows.are_worth_hashing(MANY_ROWS - 1), "a few rows cost little");
            }
            worth
        };

        assert_eq!([looks(false), looks(false), looks(true)], [PATIENCE, PATIENCE, PATIENCE + REST]);
    }
}
