//! Pixels as a viewer wants them (RFC 6143 section 7.4): its format, checked, and the conversion from `0x00RRGGBB`.

/// A format that can't be. The viewer is told nothing more: it is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not 8, 16 or 32.
    #[error("pixels of {0} bits do not exist. ask for 8, 16 or 32")]
    BitsPerPixel(u8),
    /// A maximum that is not 2^n - 1, or a colour that lies outside the pixel.
    #[error("a colour's bits do not fit into the pixel")]
    Colour,
    /// A colour map of pixels that are not 8 bits wide.
    #[error("a colour map is there for pixels of 8 bits only. ask for true colour")]
    ColourMap,
}

/// How a viewer wants its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    /// 8, 16 or 32.
    pub bits_per_pixel: u8,
    /// How many of the bits count.
    pub depth: u8,
    /// The most significant byte comes first.
    pub big_endian: bool,
    /// Without it a pixel is an index into a map of colours.
    pub true_colour: bool,
    /// The largest values of red, green and blue: 2^n - 1.
    pub max: [u16; 3],
    /// How far red, green and blue are shifted to the left.
    pub shift: [u8; 3],
}

impl PixelFormat {
    /// The format of a [`Surface`](crate::screen::Surface): `0x00RRGGBB`, little-endian.
    pub const NATIVE: Self =
        Self { bits_per_pixel: 32, depth: 24, big_endian: false, true_colour: true, max: [255; 3], shift: [16, 8, 0] };

    /// What viewers that insist on a colour map get: 8 bits, three for blue, three for green, two for red from the top
    /// down as BGR233, and [`colour_map`] to look them up.
    pub const BGR233: Self =
        Self { bits_per_pixel: 8, depth: 8, big_endian: false, true_colour: true, max: [7, 7, 3], shift: [0, 3, 6] };

    /// Reads and checks a format.
    pub fn parse(bytes: &[u8; 16]) -> Result<Self, FormatError> {
        let [bits_per_pixel, depth, big_endian, true_colour, r1, r2, g1, g2, b1, b2, red, green, blue, ..] = *bytes;
        let format = Self {
            bits_per_pixel,
            depth,
            big_endian: big_endian != 0,
            true_colour: true_colour != 0,
            max: [[r1, r2], [g1, g2], [b1, b2]].map(u16::from_be_bytes),
            shift: [red, green, blue],
        };
        format.check()?;
        Ok(format)
    }

    fn check(&self) -> Result<(), FormatError> {
        if ![8, 16, 32].contains(&self.bits_per_pixel) {
            return Err(FormatError::BitsPerPixel(self.bits_per_pixel));
        }
        if !self.true_colour {
            return if self.bits_per_pixel == 8 { Ok(()) } else { Err(FormatError::ColourMap) };
        }
        for (max, shift) in self.max.into_iter().zip(self.shift) {
            let bits = u32::from(max).count_ones();
            let whole = u32::from(max).trailing_ones() == bits && bits > 0;
            if !whole || bits + u32::from(shift) > u32::from(self.bits_per_pixel) {
                return Err(FormatError::Colour);
            }
        }
        Ok(())
    }

    /// The format's bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        let [[r1, r2], [g1, g2], [b1, b2]] = self.max.map(u16::to_be_bytes);
        let [red, green, blue] = self.shift;
        let (big_endian, true_colour) = (u8::from(self.big_endian), u8::from(self.true_colour));
        [self.bits_per_pixel, self.depth, big_endian, true_colour, r1, r2, g1, g2, b1, b2, red, green, blue, 0, 0, 0]
    }
}

/// Red, green and blue, up to 65535, of the 256 pixels of [`PixelFormat::BGR233`].
pub fn colour_map() -> impl Iterator<Item = [u16; 3]> {
    (0..=255u16).map(|pixel| {
        let colours: [(u16, u32); 3] = [(pixel & 7, 7), (pixel >> 3 & 7, 7), (pixel >> 6, 3)];
        // At most 65535: the value is at most `max`.
        colours.map(|(value, max)| (u32::from(value) * u32::from(u16::MAX) / max) as u16)
    })
}

