//! A disk whose images are merged while the guest uses it: one at a time.

use crate::{
    qmp::{
        message::Error,
        types::{BlockJobInfo, JobStatus},
    },
    vmm::{
        block::{
            Image,
            merge::{Merge, MergeImages, Phase},
        },
        machine::GoOn,
    },
    worker::{driver::Driver, guest::GuestDisk},
};

/// What is being merged.
pub struct Merging {
    merge: Merge,
    /// The disk as it will be, in the lower image.
    lower: GuestDisk,
}

/// The images that a disk's own one is over, for merging.
pub struct LowerImages {
    /// The one right below, open for writing.
    pub lower: Image,
    /// Those below that, nearest first.
    pub below: Vec<Image>,
}

impl Driver {
    /// Refuses what cannot be done while images are merged.
    pub(super) fn check_not_merging(&self) -> Result<(), Error> {
        match &self.merging {
            None => Ok(()),
            Some(merging) => Err(Error::generic(format!(
                "the images of {} are being merged. wait until that is done, or cancel it",
                merging.lower.id
            ))),
        }
    }

    /// Begins to merge the image of the disk that `lower` will be then into that. It waits to be resumed.
    pub fn begin_merge(&mut self, upper: Image, images: LowerImages, lower: GuestDisk) -> Result<(), Error> {
        if self.saving.is_some() {
            return Err(super::saving::is_being_saved());
        }
        self.check_not_merging()?;
        let LowerImages { lower: image, below } = images;
        let merge = self
            .machine
            .begin_merge(&lower.id, MergeImages { upper, lower: image, below })
            .map_err(|fault| Error::generic(self.could_not("merge its disk's images", &fault)))?;
        self.merging = Some(Merging { merge, lower });
        Ok(())
    }

    /// What is being merged.
    pub fn merge_info(&self) -> Option<BlockJobInfo> {
        let Merging { merge, lower } = self.merging.as_ref()?;
        let (phase, offset) = merge.progress();
        let (status, error) = match phase {
            Phase::Waiting => (JobStatus::Paused, None),
            Phase::Copying | Phase::Settling => (JobStatus::Running, None),
            Phase::Ready => (JobStatus::Ready, None),
            Phase::Sealed => (JobStatus::Pending, None),
            Phase::Ended { failure } => (JobStatus::Concluded, failure),
        };
        Some(BlockJobInfo {
            kind: "commit".to_owned(),
            device: lower.id.clone(),
            len: merge.disk().capacity(),
            offset,
            speed: 0,
            busy: status == JobStatus::Running,
            paused: status == JobStatus::Paused,
            ready: status == JobStatus::Ready,
            io_status: "ok".to_owned(),
            status,
            auto_finalize: false,
            auto_dismiss: false,
            error,
            x_lodge_lower: lower.file_name.clone().into(),
        })
    }

    /// Lets the merging of the disk `id` begin.
    pub fn resume_merge(&mut self, id: &str) -> Result<(), Error> {
        self.merging_of(id)?.merge.start().map_err(|error| Error::generic(error.to_string()))
    }

    /// From now on both images of the disk `id` have all that the guest writes, whatever happens.
    pub fn complete_merge(&mut self, id: &str) -> Result<(), Error> {
        match self.merging_of(id)?.merge.seal() {
            true => Ok(()),
            false => Err(Error::generic(format!("The active block job '{id}' cannot be completed"))),
        }
    }

    /// The guest goes on in the lower image of the disk `id`.
    pub fn finalize_merge(&mut self, id: &str) -> Result<(), Error> {
        if self.merging_of(id)?.merge.lower().is_none() {
            return Err(Error::generic(format!("Job '{id}' cannot be finalized before it is completed")));
        }
        let Merging { lower, .. } = self.end_merge(GoOn::Lower)?;
        self.has_exchanged(lower);
        Ok(())
    }

    /// The guest goes on in the upper image of the disk `id`. One that is completed only with `force`.
    pub fn cancel_merge(&mut self, id: &str, force: bool) -> Result<(), Error> {
        if self.merging_of(id)?.merge.lower().is_some() && !force {
            return Err(Error::generic(format!("Job '{id}' is completed, and 'force' was not specified")));
        }
        self.end_merge(GoOn::Upper).map(drop)
    }

    fn merging_of(&mut self, id: &str) -> Result<&mut Merging, Error> {
        let merging = self.merging.as_mut().filter(|merging| merging.lower.id == id);
        merging.ok_or_else(|| Error::generic(format!("Block job '{id}' not found")))
    }

    /// Ends it; what could not be ended stays as it is.
    fn end_merge(&mut self, go_on: GoOn) -> Result<Merging, Error> {
        let Some(mut merging) = self.merging.take() else { return Err(Error::generic("nothing is being merged")) };
        let id = merging.lower.id.clone();
        match self.machine.end_merge(&id, &mut merging.merge, go_on) {
            Ok(()) => Ok(merging),
            Err(fault) => {
                self.merging = Some(merging);
                Err(Error::generic(self.could_not("exchange its disk's images", &fault)))
            }
        }
    }
}
