//! Merging the images of a disk while the guest uses it. The machine stands still only while the disk in its place changes.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{DiskInfo, Machine, MachineError};
use crate::vmm::block::{
    BlockError, Disk,
    merge::{Merge, MergeImages},
};

/// The disk in which the guest goes on when a merging ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoOn {
    /// The image that was merged, over the one below it.
    Upper,
    /// The image that has all now.
    Lower,
}

impl Machine {
    /// Gets the images of the disk `id` ready to be merged. A machine that runs is paused for that moment.
    pub fn begin_merge(&mut self, id: &str, images: MergeImages) -> Result<Merge, MachineError> {
        self.change_disk(id, |disk| {
            if disk.read_only() {
                return Err(BlockError::Fixed);
            }
            disk.flush().map_err(BlockError::Flush)?;
            let merge = Merge::new(images)?;
            let merging = merge.disk();
            match merging.capacity() == disk.capacity() {
                true => Ok((merging, merge)),
                false => Err(BlockError::Size { old: disk.capacity(), new: merging.capacity() }),
            }
        })
    }

    /// Ends a merging of the disk `id`. A machine that runs is paused for that moment.
    pub fn end_merge(&mut self, id: &str, merge: &mut Merge, go_on: GoOn) -> Result<(), MachineError> {
        self.change_disk(id, |_| match go_on {
            GoOn::Upper => Ok((merge.upper()?, ())),
            GoOn::Lower => Ok((merge.lower().ok_or(BlockError::Fixed)?, ())),
        })
    }

    /// Puts what `make` makes of a disk in its place while no device serves it.
    fn change_disk<T>(
        &mut self,
        id: &str,
        make: impl FnOnce(Arc<dyn Disk>) -> Result<(Arc<dyn Disk>, T), BlockError>,
    ) -> Result<T, MachineError> {
        let found = self.disks.iter().find(|disk| disk.id == id);
        let DiskInfo { drive, .. } = found.ok_or_else(|| MachineError::NoSuchDisk(id.to_owned()))?.clone();
        let made = self.while_paused(|_| {
            make(drive.disk()).map(|(disk, made)| {
                drop(drive.exchange(disk));
                made
            })
        })?;
        made.map_err(|source| MachineError::Snapshot { disk: id.to_owned(), source })
    }
}
