//! The desktop application's windows. They show what the manager knows and ask it to do things; every such call runs on
//! tokio, so that nothing holds up the window.
//!
//! - [`app`]: the application and its main window. [`actions`]: every action, its label and shortcuts.
//! - [`guest_list`]: all guests. [`wizard`]: makes one. [`guest_window`]: shows one, with [`console`], its screen.
//! - [`operations`]: what is done to a guest, with its questions and complaints ([`dialogs`]); [`bulk`]: to several.
//! - [`progress`]: how far what takes long is. [`pump`]: what comes without end, in helpings. [`stalls`]: how live the window is.
//! - [`host`]: what the host uses, where disks lie, and deleted guests. [`figures`]: graphs of what is measured.
//! - [`choosers`]: asking for files. [`help`], [`host_check`], [`about`]: smaller windows. [`widgets`]: parts that know nothing of guests.
//! - [`backend`]: the face of the manager. [`settings`]: what is remembered.
//!   [`preferences`]: what is preferred. [`notices`]: what is told while nobody looks. [`search_provider`]: what the desktop finds. [`wording`], [`i18n`]: texts.

mod about;
mod actions;
pub mod app;
mod backend;
mod bulk;
mod choosers;
mod console;
mod dialogs;
mod figures;
mod guest_list;
mod guest_window;
mod help;
mod host;
mod host_check;
mod i18n;
mod judgement;
mod notices;
mod operations;
mod preferences;
mod progress;
mod pump;
mod readings;
mod saver;
mod search_provider;
mod settings;
mod stalls;
#[cfg(test)]
mod testing;
mod widgets;
mod windows;
mod wizard;
mod wording;
