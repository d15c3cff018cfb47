//! Widgets that know nothing of guests.

pub mod graph;
pub mod info_bar;
pub mod text_button;
