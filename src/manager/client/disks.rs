//! The commands for a guest's disks and drives: what they are, their limits, media, snapshots and merging.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;

use super::{Client, ClientError, DEFAULT_TIMEOUT};
use crate::{
    manager::{
        definition::{DiskFormat, Layer},
        drives::Media,
    },
    qmp::{
        message::ErrorClass,
        types::{BlockJobInfo, ThrottleLimits},
    },
    worker::launch::Limits,
};

/// How long disks may take until all that was written is in their images.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(120);

/// A disk of a running guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// Its id.
    pub id: String,
    /// Its image.
    pub path: PathBuf,
    /// The disk's size, in bytes.
    pub size: u64,
}

/// A disk that is to go on in a new image.
#[derive(Debug)]
pub struct DiskSnapshot {
    /// Its id.
    pub disk: String,
    /// The new image, open for reading and writing, and locked.
    pub image: File,
    /// Where that lies; it is only shown.
    pub path: PathBuf,
    /// The image that it has had, open for reading.
    pub frozen: File,
}

/// The images that a disk's own one is to be merged into.
#[derive(Debug)]
pub struct MergeFiles {
    /// The disk's id.
    pub disk: String,
    /// The image below the disk's own, open for writing, and those below that, open for reading; all are locked.
    pub images: Vec<(File, Layer)>,
}

impl Client {
    /// The files of the guest's disks, as they are now, by their ids.
    pub async fn disk_files(&self) -> Result<Vec<(String, PathBuf)>, ClientError> {
        Ok(self.disks().await?.into_iter().map(|disk| (disk.id, disk.path)).collect())
    }

