//! The process that runs one guest.
//!
//! - [`launch`]: what the worker is told by whoever starts it. [`exit_report`]: what it leaves behind.

pub mod exit_report;
pub mod launch;
