//! The rectangles of an update: what is out of date, cut as suits the encoding.

use super::order::PixelEncoding;
use crate::rfb::encoding::{row_part, tight, zrle};
use crate::screen::{Rect, Surface};

/// No rectangle has more pixels, except for a row that is longer.
const MAX_PIXELS: u32 = 48 * 1024;
/// ZRLE's rectangles are whole tiles, and no wider than some.
const ZRLE_WIDTH: u32 = 12 * zrle::TILE;
/// Tight's rectangles are so small that text and photographs seldom share one, and so large that what repeats is found: no
/// wider, and no higher either unless they are narrow.
const TIGHT_WIDTH: u32 = 256;
/// With so many of the rectangles before it one may be joined.
const REACH: usize = 8;
/// How many bytes are copied into shared memory in the time in which one is encoded.
pub(super) const COPIED: usize = 16;

/// How many pixels may be sent in vain for a rectangle less: each has a header, and a part that the viewer must begin anew.
pub(super) fn cost(encoding: PixelEncoding) -> u64 {
    match encoding {
        PixelEncoding::Raw => 16,
        PixelEncoding::Zrle | PixelEncoding::Tight => 256,
        PixelEncoding::Memory => 1024,
    }
}

/// Rectangles of bounded size, in which others are to be sent.
pub(super) fn parts(surface: &Surface, rects: Vec<Rect>, encoding: PixelEncoding) -> Vec<Rect> {
    let rects = join(surface, rects, encoding);
    let pieces = rects.into_iter().flat_map(|rect| split(rect, encoding));
    match encoding {
        PixelEncoding::Zrle => pieces
            .flat_map(|piece| {
                let halved = zrle::is_better_halved(surface, piece);
                cut(piece, piece.width, if halved { zrle::HALF } else { piece.height })
            })
            .collect(),
        PixelEncoding::Raw | PixelEncoding::Tight | PixelEncoding::Memory => pieces.collect(),
    }
}

/// A rectangle, and how much it takes to draw what is in it.
struct Drawn {
    rect: Rect,
    details: u32,
}

/// Joins rectangles where that makes an update shorter: next to nothing is sent for what is of one colour between them.
fn join(surface: &Surface, rects: Vec<Rect>, encoding: PixelEncoding) -> Vec<Rect> {
    let bytes = match encoding {
        PixelEncoding::Zrle => zrle_bytes,
        PixelEncoding::Tight => tight_bytes,
        PixelEncoding::Raw | PixelEncoding::Memory => return rects,
    };
    let is_large = |rect: Rect| rect.width * rect.height > MAX_PIXELS;
    let (mut large, small): (Vec<Rect>, Vec<Rect>) = rects.into_iter().partition(|rect| is_large(*rect));
    let mut joined: Vec<Drawn> = Vec::with_capacity(small.len());
    for rect in small {
        let Some(details) = count_details(surface, rect, u32::MAX) else { continue };
        let mut drawn = Drawn { rect, details };
        while let Some((place, both)) = joined.iter().enumerate().rev().take(REACH).find_map(|(place, other)| {
            let rect = drawn.rect.around(other.rect);
            let apart = bytes(drawn.rect, drawn.details) + bytes(other.rect, other.details);
            let most = apart.checked_sub(bytes(rect, 0)).filter(|_| !is_large(rect))?;
            let details = count_details(surface, rect, most)?;
            Some((place, Drawn { rect, details })).filter(|_| bytes(rect, details) <= apart)
        }) {
            joined.remove(place);
            drawn = both;
        }
        joined.push(drawn);
    }
    large.extend(joined.into_iter().map(|drawn| drawn.rect));
    large
}

/// About how many bytes a rectangle takes in ZRLE: headers and the end of its part of the stream, something for each tile.
fn zrle_bytes(rect: Rect, details: u32) -> u32 {
    24 + details + rect.width * rect.height / 4096
}

/// The same in Tight, where one colour needs no stream, and several a palette and a number a pixel.
fn tight_bytes(rect: Rect, details: u32) -> u32 {
    if details == 0 { 16 } else { 28 + details + rect.width * rect.height / 600 }
}

/// How many pixels of a rectangle begin something: they are unlike those on their left, and not as those above them are. None
/// where all is of one colour, few where there are lines. `None` when they are more than `most`.
fn count_details(surface: &Surface, rect: Rect, most: u32) -> Option<u32> {
    let mut above = row_part(surface, rect.x, rect.y, rect.width);
    let mut details = pairs(above).map(|(left, right)| u32::from(left != right)).sum::<u32>();
    for y in rect.y + 1..rect.y + rect.height {
        if details > most {
            return None;
        }
        let row = row_part(surface, rect.x, y, rect.width);
        if row != above {
            let begins = |((left, right), (left_above, right_above))| {
                u32::from((left != right) & ((left != left_above) | (right != right_above)))
            };
            details += u32::from(row.first() != above.first());
            details += pairs(row).zip(pairs(above)).map(begins).sum::<u32>();
        }
        above = row;
    }
    (details <= most).then_some(details)
}

