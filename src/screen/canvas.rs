//! A screen without a guest: a program paints it. Tests of viewers and servers know what must be on it, to the pixel.

use super::{Generation, Rect, Screen, Surface, cursor::Cursor, shadow::Shadow};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A screen that is painted by hand.
pub struct Canvas {
    state: Mutex<State>,
}

struct State {
    shadow: Shadow,
    generation: Generation,
    cursor: Option<Cursor>,
    viewers: usize,
    follows_preferred_size: bool,
}

impl Canvas {
    /// A black screen.
    pub fn new(width: u32, height: u32) -> Self {
        let mut shadow = Shadow::new(0);
        shadow.resize(width, height);
        let generation = shadow.finish();
        let state = State { shadow, generation, cursor: None, viewers: 0, follows_preferred_size: false };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `paint` change the surface, even its size. What is different afterwards has changed.
    pub fn paint(&self, paint: impl FnOnce(&mut Surface)) {
        let mut state = self.state();
        let mut painted = state.shadow.surface().clone();
        paint(&mut painted);
        state.shadow.resize(painted.width, painted.height);
        for y in 0..painted.height {
            state.shadow.draw(0, y as usize, painted.row(y));
        }
        state.generation = state.shadow.finish();
    }

    /// A copy of what is on the screen, without the pointer.
    pub fn picture(&self) -> Surface {
        self.state().shadow.surface().clone()
    }

    /// Puts a pointer over the picture, or takes it away.
    pub fn point(&self, cursor: Option<Cursor>) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.cursor, cursor.clone());
        let (width, height) = (state.shadow.surface().width, state.shadow.surface().height);
        let covered = [before, cursor].into_iter().flatten();
        covered.filter_map(|cursor| cursor.covers(width, height)).for_each(|part| state.shadow.touch(part));
        state.generation = state.shadow.finish();
    }

    /// Has the screen take the size that a viewer prefers, as a guest does whose driver follows.
    pub fn follow_preferred_size(&self) {
        self.state().follows_preferred_size = true;
    }

    /// How many viewers there are.
    pub fn viewers(&self) -> usize {
        self.state().viewers
    }
}

impl Screen for Canvas {
    fn follows_preferred_size(&self) -> bool {
        self.state().follows_preferred_size
    }

    fn set_preferred_size(&self, width: u32, height: u32) {
        self.paint(|surface| *surface = Surface::new(width, height));
    }

    fn refresh(&self) -> Generation {
        self.state().generation
    }

    fn look(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        let mut state = self.state();
        let damage = state.shadow.damage(since);
        let under = state.cursor.clone().and_then(|cursor| cursor.draw_on(state.shadow.surface_mut()));
        look(state.shadow.surface(), &damage);
        if let Some(under) = under {
            under.put_back(state.shadow.surface_mut());
        }
        state.generation
    }

    fn look_without_cursor(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        let state = self.state();
        look(state.shadow.surface(), &state.shadow.damage(since));
        state.generation
    }

    fn cursor(&self) -> Option<Cursor> {
        self.state().cursor.clone()
    }

    fn attach(&self) {
        self.state().viewers += 1;
    }

    fn detach(&self) {
        self.state().viewers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(canvas: &Canvas, since: Generation) -> Vec<Rect> {
        let mut damage = Vec::new();
        canvas.look(since, &mut |_, rects| damage = rects.to_vec());
        damage
    }

    #[test]
    fn what_was_painted_is_damaged_until_it_was_seen() {
        let canvas = Canvas::new(4, 10);
        let before = canvas.refresh();

        canvas.paint(|surface| surface.pixels[4 * 3..4 * 5].fill(1));
        canvas.paint(|surface| surface.pixels[4 * 9] = 1);

        let row = |y, height| Rect { x: 0, y, width: 4, height };
        assert_eq!(damage(&canvas, before), [row(2, 4), row(8, 2)]);
        assert_eq!(damage(&canvas, canvas.refresh()), []);
        assert_eq!(damage(&canvas, 0), [row(0, 10)]);
    }

    #[test]
    fn a_new_size_damages_everything() {
        let canvas = Canvas::new(4, 10);
        let before = canvas.refresh();

        canvas.paint(|surface| *surface = Surface::new(5, 2));

        assert_eq!(damage(&canvas, before), [Rect { x: 0, y: 0, width: 5, height: 2 }]);
    }
}
