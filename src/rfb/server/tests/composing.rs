//! What updates say, byte for byte, without threads and sockets.

use super::super::order::{Encodings, Notices, Order, SizeReason};
use super::super::session::Settings;
use super::super::update::Composer;
use crate::rfb::client::Eye;
use crate::rfb::encoding::tests::noise;
use crate::rfb::memory::Memory;
use crate::rfb::pixel_format::PixelFormat;
use crate::rfb::protocol::Encoding;
use crate::screen::canvas::Canvas;
use crate::screen::cursor::{Cursor, CursorImage};
use crate::screen::{Rect, Screen, Surface};
use std::io::Write;
use std::sync::Arc;

const EVERYTHING: Rect = Rect { x: 0, y: 0, width: 65535, height: 65535 };
pub(super) const CHANGES: Order = Order { area: EVERYTHING, anew: None };
const ANEW: Order = Order { area: EVERYTHING, anew: Some(EVERYTHING) };

/// A viewer's side and the server's, with the bytes between them.
pub(super) struct Pair {
    pub(super) canvas: Arc<Canvas>,
    composer: Composer,
    pub(super) viewer: Eye,
}

impl Pair {
    pub(super) fn new(width: u32, height: u32, encodings: &[Encoding]) -> Self {
        let canvas = Arc::new(Canvas::new(width, height));
        let mut composer = Composer::new(Arc::clone(&canvas) as _, width, height);
        composer.apply(Settings { format: None, encodings: Some(Encodings::new(encodings)) });
        Self { canvas, composer, viewer: Eye::new(width, height) }
    }

    /// Sends an update and gives back its bytes.
    fn send(&mut self, order: Order, mut notices: Notices) -> Vec<u8> {
        notices.pointer_position = self.composer.follow_cursor();
        let mut bytes = Vec::new();
        let mut write = |part: &[u8], _| {
            bytes.extend_from_slice(part);
            Ok(())
        };
        let sent = self.composer.send(&order, notices, "desktop", &mut write).unwrap();
        assert_eq!(sent, !bytes.is_empty());
        bytes
    }

    /// Sends an update to the viewer, and tells how many bytes it had.
    pub(super) fn update(&mut self, order: Order) -> usize {
        let bytes = self.send(order, Notices::default());
        self.viewer.see(&bytes);
        bytes.len()
    }

    fn scroll(&self, rows: usize) {
        self.canvas.paint(|surface| {
            let distance = rows * surface.width as usize;
            surface.pixels.copy_within(distance.., 0);
            let rest = surface.pixels.len() - distance;
            surface.pixels[rest..].fill(0x0055_5555);
        });
    }
}

#[test]
fn a_viewer_ends_up_with_what_is_on_the_screen() {
    for encodings in [
        &[Encoding::RAW][..],
        &[Encoding::ZRLE],
        &[Encoding::TIGHT, Encoding::COPY_RECT],
        &[Encoding::ZRLE, Encoding::COPY_RECT, Encoding::LAST_RECT],
    ] {
        let mut random = fastrand::Rng::with_seed(4);
        let mut pair = Pair::new(1100, 300, encodings);
        for seed in 0..30 {
            pair.canvas.paint(|surface| match seed % 3 {
                0 => *surface = noise(seed, 1100, 300, 1 << (seed % 11), 40),
                1 => surface.pixels.rotate_left(1100 * random.usize(1..100)),
                _ => surface.pixels[random.usize(..300 * 1100)] ^= 1,
            });

            pair.update(CHANGES);

            assert!(pair.viewer.picture == pair.canvas.picture(), "{encodings:?} after {seed} updates");
        }
    }
}

#[test]
fn an_unchanged_screen_is_not_sent() {
    let mut pair = Pair::new(640, 400, &[]);
    pair.update(ANEW);

    assert_eq!(pair.update(CHANGES), 0);
    assert!(!pair.composer.lacks(pair.canvas.refresh(), EVERYTHING));
}