/// Converts pixels to one format.
pub struct Translator {
    kind: Kind,
    bytes_per_pixel: usize,
    big_endian: bool,
    /// The first of the three bytes of a CPIXEL, where a pixel has more.
    compact: Option<usize>,
    /// Tight's pixels are three bytes: red, green, blue.
    plain_colours: bool,
}

enum Kind {
    /// The viewer takes pixels as they are.
    Native,
    /// What each value of red, green and blue becomes.
    Tables(Box<[[u32; 256]; 3]>),
}

impl Translator {
    /// The conversion to a format that [`PixelFormat::parse`] has let through.
    pub fn new(format: &PixelFormat) -> Self {
        let format = if format.true_colour { *format } else { PixelFormat::BGR233 };
        let same_values = (format.max, format.shift) == (PixelFormat::NATIVE.max, PixelFormat::NATIVE.shift);
        let kind = if same_values { Kind::Native } else { Kind::Tables(tables(&format)) };
        Self {
            kind,
            bytes_per_pixel: usize::from(format.bits_per_pixel / 8),
            big_endian: format.big_endian,
            compact: compact_offset(&format),
            plain_colours: (format.bits_per_pixel, format.depth, format.max) == (32, 24, [255; 3]),
        }
    }

    /// How many bytes a pixel has.
    pub fn bytes_per_pixel(&self) -> usize {
        self.bytes_per_pixel
    }

    /// How many bytes a pixel has in ZRLE (CPIXEL, RFC 6143 section 7.7.5).
    pub fn bytes_per_compact_pixel(&self) -> usize {
        if self.compact.is_some() { 3 } else { self.bytes_per_pixel }
    }

    /// How many bytes a pixel has in Tight (TPIXEL).
    pub fn bytes_per_tight_pixel(&self) -> usize {
        if self.plain_colours { 3 } else { self.bytes_per_pixel }
    }

    /// Whether the viewer's colours are fine enough for photographs.
    pub fn shows_photographs(&self) -> bool {
        self.bytes_per_pixel >= 2
    }

    /// Appends pixels as TPIXELs.
    pub fn write_tight(&self, pixels: &[u32], out: &mut Vec<u8>) {
        if !self.plain_colours {
            return self.write_pixels(pixels, out);
        }
        write_each(pixels, out, |pixel| {
            let [_, red, green, blue] = pixel.to_be_bytes();
            [red, green, blue]
        });
    }

    /// The value of a pixel in the viewer's format.
    pub fn value(&self, rgb: u32) -> u32 {
        match &self.kind {
            Kind::Native => rgb & 0x00FF_FFFF,
            Kind::Tables(tables) => {
                let [_, red, green, blue] = rgb.to_be_bytes();
                let [reds, greens, blues] = tables.as_ref();
                reds[usize::from(red)] | greens[usize::from(green)] | blues[usize::from(blue)]
            }
        }
    }

    /// Converts pixels to values.
    pub fn extend_values(&self, pixels: &[u32], values: &mut Vec<u32>) {
        match &self.kind {
            Kind::Native => values.extend(pixels.iter().map(|pixel| pixel & 0x00FF_FFFF)),
            Kind::Tables(_) => values.extend(pixels.iter().map(|pixel| self.value(*pixel))),
        }
    }

    /// Appends pixels in the viewer's format.
    pub fn write_pixels(&self, pixels: &[u32], out: &mut Vec<u8>) {
        match (self.bytes_per_pixel, self.big_endian, &self.kind) {
            (4, false, Kind::Native) => write_each(pixels, out, |pixel| (pixel & 0x00FF_FFFF).to_le_bytes()),
            (4, false, _) => write_each(pixels, out, |pixel| self.value(pixel).to_le_bytes()),
            (4, true, _) => write_each(pixels, out, |pixel| self.value(pixel).to_be_bytes()),
            (2, false, _) => write_each(pixels, out, |pixel| low_half(self.value(pixel)).to_le_bytes()),
            (2, true, _) => write_each(pixels, out, |pixel| low_half(self.value(pixel)).to_be_bytes()),
            _ => write_each(pixels, out, |pixel| [self.value(pixel).to_le_bytes()[0]]),
        }
    }

