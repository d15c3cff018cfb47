//! `lodgectl create`.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use super::{CliError, Result, context::Context, error};
use crate::manager::{
    creation::{self, NewDisk},
    definition::{CpuDefinition, Definition, DiskFormat, NetworkDefinition, NetworkKind, Topology},
    media::MediaKind,
    size::Size,
};

/// The test card needs little.
const TEST_CARD_MEMORY: Size = Size::mib(64);

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The new guest's name
    name: String,
    /// Its memory, in whole MiB, like 512MiB or 2GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Its virtual CPUs: their number, and if you like how they are arranged, as 8,sockets=2,cores=2,threads=2. What is left out
    /// of the arrangement follows from the number
    #[arg(long, default_value = "1", value_name = "COUNT[,sockets=N][,cores=N][,threads=N]")]
    vcpus: VcpusArgument,
    /// CPU features it does not get, by their names in /proc/cpuinfo, as avx2,rdrand; can be repeated
    #[arg(long = "disable-cpu-feature", value_name = "NAMES", value_delimiter = ',')]
    disabled_cpu_features: Vec<String>,
    /// Let it run virtual machines itself
    #[arg(long)]
    nested: bool,
    /// A disk: the path of an image, or size=20GiB[,format=qcow2|raw] for a new one; can be repeated
    #[arg(long = "disk", value_name = "DISK")]
    disks: Vec<DiskArgument>,
    /// A CD-ROM with this ISO image; can be repeated
    #[arg(long = "cdrom", value_name = "ISO")]
    cdroms: Vec<PathBuf>,
    /// A Linux kernel to boot directly (vmlinuz or vmlinux), whatever is on the disks
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", requires = "kernel", default_value = "", hide_default_value = true)]
    cmdline: String,
    /// A network card: tap=NAME for a TAP interface that is yours, bridge=NAME for a bridge of the host, or none for a card
    /// without a link; can be repeated
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<NetworkArgument>,
    /// What runs in it: a word like debian
    #[arg(long, value_name = "WORD")]
    os: Option<String>,
    /// A few words about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Give it a copy of the built-in test card as disk
    #[arg(long)]
    testcard: bool,
    /// Start it at once
    #[arg(long)]
    start: bool,
}

/// What `--vcpus` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct VcpusArgument {
    count: u32,
    topology: Option<Topology>,
}

impl FromStr for VcpusArgument {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        const HOW: &str = "Write a number, or like 8,sockets=2,cores=2,threads=2";
        let mut parts = text.split(',');
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("\"{text}\" is not a number. {HOW}"));
        let count = number(parts.next().unwrap_or_default())?;
        let (mut sockets, mut cores, mut threads) = (None, None, None);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let level = match name {
                "sockets" => &mut sockets,
                "cores" => &mut cores,
                "threads" => &mut threads,
                _ => return Err(format!("\"{name}\" is not known. {HOW}")),
            };
            if level.replace(number(value)?).is_some() {
                return Err(format!("{name} is there twice. {HOW}"));
            }
        }
        if (sockets, cores, threads) == (None, None, None) {
            return Ok(Self { count, topology: None });
        }
        // What is left out makes up the rest: cores first, as they cost a guest the least.
        let rest = |known: [Option<u32>; 2]| {
            let known = known.iter().flatten().fold(1u32, |product, &level| product.saturating_mul(level));
            count.checked_div(known).unwrap_or(1).max(1)
        };
        let cores = cores.unwrap_or_else(|| rest([sockets, threads]));
        let sockets = sockets.unwrap_or_else(|| rest([Some(cores), threads]));
        let threads = threads.unwrap_or_else(|| rest([Some(cores), Some(sockets)]));
        Ok(Self { count, topology: Some(Topology { sockets, cores, threads }) })
    }
}

/// What `--network` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NetworkArgument(NetworkDefinition);

impl FromStr for NetworkArgument {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once('=') {
            Some(("tap", name)) => Ok(Self(NetworkDefinition::tap(name))),
            Some(("bridge", name)) => Ok(Self(NetworkDefinition::bridge(name))),
            None if text == "none" => Ok(Self(NetworkDefinition::new(NetworkKind::None))),
            _ => Err(format!("\"{text}\" is no network. Write tap=NAME, bridge=NAME or none")),
        }
    }
}

/// What `--disk` says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DiskArgument {
    Existing(PathBuf),
    New { size: u64, format: DiskFormat },
}

impl FromStr for DiskArgument {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let Some(rest) = text.strip_prefix("size=") else { return Ok(Self::Existing(text.into())) };
        let (size, options) = rest.split_once(',').unwrap_or((rest, ""));
        let size = size.parse::<Size>().map_err(|error| error.to_string())?.bytes();
        let format = match options {
            // A new disk takes room as it is written, and can have snapshots.
            "" | "format=qcow2" => DiskFormat::Qcow2,
            "format=raw" => DiskFormat::Raw,
            other => return Err(format!("\"{other}\" is no option of a new disk. Write format=qcow2 or format=raw")),
        };
        Ok(Self::New { size, format })
    }
}

