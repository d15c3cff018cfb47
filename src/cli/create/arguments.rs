//! What the options of `lodgectl create` may say. As with virt-install, a value and settings are separated by commas.

use std::{path::PathBuf, str::FromStr};

use clap::ValueEnum;

use crate::manager::{
    definition::{
        CacheMode, Definition, DevicesDefinition, DiskBus, DiskFormat, DisplayModel, HugePages, Lifecycle, NatBackend,
        NetworkDefinition, NetworkKind, NetworkModel,
    },
    size::Size,
};

/// Parts like `name=value` or `name` between commas, each name once.
pub struct Settings<'a> {
    parts: Vec<(&'a str, &'a str)>,
    /// How to write them, for errors.
    how: &'static str,
}

impl<'a> Settings<'a> {
    pub fn read(parts: impl Iterator<Item = &'a str>, how: &'static str) -> Result<Self, String> {
        let mut read: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if read.iter().any(|(other, _)| *other == name) {
                return Err(format!("{name} is there twice. {how}"));
            }
            read.push((name, value));
        }
        Ok(Self { parts: read, how })
    }

    pub fn take(&mut self, name: &str) -> Option<&'a str> {
        let index = self.parts.iter().position(|(other, _)| *other == name)?;
        Some(self.parts.remove(index).1)
    }

    pub(super) fn take_number(&mut self, name: &str) -> Result<Option<u32>, String> {
        self.take(name).map(|value| number(value, self.how)).transpose()
    }

    /// Whatever is left is not known.
    pub fn finish(self) -> Result<(), String> {
        match self.parts.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("\"{name}\" is not known. {}", self.how)),
        }
    }
}

pub(super) fn number(text: &str, how: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a number. {how}"))
}

/// What `--hugepages` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePagesArgument(pub HugePages);

impl FromStr for HugePagesArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.parse::<Size>().map(Size::bytes).ok();
        [HugePages::Size2M, HugePages::Size1G]
            .into_iter()
            .find(|pages| Some(pages.bytes()) == size)
            .map(Self)
            .ok_or_else(|| format!("there are no huge pages of \"{text}\". Write 2M or 1G"))
    }
}

/// What `--video` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VideoArgument {
    /// Every system can drive it
    Vga,
    /// Faster, for systems with a driver; to others it is a VGA
    Virtio,
}

impl From<VideoArgument> for DisplayModel {
    fn from(argument: VideoArgument) -> Self {
        match argument {
            VideoArgument::Vga => Self::Vga,
            VideoArgument::Virtio => Self::Virtio,
        }
    }
}

/// What `--vsock` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VsockArgument(pub u32);

impl FromStr for VsockArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cid = text.strip_prefix("cid=").unwrap_or(text);
        number(cid, "Write the guest's address like cid=3").map(Self)
    }
}

/// A device that a guest has unless `--without` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UsualDevice {
    /// Gives memory back to the host while the guest runs
    Balloon,
    /// Random numbers
    Rng,
    /// A virtio keyboard, and a pointer that is where the viewer's is
    Tablet,
    /// The terminal hvc0
    Console,
    /// A guest agent's port
    Agent,
    /// The clipboard, shared with a guest that has the package spice-vdagent
    Clipboard,
    /// A network card
    Network,
}

impl UsualDevice {
    /// Takes the device out, where it is one of those.
    pub fn remove(self, devices: &mut DevicesDefinition) {
        *match self {
            Self::Balloon => &mut devices.balloon,
            Self::Rng => &mut devices.rng,
            Self::Tablet => &mut devices.tablet,
            Self::Console => &mut devices.console,
            Self::Agent => &mut devices.agent,
            Self::Clipboard => &mut devices.clipboard,
            Self::Network => return,
        } = false;
    }
}

/// What `--events` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventsArgument {
    on_poweroff: Option<Lifecycle>,
    on_reboot: Option<Lifecycle>,
    on_crash: Option<Lifecycle>,
}

impl EventsArgument {
    /// Writes it into the definition.
    pub fn apply(self, definition: &mut Definition) {
        definition.on_poweroff = self.on_poweroff.unwrap_or(definition.on_poweroff);
        definition.on_reboot = self.on_reboot.unwrap_or(definition.on_reboot);
        definition.on_crash = self.on_crash.unwrap_or(definition.on_crash);
    }
}

