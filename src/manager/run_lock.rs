//! The lock of a running guest: an open-file-description lock on its `run.lock`.
//!
//! Whoever starts a guest takes it before the worker is there and lets the worker inherit it; the kernel frees it when the
//! last of them is gone, however that happens. [`is_held`] only asks (`F_OFD_GETLK`), so that looking at a guest never
//! keeps anybody from starting it.

#![forbid(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use super::file_lock::{self, Kind, WHOLE};

/// The lock, held for as long as this value lives, or those whom it was [shared](RunLock::share) with.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    is_shared: bool,
}

impl RunLock {
    /// Takes the lock at `path`, making the file when it is not there. `None` when somebody else holds it, and for longer than a
    /// moment.
    pub fn acquire(path: &Path) -> io::Result<Option<Self>> {
        file_lock::within_grace(|| Self::acquire_now(path))
    }

    /// As [`RunLock::acquire`], but waits for nobody.
    pub fn acquire_now(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if !file_lock::acquire(&file, Kind::Exclusive, WHOLE)? {
            return Ok(None);
        }
        // The guest may have been renamed or deleted between the opening and the lock: then this is a lock on nothing.
        let (ours, there) = (file.metadata()?, std::fs::metadata(path)?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Some(Self { file, is_shared: false }))
    }
}

impl RunLock {
    /// A descriptor for another process, by which the lock is held until the last copy of it is closed, too.
    pub fn share(&mut self) -> io::Result<OwnedFd> {
        self.is_shared = true;
        Ok(self.file.try_clone()?.into())
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        if !self.is_shared {
            // Closing it would not be enough: a process that is being started has a copy for a moment.
            let _ = file_lock::release(&self.file, WHOLE);
        }
    }
}

/// Whether somebody holds the lock at `path`. Takes nothing.
pub fn is_held(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => file_lock::is_held(&file, Kind::Exclusive, WHOLE),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_lock_that_is_not_shared_is_free_at_once_whoever_has_a_copy_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.lock");
        let lock = RunLock::acquire(&path).unwrap().unwrap();
        let copy = lock.file.try_clone().unwrap();

        drop(lock);

        assert!(!is_held(&path).unwrap());
        drop(copy);
    }

    #[test]
    fn a_shared_lock_is_held_until_its_last_descriptor_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.lock");
        let mut lock = RunLock::acquire(&path).unwrap().unwrap();
        let inherited = lock.share().unwrap();

        drop(lock);

        assert!(is_held(&path).unwrap());
        assert!(RunLock::acquire(&path).unwrap().is_none());
        drop(inherited);
        // Programs that other tests start have it, too, for a moment.
        let deadline = Instant::now() + Duration::from_secs(60);
        while is_held(&path).unwrap() {
            assert!(Instant::now() < deadline, "it is never free");
            std::thread::yield_now();
        }
    }

    #[test]
    fn asking_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.lock");
        std::fs::write(&path, "").unwrap();

        let held = is_held(&path).unwrap();

        assert!(!held);
        assert!(RunLock::acquire(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_never_was_is_free() {
        assert!(!is_held(Path::new("/nonexistent/run.lock")).unwrap());
    }
}
