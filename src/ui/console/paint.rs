//! Puts the guest's picture on the display. With GTK's cairo renderer a cairo surface is by far the cheapest, with its OpenGL
//! renderers a texture is: which one is used is decided by the renderer at hand.

use gtk::{cairo, gdk, glib, graphene, prelude::*};
use lodge::rfb::client::Pixels;

use super::geometry::Placement;

/// Bytes of a pixel, in cairo's `RGB24` and in GDK's `B8G8R8A8`.
pub const PIXEL: usize = 4;

/// A picture, ready to be drawn.
pub enum Picture {
    /// For the cairo renderer.
    Cairo(cairo::ImageSurface),
    /// For the others.
    Texture(gdk::MemoryTexture),
}

impl Picture {
    /// The guest's picture for `widget`; `None` when it is empty or memory is short.
    pub fn new(widget: &gtk::Widget, pixels: Pixels) -> Option<Self> {
        let (width, height) = (i32::try_from(pixels.width).ok()?, i32::try_from(pixels.height).ok()?);
        if width == 0 || height == 0 {
            return None;
        }
        if renders_with_cairo(widget) {
            let stride = width.checked_mul(PIXEL as i32)?;
            cairo::ImageSurface::create_for_data(pixels.bytes, cairo::Format::Rgb24, width, height, stride)
                .ok()
                .map(Self::Cairo)
        } else {
            let stride = pixels.width as usize * PIXEL;
            let bytes = glib::Bytes::from_owned(opaque(pixels.bytes));
            let format = gdk::MemoryFormat::B8g8r8a8;
            Some(Self::Texture(gdk::MemoryTexture::new(width, height, format, &bytes, stride)))
        }
    }

    /// Draws it at its place.
    pub fn draw(&self, snapshot: &gtk::Snapshot, placement: &Placement, factor: i32) {
        let (width, height) =
            (f64::from(placement.width) * placement.scale, f64::from(placement.height) * placement.scale);
        let area = graphene::Rect::new(placement.x as f32, placement.y as f32, width as f32, height as f32);
        match self {
            Self::Texture(texture) => snapshot.append_texture(texture, &area),
            Self::Cairo(surface) => {
                let context = snapshot.append_cairo(&area);
                context.translate(placement.x, placement.y);
                context.scale(placement.scale, placement.scale);
                let filter = if placement.is_sharp(factor) { cairo::Filter::Nearest } else { cairo::Filter::Bilinear };
                let drawn = context.set_source_surface(surface, 0.0, 0.0).and_then(|()| {
                    context.source().set_filter(filter);
                    context.paint()
                });
                if let Err(error) = drawn {
                    tracing::debug!("the guest's picture cannot be drawn: {error}");
                }
            }
        }
    }
}

fn renders_with_cairo(widget: &gtk::Widget) -> bool {
    let renderer = widget.native().and_then(|native| native.renderer());
    renderer.is_some_and(|renderer| renderer.type_().name() == "GskCairoRenderer")
}

/// The pixels with their fourth byte, which says nothing yet, as an opacity of all.
fn opaque(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().skip(PIXEL - 1).step_by(PIXEL).for_each(|alpha| *alpha = u8::MAX);
    bytes
}
