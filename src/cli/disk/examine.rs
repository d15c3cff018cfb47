//! `lodgectl disk info`, `list` and `check`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{CliError, Result, context::Context, error, long},
    manager::{
        size::Size,
        storage::{
            Access, Disks, ImageFormat, User,
            info::ImageInfo,
            qcow2::{check::Report, repair::Repair},
            users::Use,
        },
    },
};

/// So many findings of a check are shown to people; JSON has more.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Info {
    /// The image: a path, or a name in the default pool
    #[arg(value_name = "PATH|NAME")]
    disk: PathBuf,
    /// Its format, if neither a guest's definition nor its first bytes say it
    #[arg(long)]
    format: Option<ImageFormat>,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// The image: a path, or a name in the default pool
    #[arg(value_name = "PATH|NAME")]
    disk: PathBuf,
    /// Its format, if no guest's definition says it
    #[arg(long)]
    format: Option<ImageFormat>,
    /// Mend what is found
    #[arg(long)]
    repair: Option<Repair>,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self, context: &Context, disks: &Disks) -> Result {
        let info = disks.info(&disks.find(&self.disk)?, self.format)?;
        if self.json {
            return context.output.json(&info);
        }
        context.output.pairs(&pairs(&info))
    }
}

fn pairs(info: &ImageInfo) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("Image", info.path.display().to_string()),
        ("Format", format_name(info)),
        ("Size", format!("{} ({} bytes)", Size(info.virtual_size), info.virtual_size)),
        ("Allocated", Size(info.allocated).approximate()),
    ];
    if let Some(qcow2) = &info.qcow2 {
        pairs.push(("Version", qcow2.version.to_string()));
        pairs.push(("Cluster size", Size(qcow2.cluster_size).to_string()));
        if qcow2.snapshots > 0 {
            pairs.push(("Snapshots", qcow2.snapshots.to_string()));
        }
        let marks = [(qcow2.encrypted, "encrypted"), (qcow2.dirty, "not closed properly"), (qcow2.corrupt, "damaged")];
        let marks: Vec<_> = marks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| mark).collect();
        if !marks.is_empty() {
            pairs.push(("Marked as", marks.join(", ")));
        }
    }
    for below in &info.backing_chain {
        let format = below.format.as_deref().unwrap_or("format not written");
        let missing = if below.found { "" } else { ", missing" };
        pairs.push(("Based on", format!("{} ({format}{missing})", below.name)));
    }
    pairs.extend(info.users.iter().map(|user| ("Used by", user_text(user))));
    pairs
}

fn format_name(info: &ImageInfo) -> String {
    info.format.map_or_else(|| "-".to_owned(), |format| format.to_string())
}

fn user_text(user: &User) -> String {
    let purpose = match user.purpose {
        Use::Disk(_) => "as disk",
        Use::Backing => "as base of a disk",
        Use::Snapshot => "for a snapshot",
        Use::Boot => "to boot",
    };
    let running = if user.running { ", running" } else { "" };
    format!("{} ({purpose}{running})", user.guest)
}

impl List {
    pub fn run(self, context: &Context, disks: &Disks) -> Result {
        let mut infos = Vec::new();
        for volume in disks.list()? {
            match volume {
                Ok(info) => infos.push(info),
                Err(problem) => error::say("warning", problem),
            }
        }
        if self.json {
            return context.output.json(&infos);
        }
        let row = |info: &ImageInfo| {
            let mut guests: Vec<_> = info.users.iter().map(|user| user.guest.as_str()).collect();
            guests.dedup();
            [
                info.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                format_name(info),
                Size(info.virtual_size).to_string(),
                Size(info.allocated).approximate(),
                if guests.is_empty() { "-".to_owned() } else { guests.join(", ") },
            ]
        };
        let rows: Vec<_> = infos.iter().map(row).collect();
        context.output.table(["NAME", "FORMAT", "SIZE", "ALLOCATED", "USED BY"], &rows)
    }
}

/// A check, for programs.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    path: &'a PathBuf,
    format: ImageFormat,
    #[serde(flatten)]
    report: &'a Report,
}

impl Check {
    pub async fn run(self, context: &Context, disks: Disks) -> Result {
        let path = disks.find(&self.disk)?;
        let access = if self.repair.is_some() { Access::Write } else { Access::Read };
        let image = disks.open(&path, self.format, access)?;
        let (format, repair) = (image.format, self.repair);
        let report = long::run("Checking", move |watch| disks.check(&image, repair, watch)).await?;
        if self.json {
            context.output.json(&Checked { path: &path, format, report: &report })?;
        } else {
            for finding in report.findings.iter().take(SHOWN) {
                context.output.line(finding)?;
            }
            context.output.line(summary(&report))?;
        }
        match report.corruptions > 0 || report.marked_corrupt || report.dirty {
            false => Ok(()),
            true if self.json => Err(CliError::Told),
            true => Err(CliError::Other(format!("{} is damaged. {}", path.display(), mend(&report)))),
        }
    }
}

fn summary(report: &Report) -> String {
    let stored = report.allocated_clusters * report.cluster_size;
    let mut text = format!(
        "{} of {} clusters are stored ({}), {} of them compressed",
        report.allocated_clusters,
        report.total_clusters,
        Size(stored).approximate(),
        report.compressed_clusters
    );
    if report.is_clean() {
        text.push_str(". Nothing is wrong");
        return text;
    }
    text.push_str(&format!(". {} things are wrong", report.corruptions));
    if report.leaks > 0 {
        let lost = Size(report.leaks * report.cluster_size).approximate();
        text.push_str(&format!(", {} clusters are lost room ({lost}): \"--repair leaks\" gives it back", report.leaks));
    }
    text
}

fn mend(report: &Report) -> &'static str {
    match report.damage {
        0 => "Add \"--repair all\"",
        _ => "Restore it from a backup, or try to save what it holds with \"lodgectl disk convert\"",
    }
}
