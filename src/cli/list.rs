//! `lodgectl list`.

use clap::Args;
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Result, context::Context};
use crate::manager::{library::Entry, size::Size, supervisor::GuestState};

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
    tags: Vec<String>,
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
                    tags: stored.definition.tags,
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
                tags: Vec::new(),
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
        let mut entries = context.library().list()?;
        let has_tag = |entry: &Entry, tag: &str| entry.definition.as_ref().is_ok_and(|it| it.definition.has_tag(tag));
        entries.retain(|entry| self.tag.iter().all(|tag| has_tag(entry, tag)));
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