impl Create {
    pub async fn run(self, context: &Context) -> Result {
        let mut definition = Definition::new(&self.name);
        let usual = if self.testcard { TEST_CARD_MEMORY } else { definition.memory };
        definition.memory = self.memory.unwrap_or(usual);
        definition.vcpus = self.vcpus.count;
        definition.cpu = CpuDefinition {
            topology: self.vcpus.topology,
            disabled_features: self.disabled_cpu_features,
            nested: self.nested,
            ..CpuDefinition::default()
        };
        definition.description = self.description;
        definition.os = self.os.or_else(|| self.testcard.then(|| "testcard".to_owned()));
        if let Some(kernel) = self.kernel {
            let initrd = self.initrd.map(absolute).transpose()?;
            definition.kernel = Some(creation::boot(absolute(kernel)?, initrd, self.cmdline)?);
        }
        definition.networks.extend(self.networks.into_iter().map(|NetworkArgument(network)| network));
        let mut new = Vec::new();
        if self.testcard {
            new.push(NewDisk::TestCard);
        }
        for disk in self.disks {
            match disk {
                DiskArgument::New { size, format } => new.push(NewDisk::Empty { size, format }),
                DiskArgument::Existing(path) => definition.add_disk(creation::import(absolute(path)?)?.0),
            }
        }
        for path in self.cdroms {
            let (disk, media) = creation::insert(absolute(path)?)?;
            if media.kind != MediaKind::HybridIso {
                let path = disk.path.display();
                error::say("warning", format!("{path}: {}, and this version has none", media.kind.describe()));
            }
            definition.add_disk(disk);
        }
        for disk in &new {
            if let (NewDisk::Empty { size, .. }, Ok(space)) = (disk, context.pool().space())
                && let Some(warning) = space.warning(*size)
            {
                error::say("warning", warning);
            }
        }
        let (definition, warnings) = creation::create(context.library(), &context.pool(), definition, &new)?;
        for warning in warnings.0 {
            error::say("warning", warning);
        }
        context.output.line(format!("Created \"{}\" ({})", definition.name, definition.uuid))?;
        if self.start {
            context.supervisor.start(&definition.name).await?;
            context.output.line(format!("Started \"{}\"", definition.name))?;
        }
        Ok(())
    }
}

/// Definitions hold absolute paths: a worker has another current folder.
fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).map_err(CliError::io(path.display(), "Write the whole path"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::size::GIB;

    #[test]
    fn a_network_is_an_interface_a_bridge_or_none() {
        let parse = |text: &str| text.parse::<NetworkArgument>().map(|NetworkArgument(network)| network);

        assert_eq!(parse("tap=tap0"), Ok(NetworkDefinition::tap("tap0")));
        assert_eq!(parse("bridge=br0"), Ok(NetworkDefinition::bridge("br0")));
        assert_eq!(parse("none"), Ok(NetworkDefinition::new(NetworkKind::None)));
        assert!(parse("nat").unwrap_err().contains("tap=NAME"));
    }

    #[test]
    fn a_disk_is_a_path_or_a_size() {
        let parse = |text: &str| text.parse::<DiskArgument>();

        assert_eq!(parse("/a,b=c.img"), Ok(DiskArgument::Existing("/a,b=c.img".into())));
        assert_eq!(parse("size=20GiB"), Ok(DiskArgument::New { size: 20 * GIB, format: DiskFormat::Qcow2 }));
        assert_eq!(parse("size=1G,format=raw"), Ok(DiskArgument::New { size: GIB, format: DiskFormat::Raw }));
        assert!(parse("size=much").unwrap_err().contains("much"));
        assert!(parse("size=1G,format=vdi").unwrap_err().contains("format=vdi"));
    }

    #[test]
    fn an_arrangement_is_completed_from_the_number_of_vcpus() {
        let topology = |text: &str| text.parse::<VcpusArgument>().unwrap().topology;
        let levels = |sockets, cores, threads| Some(Topology { sockets, cores, threads });

        assert_eq!("4".parse(), Ok(VcpusArgument { count: 4, topology: None }));
        assert_eq!(topology("8,sockets=2,cores=2,threads=2"), levels(2, 2, 2));
        assert_eq!(topology("8,threads=2"), levels(1, 4, 2));
        assert_eq!(topology("8,sockets=2"), levels(2, 4, 1));
        assert_eq!(topology("8,cores=4"), levels(2, 4, 1));
        assert_eq!(topology("4,cores=0"), levels(1, 0, 1));
    }

    #[test]
    fn what_is_no_arrangement_is_answered_with_one_that_is() {
        for (text, wrong) in
            [("many", "many"), ("4,dies=2", "dies"), ("4,cores=2,cores=2", "twice"), ("4,cores", "number")]
        {
            let message = text.parse::<VcpusArgument>().unwrap_err();
            assert!(message.contains(wrong) && message.contains("8,sockets=2"), "{message}");
        }
    }
}
