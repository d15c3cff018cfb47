//! Drawing the linear modes of the Bochs display interface.

#![forbid(unsafe_code)]

use super::{canvas::Canvas, mode::LinearMode, vbe::Depth};

/// Buffers for a row.
#[derive(Debug, Default)]
pub struct LinearPainter {
    bytes: Vec<u8>,
    pixels: Vec<u32>,
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
            self.pixels.clear();
            convert(mode, &self.bytes, &mut self.pixels);
            canvas.shadow.draw(first, y, &self.pixels);
        }
    }
}

/// Appends the pixels that `bytes` stand for.
fn convert(mode: &LinearMode, bytes: &[u8], pixels: &mut Vec<u32>) {
    let halves = bytes.as_chunks::<2>().0.iter();
    let words = bytes.as_chunks::<4>().0.iter();
    match (mode.vbe.depth, mode.big_endian) {
        (Depth::Indexed8, _) => match <&[u32; 256]>::try_from(mode.colours.as_slice()) {
            Ok(colours) => pixels.extend(bytes.iter().map(|&byte| colours[usize::from(byte)])),
            Err(_) => pixels.resize(bytes.len(), 0),
        },
        (Depth::Rgb15, false) => pixels.extend(halves.map(|&bytes| rgb15(u16::from_le_bytes(bytes)))),
        (Depth::Rgb15, true) => pixels.extend(halves.map(|&bytes| rgb15(u16::from_be_bytes(bytes)))),
        (Depth::Rgb16, false) => pixels.extend(halves.map(|&bytes| rgb16(u16::from_le_bytes(bytes)))),
        (Depth::Rgb16, true) => pixels.extend(halves.map(|&bytes| rgb16(u16::from_be_bytes(bytes)))),
        (Depth::Rgb24, big_endian) => {
            let [red, blue] = if big_endian { [0, 2] } else { [2, 0] };
            let triples = bytes.as_chunks::<3>().0.iter();
            pixels.extend(triples.map(|bytes| u32::from_be_bytes([0, bytes[red], bytes[1], bytes[blue]])));
        }
        (Depth::Rgb32, false) => pixels.extend(words.map(|&bytes| u32::from_le_bytes(bytes) & 0xff_ffff)),
        (Depth::Rgb32, true) => pixels.extend(words.map(|&bytes| u32::from_be_bytes(bytes) & 0xff_ffff)),
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
