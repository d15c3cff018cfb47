//! `lodgectl info`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use tokio::time;

use super::{Result, context::Context, stats};
use crate::{
    manager::{
        definition::{Definition, DevicesDefinition, DiskBus, NetworkDefinition, NetworkKind, NetworkModel},
        editing,
        paths::RunningPaths,
        size::Size,
        supervisor::ExitReport,
    },
    qmp::types::{ConnectionInfo, NetworkStatistics, Statistics},
};

/// How long a running guest may take to tell its figures.
const FIGURES_WITHIN: Duration = Duration::from_secs(2);

/// What is said of hardware that a running guest does not have yet.
const NOT_YET: &str = ", from its next start";

#[derive(Debug, Args)]
pub(super) struct Info {
    /// The guest
    name: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

/// A guest with all that is known of it.
#[derive(Debug, Serialize)]
struct Details<'a> {
    name: &'a str,
    #[serde(flatten)]
    definition: &'a Definition,
    #[serde(skip)]
    runs: Option<&'a Definition>,
    /// In bytes; in the definition's text it has a unit. Of a guest that runs this and `vcpus` are what it runs with.
    memory: u64,
    vcpus: u32,
    /// What it has from its next start, where what is stored is not what it runs with.
    next_start: Option<NextStart>,
    state: &'static str,
    /// For people.
    #[serde(skip)]
    word: &'static str,
    reason: Option<&'a str>,
    pid: Option<u32>,
    sockets: Option<Sockets>,
    /// What it uses.
    statistics: Option<&'a Statistics>,
    /// Who translates addresses for its network cards.
    connections: &'a [ConnectionInfo],
    last_exit: Option<&'a ExitReport>,
}

/// What a running guest has from its next start.
#[derive(Debug, Serialize)]
struct NextStart {
    /// In bytes.
    memory: u64,
    vcpus: u32,
}

/// Where a running guest is reached.
#[derive(Debug, Serialize)]
struct Sockets {
    control: String,
    vnc: String,
    serial: String,
    /// The terminal hvc0.
    console: Option<String>,
    /// The guest agent's port.
    agent: Option<String>,
    /// For programs that connect to the guest by vsock.
    vsock: Option<String>,
}

impl Sockets {
    fn new(running: &RunningPaths, devices: &DevicesDefinition) -> Self {
        let path = |path: PathBuf| path.display().to_string();
        Self {
            control: path(running.control()),
            vnc: path(running.vnc()),
            serial: path(running.serial()),
            console: devices.console.then(|| path(running.console())),
            agent: devices.agent.then(|| path(running.agent())),
            vsock: devices.vsock.map(|_| path(running.vsock())),
        }
    }
}

impl Info {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let definition = context.library().load(&name)?.definition;
        let state = context.supervisor.state(&name).await?;
        let last_exit = context.supervisor.last_exit(&name).await;
        let active = state.is_active();
        let running = context.paths().running(definition.uuid);
        let (mut statistics, mut connections) = if active { figures(context, &name).await } else { Default::default() };
        let runs = if active { context.library().running(&definition)? } else { None };
        let hardware = runs.as_ref().unwrap_or(&definition);
        // By the names that the definition has for them.
        let figures = statistics.iter_mut().flat_map(|statistics| &mut statistics.networks).map(|card| &mut card.id);
        for id in figures.chain(connections.iter_mut().map(|card| &mut card.id)) {
            *id = definition.name_of_card(hardware, id);
        }
        let next_start = NextStart { memory: definition.memory.bytes(), vcpus: definition.vcpus };
        let details = Details {
            name: &name,
            definition: &definition,
            memory: hardware.memory.bytes(),
            vcpus: hardware.vcpus,
            next_start: Some(next_start).filter(|_| editing::waits(hardware, &definition)),
            runs: runs.as_ref(),
            state: state.id(),
            word: state.word(),
            reason: state.reason(),
            pid: context.supervisor.pid(definition.uuid).filter(|_| active),
            sockets: active.then(|| Sockets::new(&running, &hardware.devices)),
            statistics: statistics.as_ref(),
            connections: &connections,
            last_exit: last_exit.as_ref(),
        };
        if self.json {
            return context.output.json(&details);
        }
        context.output.pairs(&pairs(&details))
    }
}

