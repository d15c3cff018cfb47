//! The commands of an ATA disk (ATA/ATAPI-6, section 8).

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    drive::{ABORTED, LBA, NO_ADDRESS, Step, TaskFile, Transfer, Way},
    identify::{self, DiskFacts, LBA28_SECTORS, MAX_MULTIPLE, MAX_TRIM_BLOCKS, MULTIWORD, ULTRA},
};
use crate::vmm::block::{Disk, Durability, drive::Drive};

/// Bytes of a sector.
pub const SECTOR: u64 = crate::vmm::block::SECTOR;

/// Command codes.
mod code {
    pub const NOP: u8 = 0x00;
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub const RECALIBRATE: u8 = 0x10;
    pub const READ: u8 = 0x20;
    pub const READ_ONCE: u8 = 0x21;
    pub const READ_EXT: u8 = 0x24;
    pub const READ_DMA_EXT: u8 = 0x25;
    pub const READ_NATIVE_MAX_EXT: u8 = 0x27;
    pub const READ_MULTIPLE_EXT: u8 = 0x29;
    pub const WRITE: u8 = 0x30;
    pub const WRITE_ONCE: u8 = 0x31;
    pub const WRITE_EXT: u8 = 0x34;
    pub const WRITE_DMA_EXT: u8 = 0x35;
    pub const WRITE_MULTIPLE_EXT: u8 = 0x39;
    pub const VERIFY: u8 = 0x40;
    pub const VERIFY_ONCE: u8 = 0x41;
    pub const VERIFY_EXT: u8 = 0x42;
    pub const SEEK: u8 = 0x70;
    pub const SET_GEOMETRY: u8 = 0x91;
    pub const READ_MULTIPLE: u8 = 0xc4;
    pub const WRITE_MULTIPLE: u8 = 0xc5;
    pub const SET_MULTIPLE: u8 = 0xc6;
    pub const READ_DMA: u8 = 0xc8;
    pub const READ_DMA_ONCE: u8 = 0xc9;
    pub const WRITE_DMA: u8 = 0xca;
    pub const WRITE_DMA_ONCE: u8 = 0xcb;
    pub const STANDBY_NOW: u8 = 0xe0;
    pub const IDLE_NOW: u8 = 0xe1;
    pub const STANDBY: u8 = 0xe2;
    pub const IDLE: u8 = 0xe3;
    pub const CHECK_POWER: u8 = 0xe5;
    pub const SLEEP: u8 = 0xe6;
    pub const FLUSH: u8 = 0xe7;
    pub const FLUSH_EXT: u8 = 0xea;
    pub const IDENTIFY: u8 = 0xec;
    pub const SET_FEATURES: u8 = 0xef;
    pub const READ_NATIVE_MAX: u8 = 0xf8;
}

/// Of SET FEATURES.
const WRITE_CACHE_ON: u8 = 0x02;
const SET_MODE: u8 = 0x03;
const WRITE_CACHE_OFF: u8 = 0x82;
/// Settings that change nothing here: advanced power management, acoustics, read look-ahead, keeping settings over resets.
const HARMLESS: [u8; 9] = [0x05, 0x42, 0x55, 0x66, 0x85, 0xaa, 0xc2, 0xcc, 0x69];

/// What DATA SET MANAGEMENT is to do, in its features.
const TRIM: u8 = 1;

/// The power mode that CHECK POWER MODE tells: active.
const ACTIVE: u8 = 0xff;

/// The shape of a disk for software that counts cylinders and heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    pub cylinders: u16,
    pub heads: u8,
    pub sectors: u8,
}

impl Geometry {
    /// The customary one (section 6.2.1).
    fn of(sectors: u64) -> Self {
        const HEADS: u8 = 16;
        const SECTORS: u8 = 63;
        let cylinders = sectors / u64::from(HEADS) / u64::from(SECTORS);
        Self { cylinders: cylinders.clamp(1, 16383) as u16, heads: HEADS, sectors: SECTORS }
    }
}

/// What software can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub multiple: u8,
    pub mode: u8,
    pub write_cache: bool,
    pub geometry: Geometry,
}

impl Settings {
    fn at_power_on(drive: &Drive) -> Self {
        Self {
            multiple: MAX_MULTIPLE,
            mode: ULTRA | 5,
            write_cache: drive.durability() != Durability::OnWrite,
            geometry: Geometry::of(drive.disk().capacity() / SECTOR),
        }
    }
}

/// A disk.
pub struct AtaDisk {
    // Fixed configuration
    serial: Vec<u8>,
    // Wiring
    pub(super) drive: Arc<Drive>,
    // Volatile state
    pub(super) settings: Settings,
}

