//! Virtual CPUs: their state machine, exits, CPUID and registers.

mod cpuid;
mod exit;
mod kick;
mod registers;
mod report;
mod run_area;
mod state;
mod thread;
mod vcpus;

pub use registers::{Registers, Segment};
pub use report::InternalErrorReport;
pub use thread::{Governor, Wiring};
pub use vcpus::{VcpuInfo, Vcpus};