/// What the guest uses, and what its cards are connected to. One that hangs or is just ending tells nothing.
async fn figures(context: &Context, name: &str) -> (Option<Statistics>, Vec<ConnectionInfo>) {
    let Ok(Ok(client)) = time::timeout(FIGURES_WITHIN, context.supervisor.attach(name)).await else {
        return Default::default();
    };
    let statistics = client.statistics_within(FIGURES_WITHIN).await.ok();
    let connections = time::timeout(FIGURES_WITHIN, client.connections()).await;
    (statistics, connections.ok().and_then(|told| told.ok()).unwrap_or_default())
}

/// What of the definition waits for the next start of a guest that runs with `runs`.
fn next_start(runs: &Definition, definition: &Definition) -> Option<String> {
    let mut rest = runs.clone();
    (rest.memory, rest.vcpus) = (definition.memory, definition.vcpus);
    let parts = [
        (runs.memory != definition.memory).then(|| format!("memory {}", definition.memory)),
        (runs.vcpus != definition.vcpus).then(|| format!("vCPUs {}", definition.vcpus)),
        editing::waits(&rest, definition).then(|| "other changes".to_owned()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    Some(parts.join(", ")).filter(|text| !text.is_empty())
}

fn pairs(details: &Details) -> Vec<(&'static str, String)> {
    let definition = details.definition;
    let mut pairs = vec![
        ("Name", details.name.to_owned()),
        ("UUID", definition.uuid.to_string()),
        ("State", details.word.to_owned()),
        ("Memory", Size(details.memory).to_string()),
        ("vCPUs", details.vcpus.to_string()),
    ];
    if let Some(reason) = details.reason {
        pairs.insert(3, ("Reason", reason.to_owned()));
    }
    if let Some(text) = details.runs.and_then(|runs| next_start(runs, definition)) {
        pairs.push(("At next start", text));
    }
    if !definition.tags.is_empty() {
        pairs.push(("Tags", definition.tags.join(", ")));
    }
    if definition.autostart {
        pairs.push(("Autostart", "when you log in".to_owned()));
    }
    if !definition.description.is_empty() {
        pairs.push(("Description", definition.description.replace('\n', " ")));
    }
    for disk in &definition.disks {
        let access = if disk.is_read_only() { ", read-only" } else { "" };
        let bus =
            if disk.bus == DiskBus::default() || disk.cdrom { String::new() } else { format!(", {}", disk.bus.name()) };
        let path = disk.path.display();
        let waits = details.runs.is_some_and(|runs| !runs.disks.iter().any(|other| other.is_same(disk)));
        let when = if waits { NOT_YET } else { "" };
        let value = match disk.has_medium() {
            true => format!("{path} ({}, {}{bus}{access}{when})", disk.id, disk.format.name()),
            false => format!("empty ({}{when})", disk.id),
        };
        pairs.push((if disk.cdrom { "CD-ROM" } else { "Disk" }, value));
    }
    if let Some(kernel) = &definition.kernel {
        pairs.push(("Kernel", kernel.path.display().to_string()));
    }
    let figures = details.statistics.map(|statistics| statistics.networks.as_slice()).unwrap_or_default();
    for (index, network) in definition.networks.iter().enumerate() {
        let waits = details.runs.is_some_and(|runs| runs.place_of_card(network).is_none());
        let when = if waits { NOT_YET } else { "" };
        pairs.push(("Network", card(index, network, when, figures, details.connections)));
    }
    for network in details.runs.iter().flat_map(|runs| &runs.networks) {
        if definition.place_of_card(network).is_none() {
            let mac = network.mac.as_deref().unwrap_or("-");
            pairs.push(("Network", format!("{mac} ({}, removed from its next start)", network.source())));
        }
    }
    if let Some(statistics) = details.statistics {
        let memory = &statistics.memory;
        if let Some(left) = memory.balloon.filter(|&left| left != memory.total) {
            pairs.push(("Balloon", format!("leaves {} to the guest", Size(left))));
        }
        if let Some(guest) = &memory.guest {
            pairs.push(("Used inside", stats::used(guest)));
        }
    }
    if let Some(pid) = details.pid {
        pairs.push(("Process", pid.to_string()));
    }
    if let Some(sockets) = &details.sockets {
        pairs.push(("Control (QMP)", sockets.control.clone()));
        pairs.push(("Screen (VNC)", sockets.vnc.clone()));
        pairs.push(("Serial port", sockets.serial.clone()));
        let more = [("Terminal hvc0", &sockets.console), ("Guest agent", &sockets.agent), ("vsock", &sockets.vsock)];
        pairs.extend(more.into_iter().filter_map(|(name, path)| Some((name, path.clone()?))));
    }
    if let Some(exit) = details.last_exit {
        pairs.push(("Last run", exit.message.clone()));
    }
    pairs
}

/// An isolated network, and what is known of it while the guest runs.
fn isolated(network: &NetworkDefinition, info: Option<&ConnectionInfo>) -> String {
    let mut text = format!("isolated network {}", network.network.as_deref().unwrap_or_default());
    if let Some(info) = info.and_then(|info| info.isolated.as_ref()) {
        text += &match info.cards {
            1 => " with no other card".to_owned(),
            2 => " with 1 other card".to_owned(),
            cards => format!(" with {} other cards", cards.saturating_sub(1)),
        };
        if let Some(address) = &info.address {
            text += &format!(", {address}");
        }
    }
    text
}

/// Network card number `index`: what it is connected to, and what went over it if it is among `figures`.
fn card(
    index: usize,
    network: &NetworkDefinition,
    when: &str,
    figures: &[NetworkStatistics],
    connections: &[ConnectionInfo],
) -> String {
    let id = format!("net{index}");
    let info = connections.iter().find(|info| info.id == id);
    let place = match (network.kind, &network.bridge, &network.tap) {
        (NetworkKind::Bridge, Some(bridge), _) => format!("bridge {bridge}"),
        (NetworkKind::Tap, _, Some(tap)) => format!("TAP {tap}"),
        (NetworkKind::Network, ..) => format!("network {}", network.network.as_deref().unwrap_or_default()),
        (NetworkKind::Isolated, ..) => isolated(network, info),
        (NetworkKind::Nat, ..) => info
            .map_or_else(|| "NAT".to_owned(), |info| format!("NAT by {}", info.backend.replace("slirp", "libslirp"))),
        _ => "not connected".to_owned(),
    };
    // It was switched for this run only.
    let elsewhere = info.map(|info| &info.source).filter(|source| **source != network.source());
    let place = elsewhere.map_or(place, |source| format!("{source} until it is off"));
    let mac = network.mac.as_deref().unwrap_or("-");
    let model = match network.model {
        NetworkModel::Virtio => "",
        NetworkModel::E1000 => "e1000, ",
    };
    let mut text = format!("{id} ({model}{mac}, {place}{when}");
    if let Some(problem) = info.and_then(|info| info.problem.as_ref()) {
        text += &format!(", {problem}");
    }
    // Those of a guest that is off are what it will have.
    let planned = network.forwards.iter().filter(|_| info.is_none());
    let planned = planned.map(|forward| (forward.protocol.name(), forward.host(), forward.guest_port));
    let forwards = info.into_iter().flat_map(|info| &info.forwards).filter_map(|forward| {
        let address = forward.address.parse().ok()?;
        Some((forward.protocol.as_str(), SocketAddr::new(address, forward.port), forward.guest_port))
    });
    for (protocol, host, guest_port) in forwards.chain(planned) {
        text += &format!(", {protocol} {host} leads to {guest_port}");
    }
    if let Some(figures) = figures.iter().find(|figures| figures.id == id) {
        let link = if figures.link { "up" } else { "down" };
        let size = |bytes: u64| Size(bytes).approximate();
        text += &format!(", link {link}, received {}, sent {}", size(figures.received_bytes), size(figures.sent_bytes));
    }
    text + ")"
}