/// Each pixel of a row but the last, and the one on its right.
fn pairs(row: &[u32]) -> impl Iterator<Item = (&u32, &u32)> {
    row.iter().zip(row.get(1..).unwrap_or_default())
}

/// Cuts a rectangle into pieces of bounded size.
fn split(rect: Rect, encoding: PixelEncoding) -> impl Iterator<Item = Rect> {
    let rows = |pixels: u32| (pixels / rect.width.max(1)).max(1);
    let (width, height) = match encoding {
        PixelEncoding::Memory => (rect.width, rows(MAX_PIXELS * COPIED as u32)),
        PixelEncoding::Raw => (rect.width, rows(MAX_PIXELS)),
        PixelEncoding::Zrle => (ZRLE_WIDTH, rows(MAX_PIXELS).next_multiple_of(zrle::TILE)),
        PixelEncoding::Tight => {
            let most = |length: u32| (TIGHT_WIDTH * TIGHT_WIDTH / length.max(1)).clamp(TIGHT_WIDTH, tight::MAX_WIDTH);
            (most(rect.height), most(rect.width))
        }
    };
    cut(rect, width, height)
}

/// Cuts a rectangle into pieces of such a width and height; those at its right and lower edge may be smaller.
fn cut(rect: Rect, width: u32, height: u32) -> impl Iterator<Item = Rect> {
    let steps = |start: u32, length: u32, most: u32| {
        (start..start + length).step_by(most as usize).map(move |place| (place, most.min(start + length - place)))
    };
    steps(rect.y, rect.height, height).flat_map(move |(y, height)| {
        steps(rect.x, rect.width, width).map(move |(x, width)| Rect { x, y, width, height })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfb::encoding::tests::{noise, some_rect};

    const fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    /// The left and the lower edge of something.
    const EDGES: [Rect; 2] = [rect(0, 0, 8, 100), rect(8, 96, 92, 4)];

    #[test]
    fn what_is_of_one_colour_between_two_rectangles_is_sent_along_and_what_is_drawn_there_is_not() {
        let flat = Surface::new(100, 100);
        let mut drawn = noise(1, 100, 100, 2, 3);
        for y in 0..100 {
            drawn.pixels[y * 100..][..8].fill(0);
        }
        drawn.pixels[96 * 100..].fill(0);

        for encoding in [PixelEncoding::Zrle, PixelEncoding::Tight] {
            assert_eq!(join(&flat, EDGES.to_vec(), encoding), [rect(0, 0, 100, 100)]);
            assert_eq!(join(&drawn, EDGES.to_vec(), encoding), EDGES);
        }
        for encoding in [PixelEncoding::Raw, PixelEncoding::Memory] {
            assert_eq!(parts(&flat, EDGES.to_vec(), encoding), EDGES);
        }
    }

    #[test]
    fn all_that_is_out_of_date_is_in_parts_that_are_never_large() {
        let mut random = fastrand::Rng::with_seed(1);
        for seed in 0..40 {
            let surface = noise(seed, 1300, 200, 1 << (seed % 10), 200);
            let rects: Vec<Rect> = (0..random.usize(1..30)).map(|_| some_rect(&mut random, &surface)).collect();
            for encoding in [PixelEncoding::Zrle, PixelEncoding::Tight] {
                let parts = parts(&surface, rects.clone(), encoding);

                let mut sent = vec![false; 1300 * 200];
                for part in &parts {
                    assert!(part.width * part.height <= 2 * MAX_PIXELS && part.width <= tight::MAX_WIDTH);
                    assert_eq!(part.within(1300, 200), Some(*part));
                    (part.y..part.y + part.height)
                        .for_each(|y| sent[(y * 1300 + part.x) as usize..][..part.width as usize].fill(true));
                }
                for rect in &rects {
                    assert!((rect.y..rect.y + rect.height).all(|y| {
                        sent[(y * 1300 + rect.x) as usize..][..rect.width as usize].iter().all(|sent| *sent)
                    }));
                }
            }
        }
    }

    #[test]
    fn lines_are_few_details_and_noise_is_nothing_else() {
        let mut lines = Surface::new(100, 100);
        for y in 0..100 {
            lines.pixels[y * 100 + 50] = 1;
        }
        lines.pixels[40 * 100..41 * 100].fill(2);
        let whole = rect(0, 0, 100, 100);

        assert_eq!(count_details(&Surface::new(100, 100), whole, 0), Some(0));
        let few = count_details(&lines, whole, u32::MAX).unwrap();
        assert!((1..20).contains(&few), "{few}");
        assert_eq!(count_details(&lines, whole, few - 1), None);
        assert!(count_details(&noise(1, 100, 100, 9000, 1), whole, u32::MAX).unwrap() > 9_000);
    }
}
