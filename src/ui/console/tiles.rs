//! The guest's picture for GTK's cairo renderer, in tiles. The renderer draws again what is another node than before, and leaves
//! the rest of the window as it is: a little that has changed is a few tiles.

use std::cell::RefCell;

use gtk::{cairo, graphene, gsk, prelude::*};
use lodge::{rfb::client::Client, screen::Rect};

use super::{geometry::Placement, paint::PIXEL};

/// Width and height of a tile in pixels of the guest.
const SIDE: u32 = 128;
/// So many pixels around a tile are its neighbours': a scaled pixel is a mixture.
const MARGIN: u32 = 1;

/// The picture.
pub struct Tiles {
    size: (u32, u32),
    tiles: Vec<Tile>,
}

/// A part of it.
struct Tile {
    rect: Rect,
    /// Its pixels and the margin, of which this is the upper left corner.
    surface: cairo::ImageSurface,
    corner: (u32, u32),
    /// How it was drawn last, and where.
    node: RefCell<Option<(Placement, cairo::Filter, gsk::CairoNode)>>,
}

impl Tiles {
    /// The guest's picture; `None` when it is empty or memory is short.
    pub fn new(client: &Client) -> Option<Self> {
        let size @ (width, height) = client.size();
        let starts = |length: u32| (0..length).step_by(SIDE as usize);
        let rects = starts(height).flat_map(|y| starts(width).map(move |x| Rect { x, y, width: SIDE, height: SIDE }));
        let tiles: Vec<Tile> =
            rects.map(|rect| Tile::new(client, rect.within(width, height)?)).collect::<Option<_>>()?;
        (!tiles.is_empty()).then_some(Self { size, tiles })
    }

    /// The picture's width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Takes over what has changed; `None` when it cannot.
    pub fn update(mut self, client: &Client, damage: &[Rect]) -> Option<Self> {
        for tile in &mut self.tiles {
            let seen = with_margin(tile.rect);
            if damage.iter().any(|rect| rect.meets(seen)) {
                *tile = Tile::new(client, tile.rect)?;
            }
        }
        Some(self)
    }

    /// Draws it at its place.
    pub fn draw(&self, snapshot: &gtk::Snapshot, placement: &Placement, factor: i32) {
        let filter = if placement.is_sharp(factor) { cairo::Filter::Nearest } else { cairo::Filter::Bilinear };
        for tile in &self.tiles {
            snapshot.append_node(tile.node(placement, filter));
        }
    }
}

/// A rectangle and its margin, which can go beyond the picture.
fn with_margin(rect: Rect) -> Rect {
    let (x, y) = (rect.x.saturating_sub(MARGIN), rect.y.saturating_sub(MARGIN));
    Rect { x, y, width: rect.x - x + rect.width + MARGIN, height: rect.y - y + rect.height + MARGIN }
}

impl Tile {
    fn new(client: &Client, rect: Rect) -> Option<Self> {
        let seen = with_margin(rect);
        // The guest may have changed the size of its screen meanwhile; then another picture follows at once.
        let pixels = client.pixels_of(seen)?;
        let (width, height) = (i32::try_from(pixels.width).ok()?, i32::try_from(pixels.height).ok()?);
        let stride = width.checked_mul(PIXEL as i32)?;
        let surface =
            cairo::ImageSurface::create_for_data(pixels.bytes, cairo::Format::Rgb24, width, height, stride).ok()?;
        Some(Self { rect, surface, corner: (seen.x, seen.y), node: RefCell::default() })
    }

    /// The node that draws it; the same as before where nothing has changed.
    fn node(&self, placement: &Placement, filter: cairo::Filter) -> gsk::CairoNode {
        let mut drawn = self.node.borrow_mut();
        if let Some((_, _, node)) = drawn.as_ref().filter(|last| (&last.0, last.1) == (placement, filter)) {
            return node.clone();
        }
        let node = gsk::CairoNode::new(&self.bounds(placement));
        if let Err(error) = self.draw(&node.draw_context(), placement, filter) {
            tracing::debug!("the guest's picture cannot be drawn: {error}");
        }
        *drawn = Some((*placement, filter, node.clone()));
        node
    }

    /// Where it is in the console, with the whole of each pixel.
    fn bounds(&self, placement: &Placement) -> graphene::Rect {
        let left = (placement.x + f64::from(self.rect.x) * placement.scale).floor();
        let top = (placement.y + f64::from(self.rect.y) * placement.scale).floor();
        let right = (placement.x + f64::from(self.rect.x + self.rect.width) * placement.scale).ceil();
        let bottom = (placement.y + f64::from(self.rect.y + self.rect.height) * placement.scale).ceil();
        graphene::Rect::new(left as f32, top as f32, (right - left) as f32, (bottom - top) as f32)
    }

    fn draw(&self, context: &cairo::Context, placement: &Placement, filter: cairo::Filter) -> Result<(), cairo::Error> {
        let Rect { x, y, width, height } = self.rect;
        context.translate(placement.x, placement.y);
        context.scale(placement.scale, placement.scale);
        context.set_source_surface(&self.surface, self.corner.0.into(), self.corner.1.into())?;
        context.source().set_filter(filter);
        context.source().set_extend(cairo::Extend::Pad);
        // Every pixel of the display is one tile's: none shows through between two.
        context.set_antialias(cairo::Antialias::None);
        context.rectangle(x.into(), y.into(), width.into(), height.into());
        context.fill()
    }
}
