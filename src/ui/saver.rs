//! Writes small files off GTK's thread. Of several states that are to be written in quick succession, the last one stays.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Writes one file.
pub struct Saver {
    asked: AtomicU64,
    writing: Mutex<()>,
}

impl Saver {
    /// One that has written nothing yet.
    pub const fn new() -> Self {
        Self { asked: AtomicU64::new(0), writing: Mutex::new(()) }
    }

    /// Calls `write` on a worker thread, unless something newer is to be written by then.
    pub fn save(&'static self, write: impl FnOnce() + Send + 'static) {
        let mine = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        relm4::spawn_blocking(move || {
            let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.asked.load(Ordering::Relaxed) == mine {
                write();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_asked_for_last_is_written_last() {
        static SAVER: Saver = Saver::new();
        let (written, receiver) = mpsc::channel();

        for number in 0..100 {
            let written = written.clone();
            SAVER.save(move || written.send(number).expect("the test waits"));
        }
        drop(written);

        assert_eq!(receiver.iter().last(), Some(99));
    }
}
