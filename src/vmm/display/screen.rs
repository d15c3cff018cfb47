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
    text::{Phases, TextPainter},
    vga::Vga,
    video_memory::VideoMemory,
};
use crate::screen::{Generation, Rect, Screen, Surface, shadow::Shadow};

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
    pub(super) fn refresh_at(&self, time: Duration) -> Generation {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::display::testing::{Bench, TEXT, colour};

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn a_screen_that_has_never_shown_anything_is_black() {
        let bench = Bench::new();

        assert_eq!(bench.surface(), Surface::new(720, 400));
    }

    #[test]
    fn an_unchanged_screen_stays_at_its_generation() {
        let mut bench = Bench::in_vbe_mode(640, 480, 32);
        let first = bench.refresh();
        bench.time += Duration::from_secs(10);

        assert_eq!(bench.refresh(), first);
        assert_eq!(bench.damage(first), []);
    }

    #[test]
    fn one_written_pixel_damages_its_tile() {
        let bench = Bench::in_vbe_mode(640, 480, 32);
        let before = bench.refresh();

        bench.memory.guest_write((100 * 640 + 200) * 4, &[1, 2, 3, 0]);

        assert_eq!(bench.damage(before), [rect(200, 100, 8, 2)]);
        assert_eq!(bench.shown().row(100)[200], 0x03_02_01);
    }

    #[test]
    fn equal_pixels_written_again_damage_nothing() {
        let bench = Bench::in_vbe_mode(640, 480, 32);
        bench.memory.guest_write(0, &[7; 640 * 4]);
        let before = bench.refresh();

        bench.memory.guest_write(0, &[7; 640 * 4]);

        assert_eq!(bench.refresh(), before);
    }

    #[test]
    fn each_viewer_is_shown_what_it_has_missed() {
        let bench = Bench::in_vbe_mode(640, 480, 32);
        let early = bench.refresh();
        bench.memory.guest_write(0, &[1; 4]);
        let late = bench.refresh();
        bench.memory.guest_write((479 * 640 + 639) * 4, &[1; 4]);

        assert_eq!(bench.damage(late), [rect(632, 478, 8, 2)]);
        assert_eq!(bench.damage(early), [rect(0, 0, 8, 2), rect(632, 478, 8, 2)]);
        assert_eq!(bench.damage(0), [rect(0, 0, 640, 480)]);
    }

    #[test]
    fn another_size_damages_everything() {
        let mut bench = Bench::in_vbe_mode(640, 480, 32);
        let before = bench.refresh();

        bench.set_vbe_mode(800, 600, 16);

        assert_eq!(bench.damage(before), [rect(0, 0, 800, 600)]);
    }

    #[test]
    fn a_changed_colour_damages_where_it_is_seen() {
        let mut bench = Bench::in_vbe_mode(640, 480, 8);
        bench.memory.guest_write(0, &[9]);
        let before = bench.refresh();

        bench.port(0x3c8, 9);
        for component in [63, 63, 63] {
            bench.port(0x3c9, component);
        }

        assert_eq!(bench.damage(before), [rect(0, 0, 8, 2)]);
        assert_eq!(bench.shown().row(0)[..2], [0xff_ffff, colour(0)]);
    }

    #[test]
    fn a_moved_start_is_drawn_from_memory() {
        let mut bench = Bench::in_vbe_mode(640, 480, 32);
        bench.dispi(6, 1024);
        bench.memory.guest_write((5 * 1024 + 8) * 4, &[4, 0, 0, 0]);
        bench.refresh();

        bench.dispi(8, 8);
        bench.dispi(9, 5);

        assert_eq!(bench.surface().row(0)[..2], [4, 0]);
    }

    #[test]
    fn a_blanked_screen_is_black_and_keeps_its_size() {
        let mut bench = Bench::in_vbe_mode(640, 480, 32);
        bench.memory.guest_write(0, &[7; 4]);
        let before = bench.refresh();

        bench.read_port(0x3da);
        bench.port(0x3c0, 0);

        assert_eq!(bench.damage(before), [rect(0, 0, 8, 2)]);
        assert_eq!(bench.shown(), Surface::new(640, 480));
        bench.port(0x3c0, 0);
        bench.port(0x3c0, 0x20);
        assert_eq!(bench.surface().row(0)[0], 0x07_07_07);
    }

    #[test]
    fn without_viewers_no_picture_is_kept_but_one_can_be_taken() {
        let bench = Bench::in_vbe_mode(640, 480, 32);
        bench.memory.guest_write(0, &[7; 4]);
        let watched = bench.surface();
        let generation = bench.refresh();
        bench.screen.detach();
        bench.memory.guest_write(4, &[8; 4]);

        assert!(bench.screen.state.read().unwrap().painter.is_none());
        assert_eq!(bench.refresh(), generation);
        let mut damage = Vec::new();
        let mut taken = Surface::default();
        bench.screen.look(generation, &mut |surface, rects| {
            taken = surface.clone();
            damage = rects.to_vec();
        });

        assert_eq!(watched.row(0)[..2], [0x07_07_07, 0]);
        assert_eq!(taken.row(0)[..2], [0x07_07_07, 0x08_08_08]);
        assert_eq!(damage, [rect(0, 0, 640, 480)]);
    }

    #[test]
    fn a_picture_taken_in_passing_leaves_the_log_to_the_viewers() {
        let bench = Bench::in_vbe_mode(640, 480, 32);
        let generation = bench.refresh();
        bench.screen.detach();
        bench.shown();
        bench.memory.guest_write(0, &[7; 4]);
        bench.shown();
        bench.screen.attach();

        assert_eq!(bench.damage(generation), [rect(0, 0, 640, 480)]);
        assert_eq!(bench.shown().row(0)[0], 0x07_07_07);
    }

    #[test]
    fn a_viewer_that_comes_is_shown_a_picture_before_the_first_refresh() {
        let bench = Bench::in_mode(&TEXT);

        assert_eq!(bench.shown().bounds(), Some(rect(0, 0, 720, 400)));
    }
}
