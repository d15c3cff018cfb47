//! libslirp's timers.

#![forbid(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Instant,
};

/// A timer; libslirp keeps it.
pub struct Timer {
    /// When, in milliseconds of [`Timers`]' clock.
    expires: Cell<Option<i64>>,
    function: RefCell<Box<dyn FnMut()>>,
}

impl Timer {
    /// Sets it, in milliseconds of [`Timers`]' clock.
    pub fn set(&self, expires: i64) {
        self.expires.set(Some(expires));
    }

    /// Does what is to be done when it is due.
    pub fn run(&self) {
        (self.function.borrow_mut())();
    }
}

/// All timers that libslirp keeps.
pub struct Timers {
    start: Instant,
    timers: Vec<Weak<Timer>>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { start: Instant::now(), timers: Vec::new() }
    }
}

impl Timers {
    /// The clock, in nanoseconds. It begins above zero, which libslirp takes for "never".
    pub fn nanoseconds(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_nanos()).unwrap_or(i64::MAX).saturating_add(1_000_000_000)
    }

    /// A timer that is not set.
    pub fn add(&mut self, function: Box<dyn FnMut()>) -> Rc<Timer> {
        let timer = Rc::new(Timer { expires: Cell::new(None), function: RefCell::new(function) });
        self.timers.retain(|timer| timer.strong_count() > 0);
        self.timers.push(Rc::downgrade(&timer));
        timer
    }

    /// Milliseconds until the next one is due.
    pub fn next(&self) -> Option<u32> {
        let now = self.nanoseconds() / 1_000_000;
        let next = self.timers.iter().filter_map(|timer| timer.upgrade()?.expires.get()).min()?;
        // One more, so that it is due when the time has passed.
        Some(u32::try_from(next.saturating_sub(now).saturating_add(1).max(0)).unwrap_or(u32::MAX))
    }

    /// Takes those that are due.
    pub fn due(&mut self) -> Vec<Rc<Timer>> {
        let now = self.nanoseconds() / 1_000_000;
        let due = self.timers.iter().filter_map(Weak::upgrade).filter(|timer| {
            let is_due = timer.expires.get().is_some_and(|expires| expires <= now);
            if is_due {
                timer.expires.set(None);
            }
            is_due
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_once_and_goes_with_its_keeper() {
        let runs = Rc::new(Cell::new(0));
        let mut timers = Timers::default();
        let counted = Rc::clone(&runs);
        let timer = timers.add(Box::new(move || counted.set(counted.get() + 1)));
        assert!(timers.next().is_none() && timers.due().is_empty());

        timer.set(timers.nanoseconds() / 1_000_000 + 5_000);
        assert!(timers.due().is_empty() && (1..=5_001).contains(&timers.next().unwrap()));
        timer.set(0);
        assert_eq!(timers.next(), Some(0));
        timers.due().into_iter().for_each(|timer| timer.run());

        assert!(timers.due().is_empty());
        assert_eq!(runs.get(), 1);
        timer.set(0);
        drop(timer);
        assert!(timers.due().is_empty() && timers.next().is_none());
    }
}
