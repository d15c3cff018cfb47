//! The way to the processes that translate addresses for the guest's network cards.

#![forbid(unsafe_code)]

use crate::nat::{Control, State, Task};

/// One for each card that has one.
#[derive(Debug, Default)]
pub struct Translators(Vec<(String, Control)>);

impl Translators {
    /// Adds that of the card `id`.
    pub fn add(&mut self, id: &str, control: Control) {
        self.0.push((id.to_owned(), control));
    }

    /// Has something done for one card; `None` when it has none.
    pub fn ask(&self, id: &str, task: Task) -> Option<Result<State, String>> {
        let (_, control) = self.0.iter().find(|(card, _)| card == id)?;
        Some(control.ask(task))
    }

    /// The state of all of them.
    pub fn states(&self) -> impl Iterator<Item = (&str, Result<State, String>)> {
        self.0.iter().map(|(id, control)| (id.as_str(), control.ask(Task::Query)))
    }
}
