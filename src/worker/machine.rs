//! What the driver needs of a machine. The engine's `Machine` is one; tests have another, without KVM.

#![forbid(unsafe_code)]

use crate::{
    qmp::types::BlockDeviceStats,
    vmm::{self, cpu::VcpuInfo},
};

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
    fn vcpus(&self) -> Vec<VcpuInfo>;

    /// The disks, in the order of the launch description.
    fn disks(&self) -> Vec<DiskFigures>;
}

/// A disk's size and counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFigures {
    /// The size, in bytes.
    pub capacity: u64,
    /// What was done since the worker's start.
    pub counters: BlockDeviceStats,
}

impl Machine for vmm::machine::Machine {
    fn resume(&mut self) -> Result<(), MachineFault> {
        Ok(self.resume()?)
    }

    fn pause(&mut self) -> Result<(), MachineFault> {
        Ok(self.pause()?)
    }

    fn reset(&mut self) -> Result<(), MachineFault> {
        Ok(self.reset()?)
    }

    fn vcpus(&self) -> Vec<VcpuInfo> {
        self.vcpus()
    }

    fn disks(&self) -> Vec<DiskFigures> {
        let disks = self.disks().into_iter();
        disks.map(|disk| DiskFigures { capacity: disk.capacity, counters: BlockDeviceStats::default() }).collect()
    }
}
