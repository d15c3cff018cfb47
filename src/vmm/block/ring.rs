//! Transfers in flight at the kernel: many at a time from one thread (io_uring(7)).
//!
//! A ring takes its requests from memory, where no filter of system calls can look. So it is made before the worker is shut
//! in, for nothing but transfers and flushes of files that are open.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::Instant,
};

use io_uring::{
    IoUring,
    opcode::{Fsync, Read, Readv, Write, Writev},
    register::Restriction,
    squeue,
    types::{Fd, FsyncFlags},
};
use vm_memory::bitmap::Bitmap;

use super::place::{Hold, Place};
use crate::vmm::memory::{GuestMemory, GuestSlice};

/// Requests that are handed over at once; more take several calls.
const ENTRIES: u32 = 256;
/// The most pieces of one transfer: the kernel's limit on a vector.
pub const MAX_PIECES: usize = libc::UIO_MAXIOV as usize;

/// What the kernel is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Fill the buffers from this byte of the disk on.
    Read(u64),
    /// Write the buffers to this byte of the disk on.
    Write(u64),
    /// Bring what was written to stable storage.
    Flush,
}

/// Guest memory that a transfer goes to or comes from. It stays mapped for as long as this lives.
pub struct Held {
    /// Their lifetime is that of `memory`, whatever they say.
    buffers: Vec<GuestSlice<'static>>,
    answer: GuestSlice<'static>,
    vectors: Vec<libc::iovec>,
    _memory: Arc<GuestMemory>,
}

impl Held {
    /// Holds the buffers of a transfer, and the byte for its outcome, which are slices of `memory`.
    pub fn new(memory: &Arc<GuestMemory>, buffers: &[GuestSlice<'_>], answer: GuestSlice<'_>) -> Self {
        let vectors = buffers
            .iter()
            .map(|slice| libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() })
            .collect();
        // SAFETY: the slices lie in mappings of `memory`, which is held beside them and is not unmapped before it is dropped.
        // No longer lifetime than that of `&self` is ever given out.
        let (buffers, answer) = unsafe {
            let forget = |slice: GuestSlice<'_>| std::mem::transmute::<GuestSlice<'_>, GuestSlice<'static>>(slice);
            (buffers.iter().map(|&slice| forget(slice)).collect(), forget(answer))
        };
        Self { buffers, answer, vectors, _memory: memory.clone() }
    }

    /// The buffers.
    pub fn buffers(&self) -> &[GuestSlice<'_>] {
        &self.buffers
    }

    /// The byte for the outcome.
    pub fn answer(&self) -> &GuestSlice<'_> {
        &self.answer
    }
}

// SAFETY: the pointers lead into guest memory, which any thread may access.
unsafe impl Send for Held {}

/// A request that is done.
pub struct Finished {
    /// By which the request was begun.
    pub token: u16,
    /// Its memory.
    pub held: Held,
    /// What was to be done.
    pub task: Task,
    /// When it was begun.
    pub begun: Instant,
    /// How many bytes went over, which may be fewer than were asked for.
    pub result: io::Result<usize>,
}

/// A ring.
pub struct Ring {
    ring: IoUring,
    /// What is in flight, by token.
    flights: Vec<Option<Flight>>,
    in_flight: usize,
    /// What is done and was not asked for yet.
    finished: VecDeque<Finished>,
}

struct Flight {
    held: Held,
    task: Task,
    begun: Instant,
    _hold: Option<Hold>,
}

