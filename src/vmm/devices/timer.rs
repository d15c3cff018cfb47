//! A timer of the host for a device: a thread that is there only once the device has asked for a moment, and that sleeps
//! until then.

#![forbid(unsafe_code)]

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

/// Calls back at a moment that can be moved.
pub struct Timer {
    name: String,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    callback: Box<dyn Fn() + Send + Sync>,
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Default)]
struct Plan {
    deadline: Option<Instant>,
    stop: bool,
}

impl Timer {
    /// A timer that is not armed. `callback` is called on a thread named `name`, without any lock of the timer's.
    pub fn new(name: &str, callback: impl Fn() + Send + Sync + 'static) -> Self {
        let shared =
            Shared { callback: Box::new(callback), plan: Mutex::new(Plan::default()), changed: Condvar::new() };
        Self { name: name.to_owned(), shared: Arc::new(shared), thread: Mutex::new(None) }
    }

    /// Calls back at `deadline`, once, and not at any moment asked for before.
    pub fn arm(&self, deadline: Instant) -> io::Result<()> {
        self.shared.plan().deadline = Some(deadline);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = self.shared.clone();
            *thread = Some(thread::Builder::new().name(self.name.clone()).spawn(move || shared.run())?);
        }
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Calls back no more until it is armed again. A call that has begun goes on.
    pub fn disarm(&self) {
        self.shared.plan().deadline = None;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.plan().stop = true;
        self.shared.changed.notify_one();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The last owner may be the callback itself; then the thread ends right after it.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // A callback that panicked has been reported already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut plan = self.plan();
        while !plan.stop {
            plan = match plan.deadline {
                None => self.changed.wait(plan).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(wait) if !wait.is_zero() => {
                        self.changed.wait_timeout(plan, wait).unwrap_or_else(PoisonError::into_inner).0
                    }
                    _ => {
                        plan.deadline = None;
                        drop(plan);
                        (self.callback)();
                        self.plan()
                    }
                },
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const GENEROUS: Duration = Duration::from_secs(20);

    fn timer() -> (Timer, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        (Timer::new("test-timer", move || sender.lock().unwrap().send(()).unwrap()), receiver)
    }

    #[test]
    fn it_calls_back_once_for_each_time_it_is_armed() {
        let (timer, calls) = timer();

        timer.arm(Instant::now()).unwrap();
        calls.recv_timeout(GENEROUS).unwrap();
        timer.arm(Instant::now() + Duration::from_millis(1)).unwrap();
        calls.recv_timeout(GENEROUS).unwrap();
        drop(timer);

        assert!(calls.recv().is_err(), "nothing more came before it was gone");
    }

    #[test]
    fn a_moment_that_was_replaced_or_withdrawn_does_not_come() {
        let (timer, calls) = timer();

        timer.arm(Instant::now() + GENEROUS).unwrap();
        timer.arm(Instant::now()).unwrap();
        calls.recv_timeout(GENEROUS).unwrap();
        timer.arm(Instant::now() + GENEROUS).unwrap();
        timer.disarm();
        drop(timer);

        assert!(calls.recv().is_err());
    }

    #[test]
    fn a_timer_that_is_never_armed_has_no_thread() {
        let (timer, _calls) = timer();

        assert!(timer.thread.lock().unwrap().is_none());
    }
}
