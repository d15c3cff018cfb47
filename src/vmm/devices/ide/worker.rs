//! The I/O thread of a channel: it carries out one part of a transfer after the other, without the channel's lock, so that vCPUs
//! see a busy drive and do not wait.

#![forbid(unsafe_code)]

use std::{io, sync::Arc, time::Instant};

use super::{
    ata::SECTOR,
    atapi::Sense,
    bus_master::{BadTable, Cursor, total},
    channel::Shared,
    drive::{ABORTED, Buffer, Model, NO_ADDRESS, PART, Step, Transfer, UNCORRECTABLE, Way},
    protocol::Protocol,
};
use crate::vmm::{
    block::{
        Disk,
        drive::Drive,
        errors::Verdict,
        limits,
        statistics::{Operation, Statistics},
    },
    memory::{GuestMemory, GuestSlice},
};

/// The most that the bus master moves at a time, in bytes: after that the channel is looked at again.
const DMA_PART: u64 = 1 << 20;

/// What is to be done for a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Work {
    /// Fill the buffer from the medium.
    Fill,
    /// Write the buffer to the medium.
    Drain,
    /// Move the next part between the medium and the guest's memory.
    Transfer,
    /// Move the buffer to the guest's memory.
    Reply,
    /// Bring what was written to stable storage.
    Flush,
}

/// One piece of work, with all that it takes.
pub struct Order {
    /// Of which time of the channel it is: the outcome of older ones is not wanted any more.
    pub generation: u64,
    pub unit: usize,
    pub work: Work,
    pub target: Target,
    pub way: Way,
    /// What is moved is a list of ranges that are no longer needed.
    pub trims: bool,
    pub offset: u64,
    /// Bytes to move.
    pub length: u64,
    /// Of what sizes the medium's transfers are.
    pub granule: u64,
    pub buffer: Vec<u8>,
    pub cursor: Cursor,
    /// What is written has to be on stable storage afterwards.
    pub write_through: bool,
    /// A flush is kept.
    pub flushes: bool,
}

/// What an order is carried out on.
pub enum Target {
    /// A disk, which says what is done with errors.
    Disk(Arc<Drive>),
    /// The medium of a CD-ROM drive, whose errors are the guest's.
    Medium { disk: Option<Arc<dyn Disk>>, statistics: Arc<Statistics> },
}

impl Target {
    fn disk(&self) -> Option<Arc<dyn Disk>> {
        match self {
            Self::Disk(drive) => Some(drive.disk()),
            Self::Medium { disk, .. } => disk.clone(),
        }
    }

    fn statistics(&self) -> &Statistics {
        match self {
            Self::Disk(drive) => drive.statistics(),
            Self::Medium { statistics, .. } => statistics,
        }
    }

    /// The host could not do it.
    fn failed(&self, operation: Operation, error: &io::Error) -> Verdict {
        match self {
            Self::Disk(drive) => drive.failed(operation, error),
            Self::Medium { .. } => {
                tracing::warn!(?operation, %error, "a CD could not be read");
                Verdict::Report
            }
        }
    }
}

/// Why it could not be done.
#[derive(Debug)]
pub enum Failure {
    /// It is to be done again when the machine goes on.
    Kept,
    /// There is no medium any more.
    NoMedium,
    /// The host could not.
    Medium,
    /// The guest's table leads nowhere.
    Table,
    /// The guest means something beyond the disk.
    Address,
}

impl From<BadTable> for Failure {
    fn from(_: BadTable) -> Self {
        Self::Table
    }
}

/// What has become of an order.
pub struct Outcome {
    pub order: Order,
    /// Bytes that were moved.
    pub moved: Result<u64, Failure>,
}

impl Order {
    pub fn carry_out(mut self, memory: &GuestMemory) -> Outcome {
        let moved = match self.work {
            Work::Fill => {
                let mut buffer = vec![0; self.length as usize];
                let read = self.to_medium(Operation::Read, &[GuestSlice::from(buffer.as_mut_slice())]);
                self.buffer = buffer;
                read
            }
            Work::Drain => {
                let mut buffer = std::mem::take(&mut self.buffer);
                let written = self.to_medium(Operation::Write, &[GuestSlice::from(buffer.as_mut_slice())]);
                self.buffer = buffer;
                written
            }
            Work::Transfer => self.transfer(memory),
            Work::Reply => self.reply(memory),
            Work::Flush => self.flush().map(|()| 0),
        };
        Outcome { order: self, moved }
    }

