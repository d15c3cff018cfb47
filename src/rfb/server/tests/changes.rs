//! Many small changes, one after the other, anywhere: what a viewer has is what is on the screen, to the last pixel.

use super::super::order::{Encodings, Notices, Order};
use super::super::session::Settings;
use super::super::update::Composer;
use super::composing::{CHANGES, Pair};
use crate::rfb::encoding::tests::some_rect;
use crate::rfb::memory::Memory;
use crate::rfb::protocol::Encoding;
use crate::screen::canvas::Canvas;
use crate::screen::{Rect, Surface};
use fastrand::Rng;
use std::sync::Arc;

/// Screens of all widths beside those of tiles, columns and words.
const SIZES: [(u32, u32); 6] = [(1, 1), (7, 3), (65, 40), (513, 33), (803, 61), (1100, 130)];
const ROUNDS: usize = 40;

/// Draws something small somewhere, as guests do.
fn draw(random: &mut Rng, surface: &mut Surface) {
    let mut part = some_rect(random, surface);
    part.width = part.width.min(random.u32(1..40));
    part.height = part.height.min(random.u32(1..20));
    let places = (part.y..part.y + part.height).flat_map(|y| (part.x..part.x + part.width).map(move |x| (x, y)));
    let places: Vec<usize> = places.map(|(x, y)| (y * surface.width + x) as usize).collect();
    match random.u8(..5) {
        0 => surface.pixels[places[0]] ^= 1,
        1 => places.iter().for_each(|place| surface.pixels[*place] = 0x0012_3456),
        2 => places.iter().for_each(|place| surface.pixels[*place] = random.u32(..) & 0x00FF_FFFF),
        // A part moves to the left, or rows move up.
        3 => places
            .iter()
            .for_each(|place| surface.pixels[*place] = surface.pixels[surface.pixels.len().min(place + 2) - 1]),
        _ => surface.pixels.rotate_left(random.usize(..surface.height as usize) * surface.width as usize),
    }
}

/// Draws up to three times, and takes back what the last time has drawn every now and then.
fn change(random: &mut Rng, canvas: &Canvas) {
    for _ in 0..random.usize(..4) {
        canvas.paint(|surface| draw(random, surface));
    }
    if random.u8(..8) == 0 {
        let before = canvas.picture();
        canvas.paint(|surface| draw(random, surface));
        canvas.paint(|surface| *surface = before);
    }
}

fn is_same(one: &Surface, other: &Surface, area: Rect) -> bool {
    let row = |surface: &'_ Surface, y: u32| -> Vec<u32> {
        surface.row(y)[area.x as usize..(area.x + area.width) as usize].to_vec()
    };
    (area.y..area.y + area.height).all(|y| row(one, y) == row(other, y))
}

#[test]
fn no_pixel_is_missed_in_any_encoding() {
    for encodings in [
        &[Encoding::RAW][..],
        &[Encoding::RAW, Encoding::COPY_RECT],
        &[Encoding::ZRLE, Encoding::COPY_RECT, Encoding::LAST_RECT],
        &[Encoding::TIGHT, Encoding::COPY_RECT, Encoding::LAST_RECT],
    ] {
        for (width, height) in SIZES {
            let mut random = Rng::with_seed(u64::from(width));
            let mut pair = Pair::new(width, height, encodings);
            for round in 0..ROUNDS {
                change(&mut random, &pair.canvas);
                let picture = pair.canvas.picture();
                // Every now and then only a part is wanted, and the rest later.
                if random.u8(..4) == 0 {
                    let area = some_rect(&mut random, &picture);
                    pair.update(Order { area, anew: None });
                    assert!(
                        is_same(&pair.viewer.picture, &picture, area),
                        "{encodings:?}, {width} by {height}: {round}"
                    );
                    change(&mut random, &pair.canvas);
                }

                pair.update(CHANGES);

                assert!(pair.viewer.picture == pair.canvas.picture(), "{encodings:?}, {width} by {height}: {round}");
            }
        }
    }
}

#[test]
fn no_pixel_is_missed_in_shared_memory() {
    for (width, height) in SIZES {
        let mut random = Rng::with_seed(u64::from(height));
        let canvas = Arc::new(Canvas::new(width, height));
        let mut composer = Composer::new(Arc::clone(&canvas) as _, width, height);
        let encodings = Encodings::new(&[Encoding::SHARED_MEMORY, Encoding::DESKTOP_SIZE]);
        composer.apply(Settings { format: None, encodings: Some(encodings) });
        let (mut memory, mut seen) = (None, Surface::new(width, height));
        for round in 0..ROUNDS {
            change(&mut random, &canvas);

            let mut write = |_: &[u8], descriptor| {
                memory = memory.take().or_else(|| Memory::open(descriptor?, width, height).ok());
                Ok(())
            };
            composer.send(&CHANGES, Notices::default(), "", &mut write).unwrap();

            memory.as_ref().unwrap().read(&mut seen);
            assert!(seen == canvas.picture(), "{width} by {height}: {round}");
        }
    }
}

#[test]
fn a_small_change_is_few_bytes() {
    let mut pair = Pair::new(1920, 1080, &[Encoding::RAW]);
    pair.update(CHANGES);
    // The frame of a window that moves, and two letters.
    let shapes = [(320, 100, 640, 4), (320, 104, 8, 400), (952, 104, 8, 400), (40, 20, 10, 16), (56, 20, 10, 16)];
    pair.canvas.paint(|surface| {
        for (x, y, width, height) in shapes {
            for row in y..y + height {
                surface.pixels[row * 1920 + x..][..width].fill(1);
            }
        }
    });

    let bytes = pair.update(CHANGES);

    let least: usize = shapes.iter().map(|(_, _, width, height)| width * height * 4).sum();
    assert!(bytes < least * 6 / 5, "{bytes} bytes where {least} have changed");
}
