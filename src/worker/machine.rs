//! What the driver needs of a machine. The engine's `Machine` is one; tests have another, without KVM.

#![forbid(unsafe_code)]

use std::io::Write;

use crate::{
    qmp::types::BlockDeviceStats,
    vmm::{
        self,
        block::{
            errors::DiskError,
            limits::Limits,
            merge::{Merge, MergeImages},
            statistics::{Operation, Statistics},
        },
        cpu::VcpuInfo,
        machine::{CdromInfo, DiskInfo, DiskSnapshot, GoOn, NetworkInfo, SavedMachine},
        snapshot::Progress,
        virtio::balloon::BalloonHandle,
    },
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

    /// Takes the machine's state, which is paused if it runs. Whoever restores it learns whether it `runs` then.
    fn save(&mut self, runs: bool) -> Result<Box<dyn SavedState>, MachineFault>;

    /// Puts the machine into its state after power-on. It runs afterwards if it ran before.
    fn reset(&mut self) -> Result<(), MachineFault>;

    /// Has the guest go on in new images of its disks: all or none. It runs afterwards if it ran before.
    fn snapshot_disks(&mut self, snapshots: Vec<DiskSnapshot>) -> Result<(), MachineFault>;

    /// Gets the images of a disk ready to be merged. It runs afterwards if it ran before.
    fn begin_merge(&mut self, disk: &str, images: MergeImages) -> Result<Merge, MachineFault>;

    /// Ends a merging. It runs afterwards if it ran before.
    fn end_merge(&mut self, disk: &str, merge: &mut Merge, go_on: GoOn) -> Result<(), MachineFault>;

    /// Gives a disk so many bytes, more than it has. It runs afterwards if it ran before.
    fn grow_disk(&mut self, disk: &str, size: u64) -> Result<(), MachineFault>;

    /// Presses the power button.
    fn press_power_button(&mut self);

    /// The balloon, if there is one.
    fn balloon(&self) -> Option<BalloonHandle>;

    /// The network cards, in the order of the launch description.
    fn networks(&self) -> Vec<NetworkInfo>;

    /// The virtual CPUs, in their order.
    fn vcpus(&self) -> Vec<VcpuInfo>;

    /// The disks, in the order of the launch description.
    fn disks(&self) -> Vec<DiskFigures>;

    /// Gives disk number `disk` other limits.
    fn limit_disk(&mut self, disk: usize, limits: Limits);

    /// The CD-ROM drives, in the order of the launch description.
    fn cdroms(&self) -> Vec<CdromInfo>;
}

/// A machine's state that is ready to be written.
pub trait SavedState: Send {
    /// Writes it. The machine must stand still until this is done; any thread may do it.
    fn write(&self, to: &mut dyn Write, progress: &Progress) -> Result<(), MachineFault>;
}

impl SavedState for SavedMachine {
    fn write(&self, to: &mut dyn Write, progress: &Progress) -> Result<(), MachineFault> {
        Ok(self.write(to, progress)?)
    }
}

/// A disk's size and counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskFigures {
    /// The size, in bytes.
    pub capacity: u64,
    /// What was done since the worker's start.
    pub counters: BlockDeviceStats,
    /// What the host could not do, so that the machine has to stop.
    pub trouble: Option<DiskError>,
    /// What it may move, and how often it may be asked.
    pub limits: Limits,
}

impl Machine for vmm::machine::Machine {
    fn resume(&mut self) -> Result<(), MachineFault> {
        Ok(self.resume()?)
    }

    fn pause(&mut self) -> Result<(), MachineFault> {
        Ok(self.pause()?)
    }

    fn save(&mut self, runs: bool) -> Result<Box<dyn SavedState>, MachineFault> {
        Ok(Box::new(self.save(runs)?))
    }

    fn reset(&mut self) -> Result<(), MachineFault> {
        Ok(self.reset()?)
    }

