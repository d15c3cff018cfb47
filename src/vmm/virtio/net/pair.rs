//! A pair of queues and its back end, on a thread of their own.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
};
use vmm_sys_util::{epoll::EventSet, timerfd::TimerFd};

use super::{Shared, control};
use crate::vmm::{
    limits::Way,
    memory::{GuestMemory, GuestSlice},
    net::{FRAME_MAX, HEADER_SIZE, NetBackend, Sent, USUAL_MTU, card::Card, finishing::Finishing, narrow::Narrow},
    virtio::{
        queue::{Buffers, QueueError, Virtqueue},
        worker::{Handler, Io},
    },
};

/// Where the header says how many buffers a frame fills.
const NUM_BUFFERS_OFFSET: usize = 10;
/// An Ethernet frame that nobody has left unsegmented, with a VLAN tag and the header.
const PLAIN_FRAME: usize = 1518 + HEADER_SIZE;
/// Frames taken in a row before the other direction has its turn.
const BATCH: usize = 64;

const SOURCE_BACKEND: u16 = 0;
const SOURCE_WAKE: u16 = 1;
const SOURCE_ROOM: u16 = 2;
const SOURCE_TIMER: u16 = 3;

/// What the thread owns.
pub struct QueuePair {
    receive: u16,
    transmit: u16,
    pairs: u16,
    backend: Box<dyn NetBackend>,
    shared: Arc<Shared>,
    /// Whether the back end is waited for.
    listening: bool,
    /// The back end is full: frames wait in the queue until it has room.
    full: bool,
    /// The back end is gone: frames go nowhere.
    broken: bool,
    /// Rings when the card's limits let frames through again.
    timer: Option<TimerFd>,
}

/// Why receiving has stopped.
enum Pause {
    /// No frame waits.
    NoFrame,
    /// The driver has no buffers, or too few, and kicks when there are more.
    NoBuffers,
    /// It had too few, and has made more available meanwhile.
    MoreBuffers,
    /// It is the other direction's turn.
    Turn,
    /// The card's limits let nothing through until then.
    Limit(Instant),
}

struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl QueuePair {
    /// Pair `index` of `pairs`.
    pub fn new(index: u16, pairs: u16, backend: Box<dyn NetBackend>, shared: Arc<Shared>) -> Self {
        let (receive, transmit) = (2 * index, 2 * index + 1);
        Self { receive, transmit, pairs, backend, shared, listening: false, full: false, broken: false, timer: None }
    }

    fn link(&self) -> bool {
        self.shared.card.link()
    }

    /// Waits for frames, or no longer does: a frame that nobody can take would wake the thread again and again.
    fn listen(&mut self, wanted: bool, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        if wanted != self.listening && !(self.broken && wanted) {
            let descriptor = Descriptor(self.backend.descriptor().as_raw_fd());
            let events = if wanted { EventSet::IN } else { EventSet::empty() };
            io.change_source(&descriptor, SOURCE_BACKEND, events)?;
            self.listening = wanted;
        }
        Ok(())
    }

    fn lost(&mut self, error: io::Error, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        tracing::warn!(queue = self.receive, %error, "the network back end is gone. The card's frames go nowhere");
        self.listen(false, io)?;
        self.broken = true;
        Ok(())
    }

    /// Takes frames from the back end for as long as there are buffers.
    fn receive(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let (memory, features) = (io.memory, io.features);
        loop {
            if !self.link() || self.broken || io.queue(self.receive).is_none() {
                return self.listen(false, io);
            }
            let Some(queue) = io.queue(self.receive) else { return Ok(()) };
            let outcome = receive_batch(queue, memory, features, self.backend.as_mut(), &self.shared.card);
            let pause = match outcome {
                Ok(pause) => pause,
                Err(QueueError::Device(error)) => return self.lost(error, io),
                Err(error) => return Err(error),
            };
            match pause {
                // The source is level-triggered: what still waits wakes the thread at once. Of what the back end has taken out of it
                // already it tells nothing.
                Pause::Turn if self.backend.holds_frames() => {
                    // A counter that is full has kicked already.
                    let _ = queue.kick().write(1);
                    return self.listen(true, io);
                }
                Pause::NoFrame | Pause::Turn => return self.listen(true, io),
                Pause::NoBuffers => return self.listen(false, io),
                Pause::Limit(later) => {
                    self.wait_until(later)?;
                    return self.listen(false, io);
                }
                Pause::MoreBuffers => {}
            }
        }
    }

    /// Sends what the driver has made available.
    fn transmit(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let sending = self.link() && !self.broken;
        let (statistics, throttle) = (self.shared.card.statistics(), self.shared.card.throttle());
        let backend = &mut self.backend;
        let mut limit = None;
        if self.full && sending {
            return Ok(());
        }
        let mut lost = None;
        let Some(queue) = io.queue(self.transmit) else { return Ok(()) };
        self.full = queue.serve_while(memory, |chain| {
            let length = chain.readable.len();
            if !sending || lost.is_some() || !(HEADER_SIZE..=FRAME_MAX).contains(&length) {
                statistics.dropped();
                return Ok(Some(0));
            }
            if throttle.is_on()
                && let Err(later) = throttle.look(Way::Write, Instant::now())
            {
                limit = Some(later);
                return Ok(None);
            }
            match backend.send(chain.readable.slices()) {
                Ok(Sent::Taken) => {
                    throttle.count(Way::Write, (length - HEADER_SIZE) as u64);
                    statistics.sent(length - HEADER_SIZE);
                }
                Ok(Sent::Full) => return Ok(None),
                Err(error) => lost = Some(error),
            }
            Ok(Some(0))
        })?;
        // What it has for the guest in answer is told by no descriptor.
        if self.listening
            && self.backend.holds_frames()
            && let Some(queue) = io.queue(self.receive)
        {
            let _ = queue.kick().write(1);
        }
        if let Some(later) = limit {
            self.wait_until(later)?;
        }
        lost.map_or(Ok(()), |error| self.lost(error, io))
    }

    /// Has the timer ring then, for both directions.
    fn wait_until(&mut self, time: Instant) -> Result<(), QueueError> {
        let left = time.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        match &mut self.timer {
            Some(timer) => Ok(timer.reset(left, None).map_err(io::Error::from)?),
            None => Ok(()),
        }
    }

    /// The back end may have room again.
    fn flush(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        match self.backend.flush() {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.full = false;
                self.transmit(io)
            }
            Err(error) => self.lost(error, io),
        }
    }

    fn control(&mut self, index: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let (memory, features) = (io.memory, io.features);
        let (pairs, shared, backend) = (self.pairs, &self.shared, &mut self.backend);
        let Some(queue) = io.queue(index) else { return Ok(()) };
        queue.serve_all(memory, |chain| control::serve(chain, features, pairs, shared, backend.as_mut()))
    }
}

