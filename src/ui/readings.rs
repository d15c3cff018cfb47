//! Which result is to be shown when the same is read again before the first is there: only that of the newest reading.

use std::{cell::Cell, rc::Rc};

/// Counts the readings of one thing.
#[derive(Debug, Default)]
pub struct Readings(Rc<Cell<u32>>);

/// One of them.
#[derive(Debug)]
pub struct Reading {
    number: u32,
    newest: Rc<Cell<u32>>,
}

impl Readings {
    /// Begins one. Those that began before are old from now on.
    pub fn begin(&self) -> Reading {
        let number = self.0.get().wrapping_add(1);
        self.0.set(number);
        Reading { number, newest: self.0.clone() }
    }
}

impl Reading {
    /// Whether none has begun since, so that its result is to be shown.
    pub fn is_newest(&self) -> bool {
        self.number == self.newest.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_reading_of_a_thing_is_to_be_shown() {
        let (disks, networks) = (Readings::default(), Readings::default());

        let first = disks.begin();
        let elsewhere = networks.begin();
        assert!(first.is_newest());
        let second = disks.begin();

        assert!(!first.is_newest());
        assert!(second.is_newest() && elsewhere.is_newest());
    }
}