impl FromStr for EventsArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str =
            "Write on_poweroff, on_reboot or on_crash with destroy, restart or preserve, like on_crash=restart";
        let mut settings = Settings::read(text.split(','), HOW)?;
        let mut action = |name| {
            let known = |value| match value {
                "destroy" => Ok(Lifecycle::Destroy),
                "restart" => Ok(Lifecycle::Restart),
                "preserve" => Ok(Lifecycle::Preserve),
                _ => Err(format!("\"{value}\" cannot be done. {HOW}")),
            };
            settings.take(name).map(known).transpose()
        };
        let [on_poweroff, on_reboot, on_crash] = ["on_poweroff", "on_reboot", "on_crash"].map(&mut action);
        settings.finish()?;
        Ok(Self { on_poweroff: on_poweroff?, on_reboot: on_reboot?, on_crash: on_crash? })
    }
}

/// A kind of things to boot from, for `--boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BootArgument {
    /// The first disk
    Disk,
    /// The first CD-ROM drive
    Cdrom,
    /// The first network card, by iPXE
    Network,
}

impl BootArgument {
    /// Refuses what there is none of; new disks are still to come.
    pub fn check(self, definition: &Definition, new_disks: usize) -> Result<(), String> {
        let has_drive = |cdrom| definition.disks.iter().any(|disk| disk.cdrom == cdrom);
        let (is_there, what, option) = match self {
            Self::Disk => (has_drive(false) || new_disks > 0, "disk", "--disk"),
            Self::Cdrom => (has_drive(true), "CD-ROM drive", "--cdrom"),
            Self::Network => (!definition.networks.is_empty(), "network card", "--network"),
        };
        if is_there { Ok(()) } else { Err(format!("there is no {what} to boot from. Give it one with {option}")) }
    }

    /// Gives the first of its kind place `place` of the boot order.
    pub fn apply(self, definition: &mut Definition, place: u32) {
        let mut drives = definition.disks.iter_mut();
        let boot = match self {
            Self::Disk => drives.find(|disk| !disk.cdrom).map(|disk| &mut disk.boot),
            Self::Cdrom => drives.find(|disk| disk.cdrom).map(|disk| &mut disk.boot),
            Self::Network => definition.networks.first_mut().map(|card| &mut card.boot),
        };
        if let Some(boot) = boot {
            *boot = Some(place);
        }
    }
}

/// What `--network` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkArgument(pub NetworkDefinition);

impl FromStr for NetworkArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "Write nat, isolated=NAME, network=NAME, tap=NAME, bridge=NAME or none, and if you like ,mac=ADDRESS, \
                           ,queues=COUNT, ,model=e1000, behind nat ,forward=tcp:2222:22 (HOST_PORT:GUEST_PORT) and \
                           ,backend=passt|slirp, ,bootfile=FILE and ,tftp=FOLDER, behind isolated ,dhcp=10.55.0.0/24";
        // The only setting that may be there several times.
        let (forwards, others): (Vec<_>, Vec<_>) = text.split(',').partition(|part| part.starts_with("forward="));
        let mut settings = Settings::read(others.into_iter(), HOW)?;
        let places = ["nat", "isolated", "network", "tap", "bridge", "none"].map(|place| settings.take(place));
        let mut network = match places {
            [Some(""), None, None, None, None, None] => NetworkDefinition::nat(),
            [None, Some(network), None, None, None, None] => NetworkDefinition::isolated(network),
            [None, None, Some(network), None, None, None] => NetworkDefinition::network(network),
            [None, None, None, Some(tap), None, None] => NetworkDefinition::tap(tap),
            [None, None, None, None, Some(bridge), None] => NetworkDefinition::bridge(bridge),
            [None, None, None, None, None, Some(_)] => NetworkDefinition::new(NetworkKind::None),
            _ => return Err(format!("\"{text}\" is no network. {HOW}")),
        };
        let forwards = forwards.iter().filter_map(|part| part.strip_prefix("forward="));
        network.forwards = forwards.map(str::parse).collect::<Result<_, _>>()?;
        network.backend = settings.take("backend").map_or_else(|| Ok(NatBackend::default()), str::parse)?;
        let subnet = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is no subnet. {HOW}"));
        network.dhcp = settings.take("dhcp").map(subnet).transpose()?;
        network.mac = settings.take("mac").map(str::to_ascii_lowercase);
        network.queues = settings.take_number("queues")?.unwrap_or(network.queues);
        network.bootfile = settings.take("bootfile").map(str::to_owned);
        network.tftp = settings.take("tftp").map(PathBuf::from);
        network.model = match settings.take("model") {
            None | Some("virtio") => NetworkModel::Virtio,
            Some("e1000") => NetworkModel::E1000,
            Some(other) => return Err(format!("there is no card {other}. {HOW}")),
        };
        settings.finish()?;
        Ok(Self(network))
    }
}

