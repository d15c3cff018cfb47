//! Which answer is to be shown when the same is asked again before the answer has come: only that to the newest question.

use std::{cell::Cell, rc::Rc};

/// Counts questions of one kind.
#[derive(Debug, Default)]
pub struct Questions(Rc<Cell<u32>>);

/// One of them.
#[derive(Debug)]
pub struct Question {
    number: u32,
    newest: Rc<Cell<u32>>,
}

impl Questions {
    /// Begins a question. Those that were asked before are old from now on.
    pub fn ask(&self) -> Question {
        let number = self.0.get().wrapping_add(1);
        self.0.set(number);
        Question { number, newest: self.0.clone() }
    }
}

impl Question {
    /// Whether nothing was asked since, so that the answer is to be shown.
    pub fn is_newest(&self) -> bool {
        self.number == self.newest.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_question_of_its_kind_is_worth_an_answer() {
        let (disks, networks) = (Questions::default(), Questions::default());

        let first = disks.ask();
        let elsewhere = networks.ask();
        assert!(first.is_newest());
        let second = disks.ask();

        assert!(!first.is_newest());
        assert!(second.is_newest() && elsewhere.is_newest());
    }
}
