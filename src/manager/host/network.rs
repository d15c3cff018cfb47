//! What there is for the network of guests: who translates addresses, and who may use bridges.

#![forbid(unsafe_code)]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::{Finding, Root, networks};
use crate::manager::network::BridgeHelper;

/// Where programs are looked for when nothing is said about it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// A route that is up (linux/route.h).
const RTF_UP: u32 = 1;

/// Who translates addresses for guests, and why.
pub(super) fn translation(root: &Root) -> Finding {
    let (id, name) = ("address-translation", "Address translation");
    let libslirp = "libslirp translates addresses, which is slower";
    match (passt(root), has_route(root)) {
        (Some(passt), true) => Finding::fine(id, name, format!("passt ({})", passt.display())),
        (Some(_), false) => Finding::limited(
            id,
            name,
            format!("{libslirp}: passt is installed, but no interface of the host has a default route"),
            "Connect the host to a network, and start the guests again",
        ),
        (None, _) => {
            Finding::limited(id, name, format!("{libslirp}: passt is not installed"), "Install the package \"passt\"")
        }
    }
}

/// Whether guests of this person can be in bridges, and why not.
pub(super) fn bridges(root: &Root) -> Finding {
    let (id, name) = ("bridges", "Bridges for guests");
    let all = networks::bridges(root);
    if networks::may_make(root) {
        return Finding::fine(id, name, "you may make interfaces in them");
    }
    if all.is_empty() {
        return Finding::fine(id, name, "the host has none");
    }
    let helper = BridgeHelper::find(root);
    if let Err(problem) = helper.check() {
        let (what, mend) = problem.split_once(". ").unwrap_or((&problem, ""));
        return Finding::limited(id, name, format!("only root may use {}: {what}", all.join(", ")), mend);
    }
    let (open, closed): (Vec<_>, Vec<_>) = all.into_iter().partition(|bridge| helper.allows(bridge) != Some(false));
    match closed.first() {
        Some(bridge) if open.is_empty() => Finding::limited(
            id,
            name,
            format!("root has allowed none of {}", closed.join(", ")),
            format!("Have root write \"allow {bridge}\" into {}", BridgeHelper::CONFIG),
        ),
        _ => Finding::fine(id, name, format!("qemu-bridge-helper makes interfaces in {}", open.join(", "))),
    }
}

/// The program, where it is looked for when a guest starts.
fn passt(root: &Root) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| PATH.into());
    env::split_paths(&path).map(|folder| root.path(folder.join("passt"))).find(|path| path.is_file())
}

/// Whether an interface leads to everywhere, by IPv4 or IPv6 (proc_net(5)).
fn has_route(root: &Root) -> bool {
    let read = |file: &str| fs::read_to_string(root.path(Path::new("/proc/net").join(file))).unwrap_or_default();
    let flags = |text: &str| u32::from_str_radix(text, 16).unwrap_or_default();
    let leads_everywhere = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            // interface, destination, gateway, flags, …
            [interface, "00000000", _, up, _, _, _, "00000000", ..] => interface != "lo" && flags(up) & RTF_UP != 0,
            // destination, length, source, length, next hop, metric, references, use, flags, interface
            ["00000000000000000000000000000000", "00", _, _, _, _, _, _, up, interface] => {
                interface != "lo" && flags(up) & RTF_UP != 0
            }
            _ => false,
        }
    };
    ["route", "ipv6_route"].into_iter().any(|file| read(file).lines().any(leads_everywhere))
}