/// What `--disk` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskArgument {
    pub source: DiskSource,
    pub cache: CacheMode,
    pub bus: DiskBus,
}

/// Where a disk comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    Existing(PathBuf),
    New { size: u64, format: DiskFormat },
}

impl FromStr for DiskArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut text, mut cache, mut bus) = (text, CacheMode::default(), DiskBus::default());
        // From the end: a path may have commas, too.
        while let Some((before, setting)) = text.rsplit_once(',') {
            match setting.split_once('=') {
                Some(("cache", mode)) => cache = CacheMode::from_str(mode, false).map_err(|_| unknown_cache(mode))?,
                Some(("bus", name)) => bus = DiskBus::from_str(name, false).map_err(|_| unknown_bus(name))?,
                _ => break,
            }
            text = before;
        }
        let Some(rest) = text.strip_prefix("size=") else {
            return Ok(Self { source: DiskSource::Existing(text.into()), cache, bus });
        };
        let (size, options) = rest.split_once(',').unwrap_or((rest, ""));
        let size = size.parse::<Size>().map_err(|error| error.to_string())?.bytes();
        let format = match options {
            // A new disk takes room as it is written, and can have snapshots.
            "" | "format=qcow2" => DiskFormat::Qcow2,
            "format=raw" => DiskFormat::Raw,
            other => return Err(format!("\"{other}\" is no option of a new disk. Write format=qcow2 or format=raw")),
        };
        Ok(Self { source: DiskSource::New { size, format }, cache, bus })
    }
}

fn unknown_cache(mode: &str) -> String {
    format!("\"{mode}\" is no cache mode. Write cache=writeback, cache=none, cache=writethrough or cache=unsafe")
}

