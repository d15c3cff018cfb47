//! A tile of the guest's picture: its pixels, and the nodes that draw them, which stay the same for as long as its pixels do.

use std::cell::{Cell, RefCell};

use gtk::{cairo, gdk, glib, graphene, gsk, prelude::*};
use lodge::{rfb::client::Client, screen::Rect};

use super::{geometry::Placement, paint::PIXEL};

/// So many pixels around a tile are its neighbours': a scaled pixel is a mixture.
const MARGIN: u32 = 1;

/// Where the pixels of a tile are.
pub enum Pixels {
    /// In a picture of the whole screen, which changes by itself.
    Shared(cairo::ImageSurface),
    /// A copy of them and of the margin, of which this is the upper left corner.
    Cairo(cairo::ImageSurface, (u32, u32)),
    /// The same for a graphics card: the copy, and which part of the screen it is.
    Texture(gdk::MemoryTexture, Rect),
}

impl Pixels {
    /// A copy of what a tile needs; `None` when there is none.
    pub fn copy(client: &Client, tile: Rect, for_cairo: bool) -> Option<Self> {
        let seen = with_margin(tile);
        // The guest may have changed the size of its screen meanwhile; then another picture follows at once.
        let pixels = client.pixels_of(seen)?;
        let (width, height) = (i32::try_from(pixels.width).ok()?, i32::try_from(pixels.height).ok()?);
        let stride = width.checked_mul(PIXEL as i32)?;
        if for_cairo {
            let surface =
                cairo::ImageSurface::create_for_data(pixels.bytes, cairo::Format::Rgb24, width, height, stride).ok()?;
            return Some(Self::Cairo(surface, (seen.x, seen.y)));
        }
        let part = Rect { width: pixels.width, height: pixels.height, ..seen };
        let bytes = glib::Bytes::from_owned(opaque(pixels.bytes));
        let texture =
            gdk::MemoryTexture::new(width, height, gdk::MemoryFormat::B8g8r8a8, &bytes, pixels.width as usize * PIXEL);
        Some(Self::Texture(texture, part))
    }
}

/// The pixels with their fourth byte, which says nothing yet, as an opacity of all.
fn opaque(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().skip(PIXEL - 1).step_by(PIXEL).for_each(|alpha| *alpha = u8::MAX);
    bytes
}

/// A rectangle and its margin, which can go beyond the picture.
fn with_margin(rect: Rect) -> Rect {
    let (x, y) = (rect.x.saturating_sub(MARGIN), rect.y.saturating_sub(MARGIN));
    Rect { x, y, width: rect.x - x + rect.width + MARGIN, height: rect.y - y + rect.height + MARGIN }
}

/// A tile.
pub struct Tile {
    rect: Rect,
    pixels: Pixels,
    /// How it was drawn last.
    drawn: RefCell<Option<Drawn>>,
    /// What has changed since, if that is where the pixels were.
    news: Cell<Option<Rect>>,
}

/// How a tile was drawn, and where.
struct Drawn {
    placement: Placement,
    factor: i32,
    node: gsk::RenderNode,
    /// It draws nothing, and is another one whenever pixels have changed by themselves: so GTK draws again what is there.
    mark: Option<gsk::CairoNode>,
}

impl Tile {
    /// A tile that has these pixels.
    pub fn new(rect: Rect, pixels: Pixels) -> Self {
        Self { rect, pixels, drawn: RefCell::default(), news: Cell::default() }
    }

    /// Takes over what has changed; `None` when it cannot.
    pub fn update(&mut self, client: &Client, damage: &[Rect], for_cairo: bool) -> Option<()> {
        let news = damage.iter().filter_map(|rect| with_margin(*rect).intersection(self.rect));
        let Some(news) = news.reduce(Rect::around) else { return Some(()) };
        match self.pixels {
            Pixels::Shared(_) => self.news.set(Some(self.news.take().map_or(news, |earlier| earlier.around(news)))),
            _ => *self = Self::new(self.rect, Pixels::copy(client, self.rect, for_cairo)?),
        }
        Some(())
    }

    /// Draws it at its place.
    pub fn draw(&self, snapshot: &gtk::Snapshot, placement: &Placement, factor: i32) {
        let mut drawn = self.drawn.borrow_mut();
        let as_before = drawn.take().filter(|last| (&last.placement, last.factor) == (placement, factor));
        let news = self.news.take();
        let drawn = drawn.insert(match (as_before, news) {
            (Some(last), None) => last,
            (Some(last), Some(news)) => {
                Drawn { mark: Some(gsk::CairoNode::new(&placement.area(news).round_extents())), ..last }
            }
            (None, _) => Drawn { placement: *placement, factor, node: self.node(placement, factor), mark: None },
        });
        snapshot.append_node(&drawn.node);
        if let Some(mark) = &drawn.mark {
            snapshot.append_node(mark);
        }
    }

    fn node(&self, placement: &Placement, factor: i32) -> gsk::RenderNode {
        let area = placement.area(self.rect);
        let is_sharp = placement.is_sharp(factor);
        match &self.pixels {
            Pixels::Shared(surface) => self.cairo_node(surface, (0, 0), placement, is_sharp),
            Pixels::Cairo(surface, corner) => self.cairo_node(surface, *corner, placement, is_sharp),
            Pixels::Texture(texture, part) => {
                let node = gsk::TextureNode::new(texture, &placement.area(*part));
                // What is mixed from two tiles is drawn by one of them; else the margin shows what the other shows, too.
                if is_sharp { node.upcast() } else { gsk::ClipNode::new(node, &on_pixels(area, factor)).upcast() }
            }
        }
    }

    fn cairo_node(
        &self,
        surface: &cairo::ImageSurface,
        corner: (u32, u32),
        placement: &Placement,
        is_sharp: bool,
    ) -> gsk::RenderNode {
        let node = gsk::CairoNode::new(&placement.area(self.rect).round_extents());
        let filter = if is_sharp { cairo::Filter::Nearest } else { cairo::Filter::Bilinear };
        if let Err(error) = self.paint(&node.draw_context(), surface, corner, placement, filter) {
            tracing::debug!("the guest's picture cannot be drawn: {error}");
        }
        node.upcast()
    }

    fn paint(
        &self,
        context: &cairo::Context,
        surface: &cairo::ImageSurface,
        corner: (u32, u32),
        placement: &Placement,
        filter: cairo::Filter,
    ) -> Result<(), cairo::Error> {
        let Rect { x, y, width, height } = self.rect;
        context.translate(placement.x, placement.y);
        context.scale(placement.scale, placement.scale);
        context.set_source_surface(surface, corner.0.into(), corner.1.into())?;
        context.source().set_filter(filter);
        context.source().set_extend(cairo::Extend::Pad);
        // Every pixel of the display is one tile's: none shows through between two.
        context.set_antialias(cairo::Antialias::None);
        context.rectangle(x.into(), y.into(), width.into(), height.into());
        context.fill()
    }
}

/// An area of the console, with those pixels of the display of which it has most.
fn on_pixels(area: graphene::Rect, factor: i32) -> graphene::Rect {
    let factor = factor as f32;
    let round = |edge: f32| (edge * factor).round() / factor;
    let (left, top) = (round(area.x()), round(area.y()));
    let (right, bottom) = (round(area.x() + area.width()), round(area.y() + area.height()));
    graphene::Rect::new(left, top, right - left, bottom - top)
}
