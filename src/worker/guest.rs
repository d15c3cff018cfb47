//! What the worker knows about its guest from the launch description: what queries answer and what events lead to.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::File,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;

use super::launch::{Action, DiskBus, ListeningScreen};

/// The guest; nothing of this changes while it runs, but for its media and for who looks on from a network.
#[derive(Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its memory, in bytes.
    pub memory: u64,
    /// Whether it waits for `cont`.
    pub start_paused: bool,
    /// What its power-off leads to.
    pub on_poweroff: Action,
    /// What its reset leads to.
    pub on_reboot: Action,
    /// What its panic leads to.
    pub on_crash: Action,
    /// Its disks, in the order of the launch description.
    pub disks: Vec<GuestDisk>,
    /// Where viewers on a network come in, if they do.
    pub listening: Mutex<Option<Listening>>,
    /// The path of the socket that speaks RFB.
    pub vnc_socket: PathBuf,
}

/// Where viewers on a network come in, for as long as this is kept.
#[derive(Debug)]
pub struct Listening {
    /// What is told of it.
    pub screen: ListeningScreen,
    /// The gate ends when this is closed.
    pub gate: OwnedFd,
}

/// A disk of the guest.
#[derive(Debug)]
pub struct GuestDisk {
    /// Its name.
    pub id: String,
    /// How it is attached.
    pub bus: DiskBus,
    /// The image's file name, for people.
    pub file_name: String,
    /// The image's format.
    pub format: &'static str,
    /// Whether the guest may not write.
    pub read_only: bool,
    /// How many images lie below it.
    pub backing_depth: u32,
    /// The image again, to ask for the space it takes.
    pub image: Mutex<Option<File>>,
}

/// What is in the CD-ROM drives that are not empty, by the names of the drives.
pub type Media = BTreeMap<String, GuestDisk>;

impl GuestDisk {
    /// The medium of the CD-ROM drive `id`.
    pub fn medium(id: &str, file_name: String, format: &'static str, image: Option<File>) -> Self {
        Self {
            id: id.to_owned(),
            bus: DiskBus::Ide,
            file_name,
            format,
            read_only: true,
            backing_depth: 0,
            image: image.into(),
        }
    }

    /// The disk, with another image.
    pub fn over(&self, file_name: String, format: &'static str, image: Option<File>) -> Self {
        let backing_depth = self.backing_depth.saturating_add(1);
        Self { id: self.id.clone(), file_name, format, backing_depth, image: Mutex::new(image), ..*self }
    }

    /// The disk in the image right below it.
    pub fn under(&self, file_name: String, format: &'static str, image: Option<File>) -> Self {
        let backing_depth = self.backing_depth.saturating_sub(1);
        Self { id: self.id.clone(), file_name, format, backing_depth, image: Mutex::new(image), ..*self }
    }

    /// What the image takes on the host's disk, in bytes; `None` for a block device.
    pub fn actual_size(&self) -> Option<u64> {
        let metadata = self.image.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.metadata().ok()?;
        metadata.is_file().then(|| metadata.blocks().saturating_mul(512))
    }
}
