//! Virtqueues as the devices use them (virtio 1.2, section 2.7): [`Virtqueue`] hands out [`Chain`]s, checked as a whole
//! before a device sees them, and takes them back.
//!
//! The rings' arithmetic is the virtio-queue crate's. What is added here is the judgement over a chain (a loop, a cut-off
//! chain, a buffer outside of memory, a wrong order of buffers are errors, not a short chain), suppression of interrupts
//! without the event index, and slices of guest memory that can be given to the kernel as they are.

#![forbid(unsafe_code)]

mod chain;

use std::sync::{
    Arc,
    atomic::{Ordering, fence},
};

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

pub use chain::{Buffers, Chain};
use chain::{Table, Walk};

use super::interrupt::VirtioInterrupt;
use crate::vmm::memory::GuestMemory;

/// How many times the queue's size is served before whatever else the device's thread waits for has its turn.
const ROUNDS_A_TURN: usize = 4;

/// How a driver has broken a queue. The device cannot go on until it is reset.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue was set up with an impossible size or address.
    #[error("queue {queue} is set up wrongly: {reason}")]
    Setup {
        /// The queue's number.
        queue: u16,
        /// What is wrong.
        reason: String,
    },
    /// The rings could not be read or written.
    #[error("queue {queue} has unusable rings: {source}")]
    Ring {
        /// The queue's number.
        queue: u16,
        /// What is wrong.
        source: virtio_queue::Error,
    },
    /// A chain of descriptors is broken.
    #[error("queue {queue} has a broken descriptor chain: {reason}")]
    Chain {
        /// The queue's number.
        queue: u16,
        /// What is wrong.
        reason: &'static str,
    },
    /// The chain is sound but not what this kind of device takes.
    #[error("a request makes no sense: {0}")]
    Request(&'static str),
    /// The device's back end has failed for good.
    #[error("the device cannot go on: {0}")]
    Device(#[from] std::io::Error),
}

/// How the driver has set up a queue (section 4.1.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSetup {
    /// Size in descriptors.
    pub size: u16,
    /// Guest physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest physical address of the available ring (the driver area).
    pub available: u64,
    /// Guest physical address of the used ring (the device area).
    pub used: u64,
}

/// How far the device has come in a queue: the part of its state that is not in guest memory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePosition {
    /// The next entry of the available ring to take.
    pub next_available: u16,
    /// The next entry of the used ring to fill.
    pub next_used: u16,
}

/// An enabled queue.
pub struct Virtqueue {
    index: u16,
    queue: Queue,
    kick: EventFd,
    interrupt: Arc<VirtioInterrupt>,
    unannounced: bool,
}

impl Virtqueue {
    /// Queue number `index` as the driver has set it up, after checking that all of it lies in `memory`. `kick` is signalled
    /// by the driver's notifications.
    pub fn new(
        index: u16,
        setup: QueueSetup,
        position: QueuePosition,
        event_index: bool,
        kick: EventFd,
        interrupt: Arc<VirtioInterrupt>,
        memory: &GuestMemory,
    ) -> Result<Self, QueueError> {
        let wrong = |reason: String| QueueError::Setup { queue: index, reason };
        let mut queue = Queue::new(virtio_queue_max(setup.size)).map_err(|error| wrong(error.to_string()))?;
        queue
            .try_set_size(setup.size)
            .and_then(|()| queue.try_set_desc_table_address(GuestAddress(setup.descriptors)))
            .and_then(|()| queue.try_set_avail_ring_address(GuestAddress(setup.available)))
            .and_then(|()| queue.try_set_used_ring_address(GuestAddress(setup.used)))
            .map_err(|error| wrong(error.to_string()))?;
        queue.set_event_idx(event_index);
        queue.set_next_avail(position.next_available);
        queue.set_next_used(position.next_used);
        queue.set_ready(true);
        // The crate takes an available ring at 0 for an unset one.
        if setup.available == 0 || !queue.is_valid(memory) {
            return Err(wrong("its rings are not in the guest's memory".to_owned()));
        }
        Ok(Self { index, queue, kick, interrupt, unannounced: false })
    }

