//! Histories in files, so that they outlive the application: JSON of a version of its own, with the rings of tens of seconds
//! and of minutes. A file that cannot be read is as good as none.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::rings::{Rings, Sample};
use crate::manager::atomic_file;

/// The format's version.
const VERSION: u32 = 1;
/// A longer file is not ours, in bytes.
const LONGEST: u64 = 8 << 20;
/// How long a file is of use: that long reaches the longest ring.
const WORTH: Duration = Duration::from_secs(24 * 60 * 60);
/// What the files' names end with.
const ENDING: &str = "json";

/// The folder of the histories.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document<S> {
    version: u32,
    rings: Vec<Ring<S>>,
}

#[derive(Serialize, Deserialize)]
struct Ring<S> {
    /// Seconds of a sample.
    step: u64,
    samples: Vec<S>,
}

impl Store {
    /// In this folder, which need not be there yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The names of the histories that are there. Those that are too old to be of use are removed.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let files = entries.flatten().map(|entry| entry.path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
        let useful = files.filter(|path| {
            let old = is_old(path);
            if old && let Err(error) = fs::remove_file(path) {
                tracing::debug!("{}: {error}", path.display());
            }
            !old
        });
        useful.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    }

    /// The history `name`, without what is newer than `now` (seconds since 1970): the clock may have been wrong.
    pub fn read<S: Sample + DeserializeOwned>(&self, name: &str, now: u64) -> Option<Rings<S>> {
        let path = self.path(name);
        match read(&path) {
            Ok(document) => {
                let mut rings = Rings::default();
                for Ring { step, samples } in document.rings {
                    rings.restore(step, samples.into_iter().filter(|sample: &S| sample.time() <= now));
                }
                Some(rings)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("{} is not used: {error}", path.display());
                None
            }
        }
    }

    /// Replaces the history `name`.
    pub fn write<S: Sample + Serialize>(&self, name: &str, rings: &Rings<S>) -> io::Result<()> {
        let rings = rings.kept().map(|(step, samples)| Ring { step, samples }).collect();
        let text = serde_json::to_vec(&Document { version: VERSION, rings })?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        atomic_file::replace(&self.path(name), &text)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension(ENDING)
    }
}

fn is_old(path: &Path) -> bool {
    let written = fs::metadata(path).and_then(|facts| facts.modified());
    written.is_ok_and(|written| SystemTime::now().duration_since(written).is_ok_and(|age| age > WORTH))
}

fn read<S: DeserializeOwned>(path: &Path) -> io::Result<Document<S>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    let document: Document<S> = serde_json::from_slice(&text)?;
    if document.version != VERSION {
        let problem = format!("it is of version {}, not {VERSION}", document.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::statistics::Point;

    fn history(until: u64) -> Rings<Point> {
        let mut rings = Rings::default();
        for time in 0..until {
            rings.push(Point { time, cpu: 12.5, memory: 1 << 30, vcpus: [40, 60].into(), ..Point::default() });
        }
        rings
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("state/history"));
        (folder, store)
    }

    #[test]
    fn a_history_comes_back_as_it_was_written() {
        let (_folder, store) = store();
        let written = history(3600);

        store.write("web", &written).unwrap();

        assert_eq!(store.names(), ["web"]);
        assert_eq!(store.read::<Point>("web", 3600).unwrap().since(0, 60), written.since(0, 60));
    }

    #[test]
    fn a_day_of_the_widest_guest_is_a_small_file() {
        let (_folder, store) = store();
        let mut rings = Rings::default();
        for time in 0..24 * 60 * 60 {
            let many = u64::from(u32::MAX);
            let point =
                Point { time, cpu: 12_345.678, memory: many << 8, vcpus: vec![200; 255].into(), ..Point::default() };
            rings.push(Point { disk_read: many, disk_written: many, exits: Some(u32::MAX), ..point });
        }

        store.write("wide", &rings).unwrap();

        let size = fs::metadata(store.path("wide")).unwrap().len();
        assert!(size < 2 << 20, "{size} bytes");
    }

    #[test]
    fn damaged_foreign_and_newer_files_are_left_alone() {
        let (_folder, store) = store();
        store.write("web", &history(100)).unwrap();
        let whole = fs::read_to_string(store.path("web")).unwrap();

        for text in ["", "{}", &whole[..whole.len() / 2], &whole.replacen("\"version\":1", "\"version\":2", 1)] {
            fs::write(store.path("web"), text).unwrap();

            assert!(store.read::<Point>("web", 100).is_none(), "{text:?}");
        }
        assert!(store.read::<Point>("db", 100).is_none());
    }

    #[test]
    fn what_a_wrong_clock_has_written_is_left_out_and_old_files_go() {
        let (_folder, store) = store();
        store.write("web", &history(3600)).unwrap();

        let rings = store.read::<Point>("web", 600).unwrap();
        assert!(rings.since(0, 60).concat().iter().all(|point| point.time <= 600));

        let long_ago = SystemTime::now() - 2 * WORTH;
        File::options().write(true).open(store.path("web")).unwrap().set_modified(long_ago).unwrap();
        assert!(store.names().is_empty() && !store.path("web").exists());
    }
}
