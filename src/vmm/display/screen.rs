//! The card's screen as viewers see it: draws what has changed when somebody looks, and keeps no picture when nobody does.

#![forbid(unsafe_code)]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{
    canvas::Canvas,
    damage::DirtyPages,
    linear::LinearPainter,
    mode::Picture,
    planes::PlanesPainter,
    shadow::Shadow,
    text::{Phases, TextPainter},
    vga::Vga,
    video_memory::VideoMemory,
};
use crate::screen::{Generation, Rect, Screen, Surface};

/// The size of a screen that has never shown anything.
const POWER_ON_SIZE: (u32, u32) = (720, 400);

/// The screen of a [`Vga`].
pub struct VgaScreen {
    card: Arc<Mutex<Vga>>,
    memory: Arc<dyn VideoMemory>,
    switched_on: Instant,
    state: RwLock<State>,
}

struct State {
    viewers: usize,
    /// The generation of the last picture that was kept.
    generation: Generation,
    painter: Option<Painter>,
}

impl VgaScreen {
    /// The screen of `card`, which has this video memory.
    pub(super) fn new(card: Arc<Mutex<Vga>>, memory: Arc<dyn VideoMemory>) -> Self {
        let state = RwLock::new(State { viewers: 0, generation: 0, painter: None });
        Self { card, memory, switched_on: Instant::now(), state }
    }

    /// [`Screen::refresh`] at `time` after the screen was switched on.
    fn refresh_at(&self, time: Duration) -> Generation {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.viewers > 0 {
            let generation = state.generation;
            let painter = state.painter.get_or_insert_with(|| Painter::new(generation));
            state.generation = painter.refresh(&self.card, &*self.memory, Phases::at(time));
        }
        state.generation
    }

    fn look_at(&self, time: Duration, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(painter) = &state.painter {
            look(painter.shadow.surface(), &painter.shadow.damage(since));
            return state.generation;
        }
        let generation = state.generation;
        drop(state);
        // Nobody is watching: the picture is made for this look alone, and the dirty log is left to those who come.
        let mut painter = Painter::new(generation);
        painter.draw_once(&self.card, &*self.memory, Phases::at(time));
        look(painter.shadow.surface(), &painter.shadow.damage(0));
        generation
    }
}

impl Screen for VgaScreen {
    fn refresh(&self) -> Generation {
        self.refresh_at(self.switched_on.elapsed())
    }

    fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.look_at(self.switched_on.elapsed(), since, look)
    }

    fn attach(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.viewers += 1;
    }

    fn detach(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.viewers = state.viewers.saturating_sub(1);
        if state.viewers == 0 {
            state.painter = None;
        }
    }
}

/// A surface and all that is needed to keep it up to date.
struct Painter {
    shadow: Shadow,
    revision: u64,
    picture: Option<Picture>,
    pages: DirtyPages,
    text: TextPainter,
    planes: PlanesPainter,
    linear: LinearPainter,
}

impl Painter {
    fn new(generation: Generation) -> Self {
        Self {
            shadow: Shadow::new(generation),
            revision: 0,
            picture: None,
            pages: DirtyPages::default(),
            text: TextPainter::default(),
            planes: PlanesPainter::default(),
            linear: LinearPainter::default(),
        }
    }

    /// Brings the surface up to date and returns its generation.
    fn refresh(&mut self, card: &Mutex<Vga>, memory: &dyn VideoMemory, phases: Phases) -> Generation {
        self.pages.clear();
        let changed = self.look_at_card(&mut lock(card));
        // The log is read before the memory: what the guest writes meanwhile is found again by the next round.
        self.pages.fill(|bitmap| memory.take_dirty(bitmap));
        self.draw(memory, phases, changed);
        self.shadow.finish()
    }

    /// Draws everything and leaves the card's and the engine's logs alone.
    fn draw_once(&mut self, card: &Mutex<Vga>, memory: &dyn VideoMemory, phases: Phases) {
        let picture = lock(card).picture();
        self.picture = Some(picture);
        self.draw(memory, phases, true);
        self.shadow.finish();
    }

    /// Takes over what the registers show and which pages the card has written; says whether there is another picture than
    /// before.
    fn look_at_card(&mut self, card: &mut Vga) -> bool {
        card.take_dirty(&mut self.pages);
        if card.revision() == self.revision {
            return false;
        }
        self.revision = card.revision();
        let picture = Some(card.picture());
        if picture == self.picture {
            return false;
        }
        self.picture = picture;
        true
    }

    /// Draws what is in the dirty pages, or everything.
    fn draw(&mut self, memory: &dyn VideoMemory, phases: Phases, everything: bool) {
        let Some(picture) = &self.picture else { return };
        let (width, height) = picture.size().unwrap_or(match self.shadow.surface().bounds() {
            Some(bounds) => (bounds.width, bounds.height),
            None => POWER_ON_SIZE,
        });
        let resized = self.shadow.resize(width, height);
        let everything = everything || resized;
        if resized || !matches!(picture, Picture::Text(_)) {
            self.text.forget();
        }
        let pages = (!everything).then_some(&self.pages);
        let mut canvas = Canvas { memory: memory.slice(), pages, shadow: &mut self.shadow };
        match picture {
            Picture::Blank if everything => canvas.shadow.blank(),
            Picture::Blank => {}
            Picture::Text(mode) => self.text.draw(mode, phases, &mut canvas),
            Picture::Planes(_) | Picture::Linear(_) if pages.is_some_and(DirtyPages::is_empty) => {}
            Picture::Planes(mode) => self.planes.draw(mode, &mut canvas),
            Picture::Linear(mode) => self.linear.draw(mode, &mut canvas),
        }
    }
}

fn lock(card: &Mutex<Vga>) -> MutexGuard<'_, Vga> {
    card.lock().unwrap_or_else(PoisonError::into_inner)
}
