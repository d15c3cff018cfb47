//! The distribution's `qemu-bridge-helper`, which makes an interface in a bridge for those who may not: it looks into
//! `/etc/qemu/bridge.conf` whether root allows that, and sends the interface's descriptor through a socket.

use std::{
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};

use super::{NetworkError, Tap, tap};
use crate::manager::{host::Root, socket};

/// Where distributions put it: Debian, Ubuntu and Arch; Fedora and openSUSE; those who build QEMU.
const PLACES: &[&str] =
    &["/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper", "/usr/local/libexec/qemu-bridge-helper"];
/// The extended attribute that holds a program's capabilities.
const CAPABILITIES: &str = "security.capability";
const SET_USER_ID: u32 = 0o4000;
/// The socket's descriptor in the helper.
const SOCKET_FD: i32 = 3;
/// How many files may be included in each other.
const INCLUDES_MAX: u32 = 8;
/// How long the helper may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Clone)]
pub struct BridgeHelper {
    path: Option<PathBuf>,
    root: Root,
}

impl BridgeHelper {
    /// Says who may use which bridge.
    pub const CONFIG: &str = "/etc/qemu/bridge.conf";

    /// The one of this host, if there is one.
    pub fn find(root: &Root) -> Self {
        let path = PLACES.iter().map(|place| root.path(place)).find(|path| path.is_file());
        Self { path, root: root.clone() }
    }

    /// What keeps it from making interfaces, and how to mend that.
    pub fn check(&self) -> Result<&Path, String> {
        let Some(path) = &self.path else {
            return Err(
                "qemu-bridge-helper is not installed. Have root install the package \"qemu-system-common\"".to_owned()
            );
        };
        let is_privileged = path.metadata().is_ok_and(|file| file.mode() & SET_USER_ID != 0 && file.uid() == 0)
            || rustix::fs::getxattr(path, CAPABILITIES, &mut [0; 64]).is_ok();
        if !is_privileged {
            let path = path.display();
            return Err(format!("{path} may not make interfaces. Have root allow it: \"chmod u+s {path}\""));
        }
        Ok(path)
    }

    /// Whether root has allowed interfaces in this bridge; `None` when nobody else can read that.
    pub fn allows(&self, bridge: &str) -> Option<bool> {
        let (mut allowed, mut denied) = (false, false);
        self.read_rules(Path::new(Self::CONFIG), INCLUDES_MAX, &mut |rule, name| {
            if name == bridge || name == "all" {
                allowed |= rule == "allow";
                denied |= rule == "deny";
            }
        })?;
        Some(allowed && !denied)
    }

    fn read_rules(&self, path: &Path, depth: u32, found: &mut dyn FnMut(&str, &str)) -> Option<()> {
        let text = match self.root.read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(()),
            Err(_) => return None,
        };
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            match line.split_once(char::is_whitespace).map(|(rule, value)| (rule, value.trim())) {
                Some(("include", file)) if depth > 0 => self.read_rules(Path::new(file), depth - 1, found)?,
                Some((rule, name)) => found(rule, name),
                None => {}
            }
        }
        Some(())
    }

    /// What would keep it from making an interface in this bridge.
    pub fn look(&self, bridge: &str, queues: u32) -> Result<&Path, NetworkError> {
        let path = self.check().map_err(|problem| {
            NetworkError::new("bridge", format!("you may not make interfaces in {bridge}, and {problem}"))
        })?;
        if self.allows(bridge) == Some(false) {
            return Err(not_allowed(bridge));
        }
        if queues > 1 {
            let message = "qemu-bridge-helper makes interfaces with one queue only. Write queues = 1";
            return Err(NetworkError::new("queues", message));
        }
        Ok(path)
    }

    /// Has it make an interface in this bridge.
    pub fn open(&self, bridge: &str, queues: u32) -> Result<Tap, NetworkError> {
        let path = self.look(bridge, queues)?;
        let failed = |what: &dyn std::fmt::Display| {
            let message =
                format!("{} could not make an interface in {bridge}: {what}. Look at the bridge", path.display());
            NetworkError::new("bridge", message)
        };
        match run(path, bridge) {
            Ok(Ok(queue)) => {
                let interface = tap::name_of(&queue).map_err(|error| failed(&error))?;
                Ok(Tap { interface, queues: vec![queue] })
            }
            Ok(Err(said)) if said.contains("access denied") || said.contains("acl file") => Err(not_allowed(bridge)),
            Ok(Err(said)) => Err(failed(&said)),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn not_allowed(bridge: &str) -> NetworkError {
    let message = format!(
        "root has not allowed guests in {bridge}. Have root write \"allow {bridge}\" into {}",
        BridgeHelper::CONFIG
    );
    NetworkError::new("bridge", message)
}

/// Runs the helper; returns the interface's descriptor, or what it has said instead of sending one.
fn run(path: &Path, bridge: &str) -> io::Result<Result<OwnedFd, String>> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    let mut command = Command::new(path);
    command.args(["--use-vnet", &format!("--br={bridge}"), &format!("--fd={SOCKET_FD}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_clear();
    let mapping = FdMapping { parent_fd: theirs.into(), child_fd: SOCKET_FD };
    command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // With its end of the socket.
    drop(command);
    let received = socket::receive_descriptor(&ours);
    let mut said = String::new();
    if let Some(errors) = &mut child.stderr {
        errors.take(4096).read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    match received {
        Ok(Some(queue)) if status.success() => Ok(Ok(queue)),
        _ if said.trim().is_empty() => Ok(Err(format!("it has ended with {status}"))),
        _ => Ok(Err(said.trim().replace('\n', ", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A host with the helper and this configuration.
    fn helper(mode: u32, config: &str) -> (tempfile::TempDir, BridgeHelper) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        for (path, content) in
            [(PLACES[0], ""), (BridgeHelper::CONFIG, config), ("/etc/qemu/more.conf", "allow br9\ndeny br8\n")]
        {
            let path = root.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::set_permissions(root.path(PLACES[0]), fs::Permissions::from_mode(mode)).unwrap();
        (folder, BridgeHelper::find(&root))
    }

    #[test]
    fn what_root_allows_is_read() {
        let (_folder, helper) = helper(0o755, "# allow br7\nallow br0\nallow br8\ninclude /etc/qemu/more.conf\n");

        let allowed = ["br0", "br7", "br8", "br9"].map(|bridge| helper.allows(bridge));

        assert_eq!(allowed, [Some(true), Some(false), Some(false), Some(true)]);
        let (_folder, all) = self::helper(0o755, "allow all\ndeny br1");
        assert_eq!(["br0", "br1"].map(|bridge| all.allows(bridge)), [Some(true), Some(false)]);
    }

    #[test]
    fn what_is_missing_is_said_with_the_way_to_it() {
        let nothing = BridgeHelper::find(&Root::new("/nonexistent"));
        let (_plain_folder, plain) = helper(0o755, "allow br0");
        let (_folder, set) = helper(0o4755, "allow br0");
        let message = |result: Result<&Path, NetworkError>| result.unwrap_err().message;

        assert!(message(nothing.look("br0", 1)).contains("install the package"));
        assert!(message(plain.look("br0", 1)).contains("chmod u+s"));
        // Who is not root cannot make a helper of root's.
        if rustix::process::geteuid().is_root() {
            assert!(set.look("br0", 1).is_ok());
            assert!(message(set.look("br1", 1)).contains("write \"allow br1\" into /etc/qemu/bridge.conf"));
            assert!(message(set.look("br0", 2)).contains("queues = 1"));
        }
    }
}
