//! LVM volume groups, through lvm2's own programs and their reports in JSON (lvmreport(7)).
//!
//! LVM's programs need the rights of root, or of whoever may open `/dev/mapper/control` and write to `/run/lock/lvm`. What they say
//! when they have not got them is told with how to mend it.

#![forbid(unsafe_code)]

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::system_error::words;
use serde::{Deserialize, de::DeserializeOwned};

/// Where the programs are that a person's PATH may not have.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// The longest name of a volume that LVM knows, in bytes.
const NAME_MAX: usize = 127;
/// Names that LVM keeps for itself (lvm(8)).
const RESERVED: [&str; 2] = ["snapshot", "pvmove"];
const RESERVED_PARTS: [&str; 8] = ["_cdata", "_cmeta", "_corig", "_mlog", "_mimage", "_pmspare", "_rimage", "_rmeta"];

/// Why LVM did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// There is no such program.
    #[error("LVM's program {0} is missing. Install the package lvm2")]
    Missing(&'static str),
    /// It needs rights that this person does not have.
    #[error("LVM needs the rights of root for {0}. Use \"sudo\", or choose a folder as the pool")]
    Rights(String),
    /// There is no such volume group.
    #[error("there is no volume group \"{0}\". See them all with \"vgs\"")]
    NoGroup(String),
    /// The name cannot be one.
    #[error("{name:?} cannot be the name of an LVM volume: {reason}. Choose another name")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It said so.
    #[error("{program}: {message}. Look at the volume group with \"vgs\" and \"lvs\"")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it said, on one line.
        message: String,
    },
    /// It could not be run.
    #[error("{program} cannot be run: {}. Install the package lvm2 again", words(source))]
    Run {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its size, in bytes.
    pub size: u64,
    /// What no volume has of it, in bytes.
    pub free: u64,
    /// What sizes are rounded up to, in bytes.
    pub extent: u64,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its device.
    pub path: PathBuf,
    /// Its size, in bytes.
    pub size: u64,
    /// Whether its device is there, so that it can be used.
    pub active: bool,
}

/// LVM's programs.
#[derive(Debug, Clone)]
pub struct Lvm {
    folders: Vec<PathBuf>,
}

impl Default for Lvm {
    fn default() -> Self {
        Self::new()
    }
}

/// The report of `vgs` and `lvs`.
#[derive(Deserialize)]
struct Report<T> {
    report: Vec<T>,
}

#[derive(Deserialize)]
struct Groups {
    vg: Vec<GroupRow>,
}

#[derive(Deserialize)]
struct GroupRow {
    vg_size: String,
    vg_free: String,
    vg_extent_size: String,
}

#[derive(Deserialize)]
struct GroupNames {
    vg: Vec<GroupName>,
}

#[derive(Deserialize)]
struct GroupName {
    vg_name: String,
}

#[derive(Deserialize)]
struct Volumes {
    lv: Vec<VolumeRow>,
}

#[derive(Deserialize)]
struct VolumeRow {
    lv_name: String,
    lv_path: String,
    lv_size: String,
    lv_attr: String,
}

