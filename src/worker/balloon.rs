//! What is done about the balloon as time goes by: clients are told of its size, at most once a second, and the guest is asked
//! for statistics as often as a client wants them.
//!
//! Only the bookkeeping is here. The driver sleeps until [`BalloonWatch::next`] and then does what is [`BalloonWatch::due`].

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// Between two events about the size, as in QEMU.
const QUIET: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Tell clients of the balloon's size.
    Tell,
    /// Ask the guest for statistics.
    Ask,
}

/// When the balloon is looked at.
#[derive(Debug, Default)]
pub struct BalloonWatch {
    tell: Option<Instant>,
    /// Until then no client is told.
    quiet: Option<Instant>,
    ask: Option<Instant>,
    /// Seconds; 0 for not at all.
    interval: u32,
}

impl BalloonWatch {
    /// The balloon has another size.
    pub fn changed(&mut self, now: Instant) {
        let earliest = self.quiet.map_or(now, |quiet| quiet.max(now));
        self.tell.get_or_insert(earliest);
    }

    /// Seconds between two questions for statistics; 0 when none are asked.
    pub fn interval(&self) -> u32 {
        self.interval
    }

    /// Has statistics asked for every so many seconds, the first time now; 0 for not at all.
    pub fn set_interval(&mut self, now: Instant, seconds: u32) {
        self.interval = seconds;
        self.ask = (seconds > 0).then_some(now);
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.tell.into_iter().chain(self.ask).min()
    }

    /// Takes what is to be done now.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        if self.tell.is_some_and(|time| time <= now) {
            self.tell = None;
            self.quiet = Some(now + QUIET);
            return Some(Due::Tell);
        }
        if self.ask.is_some_and(|time| time <= now) {
            self.ask = now.checked_add(Duration::from_secs(self.interval.into()));
            return Some(Due::Ask);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_is_told_at_once_and_the_next_a_second_later() {
        let start = Instant::now();
        let mut watch = BalloonWatch::default();

        watch.changed(start);
        let first = watch.due(start);
        watch.changed(start);
        watch.changed(start + QUIET / 2);

        assert_eq!((first, watch.due(start + QUIET / 2)), (Some(Due::Tell), None));
        assert_eq!(watch.next(), Some(start + QUIET));
        assert_eq!((watch.due(start + QUIET), watch.due(start + QUIET)), (Some(Due::Tell), None));
        assert_eq!(watch.next(), None);
    }

    #[test]
    fn statistics_are_asked_for_at_once_then_at_intervals_until_they_are_not_wanted() {
        let start = Instant::now();
        let mut watch = BalloonWatch::default();

        watch.set_interval(start, 5);

        assert_eq!((watch.due(start), watch.due(start)), (Some(Due::Ask), None));
        assert_eq!(watch.next(), Some(start + Duration::from_secs(5)));
        watch.set_interval(start, 0);
        assert_eq!((watch.next(), watch.interval()), (None, 0));
    }
}
