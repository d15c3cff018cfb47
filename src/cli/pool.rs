//! `lodgectl pool`: the places where disks lie.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Result, context::Context};
use crate::manager::{
    pool::{PoolEntry, PoolInfo, Pools, Target},
    size::Size,
};

#[derive(Debug, Subcommand)]
pub(super) enum PoolVerb {
    /// List the pools, with their room
    List(List),
    /// Add a folder of images, or an LVM volume group. What is in it can be used at once
    Add(Add),
    /// Forget a pool; what is in it stays
    Remove(Remove),
    /// Show a pool
    Info(Info),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The pool's name, as you like
    pool: String,
    #[command(flatten)]
    target: Place,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// A folder; it is made when it is not there
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// An LVM volume group, as "vgs" shows it. It needs the rights of root
    #[arg(long, value_name = "NAME")]
    volume_group: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The pool
    pool: String,
}

#[derive(Debug, Args)]
pub(super) struct Info {
    /// The pool
    #[arg(default_value = "default")]
    pool: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

impl PoolVerb {
    pub fn run(self, context: &Context) -> Result {
        let pools = Pools::new(context.paths());
        match self {
            Self::List(List { json }) => list(context, &pools, json),
            Self::Add(Add { pool, target }) => {
                // One of them is there, clap says.
                let target = match target.volume_group {
                    Some(group) => Target::VolumeGroup(group),
                    None => Target::Path(target.path.unwrap_or_default()),
                };
                let PoolEntry { name, target } = pools.add(&pool, target)?;
                context.output.line(format!("Added \"{name}\" ({})", target.place()))
            }
            Self::Remove(Remove { pool }) => {
                let PoolEntry { name, target } = pools.remove(&pool)?;
                context.output.line(format!("Forgot \"{name}\". What is in {} is still there", target.place()))
            }
            Self::Info(Info { pool, json }) => {
                let info = pools.info(&pool)?;
                match json {
                    true => context.output.json(&info),
                    false => context.output.pairs(&pairs(&info)),
                }
            }
        }
    }
}

fn list(context: &Context, pools: &Pools, json: bool) -> Result {
    let infos: Vec<_> = pools.list()?.into_iter().map(|pool| pools.describe(pool)).collect();
    if json {
        return context.output.json(&infos);
    }
    let rows: Vec<_> = infos
        .iter()
        .map(|info| {
            [
                info.pool.name.clone(),
                info.kind.to_owned(),
                size(info.capacity),
                size(info.free),
                info.volumes.map_or_else(|| "-".to_owned(), |count| count.to_string()),
                info.pool.target.place(),
            ]
        })
        .collect();
    context.output.table(["NAME", "KIND", "CAPACITY", "FREE", "VOLUMES", "PLACE"], &rows)?;
    for info in &infos {
        if let Some(problem) = &info.problem {
            context.output.line(format!("\n{}: {problem}", info.pool.name))?;
        }
    }
    Ok(())
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| Size(bytes).approximate())
}

fn pairs(info: &PoolInfo) -> Vec<(&'static str, String)> {
    let place = match &info.pool.target {
        Target::Path(_) => "Folder",
        Target::VolumeGroup(_) => "Volume group",
    };
    let mut pairs = vec![("Name", info.pool.name.clone()), (place, info.pool.target.place())];
    if let Some(problem) = &info.problem {
        pairs.push(("Problem", problem.clone()));
    }
    pairs.push(("Capacity", size(info.capacity)));
    pairs.push(("Allocated", size(info.allocation)));
    pairs.push(("Free", size(info.free)));
    if let Some(volumes) = info.volumes {
        pairs.push(("Volumes", volumes.to_string()));
    }
    pairs
}
