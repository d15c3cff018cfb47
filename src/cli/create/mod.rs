//! `lodgectl create`.

mod arguments;
mod cpus;
mod listen;

use std::path::PathBuf;

use clap::Args;
use uuid::Uuid;

pub(super) use self::arguments::NetworkArgument;
use self::arguments::{
    BootArgument, DiskArgument, DiskSource, EventsArgument, HugePagesArgument, UsualDevice, VideoArgument,
    VsockArgument,
};
use self::cpus::{CpuArgument, PinArgument, VcpusArgument};
use self::listen::ListenArgument;
use super::{CliError, Result, context::Context, error, lifecycle};
use crate::manager::{
    creation::{self, NewDisk},
    definition::{CpuDefinition, Definition, DiskDefinition, MAX_VCPUS, NetworkDefinition},
    size::Size,
};

/// What stands for no ISO image.
const EMPTY_DRIVE: &str = "none";
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
    /// What its CPU is like: the host's, without features by their names in /proc/cpuinfo, as host,-avx2,-rdrand; with +vmx or
    /// +svm it can run virtual machines itself
    #[arg(long, value_name = "host[,-FEATURE]...", default_value = "host", hide_default_value = true)]
    cpu: CpuArgument,
    /// The host's CPUs that its virtual CPUs may run on, like 0,2-3
    #[arg(long, value_name = "CPUS")]
    cpuset: Option<String>,
    /// The host's CPUs that one of its virtual CPUs may run on, like 0=2-3; can be repeated
    #[arg(long = "pin", value_name = "VCPU=CPUS")]
    pins: Vec<PinArgument>,
    /// Take its memory from the host's huge pages, of 2M or 1G
    #[arg(long, value_name = "SIZE")]
    hugepages: Option<HugePagesArgument>,
    /// Let the host keep pages only once that are equal in several guests (KSM)
    #[arg(long)]
    mergeable: bool,
    /// A disk: the path of an image, or size=20GiB[,format=qcow2|raw] for a new one, and behind either, if you like,
    /// ,cache=writeback|none|writethrough|unsafe and ,bus=virtio|ide; can be repeated
    #[arg(long = "disk", value_name = "DISK")]
    disks: Vec<DiskArgument>,
    /// A CD-ROM drive with this ISO image, or none for an empty drive; can be repeated
    #[arg(long = "cdrom", value_name = "ISO")]
    cdroms: Vec<PathBuf>,
    /// What it boots from, the first one first: network (the first card, by iPXE), disk or cdrom, like network,disk. Disks and
    /// CD-ROMs that are not named come behind
    #[arg(long, value_name = "WHAT,...", value_delimiter = ',', conflicts_with = "kernel")]
    boot: Vec<BootArgument>,
    /// A Linux kernel to boot directly (vmlinuz or vmlinux), whatever is on the disks
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", requires = "kernel", default_value = "", hide_default_value = true)]
    cmdline: String,
    /// A network card: nat for the host's network by address translation, which is what a guest has when nothing is said, with
    /// ,forward=[tcp|udp:][ADDRESS:]HOST_PORT:GUEST_PORT (as often as you like), ,backend=auto|passt|slirp, and what it finds to
    /// boot: ,bootfile=http://10.0.2.2:8080/boot.ipxe or a file in ,tftp=FOLDER; isolated=NAME for a
    /// network of your own guests, with ,dhcp=10.55.0.0/24 if they are to get addresses; network=NAME for a network of the host
    /// that root has made; tap=NAME for a TAP interface that is yours; bridge=NAME for a bridge of the host; or none for a card
    /// without a cable; with ,mac=ADDRESS, ,queues=COUNT and ,model=virtio|e1000; can be repeated
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<NetworkArgument>,
    /// Its graphics card
    #[arg(long, value_name = "CARD", default_value = "vga")]
    video: VideoArgument,
    /// Let viewers in by TCP whenever it runs, over TLS and with a new password, which "lodgectl vnc" shows. Without an address only
    /// those on this computer; port 0 chooses a free one. With ,password-file=FILE or ,no-password, ,no-tls, ,websocket and
    /// ,view-only as for "lodgectl vnc --listen"
    #[arg(long, value_name = "[ADDRESS:]PORT[,...]")]
    vnc: Option<ListenArgument>,
    /// Sockets between guest and host (vsock), by this address of the guest
    #[arg(long, value_name = "cid=N")]
    vsock: Option<VsockArgument>,
    /// Leave out devices that guests usually have
    #[arg(long, value_name = "DEVICES", value_delimiter = ',')]
    without: Vec<UsualDevice>,
    /// What is done when it powers itself off, reboots or crashes, like on_reboot=destroy,on_crash=restart
    #[arg(long, value_name = "EVENT=ACTION,...")]
    events: Option<EventsArgument>,
    /// What identifies it for ever; made up when left out
    #[arg(long)]
    uuid: Option<Uuid>,
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

