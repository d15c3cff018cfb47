//! What the driver has set up: resources, what of them is on the screen, the pointer. Commands change it, viewers look at it.

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc};

use super::{
    MAX_PIECES,
    protocol::{Command, ErrorKind, Response},
    resource::{Backing, Format, Resource},
};
use crate::{
    screen::{
        Rect,
        cursor::{Cursor, CursorImage},
    },
    vmm::{display::edid, memory::GuestMemory, virtio::interrupt::VirtioInterrupt},
};

/// Width and height of a pointer, in pixels (section 5.7.6.10).
pub const CURSOR_SIZE: u32 = 64;
/// The size that the driver is told to prefer until somebody asks for another, in pixels.
const PREFERRED_SIZE: (u32, u32) = (1280, 800);
/// The largest width and height of a resource, in pixels.
pub const MAX_SIZE: u32 = 8192;
/// The largest resource, in pixels: a little more than an 8K screen.
const MAX_PIXELS: u64 = 36 << 20;
/// The smallest size that a viewer can ask for.
const MIN_SIZE: u32 = 64;
/// Resources that a driver can have at a time.
pub const MAX_RESOURCES: usize = 1024;
/// Bytes of pixels that the device keeps copies of.
const MAX_KEPT: u64 = 256 << 20;
/// Flushed parts that are remembered one by one.
const MAX_PARTS: usize = 64;
/// In the configuration's events: the preferred size has changed (VIRTIO_GPU_EVENT_DISPLAY).
const EVENT_DISPLAY: u32 = 1;

/// What the driver has set up.
pub struct Scene {
    // Wiring
    memory: Arc<GuestMemory>,
    interrupt: Option<Arc<VirtioInterrupt>>,
    // Volatile state
    pub(super) resources: BTreeMap<u32, Resource>,
    pub(super) scanout: Option<Scanout>,
    pub(super) cursor: Option<Cursor>,
    pub(super) preferred_size: (u32, u32),
    pub(super) events: u32,
    changes: Changes,
}

/// What is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanout {
    /// The resource.
    pub resource: u32,
    /// The part of it.
    pub rect: Rect,
}

/// What has changed on the screen since somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Perhaps all of it.
    Everything,
    /// These parts, in pixels of the screen. They may overlap.
    Parts(Vec<Rect>),
}

/// All that is needed to draw the screen, apart from the scene.
pub struct View {
    /// The guest's memory.
    pub memory: Arc<GuestMemory>,
    /// The resource on the screen.
    pub resource: Resource,
    /// The part of it that is the screen.
    pub rect: Rect,
    /// The pointer over it.
    pub cursor: Option<Cursor>,
}

impl Scene {
    /// The scene before a driver comes.
    pub fn new(memory: Arc<GuestMemory>) -> Self {
        Self {
            memory,
            interrupt: None,
            resources: BTreeMap::new(),
            scanout: None,
            cursor: None,
            preferred_size: PREFERRED_SIZE,
            events: 0,
            changes: Changes::Everything,
        }
    }

