//! The host's networks that a guest of this person can be connected to: only what works when it is chosen.

#![forbid(unsafe_code)]

use std::fs;

use super::Root;
use crate::manager::{definition::NetworkDefinition, network::BridgeHelper};

const INTERFACES: &str = "/sys/class/net";
const TUN: &str = "/dev/net/tun";
/// The bit of CAP_NET_ADMIN (linux/capability.h).
const NET_ADMIN: u32 = 12;
/// The flags of linux/if.h and linux/if_tun.h.
const IFF_UP: u32 = 0x1;
const IFF_TAP: u32 = 0x2;
const IFF_MULTI_QUEUE: u32 = 0x100;
const IFF_PERSIST: u32 = 0x800;

/// The host's networks, each as the card that is connected to it: address translation, which everybody has; bridges for those
/// who may make interfaces, or have them made; and the TAP interfaces that this person may open and nobody else has.
pub fn usable(root: &Root) -> Vec<NetworkDefinition> {
    let mut networks = vec![NetworkDefinition::nat()];
    networks.extend(interfaces(root));
    networks
}

/// Those of them that are the host's interfaces.
fn interfaces(root: &Root) -> Vec<NetworkDefinition> {
    if !root.exists(TUN) {
        return Vec::new();
    }
    let (may_make, helper) = (may_make(root), BridgeHelper::find(root));
    let may_use = |bridge: &String| may_make || helper.look(bridge, 1).is_ok();
    let bridges = bridges(root).into_iter().filter(may_use).map(NetworkDefinition::bridge);
    let taps = names(root).into_iter().filter(|name| is_usable_tap(root, name, may_make)).map(NetworkDefinition::tap);
    bridges.chain(taps).collect()
}

/// All bridges of the host, in the order of their names.
pub fn bridges(root: &Root) -> Vec<String> {
    names(root).into_iter().filter(|name| root.exists(format!("{INTERFACES}/{name}/bridge"))).collect()
}

fn names(root: &Root) -> Vec<String> {
    let entries = fs::read_dir(root.path(INTERFACES)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Whether this process may make interfaces.
pub fn may_make(root: &Root) -> bool {
    let status = root.read("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).is_some_and(|bits| bits >> NET_ADMIN & 1 == 1)
}

fn is_usable_tap(root: &Root, name: &str, may_change: bool) -> bool {
    let read = |file: &str| root.read(format!("{INTERFACES}/{name}/{file}")).ok();
    let flags = |file| read(file).and_then(|text| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()).unwrap_or(0);
    // One that is not persistent is another guest's, and goes with it.
    let tun_flags = flags("tun_flags");
    if tun_flags & IFF_TAP == 0 || tun_flags & IFF_PERSIST == 0 {
        return false;
    }
    let taken = tun_flags & IFF_MULTI_QUEUE == 0 && read("carrier").as_deref() == Some("1");
    let is_up = flags("flags") & IFF_UP != 0;
    // -1 stands for everybody.
    let number = |file| read(file).and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
    let (owner, group) = (number("owner"), number("group"));
    let mine = owner == -1 || owner == i64::from(rustix::process::geteuid().as_raw());
    let in_group = |wanted: i64| {
        let own = rustix::process::getegid().as_raw();
        let groups = rustix::process::getgroups().unwrap_or_default();
        groups.iter().map(|group| group.as_raw()).chain([own]).any(|group| i64::from(group) == wanted)
    };
    !taken && (may_change || is_up && mine && (group == -1 || in_group(group)))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    /// A host with `files`, each a path and its content.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let root = Root::new(folder.path());
        (folder, root)
    }

    fn usable_names(files: &[(&str, &str)]) -> Vec<String> {
        let (_folder, root) = host(files);
        usable(&root).into_iter().filter_map(|card| card.bridge.or(card.tap)).collect()
    }

    const ADMIN: [(&str, &str); 3] = [
        ("dev/net/tun", ""),
        ("proc/self/status", "Name:\tlodge\nCapEff:\t0000000000001000\n"),
        ("sys/class/net/br0/bridge/forward_delay", "0"),
    ];

    #[test]
    fn bridges_are_for_those_who_may_make_interfaces_or_have_them_made() {
        let nobody = [ADMIN[0], ("proc/self/status", "CapEff:\t0000000000000fff\n"), ADMIN[2]];

        assert_eq!(usable_names(&ADMIN), ["br0"]);
        assert_eq!(usable_names(&nobody), [""; 0]);
        if rustix::process::geteuid().is_root() {
            for (config, found) in [("allow br0", 1), ("allow br1", 0)] {
                let (helper, config) = (("usr/lib/qemu/qemu-bridge-helper", ""), ("etc/qemu/bridge.conf", config));
                let (_folder, root) = host(&[nobody[0], nobody[1], nobody[2], helper, config]);
                fs::set_permissions(root.path(helper.0), Permissions::from_mode(0o4755)).unwrap();
                assert_eq!(interfaces(&root), vec![NetworkDefinition::bridge("br0"); found], "{config:?}");
            }
        }
        assert_eq!(usable_names(&ADMIN[1..]), [""; 0], "without /dev/net/tun");
    }

    #[test]
    fn of_taps_only_those_are_usable_that_are_free_up_and_ones_own() {
        let own = rustix::process::geteuid().as_raw().to_string();
        let tap = |changed: (&'static str, &'static str)| {
            let mut files = vec![
                ("dev/net/tun", ""),
                ("sys/class/net/eth0/flags", "0x1003"),
                ("sys/class/net/tap0/tun_flags", "0x1802\n"),
                ("sys/class/net/tap0/flags", "0x1003\n"),
                ("sys/class/net/tap0/owner", own.as_str()),
                ("sys/class/net/tap0/group", "-1\n"),
                ("sys/class/net/tap0/carrier", "0\n"),
            ];
            files.push(changed);
            usable_names(&files).len()
        };

        assert_eq!(tap(("sys/class/net/lo/flags", "0x9")), 1);
        assert_eq!(tap(("sys/class/net/tap0/owner", "12345")), 0);
        assert_eq!(tap(("sys/class/net/tap0/group", "54321")), 0);
        assert_eq!(tap(("sys/class/net/tap0/flags", "0x1002")), 0, "it is down");
        assert_eq!(tap(("sys/class/net/tap0/carrier", "1")), 0, "somebody has it");
        assert_eq!(tap(("sys/class/net/tap0/tun_flags", "0x1002")), 0, "it goes with its owner");
        assert_eq!(tap(("sys/class/net/tap0/tun_flags", "0x1801")), 0, "it is a TUN");
    }
}
