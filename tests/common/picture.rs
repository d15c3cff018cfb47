//! Pictures of a screen.

use std::io::Cursor;

use lodge::screen::Surface;

/// What makes a shell of the Linux guest turn its console blue, without a cursor.
pub const BLUE_CONSOLE: &str = r"printf '\033[?25l\033[44m\033[2J' >/dev/tty0";
/// The blue of Linux's console.
pub const BLUE: u32 = 0x0000aa;

/// A PNG as a surface.
pub fn decode_png(png: &[u8]) -> Surface {
    let mut decoder = png::Decoder::new(Cursor::new(png));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let samples = info.color_type.samples();
    let pixel = |sample: &[u8]| u32::from_be_bytes([0, sample[0], sample[1], sample[2]]);
    let pixels = bytes[..info.buffer_size()].chunks(samples).map(pixel).collect();
    Surface { width: info.width, height: info.height, pixels }
}

/// A picture in one colour.
pub fn plain(width: u32, height: u32, colour: u32) -> Surface {
    Surface { width, height, pixels: vec![colour; (width * height) as usize] }
}
