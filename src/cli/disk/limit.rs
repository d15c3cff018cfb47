//! `lodgectl disk limit`: what a guest's disk may move, and how often it may be asked.

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{CliError, FROM_NEXT_START, Result, context::Context, error},
    manager::{
        definition::{Definition, DiskDefinition, LimitsDefinition},
        editing::EditError,
        size::Size,
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Limit {
    /// The guest
    name: String,
    /// The disk: disk0 for the first one, or its path
    disk: String,
    #[command(flatten)]
    changes: Changes,
    /// Take all limits away that are not given here
    #[arg(long)]
    none: bool,
    /// Only the guest that runs, not its definition
    #[arg(long, conflicts_with = "config")]
    live: bool,
    /// Only the definition: it applies from the guest's next start
    #[arg(long)]
    config: bool,
    /// Write the limits as JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What is left out stays as it is; 0 takes a limit away.
#[derive(Debug, Default, Args)]
struct Changes {
    /// Bytes a second, read and written together, like 50MiB
    #[arg(long, value_name = "SIZE")]
    total_bytes_sec: Option<Size>,
    /// Bytes read a second, like 50MiB
    #[arg(long, value_name = "SIZE")]
    read_bytes_sec: Option<Size>,
    /// Bytes written a second, like 50MiB
    #[arg(long, value_name = "SIZE")]
    write_bytes_sec: Option<Size>,
    /// Requests a second
    #[arg(long, value_name = "NUMBER")]
    total_iops_sec: Option<u64>,
    /// Reads a second
    #[arg(long, value_name = "NUMBER")]
    read_iops_sec: Option<u64>,
    /// Writes a second
    #[arg(long, value_name = "NUMBER")]
    write_iops_sec: Option<u64>,
    /// Bytes a second, read and written together, in a burst
    #[arg(long, value_name = "SIZE")]
    total_bytes_sec_max: Option<Size>,
    /// Bytes read a second, in a burst
    #[arg(long, value_name = "SIZE")]
    read_bytes_sec_max: Option<Size>,
    /// Bytes written a second, in a burst
    #[arg(long, value_name = "SIZE")]
    write_bytes_sec_max: Option<Size>,
    /// Requests a second, in a burst
    #[arg(long, value_name = "NUMBER")]
    total_iops_sec_max: Option<u64>,
    /// Reads a second, in a burst
    #[arg(long, value_name = "NUMBER")]
    read_iops_sec_max: Option<u64>,
    /// Writes a second, in a burst
    #[arg(long, value_name = "NUMBER")]
    write_iops_sec_max: Option<u64>,
    /// How long such a burst may take
    #[arg(long, value_name = "SECONDS")]
    total_bytes_sec_max_length: Option<u64>,
    /// How long such a burst may take
    #[arg(long, value_name = "SECONDS")]
    read_bytes_sec_max_length: Option<u64>,
    /// How long such a burst may take
    #[arg(long, value_name = "SECONDS")]
    write_bytes_sec_max_length: Option<u64>,
    /// How long such a burst may take
    #[arg(long, value_name = "SECONDS")]
    total_iops_sec_max_length: Option<u64>,
    /// How long such a burst may take
    #[arg(long, value_name = "SECONDS")]
    read_iops_sec_max_length: Option<u64>,
    /// How long such a burst may take
    #[arg(long, value_name = "SECONDS")]
    write_iops_sec_max_length: Option<u64>,
    /// Requests larger than this count as several
    #[arg(long, value_name = "SIZE")]
    size_iops_sec: Option<Size>,
}

impl Changes {
    fn apply(&self, limits: &mut LimitsDefinition) {
        change(&mut limits.total_bytes_sec, self.total_bytes_sec, Size(0));
        change(&mut limits.read_bytes_sec, self.read_bytes_sec, Size(0));
        change(&mut limits.write_bytes_sec, self.write_bytes_sec, Size(0));
        change(&mut limits.total_iops_sec, self.total_iops_sec, 0);
        change(&mut limits.read_iops_sec, self.read_iops_sec, 0);
        change(&mut limits.write_iops_sec, self.write_iops_sec, 0);
        change(&mut limits.total_bytes_sec_max, self.total_bytes_sec_max, Size(0));
        change(&mut limits.read_bytes_sec_max, self.read_bytes_sec_max, Size(0));
        change(&mut limits.write_bytes_sec_max, self.write_bytes_sec_max, Size(0));
        change(&mut limits.total_iops_sec_max, self.total_iops_sec_max, 0);
        change(&mut limits.read_iops_sec_max, self.read_iops_sec_max, 0);
        change(&mut limits.write_iops_sec_max, self.write_iops_sec_max, 0);
        change(&mut limits.total_bytes_sec_max_length, self.total_bytes_sec_max_length, 0);
        change(&mut limits.read_bytes_sec_max_length, self.read_bytes_sec_max_length, 0);
        change(&mut limits.write_bytes_sec_max_length, self.write_bytes_sec_max_length, 0);
        change(&mut limits.total_iops_sec_max_length, self.total_iops_sec_max_length, 0);
        change(&mut limits.read_iops_sec_max_length, self.read_iops_sec_max_length, 0);
        change(&mut limits.write_iops_sec_max_length, self.write_iops_sec_max_length, 0);
        change(&mut limits.size_iops_sec, self.size_iops_sec, Size(0));
    }
}

fn change<T: Copy + PartialEq>(limit: &mut Option<T>, wanted: Option<T>, none: T) {
    if let Some(wanted) = wanted {
        *limit = Some(wanted).filter(|wanted| *wanted != none);
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    disk: &'a str,
    limits: LimitsDefinition,
}

impl Limit {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let mut stored = context.library().load(&name)?;
        let mut running = context.library().running(&stored.definition)?;
        let index = find(&stored.definition, &name, &self.disk)?;
        let disk = &mut stored.definition.disks[index];
        let before = disk.limits;
        if self.none {
            disk.limits = LimitsDefinition::default();
        }
        self.changes.apply(&mut disk.limits);
        let (wanted, id, limits) = (disk.clone(), disk.id.clone(), disk.limits);
        if self.none || limits != before || self.live {
            limits.limits().check().map_err(|error| CliError::Other(error.to_string()))?;
            let is_running = running.is_some();
            let mut place = running
                .as_mut()
                .and_then(|running| running.disks.iter_mut().find(|disk| !disk.cdrom && disk.is_same(&wanted)));
            if self.live && is_running && place.is_none() {
                return Err(EditError::NotYet { name, device: id }.into());
            }
            if !self.live {
                context.library().save(&stored.definition, &stored.revision)?;
            }
            if self.live || place.is_some() && !self.config {
                let guest = context.attach(&name).await?;
                guest.told(guest.client.limit_disk(&id, &limits.limits()).await)?;
                if let Some(disk) = place.as_mut().filter(|_| !self.live) {
                    disk.limits = limits;
                }
            } else if is_running && !self.config {
                error::say("note", format!("\"{name}\" has {id}{FROM_NEXT_START}"));
            }
            if let Some(running) = running {
                context.library().record(&running)?;
            }
        }
        if self.json {
            return context.output.json(&Shown { disk: &id, limits });
        }
        let rows: Vec<_> = rows(&limits).into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        match rows.is_empty() {
            true => context.output.line(format!("{id} of \"{name}\" has no limits")),
            false => context.output.pairs(&rows),
        }
    }
}

fn rows(limits: &LimitsDefinition) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("total-bytes-sec", limits.total_bytes_sec.map(|size| size.to_string())),
        ("read-bytes-sec", limits.read_bytes_sec.map(|size| size.to_string())),
        ("write-bytes-sec", limits.write_bytes_sec.map(|size| size.to_string())),
        ("total-iops-sec", limits.total_iops_sec.map(|number| number.to_string())),
        ("read-iops-sec", limits.read_iops_sec.map(|number| number.to_string())),
        ("write-iops-sec", limits.write_iops_sec.map(|number| number.to_string())),
        ("total-bytes-sec-max", limits.total_bytes_sec_max.map(|size| size.to_string())),
        ("read-bytes-sec-max", limits.read_bytes_sec_max.map(|size| size.to_string())),
        ("write-bytes-sec-max", limits.write_bytes_sec_max.map(|size| size.to_string())),
        ("total-iops-sec-max", limits.total_iops_sec_max.map(|number| number.to_string())),
        ("read-iops-sec-max", limits.read_iops_sec_max.map(|number| number.to_string())),
        ("write-iops-sec-max", limits.write_iops_sec_max.map(|number| number.to_string())),
        ("total-bytes-sec-max-length", limits.total_bytes_sec_max_length.map(|number| number.to_string())),
        ("read-bytes-sec-max-length", limits.read_bytes_sec_max_length.map(|number| number.to_string())),
        ("write-bytes-sec-max-length", limits.write_bytes_sec_max_length.map(|number| number.to_string())),
        ("total-iops-sec-max-length", limits.total_iops_sec_max_length.map(|number| number.to_string())),
        ("read-iops-sec-max-length", limits.read_iops_sec_max_length.map(|number| number.to_string())),
        ("write-iops-sec-max-length", limits.write_iops_sec_max_length.map(|number| number.to_string())),
        ("size-iops-sec", limits.size_iops_sec.map(|size| size.to_string())),
    ]
}

/// The disk that a person means: by its name, or by its file.
fn find(definition: &Definition, name: &str, word: &str) -> Result<usize> {
    let is_meant = |disk: &DiskDefinition| disk.id == word || disk.path.as_os_str() == word;
    definition.disks.iter().position(is_meant).ok_or_else(|| {
        let known: Vec<_> = definition.disks.iter().map(|disk| disk.id.as_str()).collect();
        let known = if known.is_empty() { "no disk at all".to_owned() } else { known.join(", ") };
        CliError::Other(format!("\"{name}\" has no disk {word}. It has {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays_and_0_takes_a_limit_away() {
        let mut limits = LimitsDefinition {
            total_bytes_sec: Some(Size::mib(1)),
            read_iops_sec: Some(5),
            ..LimitsDefinition::default()
        };
        let changes = Changes { read_iops_sec: Some(0), write_iops_sec: Some(7), ..Changes::default() };

        changes.apply(&mut limits);

        let expected = LimitsDefinition {
            total_bytes_sec: Some(Size::mib(1)),
            write_iops_sec: Some(7),
            ..LimitsDefinition::default()
        };
        assert_eq!(limits, expected);
    }
}
