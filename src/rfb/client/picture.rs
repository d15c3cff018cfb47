//! The client's copy of the server's screen, or the memory in which the server has it.

use super::ClientError;
use crate::rfb::encoding::row_part;
use crate::rfb::memory::Memory;
use crate::screen::{Rect, Surface};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The largest screen that is shown, in pixels: 8K.
const MAX_PIXELS: u32 = 7680 * 4320;

/// A copy of the picture in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Four bytes a pixel: blue, green, red, and one that means nothing. Rows from the top without gaps.
    pub bytes: Vec<u8>,
}

/// The memory in which a server has its screen, for as long as somebody looks: little-endian `0x00RRGGBB`, rows from the top without
/// gaps. It can only be read, and its pixels change at any time. Clones are the same memory.
#[derive(Debug, Clone)]
pub struct SharedPixels(Arc<Memory>);

impl SharedPixels {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.0.size()
    }

    /// The first pixel.
    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }
}

impl PartialEq for SharedPixels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The picture.
#[derive(Default)]
pub(super) struct Picture {
    surface: Mutex<Surface>,
    /// Where the server has the picture, if it shares that. It has the surface's size.
    memory: Mutex<Option<Arc<Memory>>>,
}

impl Picture {
    /// A picture that is a copy.
    pub(super) fn new(surface: Surface) -> Self {
        Self { surface: Mutex::new(surface), memory: Mutex::default() }
    }

    /// The copy.
    pub(super) fn lock(&self) -> MutexGuard<'_, Surface> {
        self.surface.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Option<Arc<Memory>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server shares its memory.
    pub(super) fn is_shared(&self) -> bool {
        self.memory().is_some()
    }

    /// The server shares its memory, or does so no longer.
    pub(super) fn share(&self, memory: Option<Memory>) {
        *self.memory() = memory.map(Arc::new);
    }

    /// The memory that the server shares.
    pub(super) fn shared(&self) -> Option<SharedPixels> {
        self.memory().clone().map(SharedPixels)
    }

    /// Calls `look` with the picture.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Surface) -> T) -> T {
        let mut surface = self.lock();
        let memory = self.memory();
        if let Some(memory) = memory.as_ref().filter(|memory| memory.size() == (surface.width, surface.height)) {
            memory.read(&mut surface);
        }
        drop(memory);
        look(&surface)
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        let surface = self.lock();
        (surface.width, surface.height)
    }

    /// A copy of what of a rectangle lies in it.
    pub(super) fn pixels_of(&self, part: Rect) -> Option<Pixels> {
        let memory = self.memory();
        if let Some(memory) = &*memory {
            let part = part.within(memory.size().0, memory.size().1)?;
            return Some(Pixels { width: part.width, height: part.height, bytes: memory.bytes_of(part) });
        }
        drop(memory);
        let surface = self.lock();
        let part = part.within(surface.width, surface.height)?;
        let mut bytes = Vec::with_capacity(part.width as usize * part.height as usize * 4);
        for y in part.y..part.y + part.height {
            bytes.extend(row_part(&surface, part.x, y, part.width).iter().flat_map(|pixel| pixel.to_le_bytes()));
        }
        Some(Pixels { width: part.width, height: part.height, bytes })
    }

    /// A copy.
    pub(super) fn pixels(&self) -> Pixels {
        if let Some(memory) = &*self.memory() {
            let (width, height) = memory.size();
            return Pixels { width, height, bytes: memory.bytes() };
        }
        let surface = self.lock();
        let bytes = surface.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        Pixels { width: surface.width, height: surface.height, bytes }
    }
}

/// A black surface of the size that the server says, if that is sane.
pub(super) fn new_surface(width: u16, height: u16) -> Result<Surface, ClientError> {
    let (w, h) = (u32::from(width), u32::from(height));
    if w.saturating_mul(h) > MAX_PIXELS {
        return Err(ClientError::TooLarge(width, height));
    }
    Ok(Surface::new(w, h))
}