    /// The queue's number.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Its size in descriptors.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Signalled when the driver has made buffers available.
    pub fn kick(&self) -> &EventFd {
        &self.kick
    }

    /// How far the device has come.
    pub fn position(&self) -> QueuePosition {
        QueuePosition { next_available: self.queue.next_avail(), next_used: self.queue.next_used() }
    }

    /// Takes the next chain, if there is one.
    pub fn pop<'m>(&mut self, memory: &'m GuestMemory) -> Result<Option<Chain<'m>>, QueueError> {
        let mut chain = Chain::default();
        Ok(self.pop_into(memory, &mut chain)?.then_some(chain))
    }

    /// As [`Virtqueue::pop`], into a chain whose memory is used again. Returns whether there was one.
    pub fn pop_into<'m>(&mut self, memory: &'m GuestMemory, chain: &mut Chain<'m>) -> Result<bool, QueueError> {
        let index = self.index;
        let next = self.queue.iter(memory).map_err(|source| QueueError::Ring { queue: index, source })?.next();
        let Some(descriptors) = next else { return Ok(false) };
        chain.head = descriptors.head_index();
        chain.fill(self.index, memory, descriptors)?;
        Ok(true)
    }

    /// Reads a chain once more that was popped before and has not been given back.
    pub fn read_again<'m>(&self, memory: &'m GuestMemory, head: u16, chain: &mut Chain<'m>) -> Result<(), QueueError> {
        chain.head = head;
        let table = Table { address: self.queue.desc_table(), size: self.queue.size().into(), is_indirect: false };
        chain.fill(self.index, memory, Walk { memory, table, next: Some(head) })
    }

    /// Gives back the chain that was popped last, to be popped again later.
    pub fn undo_pop(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Gives the chain that began at descriptor `head` back to the driver, with `written` bytes written to it. The driver
    /// learns of it by [`Virtqueue::announce`].
    pub fn complete(&mut self, memory: &GuestMemory, head: u16, written: usize) -> Result<(), QueueError> {
        // A chain has fewer than 2^32 bytes.
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.unannounced = true;
        self.queue.add_used(memory, head, written).map_err(|source| QueueError::Ring { queue: self.index, source })
    }

    /// Interrupts the driver if there is something it has not been told and it wants to be told.
    pub fn announce(&mut self, memory: &GuestMemory) -> Result<(), QueueError> {
        if std::mem::take(&mut self.unannounced) && self.interrupt_wanted(memory)? {
            self.interrupt.queue_used(self.index);
        }
        Ok(())
    }

    /// Tells the driver that kicks are not needed for now.
    pub fn suppress_kicks(&mut self, memory: &GuestMemory) -> Result<(), QueueError> {
        self.queue.disable_notification(memory).map_err(|source| QueueError::Ring { queue: self.index, source })
    }

    /// Tells the driver to kick when it makes more available. Returns whether it has done so meanwhile, without a kick.
    pub fn want_kicks(&mut self, memory: &GuestMemory) -> Result<bool, QueueError> {
        self.queue.enable_notification(memory).map_err(|source| QueueError::Ring { queue: self.index, source })
    }

    /// Serves the available chains: `serve` gets each and returns how many bytes it has written to it. The driver is not
    /// asked for kicks meanwhile and is interrupted once for all of them.
    ///
    /// A queue that never becomes empty, be it that answers fall into its own rings, is left for a while by kicking it again:
    /// its thread can always be stopped.
    pub fn serve_all<'m>(
        &mut self,
        memory: &'m GuestMemory,
        mut serve: impl FnMut(&mut Chain<'m>) -> Result<usize, QueueError>,
    ) -> Result<(), QueueError> {
        let mut turn = Turn::of(self);
        loop {
            let taken = self.take(memory, &mut turn, |chain| serve(chain).map(Served::Done))?;
            self.announce(memory)?;
            if taken != Taken::All || !self.want_kicks(memory)? {
                return Ok(());
            }
        }
    }

    /// Like [`Virtqueue::serve_all`], but a chain for which `serve` returns `None` stays where it is and ends it. Returns whether
    /// that was so.
    pub fn serve_while<'m>(
        &mut self,
        memory: &'m GuestMemory,
        mut serve: impl FnMut(&mut Chain<'m>) -> Result<Option<usize>, QueueError>,
    ) -> Result<bool, QueueError> {
        let mut turn = Turn::of(self);
        loop {
            let taken = self.take(memory, &mut turn, |chain| Ok(serve(chain)?.map_or(Served::NotNow, Served::Done)))?;
            self.announce(memory)?;
            if taken != Taken::All || !self.want_kicks(memory)? {
                return Ok(taken == Taken::NotNow);
            }
        }
    }

    /// Takes the available chains: `serve` gets each and says what has become of it. The driver is not asked for kicks meanwhile
    /// and not interrupted.
    pub fn take<'m>(
        &mut self,
        memory: &'m GuestMemory,
        turn: &mut Turn<'m>,
        mut serve: impl FnMut(&mut Chain<'m>) -> Result<Served, QueueError>,
    ) -> Result<Taken, QueueError> {
        self.suppress_kicks(memory)?;
        while self.pop_into(memory, &mut turn.chain)? {
            match serve(&mut turn.chain)? {
                Served::Done(written) => self.complete(memory, turn.chain.head(), written)?,
                Served::Later => {}
                Served::NotNow => {
                    self.undo_pop();
                    return Ok(Taken::NotNow);
                }
            }
            turn.left -= 1;
            if turn.left == 0 {
                // A counter that is full has kicked already.
                let _ = self.kick.write(1);
                return Ok(Taken::TurnOver);
            }
        }
        Ok(Taken::All)
    }

    fn interrupt_wanted(&mut self, memory: &GuestMemory) -> Result<bool, QueueError> {
        let ring = |source| QueueError::Ring { queue: self.index, source };
        if self.queue.event_idx_enabled() {
            return self.queue.needs_notification(memory).map_err(ring);
        }
        // The used index must be visible before the flags are looked at.
        fence(Ordering::SeqCst);
        let flags: u16 = memory
            .load(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed)
            .map_err(|error| ring(virtio_queue::Error::GuestMemory(error)))?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }
}

