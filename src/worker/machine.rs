//! What the driver needs of a machine. The engine's `Machine` is one; tests have another, without KVM.

#![forbid(unsafe_code)]

use crate::qmp::types::BlockDeviceStats;

/// Why a machine did not do as asked.
pub type MachineFault = Box<dyn std::error::Error + Send + Sync>;

/// A machine as its driver sees it. Only the driver's thread calls it.
///
/// Dropping it stops the virtual CPUs, flushes the disks and ends every thread of the machine.
pub trait Machine {
    /// Lets the virtual CPUs run. Does nothing when they run already.
    fn resume(&mut self) -> Result<(), MachineFault>;

    /// Stops the virtual CPUs; when it returns, pending I/O is complete and the machine's state does not change.
    fn pause(&mut self) -> Result<(), MachineFault>;

    /// Puts the machine into its state after power-on. It runs afterwards if it ran before.
    fn reset(&mut self) -> Result<(), MachineFault>;

    /// The virtual CPUs, in their order.
    fn vcpus(&self) -> Vec<Vcpu>;

    /// The disks, in the order of the launch description.
    fn disks(&self) -> Vec<DiskFigures>;
}

/// A virtual CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vcpu {
    /// Its number.
    pub index: u32,
    /// The host's thread that runs it.
    pub thread_id: i32,
}

/// A disk's size and counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFigures {
    /// The size, in bytes.
    pub capacity: u64,
    /// What was done since the worker's start.
    pub counters: BlockDeviceStats,
}

/// What a machine reports to its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineReport {
    /// The guest asks for a reset; its virtual CPUs wait for it.
    Reset,
    /// The guest has powered itself off.
    Shutdown,
    /// The guest's own system has panicked.
    Panicked,
    /// KVM cannot go on.
    InternalError(InternalErrorReport),
}

/// Where KVM could not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalErrorReport {
    /// The virtual CPU.
    pub vcpu: u32,
    /// What happened.
    pub message: String,
    /// KVM's suberror, if there is one.
    pub suberror: Option<u32>,
    /// The instruction pointer.
    pub rip: u64,
    /// The instruction's bytes, as far as they are known.
    pub bytes: Vec<u8>,
}