impl Lvm {
    /// Those of this computer.
    pub fn new() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).filter(|folder| folder.is_absolute());
        Self { folders: folders.chain(SYSTEM_FOLDERS.map(PathBuf::from)).collect() }
    }

    /// Those in a folder, for tests.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folders: vec![folder.to_owned()] }
    }

    /// What the volume group has.
    pub fn group(&self, group: &str) -> Result<Group, LvmError> {
        check_name(group)?;
        let fields = "vg_size,vg_free,vg_extent_size";
        let report: Report<Groups> = self.report("vgs", fields, Some(group))?;
        let row = report.report.into_iter().flat_map(|groups| groups.vg).next();
        let row = row.ok_or_else(|| LvmError::NoGroup(group.to_owned()))?;
        let bytes = |text: &str| bytes("vgs", text);
        Ok(Group { size: bytes(&row.vg_size)?, free: bytes(&row.vg_free)?, extent: bytes(&row.vg_extent_size)? })
    }

    /// The names of all volume groups.
    pub fn groups(&self) -> Result<Vec<String>, LvmError> {
        let report: Report<GroupNames> = self.report("vgs", "vg_name", None)?;
        let rows = report.report.into_iter().flat_map(|groups| groups.vg);
        Ok(rows.map(|row| row.vg_name).collect())
    }

    /// The volumes of a group that can be disks: neither parts nor pools of others.
    pub fn volumes(&self, group: &str) -> Result<Vec<LogicalVolume>, LvmError> {
        check_name(group)?;
        let report: Report<Volumes> = self.report("lvs", "lv_name,lv_path,lv_size,lv_attr", Some(group))?;
        let rows = report.report.into_iter().flat_map(|volumes| volumes.lv);
        // The kinds that begin with these letters are thin pools, their data, and caches (lvs(8), lv_attr).
        let mut volumes = rows
            .filter(|row| !row.lv_path.is_empty() && !row.lv_attr.starts_with(['t', 'T', 'e', 'C', 'd']))
            .map(|row| {
                Ok(LogicalVolume {
                    size: bytes("lvs", &row.lv_size)?,
                    active: row.lv_attr.as_bytes().get(4) == Some(&b'a'),
                    path: row.lv_path.into(),
                    name: row.lv_name,
                })
            })
            .collect::<Result<Vec<_>, LvmError>>()?;
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    }

    /// Makes a volume of at least `size` bytes. What was on the disk there before is still in it but for what looks like a file system.
    pub fn create(&self, group: &str, name: &str, size: u64) -> Result<(), LvmError> {
        check_name(group)?;
        check_name(name)?;
        let size = format!("{size}b");
        self.run("lvcreate", &["--yes", "--wipesignatures", "y", "--name", name, "--size", &size, group]).map(drop)
    }

    /// Gives a volume another size of at least `size` bytes; with `shrink` it may be a smaller one.
    pub fn resize(&self, group: &str, name: &str, size: u64, shrink: bool) -> Result<(), LvmError> {
        check_name(group)?;
        check_name(name)?;
        let (size, volume) = (format!("{size}b"), format!("{group}/{name}"));
        match shrink {
            true => self.run("lvreduce", &["--force", "--yes", "--size", &size, &volume]).map(drop),
            false => self.run("lvextend", &["--size", &size, &volume]).map(drop),
        }
    }

    /// Removes a volume.
    pub fn remove(&self, group: &str, name: &str) -> Result<(), LvmError> {
        check_name(group)?;
        check_name(name)?;
        self.run("lvremove", &["--yes", &format!("{group}/{name}")]).map(drop)
    }

    fn report<T: DeserializeOwned>(
        &self,
        program: &'static str,
        fields: &str,
        group: Option<&str>,
    ) -> Result<Report<T>, LvmError> {
        let options = ["--reportformat", "json", "--units", "b", "--nosuffix", "--options", fields];
        let options: Vec<&str> = options.into_iter().chain(group).collect();
        let output = self.run(program, &options).map_err(|error| match (error, group) {
            (LvmError::Failed { message, .. }, Some(group)) if message.contains("not found") => {
                LvmError::NoGroup(group.to_owned())
            }
            (other, _) => other,
        })?;
        let broken = |error: serde_json::Error| LvmError::Failed {
            program,
            message: format!("its report cannot be read ({error})"),
        };
        serde_json::from_slice(&output).map_err(broken)
    }

    fn run(&self, program: &'static str, arguments: &[&str]) -> Result<Vec<u8>, LvmError> {
        let path = self.folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
        let path = path.ok_or(LvmError::Missing(program))?;
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::null());
        // Its words are looked at, and it complains of descriptors that it did not open.
        command.env("LC_ALL", "C").env("LVM_SUPPRESS_FD_WARNINGS", "1");
        let output = command.output().map_err(|source| LvmError::Run { program, source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        if ["Permission denied", "non-root user", "Operation not permitted"].iter().any(|sign| said.contains(sign)) {
            return Err(LvmError::Rights(program.to_owned()));
        }
        let lines: Vec<&str> = said.lines().map(|line| line.trim().trim_end_matches('.')).collect();
        let message = lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        Err(LvmError::Failed { program, message })
    }
}

/// A number of bytes as a report has it.
fn bytes(program: &'static str, text: &str) -> Result<u64, LvmError> {
    let number = text.trim().trim_end_matches(['B', 'b']);
    number.parse().map_err(|_| LvmError::Failed { program, message: format!("{text:?} is no size in bytes") })
}

/// Refuses what LVM does not take as a name (lvm(8)): then none can look like an option, either.
fn check_name(name: &str) -> Result<(), LvmError> {
    let wrong = |reason| Err(LvmError::Name { name: name.to_owned(), reason });
    match name {
        "" | "." | ".." => wrong("it says nothing"),
        _ if name.len() > NAME_MAX => wrong("it is too long"),
        _ if name.starts_with('-') => wrong("it begins with a dash"),
        _ if !name.chars().all(|c| c.is_ascii_alphanumeric() || "+_.-".contains(c)) => {
            wrong("only letters, digits, +, _, . and - are allowed")
        }
        _ if RESERVED.iter().any(|word| name.starts_with(word))
            || RESERVED_PARTS.iter().any(|part| name.contains(part)) =>
        {
            wrong("LVM keeps it for itself")
        }
        _ => Ok(()),
    }
}
