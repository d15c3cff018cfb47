//! The requests of a queue that are in flight together, and the thread that begins and completes them.

#![forbid(unsafe_code)]

use std::{io, sync::Arc, time::Instant};

use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use vmm_sys_util::{epoll::EventSet, timerfd::TimerFd};

use super::request::{BlockQueue, Done, Ending, Refusal};
use crate::vmm::{
    block::{
        Durability, NoDisk,
        place::{Place, Transfer},
        ring::{Finished, Held, MAX_PIECES, Ring, Task},
        statistics::Operation,
    },
    memory::{GuestMemory, GuestSlice},
    virtio::{
        queue::{Chain, QueueError, Served, Taken, Turn, Virtqueue},
        worker::{Handler, Io},
    },
};

/// The ring, among the sources of the thread.
const SOURCE_RING: u16 = 0;
/// The timer, among them.
const SOURCE_TIMER: u16 = 1;

impl BlockQueue {
    /// Begins a request that can be in flight beside others. `false`: it cannot, and is to be carried out at once.
    pub(super) fn begin(
        &mut self,
        memory: &Arc<GuestMemory>,
        kind: u32,
        sector: u64,
        chain: &Chain<'_>,
        answer: GuestSlice<'_>,
        begun: Instant,
    ) -> Result<bool, QueueError> {
        if self.ring.is_none() {
            return Ok(false);
        }
        let Some((task, buffers)) = self.task(kind, sector, chain) else { return Ok(false) };
        let length = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        let place = match task {
            Task::Read(offset) => self.disk.place(Transfer::Read, offset, length),
            Task::Write(offset) => self.disk.place(Transfer::Write, offset, length),
            Task::Flush => self.disk.flush_file().map(|file| Place { file, offset: 0, hold: None }),
        };
        let (Some(place), Some(ring)) = (place, &mut self.ring) else { return Ok(false) };
        match ring.begin(chain.head(), place, task, Held::new(memory, buffers, answer), begun) {
            true => Ok(true),
            false => Err(QueueError::Request("its descriptors are those of a request in flight")),
        }
    }

    /// What a ring can be asked for this request, and the buffers of that.
    fn task<'c>(&self, kind: u32, sector: u64, chain: &'c Chain<'_>) -> Option<(Task, &'c [GuestSlice<'c>])> {
        let writable = !self.disk.read_only();
        let (task, buffers) = match kind {
            VIRTIO_BLK_T_IN => (Task::Read(self.offset(sector, chain.writable.len() as u64)?), chain.writable.slices()),
            VIRTIO_BLK_T_OUT if writable => {
                (Task::Write(self.offset(sector, chain.readable.len() as u64)?), chain.readable.slices())
            }
            VIRTIO_BLK_T_FLUSH if writable && self.drive.durability() != Durability::Never => (Task::Flush, &[][..]),
            _ => return None,
        };
        let possible = task == Task::Flush || (1..=MAX_PIECES).contains(&buffers.len());
        possible.then_some((task, buffers))
    }

    /// Completes what has come back.
    fn complete(&mut self, queue: &mut Virtqueue, memory: &GuestMemory) -> Result<(), QueueError> {
        while let Some(finished) = self.ring.as_mut().and_then(Ring::next_finished) {
            let outcome = self.outcome(&finished);
            let (head, took, answer) = (finished.token, finished.begun.elapsed(), finished.held.answer());
            let room = finished.held.buffers().iter().map(GuestSlice::len).sum();
            if let Served::Done(written) = self.conclude(Ending { head, room, took, answer }, outcome) {
                queue.complete(memory, head, written)?;
            }
        }
        Ok(())
    }

    /// Serves what was kept when the machine stopped.
    fn serve_kept(&mut self, queue: &mut Virtqueue, memory: &Arc<GuestMemory>) -> Result<(), QueueError> {
        let mut chain = Chain::default();
        // What fails again goes to the end, and nothing else is begun then.
        while !self.is_held
            && let Some(head) = self.kept.pop_front()
        {
            queue.read_again(memory, head, &mut chain)?;
            if let Served::Done(written) = self.serve(memory, &mut chain, &mut Instant::now(), true)? {
                queue.complete(memory, head, written)?;
            }
        }
        Ok(())
    }

