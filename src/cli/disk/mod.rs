//! `lodgectl disk`: images outside of guests.

mod examine;
mod limit;

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand};

use super::{CliError, Result, context::Context, error, long};
use crate::manager::{
    definition::DiskFormat,
    editing,
    pool::volumes,
    size::Size,
    storage::{
        Access, Disks, ImageFormat,
        convert::Conversion,
        create::{BackingFile, NewImage, Preallocation},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum DiskVerb {
    /// Make an empty image
    Create(Create),
    /// Show what an image is, and who uses it
    Info(examine::Info),
    /// List the images of the default pool
    List(examine::List),
    /// Give a disk another size. A running guest's disk can only grow
    #[command(alias = "blockresize")]
    Resize(Resize),
    /// Copy a disk into a new image of another format
    Convert(Convert),
    /// Show or set how much a guest's disk may move a second, and how often it may be asked
    #[command(alias = "blkdeviotune")]
    Limit(Box<limit::Limit>),
    /// Check the structures of a qcow2 image. Its guest must be off
    Check(examine::Check),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Where it goes: a path (with a slash), or a name in the default pool
    #[arg(value_name = "PATH|NAME")]
    target: PathBuf,
    /// Its size, like 20GiB; with a backing file that one's size will do
    #[arg(long, required_unless_present = "backing")]
    size: Option<Size>,
    /// Its format
    #[arg(long, default_value = "qcow2")]
    format: DiskFormat,
    /// The image that it is based on; that one must not change from then on
    #[arg(long, value_name = "FILE", requires = "backing_format")]
    backing: Option<PathBuf>,
    /// The format of that image
    #[arg(long, value_name = "FORMAT", requires = "backing")]
    backing_format: Option<DiskFormat>,
    /// What takes its room at once
    #[arg(long, default_value = "off")]
    preallocate: Preallocation,
    /// The size of a cluster: a power of two from 512 to 2MiB [default: 64KiB]
    #[arg(long, value_name = "SIZE")]
    cluster_size: Option<Size>,
}

#[derive(Debug, Args)]
pub(super) struct Resize {
    /// The image: a path, or a name in the default pool
    #[arg(value_name = "PATH|NAME")]
    disk: PathBuf,
    /// The new size, like 40GiB, or what is added, like +20GiB
    size: NewSize,
    /// Its format, if no guest's definition says it
    #[arg(long)]
    format: Option<ImageFormat>,
    /// Cut off its end, with what is stored there
    #[arg(long)]
    shrink: bool,
}

#[derive(Debug, Args)]
pub(super) struct Convert {
    /// The image that is read: a path, or a name in the default pool
    #[arg(value_name = "FROM")]
    source: PathBuf,
    /// Where the new one goes: a path (with a slash), or a name in the default pool
    #[arg(value_name = "TO")]
    target: PathBuf,
    /// The new one's format
    #[arg(long)]
    format: DiskFormat,
    /// The format of the image that is read, if neither a guest's definition nor its first bytes say it
    #[arg(long, value_name = "FORMAT")]
    from_format: Option<ImageFormat>,
    /// What the image that is read is based on; repeat it for a longer chain, from the nearest to the base
    #[arg(long, value_name = "FILE", requires = "backing_format")]
    backing: Vec<PathBuf>,
    /// The format of that one; once for each
    #[arg(long, value_name = "FORMAT", requires = "backing")]
    backing_format: Vec<DiskFormat>,
    /// The size of the new one's clusters: a power of two from 512 to 2MiB [default: 64KiB]
    #[arg(long, value_name = "SIZE")]
    cluster_size: Option<Size>,
    /// Replace a file of that name
    #[arg(long)]
    force: bool,
}

/// What `disk resize` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewSize {
    Whole(Size),
    Added(Size),
}

impl From<NewSize> for volumes::NewSize {
    fn from(size: NewSize) -> Self {
        match size {
            NewSize::Whole(size) => Self::Whole(size.bytes()),
            NewSize::Added(size) => Self::Added(size.bytes()),
        }
    }
}

impl FromStr for NewSize {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let size = |text: &str| text.parse::<Size>().map_err(|error| error.to_string());
        match text.strip_prefix('+') {
            Some(added) => Ok(Self::Added(size(added)?)),
            None => Ok(Self::Whole(size(text)?)),
        }
    }
}