    fn snapshot_disks(&mut self, snapshots: Vec<DiskSnapshot>) -> Result<(), MachineFault> {
        Ok(self.snapshot_disks(snapshots)?)
    }

    fn begin_merge(&mut self, disk: &str, images: MergeImages) -> Result<Merge, MachineFault> {
        Ok(self.begin_merge(disk, images)?)
    }

    fn end_merge(&mut self, disk: &str, merge: &mut Merge, go_on: GoOn) -> Result<(), MachineFault> {
        Ok(self.end_merge(disk, merge, go_on)?)
    }

    fn grow_disk(&mut self, disk: &str, size: u64) -> Result<(), MachineFault> {
        Ok(self.grow_disk(disk, size)?)
    }

    fn press_power_button(&mut self) {
        vmm::machine::Machine::press_power_button(self);
    }

    fn balloon(&self) -> Option<BalloonHandle> {
        self.balloon()
    }

    fn networks(&self) -> Vec<NetworkInfo> {
        self.networks()
    }

    fn vcpus(&self) -> Vec<VcpuInfo> {
        self.vcpus()
    }

    fn disks(&self) -> Vec<DiskFigures> {
        let disks = self.disks().into_iter();
        let figures = |disk: DiskInfo| DiskFigures {
            capacity: disk.capacity,
            counters: counters(disk.drive.statistics()),
            trouble: disk.drive.trouble(),
            limits: disk.drive.throttle().limits(),
        };
        disks.map(figures).collect()
    }

    fn limit_disk(&mut self, disk: usize, limits: Limits) {
        if let Some(disk) = self.disks().get(disk) {
            disk.drive.throttle().set(limits);
        }
    }

    fn cdroms(&self) -> Vec<CdromInfo> {
        self.cdroms()
    }
}

/// A disk's counters as QMP has them.
pub fn counters(statistics: &Statistics) -> BlockDeviceStats {
    let [read, write, flush, discard] =
        [Operation::Read, Operation::Write, Operation::Flush, Operation::Discard].map(|kind| statistics.counts(kind));
    BlockDeviceStats {
        rd_bytes: read.bytes,
        wr_bytes: write.bytes,
        unmap_bytes: discard.bytes,
        rd_operations: read.operations,
        wr_operations: write.operations,
        flush_operations: flush.operations,
        unmap_operations: discard.operations,
        rd_total_time_ns: read.nanos,
        wr_total_time_ns: write.nanos,
        flush_total_time_ns: flush.nanos,
        unmap_total_time_ns: discard.nanos,
        wr_highest_offset: statistics.highest_written(),
        failed_rd_operations: read.failed,
        failed_wr_operations: write.failed,
        failed_flush_operations: flush.failed,
        failed_unmap_operations: discard.failed,
        invalid_rd_operations: read.invalid,
        invalid_wr_operations: write.invalid,
        invalid_flush_operations: flush.invalid,
        invalid_unmap_operations: discard.invalid,
        // As QEMU's virtio-blk does by default.
        account_invalid: true,
        account_failed: true,
        ..BlockDeviceStats::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_disks_counters_keep_their_kind() {
        let statistics = Statistics::default();
        statistics.succeeded(Operation::Read, 512, Duration::from_nanos(1));
        statistics.succeeded(Operation::Write, 1024, Duration::from_nanos(2));
        statistics.written_up_to(4096);
        statistics.failed(Operation::Flush, Duration::from_nanos(3));
        statistics.invalid(Operation::Discard);

        let counters = counters(&statistics);

        assert_eq!((counters.rd_operations, counters.rd_bytes, counters.rd_total_time_ns), (1, 512, 1));
        assert_eq!((counters.wr_operations, counters.wr_bytes, counters.wr_total_time_ns), (1, 1024, 2));
        assert_eq!((counters.wr_highest_offset, counters.failed_flush_operations), (4096, 1));
        assert_eq!((counters.flush_total_time_ns, counters.invalid_unmap_operations), (3, 1));
    }
}
