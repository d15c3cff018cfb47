//! What a change of a guest's snapshots is about to do, written down before anything is done, so that whatever ends the
//! program leaves the old or the new state.
//!
//! ```text
//!   making ──▶ new images are made, and what replaces guest.toml and snapshots.toml lies beside them
//!     │        (interrupted: all of that is removed again)
//!   exchanging  only for a running guest: its worker is asked to go on in the new images
//!     │        (interrupted: they are kept if the worker has them, or has ended; removed otherwise)
//!   done ────▶ both files get their names, and images that nobody needs any more are removed
//!              (interrupted: is done again; every step can be)
//! ```
//!
//! The journal is a file in the guest's folder. Whoever reads the guest's definition settles a journal that nobody works on
//! ([`settle`]); whoever works on it holds the lock `snapshots.lock`.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::manager::{
    atomic_file,
    definition::Layer,
    run_lock::{self, RunLock},
    storage::{lock, qcow2},
};

/// The version of the journal's format.
const VERSION: u32 = 1;
const JOURNAL: &str = ".snapshots.journal";
const LOCK: &str = "snapshots.lock";
const RUN_LOCK: &str = "run.lock";
/// What is replaced, and where what replaces it waits.
const REPLACED: [(&str, &str); 2] = [("guest.toml", ".guest.toml.next"), (super::FILE, ".snapshots.toml.next")];

/// How long a worker may take to close files that were handed over by somebody who is gone.
const HANDED_OVER: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is being prepared.
    Making,
    /// The guest's worker may have begun to use the new images.
    Exchanging,
    /// It counts.
    Done,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    version: u32,
    phase: Phase,
    /// New files, none of which was there before.
    create: Vec<PathBuf>,
    /// Images that get another backing file's name.
    rebase: Vec<Rebase>,
    /// Files that nobody needs any more.
    remove: Vec<PathBuf>,
}

/// An image whose backing file has gone into another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebase {
    /// The image.
    pub path: PathBuf,
    /// What it is based on from now on.
    pub onto: Layer,
}

/// What has become of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// There is none.
    Clean,
    /// Somebody works on it at this moment.
    Busy,
}

impl Journal {
    /// A change that makes the files `create`.
    pub fn new(create: Vec<PathBuf>, rebase: Vec<Rebase>, remove: Vec<PathBuf>) -> Self {
        Self { version: VERSION, phase: Phase::Making, create, rebase, remove }
    }

    /// Begins the change: from now on it is undone when it does not come to its end.
    pub fn begin(&self, folder: &Path) -> io::Result<()> {
        self.write(folder)
    }

