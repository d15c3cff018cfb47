//! What running guests run with. The library says what a guest has at its next start; what it has now lies beside its worker's sockets:
//! the definition with which it was started, with what was changed in it since then.

use std::{io, path::Path};

use super::{Library, LibraryError, Stored};
use crate::manager::{atomic_file, definition::Definition};

impl Library {
    /// What the guest of this definition runs with; `None` when it does not run. Where an older Lodge has started it, that is not
    /// written down: then it is what is stored.
    pub fn running(&self, stored: &Definition) -> Result<Option<Definition>, LibraryError> {
        let running = self.is_running(&stored.name)?;
        Ok(running.then(|| self.recorded(stored).unwrap_or_else(|| stored.clone())))
    }

    fn recorded(&self, stored: &Definition) -> Option<Definition> {
        let path = self.paths.running(stored.uuid).definition();
        let told = |error: &dyn std::fmt::Display| tracing::warn!("{} cannot be read: {error}", path.display());
        match atomic_file::read_text(&path) {
            Ok(text) => Definition::from_toml(&text, &stored.name).inspect_err(|error| told(error)).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                told(&error);
                None
            }
        }
    }

    /// Writes down what a guest runs with, or has in it from now on.
    pub fn record(&self, running: &Definition) -> Result<(), LibraryError> {
        let path = self.paths.running(running.uuid).definition();
        // It may have ended just now.
        if !path.parent().is_some_and(Path::exists) {
            return Ok(());
        }
        let mend = "Make room, and make this folder writable for you";
        atomic_file::replace(&path, running.to_toml().as_bytes()).map_err(LibraryError::io(&path, mend))
    }

    /// The disks of a running guest are now in the images that its definition in the library says.
    pub(in crate::manager) fn record_images(&self, name: &str) {
        let recorded = self.load(name).and_then(|Stored { definition: stored, .. }| {
            let Some(mut running) = self.running(&stored)? else { return Ok(()) };
            for disk in running.disks.iter_mut().filter(|disk| !disk.cdrom) {
                if let Some(now) = stored.disks.iter().find(|other| other.id == disk.id && !other.cdrom) {
                    (disk.path, disk.format, disk.backing) = (now.path.clone(), now.format, now.backing.clone());
                }
            }
            self.record(&running)
        });
        if let Err(error) = recorded {
            tracing::warn!("the images of {name:?} are not written down: {error}");
        }
    }
}
