//! How far something is that takes long, and whether it is to go on: what the manager tells, and what windows show of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// See the module. It is told on any thread and looked at on GTK's; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    figures: Arc<Figures>,
    stopped: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Figures {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Takes note of how much is done of how much, and answers whether to go on: what the manager calls a `Watch`.
    pub fn tell(&self, done: u64, total: u64) -> bool {
        self.figures.done.store(done, Ordering::Relaxed);
        self.figures.total.store(total, Ordering::Relaxed);
        !self.is_stopped()
    }

    /// For a part of it: it is stopped with the whole, and what it tells is not shown.
    pub fn of_a_part(&self) -> Self {
        Self { figures: Arc::default(), stopped: self.stopped.clone() }
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether a person has asked for the end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// How much is done, from 0 to 1, as soon as that is known.
    pub fn share(&self) -> Option<f64> {
        let (done, total) = (self.figures.done.load(Ordering::Relaxed), self.figures.total.load(Ordering::Relaxed));
        (total > 0).then(|| (done as f64 / total as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_shown_and_a_stop_is_answered() {
        let progress = Progress::default();
        let shown = progress.clone();

        assert_eq!(shown.share(), None);
        assert!(progress.tell(1, 4));
        assert_eq!(shown.share(), Some(0.25));
        shown.stop();

        assert!(!progress.tell(5, 4));
        assert_eq!(shown.share(), Some(1.0));
    }

    #[test]
    fn a_part_is_stopped_with_the_whole_and_shows_nothing() {
        let whole = Progress::default();
        let part = whole.of_a_part();

        assert!(part.tell(1, 2));
        assert_eq!(whole.share(), None);
        whole.stop();

        assert!(!part.tell(2, 2));
    }
}
