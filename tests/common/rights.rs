//! Rights that users have and do not have. For tests in a namespace ([`super::namespace`]): what is mounted ends with it.

use std::{fs, path::Path, process::Command};

use super::{home::Home, linux::succeed};

/// Runs `lodgectl` as root without any of root's rights: what it starts has none either, unless a file gives them.
pub fn without_rights(home: &Home, arguments: &[&str]) -> Result<(), String> {
    let lodgectl = home.command(arguments);
    let environment = lodgectl.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let output = Command::new("setpriv")
        .args(["--securebits=+noroot,+noroot_locked", "--inh-caps=-all", "--ambient-caps=-all"])
        .arg(lodgectl.get_program())
        .args(lodgectl.get_args())
        .env_clear()
        .envs(environment)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(()) } else { Err(error) }
}

/// Puts a helper that may make interfaces in the place of the distribution's, and this configuration, for this test alone.
pub fn install_helper(folder: &Path, config: &str) {
    const HELPER: &str = "/usr/lib/qemu/qemu-bridge-helper";
    /// Of linux/capability.h, version 2 with the effective bit: CAP_NET_ADMIN.
    const MAY_MAKE: [u8; 20] = [1, 0, 0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (helper, etc) = (folder.join("helper"), folder.join("etc"));
    if !helper.exists() {
        // Not by this process: while another thread starts a program, that has open what is being written, and it cannot be run.
        succeed(Command::new("cp").args([Path::new(HELPER), &helper]));
        rustix::fs::setxattr(&helper, "security.capability", &MAY_MAKE, rustix::fs::XattrFlags::empty()).unwrap();
        own_etc(folder);
        fs::create_dir_all(etc.join("qemu")).unwrap();
        succeed(Command::new("mount").arg("--bind").args([&helper, Path::new(HELPER)]));
    }
    fs::write(etc.join("qemu/bridge.conf"), config).unwrap();
}

/// Gives this test an /etc of its own, which is the host's at first.
pub fn own_etc(folder: &Path) {
    let etc = folder.join("etc");
    succeed(Command::new("cp").args(["-a", "/etc"]).arg(&etc));
    succeed(Command::new("mount").arg("--bind").args([&etc, Path::new("/etc")]));
}
