//! Transfers that go past a disk, straight to the file where its bytes lie, so that several can be in flight at once.
//!
//! An image may move its bytes: what is discarded is given back, and soon belongs to another part of the disk. A transfer
//! that is on its way keeps a [`Hold`] on its place, and whoever moves bytes waits until nobody has one.

#![forbid(unsafe_code)]

use std::{
    os::fd::BorrowedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

/// Where in a file a part of a disk lies.
#[derive(Debug)]
pub struct Place<'a> {
    /// The open file.
    pub file: BorrowedFd<'a>,
    /// Its first byte there.
    pub offset: u64,
    /// Kept until the transfer is done, where bytes can move.
    pub hold: Option<Hold>,
}

/// Says that a place is in use.
#[derive(Debug)]
pub struct Hold(Arc<Places>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.change(|state| state.held -= 1);
    }
}

/// The places of a disk that are in use.
#[derive(Debug, Default)]
pub struct Places {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    /// How many want none to be in use.
    closed: usize,
}

impl Places {
    /// Takes a place into use, unless bytes are being moved.
    pub fn hold(self: &Arc<Self>) -> Option<Hold> {
        let mut state = self.state();
        if state.closed > 0 {
            return None;
        }
        state.held += 1;
        Some(Hold(self.clone()))
    }

    /// Waits until no place is in use; none is taken into use before what is returned is dropped. Whoever calls this has none
    /// itself.
    pub fn close(&self) -> Closed<'_> {
        let mut state = self.state();
        state.closed += 1;
        let state = self.changed.wait_while(state, |state| state.held > 0);
        drop(state.unwrap_or_else(PoisonError::into_inner));
        Closed(self)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps places from being taken into use.
pub struct Closed<'a>(&'a Places);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.closed -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn bytes_move_when_no_place_is_in_use_and_none_is_taken_meanwhile() {
        let places = Arc::<Places>::default();
        let hold = places.hold().unwrap();
        let (closed, told) = mpsc::channel();

        thread::scope(|scope| {
            let mover = scope.spawn(|| {
                let guard = places.close();
                closed.send(()).unwrap();
                drop(guard);
            });
            // From when it waits on, none is given out.
            while let Some(other) = places.hold() {
                drop(other);
                thread::yield_now();
            }
            assert!(told.try_recv().is_err());
            drop(hold);
            mover.join().unwrap();
        });

        assert!(told.try_recv().is_ok() && places.hold().is_some());
    }
}