    /// Gets what will replace both files ready. `None`: that one stays as it is.
    pub fn stage(&self, folder: &Path, texts: [Option<&str>; 2]) -> io::Result<()> {
        for ((_, next), text) in REPLACED.iter().zip(texts) {
            if let Some(text) = text {
                atomic_file::replace(&folder.join(next), text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The next phase begins.
    pub fn enter(&mut self, folder: &Path, phase: Phase) -> io::Result<()> {
        let before = std::mem::replace(&mut self.phase, phase);
        self.write(folder).inspect_err(|_| self.phase = before)
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        atomic_file::replace(&folder.join(JOURNAL), &serde_json::to_vec_pretty(self)?)
    }

    fn read(folder: &Path) -> io::Result<Option<Self>> {
        let text = match atomic_file::read_text(&folder.join(JOURNAL)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let journal: Self = serde_json::from_str(&text)?;
        match journal.version {
            VERSION => Ok(Some(journal)),
            version => Err(io::Error::other(format!("it has version {version}, and this Lodge knows {VERSION}"))),
        }
    }

    /// Removes all that was prepared.
    pub fn undo(&self, folder: &Path) -> io::Result<()> {
        // The next phase may have been written though that was told as an error. Nothing goes before that is taken back.
        if Self::read(folder)?.is_some_and(|journal| journal.phase != self.phase) {
            self.write(folder)?;
        }
        for (_, next) in REPLACED {
            remove(&folder.join(next))?;
        }
        self.create.iter().try_for_each(|path| remove(path))?;
        end(folder)
    }

    /// Makes the change count. Every step can be done again.
    pub fn redo(&self, folder: &Path) -> io::Result<()> {
        for (name, next) in REPLACED {
            match fs::rename(folder.join(next), folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        atomic_file::sync_folder(folder)?;
        for Rebase { path, onto } in &self.rebase {
            let name = onto.path.to_string_lossy();
            let rebased = File::options().read(true).write(true).open(path).map_err(Into::into);
            let rebased = rebased.and_then(|file| qcow2::rebase::rebase(&file, &name, onto.format.name()));
            if let Err(error) = rebased {
                // Only other programs go by it; the definitions name what is below.
                tracing::warn!("{} does not say that it is based on {name} now: {error}", path.display());
            }
        }
        for path in &self.remove {
            if let Err(error) = remove(path) {
                tracing::warn!("{} is not needed any more, but cannot be removed: {error}", path.display());
            }
        }
        end(folder)
    }

    /// Whether the worker of a guest has taken the new images, or nobody can change anything any more.
    fn was_exchanged(&self, folder: &Path) -> io::Result<bool> {
        if !run_lock::is_held(&folder.join(RUN_LOCK))? {
            // The new images are empty or have what the guest wrote last: with them nothing is lost.
            return Ok(true);
        }
        // Files that were handed over and not used are closed by the worker as soon as it sees that nobody is there any more.
        let deadline = Instant::now() + HANDED_OVER;
        while self.are_held()? {
            if Instant::now() >= deadline {
                return Ok(true);
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(false)
    }

    /// Whether somebody holds one of the new images, to write to it.
    fn are_held(&self) -> io::Result<bool> {
        let images = self.create.iter().filter(|path| path.extension().is_some_and(|kind| kind == "qcow2"));
        for path in images {
            match File::open(path) {
                Ok(file) if !lock::acquire(&file, lock::Access::Read)? => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Ends a journal.
fn end(folder: &Path) -> io::Result<()> {
    remove(&folder.join(JOURNAL))?;
    atomic_file::sync_folder(folder)
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Takes the lock of those who change a guest's snapshots. `None` when somebody holds it.
pub fn lock(folder: &Path) -> io::Result<Option<RunLock>> {
    RunLock::acquire(&folder.join(LOCK))
}

/// Brings a change to its end, or back to its beginning, that nobody works on any more.
pub fn settle(folder: &Path) -> io::Result<Settled> {
    if !folder.join(JOURNAL).try_exists()? {
        return Ok(Settled::Clean);
    }
    match RunLock::acquire_now(&folder.join(LOCK))? {
        Some(_lock) => settle_locked(folder).map(|()| Settled::Clean),
        None => Ok(Settled::Busy),
    }
}

/// As [`settle`], for whoever holds the lock.
pub fn settle_locked(folder: &Path) -> io::Result<()> {
    let Some(journal) = Journal::read(folder)? else { return Ok(()) };
    match journal.phase {
        Phase::Done => journal.redo(folder),
        Phase::Exchanging if journal.was_exchanged(folder)? => journal.redo(folder),
        Phase::Making | Phase::Exchanging => journal.undo(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        journal: Journal,
    }

    impl Fixture {
        /// A guest's folder with a change that is prepared: it makes one image and removes another one.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            fs::write(path("guest.toml"), "old").unwrap();
            fs::write(path("unneeded"), "").unwrap();
            let journal = Journal::new(vec![path("new.qcow2")], Vec::new(), vec![path("unneeded")]);
            journal.begin(folder.path()).unwrap();
            fs::write(path("new.qcow2"), "image").unwrap();
            journal.stage(folder.path(), [Some("new"), Some("tree")]).unwrap();
            Self { folder, journal }
        }

        fn enter(&mut self, phase: Phase) {
            self.journal.enter(self.folder.path(), phase).unwrap();
        }

        fn settle(&self) -> Settled {
            settle(self.folder.path()).unwrap()
        }

        /// What is in the folder, without locks.
        fn state(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let text = |path: PathBuf| {
                let name = path.file_name().unwrap().to_str().unwrap();
                format!("{name}: {}", fs::read_to_string(&path).unwrap())
            };
            let mut state: Vec<_> = entries.map(text).filter(|line| !line.contains(".lock: ")).collect();
            state.sort();
            state
        }
    }

    const OLD: [&str; 2] = ["guest.toml: old", "unneeded: "];
    const NEW: [&str; 3] = ["guest.toml: new", "new.qcow2: image", "snapshots.toml: tree"];

    #[test]
    fn a_change_that_was_not_finished_leaves_nothing() {
        let fixture = Fixture::new();

        assert_eq!(fixture.settle(), Settled::Clean);

        assert_eq!(fixture.state(), OLD);
    }

    #[test]
    fn a_change_that_counts_is_brought_to_its_end_wherever_it_was() {
        for done in 0..4 {
            let mut fixture = Fixture::new();
            fixture.enter(Phase::Done);
            let path = |name: &str| fixture.folder.path().join(name);
            if done > 0 {
                fs::rename(path(".guest.toml.next"), path("guest.toml")).unwrap();
            }
            if done > 1 {
                fs::rename(path(".snapshots.toml.next"), path("snapshots.toml")).unwrap();
            }
            if done > 2 {
                fs::remove_file(path("unneeded")).unwrap();
            }

            assert_eq!(fixture.settle(), Settled::Clean);

            assert_eq!(fixture.state(), NEW, "after {done} steps");
            assert_eq!(fixture.settle(), Settled::Clean);
        }
    }

    #[test]
    fn a_change_that_is_taken_back_counts_no_more_wherever_that_ends() {
        let mut fixture = Fixture::new();
        let taken_back = fixture.journal.clone();
        fixture.enter(Phase::Done);
        // It cannot be removed as a file.
        let image = fixture.folder.path().join("new.qcow2");
        fs::remove_file(&image).unwrap();
        fs::create_dir(&image).unwrap();

        assert!(taken_back.undo(fixture.folder.path()).is_err());

        fs::remove_dir(&image).unwrap();
        assert_eq!(fixture.settle(), Settled::Clean);
        assert_eq!(fixture.state(), OLD);
    }

    #[test]
    fn what_somebody_works_on_is_left_alone() {
        let fixture = Fixture::new();
        let lock = lock(fixture.folder.path()).unwrap().unwrap();

        assert_eq!(fixture.settle(), Settled::Busy);

        drop(lock);
        assert_eq!(fixture.settle(), Settled::Clean);
    }

    #[test]
    fn an_exchange_is_undone_only_when_the_running_worker_has_not_taken_the_images() {
        for (runs, taken, expected) in [(true, true, &NEW[..]), (true, false, &OLD), (false, false, &NEW)] {
            let mut fixture = Fixture::new();
            fixture.enter(Phase::Exchanging);
            let run_lock = RunLock::acquire(&fixture.folder.path().join(RUN_LOCK)).unwrap().filter(|_| runs);
            let image = File::options().read(true).write(true).open(fixture.folder.path().join("new.qcow2")).unwrap();
            if taken {
                assert!(lock::acquire(&image, lock::Access::Write).unwrap());
            }

            assert_eq!(fixture.settle(), Settled::Clean);

            assert_eq!(fixture.state(), expected, "runs: {runs}, taken: {taken}");
            drop((run_lock, image));
        }
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_an_error_and_stays() {
        let fixture = Fixture::new();
        let path = fixture.folder.path().join(JOURNAL);
        let text = fs::read_to_string(&path).unwrap().replace("\"version\": 1", "\"version\": 9");
        fs::write(&path, text).unwrap();

        assert!(settle(fixture.folder.path()).unwrap_err().to_string().contains("version 9"));
        assert!(path.exists());
    }
}