impl QueuePair {
    fn thread(&self) -> usize {
        usize::from(self.receive / 2)
    }

    /// Takes the back end to which the card is switched, if it is. What that cannot do for frames is done before, and what is too long
    /// for it does not reach it.
    fn adopt(&mut self, features: u64) -> Option<Box<dyn NetBackend>> {
        let backend = self.shared.card.take_backend(self.thread())?;
        let backend = match control::left(features).are_within(backend.offloads()) {
            true => backend,
            false => Box::new(Finishing::new(backend)),
        };
        let told = self.shared.mtu.filter(|_| control::has(features, VIRTIO_NET_F_MTU));
        let taken = backend.mtu().unwrap_or(USUAL_MTU);
        let backend = match told {
            Some(told) if told > taken => Box::new(Narrow::new(backend, taken)),
            _ => backend,
        };
        self.broken = false;
        Some(std::mem::replace(&mut self.backend, backend))
    }

    /// Goes on with the back end to which the card is switched, if it is.
    fn exchange(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let Some(before) = self.adopt(io.features) else { return Ok(()) };
        for source in [Some(before.descriptor()), before.room()].into_iter().flatten() {
            io.remove_source(&Descriptor(source.as_raw_fd()))?;
        }
        self.begin(io)?;
        self.transmit(io)
    }

    /// Tells the back end what the driver takes, and begins to wait for it.
    fn begin(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        self.backend.accept(control::accepted(io.features))?;
        let descriptor = Descriptor(self.backend.descriptor().as_raw_fd());
        io.add_source(&descriptor, SOURCE_BACKEND, EventSet::empty())?;
        (self.listening, self.full) = (false, false);
        if let Some(room) = self.backend.room() {
            io.add_source(&Descriptor(room.as_raw_fd()), SOURCE_ROOM, EventSet::IN)?;
        }
        Ok(())
    }
}