    /// Forgets what the driver has set up.
    pub fn reset(&mut self) {
        self.resources.clear();
        self.scanout = None;
        self.cursor = None;
        self.events = 0;
        self.changes = Changes::Everything;
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Whether a driver shows something.
    pub fn is_shown(&self) -> bool {
        self.scanout.is_some()
    }

    /// Connects the way to the driver, or cuts it.
    pub fn connect(&mut self, interrupt: Option<Arc<VirtioInterrupt>>) {
        self.interrupt = interrupt;
    }

    /// The configuration structure (section 5.7.4).
    pub fn config(&self) -> [u8; 16] {
        let mut config = [0; 16];
        config[..4].copy_from_slice(&self.events.to_le_bytes());
        config[8] = 1;
        config
    }

    /// The driver has seen these events.
    pub fn clear_events(&mut self, events: u32) {
        self.events &= !events;
    }

    /// Asks the driver for a screen of this size, in pixels.
    pub fn set_preferred_size(&mut self, width: u32, height: u32) {
        let size = (width.clamp(MIN_SIZE, MAX_SIZE), height.clamp(MIN_SIZE, MAX_SIZE));
        if std::mem::replace(&mut self.preferred_size, size) != size {
            self.events |= EVENT_DISPLAY;
            if let Some(interrupt) = &self.interrupt {
                interrupt.configuration_changed();
            }
        }
    }

    /// What is on the screen, and what of it has changed since the last call.
    pub fn take_changes(&mut self) -> (Option<View>, Changes) {
        (self.view(), std::mem::replace(&mut self.changes, Changes::Parts(Vec::new())))
    }

    /// What is on the screen.
    pub fn view(&self) -> Option<View> {
        let scanout = self.scanout?;
        let resource = self.resources.get(&scanout.resource)?.clone();
        Some(View { memory: self.memory.clone(), resource, rect: scanout.rect, cursor: self.cursor.clone() })
    }

    /// Carries out a command.
    pub fn execute(&mut self, command: Command) -> Response {
        let done = match command {
            Command::GetDisplayInfo => {
                let (width, height) = self.preferred_size;
                return Response::DisplayInfo { width, height };
            }
            Command::GetEdid { scanout: 0 } => {
                let (width, height) = self.preferred_size;
                return Response::Edid(Box::new(edid::edid(width, height)));
            }
            Command::GetEdid { .. } => Err(ErrorKind::InvalidScanout),
            Command::CreateResource { resource, format, width, height } => self.create(resource, format, width, height),
            Command::UnrefResource { resource } => self.unref(resource),
            Command::SetScanout { rect, scanout, resource } => self.set_scanout(rect, scanout, resource),
            Command::FlushResource { rect, resource } => self.flush(rect, resource),
            Command::TransferToHost { rect, offset, resource } => self.transfer(rect, offset, resource),
            Command::AttachBacking { resource, pieces } => self.attach(resource, &pieces),
            Command::DetachBacking { resource } => self.detach(resource),
            Command::UpdateCursor { resource, x, y, hot_spot } => self.update_cursor(resource, x, y, hot_spot),
            Command::MoveCursor { x, y } => {
                // A pointer that shows up again says where.
                self.cursor = self.cursor.take().map(|cursor| Cursor { x, y, ..cursor });
                Ok(())
            }
            Command::Unknown => Err(ErrorKind::Unspecified),
        };
        done.map_or_else(Response::Error, |()| Response::Done)
    }

    fn create(&mut self, id: u32, format: u32, width: u32, height: u32) -> Result<(), ErrorKind> {
        if id == 0 || self.resources.contains_key(&id) {
            return Err(ErrorKind::InvalidResource);
        }
        let format = Format::new(format).ok_or(ErrorKind::InvalidParameter)?;
        if !is_possible_size(width, height) {
            return Err(ErrorKind::InvalidParameter);
        }
        if self.resources.len() >= MAX_RESOURCES {
            return Err(ErrorKind::OutOfMemory);
        }
        self.resources.insert(id, Resource { format, width, height, backing: None, kept: None });
        Ok(())
    }

    fn unref(&mut self, id: u32) -> Result<(), ErrorKind> {
        self.resources.remove(&id).ok_or(ErrorKind::InvalidResource)?;
        if self.scanout.is_some_and(|scanout| scanout.resource == id) {
            self.show(None);
        }
        Ok(())
    }

    fn set_scanout(&mut self, rect: Rect, scanout: u32, id: u32) -> Result<(), ErrorKind> {
        if scanout != 0 {
            return Err(ErrorKind::InvalidScanout);
        }
        if id == 0 {
            self.show(None);
            return Ok(());
        }
        if !self.resource(id)?.contains(rect) {
            return Err(ErrorKind::InvalidParameter);
        }
        self.show(Some(Scanout { resource: id, rect }));
        Ok(())
    }

    fn show(&mut self, scanout: Option<Scanout>) {
        if self.scanout != scanout {
            self.scanout = scanout;
            self.changes = Changes::Everything;
        }
    }

    fn flush(&mut self, rect: Rect, id: u32) -> Result<(), ErrorKind> {
        if !self.resource(id)?.contains(rect) {
            return Err(ErrorKind::InvalidParameter);
        }
        if let Some(scanout) = self.scanout.filter(|scanout| scanout.resource == id)
            && let Some(part) = rect.intersection(scanout.rect)
            && let Changes::Parts(parts) = &mut self.changes
        {
            if parts.len() < MAX_PARTS {
                parts.push(Rect { x: part.x - scanout.rect.x, y: part.y - scanout.rect.y, ..part });
            } else {
                self.changes = Changes::Everything;
            }
        }
        Ok(())
    }

    fn transfer(&mut self, rect: Rect, offset: u64, id: u32) -> Result<(), ErrorKind> {
        let kept: u64 = self.resources.values().filter(|resource| resource.kept.is_some()).map(Resource::size).sum();
        let memory = self.memory.clone();
        let resource = self.resource(id)?;
        if !resource.contains(rect) {
            return Err(ErrorKind::InvalidParameter);
        }
        if resource.backing.is_none() {
            return Err(ErrorKind::Unspecified);
        }
        if resource.kept.is_none() {
            if offset == resource.offset(rect.x, rect.y) {
                // The pixels are shown from where they are.
                return Ok(());
            }
            if kept + resource.size() > MAX_KEPT {
                return Err(ErrorKind::OutOfMemory);
            }
            resource.keep(&memory);
        }
        resource.transfer(&memory, rect, offset);
        Ok(())
    }

    fn attach(&mut self, id: u32, pieces: &[super::protocol::Piece]) -> Result<(), ErrorKind> {
        let attached: usize = self
            .resources
            .values()
            .filter_map(|resource| resource.backing.as_ref())
            .map(|backing| backing.pieces().len())
            .sum();
        let memory = self.memory.clone();
        let resource = self.resource(id)?;
        if resource.backing.is_some() {
            return Err(ErrorKind::Unspecified);
        }
        if attached + pieces.len() > MAX_PIECES {
            return Err(ErrorKind::OutOfMemory);
        }
        let backing = Backing::new(pieces, &memory).ok_or(ErrorKind::InvalidParameter)?;
        resource.backing = Some(Arc::new(backing));
        Ok(())
    }

    fn detach(&mut self, id: u32) -> Result<(), ErrorKind> {
        let is_shown = self.scanout.is_some_and(|scanout| scanout.resource == id);
        let memory = self.memory.clone();
        let resource = self.resource(id)?;
        if resource.backing.is_none() {
            return Err(ErrorKind::Unspecified);
        }
        // What is on the screen stays there; other pixels are not seen again without a transfer.
        if is_shown {
            resource.keep(&memory);
        }
        resource.backing = None;
        Ok(())
    }

    fn update_cursor(&mut self, id: u32, x: i32, y: i32, hot_spot: (u32, u32)) -> Result<(), ErrorKind> {
        if id == 0 {
            self.cursor = None;
            return Ok(());
        }
        let memory = self.memory.clone();
        let resource = self.resource(id)?;
        if (resource.width, resource.height) != (CURSOR_SIZE, CURSOR_SIZE) {
            return Err(ErrorKind::InvalidParameter);
        }
        let mut bytes = vec![0; resource.size() as usize];
        resource.read(&memory, 0, 0, &mut bytes);
        let format = resource.format;
        let pixels = bytes.as_chunks().0.iter().map(|&bytes| format.pixel_with_alpha(bytes)).collect();
        self.cursor = Some(cursor(pixels, hot_spot, x, y));
        Ok(())
    }

    fn resource(&mut self, id: u32) -> Result<&mut Resource, ErrorKind> {
        self.resources.get_mut(&id).ok_or(ErrorKind::InvalidResource)
    }
}

/// A pointer of [`CURSOR_SIZE`]² pixels, which points with one of them.
pub(super) fn cursor(pixels: Vec<u32>, (hot_x, hot_y): (u32, u32), x: i32, y: i32) -> Cursor {
    let hot_spot = (hot_x.min(CURSOR_SIZE - 1), hot_y.min(CURSOR_SIZE - 1));
    let image = CursorImage { width: CURSOR_SIZE, height: CURSOR_SIZE, hot_spot, pixels };
    Cursor { image: Arc::new(image), x, y }
}

/// Whether a resource can have this size.
pub(super) fn is_possible_size(width: u32, height: u32) -> bool {
    let possible = 1..=MAX_SIZE;
    let pixels = u64::from(width) * u64::from(height);
    possible.contains(&width) && possible.contains(&height) && pixels <= MAX_PIXELS
}
