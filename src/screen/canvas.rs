//! A screen without a guest: a program paints it. Tests of viewers and servers know what must be on it, to the pixel.

use super::{Generation, Rect, Screen, Surface, cursor::Cursor};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A screen that is painted by hand.
pub struct Canvas {
    state: Mutex<State>,
}

struct State {
    surface: Surface,
    generation: Generation,
    /// For each row the generation in which it was last painted.
    rows: Vec<Generation>,
    cursor: Option<Cursor>,
    viewers: usize,
    follows_preferred_size: bool,
}

impl State {
    /// The rows that have changed after a generation.
    fn damage(&self, since: Generation) -> Vec<Rect> {
        let width = self.surface.width;
        let mut rects = Vec::new();
        let mut y = 0;
        for rows in self.rows.chunk_by(|a, b| (*a > since) == (*b > since)) {
            let height = rows.len() as u32;
            if width > 0 && rows.iter().any(|row| *row > since) {
                rects.push(Rect { x: 0, y, width, height });
            }
            y += height;
        }
        rects
    }
}

impl Canvas {
    /// A black screen.
    pub fn new(width: u32, height: u32) -> Self {
        let rows = vec![1; height as usize];
        let state = State {
            surface: Surface::new(width, height),
            generation: 1,
            rows,
            cursor: None,
            viewers: 0,
            follows_preferred_size: false,
        };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `paint` change the surface, even its size. The rows that are different afterwards have changed.
    pub fn paint(&self, paint: impl FnOnce(&mut Surface)) {
        let mut state = self.state();
        let before = state.surface.clone();
        paint(&mut state.surface);
        state.generation += 1;
        let State { surface, generation, rows, .. } = &mut *state;
        if (before.width, before.height) != (surface.width, surface.height) {
            *rows = vec![*generation; surface.height as usize];
        }
        for (y, row) in (0..).zip(rows) {
            if before.row(y) != surface.row(y) {
                *row = *generation;
            }
        }
    }

    /// A copy of what is on the screen, without the pointer.
    pub fn picture(&self) -> Surface {
        self.state().surface.clone()
    }

    /// Puts a pointer over the picture, or takes it away.
    pub fn point(&self, cursor: Option<Cursor>) {
        let mut state = self.state();
        let State { surface, generation, rows, cursor: pointer, .. } = &mut *state;
        *generation += 1;
        let before = std::mem::replace(pointer, cursor.clone());
        let covered = [before, cursor].into_iter().flatten();
        for part in covered.filter_map(|cursor| cursor.covers(surface.width, surface.height)) {
            rows[part.y as usize..(part.y + part.height) as usize].fill(*generation);
        }
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
        let damage = state.damage(since);
        let under = state.cursor.clone().and_then(|cursor| cursor.draw_on(&mut state.surface));
        look(&state.surface, &damage);
        if let Some(under) = under {
            under.put_back(&mut state.surface);
        }
        state.generation
    }

    fn look_without_cursor(&self, since: Generation, look: &mut dyn FnMut(&Surface, &[Rect])) -> Generation {
        let state = self.state();
        look(&state.surface, &state.damage(since));
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
    fn rows_that_were_painted_are_damaged_until_they_were_seen() {
        let canvas = Canvas::new(4, 10);
        let before = canvas.refresh();

        canvas.paint(|surface| surface.pixels[4 * 3..4 * 5].fill(1));
        canvas.paint(|surface| surface.pixels[4 * 9] = 1);

        let row = |y, height| Rect { x: 0, y, width: 4, height };
        assert_eq!(damage(&canvas, before), [row(3, 2), row(9, 1)]);
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
