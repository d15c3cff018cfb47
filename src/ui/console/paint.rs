//! Puts the guest's picture on the display, in tiles. GTK uploads and draws again what is another node than before, and leaves the rest of
//! the window as it is: a little that has changed is a few tiles, or less. With GTK's cairo renderer a cairo surface is by far the
//! cheapest, with its OpenGL renderers a texture is: which one is used is decided by the renderer at hand.

use lodge::{
    rfb::client::{Client, SharedPixels},
    screen::Rect,
};

use super::{
    geometry::Placement,
    surface,
    tiles::{Pixels, Tile},
};
use crate::ui::widgets::renders_with_cairo;

/// Bytes of a pixel, in cairo's `RGB24` and in GDK's `B8G8R8A8`.
pub const PIXEL: usize = 4;
/// Width and height of a tile in pixels of the guest.
const SIDE: u32 = 256;

/// A picture, ready to be drawn.
pub struct Picture {
    size: (u32, u32),
    /// For GTK's cairo renderer.
    for_cairo: bool,
    /// Where the pixels are, if they change there by themselves.
    shared: Option<SharedPixels>,
    tiles: Vec<Tile>,
}

impl Picture {
    /// The guest's picture for `widget`, of which this is the last one and what has changed since; `None` when it is empty or
    /// memory is short.
    pub fn new(widget: &gtk::Widget, client: &Client, last: Option<Self>, damage: &[Rect]) -> Option<Self> {
        let for_cairo = renders_with_cairo(widget);
        let shared = client.shared_pixels().filter(|_| for_cairo);
        let is_the_same =
            |last: &Self| (last.size, last.for_cairo) == (client.size(), for_cairo) && last.shared == shared;
        match last.filter(is_the_same) {
            Some(last) => last.update(client, damage),
            None => Self::of_all(client, for_cairo, shared),
        }
    }

    fn of_all(client: &Client, for_cairo: bool, shared: Option<SharedPixels>) -> Option<Self> {
        let size @ (width, height) = shared.as_ref().map_or_else(|| client.size(), SharedPixels::size);
        let surface = match &shared {
            Some(shared) => Some(surface::of(shared.clone())?),
            None => None,
        };
        let starts = |length: u32| (0..length).step_by(SIDE as usize);
        let rects = starts(height).flat_map(|y| starts(width).map(move |x| Rect { x, y, width: SIDE, height: SIDE }));
        let tile = |rect: Rect| {
            let rect = rect.within(width, height)?;
            let pixels = match &surface {
                Some(surface) => Pixels::Shared(surface.clone()),
                None => Pixels::copy(client, rect, for_cairo)?,
            };
            Some(Tile::new(rect, pixels))
        };
        let tiles: Vec<Tile> = rects.map(tile).collect::<Option<_>>()?;
        (!tiles.is_empty()).then_some(Self { size, for_cairo, shared, tiles })
    }

    fn update(mut self, client: &Client, damage: &[Rect]) -> Option<Self> {
        for tile in &mut self.tiles {
            tile.update(client, damage, self.for_cairo)?;
        }
        Some(self)
    }

    /// The guest's width and height, in its pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Draws it at its place.
    pub fn draw(&self, snapshot: &gtk::Snapshot, placement: &Placement, factor: i32) {
        for tile in &self.tiles {
            tile.draw(snapshot, placement, factor);
        }
    }
}