    /// Appends values (see [`Self::value`]) as CPIXELs.
    pub fn write_compact(&self, values: &[u32], out: &mut Vec<u8>) {
        match (self.compact, self.bytes_per_pixel, self.big_endian) {
            (Some(0), _, false) => write_each(values, out, |value| {
                let [a, b, c, _] = value.to_le_bytes();
                [a, b, c]
            }),
            (Some(_), _, false) => write_each(values, out, |value| {
                let [_, b, c, d] = value.to_le_bytes();
                [b, c, d]
            }),
            (Some(0), _, true) => write_each(values, out, |value| {
                let [a, b, c, _] = value.to_be_bytes();
                [a, b, c]
            }),
            (Some(_), _, true) => write_each(values, out, |value| {
                let [_, b, c, d] = value.to_be_bytes();
                [b, c, d]
            }),
            (None, 4, false) => write_each(values, out, u32::to_le_bytes),
            (None, 4, true) => write_each(values, out, u32::to_be_bytes),
            (None, 2, false) => write_each(values, out, |value| low_half(value).to_le_bytes()),
            (None, 2, true) => write_each(values, out, |value| low_half(value).to_be_bytes()),
            _ => write_each(values, out, |value| [value.to_le_bytes()[0]]),
        }
    }
}

/// The lower 16 bits: where a pixel has no more, nor has its value.
fn low_half(value: u32) -> u16 {
    let [a, b, _, _] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// Appends each value's bytes; in one piece, so that the compiler can do several at a time.
fn write_each<const N: usize>(values: &[u32], out: &mut Vec<u8>, bytes: impl Fn(u32) -> [u8; N]) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    for (place, value) in out[start..].chunks_exact_mut(N).zip(values) {
        place.copy_from_slice(&bytes(*value));
    }
}

fn tables(format: &PixelFormat) -> Box<[[u32; 256]; 3]> {
    let mut tables = Box::new([[0; 256]; 3]);
    for ((table, max), shift) in tables.iter_mut().zip(format.max).zip(format.shift) {
        for (value, entry) in (0u32..).zip(table.iter_mut()) {
            *entry = ((value * u32::from(max) + 127) / 255) << shift;
        }
    }
    tables
}

