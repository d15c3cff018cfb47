//! The buses between vCPUs and devices: one for ports, one for memory that is not RAM.
//!
//! A bus maps ranges of addresses to regions of devices. Ranges never overlap. They may come and go while the guest runs,
//! since a guest moves the BARs of its PCI functions; a lookup therefore takes a read lock for as long as it searches, and
//! no lock of the bus is held while a device works.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use crate::vmm::device::SharedDevice;

/// Why a range could not be put on a bus.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BusError {
    /// Another device is there already.
    #[error("{bus}: the range {base:#x}+{len:#x} overlaps the one at {other:#x}")]
    Overlap {
        /// The bus's name.
        bus: &'static str,
        /// First address of the new range.
        base: u64,
        /// Its length in bytes.
        len: u64,
        /// First address of the range that is there.
        other: u64,
    },
    /// The range is empty or reaches beyond the last address.
    #[error("{bus}: the range {base:#x}+{len:#x} is empty or too long")]
    Range {
        /// The bus's name.
        bus: &'static str,
        /// First address of the range.
        base: u64,
        /// Its length in bytes.
        len: u64,
    },
}

#[derive(Clone)]
struct Entry {
    last: u64,
    device: SharedDevice,
    region: usize,
}

/// A bus: addresses to device regions.
pub struct Bus {
    name: &'static str,
    ranges: RwLock<BTreeMap<u64, Entry>>,
}

impl Bus {
    /// An empty bus; `name` appears in errors.
    pub fn new(name: &'static str) -> Self {
        Self { name, ranges: RwLock::default() }
    }

    /// Maps the `len` addresses from `base` to region `region` of `device`.
    pub fn insert(&self, base: u64, len: u64, device: SharedDevice, region: usize) -> Result<(), BusError> {
        let last = len.checked_sub(1).and_then(|extent| base.checked_add(extent)).ok_or(BusError::Range {
            bus: self.name,
            base,
            len,
        })?;
        let mut ranges = self.ranges.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((&other, _)) = ranges.range(..=last).next_back().filter(|(_, entry)| entry.last >= base) {
            return Err(BusError::Overlap { bus: self.name, base, len, other });
        }
        ranges.insert(base, Entry { last, device, region });
        Ok(())
    }

    /// Removes the range that begins at `base`; does nothing when there is none.
    pub fn remove(&self, base: u64) {
        self.ranges.write().unwrap_or_else(PoisonError::into_inner).remove(&base);
    }

    /// Removes all ranges, and with them the bus's hold on the devices.
    pub fn clear(&self) {
        let ranges = std::mem::take(&mut *self.ranges.write().unwrap_or_else(PoisonError::into_inner));
        drop(ranges);
    }

    /// Reads `data.len()` bytes at `address`. Where nothing answers, the bytes are `0xff`.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        match self.find(address, data.len()) {
            Some((base, Entry { last, device, region })) if fits(address, data.len(), last) => {
                device.lock().unwrap_or_else(PoisonError::into_inner).read(region, address - base, data);
            }
            None if data.len() <= 1 || !self.any_within(address, data.len()) => data.fill(0xff),
            // An access over an edge reaches each device byte by byte, as the chipset would split it.
            _ => {
                for (step, byte) in (0..).zip(data.chunks_mut(1)) {
                    self.read(address.wrapping_add(step), byte);
                }
            }
        }
    }

    /// Writes `data` at `address`. Where nothing answers, the bytes are lost.
    pub fn write(&self, address: u64, data: &[u8]) {
        match self.find(address, data.len()) {
            Some((base, Entry { last, device, region })) if fits(address, data.len(), last) => {
                device.lock().unwrap_or_else(PoisonError::into_inner).write(region, address - base, data);
            }
            None if data.len() <= 1 || !self.any_within(address, data.len()) => {}
            _ => {
                for (step, byte) in (0..).zip(data.chunks(1)) {
                    self.write(address.wrapping_add(step), byte);
                }
            }
        }
    }

    /// Reads items of `size` bytes at `address` until `data` is full. A device gets all of them at once.
    pub fn read_items(&self, address: u64, size: usize, data: &mut [u8]) {
        match self.find(address, size) {
            Some((base, Entry { last, device, region })) if fits(address, size, last) => {
                let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
                device.read_items(region, address - base, size, data);
            }
            _ => data.chunks_exact_mut(size.max(1)).for_each(|item| self.read(address, item)),
        }
    }

    /// Writes items of `size` bytes at `address`. A device gets all of them at once.
    pub fn write_items(&self, address: u64, size: usize, data: &[u8]) {
        match self.find(address, size) {
            Some((base, Entry { last, device, region })) if fits(address, size, last) => {
                let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
                device.write_items(region, address - base, size, data);
            }
            _ => data.chunks_exact(size.max(1)).for_each(|item| self.write(address, item)),
        }
    }

    /// The range that holds `address`, with its base.
    fn find(&self, address: u64, len: usize) -> Option<(u64, Entry)> {
        if len == 0 {
            return None;
        }
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner);
        let (&base, entry) = ranges.range(..=address).next_back().filter(|(_, entry)| entry.last >= address)?;
        Some((base, entry.clone()))
    }

    /// Whether a range begins behind `address` within `len` bytes.
    fn any_within(&self, address: u64, len: usize) -> bool {
        let last = address.saturating_add(len as u64 - 1);
        self.ranges.read().unwrap_or_else(PoisonError::into_inner).range(address..=last).next().is_some()
    }
}