#[test]
fn rows_that_were_painted_as_they_were_are_not_sent() {
    let mut pair = Pair::new(640, 400, &[]);
    pair.update(ANEW);
    pair.canvas.paint(|surface| surface.pixels.fill(1));
    pair.canvas.paint(|surface| surface.pixels.fill(0));

    assert!(pair.composer.lacks(pair.canvas.refresh(), EVERYTHING));
    assert_eq!(pair.update(CHANGES), 0);
}

#[test]
fn what_is_wanted_anew_is_sent_changed_or_not() {
    let mut pair = Pair::new(640, 400, &[]);
    pair.update(ANEW);

    assert_eq!(pair.update(ANEW), pair.update(ANEW));
    assert!(pair.update(ANEW) > 640 * 400 * 4);
}

#[test]
fn text_that_scrolls_is_copied() {
    let mut pair = Pair::new(720, 400, &[Encoding::RAW, Encoding::COPY_RECT]);
    pair.canvas.paint(|surface| *surface = noise(1, 720, 400, 3, 50));
    pair.update(ANEW);
    for _ in 0..10 {
        pair.scroll(16);

        let bytes = pair.update(CHANGES);

        assert!(bytes < 720 * 17 * 4, "{bytes} bytes");
        assert!(pair.viewer.picture == pair.canvas.picture());
    }
}

#[test]
fn a_viewer_that_cannot_copy_gets_pixels() {
    let mut pair = Pair::new(720, 400, &[Encoding::RAW]);
    pair.canvas.paint(|surface| *surface = noise(1, 720, 400, 3, 50));
    pair.update(ANEW);
    pair.scroll(16);

    assert!(pair.update(CHANGES) > 720 * 300 * 4);
}

#[test]
fn parts_may_be_wanted_one_after_the_other() {
    let mut pair = Pair::new(640, 400, &[Encoding::RAW, Encoding::COPY_RECT]);
    let parts = [(0, 0, 320, 200), (320, 0, 320, 200), (0, 200, 640, 100), (0, 300, 640, 100)];
    for seed in 0..4 {
        pair.canvas.paint(|surface| *surface = noise(seed, 640, 400, 5, 9));
        for (x, y, width, height) in parts {
            pair.update(Order { area: Rect { x, y, width, height }, anew: None });
        }
        assert!(pair.viewer.picture == pair.canvas.picture());
        pair.scroll(16);
        pair.update(CHANGES);
        assert!(pair.viewer.picture == pair.canvas.picture());
    }
}

#[test]
fn a_viewer_follows_the_screens_size_if_it_can() {
    for encoding in [Encoding::DESKTOP_SIZE, Encoding::EXTENDED_DESKTOP_SIZE] {
        let mut pair = Pair::new(640, 400, &[encoding]);
        pair.update(ANEW);
        pair.canvas.paint(|surface| *surface = noise(1, 800, 600, 9, 9));

        pair.update(CHANGES);
        assert_eq!((pair.viewer.picture.width, pair.viewer.picture.height), (800, 600));
        pair.update(CHANGES);

        assert!(pair.viewer.picture == pair.canvas.picture());
    }
}

#[test]
fn a_viewer_that_cannot_follow_sees_what_fits_on_black() {
    let mut pair = Pair::new(640, 400, &[Encoding::COPY_RECT]);
    pair.canvas.paint(|surface| *surface = noise(1, 640, 400, 9, 9));
    pair.update(ANEW);
    for (width, height) in [(320, 200), (800, 300), (300, 600), (640, 400)] {
        let picture = noise(2, width, height, 9, 9);
        pair.canvas.paint(|surface| *surface = picture.clone());

        pair.update(CHANGES);

        for y in 0..400 {
            let mut row: Vec<u32> = picture.row(y).iter().copied().take(640).collect();
            row.resize(640, 0);
            assert!(pair.viewer.picture.row(y) == row, "row {y} of {width} by {height}");
        }
    }
}

