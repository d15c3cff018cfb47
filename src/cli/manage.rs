//! `lodgectl delete`, `lodgectl trash`, `lodgectl rename` and `lodgectl clone`.

use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::{Result, context::Context, error, long};
use crate::manager::{
    clone::{self, NewClone},
    library::{KEPT, Trashed},
    size::Size,
};

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The guest
    name: String,
    /// Delete its disk images, too, unless another guest uses them
    #[arg(long)]
    disks: bool,
    /// For good: it cannot be brought back
    #[arg(long)]
    now: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TrashVerb {
    /// List deleted guests; they are kept for a week
    List {
        /// Write JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Bring a deleted guest back, with its disks
    Restore {
        /// The guest's name, or the id that "list --json" tells
        name: String,
        /// Give it another name
        #[arg(long = "as", value_name = "NEW")]
        new_name: Option<String>,
    },
    /// Remove deleted guests for good, and give their room back
    Empty {
        /// Only this one
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Rename {
    /// The guest
    name: String,
    /// Its new name
    #[arg(value_name = "NEW")]
    new_name: String,
}

#[derive(Debug, Args)]
pub(super) struct Clone {
    /// The guest
    name: String,
    /// The clone's name
    #[arg(value_name = "NEW")]
    new_name: String,
    /// Base the clone's disks on those of the guest instead of copying them: takes no time and no room
    #[arg(long)]
    linked: bool,
    /// Clone the guest as it was at this snapshot; it may be running now
    #[arg(long)]
    snapshot: Option<String>,
}

impl Delete {
    pub fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let deleted = context.library().delete(&name, self.disks)?;
        if let Some(id) = deleted.trash.filter(|_| self.now) {
            context.library().empty_trash(Some(&id.to_string()))?;
        }
        context.output.line(match self.now {
            true => format!("Deleted \"{name}\" for good"),
            false => format!("Deleted \"{name}\". \"lodgectl trash restore\" brings it back for a week"),
        })?;
        for path in deleted.removed {
            context.output.line(format!("Deleted {}", path.display()))?;
        }
        for (path, reason) in deleted.kept {
            context.output.line(format!("Kept {}: {reason}", path.display()))?;
        }
        Ok(())
    }
}

impl TrashVerb {
    pub fn run(self, context: &Context) -> Result {
        let library = context.library();
        match self {
            Self::List { json: true } => context.output.json(&library.trash()),
            Self::List { json: false } => {
                let row = |guest: Trashed| {
                    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                    let left = (guest.deleted + KEPT.as_secs()).saturating_sub(age) / 3600;
                    [
                        guest.name,
                        guest.disks.len().to_string(),
                        Size(guest.allocated).approximate(),
                        format!("{} days, {} hours", left / 24, left % 24),
                    ]
                };
                let rows: Vec<_> = library.trash().into_iter().map(row).collect();
                context.output.table(["NAME", "DISKS", "ALLOCATED", "KEPT FOR"], &rows)
            }
            Self::Restore { name, new_name } => {
                let name = library.restore(&name, new_name.as_deref())?;
                context.output.line(format!("Brought \"{name}\" back"))
            }
            Self::Empty { name } => {
                let removed = library.empty_trash(name.as_deref())?;
                let allocated = removed.iter().map(|guest| guest.allocated).sum();
                let (count, room) = (removed.len(), Size(allocated).approximate());
                context.output.line(format!("Removed {count} deleted guests for good: {room}"))
            }
        }
    }
}

impl Rename {
    pub fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        context.library().rename(&name, &self.new_name)?;
        context.output.line(format!("Renamed \"{name}\" to \"{}\"", self.new_name))
    }
}

impl Clone {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let (paths, original) = (context.paths().clone(), name.clone());
        let new = NewClone { name: self.new_name, linked: self.linked, snapshot: self.snapshot };
        let made = long::run("Copying", move |watch| clone::clone(&paths, &original, &new, watch)).await?;
        context.output.line(format!("Cloned \"{name}\" to \"{}\" ({})", made.name, made.uuid))?;
        if self.linked {
            let bases = made.disks.iter().filter(|disk| !disk.is_read_only()).filter_map(|disk| disk.backing.first());
            bases
                .map(|base| format!("It is based on {}, which stays as it is", base.path.display()))
                .try_for_each(|line| context.output.line(line))?;
        }
        for tap in made.networks.iter().filter_map(|network| network.tap.as_deref()) {
            error::say("warning", format!("both use the interface {tap}: only one of them can run at a time"));
        }
        Ok(())
    }
}
