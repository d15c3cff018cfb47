//! The machine's disks and CD-ROM drives: virtio-blk functions in the PCI slots behind the chipset's, and drives of the IDE
//! controller, which is there when it has any.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::{
    CdromConfig, DiskBus, DiskConfig, EventSink, MachineError, MachineEvent,
    boot_order::{BootDrive, Content},
    requests::Requests,
    virtio::VirtioWiring,
};
use crate::vmm::{
    block::{self, BlockError, Disk, Image, SECTOR, drive::Drive, statistics::Statistics},
    boot::firmware::BootPlace,
    bus::Bus,
    devices::ide::{CHANNELS, Channel, DriveConfig, MAX_DRIVES, Tray, UNITS},
    interrupt::Interrupt,
    pci::{
        PCI_SLOTS, PciAddress,
        bus::PciBus,
        piix3_ide::{IDE, Piix3Ide},
    },
    virtio::block::Block,
};

/// The first slot for disks.
const FIRST_SLOT: u8 = 4;
/// The most virtio disks that a machine can have.
pub const MAX_DISKS: usize = (PCI_SLOTS - FIRST_SLOT) as usize;
/// The most queues of a disk: more vCPUs share them.
const MAX_QUEUES: u32 = 4;

/// How many queues the disks of a machine with `vcpus` virtual CPUs have.
pub fn queues(vcpus: u32) -> u32 {
    vcpus.clamp(1, MAX_QUEUES)
}

/// A disk of a machine, as QMP's `query-block` shows it.
#[derive(Debug, Clone)]
pub struct DiskInfo {
    /// Its name.
    pub id: String,
    /// Its size in bytes.
    pub capacity: u64,
    /// Whether the guest cannot write to it.
    pub read_only: bool,
    /// How it is connected.
    pub bus: DiskBus,
    /// What it has been asked for, and how that goes.
    pub drive: Arc<Drive>,
}

/// A CD-ROM drive of a machine.
#[derive(Debug, Clone)]
pub struct CdromInfo {
    /// Its name.
    pub id: String,
    /// Its tray, to look at and to move.
    pub tray: Tray,
    /// What it has been asked for.
    pub statistics: Arc<Statistics>,
}

/// Refuses drives that cannot be together in a machine; other devices have the slots from `end` on.
pub fn check(disks: &[DiskConfig], cdroms: &[CdromConfig], end: u8) -> Result<(), MachineError> {
    let most = usize::from(end.saturating_sub(FIRST_SLOT));
    let ide = disks.iter().filter(|disk| disk.bus == DiskBus::Ide).count() + cdroms.len();
    let virtio = disks.len() + cdroms.len() - ide;
    if virtio > most {
        return Err(MachineError::Config(format!("{virtio} virtio disks. give it at most {most}")));
    }
    if ide > MAX_DRIVES {
        let what = format!("{ide} IDE disks and CD-ROM drives. give it at most {MAX_DRIVES}");
        return Err(MachineError::Config(what));
    }
    let mut ids = BTreeSet::new();
    let mut all = disks.iter().map(|disk| &disk.id).chain(cdroms.iter().map(|cdrom| &cdrom.id));
    match all.find(|id| !ids.insert(*id)) {
        Some(twice) => Err(MachineError::Config(format!("two disks with the name {twice}. rename one"))),
        None => Ok(()),
    }
}

/// A place on the IDE controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IdePlace {
    channel: usize,
    unit: usize,
}

impl IdePlace {
    fn boot_place(self) -> BootPlace {
        BootPlace::IdeDrive { controller: IDE, channel: self.channel, unit: self.unit }
    }
}

/// Where a drive is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Virtio(PciAddress),
    Ide(IdePlace),
}

/// All drives with their places.
pub struct Drives {
    disks: Vec<(Place, DiskConfig)>,
    cdroms: Vec<(IdePlace, Option<u32>, CdromInfo)>,
}

