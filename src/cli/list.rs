//! `lodgectl list`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::{task::JoinSet, time};
use uuid::Uuid;

use super::{Result, context::Context};
use crate::manager::{
    definition::Definition,
    library::Entry,
    size::Size,
    supervisor::{GuestState, Supervisor},
};

/// How long a running guest may take to tell how its network is.
const NETWORK_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct List {
    /// List those that do not run, too
    #[arg(long)]
    all: bool,
    /// List only those with this tag; several: with all of them
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
    /// List only those that are started when you log in, running or not
    #[arg(long)]
    autostart: bool,
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
    /// What keeps its network cards from working, each with the card's name before it.
    #[serde(rename = "network-problems", skip_serializing_if = "Vec::is_empty")]
    network_problems: Vec<String>,
    /// In bytes.
    memory: Option<u64>,
    vcpus: Option<u32>,
    tags: Vec<String>,
    autostart: bool,
}

/// What is seen of a guest at this moment.
#[derive(Debug, Clone, Default)]
struct Seen {
    state: GuestState,
    /// What it runs with.
    running: Option<Definition>,
    network_problems: Vec<String>,
}

impl Seen {
    async fn look(supervisor: &Supervisor, name: &str, stored: &Definition) -> Option<Self> {
        let state = supervisor.state(name).await.ok()?;
        let problems = async { supervisor.attach(name).await.ok()?.network_problems().await.ok() };
        let network_problems = match state.is_active() {
            true => time::timeout(NETWORK_WITHIN, problems).await.ok().flatten().unwrap_or_default(),
            false => Vec::new(),
        };
        let running = supervisor.library().running(stored).ok().flatten();
        let has = running.as_ref().unwrap_or(stored);
        let network_problems: Vec<_> =
            network_problems.iter().map(|problem| stored.name_problem(has, problem)).collect();
        Some(Self { state, running, network_problems })
    }
}

impl Row {
    fn new(entry: Entry, seen: Option<Seen>) -> Self {
        match entry.definition {
            Ok(stored) => {
                let Seen { state, running, network_problems } = seen.unwrap_or_default();
                let hardware = running.as_ref().unwrap_or(&stored.definition);
                Self {
                    name: entry.name,
                    uuid: Some(stored.definition.uuid),
                    state: state.id(),
                    word: state.word(),
                    reason: state.reason().map(str::to_owned),
                    network_problems,
                    memory: Some(hardware.memory.bytes()),
                    vcpus: Some(hardware.vcpus),
                    tags: stored.definition.tags,
                    autostart: stored.definition.autostart,
                }
            }
            Err(error) => Self {
                name: entry.name,
                uuid: None,
                state: "broken",
                word: "broken",
                reason: Some(error.to_string()),
                network_problems: Vec::new(),
                memory: None,
                vcpus: None,
                tags: Vec::new(),
                autostart: false,
            },
        }
    }

    fn cells(&self) -> [String; 5] {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        [
            self.name.clone(),
            if self.network_problems.is_empty() { self.word.to_owned() } else { format!("{}, no network", self.word) },
            text(self.memory.map(|memory| Size(memory).to_string())),
            text(self.vcpus.map(|vcpus| vcpus.to_string())),
            text(self.uuid.map(|uuid| uuid.to_string())),
        ]
    }
}

impl List {
    pub async fn run(self, context: &Context) -> Result {
        let mut entries = context.library().list()?;
        let has_tag = |entry: &Entry, tag: &str| entry.definition.as_ref().is_ok_and(|it| it.definition.has_tag(tag));
        entries.retain(|entry| self.tag.iter().all(|tag| has_tag(entry, tag)));
        let is_started = |entry: &Entry| entry.definition.as_ref().is_ok_and(|it| it.definition.autostart);
        entries.retain(|entry| !self.autostart || is_started(entry));
        // All at once, so that workers that hang cost the time of one.
        let mut asked = JoinSet::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Ok(stored) = &entry.definition {
                let (supervisor, name) = (context.supervisor.clone(), entry.name.clone());
                let definition = stored.definition.clone();
                asked.spawn(async move { (index, Seen::look(&supervisor, &name, &definition).await) });
            }
        }
        let mut all: Vec<Option<Seen>> = vec![None; entries.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, seen)) = answer
                && let Some(slot) = all.get_mut(index)
            {
                *slot = seen;
            }
        }
        let listed = entries.into_iter().zip(all);
        let rows: Vec<_> = listed
            .filter(|(_, seen)| self.all || self.autostart || seen.as_ref().is_some_and(|seen| seen.state.is_active()))
            .map(|(entry, seen)| Row::new(entry, seen))
            .collect();
        if self.json {
            return context.output.json(&rows);
        }
        let cells: Vec<_> = rows.iter().map(Row::cells).collect();
        context.output.table(["NAME", "STATE", "MEMORY", "VCPUS", "UUID"], &cells)?;
        for row in &rows {
            for reason in row.reason.iter().chain(&row.network_problems) {
                context.output.line(format!("\n{}: {reason}", row.name))?;
            }
        }
        Ok(())
    }
}
