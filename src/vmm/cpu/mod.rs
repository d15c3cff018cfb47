//! Virtual CPUs: their state machine, exits, CPUID and registers.

mod config;
mod cpuid;
mod exit;
pub mod features;
mod kick;
mod registers;
mod report;
mod run_area;
mod saved;
mod state;
mod thread;
mod topology;
mod vcpus;

pub use config::{CpuConfig, CpuConfigError};
pub use registers::{Registers, Segment};
pub use report::InternalErrorReport;
pub use saved::{SavedVcpu, VcpuRestoreError};
pub use thread::{Governor, Wiring};
pub use topology::{CpuPlace, Topology};
pub use vcpus::{VcpuInfo, Vcpus, VcpusError};
