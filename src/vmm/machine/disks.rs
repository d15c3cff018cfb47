//! The machine's disks: virtio-blk functions in the PCI slots behind the chipset's.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::{DiskConfig, MachineError, MachineEvent, requests::Requests, virtio::VirtioWiring};
use crate::vmm::{
    block::{Disk, SECTOR, drive::Drive},
    memory::GuestSlice,
    pci::{PCI_SLOTS, PciAddress, bus::PciBus},
    virtio::block::Block,
};

/// The first slot for disks.
const FIRST_SLOT: u8 = 4;
/// The most disks that a machine can have.
pub const MAX_DISKS: usize = (PCI_SLOTS - FIRST_SLOT) as usize;
/// The last bytes of a boot sector.
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];
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
    /// What it has been asked for, and how that goes.
    pub drive: Arc<Drive>,
}

/// Refuses disks that cannot be together in a machine; other devices have the slots from `end` on.
pub fn check(disks: &[DiskConfig], end: u8) -> Result<(), MachineError> {
    let most = usize::from(end.saturating_sub(FIRST_SLOT));
    if disks.len() > most {
        return Err(MachineError::Config(format!("{} disks. give it at most {most}", disks.len())));
    }
    let mut ids = BTreeSet::new();
    match disks.iter().find(|disk| !ids.insert(&disk.id)) {
        Some(twice) => Err(MachineError::Config(format!("two disks with the name {}. rename one", twice.id))),
        None => Ok(()),
    }
}

/// Where disk number `index` is plugged in.
fn address(index: usize) -> PciAddress {
    PciAddress::new(FIRST_SLOT + index as u8, 0)
}

/// A disk to boot from.
pub struct BootDisk {
    address: PciAddress,
    bootindex: u32,
    disk: Arc<dyn Disk>,
}

/// The disks to boot from.
pub fn boot_disks(disks: &[DiskConfig]) -> Vec<BootDisk> {
    let bootable = |(at, disk): (usize, &DiskConfig)| {
        Some(BootDisk { address: address(at), bootindex: disk.bootindex?, disk: disk.disk.clone() })
    };
    disks.iter().enumerate().filter_map(bootable).collect()
}

/// Where the disks to boot from are plugged in, the first to try first. Disks of one index keep their order.
///
/// SeaBIOS tries one disk only. So those that have a boot sector now come before those that have none: a guest with an empty
/// disk begins from its installation image, and from its disk once something is installed there.
pub fn boot_order(disks: &[BootDisk]) -> Vec<PciAddress> {
    let mut order: Vec<_> =
        disks.iter().map(|disk| (!has_boot_sector(&*disk.disk), disk.bootindex, disk.address)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, address)| address).collect()
}

/// Whether the first sector ends as a boot sector does. This says nothing of the image's format, which its definition knows.
fn has_boot_sector(disk: &dyn Disk) -> bool {
    let mut sector = [0; SECTOR as usize];
    let read = disk.capacity() >= SECTOR && disk.read(0, &[GuestSlice::from(sector.as_mut_slice())]).is_ok();
    read && sector.ends_with(&BOOT_SIGNATURE)
}

/// Plugs the disks of a machine with `vcpus` virtual CPUs in, in their order.
pub fn plug(
    disks: Vec<DiskConfig>,
    vcpus: u32,
    pci: &PciBus,
    wiring: &VirtioWiring,
    requests: &Arc<Requests>,
) -> Result<Vec<DiskInfo>, MachineError> {
    let plug = |(index, config): (usize, DiskConfig)| {
        let DiskConfig { id, disk, serial, durability, errors, limits, mut rings, .. } = config;
        let (capacity, read_only) = (disk.capacity(), disk.read_only());
        let rings = (0..queues(vcpus)).map(|_| rings.pop()).collect();
        let requests = requests.clone();
        let observer = Arc::new(move |error| requests.tell(MachineEvent::DiskError(Box::new(error))));
        let drive = Drive::new(&id, disk).with_durability(durability).with_policy(errors, observer);
        let drive = Arc::new(drive.with_limits(limits));
        let function = wiring.function(Box::new(Block::with_rings(drive.clone(), &serial, rings)))?;
        pci.plug(address(index), Arc::new(Mutex::new(function)), vec![])?;
        Ok(DiskInfo { id, capacity, read_only, drive })
    };
    disks.into_iter().enumerate().map(plug).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;
    use crate::vmm::block::{self, Format, Image};

    fn disk(id: &str, bootindex: Option<u32>, boots: bool) -> DiskConfig {
        let file: File = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        if boots {
            file.write_all_at(&BOOT_SIGNATURE, 510).unwrap();
        }
        let disk = block::open(Image { file, format: Format::Raw }, false, Vec::new()).unwrap();
        DiskConfig { bootindex, ..DiskConfig::new(id, disk) }
    }

    #[test]
    fn disks_are_tried_by_their_index_and_others_never() {
        let disks = [disk("a", Some(2), true), disk("b", None, true), disk("c", Some(1), true)];

        assert_eq!(boot_order(&boot_disks(&disks)), [address(2), address(0)]);
    }

    #[test]
    fn an_empty_disk_comes_after_the_image_that_boots() {
        let disks = [disk("empty", Some(1), false), disk("iso", Some(2), true)];

        assert_eq!(boot_order(&boot_disks(&disks)), [address(1), address(0)]);
    }

    #[test]
    fn a_disk_comes_first_as_soon_as_something_is_installed_on_it() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let image = Image { file: file.try_clone().unwrap(), format: Format::Raw };
        let disk = block::open(image, false, Vec::new()).unwrap();
        let empty = DiskConfig { bootindex: Some(1), ..DiskConfig::new("disk0", disk) };
        let disks = boot_disks(&[empty, self::disk("iso", Some(2), true)]);
        let before = boot_order(&disks);

        file.write_all_at(&BOOT_SIGNATURE, 510).unwrap();

        assert_eq!((before, boot_order(&disks)), (vec![address(1), address(0)], vec![address(0), address(1)]));
    }
}
