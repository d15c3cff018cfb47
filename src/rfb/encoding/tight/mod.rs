//! Tight: rectangles of one colour, with a palette, as pixels, or as JPEG for photographs; four zlib streams for the
//! connection: <https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#tight-encoding>.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub use decoder::{Body, Decoder, Head};
pub use encoder::Encoder;

/// Fewer bytes than this are not compressed.
const LEAST_COMPRESSED: usize = 12;
/// No rectangle is wider, in pixels.
pub const MAX_WIDTH: u32 = 2048;

/// The upper half of a rectangle's first byte. Below [`control::FILL`] the lowest two bits of it are a stream's number.
mod control {
    /// The lower half says which streams begin anew.
    pub const RESETS: u8 = 0x0F;
    /// A filter's number follows.
    pub const WITH_FILTER: u8 = 0x40;
    /// One colour.
    pub const FILL: u8 = 0x80;
    /// A JPEG file.
    pub const JPEG: u8 = 0x90;
}

/// What was done to the pixels before they were compressed.
mod filter {
    /// Nothing.
    pub const COPY: u8 = 0;
    /// They are numbers of colours.
    pub const PALETTE: u8 = 1;
    /// They are differences to what their neighbours let expect.
    pub const GRADIENT: u8 = 2;
}
