//! What virtio-blk does with a request (virtio 1.2, section 5.2.6).
//!
//! A request is a header to read, data to read or write, and a byte to write the outcome to. Data goes between the disk and the
//! guest's memory without a copy. Where the disk is a file and the host has io_uring, many requests are in flight at a time, and
//! are done in any order; others are done one after the other. A request that makes no sense as a request (no header, no room for the outcome) is the
//! driver's fault and stops the device; one that cannot be done gets an outcome that says so, unless the drive has it kept: then
//! it is served again, before any other, when the machine goes on.

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use vmm_sys_util::timerfd::TimerFd;

use super::{MAX_RANGE_SECTORS, SERIAL};
use crate::vmm::{
    block::{Disk, Durability, SECTOR, drive::Drive, errors::Verdict, limits::Way, ring::Ring, statistics::Operation},
    memory::{GuestMemory, GuestSlice},
    virtio::queue::{Buffers, Chain, QueueError, Served},
};

/// Ranges of one discard or write of zeroes.
pub const MAX_RANGES: u32 = 32;
const RANGE_SIZE: usize = 16;
/// A range of zeroes may give its space back.
const RANGE_UNMAP: u32 = 1;

/// What serves one queue.
pub struct BlockQueue {
    pub(super) drive: Arc<Drive>,
    /// The drive's content, for as long as the queue is served.
    pub(super) disk: Arc<dyn Disk>,
    pub(super) serial: [u8; SERIAL],
    /// For requests that are in flight together.
    pub(super) ring: Option<Ring>,
    /// The driver cannot flush, so every write has to be on stable storage when it is done (section 5.2.6.2).
    pub(super) write_through: bool,
    /// Requests that the host could not carry out, by their first descriptors.
    pub(super) kept: VecDeque<u16>,
    /// The machine is about to stop: nothing is begun.
    pub(super) is_held: bool,
    /// Rings when a request may be begun that is not within the limits yet; it is there while the queue is served.
    pub(super) timer: Option<TimerFd>,
    /// Since when the next request waits for that.
    pub(super) waits_since: Option<Instant>,
}

/// Why a request was not carried out.
pub(super) enum Refusal {
    /// It makes no sense for this disk.
    Invalid(Operation),
    /// The host could not do it.
    Failed(Operation, io::Error),
    /// There is no such request.
    Unsupported,
}

/// What a request has done.
pub(super) struct Done {
    pub(super) operation: Option<Operation>,
    pub(super) bytes: u64,
    /// How much of it the guest finds in its buffers.
    pub(super) written: usize,
}

impl Done {
    /// A read into these buffers.
    pub(super) fn read(buffers: &[GuestSlice<'_>]) -> Self {
        let written: usize = buffers.iter().map(GuestSlice::len).sum();
        Self { operation: Some(Operation::Read), bytes: written as u64, written }
    }

    /// A flush.
    pub(super) fn flushed() -> Self {
        Self { operation: Some(Operation::Flush), bytes: 0, written: 0 }
    }
}

/// The end of a request.
pub(super) struct Ending<'a> {
    /// Its first descriptor.
    pub(super) head: u16,
    /// How many bytes there is room for in its buffers.
    pub(super) room: usize,
    pub(super) took: Duration,
    /// Where its outcome goes.
    pub(super) answer: &'a GuestSlice<'a>,
}