#[test]
fn a_size_that_changes_while_an_update_is_on_its_way_comes_with_the_next() {
    for encodings in [&[Encoding::DESKTOP_SIZE][..], &[Encoding::DESKTOP_SIZE, Encoding::LAST_RECT]] {
        let mut pair = Pair::new(1000, 1000, encodings);
        let mut changing = Changing { canvas: Arc::clone(&pair.canvas), bytes: Vec::new(), written: 0 };

        pair.composer.send(&ANEW, Notices::default(), "", &mut |bytes, _| changing.write_all(bytes)).unwrap();
        pair.viewer.see(&changing.bytes);
        pair.update(CHANGES);
        pair.update(CHANGES);

        assert!(changing.written > 1, "the update was one piece");
        assert!(pair.viewer.picture == pair.canvas.picture());
    }
}

/// A connection that the screen changes its size behind.
struct Changing {
    canvas: Arc<Canvas>,
    bytes: Vec<u8>,
    written: usize,
}

impl std::io::Write for Changing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.written += 1;
        self.canvas.paint(|surface| *surface = noise(self.written as u64, 500 + self.written as u32, 700, 50, 5));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_changes_while_an_update_is_on_its_way_comes_with_the_next() {
    let mut pair = Pair::new(1000, 1000, &[Encoding::COPY_RECT]);
    pair.canvas.paint(|surface| *surface = noise(0, 1000, 1000, 50, 5));
    let mut scrolling = Scrolling { canvas: Arc::clone(&pair.canvas), bytes: Vec::new() };
    for _ in 0..5 {
        pair.composer.send(&ANEW, Notices::default(), "", &mut |bytes, _| scrolling.write_all(bytes)).unwrap();
        pair.viewer.see(&std::mem::take(&mut scrolling.bytes));
        pair.update(CHANGES);

        assert!(pair.viewer.picture == pair.canvas.picture());
    }
}

/// A connection behind which the screen scrolls.
struct Scrolling {
    canvas: Arc<Canvas>,
    bytes: Vec<u8>,
}

impl std::io::Write for Scrolling {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.canvas.paint(|surface| surface.pixels.rotate_left(7 * 1000));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn notices_are_for_viewers_that_understand_them() {
    let all = Notices {
        extended_keys: true,
        extended_buttons: true,
        pointer_mode: true,
        desktop_size: Some(SizeReason::Refused),
        name: true,
        pointer_position: None,
    };
    let encodings = [
        Encoding::QEMU_EXTENDED_KEY_EVENT,
        Encoding::EXTENDED_MOUSE_BUTTONS,
        Encoding::QEMU_POINTER_MOTION_CHANGE,
        Encoding::DESKTOP_NAME,
        Encoding::EXTENDED_DESKTOP_SIZE,
    ];
    let mut knowing = Pair::new(640, 400, &encodings);
    let mut simple = Pair::new(640, 400, &[]);
    knowing.update(ANEW);
    simple.update(ANEW);

    let told = knowing.send(CHANGES, all);

