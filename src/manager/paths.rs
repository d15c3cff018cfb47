//! Where Lodge keeps things: the library and the disks under `$XDG_DATA_HOME/lodge`, running guests under
//! `$XDG_RUNTIME_DIR/lodge`, what can be done without under `$XDG_STATE_HOME/lodge` (XDG Base Directory Specification). What is
//! to happen at login is in `$XDG_CONFIG_HOME/autostart`.

#![forbid(unsafe_code)]

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::system_error::words;
use uuid::Uuid;

/// The folders of one person's guests. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    data: PathBuf,
    runtime: PathBuf,
    state: PathBuf,
    config: PathBuf,
}

/// Why there is no place for guests.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// Neither `XDG_DATA_HOME` nor `HOME` says where the data belong.
    #[error("there is no home folder for the guests. Set HOME or XDG_DATA_HOME to an absolute path")]
    NoHome,
    /// A folder could not be made or read.
    #[error("{}: {}. Make this folder writable for you, or choose another one with {variable}", path.display(), words(source))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The environment variable that moves it.
        variable: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The fallback for the runtime folder belongs to somebody else, or others can write to it.
    #[error(
        "{} is not a private folder of yours ({reason}). Remove it, or set XDG_RUNTIME_DIR to a private folder",
        path.display()
    )]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Paths {
    /// The folders that the environment names. Without `XDG_RUNTIME_DIR` running guests live in `/tmp/lodge-UID`, which is
    /// used only when it is a private folder of this user. Creates nothing but that.
    pub fn from_environment() -> Result<Self, PathsError> {
        let variable = |name: &str| env::var_os(name);
        let fallback = PathBuf::from(format!("/tmp/lodge-{}", rustix::process::getuid().as_raw()));
        Self::from_variables(variable, fallback)
    }

    fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        runtime_fallback: PathBuf,
    ) -> Result<Self, PathsError> {
        // The specification: relative paths are invalid and to be ignored.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .ok_or(PathsError::NoHome)?;
        let runtime = match absolute("XDG_RUNTIME_DIR") {
            Some(runtime) => runtime,
            None => {
                make_private(&runtime_fallback, "XDG_RUNTIME_DIR")?;
                check_private(&runtime_fallback)?;
                runtime_fallback
            }
        };
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        let usual = Self::new(data.join("lodge"), runtime.join("lodge"));
        Ok(Self {
            state: state.map_or(usual.state, |state| state.join("lodge")),
            config: config.unwrap_or(usual.config),
            ..usual
        })
    }

    /// Folders chosen by the caller: `data` holds the library and the disks, `runtime` the running guests.
    pub fn new(data: impl Into<PathBuf>, runtime: impl Into<PathBuf>) -> Self {
        let data = data.into();
        Self { state: data.join("state"), config: data.join("config"), data, runtime: runtime.into() }
    }

    /// The folder of everything that lasts.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of the running guests.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// The library: one folder a guest.
    pub fn guests(&self) -> PathBuf {
        self.data.join("guests")
    }

    /// The folder of the guest `name`.
    pub fn guest_folder(&self, name: &str) -> PathBuf {
        self.guests().join(name)
    }

    /// The definition of the guest `name`.
    pub fn definition(&self, name: &str) -> PathBuf {
        self.guest_folder(name).join("guest.toml")
    }

    /// The file whose lock a running worker of the guest `name` holds.
    pub fn run_lock(&self, name: &str) -> PathBuf {
        self.guest_folder(name).join("run.lock")
    }

    /// The log of the last run of the guest `name`: worker and firmware.
    pub fn log(&self, name: &str) -> PathBuf {
        self.guest_folder(name).join("worker.log")
    }

    /// How the last run of the guest `name` ended.
    pub fn last_exit(&self, name: &str) -> PathBuf {
        self.guest_folder(name).join("last-exit.json")
    }

    /// The saved state of the guest `name`, from which it goes on at its next start.
    pub fn saved_state(&self, name: &str) -> PathBuf {
        self.guest_folder(name).join("saved.state")
    }

    /// The default pool.
    pub fn disks(&self) -> PathBuf {
        self.data.join("disks")
    }

    /// Deleted guests.
    pub fn trash(&self) -> PathBuf {
        self.data.join("trash")
    }

    /// What guests have used in the last day: figures for graphs.
    pub fn histories(&self) -> PathBuf {
        self.state.join("history")
    }

    /// What has guests started at login.
    pub fn login_entry(&self) -> PathBuf {
        self.config.join("autostart/lodge-guests.desktop")
    }

    /// The sockets of isolated networks.
    pub fn networks(&self) -> PathBuf {
        self.runtime.join("networks")
    }

    /// The folder of the running guest with this UUID.
    pub fn running(&self, uuid: Uuid) -> RunningPaths {
        RunningPaths { folder: self.runtime.join(uuid.to_string()) }
    }

    /// Makes the library, the default pool and the runtime folder, each readable by nobody else.
    pub fn create(&self) -> Result<(), PathsError> {
        make_private(&self.guests(), "XDG_DATA_HOME")?;
        make_private(&self.disks(), "XDG_DATA_HOME")?;
        make_private(&self.runtime, "XDG_RUNTIME_DIR")
    }
}

