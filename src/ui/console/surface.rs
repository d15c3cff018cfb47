//! The guest's screen as a picture for cairo: the very memory in which the guest's engine has it, so that nothing is copied.

use std::rc::Rc;

use gtk::cairo;
use lodge::rfb::client::SharedPixels;

use super::paint::PIXEL;

/// What keeps the memory as long as cairo has the picture.
static MEMORY: cairo::UserDataKey<SharedPixels> = cairo::UserDataKey::new();

/// The picture, to be drawn from only; `None` when it is too large for cairo. Cairo must not be told that its pixels change, as it would
/// copy all of them for whoever has recorded that it draws this picture: so the record draws what is there when it is played.
#[expect(unsafe_code, reason = "cairo-rs takes only bytes that nobody else can change")]
pub fn of(pixels: SharedPixels) -> Option<cairo::ImageSurface> {
    let (width, height) = pixels.size();
    let (width, height) = (i32::try_from(width).ok()?, i32::try_from(height).ok()?);
    let stride = width.checked_mul(PIXEL as i32)?;
    let first = pixels.as_ptr().cast_mut();
    // SAFETY: `height` rows of `stride` bytes begin there and stay for as long as the surface has its user data. Nobody draws on it,
    // so cairo only reads them; that they change meanwhile is another colour, nothing else.
    let surface =
        unsafe { cairo::ImageSurface::create_for_data_unsafe(first, cairo::Format::Rgb24, width, height, stride) };
    let surface = surface.ok()?;
    surface.set_user_data(&MEMORY, Rc::new(pixels)).ok()?;
    Some(surface)
}
