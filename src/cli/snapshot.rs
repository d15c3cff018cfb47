//! `lodgectl snapshot`: moments that a guest can go back to.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use super::{Result, context::Context, error, long};
use crate::manager::{
    definition::DiskDefinition,
    library::LibraryError,
    snapshots::{Edit, NewSnapshot, Preview, Snapshot, Snapshots, Tree},
    storage::progress::Watch,
    supervisor::{Begin, StartOptions, SupervisorError},
};

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotVerb {
    /// Make a snapshot: the guest's disks and definition as they are now. A running guest goes on
    Create(Create),
    /// List the snapshots of a guest
    List(List),
    /// Show a snapshot
    Info(Info),
    /// Go back to a snapshot; what was written since the last one is lost
    Revert(Revert),
    /// Delete a snapshot. The guest and other snapshots keep what they have
    Delete(Delete),
    /// Give a snapshot another name or description
    Edit(EditSnapshot),
    /// Merge images of deleted snapshots where that was stopped or put off
    Merge {
        /// The guest
        guest: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The guest
    guest: String,
    /// The snapshot's name [default: snapshot-1, and so on]
    snapshot: Option<String>,
    /// A few words about it
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// With the memory of a running guest: reverting, it goes on where it was
    #[arg(long)]
    memory: bool,
    #[command(flatten)]
    preview: PreviewOnly,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The guest
    guest: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Info {
    /// The guest
    guest: String,
    /// The snapshot: its name, or the beginning of its id
    snapshot: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Revert {
    /// The guest
    guest: String,
    /// The snapshot: its name, or the beginning of its id
    snapshot: String,
    /// Force the guest off first if it runs
    #[arg(long)]
    force: bool,
    /// Leave the guest off, also if the snapshot has its memory
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    preview: PreviewOnly,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The guest
    guest: String,
    /// The snapshot: its name, or the beginning of its id
    snapshot: String,
    #[command(flatten)]
    preview: PreviewOnly,
}

#[derive(Debug, Args)]
pub(super) struct EditSnapshot {
    /// The guest
    guest: String,
    /// The snapshot: its name, or the beginning of its id
    snapshot: String,
    /// Its new name
    #[arg(long, required_unless_present = "description")]
    name: Option<String>,
    /// A few words about it
    #[arg(long)]
    description: Option<String>,
}

/// For verbs that change files.
#[derive(Debug, Args)]
struct PreviewOnly {
    /// Only say which files would be made, changed and removed
    #[arg(long, alias = "preview")]
    dry_run: bool,
    /// With --dry-run: write JSON, for programs
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// A snapshot, for programs.
#[derive(Debug, Serialize)]
struct Described<'a> {
    id: Uuid,
    name: &'a str,
    description: &'a str,
    /// Seconds since 1970.
    created: u64,
    parent: Option<Uuid>,
    /// Whether the guest goes on from it.
    current: bool,
    running: bool,
    /// Whether it has the state of memory and devices.
    state: bool,
    /// How deep it is in the tree.
    depth: usize,
    disks: Vec<DescribedDisk<'a>>,
}

#[derive(Debug, Serialize)]
struct DescribedDisk<'a> {
    id: &'a str,
    /// Its images: its own first.
    images: Vec<String>,
}

impl SnapshotVerb {
    pub async fn run(self, context: &Context) -> Result {
        let snapshots = Snapshots::new(context.paths());
        let resolve = |word: &str| context.library().resolve(word);
        match self {
            Self::Create(verb) => verb.run(context, &snapshots).await,
            Self::List(List { guest, json }) => list(context, &snapshots.tree(&resolve(&guest)?)?, json),
            Self::Info(verb) => verb.run(context, &snapshots),
            Self::Revert(verb) => verb.run(context, snapshots).await,
            Self::Delete(verb) => verb.run(context, snapshots).await,
            Self::Edit(verb) => verb.run(context, &snapshots),
            Self::Merge { guest } => merge(context, snapshots, resolve(&guest)?).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context, snapshots: &Snapshots) -> Result {
        let guest = context.library().resolve(&self.guest)?;
        let new = NewSnapshot { name: self.snapshot, description: self.description };
        if self.preview.dry_run {
            return self.preview.tell(context, &snapshots.preview_create(&guest, &new)?);
        }
        let made = match context.library().is_running(&guest)? {
            true => {
                let create = async |watch: Watch<'_>| {
                    Ok(snapshots.create_running(&context.supervisor, &guest, &new, self.memory, watch).await?)
                };
                long::wait("Saving", create).await?
            }
            false if self.memory => return Err(SupervisorError::NotRunning { name: guest }.into()),
            false => snapshots.create(&guest, &new)?,
        };
        context.output.line(format!("Made the snapshot \"{}\" of \"{guest}\" ({})", made.name, made.id))
    }
}

impl Info {
    fn run(self, context: &Context, snapshots: &Snapshots) -> Result {
        let guest = context.library().resolve(&self.guest)?;
        let tree = snapshots.tree(&guest)?;
        let snapshot = find(&tree, &guest, &self.snapshot)?;
        if self.json {
            let depth = tree.walk().iter().find(|(_, other)| other.id == snapshot.id).map_or(0, |(depth, _)| *depth);
            return context.output.json(&describe(&tree, snapshot, depth));
        }
        let name = |id: Option<Uuid>| id.and_then(|id| tree.get(id)).map_or("none", |parent| &parent.name).to_owned();
        let mut pairs = vec![
            ("Name", snapshot.name.clone()),
            ("Id", snapshot.id.to_string()),
            ("Description", snapshot.description.clone()),
            ("Made", age(snapshot.created)),
            ("Guest", if snapshot.running { "was running" } else { "was off" }.to_owned()),
            ("Memory", if snapshot.state.is_some() { "saved" } else { "" }.to_owned()),
            ("Made from", name(snapshot.parent)),
        ];
        pairs.retain(|(_, value)| !value.is_empty());
        for disk in snapshot.definition.disks.iter().filter(|disk| !disk.cdrom) {
            let images: Vec<_> = disk.layers().map(|layer| layer.path.display().to_string()).collect();
            pairs.push(("Disk", format!("{}: {}", disk.id, images.join(" over "))));
        }
        context.output.pairs(&pairs)
    }
}

impl Revert {
    async fn run(self, context: &Context, snapshots: Snapshots) -> Result {
        let guest = context.library().resolve(&self.guest)?;
        let preview = snapshots.preview_revert(&guest, &self.snapshot)?;
        if self.preview.dry_run {
            return self.preview.tell(context, &preview);
        }
        if context.library().is_running(&guest)? {
            if !self.force {
                return Err(LibraryError::Running(guest).into());
            }
            context.supervisor.force_off(&guest).await?;
        }
        let snapshot = snapshots.revert(&guest, &self.snapshot)?;
        context.output.line(format!("\"{guest}\" is as it was at the snapshot \"{}\"", snapshot.name))?;
        for path in preview.remove {
            context.output.line(format!("Removed {}, which had what was written since", path.display()))?;
        }
        for kept in preview.keep {
            context.output.line(format!("Kept {}: {}", kept.path.display(), kept.reason))?;
        }
        if let Some(state) = snapshots.state(&guest, &snapshot)?.filter(|_| !self.off) {
            let options = StartOptions { begin: Begin::State(state), paused: false };
            context.supervisor.start_with(&guest, options).await?;
            context.output.line(format!("Started \"{guest}\": it goes on where it was"))?;
        }
        Ok(())
    }
}

impl Delete {
    async fn run(self, context: &Context, snapshots: Snapshots) -> Result {
        let guest = context.library().resolve(&self.guest)?;
        if self.preview.dry_run {
            return self.preview.tell(context, &snapshots.preview_delete(&guest, &self.snapshot)?);
        }
        let deleted = snapshots.delete(&guest, &self.snapshot)?;
        context.output.line(format!("Deleted the snapshot \"{}\" of \"{guest}\"", deleted.name))?;
        if let Err(error) = merge(context, snapshots, guest).await {
            // The snapshot is gone; only room is not given back yet.
            error::say("warning", error);
        }
        Ok(())
    }
}

impl EditSnapshot {
    fn run(self, context: &Context, snapshots: &Snapshots) -> Result {
        let guest = context.library().resolve(&self.guest)?;
        let edit = Edit { name: self.name, description: self.description };
        let changed = snapshots.edit(&guest, &self.snapshot, &edit)?;
        context.output.line(format!("Changed the snapshot \"{}\" of \"{guest}\"", changed.name))
    }
}

impl PreviewOnly {
    fn tell(&self, context: &Context, preview: &Preview) -> Result {
        if self.json {
            return context.output.json(preview);
        }
        let output = &context.output;
        preview.create.iter().try_for_each(|path| output.line(format!("Would make    {}", path.display())))?;
        preview.change.iter().try_for_each(|path| output.line(format!("Would change  {}", path.display())))?;
        let merge = |(from, into): (String, String)| output.line(format!("Would merge   {from} into {into}"));
        let names = preview.merge.iter().map(|merging| (&merging.from, &merging.into));
        names.map(|(from, into)| (from.display().to_string(), into.display().to_string())).try_for_each(merge)?;
        preview.remove.iter().try_for_each(|path| output.line(format!("Would remove  {}", path.display())))?;
        let keep = preview.keep.iter();
        keep.map(|kept| format!("Would keep    {}: {}", kept.path.display(), kept.reason))
            .try_for_each(|line| output.line(line))
    }
}

async fn merge(context: &Context, snapshots: Snapshots, guest: String) -> Result {
    let merge = async || {
        let (snapshots, guest) = (snapshots.clone(), guest.clone());
        long::run("Merging", move |watch| snapshots.merge(&guest, watch)).await
    };
    // A running guest may still have to be told of a merging that was interrupted right after it was decided.
    if merge().await? && !context.library().is_running(&guest)? {
        return Ok(());
    }
    let merge_running =
        async |watch: Watch<'_>| Ok(snapshots.merge_running(&context.supervisor, &guest, watch).await?);
    long::wait("Merging", merge_running).await?;
    if merge().await? {
        return Ok(());
    }
    let mend = format!("\"lodgectl snapshot merge {guest}\" does that when the guest is off");
    context.output.line(format!("Images that the running guest uses are merged later. {mend}"))
}

fn list(context: &Context, tree: &Tree, json: bool) -> Result {
    let walk = tree.walk();
    if json {
        let described: Vec<_> = walk.iter().map(|(depth, snapshot)| describe(tree, snapshot, *depth)).collect();
        return context.output.json(&described);
    }
    let row = |(depth, snapshot): &(usize, &Snapshot)| {
        let mark = if tree.current == Some(snapshot.id) { " *" } else { "" };
        [
            format!("{}{}{mark}", "  ".repeat(*depth), snapshot.name),
            age(snapshot.created),
            if snapshot.running { "running" } else { "off" }.to_owned(),
            snapshot.id.to_string().get(..8).unwrap_or_default().to_owned(),
            snapshot.description.replace('\n', " "),
        ]
    };
    let rows: Vec<_> = walk.iter().map(row).collect();
    context.output.table(["NAME", "MADE", "GUEST", "ID", "DESCRIPTION"], &rows)
}

fn describe<'a>(tree: &Tree, snapshot: &'a Snapshot, depth: usize) -> Described<'a> {
    let image = |layer: crate::manager::definition::Layer| layer.path.to_string_lossy().into_owned();
    let disk = |disk: &'a DiskDefinition| DescribedDisk { id: &disk.id, images: disk.layers().map(image).collect() };
    Described {
        id: snapshot.id,
        name: &snapshot.name,
        description: &snapshot.description,
        created: snapshot.created,
        parent: snapshot.parent,
        current: tree.current == Some(snapshot.id),
        running: snapshot.running,
        state: snapshot.state.is_some(),
        depth,
        disks: snapshot.definition.disks.iter().map(disk).collect(),
    }
}

fn find<'a>(tree: &'a Tree, guest: &str, word: &str) -> Result<&'a Snapshot> {
    use crate::manager::snapshots::SnapshotError;
    let not_found = || SnapshotError::NotFound { guest: guest.to_owned(), word: word.to_owned() };
    Ok(tree.find(word).ok_or_else(not_found)?)
}

/// How long ago a moment is, in its largest unit.
fn age(created: u64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(created);
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let found = units.into_iter().find(|(length, _)| seconds >= *length);
    found.map_or("just now".to_owned(), |(length, unit)| {
        let count = seconds / length;
        format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();

        let ages = [10, 60, 7300, 200_000].map(|seconds| age(now - seconds));

        assert_eq!(ages, ["just now", "1 minute ago", "2 hours ago", "2 days ago"]);
    }
}
