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
