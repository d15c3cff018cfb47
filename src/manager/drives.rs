//! Changing the medium of a guest's CD-ROM drive, while it runs and for its next start.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    client::ClientError,
    creation::{self, CreationError},
    definition::{Definition, DiskDefinition, Layer},
    library::LibraryError,
    supervisor::{Supervisor, SupervisorError, open_medium},
};

/// What is to become of a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The drive's id; the first CD-ROM drive if it is left out.
    pub drive: Option<String>,
    /// The ISO image to put in; `None` takes out what is in it.
    pub medium: Option<PathBuf>,
    /// Whether it is done though the guest has locked the tray: it may still be reading.
    pub force: bool,
    /// Whether it is for the running guest only, and not for its next start.
    pub live_only: bool,
}

/// What is in a guest's CD-ROM drives at a moment, by their ids. Its definition says what is in them at its next start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media(pub BTreeMap<String, Option<Layer>>);

impl Media {
    /// Puts them into the drives of a definition.
    pub fn put_into(&self, definition: &mut Definition) {
        for disk in definition.disks.iter_mut().filter(|disk| disk.cdrom) {
            match self.0.get(&disk.id) {
                Some(Some(medium)) => (disk.path, disk.format) = (medium.path.clone(), medium.format),
                Some(None) => disk.path = PathBuf::new(),
                None => {}
            }
        }
    }
}

/// Why the medium was not changed.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The library refused.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The worker cannot be reached.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The file is no CD.
    #[error(transparent)]
    Medium(#[from] CreationError),
    /// The guest has no such drive.
    #[error("\"{name}\" has no CD-ROM drive{}. {mend}", drive.as_ref().map(|id| format!(" \"{id}\"")).unwrap_or_default())]
    NoDrive {
        /// The guest.
        name: String,
        /// The drive that was asked for.
        drive: Option<String>,
        /// How to mend it.
        mend: String,
    },
    /// The guest that runs does not have the drive yet.
    #[error("\"{name}\" has {drive} from its next start only. Leave --live out, or shut it down and start it")]
    NotYet {
        /// The guest.
        name: String,
        /// The drive.
        drive: String,
    },
    /// The medium cannot be opened, or is being written to.
    #[error("{0}")]
    Open(String),
    /// The guest holds the medium.
    #[error(
        "\"{name}\" uses the CD in {drive} and has locked the tray. Unmount it in the guest, or force the tray open"
    )]
    Locked {
        /// The guest.
        name: String,
        /// The drive.
        drive: String,
    },
    /// The worker refused.
    #[error("\"{name}\": {source}")]
    Refused {
        /// The guest.
        name: String,
        /// Why.
        source: ClientError,
    },
}

/// The guest's drive with this id, or its first one.
fn find(definition: &Definition, id: Option<&str>) -> Result<usize, DriveError> {
    let is_it = |disk: &DiskDefinition| disk.cdrom && id.is_none_or(|id| disk.id == id);
    definition.disks.iter().position(is_it).ok_or_else(|| {
        let known: Vec<_> = definition.disks.iter().filter(|disk| disk.cdrom).map(|disk| disk.id.as_str()).collect();
        let name = definition.name.clone();
        let mend = match known.is_empty() {
            true => format!("Add one with \"lodgectl edit {name}\" while it is off"),
            false => format!("It has {}", known.join(", ")),
        };
        DriveError::NoDrive { name, drive: id.map(str::to_owned), mend }
    })
}

/// A drive whose medium was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The drive's id.
    pub drive: String,
    /// Whether the guest runs, and has this drive from its next start only.
    pub at_next_start: bool,
}

