//! Drawing the VGA's graphics modes: 16 colours out of four planes, CGA's four colours, 256 colours (chain-4 and mode X).

#![forbid(unsafe_code)]

use super::{
    canvas::Canvas,
    mode::{PlanesMode, Shift},
};

/// Dots that four bytes, one of each plane, are shown as.
const DOTS: usize = 8;

/// For each byte its bits, the highest first, one in each byte of a word.
const BITS: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut dot = 0;
        while dot < 8 {
            table[byte] |= ((byte as u64 >> (7 - dot)) & 1) << (8 * dot);
            dot += 1;
        }
        byte += 1;
    }
    table
};

/// Buffers for a line.
#[derive(Debug, Default)]
pub struct PlanesPainter {
    bytes: Vec<u8>,
    pixels: Vec<u32>,
}

impl PlanesPainter {
    /// Draws the lines that may have changed.
    pub fn draw(&mut self, mode: &PlanesMode, canvas: &mut Canvas) {
        let wide = usize::from(mode.wide);
        let width = (mode.columns as usize * DOTS) << wide;
        // Lines often show what the line above shows.
        let mut drawn = None;
        for y in 0..mode.scan.height {
            let line = mode.scan.line(y);
            let columns = mode.columns + u32::from(line.panning > 0);
            if !canvas.planes_changed(line.address, columns, mode.addresses) {
                continue;
            }
            if drawn != Some((line.address, line.panning)) {
                drawn = Some((line.address, line.panning));
                self.bytes.resize(columns as usize * 4, 0);
                canvas.read_planes(line.address, mode.addresses, &mut self.bytes);
                self.pixels.clear();
                convert(mode, &self.bytes, &mut self.pixels);
            }
            let skip = (line.panning as usize) << wide;
            canvas.shadow.draw(0, y as usize, self.pixels.get(skip..skip + width).unwrap_or(&[]));
        }
    }
}

