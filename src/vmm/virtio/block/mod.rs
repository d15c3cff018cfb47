//! virtio-blk (virtio 1.2, section 5.2).
//!
//! Each queue has a thread of its own, so that a guest's vCPUs do not wait for each other's requests. What is done with a request
//! is in [`request`].

#![forbid(unsafe_code)]

mod flight;
mod request;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, io, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_GEOMETRY, VIRTIO_BLK_F_MQ,
    VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
};

use self::request::{BlockQueue, MAX_RANGES};
use super::{
    device::{Activation, DeviceType, VirtioDevice, read_config_bytes},
    queue::Queues,
    worker::{Engine, share},
};
use crate::vmm::{
    block::{Disk, Durability, NoDisk, SECTOR, drive::Drive, ring::Ring, statistics::Statistics},
    device::{StateError, restore_state, save_state},
};

/// Descriptors of a queue.
const QUEUE_SIZE: u16 = 256;
/// Bytes of the serial number.
const SERIAL: usize = 20;
/// A discard or a write of zeroes covers at most 1 GiB, so that it does not hold up what comes behind it for long.
const MAX_RANGE_SECTORS: u32 = 1 << 21;
/// What hosts read and write best: pages.
const PHYSICAL_BLOCK: u32 = 4096;
/// The version of the saved state.
const STATE_VERSION: u32 = 1;

/// A disk of the guest.
pub struct Block {
    // Fixed configuration
    label: String,
    queue_sizes: Vec<u16>,
    // Wiring
    drive: Arc<Drive>,
    engines: Vec<Engine<BlockQueue>>,
}

impl Block {
    /// The disk `disk` as device `label`, with `queues` queues. The guest sees the first 20 bytes of `serial`.
    pub fn new(label: &str, disk: impl Into<Arc<dyn Disk>>, serial: &str, queues: u16) -> Self {
        let rings = (0..queues).map(|_| None).collect();
        Self::with_rings(Drive::new(label, disk.into()).into(), serial, rings)
    }

    /// A disk with a queue for each of `rings`; queues that have one have many requests in flight at a time.
    pub fn with_rings(drive: Arc<Drive>, serial: &str, rings: Vec<Option<Ring>>) -> Self {
        let label = drive.id();
        let mut id = [0; SERIAL];
        id.iter_mut().zip(serial.bytes()).for_each(|(to, from)| *to = from);
        let queues = rings.len();
        let engine = |(index, ring)| {
            let (disk, drive) = (Arc::new(NoDisk) as Arc<dyn Disk>, drive.clone());
            let (kept, is_held, write_through, timer) = (VecDeque::new(), false, false, None);
            let queue =
                BlockQueue { disk, drive, serial: id, ring, write_through, kept, is_held, timer, waits_since: None };
            Engine::new(&if queues == 1 { label.to_owned() } else { format!("{label}/{index}") }, queue)
        };
        Self {
            label: label.to_owned(),
            queue_sizes: vec![QUEUE_SIZE; queues],
            engines: rings.into_iter().enumerate().map(engine).collect(),
            drive,
        }
    }

    /// What the disk has been asked for.
    pub fn statistics(&self) -> Arc<Statistics> {
        self.drive.statistics().clone()
    }

    /// The configuration structure (section 5.2.4).
    fn config(&self) -> [u8; 60] {
        let sectors = self.drive.disk().capacity() / SECTOR;
        // The customary geometry of a disk that has none; SeaBIOS goes by it for programs that know no other addresses.
        const HEADS: u8 = 16;
        const SECTORS_A_TRACK: u8 = 63;
        let cylinders = (sectors / u64::from(HEADS) / u64::from(SECTORS_A_TRACK)).clamp(2, 16383) as u16;

        let mut config = [0; 60];
        let mut put = |offset: usize, bytes: &[u8]| config[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0, &sectors.to_le_bytes());
        // A request takes two descriptors more than it has segments.
        put(12, &u32::from(QUEUE_SIZE - 2).to_le_bytes());
        put(16, &cylinders.to_le_bytes());
        put(18, &[HEADS, SECTORS_A_TRACK]);
        put(20, &(SECTOR as u32).to_le_bytes());
        put(24, &[(PHYSICAL_BLOCK / SECTOR as u32).ilog2() as u8]);
        put(34, &(self.queue_sizes.len() as u16).to_le_bytes());
        put(36, &MAX_RANGE_SECTORS.to_le_bytes());
        put(40, &MAX_RANGES.to_le_bytes());
        put(44, &(PHYSICAL_BLOCK / SECTOR as u32).to_le_bytes());
        put(48, &MAX_RANGE_SECTORS.to_le_bytes());
        put(52, &MAX_RANGES.to_le_bytes());
        // Writing zeroes may give space back.
        put(56, &[1]);
        config
    }
}

impl VirtioDevice for Block {
    fn label(&self) -> &str {
        &self.label
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        let always = 1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_GEOMETRY
            | 1 << VIRTIO_BLK_F_BLK_SIZE
            | 1 << VIRTIO_BLK_F_TOPOLOGY;
        // A disk without it has no cache that could lose what was written.
        let cached = if self.drive.durability() == Durability::OnWrite { 0 } else { 1 << VIRTIO_BLK_F_FLUSH };
        let several = if self.queue_sizes.len() > 1 { 1 << VIRTIO_BLK_F_MQ } else { 0 };
        let writable = match self.drive.disk().read_only() {
            true => 1 << VIRTIO_BLK_F_RO,
            false => 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES,
        };
        always | cached | several | writable
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.config(), offset, data);
    }

    fn activate(&mut self, mut activation: Activation) -> io::Result<()> {
        let interrupt = activation.interrupt.clone();
        for (index, engine) in (0..).zip(&mut self.engines) {
            let its_share = share(&mut activation, [index]);
            if its_share.queues.is_empty() {
                // What it has kept belongs to a queue that the driver has reset.
                engine.handler_mut().into_iter().for_each(|queue| queue.kept.clear());
            } else if let Err(error) = engine.start(its_share) {
                self.deactivate();
                return Err(error);
            }
        }
        if self.drive.take_has_grown() {
            interrupt.configuration_changed();
        }
        Ok(())
    }

    fn deactivate(&mut self) -> Queues {
        let mut queues = Queues::new();
        for engine in &mut self.engines {
            queues.append(engine.stop());
        }
        queues
    }

    fn reset(&mut self) {
        self.engines.iter_mut().filter_map(Engine::handler_mut).for_each(|queue| queue.kept.clear());
    }

    fn save(&self) -> Result<Value, StateError> {
        let kept = |engine: &Engine<BlockQueue>| engine.handler().map(|queue| queue.kept.clone()).unwrap_or_default();
        save_state(&self.label, STATE_VERSION, State { kept: self.engines.iter().map(kept).collect() })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        let State { kept } = restore_state(&self.label, STATE_VERSION, state)?;
        let is_sound = kept.len() == self.engines.len() && kept.iter().flatten().all(|&head| head < QUEUE_SIZE);
        if !is_sound {
            let reason = "it keeps requests of queues that it does not have".to_owned();
            return Err(StateError::Damaged { device: self.label.clone(), reason });
        }
        for (engine, kept) in self.engines.iter_mut().zip(kept) {
            engine.handler_mut().into_iter().for_each(|queue| queue.kept = kept.clone());
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    /// The requests of each queue that the host could not carry out, by their first descriptors.
    kept: Vec<VecDeque<u16>>,
}