    fn transfer(&mut self, memory: &GuestMemory) -> Result<u64, Failure> {
        let operation = match self.way {
            Way::In => Operation::Read,
            Way::Out => Operation::Write,
        };
        let mut cursor = self.cursor;
        let pieces = cursor.take(memory, self.length, self.granule)?;
        let moved = match pieces.is_empty() {
            true => 0,
            false if self.trims => self.trim(&pieces)?,
            false => self.to_medium(operation, &pieces)?,
        };
        // Not before: what is kept begins again.
        self.cursor = cursor;
        Ok(moved)
    }

    fn reply(&mut self, memory: &GuestMemory) -> Result<u64, Failure> {
        let mut moved = 0;
        while moved < self.buffer.len() && !self.cursor.is_at_end() {
            let wanted = (self.buffer.len() - moved) as u64;
            for piece in self.cursor.take(memory, wanted, 1)? {
                let rest = self.buffer.get(moved..).unwrap_or_default();
                let part = rest.get(..piece.len()).unwrap_or(rest);
                piece.copy_from(part);
                moved += part.len();
            }
        }
        Ok(moved as u64)
    }

    /// Reads from or writes to the medium.
    fn to_medium(&self, operation: Operation, pieces: &[GuestSlice<'_>]) -> Result<u64, Failure> {
        let disk = self.target.disk().ok_or(Failure::NoMedium)?;
        let bytes = total(pieces);
        let begun = Instant::now();
        let done = match operation {
            Operation::Read => disk.read(self.offset, pieces),
            _ => disk.write(self.offset, pieces).and_then(|()| if self.write_through { disk.flush() } else { Ok(()) }),
        };
        self.conclude(operation, bytes, begun, done)?;
        if operation == Operation::Write {
            self.target.statistics().written_up_to(self.offset.saturating_add(bytes));
        }
        Ok(bytes)
    }

    /// Gives back what a list says that the guest no longer needs: 48 bits of an address and 16 of a length for each range.
    fn trim(&self, pieces: &[GuestSlice<'_>]) -> Result<u64, Failure> {
        let disk = self.target.disk().ok_or(Failure::NoMedium)?;
        let mut list = vec![0; total(pieces) as usize];
        let mut rest = list.as_mut_slice();
        for piece in pieces {
            let (part, after) = rest.split_at_mut(piece.len().min(rest.len()));
            piece.copy_to(part);
            rest = after;
        }
        let ranges = list.as_chunks().0.iter().map(|entry| {
            let entry = u64::from_le_bytes(*entry);
            ((entry & 0xffff_ffff_ffff) * SECTOR, (entry >> 48) * SECTOR)
        });
        let ranges: Vec<_> = ranges.filter(|(_, length)| *length > 0).collect();
        if ranges.iter().any(|(offset, length)| offset + length > disk.capacity()) {
            return Err(Failure::Address);
        }
        for (offset, length) in ranges {
            let begun = Instant::now();
            let done = disk.discard(offset, length);
            self.conclude(Operation::Discard, length, begun, done)?;
        }
        Ok(list.len() as u64)
    }

    fn flush(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        let done = match self.target.disk() {
            Some(disk) if self.flushes => disk.flush(),
            _ => Ok(()),
        };
        self.conclude(Operation::Flush, 0, begun, done)
    }

    fn conclude(&self, operation: Operation, bytes: u64, begun: Instant, done: io::Result<()>) -> Result<(), Failure> {
        match done {
            Ok(()) => {
                self.target.statistics().succeeded(operation, bytes, begun.elapsed());
                Ok(())
            }
            Err(error) => match self.target.failed(operation, &error) {
                Verdict::Keep => Err(Failure::Kept),
                Verdict::Ignore => Ok(()),
                Verdict::Report => {
                    self.target.statistics().failed(operation, begun.elapsed());
                    Err(Failure::Medium)
                }
            },
        }
    }
}

impl Protocol {
    /// Whether there is something that the I/O thread can do now.
    pub fn has_work(&self) -> bool {
        let can_be_done = match self.work {
            Some((_, Work::Transfer | Work::Reply)) => self.bus_master.is_active() && self.may_move_memory,
            work => work.is_some(),
        };
        can_be_done && !self.paused && !self.held && self.in_flight.is_none()
    }

    /// Hands out what is to be done next, or says when to ask again: a disk has limits.
    pub fn take_order(&mut self) -> Result<Option<Order>, Instant> {
        let Some((unit, work)) = self.work.filter(|_| self.has_work()) else { return Ok(None) };
        let Some(drive) = &mut self.units[unit].drive else { return Ok(None) };
        let (target, write_through, flushes) = match &drive.model {
            Model::Disk(disk) => (Target::Disk(disk.drive.clone()), disk.is_write_through(), disk.keeps_flushes()),
            Model::Cdrom(cdrom) => {
                let medium = Target::Medium { disk: cdrom.medium(), statistics: cdrom.statistics.clone() };
                (medium, false, false)
            }
        };
        let Transfer { way, offset, left, trims, .. } = drive.transfer;
        let length = left.min(if work == Work::Transfer { DMA_PART } else { PART });
        if let Target::Disk(disk) = &target
            && matches!(work, Work::Fill | Work::Drain | Work::Transfer)
        {
            let way = if way == Way::In { limits::Way::Read } else { limits::Way::Write };
            disk.throttle().admit(way, length, Instant::now())?;
        }
        self.in_flight = Some(work);
        Ok(Some(Order {
            generation: self.generation,
            unit,
            work,
            target,
            way,
            trims,
            offset,
            length,
            granule: drive.unit(),
            buffer: match work {
                Work::Drain | Work::Reply => std::mem::take(&mut drive.buffer.bytes),
                _ => Vec::new(),
            },
            cursor: self.bus_master.cursor,
            write_through,
            flushes,
        }))
    }

    /// Takes over what has been done.
    pub fn complete(&mut self, outcome: Outcome) {
        self.in_flight = None;
        let Outcome { order, moved } = outcome;
        if order.generation != self.generation {
            return;
        }
        let (index, work) = (order.unit, order.work);
        let Some(drive) = &mut self.units[index].drive else { return };
        let moved = match moved {
            Ok(moved) => moved,
            Err(Failure::Kept) => {
                drive.buffer.bytes = order.buffer;
                self.held = true;
                return;
            }
            Err(failure) => return self.fail(index, work, &failure),
        };
        let transfer = &mut drive.transfer;
        transfer.offset += moved;
        transfer.left = transfer.left.saturating_sub(moved);
        let left = transfer.left;
        match work {
            Work::Fill => {
                drive.buffer = Buffer { bytes: order.buffer, position: 0, end: 0 };
                self.work = None;
                self.present(index);
            }
            Work::Drain if left > 0 => {
                self.work = None;
                drive.buffer = Buffer::default();
                self.ask(index, true);
            }
            Work::Drain | Work::Flush => {
                self.work = None;
                self.finish(index, Ok(()), true);
            }
            Work::Transfer | Work::Reply => {
                self.bus_master.cursor = order.cursor;
                let done = if work == Work::Reply { moved >= order.buffer.len() as u64 } else { left == 0 };
                if !done && !self.bus_master.cursor.is_at_end() {
                    return;
                }
                self.work = None;
                self.bus_master.finished();
                // A table that is too short leaves the guest without an interrupt (section 3.2 of the bus master's).
                self.finish(index, Ok(()), done);
            }
        }
    }

    fn fail(&mut self, index: usize, work: Work, failure: &Failure) {
        self.work = None;
        if matches!(work, Work::Transfer | Work::Reply) {
            self.bus_master.aborted(matches!(failure, Failure::Table));
        }
        let Some(drive) = &mut self.units[index].drive else { return };
        let step = match (&mut drive.model, failure) {
            (Model::Cdrom(cdrom), Failure::NoMedium) => cdrom.fail(Sense::NO_MEDIUM),
            (Model::Cdrom(cdrom), _) => cdrom.fail(Sense::READ_ERROR),
            (Model::Disk(_), Failure::Medium) if work != Work::Flush && drive.transfer.way == Way::In => {
                Step::Done(Err(UNCORRECTABLE))
            }
            (Model::Disk(_), Failure::Address) => Step::Done(Err(NO_ADDRESS | ABORTED)),
            (Model::Disk(_), _) => Step::Done(Err(ABORTED)),
        };
        self.take_step(index, step);
    }
}

/// Carries out orders until the channel is dropped.
pub fn run(shared: &Shared) {
    let mut state = shared.lock();
    while !state.is_ending() {
        state = match state.take_order() {
            Ok(Some(order)) => {
                drop(state);
                let outcome = order.carry_out(shared.memory());
                let mut state = shared.lock();
                state.complete(outcome);
                shared.tell();
                state
            }
            Ok(None) => shared.wait(state),
            Err(time) => shared.wait_until(state, time),
        };
    }
}