/// Changes the medium of a drive of the guest `name`.
pub async fn change(supervisor: &Supervisor, name: &str, change: &Change) -> Result<Changed, DriveError> {
    let library = supervisor.library();
    let stored = library.load(name)?;
    let running = library.running(&stored.definition)?;
    let mut definition = stored.definition;
    let index = find(&definition, change.drive.as_deref())?;
    let disk = &mut definition.disks[index];
    let id = disk.id.clone();
    let medium = change.medium.clone().map(creation::insert).transpose()?.map(|(medium, _)| medium);
    match &medium {
        Some(medium) => (disk.path, disk.format) = (medium.path.clone(), medium.format),
        None => disk.path = PathBuf::new(),
    }
    let now = disk.clone();
    let is_running = running.is_some();
    let running = running.filter(|running| running.disks.iter().any(|disk| disk.cdrom && disk.id == id));
    let at_next_start = is_running && running.is_none();
    if let Some(mut running) = running {
        change_live(supervisor, name, &id, medium.as_ref(), change.force).await?;
        let drive = running.disks.iter_mut().find(|disk| disk.cdrom && disk.id == id);
        if let Some(drive) = drive.filter(|_| !change.live_only) {
            (drive.path, drive.format) = (now.path, now.format);
            library.record(&running)?;
        }
    } else if change.live_only {
        let name = name.to_owned();
        return Err(match is_running {
            true => DriveError::NotYet { name, drive: id },
            false => SupervisorError::NotRunning { name }.into(),
        });
    }
    if !change.live_only {
        library.save(&definition, &stored.revision)?;
    }
    Ok(Changed { drive: id, at_next_start })
}

async fn change_live(
    supervisor: &Supervisor,
    name: &str,
    id: &str,
    medium: Option<&DiskDefinition>,
    force: bool,
) -> Result<(), DriveError> {
    let client = supervisor.attach(name).await?;
    let result = match medium {
        Some(medium) => {
            let image = open_medium(medium).map_err(DriveError::Open)?;
            client.change_medium(id, image, &medium.path, force).await
        }
        None => client.eject(id, force).await,
    };
    result.map_err(|source| match source {
        ClientError::Refused { ref description, .. } if description.contains("is locked") => {
            DriveError::Locked { name: name.to_owned(), drive: id.to_owned() }
        }
        source => DriveError::Refused { name: name.to_owned(), source },
    })
}

/// The guest's CD-ROM drives: their ids, and what its definition has in them.
pub fn drives(definition: &Definition) -> Vec<(&str, Option<&Path>)> {
    let cdroms = definition.disks.iter().filter(|disk| disk.cdrom);
    cdroms.map(|disk| (disk.id.as_str(), disk.has_medium().then_some(disk.path.as_path()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{definition::DiskFormat, paths::Paths};

    #[test]
    fn the_first_drive_is_meant_or_the_one_that_is_named() {
        let mut definition = Definition::new("web");
        definition.add_disk(DiskDefinition::new("/a", DiskFormat::Raw));
        let without = find(&definition, None).unwrap_err().to_string();
        definition.add_disk(DiskDefinition::empty_drive());
        definition.add_disk(DiskDefinition::cdrom("/b.iso"));

        assert!(without.contains("lodgectl edit web"), "{without}");
        assert_eq!(find(&definition, None).unwrap(), 1);
        assert_eq!(find(&definition, Some("cdrom1")).unwrap(), 2);
        assert!(find(&definition, Some("disk0")).unwrap_err().to_string().contains("cdrom0, cdrom1"));
        assert_eq!(drives(&definition), [("cdrom0", None), ("cdrom1", Some(Path::new("/b.iso")))]);
    }

    #[tokio::test]
    async fn the_medium_of_a_guest_that_is_off_is_that_of_its_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        let supervisor = Supervisor::new(paths);
        let mut definition = Definition::new("web");
        definition.add_disk(DiskDefinition::cdrom(folder.path().join("gone.iso")));
        supervisor.library().create(&definition).unwrap();
        let no_cd = folder.path().join("disk.img");
        std::fs::write(&no_cd, [0; 512]).unwrap();
        let eject = Change { drive: None, medium: None, force: false, live_only: false };

        let refused = change(&supervisor, "web", &Change { medium: Some(no_cd), ..eject.clone() }).await;
        let live = change(&supervisor, "web", &Change { live_only: true, ..eject.clone() }).await;
        let before = supervisor.library().load("web").unwrap().definition;
        let drive = change(&supervisor, "web", &eject).await.unwrap();

        assert!(refused.unwrap_err().to_string().contains("Choose an ISO image"));
        assert!(live.unwrap_err().to_string().contains("not running"));
        assert!(before.disks[0].has_medium());
        assert_eq!(drive, Changed { drive: "cdrom0".into(), at_next_start: false });
        assert!(!supervisor.library().load("web").unwrap().definition.disks[0].has_medium());
    }
}