/// Where on the disk, and how much.
struct Range {
    first: u64,
    count: u64,
}

impl AtaDisk {
    pub fn new(drive: Arc<Drive>, serial: &str) -> Self {
        let settings = Settings::at_power_on(&drive);
        Self { serial: serial.bytes().take(20).collect(), drive, settings }
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        self.drive.disk()
    }

    /// Whether a write is to be on stable storage when it is done.
    pub fn is_write_through(&self) -> bool {
        match self.drive.durability() {
            Durability::OnFlush => !self.settings.write_cache,
            Durability::OnWrite => true,
            Durability::Never => false,
        }
    }

    /// Whether the guest's flushes are kept.
    pub fn keeps_flushes(&self) -> bool {
        self.drive.durability() != Durability::Never && !self.disk().read_only()
    }

    fn sectors(&self) -> u64 {
        self.disk().capacity() / SECTOR
    }

    pub fn reset(&mut self, hard: bool) {
        if hard {
            self.settings = Settings::at_power_on(&self.drive);
        }
    }

    pub fn execute(&mut self, code: u8, file: &mut TaskFile) -> Step {
        use code::*;
        match code {
            READ | READ_ONCE => self.transfer(file, Way::In, false, 1, false),
            READ_EXT => self.transfer(file, Way::In, false, 1, true),
            READ_MULTIPLE => self.transfer(file, Way::In, false, self.settings.multiple, false),
            READ_MULTIPLE_EXT => self.transfer(file, Way::In, false, self.settings.multiple, true),
            READ_DMA | READ_DMA_ONCE => self.transfer(file, Way::In, true, 1, false),
            READ_DMA_EXT => self.transfer(file, Way::In, true, 1, true),
            WRITE | WRITE_ONCE => self.transfer(file, Way::Out, false, 1, false),
            WRITE_EXT => self.transfer(file, Way::Out, false, 1, true),
            WRITE_MULTIPLE => self.transfer(file, Way::Out, false, self.settings.multiple, false),
            WRITE_MULTIPLE_EXT => self.transfer(file, Way::Out, false, self.settings.multiple, true),
            WRITE_DMA | WRITE_DMA_ONCE => self.transfer(file, Way::Out, true, 1, false),
            WRITE_DMA_EXT => self.transfer(file, Way::Out, true, 1, true),
            VERIFY | VERIFY_ONCE => self.verify(file, false),
            VERIFY_EXT => self.verify(file, true),
            DATA_SET_MANAGEMENT => self.trim(file),
            FLUSH | FLUSH_EXT => Step::Flush,
            IDENTIFY => Step::Reply { data: self.identify().to_vec(), dma: false, block: identify::SIZE as u32 },
            SET_FEATURES => self.set_features(file),
            SET_MULTIPLE => self.set_multiple(file.count.now),
            SET_GEOMETRY => self.set_geometry(file),
            READ_NATIVE_MAX => self.native_max(file, false),
            READ_NATIVE_MAX_EXT => self.native_max(file, true),
            CHECK_POWER => {
                file.count.now = ACTIVE;
                Step::Done(Ok(()))
            }
            RECALIBRATE | SEEK | STANDBY_NOW | IDLE_NOW | STANDBY | IDLE | SLEEP => Step::Done(Ok(())),
            // NOP is always refused: so its description wants it.
            NOP => Step::abort(),
            _ => Step::abort(),
        }
    }

    /// The range of a command. Zero sectors are as many as the field can say and one more.
    fn range(&self, file: &TaskFile, extended: bool) -> Option<Range> {
        let [low, mid, high] = file.lba;
        if extended {
            let bytes = [low.now, mid.now, high.now, low.before, mid.before, high.before, 0, 0];
            let count = match file.count.word() {
                0 => 1 << 16,
                count => count.into(),
            };
            return Some(Range { first: u64::from_le_bytes(bytes), count });
        }
        let count = match file.count.now {
            0 => 1 << 8,
            count => count.into(),
        };
        let head = file.device & 0x0f;
        if file.device & LBA != 0 {
            return Some(Range { first: u32::from_le_bytes([low.now, mid.now, high.now, head]).into(), count });
        }
        let Geometry { heads, sectors, .. } = self.settings.geometry;
        let cylinder = u64::from(u16::from_le_bytes([mid.now, high.now]));
        let sector = u64::from(low.now.checked_sub(1)?);
        let first = (cylinder * u64::from(heads) + u64::from(head)) * u64::from(sectors) + sector;
        Some(Range { first, count })
    }

