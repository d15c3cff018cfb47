//! Networks that guests can be on, and those of the host that root makes.

use clap::Args;
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::{
    cli::{CliError, Result, context::Context},
    manager::{
        definition::NetworkKind,
        host::Root,
        networks::{self, NetworkChoice},
        virtual_networks::{Change, Lease, NetworkState, VirtualNetwork, VirtualNetworks},
    },
};

/// What is said when nothing on the host starts networks.
const NOT_ENABLED: &str = "lodge-networks.service is not enabled. As root: \"lodgectl generate networks-service \
                           >/etc/systemd/system/lodge-networks.service\", then \"systemctl enable lodge-networks\"";

#[derive(Debug, Args)]
pub struct List {
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Info {
    /// The network
    network: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Create {
    /// The network's name, as you like
    network: String,
    /// The addresses of its guests, like 192.168.130.0/24; the first one is the host's. Else the first that is free from
    /// 192.168.122.0/24 on
    #[arg(long)]
    subnet: Option<Ipv4Net>,
    /// The name of its bridge, else lodgebr0 or the next one that is free
    #[arg(long)]
    bridge: Option<String>,
    /// Start it as well
    #[arg(long)]
    start: bool,
}

#[derive(Debug, Args)]
pub struct Names {
    /// The networks
    #[arg(required = true)]
    networks: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Start {
    /// The networks
    #[arg(required_unless_present = "autostart")]
    networks: Vec<String>,
    /// Those that the host starts together with itself
    #[arg(long, conflicts_with = "networks")]
    autostart: bool,
}

#[derive(Debug, Args)]
pub struct Autostart {
    #[command(flatten)]
    names: Names,
    /// No longer
    #[arg(long, visible_alias = "disable")]
    off: bool,
}

#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    names: Names,
    /// Even while guests are on them: they go on, and are on them again when they are started
    #[arg(long)]
    force: bool,
}

/// A network in a list.
#[derive(Debug, Serialize)]
struct Row {
    kind: NetworkKind,
    name: Option<String>,
    /// `running`, `stopped`, `damaged`; nothing for those that are always there.
    state: Option<&'static str>,
    problem: Option<String>,
    guests: Vec<String>,
}

/// A network of the host.
#[derive(Debug, Serialize)]
struct Details {
    name: String,
    bridge: String,
    subnet: Ipv4Net,
    autostart: bool,
    #[serde(flatten)]
    state: State,
    leases: Vec<Lease>,
}

#[derive(Debug, Serialize)]
struct State {
    state: &'static str,
    missing: Vec<String>,
}

impl From<NetworkState> for State {
    fn from(state: NetworkState) -> Self {
        let word = word(&state);
        let missing = match state {
            NetworkState::Damaged { missing } => missing,
            _ => Vec::new(),
        };
        Self { state: word, missing }
    }
}

fn word(state: &NetworkState) -> &'static str {
    match state {
        NetworkState::Stopped => "stopped",
        NetworkState::Running => "running",
        NetworkState::Damaged { .. } => "damaged",
    }
}

impl List {
    pub fn run(self, context: &Context) -> Result {
        let choices = networks::choices(context.library(), &Root::default())?;
        let rows: Vec<_> = choices.into_iter().map(row).collect();
        if self.json {
            return context.output.json(&rows);
        }
        let cells = |row: &Row| {
            let state = match (row.state, &row.problem) {
                (Some(state), _) => state.to_owned(),
                (None, Some(problem)) => problem.clone(),
                (None, None) => "ready".to_owned(),
            };
            let source = row.name.clone().unwrap_or_default();
            [kind(row.kind).to_owned(), source, state, row.guests.join(", ")]
        };
        context.output.table(["KIND", "NAME", "STATE", "GUESTS"], &rows.iter().map(cells).collect::<Vec<_>>())
    }
}

fn row(choice: NetworkChoice) -> Row {
    let NetworkChoice { card, problem, guests } = choice;
    let networks = VirtualNetworks::default();
    let network = card.network.as_deref().filter(|_| card.kind == NetworkKind::Network);
    let state = network.and_then(|name| networks.load(name).ok()).map(|network| word(&networks.state(&network)));
    Row { kind: card.kind, name: card.network.or(card.bridge).or(card.tap), state, problem, guests }
}

fn kind(kind: NetworkKind) -> &'static str {
    match kind {
        NetworkKind::Nat => "nat",
        NetworkKind::Isolated => "isolated",
        NetworkKind::Network => "network",
        NetworkKind::Bridge => "bridge",
        NetworkKind::Tap => "tap",
        NetworkKind::None => "none",
    }
}