impl Create {
    pub async fn run(self, context: &Context) -> Result {
        let mut definition = self.definition();
        definition.display.listen = self.vnc.map(ListenArgument::definition).transpose()?;
        if let Some(kernel) = self.kernel {
            let initrd = self.initrd.map(absolute).transpose()?;
            definition.kernel = Some(creation::boot(absolute(kernel)?, initrd, self.cmdline)?);
        }
        let mut new = Vec::new();
        if self.testcard {
            new.push(NewDisk::TestCard);
        }
        for disk in self.disks {
            let (cache, bus) = (disk.cache, disk.bus);
            match disk.source {
                DiskSource::New { size, format } => new.push(NewDisk::Empty { size, format, cache, bus }),
                DiskSource::Existing(path) => {
                    definition.add_disk(DiskDefinition { cache, bus, ..creation::import(absolute(path)?)?.0 });
                }
            }
        }
        for path in self.cdroms {
            definition.add_disk(match path.as_os_str() == EMPTY_DRIVE {
                true => DiskDefinition::empty_drive(),
                false => creation::insert(absolute(path)?)?.0,
            });
        }
        for source in &self.boot {
            source.check(&definition, new.len()).map_err(CliError::Other)?;
        }
        for disk in &new {
            if let (NewDisk::Empty { size, .. }, Ok(space)) = (disk, context.pool().space())
                && let Some(warning) = space.warning(*size)
            {
                error::say("warning", warning);
            }
        }
        let arrange = |definition: &mut Definition| {
            (1..).zip(&self.boot).for_each(|(place, source)| source.apply(definition, place));
        };
        let (definition, warnings) =
            creation::create_with(context.library(), &context.pool(), definition, &new, arrange)?;
        for warning in warnings.0 {
            error::say("warning", warning);
        }
        context.output.line(format!("Created \"{}\" ({})", definition.name, definition.uuid))?;
        if self.start {
            context.supervisor.start(&definition.name).await?;
            context.output.line(format!("Started \"{}\"", definition.name))?;
            lifecycle::warn_of_demand(context).await;
        }
        Ok(())
    }
}

impl Create {
    /// What the options say about the guest, but for its files.
    fn definition(&self) -> Definition {
        let mut definition = Definition::new(&self.name);
        definition.uuid = self.uuid.unwrap_or(definition.uuid);
        let usual = if self.testcard { TEST_CARD_MEMORY } else { definition.memory };
        definition.memory = self.memory.unwrap_or(usual);
        definition.memory_backing.huge_pages = self.hugepages.map(|HugePagesArgument(size)| size);
        definition.memory_backing.mergeable = self.mergeable;
        definition.vcpus = self.vcpus.count;
        definition.cpu = CpuDefinition {
            topology: self.vcpus.topology,
            disabled_features: self.cpu.disabled_features.clone(),
            nested: self.cpu.nested,
            pinning: self.pinning(),
        };
        definition.display.model = self.video.into();
        definition.devices.vsock = self.vsock.map(|VsockArgument(cid)| cid);
        self.without.iter().for_each(|device| device.remove(&mut definition.devices));
        if let Some(events) = self.events {
            events.apply(&mut definition);
        }
        definition.networks.extend(self.networks.iter().map(|NetworkArgument(network)| network.clone()));
        // The test card drives no network.
        if self.networks.is_empty() && !self.testcard && !self.without.contains(&UsualDevice::Network) {
            definition.networks.push(NetworkDefinition::nat());
        }
        definition.address_networks();
        definition.description.clone_from(&self.description);
        definition.os = self.os.clone().or_else(|| self.testcard.then(|| "testcard".to_owned()));
        definition
    }

    /// For each virtual CPU the host's CPUs.
    fn pinning(&self) -> Vec<String> {
        // A number that is too large is complained of later.
        let vcpus = self.vcpus.count.min(MAX_VCPUS) as usize;
        let mut pinning = self.cpuset.as_ref().map_or_else(Vec::new, |cpus| vec![cpus.clone(); vcpus]);
        for PinArgument { vcpu, cpus } in &self.pins {
            let index = *vcpu as usize;
            pinning.resize(pinning.len().max(index + 1), String::new());
            if let Some(place) = pinning.get_mut(index) {
                place.clone_from(cpus);
            }
        }
        pinning
    }
}

/// Definitions hold absolute paths: a worker has another current folder.
fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).map_err(CliError::io(path.display(), "Write the whole path"))
}
