//! Which pools there are: the default one, and those in `$XDG_DATA_HOME/lodge/pools.toml`.
//!
//! ```toml
//! version = 1
//!
//! [[pool]]
//! name = "fast"
//! path = "/mnt/nvme/guests"
//!
//! [[pool]]
//! name = "lvm"
//! volume_group = "vg0"
//! ```

#![forbid(unsafe_code)]

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{Pool, PoolsError, lvm::Lvm};
use crate::manager::{atomic_file, paths::Paths, storage::Disks};

/// The name of the pool that is always there.
pub const DEFAULT: &str = "default";
/// The version of the list that this program writes, and the newest it reads.
const VERSION: u32 = 1;
/// The longest name of a pool, in bytes.
const NAME_MAX: usize = 64;

/// What a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A folder of images.
    Path(PathBuf),
    /// An LVM volume group.
    VolumeGroup(String),
}

impl Target {
    /// What it is, in a word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Path(_) => "folder",
            Self::VolumeGroup(_) => "lvm",
        }
    }

    /// Which one it is.
    pub fn place(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::VolumeGroup(group) => group.clone(),
        }
    }
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub target: Target,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    version: u32,
    #[serde(default, rename = "pool")]
    pools: Vec<PoolEntry>,
}

/// All pools of a person.
#[derive(Debug, Clone)]
pub struct Pools {
    pub(super) paths: Paths,
    pub(super) disks: Disks,
    pub(super) lvm: Lvm,
}

impl Pools {
    /// The pools of these folders.
    pub fn new(paths: &Paths) -> Self {
        Self::with_lvm(paths, Lvm::new())
    }

    /// The same, with other programs for LVM.
    pub fn with_lvm(paths: &Paths, lvm: Lvm) -> Self {
        Self { paths: paths.clone(), disks: Disks::new(paths), lvm }
    }

    /// All of them, the default one first.
    pub fn list(&self) -> Result<Vec<PoolEntry>, PoolsError> {
        let mut pools = vec![self.default_entry()];
        pools.extend(self.read()?);
        Ok(pools)
    }

    /// The pool of this name.
    pub fn find(&self, name: &str) -> Result<PoolEntry, PoolsError> {
        let found = self.list()?.into_iter().find(|pool| pool.name == name);
        found.ok_or_else(|| PoolsError::NotFound(name.to_owned()))
    }

    /// Adds a pool. A folder is made when it is not there; a volume group must be there.
    pub fn add(&self, name: &str, target: Target) -> Result<PoolEntry, PoolsError> {
        check_name(name)?;
        let target = match target {
            Target::Path(path) => Target::Path(usable_folder(&path)?),
            Target::VolumeGroup(group) => {
                self.lvm.group(&group)?;
                Target::VolumeGroup(group)
            }
        };
        let _change = self.lock()?;
        let mut pools = self.read()?;
        let default = self.default_entry();
        for other in std::iter::once(&default).chain(&pools) {
            if other.name == name {
                return Err(PoolsError::Exists(name.to_owned()));
            }
            if is_same(&other.target, &target) {
                return Err(PoolsError::SameTarget { what: target.place(), pool: other.name.clone() });
            }
        }
        let entry = PoolEntry { name: name.to_owned(), target };
        pools.push(entry.clone());
        self.write(pools)?;
        Ok(entry)
    }

    /// Forgets a pool. What is in it stays.
    pub fn remove(&self, name: &str) -> Result<PoolEntry, PoolsError> {
        if name == DEFAULT {
            return Err(PoolsError::refused("the default pool", "it is always there", "Remove another one"));
        }
        let _change = self.lock()?;
        let mut pools = self.read()?;
        let index = pools.iter().position(|pool| pool.name == name);
        let removed = pools.remove(index.ok_or_else(|| PoolsError::NotFound(name.to_owned()))?);
        self.write(pools)?;
        Ok(removed)
    }

    /// The LVM volume groups that could be pools; none where LVM cannot be used.
    pub fn volume_groups(&self) -> Vec<String> {
        self.lvm.groups().unwrap_or_default()
    }

    fn default_entry(&self) -> PoolEntry {
        let folder = Pool::default_pool(&self.paths).folder().to_owned();
        PoolEntry { name: DEFAULT.to_owned(), target: Target::Path(folder) }
    }

    fn file(&self) -> PathBuf {
        self.paths.data().join("pools.toml")
    }

