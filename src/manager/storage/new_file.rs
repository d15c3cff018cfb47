//! A file that gets its name only when it is whole.
//!
//! It has no name at all while it is written (O_TMPFILE), so that whatever ends the program leaves nothing behind. Where
//! the file system has no such files it has a name that says so, and is locked; the next new file in the same folder
//! removes those that nobody holds any more.
//!
//! Specification: open(2), O_TMPFILE; linkat(2), AT_SYMLINK_FOLLOW.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FlockOperation, OFlags},
    io::Errno,
};
use uuid::Uuid;

use crate::manager::atomic_file;

/// How the names of files begin that are not whole yet, where they need one.
const PREFIX: &str = ".lodge-new-";

/// See the module.
#[derive(Debug)]
pub struct NewFile {
    folder: PathBuf,
    file: File,
    /// Its name, where it needs one.
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// A new, empty file for the folder, readable and writable only by its owner.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE.bits().cast_signed();
        match OpenOptions::new().read(true).write(true).custom_flags(flags).mode(0o600).open(folder) {
            Ok(file) => Ok(Self { folder: folder.to_owned(), file, temporary: None }),
            // The second is what kernels say that know no O_TMPFILE: they see O_DIRECTORY.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::OPNOTSUPP | Errno::ISDIR)) => {
                Self::create_named(folder)
            }
            Err(error) => Err(error),
        }
    }

    fn create_named(folder: &Path) -> io::Result<Self> {
        remove_abandoned(folder);
        let path = folder.join(format!("{PREFIX}{}", Uuid::new_v4()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        // Without locks nobody takes it for abandoned, either.
        let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { folder: folder.to_owned(), file, temporary: Some(path) })
    }

    /// The file, to be written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes the content last and gives the file its name. With `replace` a file of that name goes; otherwise that is an
    /// error of kind `AlreadyExists`, and the file can be given another name.
    pub fn publish(&mut self, path: &Path, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        match (&self.temporary, replace) {
            (None, false) => link(&self.file, path)?,
            (Some(temporary), false) => {
                atomic_file::move_to_free(temporary, path)?;
                self.temporary = None;
            }
            (_, true) => {
                let temporary = match self.temporary.take() {
                    Some(temporary) => temporary,
                    None => {
                        remove_abandoned(&self.folder);
                        let temporary = self.folder.join(format!("{PREFIX}{}", Uuid::new_v4()));
                        link(&self.file, &temporary)?;
                        temporary
                    }
                };
                // Taken back if the next step fails.
                self.temporary = Some(temporary.clone());
                fs::rename(&temporary, path)?;
                self.temporary = None;
            }
        }
        // Whoever is told of an error finds nothing there that could be taken for done.
        atomic_file::sync_folder(&self.folder).inspect_err(|_| {
            if !replace {
                let _ = fs::remove_file(path);
            }
        })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // It may not be there, and cannot be mended if it stays.
            let _ = fs::remove_file(path);
        }
    }
}

/// Gives a file without a name one.
fn link(file: &File, path: &Path) -> io::Result<()> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, from, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Removes what programs have left that were killed. What cannot be removed is left to the next one.
fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if let Ok(file) = File::open(entry.path())
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_replaces_only_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        for (named, replace) in [(false, false), (true, false), (false, true), (true, true)] {
            fs::remove_file(&path).ok();
            let make = if named { NewFile::create_named } else { NewFile::create };
            let mut new = make(folder.path()).unwrap();
            new.file().write_all(b"new").unwrap();
            assert!(!path.exists());
            fs::write(&path, "old").unwrap();

            let published = new.publish(&path, replace);

            assert_eq!(published.is_ok(), replace, "{named}");
            assert_eq!(fs::read(&path).unwrap(), if replace { b"new" } else { b"old" });
            drop(new);
            assert_eq!(names(folder.path()), ["disk.raw"]);
        }
    }

    #[test]
    fn what_a_killed_program_has_left_goes_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{PREFIX}dead")), "").unwrap();
        let living = NewFile::create_named(folder.path()).unwrap();

        let next = NewFile::create_named(folder.path()).unwrap();

        assert_eq!(names(folder.path()).len(), 2, "the abandoned one is gone, the others stay");
        drop((living, next));
        assert!(names(folder.path()).is_empty());
    }
}
