//! How far something is that takes long, and whether it is to go on: what the manager tells, and what windows show of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// See the module. It is told on any thread and looked at on GTK's; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// Takes note of how much is done of how much, and answers whether to go on: what the manager calls a `Watch`.
    pub fn tell(&self, done: u64, total: u64) -> bool {
        self.0.done.store(done, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
        !self.is_stopped()
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether a person has asked for the end.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Relaxed)
    }

    /// How much is done, from 0 to 1, as soon as that is known.
    pub fn share(&self) -> Option<f64> {
        let (done, total) = (self.0.done.load(Ordering::Relaxed), self.0.total.load(Ordering::Relaxed));
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
}
