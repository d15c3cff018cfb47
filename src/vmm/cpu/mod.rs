//! Virtual CPUs: their state machine, exits, CPUID and registers.

mod registers;
mod report;

pub use registers::{Registers, Segment};
pub use report::InternalErrorReport;

/// A vCPU, as QMP's `query-cpus-fast` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuInfo {
    /// Its index, from 0.
    pub index: u32,
    /// The ID of the thread that runs it.
    pub thread_id: i32,
}
