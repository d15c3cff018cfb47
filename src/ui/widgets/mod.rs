//! Widgets that know nothing of guests.

pub mod field;
pub mod graph;
pub mod info_bar;
pub mod jobs;
pub mod names;
pub mod text_button;