fn unknown_bus(name: &str) -> String {
    format!("\"{name}\" is no bus for disks. Write bus=virtio or bus=ide")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::definition::{BootSource, DiskDefinition};
    use crate::manager::size::GIB;

    #[test]
    fn a_network_is_an_interface_a_bridge_or_none() {
        let parse = |text: &str| text.parse::<NetworkArgument>().map(|NetworkArgument(network)| network);
        let mac = Some("52:54:00:00:00:0a".to_owned());

        assert_eq!(parse("nat"), Ok(NetworkDefinition::nat()));
        let forwards = ["tcp:2222:22", "udp:0.0.0.0:53:5353"].map(|forward| forward.parse().unwrap()).to_vec();
        assert_eq!(
            parse("nat,forward=2222:22,backend=slirp,forward=udp:0.0.0.0:53:5353"),
            Ok(NetworkDefinition { backend: NatBackend::Slirp, forwards, ..NetworkDefinition::nat() })
        );
        assert_eq!(parse("network=default"), Ok(NetworkDefinition::network("default")));
        assert_eq!(
            parse("nat,tftp=/srv/tftp,bootfile=http://10.0.2.2:8080/boot.ipxe"),
            Ok(NetworkDefinition {
                tftp: Some("/srv/tftp".into()),
                bootfile: Some("http://10.0.2.2:8080/boot.ipxe".to_owned()),
                ..NetworkDefinition::nat()
            })
        );
        assert_eq!(parse("tap=tap0"), Ok(NetworkDefinition::tap("tap0")));
        assert_eq!(parse("bridge=br0,model=virtio"), Ok(NetworkDefinition::bridge("br0")));
        let dhcp = Some("10.55.0.0/24".parse().unwrap());
        assert_eq!(
            parse("isolated=lab,dhcp=10.55.0.0/24"),
            Ok(NetworkDefinition { dhcp, ..NetworkDefinition::isolated("lab") })
        );
        assert_eq!(
            parse("nat,model=e1000"),
            Ok(NetworkDefinition { model: NetworkModel::E1000, ..NetworkDefinition::nat() })
        );
        assert_eq!(parse("none"), Ok(NetworkDefinition::new(NetworkKind::None)));
        assert_eq!(
            parse("queues=2,bridge=br0,mac=52:54:00:00:00:0A"),
            Ok(NetworkDefinition { mac, queues: 2, ..NetworkDefinition::bridge("br0") })
        );
        for (text, wrong) in [
            ("nat=1", "no network"),
            ("nat,forward=22", "tcp:2222:22"),
            ("nat,backend=vpn", "passt or slirp"),
            ("tap=a,bridge=b", "no network"),
            ("isolated=lab,dhcp=yes", "no subnet"),
            ("tap=a,queues=x", "\"x\" is not a number"),
            ("tap=a,mtu=9000", "\"mtu\" is not known"),
            ("tap=a,model=ne2000", "no card ne2000"),
        ] {
            assert!(parse(text).unwrap_err().contains(wrong), "{text}");
        }
    }

    #[test]
    fn things_to_boot_from_get_their_places_and_have_to_be_there() {
        let mut definition = Definition::new("web");
        definition.add_network(NetworkDefinition::nat());
        assert!(BootArgument::Cdrom.check(&definition, 1).unwrap_err().contains("--cdrom"));
        assert!(BootArgument::Disk.check(&definition, 0).is_err());
        assert_eq!(BootArgument::Disk.check(&definition, 1), Ok(()));

        definition.add_disk(DiskDefinition::new("/web.qcow2", DiskFormat::Qcow2));
        (1..)
            .zip([BootArgument::Network, BootArgument::Disk])
            .for_each(|(place, source)| source.apply(&mut definition, place));

        assert_eq!((definition.networks[0].boot, definition.disks[0].boot), (Some(1), Some(2)));
        assert_eq!(definition.boot_sources(), [BootSource::Network(0), BootSource::Disk(0)]);
    }

    #[test]
    fn a_disk_is_a_path_or_a_size() {
        let parse = |text: &str| text.parse::<DiskArgument>();

        let bus = DiskBus::Virtio;
        let existing = |path: &str, cache| Ok(DiskArgument { source: DiskSource::Existing(path.into()), cache, bus });
        let new = |size, format, cache| Ok(DiskArgument { source: DiskSource::New { size, format }, cache, bus });
        assert_eq!(parse("/a,b=c.img"), existing("/a,b=c.img", CacheMode::Writeback));
        assert_eq!(parse("/a,b=c.img,cache=none"), existing("/a,b=c.img", CacheMode::None));
        assert_eq!(parse("size=20GiB"), new(20 * GIB, DiskFormat::Qcow2, CacheMode::Writeback));
        assert_eq!(parse("size=1G,format=raw,cache=unsafe"), new(GIB, DiskFormat::Raw, CacheMode::Unsafe));
        let ide = |argument: Result<DiskArgument, String>| {
            argument.map(|argument| DiskArgument { bus: DiskBus::Ide, ..argument })
        };
        assert_eq!(parse("/a.img,bus=ide,cache=none"), ide(existing("/a.img", CacheMode::None)));
        assert_eq!(parse("size=1G,format=raw,bus=ide"), ide(new(GIB, DiskFormat::Raw, CacheMode::Writeback)));
        assert!(parse("disk.img,bus=scsi").unwrap_err().contains("bus=ide"));
        assert!(parse("disk.img,cache=some").unwrap_err().contains("cache=writethrough"));
        assert!(parse("size=much").unwrap_err().contains("much"));
        assert!(parse("size=1G,format=vdi").unwrap_err().contains("format=vdi"));
    }

    #[test]
    fn the_rest_is_read_as_people_write_it() {
        assert_eq!("2M".parse(), Ok(HugePagesArgument(HugePages::Size2M)));
        assert_eq!("1GiB".parse(), Ok(HugePagesArgument(HugePages::Size1G)));
        assert!("4k".parse::<HugePagesArgument>().unwrap_err().contains("2M or 1G"));
        assert_eq!("cid=7".parse(), Ok(VsockArgument(7)));
        assert!("cid=".parse::<VsockArgument>().is_err());
        let mut definition = Definition::new("web");
        "on_reboot=destroy,on_crash=restart".parse::<EventsArgument>().unwrap().apply(&mut definition);
        assert_eq!((definition.on_reboot, definition.on_crash), (Lifecycle::Destroy, Lifecycle::Restart));
        assert!("on_crash=explode".parse::<EventsArgument>().unwrap_err().contains("explode"));
    }
}
