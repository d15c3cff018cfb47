//! The commands of an ATAPI CD-ROM drive: those of the command block (ATA/ATAPI-6, section 8), and the packets with commands of
//! their own (SFF-8020i, section 10; MMC-5, section 6).

#![forbid(unsafe_code)]

mod answers;
mod sense;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    ata::set_mode,
    drive::{ABORTED, PACKET, Step, TaskFile, Transfer, Way},
    identify::{self, MULTIWORD},
    tray::{Change, Tray},
};
use crate::vmm::block::{Disk, statistics::Statistics};

pub use sense::Sense;

/// Bytes of a block of data on a CD.
pub const BLOCK: u64 = 2048;

/// Command codes of the command block.
mod code {
    pub const NOP: u8 = 0x00;
    pub const DEVICE_RESET: u8 = 0x08;
    pub const PACKET: u8 = 0xa0;
    pub const IDENTIFY_PACKET: u8 = 0xa1;
    pub const STANDBY_NOW: u8 = 0xe0;
    pub const IDLE_NOW: u8 = 0xe1;
    pub const CHECK_POWER: u8 = 0xe5;
    pub const SLEEP: u8 = 0xe6;
    pub const SET_FEATURES: u8 = 0xef;
}

/// Operation codes of packets.
mod operation {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const INQUIRY: u8 = 0x12;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const PREVENT_ALLOW: u8 = 0x1e;
    pub const READ_CAPACITY: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const SEEK: u8 = 0x2b;
    pub const READ_TOC: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS: u8 = 0x4a;
    pub const READ_DISC_INFORMATION: u8 = 0x51;
    pub const READ_TRACK_INFORMATION: u8 = 0x52;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const READ_12: u8 = 0xa8;
    pub const READ_DISC_STRUCTURE: u8 = 0xad;
    pub const SET_SPEED: u8 = 0xbb;
    pub const MECHANISM_STATUS: u8 = 0xbd;
    pub const READ_CD: u8 = 0xbe;
}

const SET_TRANSFER_MODE: u8 = 0x03;
const ACTIVE: u8 = 0xff;
/// Of the features of PACKET: data go by the bus master.
const BY_DMA: u8 = 1;

/// What software can change, and what it is yet to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdromState {
    pub mode: u8,
    pub sense: Sense,
    /// How the data of the packet's command are to go.
    pub dma: bool,
    pub block: u16,
}

impl Default for CdromState {
    fn default() -> Self {
        Self { mode: MULTIWORD | 2, sense: Sense::NONE, dma: false, block: 0 }
    }
}

/// A CD-ROM drive.
pub struct Cdrom {
    // Wiring
    pub(super) tray: Tray,
    pub(super) statistics: Arc<Statistics>,
    // Volatile state
    pub(super) state: CdromState,
}

/// What a packet's command leads to.
type Answer = Result<Reply, Sense>;

/// When it has not failed.
enum Reply {
    Nothing,
    /// Data, of which the guest takes so many bytes at most.
    Data(Vec<u8>, usize),
    /// Blocks of the medium.
    Blocks {
        first: u32,
        count: u32,
    },
}

/// A command's packet.
struct Packet([u8; PACKET]);

impl Packet {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.byte(at), self.byte(at + 1)])
    }

    fn triple(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, self.byte(at), self.byte(at + 1), self.byte(at + 2)])
    }

    fn long(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.byte(at), self.byte(at + 1), self.byte(at + 2), self.byte(at + 3)])
    }
}

impl Cdrom {
    pub fn new(tray: Tray, statistics: Arc<Statistics>) -> Self {
        Self { tray, statistics, state: CdromState::default() }
    }

    pub fn medium(&self) -> Option<Arc<dyn Disk>> {
        self.tray.medium()
    }

    pub fn reset(&mut self, hard: bool) {
        self.state = CdromState { mode: self.state.mode, ..CdromState::default() };
        if hard {
            self.state = CdromState::default();
            self.tray.reset();
        }
    }

    /// A command of the command block.
    pub fn execute(&mut self, code: u8, file: &mut TaskFile) -> Step {
        match code {
            code::PACKET => {
                self.state.dma = file.features.now & BY_DMA != 0;
                let [_, low, high] = file.lba;
                self.state.block = u16::from_le_bytes([low.now, high.now]);
                Step::Packet
            }
            code::IDENTIFY_PACKET => {
                let data = identify::cdrom(self.state.mode).to_vec();
                Step::Reply { data, dma: false, block: identify::SIZE as u32 }
            }
            code::SET_FEATURES if file.features.now == SET_TRANSFER_MODE => {
                set_mode(&mut self.state.mode, file.count.now)
            }
            code::DEVICE_RESET => {
                self.reset(false);
                file.sign(true);
                Step::Silent
            }
            code::CHECK_POWER => {
                file.count.now = ACTIVE;
                Step::Done(Ok(()))
            }
            code::STANDBY_NOW | code::IDLE_NOW | code::SLEEP => Step::Done(Ok(())),
            // How software that tries all commands learns that this is no disk (section 9.12).
            0x20 | 0xec => {
                file.sign(true);
                Step::abort()
            }
            code::NOP => Step::abort(),
            _ => Step::abort(),
        }
    }