/// Where the three bytes of a CPIXEL begin in a pixel, when the format has them.
fn compact_offset(format: &PixelFormat) -> Option<usize> {
    if format.bits_per_pixel != 32 || format.depth > 24 {
        return None;
    }
    let used = format.max.into_iter().zip(format.shift).fold(0, |used, (max, shift)| used | u32::from(max) << shift);
    let (low, high) = (used & 0xFF00_0000 == 0, used & 0x0000_00FF == 0);
    match (low, high) {
        (true, _) => Some(usize::from(format.big_endian)),
        (false, true) => Some(usize::from(!format.big_endian)),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGB565: PixelFormat = PixelFormat {
        bits_per_pixel: 16,
        depth: 16,
        big_endian: false,
        true_colour: true,
        max: [31, 63, 31],
        shift: [11, 5, 0],
    };

    fn converted(format: PixelFormat, pixel: u32) -> Vec<u8> {
        let mut out = Vec::new();
        Translator::new(&format).write_pixels(&[pixel], &mut out);
        out
    }

    fn compact(format: PixelFormat, pixel: u32) -> Vec<u8> {
        let translator = Translator::new(&format);
        let (mut values, mut out) = (Vec::new(), Vec::new());
        translator.extend_values(&[pixel], &mut values);
        translator.write_compact(&values, &mut out);
        assert_eq!(out.len(), translator.bytes_per_compact_pixel());
        out
    }

    #[test]
    fn a_format_is_read_as_it_was_written() {
        for format in [PixelFormat::NATIVE, PixelFormat::BGR233, RGB565] {
            assert_eq!(PixelFormat::parse(&format.to_bytes()), Ok(format));
        }
    }

    #[test]
    fn formats_that_cannot_be_are_refused() {
        let parse = |format: PixelFormat| PixelFormat::parse(&format.to_bytes());
        let native = PixelFormat::NATIVE;

        for bits_per_pixel in [0, 1, 15, 24, 64, 255] {
            let format = PixelFormat { bits_per_pixel, ..native };
            assert_eq!(parse(format), Err(FormatError::BitsPerPixel(bits_per_pixel)));
        }
        assert_eq!(parse(PixelFormat { shift: [255, 8, 0], ..native }), Err(FormatError::Colour));
        assert_eq!(parse(PixelFormat { shift: [25, 8, 0], ..native }), Err(FormatError::Colour));
        assert_eq!(parse(PixelFormat { max: [0, 255, 255], ..native }), Err(FormatError::Colour));
        assert_eq!(parse(PixelFormat { max: [254, 255, 255], ..native }), Err(FormatError::Colour));
        assert_eq!(parse(PixelFormat { true_colour: false, ..native }), Err(FormatError::ColourMap));
    }

    #[test]
    fn pixels_become_what_each_format_says() {
        let orange = 0xFFFF_8000;
        let big_endian = PixelFormat { big_endian: true, ..PixelFormat::NATIVE };
        let bgr = PixelFormat { shift: [0, 8, 16], ..PixelFormat::NATIVE };
        let shifted = PixelFormat { shift: [24, 16, 8], ..PixelFormat::NATIVE };

        assert_eq!(converted(PixelFormat::NATIVE, orange), [0x00, 0x80, 0xFF, 0x00]);
        assert_eq!(converted(big_endian, orange), [0x00, 0xFF, 0x80, 0x00]);
        assert_eq!(converted(bgr, orange), [0xFF, 0x80, 0x00, 0x00]);
        assert_eq!(converted(shifted, orange), [0x00, 0x00, 0x80, 0xFF]);
        assert_eq!(converted(RGB565, orange), [0x00, 0xFC]);
        assert_eq!(converted(PixelFormat { big_endian: true, ..RGB565 }, orange), [0xFC, 0x00]);
        assert_eq!(converted(PixelFormat::BGR233, orange), [0b00_100_111]);
    }

    #[test]
    fn compact_pixels_leave_out_the_byte_that_is_never_used() {
        let orange = 0x00FF_8001;
        let big_endian = PixelFormat { big_endian: true, ..PixelFormat::NATIVE };
        let shifted = PixelFormat { shift: [24, 16, 8], ..PixelFormat::NATIVE };
        let shifted_big_endian = PixelFormat { big_endian: true, ..shifted };
        let deep = PixelFormat { depth: 32, ..PixelFormat::NATIVE };
        let wide = PixelFormat { shift: [24, 8, 0], ..PixelFormat::NATIVE };

        assert_eq!(compact(PixelFormat::NATIVE, orange), [0x01, 0x80, 0xFF]);
        assert_eq!(compact(big_endian, orange), [0xFF, 0x80, 0x01]);
        assert_eq!(compact(shifted, orange), [0x01, 0x80, 0xFF]);
        assert_eq!(compact(shifted_big_endian, orange), [0xFF, 0x80, 0x01]);
        assert_eq!(compact(deep, orange), [0x01, 0x80, 0xFF, 0x00]);
        assert_eq!(compact(wide, orange), [0x01, 0x80, 0x00, 0xFF]);
        assert_eq!(compact(RGB565, orange), [0x00, 0xFC]);
    }

    #[test]
    fn black_and_white_stay_black_and_white() {
        for format in [PixelFormat::NATIVE, PixelFormat::BGR233, RGB565] {
            let translator = Translator::new(&format);
            let all =
                format.max.into_iter().zip(format.shift).fold(0, |all, (max, shift)| all | u32::from(max) << shift);

            assert_eq!((translator.value(0), translator.value(0x00FF_FFFF)), (0, all));
        }
    }

    #[test]
    fn viewers_with_a_colour_map_get_colours_near_the_right_ones() {
        let translator = Translator::new(&PixelFormat { true_colour: false, ..PixelFormat::BGR233 });
        let map: Vec<_> = colour_map().collect();

        let colour = |rgb| map[translator.value(rgb) as usize];

        assert_eq!(map.len(), 256);
        assert_eq!(colour(0x00FF_FFFF), [65535; 3]);
        assert_eq!(colour(0), [0; 3]);
        assert_eq!(colour(0x00FF_0000), [65535, 0, 0]);
        assert_eq!(colour(0x0000_FF00), [0, 65535, 0]);
        assert_eq!(colour(0x0000_00FF), [0, 0, 65535]);
    }
}
