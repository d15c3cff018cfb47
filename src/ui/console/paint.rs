//! Puts the guest's picture on the display. With GTK's cairo renderer a cairo surface is by far the cheapest, with its OpenGL
//! renderers a texture is: which one is used is decided by the renderer at hand.

use gtk::{gdk, glib, graphene, prelude::*};
use lodge::{
    rfb::client::{Client, Pixels},
    screen::Rect,
};

use super::{geometry::Placement, tiles::Tiles};
use crate::ui::widgets::renders_with_cairo;

/// Bytes of a pixel, in cairo's `RGB24` and in GDK's `B8G8R8A8`.
pub const PIXEL: usize = 4;

/// A picture, ready to be drawn.
pub enum Picture {
    /// For the cairo renderer.
    Cairo(Tiles),
    /// For the others.
    Texture(gdk::MemoryTexture),
}

impl Picture {
    /// The guest's picture for `widget`, of which this is the last one and what has changed since; `None` when it is empty or
    /// memory is short.
    pub fn new(widget: &gtk::Widget, client: &Client, last: Option<Self>, damage: &[Rect]) -> Option<Self> {
        if !renders_with_cairo(widget) {
            return texture(client.pixels()).map(Self::Texture);
        }
        let tiles = match last {
            Some(Self::Cairo(tiles)) if tiles.size() == client.size() => tiles.update(client, damage),
            _ => Tiles::new(client),
        };
        tiles.map(Self::Cairo)
    }

    /// The guest's width and height, in its pixels.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Cairo(tiles) => tiles.size(),
            Self::Texture(texture) => (texture.width().unsigned_abs(), texture.height().unsigned_abs()),
        }
    }

    /// Draws it at its place.
    pub fn draw(&self, snapshot: &gtk::Snapshot, placement: &Placement, factor: i32) {
        let (width, height) =
            (f64::from(placement.width) * placement.scale, f64::from(placement.height) * placement.scale);
        let area = graphene::Rect::new(placement.x as f32, placement.y as f32, width as f32, height as f32);
        match self {
            Self::Texture(texture) => snapshot.append_texture(texture, &area),
            Self::Cairo(tiles) => tiles.draw(snapshot, placement, factor),
        }
    }
}

fn texture(pixels: Pixels) -> Option<gdk::MemoryTexture> {
    let (width, height) = (i32::try_from(pixels.width).ok()?, i32::try_from(pixels.height).ok()?);
    if width == 0 || height == 0 {
        return None;
    }
    let stride = pixels.width as usize * PIXEL;
    let bytes = glib::Bytes::from_owned(opaque(pixels.bytes));
    Some(gdk::MemoryTexture::new(width, height, gdk::MemoryFormat::B8g8r8a8, &bytes, stride))
}

/// The pixels with their fourth byte, which says nothing yet, as an opacity of all.
fn opaque(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().skip(PIXEL - 1).step_by(PIXEL).for_each(|alpha| *alpha = u8::MAX);
    bytes
}
