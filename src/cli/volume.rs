//! `lodgectl volume`: the disks in a pool.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Result, context::Context, disk::NewSize, long};
use crate::manager::{
    definition::DiskFormat,
    editing,
    pool::{DEFAULT, NewVolume, Pools, Volume, volumes::Import},
    size::Size,
    storage::{ImageFormat, create::Preallocation, progress::Watch},
};

#[derive(Debug, Subcommand)]
pub(super) enum VolumeVerb {
    /// List the volumes of a pool, and who uses them
    List(List),
    /// Make an empty volume
    Create(Create),
    /// Give a volume another size. Its guest must be off
    Resize(Resize),
    /// Delete a volume with all that is in it. No guest, snapshot or other image may need it
    Delete(Delete),
    /// Copy an image into a pool. To use one where it lies, name its path to "lodgectl create --disk", or its folder to
    /// "lodgectl pool add"
    Import(ImportVerb),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The pool
    #[arg(default_value = DEFAULT)]
    pool: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The pool
    pool: String,
    /// The volume's name; in a folder, the format's ending is added
    name: String,
    /// Its size, like 20GiB
    #[arg(long)]
    size: Size,
    /// Its format: in a folder qcow2 or raw, in a volume group raw
    #[arg(long)]
    format: Option<DiskFormat>,
    /// What takes its room at once; in a volume group everything does
    #[arg(long, default_value = "off")]
    preallocate: Preallocation,
}

#[derive(Debug, Args)]
pub(super) struct Resize {
    /// The pool
    pool: String,
    /// The volume
    name: String,
    /// The new size, like 40GiB, or what is added, like +20GiB
    size: NewSize,
    /// Cut off its end, with what is stored there
    #[arg(long)]
    shrink: bool,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The pool
    pool: String,
    /// The volume
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct ImportVerb {
    /// The pool
    pool: String,
    /// The image: a path, or a name in the default pool
    #[arg(value_name = "PATH|NAME")]
    source: PathBuf,
    /// The volume's name [default: that of the image]
    #[arg(long)]
    name: Option<String>,
    /// The volume's format [default: that of the image; qcow2 for VMDK]
    #[arg(long)]
    format: Option<DiskFormat>,
    /// The image's format, if neither a guest's definition nor its first bytes say it
    #[arg(long, value_name = "FORMAT")]
    from_format: Option<ImageFormat>,
}

impl VolumeVerb {
    pub async fn run(self, context: &Context) -> Result {
        let pools = Pools::new(context.paths());
        match self {
            Self::List(List { pool, json }) => list(context, &pools, &pool, json),
            Self::Create(Create { pool, name, size, format, preallocate }) => {
                let wanted = NewVolume { name, size: size.bytes(), format, preallocation: preallocate };
                let made = long::run("Making", move |_| pools.create_volume(&pool, &wanted)).await?;
                created(context, &made)
            }
            Self::Resize(Resize { pool, name, size, shrink }) => {
                let size = size.into();
                let path = pools.volume(&pool, &name)?.path;
                let grown = editing::grow_running(&context.supervisor, &path, size).await?;
                let volume = name.clone();
                let (from, to) = match grown {
                    Some(sizes) => sizes,
                    None => {
                        let resize = move |watch: Watch<'_>| pools.resize_volume(&pool, &volume, size, shrink, watch);
                        long::run("Resizing", resize).await?
                    }
                };
                let after = if to > from { ". Its partitions and file systems are as large as before" } else { "" };
                context.output.line(format!("{name} has {} now, before {}{after}", Size(to), Size(from)))
            }
            Self::Delete(Delete { pool, name }) => {
                let deleted = pools.delete_volume(&pool, &name)?;
                context.output.line(format!("Deleted {}", deleted.path.display()))
            }
            Self::Import(ImportVerb { pool, source, name, format, from_format }) => {
                let source = crate::manager::storage::Disks::new(context.paths()).find(&source)?;
                let import = Import { source, source_format: from_format, name, format };
                let made = long::run("Copying", move |watch| pools.import_volume(&pool, &import, watch)).await?;
                created(context, &made)
            }
        }
    }
}

fn created(context: &Context, volume: &Volume) -> Result {
    let format = volume.format.unwrap_or(ImageFormat::Raw);
    context.output.line(format!("Created {} ({}, {format})", volume.path.display(), Size(volume.capacity)))
}

fn list(context: &Context, pools: &Pools, pool: &str, json: bool) -> Result {
    let volumes = pools.volumes(pool)?;
    if json {
        return context.output.json(&volumes);
    }
    let rows: Vec<_> = volumes
        .iter()
        .map(|volume| {
            let mut users: Vec<&str> = volume.users.iter().map(|user| user.guest.as_str()).collect();
            users.dedup();
            [
                volume.name.clone(),
                volume.format.map_or_else(|| "?".to_owned(), |format| format.to_string()),
                Size(volume.capacity).approximate(),
                Size(volume.allocation).approximate(),
                if users.is_empty() { "-".to_owned() } else { users.join(", ") },
                volume.path.display().to_string(),
            ]
        })
        .collect();
    context.output.table(["NAME", "FORMAT", "SIZE", "ALLOCATED", "USED BY", "PATH"], &rows)?;
    for volume in &volumes {
        if let Some(problem) = &volume.problem {
            context.output.line(format!("\n{}: {problem}", volume.name))?;
        }
    }
    Ok(())
}