/// What lies in the folder of a running guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPaths {
    /// `$XDG_RUNTIME_DIR/lodge/UUID`.
    pub folder: PathBuf,
}

impl RunningPaths {
    /// The control socket (QMP).
    pub fn control(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// The screen's socket (RFB).
    pub fn vnc(&self) -> PathBuf {
        self.folder.join("vnc.sock")
    }

    /// The serial port's socket.
    pub fn serial(&self) -> PathBuf {
        self.folder.join("serial.sock")
    }

    /// The socket of the guest's terminal `hvc0`.
    pub fn console(&self) -> PathBuf {
        self.folder.join("console.sock")
    }

    /// The socket of the guest agent's port.
    pub fn agent(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// The socket for vsock connections.
    pub fn vsock(&self) -> PathBuf {
        self.folder.join("vsock.sock")
    }

    /// What the guest runs with: its definition at its start, with what was changed in it since then.
    pub fn definition(&self) -> PathBuf {
        self.folder.join("definition.toml")
    }

    /// The worker's process id, in decimal.
    pub fn pid(&self) -> PathBuf {
        self.folder.join("worker.pid")
    }

    /// How the worker ended; empty while it runs, and for ever when it was killed.
    pub fn exit_report(&self) -> PathBuf {
        self.folder.join("exit.json")
    }

    /// The name of the guest that lives here.
    pub fn name(&self) -> PathBuf {
        self.folder.join("name")
    }
}

fn make_private(path: &Path, variable: &'static str) -> Result<(), PathsError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| PathsError::Folder {
        path: path.to_owned(),
        variable,
        source,
    })
}

fn check_private(path: &Path) -> Result<(), PathsError> {
    let refuse = |reason| Err(PathsError::NotPrivate { path: path.to_owned(), reason });
    let metadata = fs::symlink_metadata(path).map_err(|source| PathsError::Folder {
        path: path.to_owned(),
        variable: "XDG_RUNTIME_DIR",
        source,
    })?;
    if !metadata.is_dir() {
        return refuse("it is not a folder");
    }
    if metadata.uid() != rustix::process::getuid().as_raw() {
        return refuse("it belongs to another user");
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return refuse("others can open it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, os::unix::fs::symlink};

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        let pairs: HashMap<String, OsString> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        move |name| pairs.get(name).cloned()
    }

    #[test]
    fn data_home_and_runtime_dir_are_taken_from_the_environment() {
        let environment = variables(&[("XDG_DATA_HOME", "/d"), ("XDG_RUNTIME_DIR", "/r"), ("HOME", "/h")]);

        let paths = Paths::from_variables(environment, "/nowhere".into()).unwrap();

        assert_eq!(paths.definition("web"), Path::new("/d/lodge/guests/web/guest.toml"));
        assert_eq!(paths.running(Uuid::nil()).control().parent().unwrap().parent().unwrap(), Path::new("/r/lodge"));
    }

    #[test]
    fn relative_variables_are_ignored() {
        let environment = variables(&[("XDG_DATA_HOME", "data"), ("XDG_RUNTIME_DIR", "/r"), ("HOME", "/h")]);

        let paths = Paths::from_variables(environment, "/nowhere".into()).unwrap();

        assert_eq!(paths.data(), Path::new("/h/.local/share/lodge"));
    }

    #[test]
    fn without_a_home_the_error_says_what_to_set() {
        let error = Paths::from_variables(variables(&[]), "/nowhere".into()).unwrap_err();

        assert!(error.to_string().contains("XDG_DATA_HOME"), "{error}");
    }

    #[test]
    fn without_a_runtime_dir_a_private_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let fallback = folder.path().join("lodge-1000");

        let paths = Paths::from_variables(variables(&[("HOME", "/h")]), fallback.clone()).unwrap();

        assert_eq!(paths.runtime(), fallback.join("lodge"));
        assert_eq!(fs::metadata(&fallback).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_runtime_folder_that_others_can_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fallback = folder.path().join("lodge-1000");
        fs::create_dir(&fallback).unwrap();
        fs::set_permissions(&fallback, fs::Permissions::from_mode(0o755)).unwrap();

        let error = Paths::from_variables(variables(&[("HOME", "/h")]), fallback).unwrap_err();

        assert!(matches!(error, PathsError::NotPrivate { reason: "others can open it", .. }), "{error}");
    }

    #[test]
    fn a_runtime_folder_that_is_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fallback = folder.path().join("lodge-1000");
        symlink(folder.path(), &fallback).unwrap();

        let error = Paths::from_variables(variables(&[("HOME", "/h")]), fallback).unwrap_err();

        assert!(matches!(error, PathsError::NotPrivate { .. }), "{error}");
    }
}
