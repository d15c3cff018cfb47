//! The guest's pointer as a pointer of the desktop's.

use gtk::{gdk, glib};
use lodge::screen::cursor::CursorImage;

use super::paint::PIXEL;

/// A pointer that looks so; `None` when there is nothing to be seen.
pub fn of(image: &CursorImage) -> Option<gdk::Cursor> {
    let small = |length: u32| i32::try_from(length).ok().filter(|length| *length > 0);
    let (width, height) = (small(image.width)?, small(image.height)?);
    let bytes: Vec<u8> = image.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let (bytes, stride) = (glib::Bytes::from_owned(bytes), image.width as usize * PIXEL);
    let texture = gdk::MemoryTexture::new(width, height, gdk::MemoryFormat::B8g8r8a8Premultiplied, &bytes, stride);
    let hot = |place: u32, length: i32| i32::try_from(place).unwrap_or(0).min(length - 1);
    let (x, y) = image.hot_spot;
    Some(gdk::Cursor::from_texture(&texture, hot(x, width), hot(y, height), None))
}
