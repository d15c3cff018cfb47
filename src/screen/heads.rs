//! Several graphics cards, one monitor: shows the first of them that the guest has switched on.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Generation, Rect, Screen, Surface, cursor::Cursor};

/// A screen made of others.
pub struct Heads {
    /// In the order of preference. The last one is shown when none is on.
    screens: Vec<Arc<dyn Screen>>,
    state: Mutex<State>,
}

/// Which screen is shown, and what its generations are to the viewers.
///
/// Each screen counts its own. The viewers' generations go on over a switch: `offset` is what is added to those of the screen
/// that is shown, and what a viewer saw before `first` was another screen.
struct State {
    shown: usize,
    offset: Generation,
    first: Generation,
    latest: Generation,
}

impl Heads {
    /// The monitor of these cards, the preferred one first.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(screens: Vec<Arc<dyn Screen>>) -> Self {
        assert!(!screens.is_empty(), "a monitor without a graphics card");
        let shown = screens.len() - 1;
        Self { screens, state: Mutex::new(State { shown, offset: 0, first: 0, latest: 0 }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches to the screen that is to be shown now.
    fn switch(&self, state: &mut State) {
        let wanted = self.screens.iter().position(|screen| screen.is_shown()).unwrap_or(self.screens.len() - 1);
        if wanted != state.shown {
            let first = state.latest + 1;
            let offset = first.wrapping_sub(self.screens[wanted].refresh());
            *state = State { shown: wanted, offset, first, latest: first };
        }
    }

    /// Has the screen that is shown looked at, which knows generations of its own.
    fn look_at_shown(&self, since: Generation, look: impl FnOnce(&dyn Screen, Generation) -> Generation) -> Generation {
        let (screen, offset, since) = {
            let mut state = self.state();
            self.switch(&mut state);
            let since = if since < state.first { 0 } else { since.wrapping_sub(state.offset) };
            (&self.screens[state.shown], state.offset, since)
        };
        look(&**screen, since).wrapping_add(offset)
    }
}

impl Screen for Heads {
    fn refresh(&self) -> Generation {
        let mut state = self.state();
        self.switch(&mut state);
        let generation = self.screens[state.shown].refresh();
        state.latest = generation.wrapping_add(state.offset);
        state.latest
    }

    fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.look_at_shown(since, |screen, since| screen.look(since, look))
    }

    fn look_without_cursor(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        self.look_at_shown(since, |screen, since| screen.look_without_cursor(since, look))
    }

    fn cursor(&self) -> Option<Cursor> {
        let shown = self.state().shown;
        self.screens[shown].cursor()
    }

    fn attach(&self) {
        self.screens.iter().for_each(|screen| screen.attach());
    }

    fn detach(&self) {
        self.screens.iter().for_each(|screen| screen.detach());
    }

    fn is_shown(&self) -> bool {
        self.screens.iter().any(|screen| screen.is_shown())
    }

    fn follows_preferred_size(&self) -> bool {
        self.screens.iter().any(|screen| screen.is_shown() && screen.follows_preferred_size())
    }

    fn set_preferred_size(&self, width: u32, height: u32) {
        self.screens.iter().for_each(|screen| screen.set_preferred_size(width, height));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    /// A screen of one pixel of its own colour.
    struct Fake {
        colour: u32,
        on: AtomicBool,
        generation: AtomicU64,
    }

    impl Fake {
        fn new(colour: u32, generation: u64) -> Arc<Self> {
            Arc::new(Self { colour, on: AtomicBool::new(false), generation: generation.into() })
        }

        fn draw(&self) {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Screen for Fake {
        fn refresh(&self) -> Generation {
            self.generation.load(Ordering::SeqCst)
        }

        fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
            let surface = Surface { width: 1, height: 1, pixels: vec![self.colour] };
            let damage = Rect { x: 0, y: 0, width: 1, height: 1 };
            let generation = self.refresh();
            look(&surface, if since < generation { std::slice::from_ref(&damage) } else { &[] });
            generation
        }

        fn attach(&self) {}

        fn detach(&self) {}

        fn is_shown(&self) -> bool {
            self.on.load(Ordering::SeqCst)
        }
    }

    /// The colour seen, whether it is damage, and the generation.
    fn look(screen: &Heads, since: Generation) -> (u32, bool, Generation) {
        screen.refresh();
        let mut seen = (0, false);
        let generation = screen.look(since, &mut |surface, damage| seen = (surface.pixels[0], !damage.is_empty()));
        (seen.0, seen.1, generation)
    }

    #[test]
    fn the_first_card_that_is_on_is_shown_and_the_last_one_else() {
        let (gpu, vga) = (Fake::new(1, 100), Fake::new(2, 3));
        let heads = Heads::new(vec![gpu.clone(), vga.clone()]);
        vga.on.store(true, Ordering::SeqCst);
        let at_boot = look(&heads, 0).0;
        gpu.on.store(true, Ordering::SeqCst);
        let with_driver = look(&heads, 0).0;
        gpu.on.store(false, Ordering::SeqCst);
        vga.on.store(false, Ordering::SeqCst);

        assert_eq!((at_boot, with_driver, look(&heads, 0).0), (2, 1, 2));
    }

    #[test]
    fn a_switch_damages_everything_once_and_generations_grow() {
        for (gpu_generation, vga_generation) in [(1000, 3), (3, 1000), (5, 5)] {
            let (gpu, vga) = (Fake::new(1, gpu_generation), Fake::new(2, vga_generation));
            let heads = Heads::new(vec![gpu.clone(), vga.clone()]);
            let mut seen = look(&heads, 0).2;
            for on in [true, false, true] {
                gpu.on.store(on, Ordering::SeqCst);
                let (colour, damaged, generation) = look(&heads, seen);
                assert_eq!((colour, damaged), (if on { 1 } else { 2 }, true));
                assert!(generation > seen);
                assert_eq!(look(&heads, generation), (colour, false, generation));

                if on {
                    gpu.draw()
                } else {
                    vga.draw()
                }
                let (_, damaged, after) = look(&heads, generation);
                assert!(damaged && after > generation);
                seen = after;
            }
        }
    }
}