impl Handler for QueuePair {
    fn started(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        self.adopt(io.features);
        self.begin(io)?;
        let timer = self.timer.insert(TimerFd::new().map_err(io::Error::from)?);
        // Each expiry wakes, and nothing has to be read.
        io.add_source(timer, SOURCE_TIMER, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        if let Some(wake) = self.shared.card.wake(self.thread()) {
            io.add_source(wake, SOURCE_WAKE, EventSet::IN)?;
        }
        Ok(())
    }

    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        if queue == self.receive {
            self.receive(io)
        } else if queue == self.transmit {
            self.transmit(io)
        } else if queue == control::queue_index(io.features, self.pairs.into()) {
            self.control(queue, io)
        } else {
            Ok(())
        }
    }

    fn ready(&mut self, source: u16, _events: EventSet, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        if source == SOURCE_ROOM {
            return self.flush(io);
        }
        if source == SOURCE_WAKE
            && let Some(wake) = self.shared.card.wake(self.thread())
        {
            wake.clear();
            self.exchange(io)?;
        }
        // The limits may be others, or have let enough time pass.
        if self.full && matches!(source, SOURCE_TIMER | SOURCE_WAKE) {
            self.full = false;
            self.transmit(io)?;
        }
        self.receive(io)
    }
}

/// A chain of buffers waiting to be filled.
struct Waiting<'m> {
    head: u16,
    buffers: Buffers<'m>,
}

/// Takes up to [`BATCH`] frames. The driver is interrupted once for all of them.
fn receive_batch(
    queue: &mut Virtqueue,
    memory: &GuestMemory,
    features: u64,
    backend: &mut dyn NetBackend,
    card: &Card,
) -> Result<Pause, QueueError> {
    let mergeable = control::has(features, VIRTIO_NET_F_MRG_RXBUF);
    let long = [VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_MTU];
    let is_long = long.into_iter().any(|feature| control::has(features, feature));
    let needed = if is_long { FRAME_MAX } else { PLAIN_FRAME };
    let most = if mergeable { usize::from(queue.size()) } else { 1 };
    let mut waiting: VecDeque<Waiting<'_>> = VecDeque::new();
    let mut pieces: Vec<GuestSlice<'_>> = Vec::new();
    let mut room = 0;
    let mut pause = Pause::Turn;

    queue.suppress_kicks(memory)?;
    for _ in 0..BATCH {
        while room < needed && waiting.len() < most {
            let Some(chain) = queue.pop(memory)? else { break };
            room += chain.writable.len();
            waiting.push_back(Waiting { head: chain.head(), buffers: chain.writable });
        }
        // Less than a whole frame may need is enough only when the driver cannot give more.
        if waiting.is_empty() || room < needed && waiting.len() < most {
            // Asked while those that are too few count as taken: only what comes behind them matters.
            pause = if queue.want_kicks(memory)? { Pause::MoreBuffers } else { Pause::NoBuffers };
            break;
        }
        pieces.clear();
        pieces.extend(waiting.iter().flat_map(|chain| chain.buffers.slices()).cloned());
        if card.throttle().is_on()
            && let Err(later) = card.throttle().look(Way::Read, Instant::now())
        {
            pause = Pause::Limit(later);
            break;
        }
        match backend.receive(&pieces)? {
            Some(length) if length >= HEADER_SIZE => {
                room -= deliver(queue, memory, &mut waiting, length)?;
                card.throttle().count(Way::Read, (length - HEADER_SIZE) as u64);
                card.statistics().received(length - HEADER_SIZE);
            }
            Some(_) => card.statistics().dropped(),
            None => {
                pause = Pause::NoFrame;
                break;
            }
        }
    }
    for _ in &waiting {
        queue.undo_pop();
    }
    queue.announce(memory)?;
    Ok(pause)
}

/// Gives the chains that a frame of `length` bytes (header included) fills back to the driver; returns the room they had.
fn deliver(
    queue: &mut Virtqueue,
    memory: &GuestMemory,
    waiting: &mut VecDeque<Waiting<'_>>,
    length: usize,
) -> Result<usize, QueueError> {
    let mut covered = 0;
    let count = waiting.iter().take_while(|chain| {
        let before = covered;
        covered += chain.buffers.len();
        before < length
    });
    let count = u16::try_from(count.count()).unwrap_or(u16::MAX);
    let (mut rest, mut room) = (length, 0);
    for index in 0..count {
        let Some(Waiting { head, mut buffers }) = waiting.pop_front() else { break };
        let capacity = buffers.len();
        let used = capacity.min(rest);
        if index == 0 {
            buffers.skip(NUM_BUFFERS_OFFSET);
            buffers.write(&count.to_le_bytes())?;
        }
        queue.complete(memory, head, used)?;
        rest -= used;
        room += capacity;
    }
    Ok(room)
}
