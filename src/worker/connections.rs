//! What the guest's network cards are connected to, and the way to those who carry their frames.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use crate::nat::{Control, State, Task};

/// A card's connection.
#[derive(Debug, Default)]
pub struct Connected {
    /// What it is connected to, in words for answers.
    pub source: String,
    /// The host's interface, if it has one.
    pub interface: Option<String>,
    /// The way to who carries its frames, if that is a process.
    pub control: Option<Control>,
}

/// Those of all cards, in their order.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Vec<(String, Arc<Connected>)>>);

impl Connections {
    /// Sets that of the card `id`.
    pub fn set(&self, id: &str, connected: Connected) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = Arc::new(connected);
        match all.iter_mut().find(|(card, _)| card == id) {
            Some((_, before)) => *before = connected,
            None => all.push((id.to_owned(), connected)),
        }
    }

    /// That of the card `id`.
    pub fn find(&self, id: &str) -> Option<Arc<Connected>> {
        self.all().into_iter().find(|(card, _)| card == id).map(|(_, connected)| connected)
    }

    /// All of them.
    pub fn all(&self) -> Vec<(String, Arc<Connected>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Connected {
    /// Has something done by who carries the frames; `None` when that is no process.
    pub fn ask(&self, task: Task) -> Option<Result<State, String>> {
        self.control.as_ref().map(|control| control.ask(task))
    }
}
