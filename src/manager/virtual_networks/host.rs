//! The host's programs and files that make a network: `ip`, `nft`, `dnsmasq`.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use rustix::process::{Pid, Signal};
use serde::Deserialize;

use super::{VirtualNetwork, VirtualNetworkError};
use crate::{manager::host::Root, system_error::words};

/// Where programs are looked for beside PATH: root's are not in everybody's.
const FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";
/// dnsmasq's files.
const CONFIG: &str = "dnsmasq.conf";
const PID: &str = "dnsmasq.pid";
/// The addresses that dnsmasq has given.
pub const LEASES: &str = "dnsmasq.leases";
/// How long dnsmasq may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at something that no event tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A program of the host.
#[derive(Clone, Copy)]
pub struct Program {
    name: &'static str,
    package: &'static str,
}

pub const IP: Program = Program { name: "ip", package: "iproute2" };
pub const NFT: Program = Program { name: "nft", package: "nftables" };
pub const DNSMASQ: Program = Program { name: "dnsmasq", package: "dnsmasq-base" };

impl Program {
    /// Where it is.
    pub fn find(self) -> Result<PathBuf, VirtualNetworkError> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = env::split_paths(&path).chain(env::split_paths(FOLDERS)).collect();
        let found = folders.into_iter().map(|folder| folder.join(self.name)).find(|path| path.is_file());
        found.ok_or(VirtualNetworkError::Missing { program: self.name, package: self.package })
    }

    /// Runs it with these arguments and this input; returns what it has printed.
    pub fn run(self, arguments: &[&str], input: &str) -> Result<String, VirtualNetworkError> {
        let failed = |said: String| VirtualNetworkError::Program {
            what: format!("{} {}", self.name, arguments.join(" ")).trim_end().to_owned(),
            said: said.trim().replace('\n', ", "),
        };
        let mut command = Command::new(self.find()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("LC_ALL", "C");
        let mut child = command.spawn().map_err(|error| failed(words(&error)))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that has ended says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|error| failed(words(&error)))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Runs `ip` with arguments that are separated by single spaces.
pub fn ip(arguments: &str) -> Result<String, VirtualNetworkError> {
    IP.run(&arguments.split(' ').collect::<Vec<_>>(), "")
}

/// Whether the host has the network's bridge, and it is the one that was made for it.
pub fn is_our_bridge(root: &Root, network: &VirtualNetwork) -> bool {
    let folder = format!("/sys/class/net/{}", network.bridge);
    root.exists(format!("{folder}/bridge"))
        && root.read(format!("{folder}/ifalias")).is_ok_and(|text| text == mark(network))
}

/// What a network's bridge is marked with.
pub fn mark(network: &VirtualNetwork) -> String {
    format!("Lodge's network {}", network.name)
}

/// The interfaces in a bridge.
pub fn ports(root: &Root, bridge: &str) -> Vec<String> {
    let ports = fs::read_dir(root.path(format!("/sys/class/net/{bridge}/brif"))).into_iter().flatten().flatten();
    let mut names: Vec<_> = ports.filter_map(|port| port.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The interfaces that were made for guests in a bridge of this name and are in none any more.
pub fn orphans(root: &Root, bridge: &str) -> Vec<String> {
    let wanted = crate::manager::network::mark(bridge);
    let interfaces = fs::read_dir(root.path("/sys/class/net")).into_iter().flatten().flatten();
    let names = interfaces.filter_map(|interface| interface.file_name().into_string().ok());
    let is_orphan = |name: &String| {
        let folder = format!("/sys/class/net/{name}");
        root.read(format!("{folder}/ifalias")).is_ok_and(|text| text == wanted)
            && !root.exists(format!("{folder}/master"))
    };
    names.filter(is_orphan).collect()
}

/// The subnets that the host has, each with who has it.
pub fn subnets(root: &Root) -> Result<Vec<(Ipv4Net, String)>, VirtualNetworkError> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
        #[serde(default)]
        dev: String,
    }
    if root.path("/") != Path::new("/") {
        return Ok(Vec::new());
    }
    let text = ip("-json -4 route show table main")?;
    let routes: Vec<Route> =
        serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text }).unwrap_or_default();
    let subnet = |route: Route| {
        let text = if route.dst.contains('/') { route.dst } else { format!("{}/32", route.dst) };
        Some((text.parse().ok()?, route.dev))
    };
    Ok(routes.into_iter().filter_map(subnet).collect())
}

/// The network's rules, in the place of those that it has.
pub fn rules(network: &VirtualNetwork) -> String {
    let VirtualNetwork { bridge, subnet, .. } = network;
    let table = network.table();
    format!(
        "add table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         chain postrouting {{\n\
         type nat hook postrouting priority srcnat; policy accept;\n\
         ip saddr {subnet} ip daddr {{ 224.0.0.0/24, 255.255.255.255 }} return\n\
         ip saddr {subnet} ip daddr != {subnet} masquerade\n\
         }}\n\
         chain forward {{\n\
         type filter hook forward priority filter; policy accept;\n\
         iifname \"{bridge}\" oifname \"{bridge}\" accept\n\
         iifname \"{bridge}\" ip saddr {subnet} accept\n\
         oifname \"{bridge}\" ip daddr {subnet} ct state established,related accept\n\
         iifname \"{bridge}\" reject\n\
         oifname \"{bridge}\" reject\n\
         }}\n\
         }}\n"
    )
}

/// Starts dnsmasq for the network, whose files are in `folder`.
pub fn start_server(network: &VirtualNetwork, folder: &Path) -> Result<(), VirtualNetworkError> {
    let config = folder.join(CONFIG);
    let (gateway, mask) = (network.gateway(), network.subnet.netmask());
    let hosts = network.subnet.hosts();
    let (first, last) = (u32::from(gateway) + 1, hosts.last().unwrap_or(gateway));
    let text = format!(
        "# Of the network {name}; \"lodgectl network stop {name}\" removes it.\n\
         interface={bridge}\n\
         except-interface=lo\n\
         bind-interfaces\n\
         listen-address={gateway}\n\
         pid-file={pid}\n\
         dhcp-leasefile={leases}\n\
         dhcp-range={first},{last},{mask}\n\
         dhcp-authoritative\n\
         dhcp-no-override\n\
         no-hosts\n",
        name = network.name,
        bridge = network.bridge,
        pid = folder.join(PID).display(),
        leases = folder.join(LEASES).display(),
        first = std::net::Ipv4Addr::from(first),
    );
    fs::write(&config, text).map_err(|source| VirtualNetworkError::Io { path: config.clone(), source })?;
    // It is in the background once all is there that it needs.
    DNSMASQ.run(&[&format!("--conf-file={}", config.display())], "").map(drop)
}

/// The network's dnsmasq, if it lives.
pub fn server(root: &Root, folder: &Path) -> Option<Pid> {
    let pid = fs::read_to_string(folder.join(PID)).ok()?.trim().parse::<i32>().ok()?;
    // The number may be another's by now.
    let line = fs::read(root.path(format!("/proc/{pid}/cmdline"))).ok()?;
    let config = folder.join(CONFIG);
    String::from_utf8_lossy(&line).contains(config.to_str()?).then_some(())?;
    Pid::from_raw(pid)
}

/// Ends the network's dnsmasq.
pub fn stop_server(root: &Root, folder: &Path) {
    let Some(pid) = server(root, folder) else { return };
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    // No event tells of the end of a process that is not ours.
    while server(root, folder).is_some() {
        if Instant::now() > deadline {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