    /// The range, if all of it is on the disk.
    fn checked_range(&self, file: &TaskFile, extended: bool) -> Result<Range, Step> {
        let range = self.range(file, extended);
        let fits = |range: &Range| range.first.checked_add(range.count).is_some_and(|end| end <= self.sectors());
        range.filter(fits).ok_or(Step::Done(Err(NO_ADDRESS | ABORTED)))
    }

    fn transfer(&self, file: &TaskFile, way: Way, dma: bool, multiple: u8, extended: bool) -> Step {
        if multiple == 0 || way == Way::Out && self.disk().read_only() {
            return Step::abort();
        }
        match self.checked_range(file, extended) {
            Ok(Range { first, count }) => Step::Move(Transfer {
                way,
                dma,
                offset: first * SECTOR,
                left: count * SECTOR,
                block: u32::from(multiple) * SECTOR as u32,
                trims: false,
            }),
            Err(refusal) => refusal,
        }
    }

    /// DATA SET MANAGEMENT (ACS-2, section 7.10): the guest sends a list of ranges that it no longer needs.
    fn trim(&self, file: &TaskFile) -> Step {
        let blocks = file.count.word();
        if file.features.now & TRIM == 0 || !(1..=MAX_TRIM_BLOCKS).contains(&blocks) || self.disk().read_only() {
            return Step::abort();
        }
        let left = u64::from(blocks) * SECTOR;
        Step::Move(Transfer { way: Way::Out, dma: true, offset: 0, left, block: SECTOR as u32, trims: true })
    }

    /// The host's disk verifies by itself.
    fn verify(&self, file: &TaskFile, extended: bool) -> Step {
        match self.checked_range(file, extended) {
            Ok(_) => Step::Done(Ok(())),
            Err(refusal) => refusal,
        }
    }

    fn identify(&self) -> [u8; identify::SIZE] {
        let Settings { multiple, mode, write_cache, geometry } = self.settings;
        identify::disk(&DiskFacts {
            serial: &self.serial,
            sectors: self.sectors(),
            geometry: Geometry::of(self.sectors()),
            current: geometry,
            multiple,
            mode,
            write_cache,
            trims: !self.disk().read_only(),
        })
    }

    fn set_features(&mut self, file: &TaskFile) -> Step {
        match file.features.now {
            SET_MODE => return set_mode(&mut self.settings.mode, file.count.now),
            WRITE_CACHE_ON => self.settings.write_cache = true,
            WRITE_CACHE_OFF => {
                self.settings.write_cache = false;
                return Step::Flush;
            }
            feature if HARMLESS.contains(&feature) => {}
            _ => return Step::abort(),
        }
        Step::Done(Ok(()))
    }

    fn set_multiple(&mut self, count: u8) -> Step {
        if count > MAX_MULTIPLE || count != 0 && !count.is_power_of_two() {
            return Step::abort();
        }
        self.settings.multiple = count;
        Step::Done(Ok(()))
    }

    fn set_geometry(&mut self, file: &TaskFile) -> Step {
        let (heads, sectors) = ((file.device & 0x0f) + 1, file.count.now);
        if sectors == 0 {
            return Step::abort();
        }
        let cylinders = self.sectors().min(LBA28_SECTORS) / u64::from(heads) / u64::from(sectors);
        self.settings.geometry = Geometry { cylinders: cylinders.clamp(1, 65535) as u16, heads, sectors };
        Step::Done(Ok(()))
    }

    fn native_max(&self, file: &mut TaskFile, extended: bool) -> Step {
        let last = self.sectors().saturating_sub(1);
        let [a, b, c, d, e, f, _, _] = if extended { last } else { last.min(LBA28_SECTORS - 1) }.to_le_bytes();
        for (register, (now, before)) in file.lba.iter_mut().zip([(a, d), (b, e), (c, f)]) {
            register.now = now;
            if extended {
                register.before = before;
            }
        }
        if !extended {
            file.device = file.device & !0x0f | d & 0x0f;
        }
        Step::Done(Ok(()))
    }
}

/// SET FEATURES, transfer mode: nothing here depends on it, but software reads it back.
pub fn set_mode(current: &mut u8, mode: u8) -> Step {
    const PIO_DEFAULT: u8 = 0b0000_0000;
    const PIO_FLOW_CONTROL: u8 = 0b0000_1000;
    match (mode & !0b111, mode & 0b111) {
        (PIO_DEFAULT, 0..=1) | (PIO_FLOW_CONTROL, 0..=4) => {}
        (MULTIWORD, 0..=2) | (ULTRA, 0..=5) => *current = mode,
        _ => return Step::abort(),
    }
    Step::Done(Ok(()))
}