/// What has become of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It is done, and so many bytes were written to it.
    Done(usize),
    /// It will be completed later.
    Later,
    /// It goes back to the queue, of which nothing is taken for now.
    NotNow,
}

/// Why no more chains were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// There are none.
    All,
    /// The turn is over, and the queue has been kicked again.
    TurnOver,
    /// The device cannot serve more for now. The driver has not been asked for kicks.
    NotNow,
}

/// How much of a queue is served before its thread looks at what else there is.
pub struct Turn<'m> {
    chain: Chain<'m>,
    left: usize,
}

impl Turn<'_> {
    /// A turn of this queue.
    pub fn of(queue: &Virtqueue) -> Self {
        Self { chain: Chain::default(), left: ROUNDS_A_TURN * usize::from(queue.size()) }
    }
}

/// The crate wants a power of two as the largest size; whether the size itself is one is checked by it as well.
fn virtio_queue_max(size: u16) -> u16 {
    size.checked_next_power_of_two().unwrap_or(1 << 15).max(1)
}

/// The enabled queues of a device, by number.
#[derive(Default)]
pub struct Queues(Vec<Option<Virtqueue>>);

impl Queues {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a queue under its own number.
    pub fn insert(&mut self, queue: Virtqueue) {
        let index = usize::from(queue.index);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(queue);
    }

    /// Queue `index`, if the driver has enabled it.
    pub fn get(&mut self, index: u16) -> Option<&mut Virtqueue> {
        self.0.get_mut(usize::from(index))?.as_mut()
    }

    /// Takes queue `index` out.
    pub fn take(&mut self, index: u16) -> Option<Virtqueue> {
        self.0.get_mut(usize::from(index))?.take()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Virtqueue> {
        self.0.iter().flatten()
    }

    /// All of them, to work on.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Virtqueue> {
        self.0.iter_mut().flatten()
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Queues) {
        other.0.into_iter().flatten().for_each(|queue| self.insert(queue));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}
