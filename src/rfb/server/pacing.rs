//! How often the screen is looked at: up to 60 times a second while it changes, less and less often while it does not,
//! and never without a viewer that waits for an update.

use crate::screen::{Generation, Screen};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time between two looks while the screen changes.
pub(super) const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// So many looks without a change are made at full speed: a quarter of a second.
const PATIENCE: u32 = 15;
/// The time between looks doubles after so many more.
const STEP: u32 = 4;
/// It doubles so many times: to 133 ms.
const STEPS: u32 = 3;
/// Who has typed waits for what the guest makes of it, which takes few milliseconds: so many looks are made for it,
const QUICK_LOOKS: u32 = 4;
/// after this time each.
const QUICK: Duration = Duration::from_millis(4);

/// One viewer's pace.
#[derive(Debug, Default)]
pub(super) struct Pace {
    unchanged: u32,
    quick: u32,
}

impl Pace {
    /// The screen has changed.
    pub(super) fn hurry(&mut self) {
        *self = Self::default();
    }

    /// The screen is about to change: a person has typed. One that changes all the time is looked at often enough.
    pub(super) fn expect(&mut self) {
        if std::mem::take(&mut self.unchanged) > 0 {
            self.quick = QUICK_LOOKS;
        }
    }

    /// A look found nothing.
    pub(super) fn slow_down(&mut self) {
        match self.quick.checked_sub(1) {
            Some(quick) => self.quick = quick,
            None => self.unchanged = self.unchanged.saturating_add(1),
        }
    }

    /// Whether the viewer has had nothing to do for a while.
    pub(super) fn is_slow(&self) -> bool {
        self.unchanged >= PATIENCE
    }

    /// The time from the last look to the next.
    pub(super) fn interval(&self) -> Duration {
        if self.quick > 0 {
            return QUICK;
        }
        let steps = self.unchanged.saturating_sub(PATIENCE).div_ceil(STEP);
        FRAME * (1 << steps.min(STEPS))
    }
}

/// Refreshes the screen for all viewers, so that several don't do it more often than one.
#[derive(Debug, Default)]
pub(super) struct Refresher {
    last: Mutex<Option<(Instant, Generation)>>,
}

impl Refresher {
    /// Brings the screen up to date for a viewer that looks each `interval`, unless that was done a moment ago: within half of
    /// that, so that a viewer that waits for all of it gets what is new.
    pub(super) fn refresh(&self, screen: &dyn Screen, interval: Duration) -> Generation {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, generation)) if at.elapsed() < interval.min(FRAME) / 2 => generation,
            _ => {
                let generation = screen.refresh();
                *last = Some((Instant::now(), generation));
                generation
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_screen_is_looked_at_less_and_less_often() {
        let mut pace = Pace::default();
        let mut intervals = vec![pace.interval()];
        for _ in 0..1000 {
            pace.slow_down();
            intervals.push(pace.interval());
        }

        assert_eq!(intervals[0], FRAME);
        assert!(intervals.is_sorted());
        let slowest = intervals[1000];
        assert!((Duration::from_millis(100)..=Duration::from_millis(200)).contains(&slowest), "{slowest:?}");
    }

    #[test]
    fn it_is_slow_within_a_second_and_at_full_speed_at_once() {
        let mut pace = Pace::default();
        let mut waited = Duration::ZERO;
        while pace.interval() < Duration::from_millis(100) {
            waited += pace.interval();
            pace.slow_down();
        }

        pace.hurry();

        assert!(waited < Duration::from_secs(1), "{waited:?}");
        assert_eq!(pace.interval(), FRAME);
    }

    #[test]
    fn what_comes_of_a_key_is_looked_for_at_once_and_not_for_long() {
        let mut pace = Pace::default();
        pace.expect();
        assert_eq!(pace.interval(), FRAME, "the screen changes all the time");
        (0..100).for_each(|_| pace.slow_down());

        pace.expect();
        let intervals: Vec<_> = (0..=QUICK_LOOKS)
            .map(|_| {
                let interval = pace.interval();
                pace.slow_down();
                interval
            })
            .collect();

        assert_eq!(intervals, [QUICK, QUICK, QUICK, QUICK, FRAME]);
    }
}