impl Info {
    pub fn run(self, context: &Context) -> Result {
        let networks = VirtualNetworks::default();
        let network = networks.load(&self.network)?;
        let (state, leases) = (networks.state(&network).into(), networks.leases(&network));
        let VirtualNetwork { name, bridge, subnet, autostart } = network;
        let details = Details { name, bridge, subnet, autostart, state, leases };
        if self.json {
            return context.output.json(&details);
        }
        let Details { name, bridge, subnet, autostart, state, leases } = details;
        let state = match &state.missing[..] {
            [] => state.state.to_owned(),
            missing => format!("{}: {} is missing", state.state, missing.join(" and ")),
        };
        let mut pairs = vec![("Name", name), ("State", state), ("Bridge", bridge), ("Addresses", subnet.to_string())];
        if autostart {
            pairs.push(("Started", "with the host".to_owned()));
        }
        for Lease { mac, address, hostname } in leases {
            pairs.push((
                "Guest",
                format!("{address} ({mac}{})", hostname.map(|name| format!(", {name}")).unwrap_or_default()),
            ));
        }
        context.output.pairs(&pairs)
    }
}

impl Create {
    pub fn run(self, context: &Context) -> Result {
        let networks = VirtualNetworks::default();
        let VirtualNetwork { name, bridge, subnet, .. } =
            networks.create(&self.network, self.subnet, self.bridge.as_deref())?;
        context.output.line(format!("Wrote \"{name}\" down ({subnet}, bridge {bridge})"))?;
        let hint = format!("users get into it once \"allow {bridge}\" is in /etc/qemu/bridge.conf");
        context.output.line(hint)?;
        if self.start { start(context, &networks, &name) } else { Ok(()) }
    }
}

impl Start {
    pub fn run(self, context: &Context) -> Result {
        let networks = VirtualNetworks::default();
        let names = match self.autostart {
            true => networks.list().into_iter().filter(|it| it.autostart).map(|it| it.name).collect(),
            false => self.networks,
        };
        // One that cannot be started keeps none of the others from it.
        let errors = names.iter().filter_map(|name| start(context, &networks, name).err()).collect::<Vec<_>>();
        let failed = errors.len();
        errors.into_iter().for_each(|error| crate::cli::error::say("error", error));
        if failed == 0 { Ok(()) } else { Err(CliError::Told) }
    }
}

fn start(context: &Context, networks: &VirtualNetworks, name: &str) -> Result {
    context.output.line(match networks.start(name)? {
        Change::Done => format!("Started \"{name}\""),
        Change::Nothing => format!("\"{name}\" is started already"),
    })
}

impl Autostart {
    pub fn run(self, context: &Context) -> Result {
        let networks = VirtualNetworks::default();
        for name in &self.names.networks {
            let is_enabled = networks.set_autostart(name, !self.off)?;
            context.output.line(match self.off {
                true => format!("\"{name}\" is no longer started with the host"),
                false => format!("\"{name}\" is started with the host"),
            })?;
            if !is_enabled && !self.off {
                crate::cli::error::say("warning", NOT_ENABLED);
            }
        }
        Ok(())
    }
}

impl Names {
    pub fn delete(self, context: &Context) -> Result {
        let networks = VirtualNetworks::default();
        for name in self.networks {
            networks.delete(&name)?;
            context.output.line(format!("Deleted \"{name}\""))?;
        }
        Ok(())
    }
}

impl Stop {
    pub fn run(self, context: &Context) -> Result {
        let networks = VirtualNetworks::default();
        for name in self.names.networks {
            context.output.line(match networks.stop(&name, self.force)? {
                Change::Done => format!("Stopped \"{name}\""),
                Change::Nothing => format!("\"{name}\" is not started"),
            })?;
        }
        Ok(())
    }
}