impl Drives {
    /// Gives each a place: virtio disks one slot after the other; IDE disks from the first channel on, CD-ROM drives from the
    /// second on, as software expects them. `events` learns of trays that the guest moves.
    pub fn new(disks: Vec<DiskConfig>, cdroms: Vec<CdromConfig>, events: &EventSink) -> Self {
        let place = |channel, unit| IdePlace { channel, unit };
        let mut free = vec![place(0, 0), place(0, 1), place(1, 0), place(1, 1)];
        let mut slots = (FIRST_SLOT..PCI_SLOTS).map(|slot| PciAddress::new(slot, 0));
        let mut placed = Vec::new();
        for disk in disks {
            let place = match disk.bus {
                DiskBus::Virtio => slots.next().map(Place::Virtio),
                DiskBus::Ide => (!free.is_empty()).then(|| Place::Ide(free.remove(0))),
            };
            // There is one: they have been counted.
            placed.extend(place.map(|place| (place, disk)));
        }
        free.sort_by_key(|place| (CHANNELS - place.channel, place.unit));
        let cdrom = |(place, CdromConfig { id, medium, bootindex }): (_, CdromConfig)| {
            let (events, name) = (events.clone(), id.clone());
            let observer = Arc::new(move |open| events(MachineEvent::TrayMoved { id: name.clone(), open }));
            let info = CdromInfo { id, tray: Tray::new(medium, observer), statistics: Arc::default() };
            (place, bootindex, info)
        };
        Self { disks: placed, cdroms: free.into_iter().zip(cdroms).map(cdrom).collect() }
    }

    /// Those to boot from.
    pub fn to_boot_from(&self) -> Vec<BootDrive> {
        let disks = self.disks.iter().filter_map(|(place, disk)| {
            let place = match *place {
                Place::Virtio(address) => BootPlace::Function(address),
                Place::Ide(place) => place.boot_place(),
            };
            Some(BootDrive { place, bootindex: disk.bootindex?, content: Content::Disk(Arc::new(disk.disk.clone())) })
        });
        let cdroms = self.cdroms.iter().filter_map(|(place, bootindex, cdrom)| {
            let content = Content::Cdrom(cdrom.tray.clone());
            Some(BootDrive { place: place.boot_place(), bootindex: (*bootindex)?, content })
        });
        disks.chain(cdroms).collect()
    }

    /// Plugs them into a machine with `vcpus` virtual CPUs. The IDE channels are at `ports` and interrupt by `lines`;
    /// `requests` learns of what the host cannot do.
    pub fn plug(
        self,
        vcpus: u32,
        pci: &PciBus,
        (ports, lines): (&Arc<Bus>, &[Interrupt; CHANNELS]),
        wiring: &VirtioWiring,
        requests: &Arc<Requests>,
    ) -> Result<(Vec<DiskInfo>, Vec<CdromInfo>), MachineError> {
        let mut units: [[Option<DriveConfig>; UNITS]; CHANNELS] = Default::default();
        let mut disks = Vec::new();
        for (place, config) in self.disks {
            let (id, disk, bus) = (config.id.clone(), config.disk.clone(), config.bus);
            let (capacity, read_only) = (disk.capacity(), disk.read_only());
            let teller = requests.clone();
            let observer = Arc::new(move |error| teller.tell(MachineEvent::DiskError(Box::new(error))));
            let drive = Drive::new(&id, disk).with_durability(config.durability).with_policy(config.errors, observer);
            let drive = Arc::new(drive.with_limits(config.limits));
            match place {
                Place::Virtio(address) => plug_virtio(config, address, vcpus, pci, wiring, drive.clone())?,
                Place::Ide(place) => {
                    let disk = DriveConfig::Disk { drive: drive.clone(), serial: config.serial };
                    units[place.channel][place.unit] = Some(disk);
                }
            }
            disks.push(DiskInfo { id, capacity, read_only, bus, drive });
        }
        let mut cdroms = Vec::new();
        for (place, _, info) in self.cdroms {
            let drive = DriveConfig::Cdrom { tray: info.tray.clone(), statistics: info.statistics.clone() };
            units[place.channel][place.unit] = Some(drive);
            cdroms.push(info);
        }
        if units.iter().flatten().any(Option::is_some) {
            let mut channels = [None, None];
            for (index, (channel, drives)) in channels.iter_mut().zip(units).enumerate() {
                let label = format!("ide{index}");
                if drives.iter().any(Option::is_some) {
                    let made = Channel::new(&label, drives, lines[index].clone(), wiring.memory.clone());
                    *channel = Some(made.map_err(|source| MachineError::Device { label, source })?);
                }
            }
            pci.plug(IDE, Arc::new(Mutex::new(Piix3Ide::new(ports.clone(), channels))), vec![])?;
        }
        Ok((disks, cdroms))
    }
}

/// A disk whose image is to stay as it is.
#[derive(Debug)]
pub struct DiskSnapshot {
    /// The disk's name.
    pub id: String,
    /// Where the guest goes on: an empty image, open for writing, that is based on the disk's own.
    pub image: Image,
    /// The disk's own image again, open for reading only.
    pub frozen: Image,
}

