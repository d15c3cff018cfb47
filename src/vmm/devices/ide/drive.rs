//! What all drives have: the registers of the command block, the buffer behind the data register, and where a command is in its
//! protocol (ATA/ATAPI-6, sections 7 and 9).

#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DriveConfig, ata::AtaDisk, atapi::Cdrom};
use crate::vmm::block::Disk;

/// Bits of the status register.
pub const BUSY: u8 = 1 << 7;
pub const READY: u8 = 1 << 6;
/// Seek complete; ATAPI drives have another word for it.
pub const SEEK_DONE: u8 = 1 << 4;
pub const DATA_REQUEST: u8 = 1 << 3;
pub const ERROR: u8 = 1;

/// Bits of the error register.
pub const ABORTED: u8 = 1 << 2;
pub const NO_ADDRESS: u8 = 1 << 4;
pub const UNCORRECTABLE: u8 = 1 << 6;

/// Bits of the device register.
pub const LBA: u8 = 1 << 6;
pub const UNIT: u8 = 1 << 4;
/// These are set in old drives, and software looks for them.
pub const ALWAYS: u8 = 1 << 7 | 1 << 5;

/// Of the interrupt reason (the count register of ATAPI drives): a command, not data; towards the guest.
pub const REASON_COMMAND: u8 = 1;
pub const REASON_TO_GUEST: u8 = 1 << 1;

/// The most that goes between a medium and a drive's buffer at a time, in bytes.
pub const PART: u64 = 64 << 10;
/// Bytes of a packet.
pub const PACKET: usize = 12;

/// A register that remembers what it held before: the two bytes of a 48-bit command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub now: u8,
    pub before: u8,
}

impl Pair {
    pub fn put(&mut self, value: u8) {
        *self = Self { now: value, before: self.now };
    }

    pub fn word(self) -> u16 {
        u16::from_be_bytes([self.before, self.now])
    }
}

/// The command block of one drive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFile {
    pub error: u8,
    pub features: Pair,
    pub count: Pair,
    /// LBA low, mid, high: sector number and cylinder in old words.
    pub lba: [Pair; 3],
    pub device: u8,
    pub status: u8,
}

impl TaskFile {
    /// What a drive shows of itself after a reset (section 9.12).
    pub fn sign(&mut self, is_packet: bool) {
        let [low, mid, high] = if is_packet { [1, 0x14, 0xeb] } else { [1, 0, 0] };
        let fresh = |now| Pair { now, before: 0 };
        *self = Self {
            // The result of the diagnosis: fine.
            error: 1,
            features: Pair::default(),
            count: fresh(1),
            lba: [fresh(low), fresh(mid), fresh(high)],
            device: self.device & UNIT | ALWAYS,
            status: if is_packet { 0 } else { READY | SEEK_DONE },
        };
    }
}

/// Which way data goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// From the drive to the guest.
    #[default]
    In,
    /// From the guest to the drive.
    Out,
}

/// Data on its way between medium and guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub way: Way,
    /// By the bus master; else by the data register.
    pub dma: bool,
    /// Where on the medium the next byte is.
    pub offset: u64,
    /// Bytes that have not gone to or come from the medium.
    pub left: u64,
    /// Bytes that the data register gives or takes in one go.
    pub block: u32,
    /// What goes to the drive is no content but a list of ranges that are no longer needed.
    #[serde(default)]
    pub trims: bool,
}

/// What a command leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is done, with these bits in the error register if it has failed.
    Done(Result<(), u8>),
    /// It is done, and nothing is said.
    Silent,
    /// It waits for its packet.
    Packet,
    /// It has data for the guest that are no medium's, in blocks of so many bytes.
    Reply {
        /// The data.
        data: Vec<u8>,
        /// By the bus master.
        dma: bool,
        /// Bytes of a block of the data register.
        block: u32,
    },
    /// It reads or writes the medium.
    Move(Transfer),
    /// It waits for what was written to be on stable storage.
    Flush,
}

impl Step {
    /// Refused.
    pub fn abort() -> Self {
        Self::Done(Err(ABORTED))
    }
}

/// Where a command is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No command.
    #[default]
    Idle,
    /// The guest writes the packet.
    Packet,
    /// The guest reads a block.
    DataIn,
    /// The guest writes a block.
    DataOut,
    /// The I/O thread, or the bus master, works.
    Work,
}

/// The bytes behind the data register.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    pub bytes: Vec<u8>,
    /// How far the guest is.
    pub position: usize,
    /// Where the block ends that it is reading or writing.
    pub end: usize,
}

impl Buffer {
    /// What is left of the block.
    pub fn rest(&mut self) -> &mut [u8] {
        let end = self.end.min(self.bytes.len());
        self.bytes.get_mut(self.position..end).unwrap_or_default()
    }
}

/// What a drive is, with the state that is its kind's own.
pub enum Model {
    Disk(AtaDisk),
    Cdrom(Cdrom),
}

/// A drive.
pub struct Drive {
    pub model: Model,
    pub phase: Phase,
    pub transfer: Transfer,
    pub buffer: Buffer,
    /// The command came in a packet.
    pub in_packet: bool,
}

impl Drive {
    pub fn new(config: DriveConfig) -> Self {
        let model = match config {
            DriveConfig::Disk { drive, serial } => Model::Disk(AtaDisk::new(drive, &serial)),
            DriveConfig::Cdrom { tray, statistics } => Model::Cdrom(Cdrom::new(tray, statistics)),
        };
        Self { model, phase: Phase::Idle, transfer: Transfer::default(), buffer: Buffer::default(), in_packet: false }
    }

    pub fn is_packet(&self) -> bool {
        matches!(self.model, Model::Cdrom(_))
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        match &self.model {
            Model::Disk(disk) => disk.drive.id(),
            Model::Cdrom(_) => "the CD-ROM drive",
        }
    }

    /// What transfers go to and come from.
    pub fn medium(&self) -> Option<Arc<dyn Disk>> {
        match &self.model {
            Model::Disk(disk) => Some(disk.disk()),
            Model::Cdrom(cdrom) => cdrom.medium(),
        }
    }

    /// The unit of transfers with the medium, in bytes.
    pub fn unit(&self) -> u64 {
        match &self.model {
            Model::Disk(_) => super::ata::SECTOR,
            Model::Cdrom(_) => super::atapi::BLOCK,
        }
    }

    /// Forgets the command; `hard`: the settings, too.
    pub fn reset(&mut self, hard: bool) {
        self.phase = Phase::Idle;
        self.transfer = Transfer::default();
        self.buffer = Buffer::default();
        self.in_packet = false;
        match &mut self.model {
            Model::Disk(disk) => disk.reset(hard),
            Model::Cdrom(cdrom) => cdrom.reset(hard),
        }
    }

    /// Carries a command out as far as that needs no medium.
    pub fn execute(&mut self, code: u8, file: &mut TaskFile) -> Step {
        match &mut self.model {
            Model::Disk(disk) => disk.execute(code, file),
            Model::Cdrom(cdrom) => cdrom.execute(code, file),
        }
    }
}
