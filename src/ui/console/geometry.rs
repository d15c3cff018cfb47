//! Where the guest's picture lies in the console, and which of its pixels the pointer is on.

use gtk::graphene;
use lodge::screen::Rect;

/// How the picture fills the console.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scaling {
    /// As large as fits, in its proportions.
    #[default]
    Fit,
    /// One pixel of the guest is one logical pixel: sharp. What does not fit is scrolled to.
    Original,
}

/// The picture's place in the console, in logical pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Logical pixels of the console for each pixel of the guest.
    pub scale: f64,
    /// The guest's width, in its pixels.
    pub width: u32,
    /// The guest's height, in its pixels.
    pub height: u32,
}

impl Placement {
    /// Puts a picture of `picture` pixels into the middle of a console of `console` logical pixels; `None` when either is empty.
    pub fn new(scaling: Scaling, picture: (u32, u32), console: (i32, i32)) -> Option<Self> {
        let (width, height) = picture;
        let (room_x, room_y) = (f64::from(console.0), f64::from(console.1));
        if width == 0 || height == 0 || room_x <= 0.0 || room_y <= 0.0 {
            return None;
        }
        let (wanted_x, wanted_y) = (f64::from(width), f64::from(height));
        let scale = match scaling {
            Scaling::Fit => (room_x / wanted_x).min(room_y / wanted_y),
            Scaling::Original => 1.0,
        };
        // On whole pixels, so that a scale of 1 stays sharp.
        let edge = |room: f64, wanted: f64| ((room - wanted * scale) / 2.0).floor().max(0.0);
        Some(Self { x: edge(room_x, wanted_x), y: edge(room_y, wanted_y), scale, width, height })
    }

    /// The guest's pixel under a point of the console; beside the picture, the nearest.
    pub fn pixel_at(&self, x: f64, y: f64) -> (u32, u32) {
        let along = |at: f64, start: f64, size: u32| {
            let pixel = ((at - start) / self.scale).floor();
            pixel.clamp(0.0, f64::from(size.saturating_sub(1))) as u32
        };
        (along(x, self.x, self.width), along(y, self.y, self.height))
    }

    /// Where a part of the picture lies in the console, in logical pixels.
    pub fn area(&self, part: Rect) -> graphene::Rect {
        let along = |start: f64, at: u32| start + f64::from(at) * self.scale;
        let (left, top) = (along(self.x, part.x), along(self.y, part.y));
        let (right, bottom) = (along(self.x, part.x + part.width), along(self.y, part.y + part.height));
        graphene::Rect::new(left as f32, top as f32, (right - left) as f32, (bottom - top) as f32)
    }

    /// Whether each pixel of the guest covers whole pixels of the display, whose pixels are `factor` to a logical one.
    pub fn is_sharp(&self, factor: i32) -> bool {
        let scale = self.scale * f64::from(factor);
        scale >= 1.0 && (scale - scale.round()).abs() < 1e-6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fitted_picture_keeps_its_proportions_and_is_centred() {
        let placement = Placement::new(Scaling::Fit, (800, 600), (1600, 900)).unwrap();

        assert_eq!((placement.scale, placement.x, placement.y), (1.5, 200.0, 0.0));
    }

    #[test]
    fn an_original_picture_is_not_scaled_and_lies_on_whole_pixels() {
        let placement = Placement::new(Scaling::Original, (801, 601), (1000, 700)).unwrap();

        assert_eq!((placement.scale, placement.x, placement.y), (1.0, 99.0, 49.0));
        assert!(placement.is_sharp(1) && placement.is_sharp(2));
    }

    #[test]
    fn parts_of_a_picture_meet_where_they_meet_in_the_guest() {
        let placement = Placement::new(Scaling::Fit, (800, 600), (1600, 900)).unwrap();
        let area = |x, width| placement.area(Rect { x, y: 100, width, height: 20 });
        let (left, right) = (area(0, 256), area(256, 10));

        assert_eq!((left.x(), left.y(), left.width(), left.height()), (200.0, 150.0, 384.0, 30.0));
        assert_eq!((right.x(), right.width()), (left.x() + left.width(), 15.0));
    }

    #[test]
    fn the_pointer_is_on_the_pixel_below_it_and_never_outside() {
        let placement = Placement::new(Scaling::Fit, (100, 100), (400, 200)).unwrap();

        assert_eq!(placement.pixel_at(101.0, 3.9), (0, 1));
        assert_eq!(placement.pixel_at(-50.0, 1000.0), (0, 99));
        assert_eq!(placement.pixel_at(399.0, 0.0), (99, 0));
    }

    #[test]
    fn an_empty_picture_or_console_has_no_place() {
        assert_eq!(Placement::new(Scaling::Fit, (0, 600), (100, 100)), None);
        assert_eq!(Placement::new(Scaling::Fit, (800, 600), (0, 100)), None);
    }

    #[test]
    fn fractional_scales_are_not_sharp() {
        let fitted = |room| Placement::new(Scaling::Fit, (100, 100), (room, room)).unwrap();

        assert!(fitted(200).is_sharp(1));
        assert!(!fitted(150).is_sharp(1));
        assert!(fitted(150).is_sharp(2));
        assert!(!fitted(50).is_sharp(1));
    }
}
