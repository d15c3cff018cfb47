//! What the monitor says about itself: an EDID 1.4 block (VESA Enhanced Extended Display Identification Data, release A,
//! revision 2) with the preferred size as its detailed timing.

#![forbid(unsafe_code)]

/// Bytes of the block.
pub const EDID_SIZE: usize = 128;

/// Refresh rate of the preferred mode, in Hz.
const REFRESH: u32 = 60;
/// Blank pixels after a line and the shortest vertical blanking in µs: CVT's reduced blanking.
const HORIZONTAL_BLANK: u32 = 160;
const VERTICAL_BLANK_MICROSECONDS: u32 = 460;
/// Pixels a millimetre at 96 dpi are 96 / 25.4; the size in millimetres is made up from it.
const MILLIMETRES_PER_1000_PIXELS: u32 = 265;
/// Sizes that twelve bits of a detailed timing can hold.
const MAX_SIZE: u32 = 4095;

/// Sizes and aspect ratio codes of the standard timings, all at 60 Hz.
const STANDARD_TIMINGS: [(u16, u8); 8] =
    [(1024, 1), (1280, 0), (1280, 2), (1440, 0), (1600, 1), (1680, 0), (1920, 0), (1920, 3)];

/// The EDID of a monitor that prefers `width` × `height` pixels.
pub fn edid(width: u32, height: u32) -> [u8; EDID_SIZE] {
    let mut block = [0; EDID_SIZE];
    block[..8].copy_from_slice(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
    // Three letters of five bits: "LDG"; product 1, serial number 0, week 0 of 2025.
    block[8..10].copy_from_slice(&manufacturer(*b"LDG").to_be_bytes());
    block[10] = 1;
    block[17] = (2025u16 - 1990) as u8;
    block[18..20].copy_from_slice(&[1, 4]);
    // Digital input with 8 bits a component.
    block[20] = 0b1010_0101;
    let (width, height) = (width.clamp(64, MAX_SIZE), height.clamp(64, MAX_SIZE));
    let millimetres = |pixels: u32| pixels * MILLIMETRES_PER_1000_PIXELS / 1000;
    block[21] = (millimetres(width) / 10).clamp(1, 255) as u8;
    block[22] = (millimetres(height) / 10).clamp(1, 255) as u8;
    // Gamma 2.2; sRGB, preferred timing is the native one.
    block[23] = 120;
    block[24] = 0b0000_0110;
    // The primaries of sRGB.
    block[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // Established timings: 640x480, 800x600 and 1024x768 at 60 Hz.
    block[35..38].copy_from_slice(&[0x21, 0x08, 0x00]);
    for (slot, (size, aspect)) in block[38..54].chunks_exact_mut(2).zip(STANDARD_TIMINGS) {
        slot.copy_from_slice(&[(size / 8 - 31) as u8, aspect << 6]);
    }
    block[54..72].copy_from_slice(&detailed_timing(width, height));
    block[72..90].copy_from_slice(&range_limits());
    block[90..108].copy_from_slice(&text(0xfc, "Lodge"));
    block[108..126].copy_from_slice(&text(0xfe, "virtual screen"));
    block[127] = block.iter().fold(0, |sum: u8, &byte| sum.wrapping_sub(byte));
    block
}

fn manufacturer(letters: [u8; 3]) -> u16 {
    letters.into_iter().fold(0, |all, letter| all << 5 | u16::from(letter - b'A' + 1))
}

fn detailed_timing(width: u32, height: u32) -> [u8; 18] {
    // The blanking takes its share of each frame, so the lines share what is left of it.
    let line_nanoseconds = (1_000_000_000 / REFRESH - VERTICAL_BLANK_MICROSECONDS * 1000) / height;
    let vertical_blank = (VERTICAL_BLANK_MICROSECONDS * 1000 / line_nanoseconds + 1).clamp(16, MAX_SIZE);
    let clock = u64::from(width + HORIZONTAL_BLANK) * u64::from(height + vertical_blank) * u64::from(REFRESH) / 10_000;
    let clock = u16::try_from(clock).unwrap_or(u16::MAX);
    let (horizontal_front, horizontal_sync, vertical_front, vertical_sync) = (48u32, 32u32, 3u32, 6u32);
    let millimetres = |pixels: u32| pixels * MILLIMETRES_PER_1000_PIXELS / 1000;
    let (image_width, image_height) = (millimetres(width), millimetres(height));
    let nibbles = |high: u32, low: u32| (high >> 8 << 4 | low >> 8) as u8;
    [
        clock.to_le_bytes()[0],
        clock.to_le_bytes()[1],
        width as u8,
        HORIZONTAL_BLANK as u8,
        nibbles(width, HORIZONTAL_BLANK),
        height as u8,
        vertical_blank as u8,
        nibbles(height, vertical_blank),
        horizontal_front as u8,
        horizontal_sync as u8,
        (vertical_front << 4 | vertical_sync) as u8,
        0,
        image_width as u8,
        image_height as u8,
        nibbles(image_width, image_height),
        0,
        0,
        // Digital separate sync, horizontal positive.
        0b0001_1010,
    ]
}

/// The descriptor of what the monitor can follow: 1 to 125 Hz, up to 255 kHz and 650 MHz.
fn range_limits() -> [u8; 18] {
    [0, 0, 0, 0xfd, 0, 1, 125, 1, 255, 65, 1, 0x0a, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20]
}

/// A descriptor of kind `kind` with up to 13 bytes of text, ended by a line feed and padded with blanks.
fn text(kind: u8, text: &str) -> [u8; 18] {
    let mut descriptor = [0x20; 18];
    descriptor[..5].copy_from_slice(&[0, 0, 0, kind, 0]);
    for (slot, byte) in descriptor[5..].iter_mut().zip(text.bytes().chain(std::iter::once(0x0a))) {
        *slot = byte;
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(block: &[u8; EDID_SIZE]) -> (u32, u32) {
        let pair = |low: usize, high: usize| u32::from(block[54 + low]) | u32::from(block[54 + high] >> 4) << 8;
        (pair(2, 4), pair(5, 7))
    }

    #[test]
    fn the_block_is_well_formed_and_prefers_the_size_given() {
        for size in [(1280, 800), (1920, 1080), (2560, 1600), (640, 480), (1366, 768)] {
            let block = edid(size.0, size.1);

            assert_eq!(block.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)), 0);
            assert_eq!(&block[..8], &[0, 255, 255, 255, 255, 255, 255, 0]);
            assert_eq!(preferred(&block), size);
        }
    }

    #[test]
    fn the_pixel_clock_gives_sixty_frames_a_second() {
        let block = edid(1920, 1080);
        let clock = u32::from(u16::from_le_bytes([block[54], block[55]])) * 10_000;
        let lines = 1080 + u32::from(block[60]);

        assert_eq!((clock as f64 / f64::from(lines * (1920 + 160))).round() as u32, 60);
    }

    #[test]
    fn no_size_overflows() {
        for size in [0, 1, 63, 4095, 4096, 65_535, u32::MAX] {
            edid(size, size);
        }
    }

    #[test]
    fn the_monitor_has_a_name() {
        assert_eq!(&edid(800, 600)[90..102], b"\0\0\0\xfc\0Lodge\n ");
    }
}