/// Appends the pixels that `bytes`, four for every eight dots, stand for.
fn convert(mode: &PlanesMode, bytes: &[u8], pixels: &mut Vec<u32>) {
    let colour = |index: u8| mode.colours.get(usize::from(index)).copied().unwrap_or(0);
    for &planes in bytes.as_chunks::<4>().0 {
        let indices: [u8; DOTS] = match mode.shift {
            Shift::Planar => {
                let [a, b, c, d] = planes.map(|byte| BITS[usize::from(byte)]);
                (a | b << 1 | c << 2 | d << 3).to_le_bytes()
            }
            Shift::Interleaved => std::array::from_fn(|dot| {
                let (low, high) = if dot < 4 { (planes[0], planes[2]) } else { (planes[1], planes[3]) };
                let shift = 6 - dot % 4 * 2;
                (low >> shift & 3) | (high >> shift & 3) << 2
            }),
            Shift::Packed => std::array::from_fn(|dot| planes[dot / 2]),
        };
        if mode.wide {
            pixels.extend(indices.iter().flat_map(|&index| [colour(index); 2]));
        } else {
            pixels.extend(indices.iter().map(|&index| colour(index)));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        screen::Rect,
        vmm::display::testing::{Bench, CGA, CGA_FINE, PACKED, PLANAR, colour},
    };

    #[test]
    fn sixteen_colours_take_a_bit_of_each_plane() {
        let mut bench = Bench::in_mode(&PLANAR);
        // Row 2, dots 8 to 15: plane 0 the first four, plane 3 the last two.
        for (plane, bits) in [(1, 0xf0), (8, 0x03)] {
            bench.register(0x3c4, 2, plane);
            bench.window(0xa0000 + 2 * 80 + 1, &[bits]);
        }

        let surface = bench.surface();

        assert_eq!((surface.width, surface.height), (640, 480));
        // Pixel value 1 is palette entry 1, value 8 entry 0x38.
        let [zero, one, eight] = [0, 1, 0x38].map(colour);
        assert_eq!(surface.row(2)[7..17], [zero, one, one, one, one, zero, zero, eight, eight, zero]);
        assert!(surface.row(3).iter().all(|&pixel| pixel == zero));
    }

    #[test]
    fn hidden_planes_are_not_seen() {
        let mut bench = Bench::in_mode(&PLANAR);
        bench.window(0xa0000, &[0x80]);
        bench.attribute(0x12, 0x02);

        assert_eq!(bench.surface().row(0)[0], colour(2));
    }

    #[test]
    fn mode_13h_doubles_its_pixels_both_ways() {
        let mut bench = Bench::in_mode(&PACKED);
        bench.window(0xa0000 + 320 + 5, &[99, 100]);

        let surface = bench.surface();

        assert_eq!((surface.width, surface.height), (640, 400));
        for y in [2, 3] {
            assert_eq!(surface.row(y)[9..15], [0, 99, 99, 100, 100, 0].map(colour));
        }
        assert_eq!(surface.row(1)[10], colour(0));
        assert_eq!(surface.row(4)[10], colour(0));
    }

    #[test]
    fn mode_x_takes_its_pixels_from_the_planes_in_turn() {
        let mut bench = Bench::in_mode(&PACKED);
        bench.register(0x3c4, 4, 6);
        bench.crtc(0x14, 0);
        bench.crtc(0x17, 0xe3);
        for plane in 0..4 {
            bench.register(0x3c4, 2, 1 << plane);
            bench.window(0xa0001, &[40 + plane]);
        }
        bench.crtc(0x0d, 1);

        assert_eq!(bench.surface().row(0)[..8], [40, 40, 41, 41, 42, 42, 43, 43].map(colour));
    }

    #[test]
    fn cga_has_two_bits_a_pixel_and_odd_lines_elsewhere() {
        let mut bench = Bench::in_mode(&CGA);
        bench.window(0xb8000, &[0b00_01_10_11, 0b11_00_00_00]);
        bench.window(0xb8000 + 0x2000 + 1, &[0b01_00_00_00]);

        let surface = bench.surface();

        assert_eq!((surface.width, surface.height), (640, 400));
        let [zero, one, two, three] = [0, 0x13, 0x15, 0x17].map(colour);
        for y in [0, 1] {
            assert_eq!(surface.row(y)[..12], [zero, zero, one, one, two, two, three, three, three, three, zero, zero]);
        }
        for y in [2, 3] {
            assert_eq!(surface.row(y)[6..12], [zero, zero, one, one, zero, zero]);
        }
    }

    #[test]
    fn cga_with_two_colours_has_one_bit_a_pixel() {
        let mut bench = Bench::in_mode(&CGA_FINE);
        bench.window(0xb8000 + 79, &[0x01]);
        bench.window(0xb8000 + 0x2000, &[0x80]);

        let surface = bench.surface();

        assert_eq!(surface.row(0)[638..], [0, 0x17].map(colour));
        assert_eq!(surface.row(2)[..2], [0x17, 0].map(colour));
    }

    #[test]
    fn panning_moves_the_picture_by_single_dots() {
        let mut bench = Bench::in_mode(&PLANAR);
        bench.window(0xa0000, &[0x10]);
        bench.window(0xa0000 + 80, &[0x80]);
        bench.attribute(0x13, 3);

        let surface = bench.surface();

        assert_eq!(surface.row(0)[..2], [0x3f, 0].map(colour));
        assert_eq!(surface.row(0)[637], colour(0x3f), "the next byte of memory comes in from the right");
    }

    #[test]
    fn below_the_split_the_memory_begins_again() {
        let mut bench = Bench::in_mode(&PLANAR);
        bench.window(0xa0000, &[0x80]);
        bench.crtc(0x0c, 0x80);
        bench.crtc(0x07, 0x3e & !0x10);
        bench.crtc(0x09, 0);
        bench.crtc(0x18, 99);

        let surface = bench.surface();

        let marked: Vec<u32> = (0..480).filter(|&y| surface.row(y)[0] != colour(0)).collect();
        assert_eq!(marked, [100]);
    }

    #[test]
    fn a_written_byte_damages_its_tile() {
        let mut bench = Bench::in_mode(&PLANAR);
        let before = bench.refresh();

        bench.window(0xa0000 + 16 * 80 + 8, &[0xff]);

        assert_eq!(bench.damage(before), [Rect { x: 64, y: 16, width: 8, height: 2 }]);
    }

    #[test]
    fn sixteen_colours_work_in_vbe_modes_too() {
        let mut bench = Bench::in_vbe_mode(800, 600, 4);
        for (port, index, value) in [(0x3c4, 2, 0x0f), (0x3c4, 4, 6), (0x3ce, 6, 5), (0x3ce, 8, 0xff)] {
            bench.register(port, index, value);
        }
        bench.attribute(0x0f, 0x2a);
        bench.attribute(0x12, 0x0f);
        bench.window(0xa0000 + 599 * 100 + 99, &[1]);

        assert_eq!(bench.surface().row(599)[798..], [0, 0x2a].map(colour));
    }
}
