//! The machine's disks: virtio-blk functions in the PCI slots behind the chipset's.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::{DiskConfig, MachineError};
use crate::vmm::{
    block::statistics::Statistics,
    interrupt::{Doorbells, MsiAllocator},
    memory::GuestMemory,
    pci::{PCI_SLOTS, PciAddress, bus::PciBus},
    virtio::{block::Block, pci::VirtioPci},
};

/// The first slot for disks.
const FIRST_SLOT: u8 = 4;
/// The most disks that a machine can have.
pub const MAX_DISKS: usize = (PCI_SLOTS - FIRST_SLOT) as usize;
/// The most queues of a disk: more vCPUs share them.
const MAX_QUEUES: u32 = 4;

/// A disk of a machine, as QMP's `query-block` shows it.
#[derive(Debug, Clone)]
pub struct DiskInfo {
    /// Its name.
    pub id: String,
    /// Its size in bytes.
    pub capacity: u64,
    /// Whether the guest cannot write to it.
    pub read_only: bool,
    /// What it has been asked for.
    pub statistics: Arc<Statistics>,
}

/// Refuses disks that cannot be together in a machine.
pub fn check(disks: &[DiskConfig]) -> Result<(), MachineError> {
    if disks.len() > MAX_DISKS {
        return Err(MachineError::Config(format!("{} disks. give it at most {MAX_DISKS}", disks.len())));
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

/// Where the disks to boot from are plugged in, the first to try first. Disks of one index keep their order.
pub fn boot_order(disks: &[DiskConfig]) -> Vec<PciAddress> {
    let mut order: Vec<_> = disks.iter().enumerate().filter_map(|(at, disk)| Some((disk.bootindex?, at))).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| address(index)).collect()
}

/// What disks are connected to.
pub struct DiskWiring {
    /// The guest's RAM.
    pub memory: Arc<GuestMemory>,
    /// Where their interrupts come from.
    pub vectors: Arc<dyn MsiAllocator>,
    /// Where they hear of requests.
    pub doorbells: Arc<dyn Doorbells>,
    /// The machine's virtual CPUs.
    pub vcpus: u32,
}

/// Plugs the disks in, in their order.
pub fn plug(disks: Vec<DiskConfig>, pci: &PciBus, wiring: &DiskWiring) -> Result<Vec<DiskInfo>, MachineError> {
    let plug = |(index, config): (usize, DiskConfig)| {
        let DiskConfig { id, disk, serial, .. } = config;
        let (capacity, read_only) = (disk.capacity(), disk.read_only());
        let block = Block::new(&id, disk, &serial, wiring.vcpus.min(MAX_QUEUES) as u16);
        let statistics = block.statistics();
        let DiskWiring { memory, vectors, doorbells, .. } = wiring;
        let function = VirtioPci::new(Box::new(block), memory.clone(), vectors.clone(), doorbells.clone())
            .map_err(|source| MachineError::Device { label: id.clone(), source })?;
        pci.plug(address(index), Arc::new(Mutex::new(function)), vec![])?;
        Ok(DiskInfo { id, capacity, read_only, statistics })
    };
    disks.into_iter().enumerate().map(plug).collect()
}
