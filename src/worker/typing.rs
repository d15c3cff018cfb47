//! Key strokes that take time: `send-key` holds its keys for a while, and strokes sent in a row follow each other.
//!
//! Only the bookkeeping is here. The driver sleeps until [`Typist::next`] and then sends what is [`Typist::due`].

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::input::{InputEvent, Key};

/// How many presses and releases may wait.
pub const CAPACITY: usize = 4096;

/// The longest time that keys can be held.
pub const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// Presses and releases and when they are due, in the order of time.
#[derive(Debug, Default)]
pub struct Typist {
    waiting: VecDeque<(Instant, Vec<InputEvent>)>,
}

/// More strokes wait than are kept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many keys wait to be typed. send them more slowly, or with a shorter hold-time")]
pub struct TooManyKeys;

impl Typist {
    /// Adds a stroke: the keys go down in their order, are held, and come up in reverse order. It begins now, or when those
    /// before it have ended.
    pub fn stroke(&mut self, now: Instant, keys: &[Key], hold: Duration) -> Result<(), TooManyKeys> {
        if self.waiting.len() + 2 > CAPACITY {
            return Err(TooManyKeys);
        }
        let begin = self.waiting.back().map_or(now, |(time, _)| now.max(*time));
        let down = keys.iter().map(|&key| InputEvent::Key { key, down: true }).collect();
        let up = keys.iter().rev().map(|&key| InputEvent::Key { key, down: false }).collect();
        self.waiting.push_back((begin, down));
        self.waiting.push_back((begin + hold.min(LONGEST_HOLD), up));
        Ok(())
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.front().map(|(time, _)| *time)
    }

    /// Takes the next events that are to be sent now.
    pub fn due(&mut self, now: Instant) -> Option<Vec<InputEvent>> {
        if self.next()? > now {
            return None;
        }
        self.waiting.pop_front().map(|(_, events)| events)
    }

    /// Forgets what waits: the keyboard was reset.
    pub fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_millis(100);

    fn key(code: u16, down: bool) -> InputEvent {
        InputEvent::Key { key: Key(code), down }
    }

    #[test]
    fn keys_go_down_at_once_and_come_up_in_reverse_order_after_the_hold() {
        let start = Instant::now();
        let mut typist = Typist::default();

        typist.stroke(start, &[Key(29), Key(56)], HOLD).unwrap();

        assert_eq!(typist.due(start), Some(vec![key(29, true), key(56, true)]));
        assert_eq!(typist.due(start), None);
        assert_eq!(typist.next(), Some(start + HOLD));
        assert_eq!(typist.due(start + HOLD), Some(vec![key(56, false), key(29, false)]));
        assert_eq!(typist.next(), None);
    }

    #[test]
    fn a_second_stroke_begins_when_the_first_has_ended() {
        let start = Instant::now();
        let mut typist = Typist::default();

        typist.stroke(start, &[Key(30)], HOLD).unwrap();
        typist.stroke(start, &[Key(31)], HOLD).unwrap();

        let order: Vec<_> = std::iter::from_fn(|| typist.due(start + 2 * HOLD)).flatten().collect();
        assert_eq!(order, [key(30, true), key(30, false), key(31, true), key(31, false)]);
    }

    #[test]
    fn a_flood_of_strokes_is_refused() {
        let start = Instant::now();
        let mut typist = Typist::default();

        let taken = (0..CAPACITY).take_while(|_| typist.stroke(start, &[Key(30)], HOLD).is_ok()).count();

        assert_eq!(taken, CAPACITY / 2);
    }
}