    /// A packet's command.
    pub fn packet(&mut self, packet: [u8; PACKET]) -> Step {
        let packet = Packet(packet);
        match self.carry_out(&packet) {
            Ok(Reply::Nothing) => Step::Done(Ok(())),
            Ok(Reply::Data(_, 0)) => Step::Done(Ok(())),
            Ok(Reply::Blocks { count: 0, .. }) => Step::Done(Ok(())),
            // Data would have to go in pieces of nothing.
            Ok(_) if !self.state.dma && self.block() == 0 => Step::abort(),
            Ok(Reply::Data(mut data, limit)) => {
                data.truncate(limit);
                Step::Reply { data, dma: self.state.dma, block: self.block() }
            }
            Ok(Reply::Blocks { first, count }) => Step::Move(Transfer {
                way: Way::In,
                dma: self.state.dma,
                offset: u64::from(first) * BLOCK,
                left: u64::from(count) * BLOCK,
                block: self.block(),
                trims: false,
            }),
            Err(sense) => self.fail(sense),
        }
    }

    /// The command has failed; REQUEST SENSE tells why.
    pub fn fail(&mut self, sense: Sense) -> Step {
        self.state.sense = sense;
        Step::Done(Err(sense.key << 4 | ABORTED))
    }

    /// The byte count limit: the most data of a block of the data register, an even number (section 8.23).
    fn block(&self) -> u32 {
        u32::from(self.state.block.min(0xfffe) & !1)
    }

    fn carry_out(&mut self, packet: &Packet) -> Answer {
        use operation::*;
        let operation = packet.byte(0);
        let sense = std::mem::take(&mut self.state.sense);
        match operation {
            REQUEST_SENSE => Ok(Reply::Data(sense.answer().to_vec(), packet.byte(4).into())),
            INQUIRY => answers::inquiry(packet),
            GET_EVENT_STATUS => answers::event_status(packet, &self.tray),
            GET_CONFIGURATION => answers::configuration(packet, self.blocks()),
            MODE_SENSE_10 => answers::mode_sense(packet, &self.tray),
            MECHANISM_STATUS => Ok(answers::mechanism_status(packet)),
            SET_SPEED => Ok(Reply::Nothing),
            TEST_UNIT_READY => self.ready().map(|_| Reply::Nothing),
            START_STOP_UNIT => self.start_stop(packet.byte(4)),
            PREVENT_ALLOW => {
                self.tray.lock(packet.byte(4) & 1 != 0);
                Ok(Reply::Nothing)
            }
            READ_CAPACITY => {
                let last = self.ready()?.saturating_sub(1);
                let data = [last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat();
                Ok(Reply::Data(data, 8))
            }
            READ_10 => self.read(packet.long(2), packet.word(7).into()),
            READ_12 => self.read(packet.long(2), packet.long(6)),
            READ_CD => self.read_cd(packet),
            SEEK => match packet.long(2) < self.ready()? {
                true => Ok(Reply::Nothing),
                false => Err(Sense::BAD_ADDRESS),
            },
            READ_TOC => answers::table_of_contents(packet, self.ready()?),
            READ_DISC_INFORMATION => answers::disc_information(packet, self.ready()?),
            READ_TRACK_INFORMATION => answers::track_information(packet, self.ready()?),
            READ_DISC_STRUCTURE => answers::disc_structure(packet, self.ready()?),
            _ => Err(Sense::BAD_COMMAND),
        }
    }

    /// Blocks of the medium, if there is one that can be read.
    fn blocks(&self) -> Option<u32> {
        let blocks = self.tray.medium()?.capacity() / BLOCK;
        Some(u32::try_from(blocks).unwrap_or(u32::MAX))
    }

    /// The same, for commands that need one. After a change of medium the next two of them fail, so that everybody notices.
    fn ready(&self) -> Result<u32, Sense> {
        let none = if self.tray.info().open { Sense::NO_MEDIUM_TRAY_OPEN } else { Sense::NO_MEDIUM };
        match self.tray.next_change() {
            Change::Known => self.blocks().ok_or(none),
            Change::Gone => Err(none),
            Change::Replaced => Err(Sense::MEDIUM_CHANGED),
        }
    }

    fn start_stop(&self, what: u8) -> Answer {
        const START: u8 = 1;
        const LOAD_EJECT: u8 = 2;
        // With a power condition nothing else counts.
        if what >> 4 == 0 && what & LOAD_EJECT != 0 {
            self.tray.guest_moves(what & START == 0).map_err(|_| Sense::LOCKED)?;
        }
        Ok(Reply::Nothing)
    }

    fn read(&self, first: u32, count: u32) -> Answer {
        let blocks = self.ready()?;
        match first.checked_add(count) {
            Some(end) if end <= blocks => Ok(Reply::Blocks { first, count }),
            _ => Err(Sense::BAD_ADDRESS),
        }
    }

    /// READ CD, for the user data of data sectors: there is nothing else on an image.
    fn read_cd(&self, packet: &Packet) -> Answer {
        const USER_DATA: u8 = 0x10;
        let (first, count) = (packet.long(2), packet.triple(6));
        match packet.byte(9) & 0xf8 {
            0 => Ok(Reply::Nothing),
            USER_DATA => self.read(first, count),
            _ => Err(Sense::BAD_FIELD),
        }
    }
}
