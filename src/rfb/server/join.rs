//! Joins the rectangles of an update where that makes it shorter: each has a header and a part of a stream, and next to nothing
//! is sent for what is of one colour between two of them.

use super::order::PixelEncoding;
use super::parts::MAX_PIXELS;
use crate::rfb::encoding::row_part;
use crate::screen::{Rect, Surface};

/// With so many of the rectangles before it one may be joined.
const REACH: usize = 8;

/// A rectangle, and how many pixels in it begin something: they are unlike those on their left, and not as those above them are.
/// None where all is of one colour, few where there are lines.
struct Drawn {
    rect: Rect,
    details: u32,
}

/// Joins rectangles for an encoding.
pub(super) fn join(surface: &Surface, rects: Vec<Rect>, encoding: PixelEncoding) -> Vec<Rect> {
    let bytes = match encoding {
        PixelEncoding::Zrle => zrle_bytes,
        PixelEncoding::Tight => tight_bytes,
        PixelEncoding::Raw | PixelEncoding::Memory => return rects,
    };
    let is_large = |rect: Rect| rect.width * rect.height > MAX_PIXELS;
    let (mut large, small): (Vec<Rect>, Vec<Rect>) = rects.into_iter().partition(|rect| is_large(*rect));
    let mut joined: Vec<Drawn> = Vec::with_capacity(small.len());
    for rect in small {
        let Some(details) = count_details(surface, rect, &[], u32::MAX) else { continue };
        let mut drawn = Drawn { rect, details };
        while let Some((place, both)) = joined.iter().enumerate().rev().take(REACH).find_map(|(place, other)| {
            let rect = drawn.rect.around(other.rect);
            let apart = bytes(drawn.rect, drawn.details) + bytes(other.rect, other.details);
            let most = apart.checked_sub(bytes(rect, 0)).filter(|_| !is_large(rect))?;
            let details = count_details(surface, rect, &[&drawn, other], most)?;
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

/// How many details a rectangle has. `None` when they are more than `most`. Those of parts that are `known` and as wide are not
/// counted again.
fn count_details(surface: &Surface, rect: Rect, known: &[&Drawn], most: u32) -> Option<u32> {
    let known = known.iter().filter(|part| (part.rect.x, part.rect.width) == (rect.x, rect.width));
    let mut details = known.clone().map(|part| part.details).sum::<u32>();
    let mut above: &[u32] = &[];
    let mut y = rect.y;
    while y < rect.y + rect.height && details <= most {
        let end_of_known =
            known.clone().map(|part| part.rect.y..part.rect.y + part.rect.height).find(|rows| rows.contains(&y));
        y = match end_of_known {
            Some(rows) => rows.end,
            None => {
                details += count_in_row(row_part(surface, rect.x, y, rect.width), above);
                y + 1
            }
        };
        above = row_part(surface, rect.x, y - 1, rect.width);
    }
    (details <= most).then_some(details)
}

/// The details of a row; there is nothing `above` the first one.
fn count_in_row(row: &[u32], above: &[u32]) -> u32 {
    if above.is_empty() {
        return pairs(row).map(|(left, right)| u32::from(left != right)).sum();
    }
    if row == above {
        return 0;
    }
    let begins = |((left, right), (left_above, right_above))| {
        u32::from((left != right) & ((left != left_above) | (right != right_above)))
    };
    u32::from(row.first() != above.first()) + pairs(row).zip(pairs(above)).map(begins).sum::<u32>()
}

/// Each pixel of a row but the last, and the one on its right.
fn pairs(row: &[u32]) -> impl Iterator<Item = (&u32, &u32)> {
    row.iter().zip(row.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfb::encoding::tests::noise;
    use crate::rfb::server::parts::parts;

    const fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    const WHOLE: Rect = rect(0, 0, 100, 100);
    /// The left and the lower edge of something.
    const EDGES: [Rect; 2] = [rect(0, 0, 8, 100), rect(8, 96, 92, 4)];

    fn details(surface: &Surface) -> u32 {
        count_details(surface, WHOLE, &[], u32::MAX).unwrap()
    }

    #[test]
    fn what_is_of_one_colour_between_two_rectangles_is_sent_along_and_what_is_drawn_there_is_not() {
        let flat = Surface::new(100, 100);
        let mut drawn = noise(1, 100, 100, 2, 3);
        for y in 0..100 {
            drawn.pixels[y * 100..][..8].fill(0);
        }
        drawn.pixels[96 * 100..].fill(0);

        for encoding in [PixelEncoding::Zrle, PixelEncoding::Tight] {
            assert_eq!(join(&flat, EDGES.to_vec(), encoding), [WHOLE]);
            assert_eq!(join(&drawn, EDGES.to_vec(), encoding), EDGES);
        }
        for encoding in [PixelEncoding::Raw, PixelEncoding::Memory] {
            assert_eq!(parts(&flat, EDGES.to_vec(), encoding), EDGES);
        }
    }

    #[test]
    fn lines_are_few_details_and_noise_is_nothing_else() {
        let mut lines = Surface::new(100, 100);
        for y in 0..100 {
            lines.pixels[y * 100 + 50] = 1;
        }
        lines.pixels[40 * 100..41 * 100].fill(2);

        assert_eq!(details(&Surface::new(100, 100)), 0);
        let few = details(&lines);
        assert!((1..20).contains(&few), "{few}");
        assert_eq!(count_details(&lines, WHOLE, &[], few - 1), None);
        assert!(details(&noise(1, 100, 100, 9000, 1)) > 9_000);
    }

    #[test]
    fn what_is_known_of_a_part_is_not_counted_again() {
        let surface = noise(1, 100, 100, 4, 30);
        let known = |rect, details| count_details(&surface, WHOLE, &[&Drawn { rect, details }], u32::MAX).unwrap();

        let without = known(rect(0, 40, 100, 20), 0);
        assert!((details(&surface) / 2..details(&surface)).contains(&without), "{without}");
        assert_eq!(known(rect(0, 40, 100, 20), 1000), without + 1000);
        assert_eq!(known(rect(0, 40, 99, 20), 1000), details(&surface));
    }
}
