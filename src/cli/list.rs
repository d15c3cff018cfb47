//! `lodgectl list` and `lodgectl info`.

use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Result, context::Context};
use crate::manager::{
    definition::Definition,
    library::Entry,
    size::Size,
    supervisor::{ExitReport, GuestState},
};

#[derive(Debug, Args)]
pub(super) struct List {
    /// List those that do not run, too
    #[arg(long)]
    all: bool,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Info {
    /// The guest
    name: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

/// A guest as listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    uuid: Option<Uuid>,
    /// Also `broken`: its definition cannot be read.
    state: &'static str,
    /// For people.
    #[serde(skip)]
    word: &'static str,
    /// Why it is in this state, where that is not as it should be.
    reason: Option<String>,
    /// In bytes.
    memory: Option<u64>,
    vcpus: Option<u32>,
}

impl Row {
    fn new(entry: Entry, state: Option<GuestState>) -> Self {
        match entry.definition {
            Ok(stored) => {
                let state = state.unwrap_or_default();
                Self {
                    name: entry.name,
                    uuid: Some(stored.definition.uuid),
                    state: state.id(),
                    word: state.word(),
                    reason: state.reason().map(str::to_owned),
                    memory: Some(stored.definition.memory.bytes()),
                    vcpus: Some(stored.definition.vcpus),
                }
            }
            Err(error) => Self {
                name: entry.name,
                uuid: None,
                state: "broken",
                word: "broken",
                reason: Some(error.to_string()),
                memory: None,
                vcpus: None,
            },
        }
    }

    fn cells(&self) -> [String; 5] {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        [
            self.name.clone(),
            self.word.to_owned(),
            text(self.memory.map(|memory| Size(memory).to_string())),
            text(self.vcpus.map(|vcpus| vcpus.to_string())),
            text(self.uuid.map(|uuid| uuid.to_string())),
        ]
    }
}

impl List {
    pub async fn run(self, context: &Context) -> Result {
        let entries = context.library().list()?;
        // All at once, so that workers that hang cost the time of one.
        let mut asked = JoinSet::new();
        for (index, entry) in entries.iter().enumerate() {
            if entry.definition.is_ok() {
                let (supervisor, name) = (context.supervisor.clone(), entry.name.clone());
                asked.spawn(async move { (index, supervisor.state(&name).await.ok()) });
            }
        }
        let mut states: Vec<Option<GuestState>> = vec![None; entries.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, state)) = answer
                && let Some(slot) = states.get_mut(index)
            {
                *slot = state;
            }
        }
        let listed = entries.into_iter().zip(states);
        let rows: Vec<_> = listed
            .filter(|(_, state)| self.all || state.as_ref().is_some_and(GuestState::is_active))
            .map(|(entry, state)| Row::new(entry, state))
            .collect();
        if self.json {
            return context.output.json(&rows);
        }
        let cells: Vec<_> = rows.iter().map(Row::cells).collect();
        context.output.table(["NAME", "STATE", "MEMORY", "VCPUS", "UUID"], &cells)?;
        for row in &rows {
            if let Some(reason) = &row.reason {
                context.output.line(format!("\n{}: {reason}", row.name))?;
            }
        }
        Ok(())
    }
}

/// A guest with all that is known of it.
#[derive(Debug, Serialize)]
struct Details<'a> {
    name: &'a str,
    #[serde(flatten)]
    definition: &'a Definition,
    /// In bytes; in the definition's text it has a unit.
    memory: u64,
    state: &'static str,
    /// For people.
    #[serde(skip)]
    word: &'static str,
    reason: Option<&'a str>,
    pid: Option<u32>,
    sockets: Option<Sockets>,
    last_exit: Option<&'a ExitReport>,
}

/// Where a running guest is reached.
#[derive(Debug, Serialize)]
struct Sockets {
    control: String,
    vnc: String,
    serial: String,
}

impl Info {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let definition = context.library().load(&name)?.definition;
        let state = context.supervisor.state(&name).await?;
        let last_exit = context.supervisor.last_exit(&name).await;
        let active = state.is_active();
        let running = context.paths().running(definition.uuid);
        let socket = |path: std::path::PathBuf| path.display().to_string();
        let details = Details {
            name: &name,
            definition: &definition,
            memory: definition.memory.bytes(),
            state: state.id(),
            word: state.word(),
            reason: state.reason(),
            pid: context.supervisor.pid(definition.uuid).filter(|_| active),
            sockets: active.then(|| Sockets {
                control: socket(running.control()),
                vnc: socket(running.vnc()),
                serial: socket(running.serial()),
            }),
            last_exit: last_exit.as_ref(),
        };
        if self.json {
            return context.output.json(&details);
        }
        context.output.pairs(&pairs(&details))
    }
}

fn pairs(details: &Details) -> Vec<(&'static str, String)> {
    let definition = details.definition;
    let mut pairs = vec![
        ("Name", details.name.to_owned()),
        ("UUID", definition.uuid.to_string()),
        ("State", details.word.to_owned()),
        ("Memory", definition.memory.to_string()),
        ("vCPUs", definition.vcpus.to_string()),
    ];
    if let Some(reason) = details.reason {
        pairs.insert(3, ("Reason", reason.to_owned()));
    }
    if !definition.description.is_empty() {
        pairs.push(("Description", definition.description.replace('\n', " ")));
    }
    for disk in &definition.disks {
        let access = if disk.is_read_only() { ", read-only" } else { "" };
        let value = format!("{} ({}, {}{access})", disk.path.display(), disk.id, disk.format.name());
        pairs.push((if disk.cdrom { "CD-ROM" } else { "Disk" }, value));
    }
    if let Some(pid) = details.pid {
        pairs.push(("Process", pid.to_string()));
    }
    if let Some(sockets) = &details.sockets {
        pairs.push(("Control (QMP)", sockets.control.clone()));
        pairs.push(("Screen (VNC)", sockets.vnc.clone()));
        pairs.push(("Serial port", sockets.serial.clone()));
    }
    if let Some(exit) = details.last_exit {
        pairs.push(("Last run", exit.message.clone()));
    }
    pairs
}