impl DiskVerb {
    pub async fn run(self, context: &Context) -> Result {
        let disks = Disks::new(context.paths());
        match self {
            Self::Create(verb) => verb.run(context, disks).await,
            Self::Info(verb) => verb.run(context, &disks),
            Self::List(verb) => verb.run(context, &disks),
            Self::Resize(verb) => verb.run(context, &disks).await,
            Self::Convert(verb) => verb.run(context, disks).await,
            Self::Limit(verb) => verb.run(context).await,
            Self::Check(verb) => verb.run(context, disks).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context, disks: Disks) -> Result {
        let path = disks.target(&self.target, self.format)?;
        let backing = match (self.backing, self.backing_format) {
            (Some(path), Some(format)) => Some(BackingFile { path: disks.find(&path)?, format }),
            _ => None,
        };
        if backing.is_some() {
            error::say("warning", "a guest starts from it only when its definition names the backing file, too");
        }
        let image = NewImage {
            size: self.size.map(Size::bytes),
            format: self.format,
            backing,
            preallocation: self.preallocate,
            cluster_size: self.cluster_size.map(Size::bytes),
        };
        let target = path.clone();
        let size = long::run("Making", move |_| disks.create(&target, &image)).await?;
        context.output.line(format!("Created {} ({}, {})", path.display(), Size(size), self.format.name()))
    }
}

impl Resize {
    async fn run(self, context: &Context, disks: &Disks) -> Result {
        let path = disks.find(&self.disk)?;
        let size = self.size.into();
        if let Some((from, to)) = editing::grow_running(&context.supervisor, &path, size).await? {
            let (path, from, to) = (path.display(), Size(from), Size(to));
            return context.output.line(format!("{path} has {to} now, before {from}. The guest sees that at once"));
        }
        let image = disks.open_resizable(&path, self.format)?;
        let size = size.from(disks.size_of_image(&image)?);
        let resized = disks.resize(&image, size, self.shrink, &|_, _| true)?;
        let (path, from, to) = (path.display(), Size(resized.from), Size(resized.to));
        context.output.line(match resized.from.cmp(&resized.to) {
            std::cmp::Ordering::Equal => format!("{path} has {to} already"),
            std::cmp::Ordering::Less => {
                format!("{path} has {to} now, before {from}. Its partitions and file systems are as large as before")
            }
            std::cmp::Ordering::Greater => {
                let (cut, lost) = (Size(resized.from - resized.to), Size(resized.lost).approximate());
                format!("{path} has {to} now, before {from}. Its last {cut} are gone, of which {lost} were written")
            }
        })
    }
}

impl Convert {
    async fn run(self, context: &Context, disks: Disks) -> Result {
        let source = disks.find(&self.source)?;
        let target = disks.target(&self.target, self.format)?;
        if self.backing.len() != self.backing_format.len() {
            let counts = (self.backing.len(), self.backing_format.len());
            let message = format!("there are {} backing files and {} formats. Name one for each", counts.0, counts.1);
            return Err(CliError::Other(message));
        }
        let mut chain = Vec::new();
        for (path, &format) in self.backing.iter().zip(&self.backing_format) {
            chain.push(BackingFile { path: disks.find(path)?, format });
        }
        let wanted = Conversion {
            target: target.clone(),
            format: self.format,
            cluster_size: self.cluster_size.map(Size::bytes),
            replace: self.force,
        };
        let size = long::run("Converting", move |watch| {
            let image = disks.open(&source, self.from_format, Access::Read)?;
            let backing = disks.open_chain(&chain)?;
            disks.convert(image, backing, &wanted, watch)
        })
        .await?;
        context.output.line(format!("Created {} ({}, {})", target.display(), Size(size), self.format.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::size::GIB;

    #[test]
    fn a_size_is_whole_or_added() {
        assert_eq!("20GiB".parse(), Ok(NewSize::Whole(Size(20 * GIB))));
        assert_eq!("+1G".parse(), Ok(NewSize::Added(Size(GIB))));
        assert!("-1G".parse::<NewSize>().is_err() && "+".parse::<NewSize>().is_err());
    }
}
