//! `lodgectl stats`: what running guests use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use tokio::time::{self, MissedTickBehavior};

use super::{
    Result,
    context::{Context, Guest},
};
use crate::manager::{
    client::ClientError,
    size::Size,
    statistics::{GuestMemory, Point, Reading, csv},
    supervisor::SupervisorError,
};

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// The guest; all that run when left out
    name: Option<String>,
    /// Go on every second, until Ctrl+C
    #[arg(long)]
    watch: bool,
    /// Write JSON, for programs: one line a second with --watch
    #[arg(long)]
    json: bool,
    /// Write comma-separated values, for spreadsheets: a line for each guest, with --watch each second
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// What one guest uses.
#[derive(Debug, Serialize)]
struct Usage {
    name: String,
    /// Percent of one CPU of the host.
    cpu: f32,
    /// Percent of one CPU of the host that each virtual CPU uses; empty when there is one.
    vcpus: Vec<f32>,
    /// Resident memory of the worker, in bytes.
    memory: u64,
    /// Bytes a second.
    disk_read: u64,
    /// Bytes a second.
    disk_written: u64,
    /// Reads a second.
    disk_reads: u32,
    /// Writes a second.
    disk_writes: u32,
    /// Bytes a second.
    network_received: u64,
    /// Bytes a second.
    network_sent: u64,
    /// How often a second the guest has left to the worker; null when that does not tell.
    exits: Option<u32>,
    /// How the guest itself uses its memory, in bytes; null when it does not tell.
    guest_memory: Option<GuestMemory>,
    /// All of it, for spreadsheets.
    #[serde(skip)]
    point: Point,
}

impl Usage {
    fn new(name: &str, point: Point, guest_memory: Option<GuestMemory>) -> Self {
        Self {
            name: name.to_owned(),
            cpu: point.cpu,
            vcpus: point.vcpu_loads().collect(),
            memory: point.memory,
            disk_read: point.disk_read,
            disk_written: point.disk_written,
            disk_reads: point.disk_reads,
            disk_writes: point.disk_writes,
            network_received: point.network_received,
            network_sent: point.network_sent,
            exits: point.exits,
            guest_memory,
            point,
        }
    }
}

/// A guest that is looked at.
struct Watched {
    guest: Guest,
    last: Reading,
}

impl Stats {
    pub async fn run(self, context: &Context) -> Result {
        let mut watched = self.guests(context).await?;
        let mut timer = time::interval(INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer.tick().await;
        if self.csv {
            context.output.bytes(csv::line(["guest"].into_iter().chain(csv::COLUMNS)).as_bytes())?;
        }
        loop {
            timer.tick().await;
            let usages = read(&mut watched).await;
            self.show(context, &usages)?;
            // The guests may all have ended meanwhile.
            if !self.watch || watched.is_empty() {
                return Ok(());
            }
        }
    }

    async fn guests(&self, context: &Context) -> Result<Vec<Watched>> {
        let mut watched = Vec::new();
        if let Some(word) = &self.name {
            let guest = context.attach(word).await?;
            let last = Reading::from(&guest.told(guest.client.statistics().await)?);
            return Ok(vec![Watched { guest, last }]);
        }
        for name in context.library().names()? {
            let guest = match context.supervisor.attach(&name).await {
                Ok(client) => Guest { name, client },
                // Not this one's turn to complain about a guest that was not asked for.
                Err(
                    SupervisorError::NotRunning { .. } | SupervisorError::Library(_) | SupervisorError::Client { .. },
                ) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Ok(statistics) = guest.client.statistics().await {
                watched.push(Watched { guest, last: Reading::from(&statistics) });
            }
        }
        Ok(watched)
    }

    fn show(&self, context: &Context, usages: &[Usage]) -> Result {
        if self.csv {
            let line = |usage: &Usage| csv::line([usage.name.clone()].into_iter().chain(csv::fields(&usage.point)));
            return context.output.bytes(usages.iter().map(line).collect::<String>().as_bytes());
        }
        match (self.json, self.watch) {
            (true, true) => context.output.json_line(&usages),
            (true, false) => context.output.json(&usages),
            (false, _) => {
                let rate = |bytes: u64| format!("{}/s", Size(bytes).approximate());
                let rows: Vec<_> = usages
                    .iter()
                    .map(|usage| {
                        [
                            usage.name.clone(),
                            format!("{:.1} %", usage.cpu),
                            Size(usage.memory).approximate(),
                            usage.guest_memory.map_or_else(|| "-".to_owned(), |memory| used(&memory)),
                            rate(usage.disk_read),
                            rate(usage.disk_written),
                            rate(usage.network_received),
                            rate(usage.network_sent),
                        ]
                    })
                    .collect();
                let head = ["NAME", "CPU", "MEMORY", "USED INSIDE", "READ", "WRITTEN", "RECEIVED", "SENT"];
                context.output.table(head, &rows)
            }
        }
    }
}

/// How much of its memory a guest uses, for people.
pub(super) fn used(memory: &GuestMemory) -> String {
    format!("{} of {}", Size(memory.used()).approximate(), Size(memory.total).approximate())
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads every guest's counters and forgets those that have ended.
async fn read(watched: &mut Vec<Watched>) -> Vec<Usage> {
    let mut usages = Vec::with_capacity(watched.len());
    let mut ended = Vec::new();
    for (index, one) in watched.iter_mut().enumerate() {
        match one.guest.client.statistics_within(INTERVAL).await {
            Ok(statistics) => {
                let now = Reading::from(&statistics);
                if let Some(point) = now.since(&one.last, seconds_since_1970()) {
                    usages.push(Usage::new(&one.guest.name, point, statistics.memory.guest));
                }
                one.last = now;
            }
            Err(ClientError::Closed) => ended.push(index),
            // One that hangs has no figures this time.
            Err(_) => {}
        }
    }
    for index in ended.into_iter().rev() {
        watched.remove(index);
    }
    usages
}
