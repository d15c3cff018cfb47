//! The GPU's screen as viewers see it: what is flushed is drawn when somebody looks.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{
    resource::PIXEL_SIZE,
    scene::{Changes, Scene, View},
};
use crate::screen::{Generation, Rect, Screen, Surface, cursor::Cursor, shadow::Shadow};

/// The size of a screen that has never shown anything.
const POWER_ON_SIZE: (u32, u32) = (1280, 800);

/// The screen of a [`super::VirtioGpu`].
pub struct GpuScreen {
    scene: Arc<Mutex<Scene>>,
    state: RwLock<State>,
}

struct State {
    viewers: usize,
    /// The generation of the last picture that was kept.
    generation: Generation,
    painter: Option<Painter>,
}

impl GpuScreen {
    /// The screen that shows `scene`.
    pub(super) fn new(scene: Arc<Mutex<Scene>>) -> Self {
        Self { scene, state: RwLock::new(State { viewers: 0, generation: 0, painter: None }) }
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The picture for one look: nobody is watching.
    fn painted(&self, generation: Generation) -> Painter {
        let view = self.scene().view();
        let mut painter = Painter::new(generation);
        painter.draw(view.as_ref(), &Changes::Everything);
        painter.shadow.finish();
        painter
    }
}

impl Screen for GpuScreen {
    fn refresh(&self) -> Generation {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.viewers > 0 {
            let generation = state.generation;
            let (view, mut changes) = self.scene().take_changes();
            let painter = state.painter.get_or_insert_with(|| {
                changes = Changes::Everything;
                Painter::new(generation)
            });
            painter.draw(view.as_ref(), &changes);
            state.generation = painter.shadow.finish();
        }
        state.generation
    }

    fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        if self.cursor().is_none() {
            return self.look_without_cursor(since, look);
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let generation = state.generation;
        if let Some(painter) = &mut state.painter {
            painter.show_with_cursor(since, look);
            return generation;
        }
        drop(state);
        self.painted(generation).show_with_cursor(0, look);
        generation
    }

    fn look_without_cursor(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let generation = state.generation;
        if let Some(painter) = &state.painter {
            painter.show(since, look);
            return generation;
        }
        drop(state);
        self.painted(generation).show(0, look);
        generation
    }

    fn cursor(&self) -> Option<Cursor> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &state.painter {
            Some(painter) => painter.cursor.clone(),
            None => self.scene().view().and_then(|view| view.cursor),
        }
    }

    fn attach(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).viewers += 1;
    }

    fn detach(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.viewers = state.viewers.saturating_sub(1);
        if state.viewers == 0 {
            state.painter = None;
        }
    }

    fn is_shown(&self) -> bool {
        self.scene().is_shown()
    }

    fn follows_preferred_size(&self) -> bool {
        true
    }

    fn set_preferred_size(&self, width: u32, height: u32) {
        self.scene().set_preferred_size(width, height);
    }
}

/// A surface and what is needed to keep it up to date.
struct Painter {
    shadow: Shadow,
    cursor: Option<Cursor>,
    bytes: Vec<u8>,
}

impl Painter {
    fn new(generation: Generation) -> Self {
        Self { shadow: Shadow::new(generation), cursor: None, bytes: Vec::new() }
    }

    /// Shows the surface.
    fn show(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) {
        look(self.shadow.surface(), &self.shadow.damage(since));
    }

    /// Shows the surface with the pointer over it.
    fn show_with_cursor(&mut self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) {
        let under = self.cursor.as_ref().and_then(|cursor| cursor.draw_on(self.shadow.surface_mut()));
        self.show(since, look);
        if let Some(under) = under {
            under.put_back(self.shadow.surface_mut());
        }
    }

    fn draw(&mut self, view: Option<&View>, changes: &Changes) {
        let before = std::mem::replace(&mut self.cursor, view.and_then(|view| view.cursor.clone()));
        let Some(view) = view else {
            // The screen is off. It keeps its size.
            let bounds = self.shadow.surface().bounds();
            let (width, height) = bounds.map_or(POWER_ON_SIZE, |bounds| (bounds.width, bounds.height));
            self.shadow.resize(width, height);
            if *changes == Changes::Everything {
                self.shadow.blank();
            }
            return;
        };
        let Rect { width, height, .. } = view.rect;
        let resized = self.shadow.resize(width, height);
        match changes {
            Changes::Parts(parts) if !resized => parts.iter().for_each(|&part| self.draw_part(view, part)),
            _ => self.draw_part(view, Rect { x: 0, y: 0, width, height }),
        }
        if before != view.cursor {
            let moved = [before.as_ref(), view.cursor.as_ref()].into_iter().flatten();
            moved.filter_map(|cursor| cursor.covers(width, height)).for_each(|part| self.shadow.touch(part));
        }
    }

    /// Draws a part of the screen.
    fn draw_part(&mut self, view: &View, part: Rect) {
        self.bytes.resize(part.width as usize * PIXEL_SIZE as usize, 0);
        let (x, format) = (part.x as usize, view.resource.format);
        for y in part.y..part.y + part.height {
            view.resource.read(&view.memory, view.rect.x + part.x, view.rect.y + y, &mut self.bytes);
            let pixels = self.bytes.as_chunks::<{ PIXEL_SIZE as usize }>().0;
            match format.is_native() {
                true => self.shadow.draw_as(x, y as usize, pixels, |bytes| u32::from_le_bytes(bytes) & 0xff_ffff),
                false => self.shadow.draw_as(x, y as usize, pixels, |bytes| format.pixel(bytes)),
            }
        }
    }
}