/// Whether `len` bytes at `address` end at or before `last`.
fn fits(address: u64, len: usize, last: u64) -> bool {
    last - address >= len as u64 - 1
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;
    use crate::vmm::device::{Device, StateError};

    /// Remembers what reaches it; reads as the low byte of region and offset.
    #[derive(Default)]
    struct Probe {
        writes: Vec<(usize, u64, Vec<u8>)>,
    }

    impl Device for Probe {
        fn label(&self) -> &str {
            "probe"
        }
        fn read(&mut self, region: usize, offset: u64, data: &mut [u8]) {
            for (step, byte) in (0..).zip(data.iter_mut()) {
                *byte = (region as u8) << 4 | (offset as u8 + step);
            }
        }
        fn write(&mut self, region: usize, offset: u64, data: &[u8]) {
            self.writes.push((region, offset, data.to_vec()));
        }
        fn reset(&mut self) {}
        fn save(&self) -> Result<Value, StateError> {
            Ok(Value::Null)
        }
        fn restore(&mut self, _state: Value) -> Result<(), StateError> {
            Ok(())
        }
    }

    fn bus_with_probe() -> (Bus, Arc<Mutex<Probe>>) {
        let bus = Bus::new("test");
        let probe = Arc::new(Mutex::new(Probe::default()));
        bus.insert(0x100, 8, probe.clone(), 1).unwrap();
        bus.insert(0x108, 4, probe.clone(), 2).unwrap();
        (bus, probe)
    }

    #[test]
    fn an_access_reaches_its_region_with_the_offset_in_it() {
        let (bus, probe) = bus_with_probe();

        bus.write(0x104, &[1, 2, 3, 4]);
        let mut data = [0; 2];
        bus.read(0x10a, &mut data);

        assert_eq!(probe.lock().unwrap().writes, [(1, 4, vec![1, 2, 3, 4])]);
        assert_eq!(data, [0x22, 0x23]);
    }

    #[test]
    fn what_is_not_there_reads_as_ones_and_swallows_writes() {
        let (bus, probe) = bus_with_probe();

        let mut data = [0; 4];
        bus.read(0x200, &mut data);
        bus.write(0x200, &[0; 4]);

        assert_eq!(data, [0xff; 4]);
        assert!(probe.lock().unwrap().writes.is_empty());
    }

    #[test]
    fn an_access_over_an_edge_is_split_into_bytes() {
        let (bus, probe) = bus_with_probe();

        bus.write(0x106, &[1, 2, 3, 4]);
        let mut before = [0; 4];
        bus.read(0xfe, &mut before);
        let mut after = [0; 4];
        bus.read(0x10a, &mut after);

        let writes = [(1, 6, vec![1]), (1, 7, vec![2]), (2, 0, vec![3]), (2, 1, vec![4])];
        assert_eq!(probe.lock().unwrap().writes, writes);
        assert_eq!(before, [0xff, 0xff, 0x10, 0x11]);
        assert_eq!(after, [0x22, 0x23, 0xff, 0xff]);
    }

    #[test]
    fn the_last_addresses_neither_wrap_nor_panic() {
        let (bus, _probe) = bus_with_probe();

        let mut data = [0; 8];
        bus.read(u64::MAX - 3, &mut data);
        bus.write(u64::MAX, &[0; 8]);

        assert_eq!(data, [0xff; 8]);
    }

    #[test]
    fn an_overlap_is_refused_from_either_side() {
        let (bus, probe) = bus_with_probe();

        let overlaps = [(0xfc, 5), (0x107, 1), (0xf0, 0x100), (0x10b, 2)]
            .map(|(base, len)| matches!(bus.insert(base, len, probe.clone(), 0), Err(BusError::Overlap { .. })));

        assert_eq!(overlaps, [true; 4]);
        assert_eq!(bus.insert(0xf0, 0x10, probe.clone(), 0), Ok(()));
        assert_eq!(bus.insert(0x10c, 4, probe, 0), Ok(()));
    }

    #[test]
    fn an_empty_or_endless_range_is_refused() {
        let (bus, probe) = bus_with_probe();

        assert!(matches!(bus.insert(0x300, 0, probe.clone(), 0), Err(BusError::Range { .. })));
        assert!(matches!(bus.insert(u64::MAX, 2, probe, 0), Err(BusError::Range { .. })));
    }

    #[test]
    fn a_removed_range_answers_no_more_and_its_place_is_free() {
        let (bus, probe) = bus_with_probe();

        bus.remove(0x100);
        let mut data = [0];
        bus.read(0x100, &mut data);

        assert_eq!(data, [0xff]);
        assert_eq!(bus.insert(0x100, 8, probe, 0), Ok(()));
    }
}
