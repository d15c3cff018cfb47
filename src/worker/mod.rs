//! The process that runs one guest.
//!
//! - [`launch`]: what the worker is told by whoever starts it. [`exit_report`]: what it leaves behind.
//! - [`driver`]: the one queue, and the thread that owns the [`machine`].
//! - [`control`]: QMP; [`commands`]: what can be asked for.
//! - [`saving`]: the guest's state, written to a file.
//! - [`serial`]: the serial port's clients. [`typing`], [`balloon`]: what takes time.
//! - [`connections`]: the way to the processes that translate addresses for network cards.
//! - [`log`], [`reporter`], [`usage`]: what there is to tell.

pub mod acceptor;
pub mod balloon;
pub mod commands;
pub mod connections;
pub mod control;
pub mod descriptors;
pub mod driver;
pub mod exit_report;
pub mod fdset;
mod files;
pub mod guest;
pub mod launch;
pub mod log;
pub mod machine;
pub mod porter;
pub mod process;
pub mod reporter;
pub mod run;
pub mod sandbox;
pub mod saving;
pub mod serial;
pub mod testing;
pub mod typing;
pub mod usage;
pub mod vdagent;