    fn read(&self) -> Result<Vec<PoolEntry>, PoolsError> {
        let path = self.file();
        let text = match atomic_file::read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(PoolsError::io(&path, "Make it readable for you")(error)),
        };
        let broken = |reason: String| PoolsError::Registry { path: path.clone(), reason: reason.replace('\n', ", ") };
        let list: toml::Table = toml::from_str(&text).map_err(|error| broken(error.message().to_owned()))?;
        let version = list.get("version").and_then(toml::Value::as_integer).unwrap_or(0);
        if version > VERSION.into() {
            return Err(broken(format!("it has version {version}, and this Lodge knows up to {VERSION}")));
        }
        let list: List = list.try_into().map_err(|error: toml::de::Error| broken(error.message().to_owned()))?;
        Ok(list.pools)
    }

    fn write(&self, pools: Vec<PoolEntry>) -> Result<(), PoolsError> {
        let path = self.file();
        let broken = |error: toml::ser::Error| PoolsError::Registry { path: path.clone(), reason: error.to_string() };
        let body = toml::to_string_pretty(&List { version: VERSION, pools }).map_err(broken)?;
        let text = format!("# The pools of Lodge, besides the default one. \"lodgectl pool\" changes them.\n{body}");
        atomic_file::replace(&path, text.as_bytes()).map_err(PoolsError::io(&path, "Make its folder writable for you"))
    }

    /// Keeps others from changing the list meanwhile.
    fn lock(&self) -> Result<File, PoolsError> {
        let folder = self.paths.data();
        let refused = || PoolsError::io(folder, "Make this folder writable for you");
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused())?;
        let lock = File::open(folder).map_err(refused())?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|error| refused()(error.into()))?;
        Ok(lock)
    }
}

/// Refuses what would be confusing in a command, or in a file name.
fn check_name(name: &str) -> Result<(), PoolsError> {
    let wrong = |reason| Err(PoolsError::Name { name: name.to_owned(), reason });
    match name {
        "" => wrong("it is empty"),
        _ if name.len() > NAME_MAX => wrong("it is too long"),
        _ if name.starts_with(['-', '.']) => wrong("it begins with a dash or a dot"),
        _ if name.chars().any(|c| c == '/' || c.is_control() || c.is_whitespace()) => {
            wrong("it has a slash, a blank or a control character")
        }
        _ => Ok(()),
    }
}

/// The folder by its own name; made when it is not there.
fn usable_folder(path: &Path) -> Result<PathBuf, PoolsError> {
    let refused = || PoolsError::io(path, "Choose a folder that you can write to");
    let absolute = std::path::absolute(path).map_err(refused())?;
    DirBuilder::new().recursive(true).mode(0o700).create(&absolute).map_err(refused())?;
    let folder = absolute.canonicalize().map_err(refused())?;
    rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|error| refused()(error.into()))?;
    Ok(folder)
}

fn is_same(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Path(one), Target::Path(other)) => {
            one == other
                || fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> (tempfile::TempDir, Pools) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        (folder, Pools::new(&paths))
    }

    fn names(pools: &Pools) -> Vec<String> {
        pools.list().unwrap().into_iter().map(|pool| pool.name).collect()
    }

    #[test]
    fn the_default_pool_is_always_there_and_others_are_remembered() {
        let (folder, pools) = pools();
        let path = folder.path().join("more").join("images");

        assert_eq!(names(&pools), ["default"]);
        let added = pools.add("fast", Target::Path(path.clone())).unwrap();

        assert_eq!(added.target, Target::Path(path.canonicalize().unwrap()));
        assert_eq!(names(&Pools::new(&pools.paths)), ["default", "fast"]);
        assert_eq!(pools.find("fast").unwrap(), added);
        pools.remove("fast").unwrap();
        assert_eq!(names(&pools), ["default"]);
        assert!(path.is_dir(), "what is in it stays");
    }

    #[test]
    fn a_name_or_a_folder_is_taken_once() {
        let (folder, pools) = pools();
        let path = folder.path().join("images");
        pools.add("one", Target::Path(path.clone())).unwrap();

        let same_name = pools.add("one", Target::Path(folder.path().join("other"))).unwrap_err();
        let same_folder = pools.add("two", Target::Path(path.join("../images"))).unwrap_err();
        let default = pools.add("default", Target::Path(folder.path().join("other"))).unwrap_err();

        assert!(matches!(same_name, PoolsError::Exists(_)) && matches!(default, PoolsError::Exists(_)));
        assert!(matches!(same_folder, PoolsError::SameTarget { .. }), "{same_folder}");
    }

    #[test]
    fn impossible_names_and_folders_are_refused() {
        let (folder, pools) = pools();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();

        for name in ["", "a/b", "-x", ".x", "two words", &"x".repeat(65)] {
            let refused = pools.add(name, Target::Path(folder.path().join("x"))).unwrap_err();
            assert!(matches!(refused, PoolsError::Name { .. }), "{name}: {refused}");
        }
        assert!(matches!(pools.add("x", Target::Path(file)), Err(PoolsError::Io { .. })));
        assert!(matches!(pools.remove("default"), Err(PoolsError::Refused { .. })));
        assert!(matches!(pools.remove("missing"), Err(PoolsError::NotFound(_))));
    }

    #[test]
    fn a_list_that_is_newer_or_damaged_is_neither_used_nor_overwritten() {
        let (folder, pools) = pools();
        let path = pools.paths.data().join("pools.toml");
        fs::create_dir_all(pools.paths.data()).unwrap();
        for (text, reason) in [
            ("version = 2\nnovelty = 1\n", "version 2"),
            ("version = 1\n[[pool]]\nname = \"x\"\n", "cannot be read"),
            ("version = 1\nextra = 1\n", "extra"),
            ("version", "cannot be read"),
        ] {
            fs::write(&path, text).unwrap();

            let refused = pools.list().unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
            assert!(pools.add("new", Target::Path(folder.path().join("x"))).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