/// Exchanges the images of disks that no device serves at this moment: all or none.
pub fn snapshot(disks: &[DiskInfo], snapshots: Vec<DiskSnapshot>) -> Result<(), MachineError> {
    let mut prepared = Vec::with_capacity(snapshots.len());
    for DiskSnapshot { id, image, frozen } in snapshots {
        let Some(info) = disks.iter().find(|disk| disk.id == id) else { return Err(MachineError::NoSuchDisk(id)) };
        let failed = |source| MachineError::Snapshot { disk: id.clone(), source };
        let disk = info.drive.disk();
        if disk.read_only() {
            return Err(failed(BlockError::Fixed));
        }
        let over = disk.freeze(frozen).and_then(|base| block::open_over(image, base)).map_err(failed)?;
        if over.capacity() != disk.capacity() {
            let failed = |source| MachineError::Snapshot { disk: id.clone(), source };
            return Err(failed(BlockError::Size { old: disk.capacity(), new: over.capacity() }));
        }
        prepared.push((&info.drive, Arc::from(over)));
    }
    for (drive, over) in prepared {
        drop(drive.exchange(over));
    }
    Ok(())
}

/// Gives a disk that no device serves at this moment `size` bytes.
pub fn grow(disks: &mut [DiskInfo], id: &str, size: u64) -> Result<(), MachineError> {
    let Some(info) = disks.iter_mut().find(|disk| disk.id == id) else {
        return Err(MachineError::NoSuchDisk(id.to_owned()));
    };
    let refused =
        |reason: &str| MachineError::Grow { disk: id.to_owned(), source: BlockError::Refused(reason.to_owned()) };
    if info.read_only {
        return Err(refused("it is read-only"));
    }
    if info.bus == DiskBus::Ide {
        return Err(refused("a running guest does not see that its IDE disk grows. shut the guest down first"));
    }
    if size < info.capacity || !size.is_multiple_of(SECTOR) {
        let has = info.capacity;
        return Err(refused(&format!("it has {has} bytes. give it more, in whole sectors of {SECTOR}")));
    }
    if size > info.capacity {
        info.drive.grow(size).map_err(|source| MachineError::Grow { disk: id.to_owned(), source })?;
        info.capacity = info.drive.disk().capacity();
    }
    Ok(())
}

fn plug_virtio(
    mut config: DiskConfig,
    address: PciAddress,
    vcpus: u32,
    pci: &PciBus,
    wiring: &VirtioWiring,
    drive: Arc<Drive>,
) -> Result<(), MachineError> {
    let rings = (0..queues(vcpus)).map(|_| config.rings.pop()).collect();
    let block = Block::with_rings(drive, &config.serial, rings);
    pci.plug(address, Arc::new(Mutex::new(wiring.function(Box::new(block))?)), vec![])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::block::Format;

    fn disk(id: &str, bus: DiskBus) -> DiskConfig {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let disk = block::open(Image { file, format: Format::Raw }, false, Vec::new()).unwrap();
        DiskConfig { bus, bootindex: Some(0), ..DiskConfig::new(id, disk) }
    }

    fn cdrom(id: &str) -> CdromConfig {
        CdromConfig { id: id.to_owned(), medium: None, bootindex: Some(1) }
    }

    fn places(disks: Vec<DiskConfig>, cdroms: Vec<CdromConfig>) -> Vec<BootPlace> {
        let drives = Drives::new(disks, cdroms, &(Arc::new(|_| ()) as EventSink));
        drives.to_boot_from().into_iter().map(|drive| drive.place).collect()
    }

    fn ide(channel: usize, unit: usize) -> BootPlace {
        BootPlace::IdeDrive { controller: IDE, channel, unit }
    }

    #[test]
    fn virtio_disks_keep_their_slots_whatever_else_there_is() {
        let disks = vec![disk("a", DiskBus::Virtio), disk("b", DiskBus::Ide), disk("c", DiskBus::Virtio)];

        let slot = |slot| BootPlace::Function(PciAddress::new(slot, 0));
        assert_eq!(places(disks, vec![cdrom("cd")]), [slot(4), ide(0, 0), slot(5), ide(1, 0)]);
    }

    #[test]
    fn ide_disks_and_cdrom_drives_meet_in_the_middle() {
        let disks = || vec![disk("a", DiskBus::Ide)];

        assert_eq!(
            places(disks(), vec![cdrom("1"), cdrom("2"), cdrom("3")]),
            [ide(0, 0), ide(1, 0), ide(1, 1), ide(0, 1)]
        );
        assert!(check(&disks(), &[cdrom("1"), cdrom("2"), cdrom("3")], 32).is_ok());
        assert!(check(&disks(), &[cdrom("1"), cdrom("2"), cdrom("3"), cdrom("4")], 32).is_err());
        assert!(check(&disks(), &[cdrom("a")], 32).is_err(), "one name twice");
    }
}
