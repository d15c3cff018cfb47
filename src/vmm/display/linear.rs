//! Drawing the linear modes of the Bochs display interface.

#![forbid(unsafe_code)]

use super::{canvas::Canvas, mode::LinearMode, vbe::Depth};
use crate::screen::shadow::Shadow;

/// A buffer for a row.
#[derive(Debug, Default)]
pub struct LinearPainter {
    bytes: Vec<u8>,
}

impl LinearPainter {
    /// Draws the rows that may have changed.
    pub fn draw(&mut self, mode: &LinearMode, canvas: &mut Canvas) {
        let depth = mode.vbe.depth;
        let pixel_size = depth.bytes(1);
        let row_size = depth.bytes(usize::from(mode.vbe.width));
        for y in 0..usize::from(mode.vbe.height) {
            let row = mode.vbe.start + y * mode.vbe.stride;
            let Some(changed) = canvas.changed(row..row + row_size) else { continue };
            let first = (changed.start - row) / pixel_size;
            let last = (changed.end - row).div_ceil(pixel_size);
            self.bytes.resize((last - first) * pixel_size, 0);
            canvas.read(row + first * pixel_size, &mut self.bytes);
            draw_bytes(mode, first, y, &self.bytes, canvas.shadow);
        }
    }
}

/// Draws the pixels that `bytes` stand for, from column `x` of row `y`.
fn draw_bytes(mode: &LinearMode, x: usize, y: usize, bytes: &[u8], shadow: &mut Shadow) {
    let halves = bytes.as_chunks::<2>().0;
    let triples = bytes.as_chunks::<3>().0;
    let words = bytes.as_chunks::<4>().0;
    match (mode.vbe.depth, mode.big_endian) {
        (Depth::Indexed8, _) => match <&[u32; 256]>::try_from(mode.colours.as_slice()) {
            Ok(colours) => shadow.draw_as(x, y, bytes, |byte| colours[usize::from(byte)]),
            Err(_) => shadow.draw_as(x, y, bytes, |_| 0),
        },
        (Depth::Rgb15, false) => shadow.draw_as(x, y, halves, |pixel| rgb15(u16::from_le_bytes(pixel))),
        (Depth::Rgb15, true) => shadow.draw_as(x, y, halves, |pixel| rgb15(u16::from_be_bytes(pixel))),
        (Depth::Rgb16, false) => shadow.draw_as(x, y, halves, |pixel| rgb16(u16::from_le_bytes(pixel))),
        (Depth::Rgb16, true) => shadow.draw_as(x, y, halves, |pixel| rgb16(u16::from_be_bytes(pixel))),
        (Depth::Rgb24, false) => shadow.draw_as(x, y, triples, |[b, g, r]| u32::from_be_bytes([0, r, g, b])),
        (Depth::Rgb24, true) => shadow.draw_as(x, y, triples, |[r, g, b]| u32::from_be_bytes([0, r, g, b])),
        (Depth::Rgb32, false) => shadow.draw_as(x, y, words, |pixel| u32::from_le_bytes(pixel) & 0xff_ffff),
        (Depth::Rgb32, true) => shadow.draw_as(x, y, words, |pixel| u32::from_be_bytes(pixel) & 0xff_ffff),
        // Planes are drawn elsewhere.
        (Depth::Planar4, _) => {}
    }
}

/// Five bits a component to eight, so that full stays full.
fn rgb15(pixel: u16) -> u32 {
    let pixel = u32::from(pixel);
    let high = (pixel & 0x7c00) << 9 | (pixel & 0x03e0) << 6 | (pixel & 0x001f) << 3;
    high | high >> 5 & 0x07_0707
}

/// Five, six and five bits to eight, so that full stays full.
fn rgb16(pixel: u16) -> u32 {
    let pixel = u32::from(pixel);
    let high = (pixel & 0xf800) << 8 | (pixel & 0x07e0) << 5 | (pixel & 0x001f) << 3;
    high | high >> 5 & 0x07_0007 | high >> 6 & 0x00_0300
}

#[cfg(test)]
mod tests {
    use crate::vmm::display::testing::{Bench, colour};

    /// The first two pixels of row 1 of a mode whose row 1 begins with `bytes`.
    fn shown(depth: u16, stride: usize, big_endian: bool, bytes: &[u8]) -> [u32; 2] {
        let mut bench = Bench::in_vbe_mode(640, 480, depth);
        if big_endian {
            bench.set_big_endian();
        }
        bench.memory.guest_write(stride, bytes);
        let surface = bench.surface();
        assert_eq!((surface.width, surface.height), (640, 480));
        [surface.row(1)[0], surface.row(1)[1]]
    }

    #[test]
    fn eight_bits_are_colours_of_the_palette() {
        assert_eq!(shown(8, 640, false, &[200, 3]), [colour(200), colour(3)]);
    }

    #[test]
    fn eight_bit_components_are_taken_when_asked_for() {
        let mut bench = Bench::in_vbe_mode(640, 480, 8);
        bench.dispi(4, 0x41 | 0x20);
        bench.port(0x3c8, 1);
        for component in [0xff, 0x80, 0x01] {
            bench.port(0x3c9, component);
        }
        bench.memory.guest_write(0, &[1]);

        assert_eq!(bench.surface().row(0)[0], 0xff_80_01);
    }

    #[test]
    fn fifteen_and_sixteen_bits_reach_full_brightness() {
        assert_eq!(shown(15, 1280, false, &[0xff, 0x7f, 0x10, 0x40]), [0xff_ffff, 0x84_00_84]);
        assert_eq!(shown(16, 1280, false, &[0xff, 0xff, 0x21, 0x04]), [0xff_ffff, 0x00_86_08]);
        assert_eq!(shown(16, 1280, true, &[0x04, 0x21, 0xf8, 0x00]), [0x00_86_08, 0xff_00_00]);
    }

    #[test]
    fn twenty_four_bits_are_three_bytes() {
        assert_eq!(shown(24, 1920, false, &[1, 2, 3, 4, 5, 6]), [0x03_02_01, 0x06_05_04]);
        assert_eq!(shown(24, 1920, true, &[1, 2, 3, 4, 5, 6]), [0x01_02_03, 0x04_05_06]);
    }

    #[test]
    fn thirty_two_bits_leave_the_highest_byte_out() {
        assert_eq!(shown(32, 2560, false, &[1, 2, 3, 0xff, 4, 5, 6, 0xff]), [0x03_02_01, 0x06_05_04]);
        assert_eq!(shown(32, 2560, true, &[0xff, 1, 2, 3, 0xff, 4, 5, 6]), [0x01_02_03, 0x04_05_06]);
    }

    #[test]
    fn a_pixel_across_two_pages_is_drawn_when_either_changes() {
        let bench = Bench::in_vbe_mode(2000, 100, 24);
        bench.memory.guest_write(4095, &[1]);
        bench.refresh();

        bench.memory.guest_write(4096, &[2, 3]);

        assert_eq!(bench.surface().row(0)[1365], 0x03_02_01);
    }

    #[test]
    fn the_largest_mode_is_shown_to_its_last_pixel() {
        let bench = Bench::in_vbe_mode(2560, 1600, 32);
        bench.memory.guest_write(2560 * 1600 * 4 - 4, &[9, 0, 0, 0]);

        let surface = bench.surface();

        assert_eq!(surface.row(1599)[2558..], [0, 9]);
    }
}