    /// How a request has gone. A transfer that was cut short, or could not be done as it was (a buffer that the file system
    /// wants aligned), is carried out again: then it is whole, or the reason is known.
    fn outcome(&self, finished: &Finished) -> Result<Done, Refusal> {
        let buffers = finished.held.buffers();
        let whole = buffers.iter().map(GuestSlice::len).sum::<usize>();
        let done = finished.result.as_ref().is_ok_and(|&done| done == whole);
        match finished.task {
            Task::Read(_) if done => Ok(Done::read(buffers)),
            Task::Read(offset) => self.read_at(offset, buffers),
            Task::Write(offset) if done => self.written(offset, buffers),
            Task::Write(offset) => self.write_at(offset, buffers),
            // Not again: the kernel tells of what it has lost once only.
            Task::Flush => match &finished.result {
                Ok(_) => Ok(Done::flushed()),
                Err(error) => {
                    self.disk.flush_failed();
                    Err(Refusal::Failed(Operation::Flush, copy(error)))
                }
            },
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

impl Handler for BlockQueue {
    fn started(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let flushes = io.features & (1 << VIRTIO_BLK_F_FLUSH) != 0;
        self.is_held = false;
        self.disk = self.drive.disk();
        self.write_through = match self.drive.durability() {
            Durability::OnFlush => !flushes,
            Durability::OnWrite => true,
            Durability::Never => false,
        };
        let timer = self.timer.insert(TimerFd::new().map_err(std::io::Error::from)?);
        // Each expiry wakes, and nothing has to be read.
        io.add_source(timer, SOURCE_TIMER, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        match &self.ring {
            Some(ring) => Ok(io.add_source(ring, SOURCE_RING, EventSet::IN)?),
            None => Ok(()),
        }
    }

    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(queue) else { return Ok(()) };
        self.serve_kept(queue, memory)?;
        let mut turn = Turn::of(queue);
        let mut begun = Instant::now();
        loop {
            let taken = queue.take(memory, &mut turn, |chain| self.serve(memory, chain, &mut begun, false))?;
            if let Some(ring) = &mut self.ring {
                ring.submit()?;
                self.complete(queue, memory)?;
            }
            queue.announce(memory)?;
            if taken != Taken::All || !queue.want_kicks(memory)? {
                return Ok(());
            }
        }
    }

    fn ready(&mut self, source: u16, _events: EventSet, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        if source == SOURCE_TIMER {
            let waiting: Vec<u16> = io.queues.iter().map(Virtqueue::index).collect();
            return waiting.into_iter().try_for_each(|queue| self.kicked(queue, io));
        }
        let memory = io.memory;
        io.queues.iter_mut().try_for_each(|queue| {
            self.complete(queue, memory)?;
            queue.announce(memory)
        })
    }

    fn stopping(&mut self, io: &mut Io<'_, '_>) {
        self.drain(io);
        // Another one may be put in its place.
        self.disk = Arc::new(NoDisk);
    }
}

impl BlockQueue {
    /// Waits for what is in flight.
    fn drain(&mut self, io: &mut Io<'_, '_>) {
        let memory = io.memory;
        while self.ring.as_ref().is_some_and(|ring| ring.in_flight() > 0) {
            if let Some(ring) = &mut self.ring
                && let Err(error) = ring.wait()
            {
                tracing::error!(%error, "requests in flight are lost");
                return;
            }
            for queue in io.queues.iter_mut() {
                let completed = self.complete(queue, memory).and_then(|()| queue.announce(memory));
                if let Err(error) = completed {
                    tracing::warn!(%error, "a request was completed that the driver has forgotten");
                }
            }
        }
    }
}
