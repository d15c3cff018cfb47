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

/// One viewer's pace.
#[derive(Debug, Default)]
pub(super) struct Pace {
    unchanged: u32,
}

impl Pace {
    /// The screen has changed, or is about to: a person typed.
    pub(super) fn hurry(&mut self) {
        self.unchanged = 0;
    }

    /// A look found nothing.
    pub(super) fn slow_down(&mut self) {
        self.unchanged = self.unchanged.saturating_add(1);
    }

    /// Whether the viewer has had nothing to do for a while.
    pub(super) fn is_slow(&self) -> bool {
        self.unchanged >= PATIENCE
    }

    /// The time from the last look to the next.
    pub(super) fn interval(&self) -> Duration {
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
    /// Brings the screen up to date, unless that was done a moment ago: within half a frame, so that a viewer that waits a
    /// whole one gets what is new.
    pub(super) fn refresh(&self, screen: &dyn Screen) -> Generation {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, generation)) if at.elapsed() < FRAME / 2 => generation,
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
}
