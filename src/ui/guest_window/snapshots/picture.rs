//! The pictures of guests' screens that lie beside snapshots, made small where it holds up nobody.

use std::path::Path;

use gtk::{gdk, gdk_pixbuf::Pixbuf, glib, prelude::*};

/// How large a picture is kept at most, in pixels.
const WIDTH: i32 = 384;
const HEIGHT: i32 = 288;

/// Reads the picture; `None` when there is none that can be read.
pub fn load(path: &Path) -> Option<gdk::Texture> {
    let pixels = Pixbuf::from_file_at_scale(path, WIDTH, HEIGHT, true)
        .inspect_err(|error| tracing::debug!("{}: {error}", path.display()))
        .ok()?;
    let format = if pixels.has_alpha() { gdk::MemoryFormat::R8g8b8a8 } else { gdk::MemoryFormat::R8g8b8 };
    let stride = usize::try_from(pixels.rowstride()).ok()?;
    let bytes: glib::Bytes = pixels.read_pixel_bytes();
    Some(gdk::MemoryTexture::new(pixels.width(), pixels.height(), format, &bytes, stride).upcast())
}