impl Ring {
    /// A ring that can do nothing but [`Task`]s.
    pub fn new() -> io::Result<Self> {
        // Completions come when the thread enters the kernel next, which it does at once: no interrupts between processors.
        let quiet = IoUring::builder().setup_r_disabled().setup_coop_taskrun().build(ENTRIES);
        let ring = quiet.or_else(|_| IoUring::builder().setup_r_disabled().build(ENTRIES))?;
        let mut tasks = [Read::CODE, Readv::CODE, Write::CODE, Writev::CODE, Fsync::CODE].map(Restriction::sqe_op);
        ring.submitter().register_restrictions(&mut tasks)?;
        ring.submitter().register_enable_rings()?;
        Ok(Self { ring, flights: Vec::new(), in_flight: 0, finished: VecDeque::new() })
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Begins a request at a place, which [`Ring::submit`] hands over at the latest. `false`: one of this token is in flight
    /// already.
    pub fn begin(&mut self, token: u16, place: Place<'_>, task: Task, held: Held, begun: Instant) -> bool {
        let slot = usize::from(token);
        if self.flights.len() <= slot {
            self.flights.resize_with(slot + 1, || None);
        }
        if self.flights[slot].is_some() {
            return false;
        }
        let Place { file, offset, hold } = place;
        let entry = entry(Fd(file.as_raw_fd()), task, offset, &held.vectors);
        // The vector on the heap does not move with its owner.
        self.flights[slot] = Some(Flight { held, task, begun, _hold: hold });
        self.push(&entry.user_data(token.into()));
        self.in_flight += 1;
        true
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to is held, mapped and in place, until the request has finished.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // It is full. What fails now fails again when the rest is submitted, where it is told.
            let _ = self.ring.submit();
        }
    }

    /// Hands over what was begun.
    pub fn submit(&mut self) -> io::Result<()> {
        self.enter(0)
    }

    /// Hands over what was begun, and waits until something has finished if anything is in flight.
    pub fn wait(&mut self) -> io::Result<()> {
        self.enter(usize::from(self.in_flight > 0))
    }

    fn enter(&mut self, wanted: usize) -> io::Result<()> {
        if wanted == 0 && self.ring.submission().is_empty() {
            return Ok(());
        }
        loop {
            match self.ring.submit_and_wait(wanted) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel is out of room until what is there is looked at.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Returns when nothing is in flight. What is done waits for [`Ring::next_finished`].
    pub fn settle(&mut self) -> io::Result<()> {
        while self.in_flight > 0 {
            self.wait()?;
            while let Some(finished) = self.take_finished() {
                self.finished.push_back(finished);
            }
        }
        Ok(())
    }

    /// The next request that is done.
    pub fn next_finished(&mut self) -> Option<Finished> {
        self.finished.pop_front().or_else(|| self.take_finished())
    }

    fn take_finished(&mut self) -> Option<Finished> {
        loop {
            let entry = self.ring.completion().next()?;
            let token = entry.user_data() as u16;
            let flight = self.flights.get_mut(usize::from(token)).and_then(Option::take);
            let Some(Flight { held, task, begun, .. }) = flight else { continue };
            self.in_flight -= 1;
            let result = usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()));
            if result.is_ok() {
                // The kernel has written behind the back of what remembers written pages; too much does no harm.
                held.buffers.iter().for_each(|buffer| buffer.bitmap().mark_dirty(0, buffer.len()));
            }
            return Some(Finished { token, held, task, begun, result });
        }
    }
}

/// What the kernel reads of a request. It has no pieces of its own for one buffer, as most have.
fn entry(file: Fd, task: Task, at: u64, vectors: &[libc::iovec]) -> squeue::Entry {
    let (pieces, count) = (vectors.as_ptr(), vectors.len() as u32);
    match (task, vectors) {
        (Task::Flush, _) => Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
        (Task::Read(_), [one]) => Read::new(file, one.iov_base.cast(), one.iov_len as u32).offset(at).build(),
        (Task::Write(_), [one]) => Write::new(file, one.iov_base.cast(), one.iov_len as u32).offset(at).build(),
        (Task::Read(_), _) => Readv::new(file, pieces, count).offset(at).build(),
        (Task::Write(_), _) => Writev::new(file, pieces, count).offset(at).build(),
    }
}

impl AsRawFd for Ring {
    /// Readable when something has finished.
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.in_flight > 0 {
            if self.wait().is_err() {
                // The kernel may still write there: rather lose the memory.
                std::mem::forget(std::mem::take(&mut self.flights));
                return;
            }
            while self.next_finished().is_some() {}
        }
    }
}