impl BlockQueue {
    /// Serves one request as soon as it is within the limits.
    pub(super) fn serve(
        &mut self,
        memory: &Arc<GuestMemory>,
        chain: &mut Chain<'_>,
        begun: &mut Instant,
        again: bool,
    ) -> Result<Served, QueueError> {
        if self.is_held {
            return Ok(Served::NotNow);
        }
        let outcome_byte = chain.writable.split_last()?;
        let header: [u8; 16] = {
            let mut bytes = [0; 16];
            chain.readable.read(&mut bytes)?;
            bytes
        };
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let (kind, sector) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector));
        if !again && !self.is_due(kind, chain, begun)? {
            return Ok(Served::NotNow);
        }
        if self.begin(memory, kind, sector, chain, outcome_byte, *begun)? {
            return Ok(Served::Later);
        }
        if let (VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES, Some(ring)) = (kind, &mut self.ring) {
            // They may move bytes, and wait until nothing is on its way there.
            ring.settle()?;
        }
        let room = chain.writable.len();
        let outcome = self.execute(kind, sector, chain);

        // The end of one request is the beginning of the next: the clock is read once for each.
        let now = Instant::now();
        let took = now - std::mem::replace(begun, now);
        Ok(self.conclude(Ending { head: chain.head(), room, took, answer: &outcome_byte }, outcome))
    }

    /// Whether a request is within the limits. If it is not, the timer rings when it may be.
    fn is_due(&mut self, kind: u32, chain: &Chain<'_>, begun: &mut Instant) -> Result<bool, QueueError> {
        let throttle = self.drive.throttle();
        let cost = match kind {
            _ if !throttle.is_on() => None,
            VIRTIO_BLK_T_IN => Some((Way::Read, chain.writable.len() as u64)),
            VIRTIO_BLK_T_OUT => Some((Way::Write, chain.readable.len() as u64)),
            // They move nothing, however long they are.
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => Some((Way::Write, 0)),
            _ => None,
        };
        if let Some((way, bytes)) = cost {
            let now = Instant::now();
            if let (Err(later), Some(timer)) = (throttle.admit(way, bytes, now), &mut self.timer) {
                self.waits_since.get_or_insert(now);
                timer.reset(later.saturating_duration_since(now), None).map_err(io::Error::from)?;
                return Ok(false);
            }
        }
        // The time that it had to wait is part of what it took.
        if let Some(since) = self.waits_since.take() {
            *begun = since;
        }
        Ok(true)
    }

    /// Counts a request, and tells the guest how it went, or keeps it.
    pub(super) fn conclude(&mut self, ending: Ending<'_>, outcome: Result<Done, Refusal>) -> Served {
        let Ending { head, room, took, answer } = ending;
        let statistics = self.drive.statistics();
        let (status, written) = match outcome {
            Ok(Done { operation, bytes, written }) => {
                if let Some(operation) = operation {
                    statistics.succeeded(operation, bytes, took);
                }
                (VIRTIO_BLK_S_OK, written)
            }
            Err(Refusal::Invalid(operation)) => {
                statistics.invalid(operation);
                (VIRTIO_BLK_S_IOERR, 0)
            }
            Err(Refusal::Failed(operation, error)) => match self.drive.failed(operation, &error) {
                Verdict::Keep => {
                    self.kept.push_back(head);
                    self.is_held = true;
                    return Served::Later;
                }
                Verdict::Report => {
                    statistics.failed(operation, took);
                    (VIRTIO_BLK_S_IOERR, 0)
                }
                Verdict::Ignore => {
                    statistics.failed(operation, took);
                    (VIRTIO_BLK_S_OK, if operation == Operation::Read { room } else { 0 })
                }
            },
            Err(Refusal::Unsupported) => (VIRTIO_BLK_S_UNSUPP, 0),
        };
        answer.copy_from(&[status as u8]);
        Served::Done(written + 1)
    }

    fn execute(&self, kind: u32, sector: u64, chain: &mut Chain<'_>) -> Result<Done, Refusal> {
        match kind {
            VIRTIO_BLK_T_IN => self.read(sector, &chain.writable),
            VIRTIO_BLK_T_OUT => self.write(sector, &chain.readable),
            VIRTIO_BLK_T_FLUSH => self.flush(),
            VIRTIO_BLK_T_GET_ID => {
                let length = chain.writable.len().min(SERIAL);
                // It was looked at how much room there is.
                let _ = chain.writable.write(&self.serial[..length]);
                Ok(Done { operation: None, bytes: 0, written: length })
            }
            VIRTIO_BLK_T_DISCARD => self.ranges(Operation::Discard, &mut chain.readable),
            VIRTIO_BLK_T_WRITE_ZEROES => self.ranges(Operation::Write, &mut chain.readable),
            _ => Err(Refusal::Unsupported),
        }
    }

    /// The range's beginning in bytes, if all of it is on the disk.
    pub(super) fn offset(&self, sector: u64, length: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR)?;
        let end = offset.checked_add(length)?;
        (end <= self.disk.capacity() && length.is_multiple_of(SECTOR)).then_some(offset)
    }

    fn read(&self, sector: u64, data: &Buffers<'_>) -> Result<Done, Refusal> {
        let offset = self.offset(sector, data.len() as u64).ok_or(Refusal::Invalid(Operation::Read))?;
        self.read_at(offset, data.slices())
    }

    pub(super) fn read_at(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> Result<Done, Refusal> {
        self.disk.read(offset, buffers).map_err(|error| Refusal::Failed(Operation::Read, error))?;
        Ok(Done::read(buffers))
    }

    fn write(&self, sector: u64, data: &Buffers<'_>) -> Result<Done, Refusal> {
        let offset = self.offset(sector, data.len() as u64).filter(|_| !self.disk.read_only());
        self.write_at(offset.ok_or(Refusal::Invalid(Operation::Write))?, data.slices())
    }

    pub(super) fn write_at(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> Result<Done, Refusal> {
        self.disk.write(offset, buffers).map_err(|error| Refusal::Failed(Operation::Write, error))?;
        self.written(offset, buffers)
    }

    /// What is left to do after a write.
    pub(super) fn written(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> Result<Done, Refusal> {
        self.settle()?;
        let bytes = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        self.drive.statistics().written_up_to(offset + bytes);
        Ok(Done { operation: Some(Operation::Write), bytes, written: 0 })
    }

    fn flush(&self) -> Result<Done, Refusal> {
        if self.drive.durability() != Durability::Never {
            self.disk.flush().map_err(|error| Refusal::Failed(Operation::Flush, error))?;
        }
        Ok(Done::flushed())
    }

    fn settle(&self) -> Result<(), Refusal> {
        if self.write_through {
            self.disk.flush().map_err(|error| Refusal::Failed(Operation::Write, error))?;
        }
        Ok(())
    }

    /// A discard, or a write of zeroes, of several ranges. All are checked before any is touched.
    fn ranges(&self, operation: Operation, data: &mut Buffers<'_>) -> Result<Done, Refusal> {
        let invalid = || Refusal::Invalid(operation);
        let count = data.len() / RANGE_SIZE;
        if self.disk.read_only() || count == 0 || count > MAX_RANGES as usize || !data.len().is_multiple_of(RANGE_SIZE)
        {
            return Err(invalid());
        }
        let mut ranges = [(0, 0, false); MAX_RANGES as usize];
        let ranges = &mut ranges[..count];
        for range in ranges.iter_mut() {
            let mut bytes = [0; RANGE_SIZE];
            data.read(&mut bytes).map_err(|_| invalid())?;
            let (sector, rest) = bytes.split_at(8);
            let sector = sector.try_into().map(u64::from_le_bytes).map_err(|_| invalid())?;
            let (sectors, flags) = rest.split_at(4);
            let sectors = sectors.try_into().map(u32::from_le_bytes).map_err(|_| invalid())?;
            let flags = flags.try_into().map(u32::from_le_bytes).map_err(|_| invalid())?;
            // A discard has no flags, and zeroes have one (section 5.2.6.2).
            let allowed = if operation == Operation::Discard { 0 } else { RANGE_UNMAP };
            if flags & !allowed != 0 {
                return Err(Refusal::Unsupported);
            }
            let length = u64::from(sectors) * SECTOR;
            let offset = self.offset(sector, length).filter(|_| sectors <= MAX_RANGE_SECTORS).ok_or_else(invalid)?;
            *range = (offset, length, flags & RANGE_UNMAP != 0);
        }
        let mut total = 0;
        for &mut (offset, length, unmap) in ranges {
            let done = match operation {
                Operation::Discard => self.disk.discard(offset, length),
                _ => self.disk.write_zeroes(offset, length, unmap),
            };
            done.map_err(|error| Refusal::Failed(operation, error))?;
            total += length;
            if operation == Operation::Write {
                self.drive.statistics().written_up_to(offset + length);
            }
        }
        self.settle()?;
        Ok(Done { operation: Some(operation), bytes: total, written: 0 })
    }
}