    let (count, rects) = told.split_first_chunk::<4>().unwrap();
    assert_eq!(count, &[0, 0, 0, 5]);
    assert_eq!(&rects[..12], b"\0\0\0\0\x02\x80\x01\x90\xFF\xFF\xFE\xFE", "scan codes");
    let (buttons, rects) = (&rects[12..24], [&rects[..12], &rects[24..]].concat());
    assert_eq!(buttons, b"\0\0\0\0\x02\x80\x01\x90\xFF\xFF\xFE\xC4", "side buttons");
    assert_eq!(&rects[12..24], b"\0\x01\0\0\x02\x80\x01\x90\xFF\xFF\xFE\xFF", "positions");
    assert_eq!(&rects[24..47], b"\0\0\0\0\x02\x80\x01\x90\xFF\xFF\xFE\xCD\0\0\0\x07desktop");
    assert_eq!(&rects[47..59], b"\0\x01\0\x01\x02\x80\x01\x90\xFF\xFF\xFE\xCC", "this viewer asked, it is forbidden");
    assert_eq!(&rects[59..], b"\x01\0\0\0\0\0\0\0\0\0\0\0\x02\x80\x01\x90\0\0\0\0", "one screen");
    assert_eq!(simple.send(CHANGES, all), [0u8; 0]);
}

/// The picture with the pointer over it.
fn pointed(pair: &Pair) -> Surface {
    let mut seen = Surface::default();
    pair.canvas.look(0, &mut |surface, _| seen = surface.clone());
    seen
}

fn pointer(colour: u32, x: i32, y: i32) -> Option<Cursor> {
    let image = CursorImage { width: 20, height: 30, hot_spot: (4, 5), pixels: vec![0xFF00_0000 | colour; 600] };
    Some(Cursor { image: Arc::new(image), x, y })
}

#[test]
fn a_viewer_that_draws_the_pointer_is_told_how_and_others_have_it_in_their_picture() {
    for (encoding, draws) in [(Encoding::CURSOR_WITH_ALPHA, true), (Encoding::DESKTOP_SIZE, false)] {
        let mut pair = Pair::new(640, 400, &[encoding, Encoding::COPY_RECT]);
        pair.canvas.paint(|surface| *surface = noise(1, 640, 400, 3, 50));
        pair.update(ANEW);
        let places = [(7, 100, 50), (7, 103, 53), (7, -10, 390), (8, -10, 390), (8, 700, 0), (8, 0, 0)];
        for (colour, x, y) in places {
            let cursor = pointer(colour, x, y);
            pair.canvas.point(cursor.clone());

            pair.update(CHANGES);

            let expected = if draws { pair.canvas.picture() } else { pointed(&pair) };
            assert!(pair.viewer.picture == expected, "{encoding:?}, the pointer at {x}, {y}");
            assert_eq!(pair.viewer.cursor, cursor.filter(|_| draws).map(|cursor| cursor.image));
        }
        pair.canvas.point(None);
        pair.update(CHANGES);
        assert!(pair.viewer.picture == pair.canvas.picture());
        assert_eq!(pair.viewer.cursor, draws.then(Arc::default));
    }
}

#[test]
fn a_pointer_that_moves_costs_a_viewer_that_draws_it_nothing() {
    let mut pair = Pair::new(640, 400, &[Encoding::CURSOR]);
    pair.canvas.point(pointer(7, 100, 100));
    let told = pair.send(ANEW, Notices::default());
    assert_eq!(told[4..16], *b"\0\x04\0\x05\0\x14\0\x1E\xFF\xFF\xFF\x11");

    pair.canvas.point(pointer(7, 200, 200));

    assert_eq!(pair.update(CHANGES), 0);
}

#[test]
fn a_pointer_that_does_not_go_where_it_is_told_is_in_every_picture() {
    let mut pair = Pair::new(640, 400, &[Encoding::CURSOR_WITH_ALPHA]);
    pair.canvas.point(pointer(7, 100, 100));
    pair.update(ANEW);

    for (follows_position, drawn) in [(false, false), (true, true)] {
        pair.composer.pointer_mode_changed(follows_position);
        pair.update(CHANGES);

        assert!(pair.viewer.picture == if drawn { pair.canvas.picture() } else { pointed(&pair) });
        assert_eq!(pair.viewer.cursor.as_ref().unwrap().width, if drawn { 20 } else { 0 });
    }
}

#[test]
fn where_the_pointer_is_moved_to_is_told_to_viewers_that_follow() {
    let mut pair = Pair::new(640, 400, &[Encoding::CURSOR, Encoding::POINTER_POSITION]);
    pair.canvas.point(pointer(7, 10, 20));
    pair.send(ANEW, Notices::default());

    pair.canvas.point(pointer(7, 256, 0));
    assert_eq!(pair.send(CHANGES, Notices::default()), b"\0\0\0\x01\x01\x04\0\x05\0\0\0\0\xFF\xFF\xFF\x18");

    pair.canvas.point(pointer(7, 636, 0));
    assert_eq!(pair.update(CHANGES), 0, "it points beside the screen");
}

#[test]
fn a_colour_map_comes_before_the_first_pixels_that_need_it() {
    let mut pair = Pair::new(64, 4, &[]);
    let format = PixelFormat { true_colour: false, ..PixelFormat::BGR233 };
    pair.composer.apply(Settings { format: Some(format), encodings: None });
    pair.canvas.paint(|surface| surface.pixels.fill(0x00FF_0000));

    let first = pair.send(CHANGES, Notices::default());
    let second = pair.send(ANEW, Notices::default());

    let map = 6 + 256 * 6;
    assert_eq!(first[..6], [1, 0, 0, 0, 1, 0]);
    assert_eq!(first[map..map + 4], [0, 0, 0, 1]);
    assert_eq!(first[map + 16..], [7; 64 * 4]);
    assert_eq!(second, first[map..]);
}

#[test]
fn new_pixels_make_everything_old_worthless() {
    let mut pair = Pair::new(640, 400, &[Encoding::COPY_RECT]);
    pair.update(ANEW);

    pair.composer.apply(Settings { format: Some(PixelFormat::NATIVE), encodings: None });

    assert!(pair.update(CHANGES) > 640 * 400 * 4);
}

#[test]
fn a_piece_is_never_large() {
    let mut pair = Pair::new(2560, 1600, &[]);
    pair.canvas.paint(|surface| *surface = noise(1, 2560, 1600, 5000, 2));
    let mut largest = Largest(0);

    pair.composer.send(&ANEW, Notices::default(), "", &mut |bytes, _| largest.write_all(bytes)).unwrap();

    assert!(largest.0 <= 512 * 1024, "{} bytes", largest.0);
}

struct Largest(usize);

impl std::io::Write for Largest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_viewer_that_shares_memory_finds_everything_there_and_is_sent_next_to_nothing() {
    let canvas = Arc::new(Canvas::new(1100, 900));
    let mut composer = Composer::new(Arc::clone(&canvas) as _, 1100, 900);
    let encodings = Encodings::new(&[Encoding::SHARED_MEMORY, Encoding::DESKTOP_SIZE, Encoding::LAST_RECT]);
    composer.apply(Settings { format: None, encodings: Some(encodings) });
    let mut random = fastrand::Rng::with_seed(4);
    let (mut memory, mut received) = (None, 0);
    for seed in 0..24 {
        canvas.paint(|surface| match seed % 4 {
            0 if seed % 8 == 0 => *surface = noise(seed, 1101 + seed as u32, 900, 500, 9),
            1 => surface.pixels.rotate_left(1100 * random.usize(1..100)),
            _ => surface.pixels[random.usize(..900 * 1100)] ^= 1,
        });
        let picture = canvas.picture();
        let mut sent = 0;
        // The first may tell of another size only.
        for _ in 0..2 {
            let mut write = |bytes: &[u8], descriptor| {
                sent += bytes.len();
                if let Some(descriptor) = descriptor {
                    memory = Some(Memory::open(descriptor, picture.width, picture.height).unwrap());
                    received += 1;
                }
                Ok(())
            };
            composer.send(&CHANGES, Notices::default(), "", &mut write).unwrap();
        }

        let mut seen = Surface::new(picture.width, picture.height);
        memory.as_ref().unwrap().read(&mut seen);
        assert!(seen == picture, "after {seed} changes");
        assert!(sent < 1024, "{sent} bytes after {seed} changes");
    }
    assert_eq!(received, 3, "one for each size");
}
