//! The screen: VGA with Bochs VBE, its video memory, drawing and damage.
//!
//! - [`vga`]: the card as the guest sees it, made of [`registers`], [`dac`], [`vbe`], [`window`],
//!   [`register_page`] and [`edid`];
//! - [`mode`]: what the registers put on the screen, row by row by [`scan`];
//! - [`text`], [`planes`], [`linear`]: drawing it on a [`canvas`];
//! - [`damage`]: what has changed in video memory;
//! - [`screen`]: the surface that viewers look at.
//!
//! vCPU threads work on the card under its lock. Viewers hold that lock only while they copy what the registers say, and read
//! the video memory without it: a picture drawn while the guest draws may be torn, as on a real screen, and the torn part is
//! in the dirty log of the next look.

pub mod canvas;
pub mod dac;
pub mod damage;
pub mod edid;
pub mod linear;
pub mod mode;
pub mod planes;
pub mod register_page;
pub mod registers;
pub mod scan;
pub mod screen;
#[cfg(test)]
mod testing;
pub mod text;
pub mod vbe;
pub mod vga;
pub mod video_memory;
pub mod window;

pub use screen::VgaScreen;
pub use vga::Vga;
