//! The rectangles of an update: what is out of date, cut as suits the encoding.

use super::join::join;
use super::order::PixelEncoding;
use crate::rfb::encoding::{tight, zrle};
use crate::screen::{Rect, Surface};

/// No rectangle has more pixels, except for a row that is longer.
pub(super) const MAX_PIXELS: u32 = 48 * 1024;
/// ZRLE's rectangles are whole tiles, and no wider than some.
const ZRLE_WIDTH: u32 = 12 * zrle::TILE;
/// Tight's rectangles are so small that text and photographs seldom share one, and so large that what repeats is found: no
/// wider, and no higher either unless they are narrow.
const TIGHT_WIDTH: u32 = 256;
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
}