    /// The guest's disks, and the discs in its drives, as they are now (`query-block`).
    pub async fn disks(&self) -> Result<Vec<DiskFile>, ClientError> {
        #[derive(Deserialize)]
        struct Disk {
            device: String,
            inserted: Option<Inserted>,
        }
        #[derive(Deserialize)]
        struct Inserted {
            file: PathBuf,
            image: Image,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Image {
            virtual_size: u64,
        }
        let file = |disk: Disk| {
            let Inserted { file, image } = disk.inserted?;
            Some(DiskFile { id: disk.device, path: file, size: image.virtual_size })
        };
        let disks: Vec<Disk> = self.query("query-block", DEFAULT_TIMEOUT).await?;
        Ok(disks.into_iter().filter_map(file).collect())
    }

    /// What is in the guest's CD-ROM drives, as they are now, by the drives' ids (`query-block`).
    pub async fn media(&self) -> Result<Media, ClientError> {
        #[derive(Deserialize)]
        struct Drive {
            device: String,
            removable: bool,
            inserted: Option<Inserted>,
        }
        #[derive(Deserialize)]
        struct Inserted {
            file: PathBuf,
            drv: DiskFormat,
        }
        let drives: Vec<Drive> = self.query("query-block", DEFAULT_TIMEOUT).await?;
        let drives = drives.into_iter().filter(|drive| drive.removable);
        let medium = |Inserted { file, drv }| Layer { path: file, format: drv };
        Ok(Media(drives.map(|drive| (drive.device, drive.inserted.map(medium))).collect()))
    }

    /// Limits what a disk may move, and how often it may be asked (`block_set_io_throttle`).
    pub async fn limit_disk(&self, disk: &str, limits: &Limits) -> Result<(), ClientError> {
        let mut arguments = json!(ThrottleLimits::from(limits));
        arguments["id"] = disk.into();
        self.execute("block_set_io_throttle", arguments).await.map(drop)
    }

    /// Gives a disk `size` bytes, more than it has, and tells the guest (`block_resize`).
    pub async fn grow_disk(&self, disk: &str, size: u64) -> Result<(), ClientError> {
        let arguments = json!({ "device": disk, "size": size });
        self.execute_within("block_resize", arguments, SNAPSHOT_TIMEOUT).await.map(drop)
    }

    /// Takes out what is in a CD-ROM drive (`eject`); with `force` even if the guest has locked the tray.
    pub async fn eject(&self, drive: &str, force: bool) -> Result<(), ClientError> {
        self.execute("eject", json!({ "id": drive, "force": force })).await.map(drop)
    }

    /// Puts `image`, which is open for reading, into a CD-ROM drive instead of what is in it (`blockdev-change-medium`). `path`
    /// is only shown.
    pub async fn change_medium(&self, drive: &str, image: File, path: &Path, force: bool) -> Result<(), ClientError> {
        let file = self.hand_over(image.into(), Some(path)).await?;
        let arguments = json!({ "id": drive, "filename": file.name(), "format": "raw", "force": force });
        let changed = self.execute("blockdev-change-medium", arguments).await;
        changed.and(self.take_back(file).await).map(drop)
    }

    /// Has the guest go on in new images of its disks, all at one point (`transaction` of `blockdev-snapshot-sync`).
    pub async fn snapshot_disks(&self, snapshots: Vec<DiskSnapshot>) -> Result<(), ClientError> {
        let (mut handed, mut actions) = (Vec::new(), Vec::new());
        let mut outcome = Ok(());
        for snapshot in snapshots {
            let mut names = Vec::new();
            for file in [snapshot.image, snapshot.frozen] {
                match self.hand_over(file.into(), Some(&snapshot.path)).await {
                    Ok(file) => {
                        names.push(file.name());
                        handed.push(file);
                    }
                    Err(error) => outcome = Err(error),
                }
            }
            if let [image, frozen] = &names[..] {
                actions.push(json!({
                    "type": "blockdev-snapshot-sync",
                    "data": {
                        "device": snapshot.disk,
                        "snapshot-file": image,
                        "format": "qcow2",
                        "mode": "existing",
                        "x-lodge-frozen": frozen,
                    },
                }));
            }
        }
        if outcome.is_ok() {
            let arguments = json!({ "actions": actions });
            outcome = self.execute_within("transaction", arguments, SNAPSHOT_TIMEOUT).await.map(drop);
        }
        for file in handed {
            // What stays goes with the connection.
            let _ = self.take_back(file).await;
        }
        outcome
    }

    /// Begins to merge a disk's image into the one below it (`block-commit`), which waits to be resumed.
    pub async fn begin_merge(&self, merge: MergeFiles) -> Result<(), ClientError> {
        let (mut handed, mut names) = (Vec::new(), Vec::new());
        let mut outcome = Ok(());
        for (file, layer) in merge.images {
            match self.hand_over(file.into(), Some(&layer.path)).await {
                Ok(file) => {
                    names.push(json!({ "file": file.name(), "format": layer.format.name() }));
                    handed.push(file);
                }
                Err(error) => outcome = Err(error),
            }
        }
        if let (Ok(()), [lower, below @ ..]) = (&outcome, &names[..]) {
            let arguments = json!({
                "device": merge.disk,
                "x-lodge-lower": lower["file"],
                "x-lodge-format": lower["format"],
                "x-lodge-below": below,
            });
            outcome = self.execute_within("block-commit", arguments, SNAPSHOT_TIMEOUT).await.map(drop);
        }
        for file in handed {
            // What stays goes with the connection.
            let _ = self.take_back(file).await;
        }
        outcome
    }

    /// What is being merged (`query-block-jobs`). A worker that is older than this program merges nothing.
    pub async fn merges(&self) -> Result<Vec<BlockJobInfo>, ClientError> {
        match self.query("query-block-jobs", DEFAULT_TIMEOUT).await {
            Err(ClientError::Refused { class: ErrorClass::CommandNotFound, .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Lets a merging begin (`block-job-resume`).
    pub async fn resume_merge(&self, disk: &str) -> Result<(), ClientError> {
        self.execute("block-job-resume", json!({ "device": disk })).await.map(drop)
    }

    /// From now on both images have all that the guest writes, whatever happens (`block-job-complete`).
    pub async fn complete_merge(&self, disk: &str) -> Result<(), ClientError> {
        self.execute("block-job-complete", json!({ "device": disk })).await.map(drop)
    }

    /// The guest goes on in the lower image (`block-job-finalize`).
    pub async fn finalize_merge(&self, disk: &str) -> Result<(), ClientError> {
        self.execute_within("block-job-finalize", json!({ "id": disk }), SNAPSHOT_TIMEOUT).await.map(drop)
    }

    /// The guest goes on in the upper image, whatever was merged (`block-job-cancel`).
    pub async fn cancel_merge(&self, disk: &str) -> Result<(), ClientError> {
        let arguments = json!({ "device": disk, "force": true });
        self.execute_within("block-job-cancel", arguments, SNAPSHOT_TIMEOUT).await.map(drop)
    }
}
