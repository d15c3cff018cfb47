//! The card's thread: it carries frames between the rings and the back end. It looks at the guest's memory with the registers
//! locked, one frame at a time, and talks to the host without them: no vCPU waits for the host.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    core::{Core, Sleep},
    receive::Received,
};
use crate::vmm::{
    limits::Way,
    memory::GuestSlice,
    net::{FRAME_MAX, HEADER_SIZE, NetBackend, Offloads, Sent, card::NetHandle, unfinished::Unfinished},
};

/// Frames carried in a row before the other direction has its turn.
const BATCH: usize = 64;
/// A frame's header says that somebody has checked what is in the packet (`VIRTIO_NET_HDR_F_DATA_VALID`).
const IS_RIGHT: u8 = 2;

/// What the vCPUs and the thread share.
pub struct Shared {
    core: Mutex<Core>,
    card: NetHandle,
}

impl Shared {
    pub fn new(core: Core, card: NetHandle) -> Arc<Self> {
        Arc::new(Self { core: Mutex::new(core), card })
    }

    pub fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the registers, and wakes the thread if there is something for it to do.
    pub fn release(&self, mut core: MutexGuard<'_, Core>) {
        let wakes = core.wakes();
        drop(core);
        if wakes && let Some(wake) = self.card.wake(0) {
            wake.signal();
        }
    }
}

/// The thread's own.
pub struct Worker {
    shared: Arc<Shared>,
    backend: Box<dyn NetBackend>,
    offloads: Offloads,
    /// What was taken off the ring and is not sent yet.
    outgoing: Option<Unfinished>,
    /// The next frame of it, header first; empty when it has to be made.
    frame: Vec<u8>,
    /// Where frames come.
    incoming: Vec<u8>,
    /// The back end has no room for frames.
    full: bool,
    /// The back end is gone: frames go nowhere.
    broken: bool,
    /// When the card's limits let frames through again, from the guest and to it.
    limited: Limited,
}

#[derive(Default, Clone, Copy)]
struct Limited {
    send: Option<Instant>,
    receive: Option<Instant>,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, backend: Box<dyn NetBackend>) -> Self {
        let offloads = backend.offloads();
        Self {
            shared,
            backend,
            offloads,
            outgoing: None,
            frame: Vec::new(),
            incoming: Vec::new(),
            full: false,
            broken: false,
            limited: Limited::default(),
        }
    }

    /// Works until the card is dropped.
    pub fn run(mut self) {
        // The driver gets packets that are whole.
        if let Err(error) = self.backend.accept(Offloads::default()) {
            self.lose(&error);
        }
        let shared = self.shared.clone();
        loop {
            self.exchange();
            let is_busy = self.send() | self.receive();
            let mut core = shared.lock();
            core.wake_up();
            core.notice_link();
            core.interrupts.update(Instant::now());
            if core.is_ending() {
                return;
            }
            let Limited { send, receive } = self.limited;
            let listening = core.has_room() && !self.broken && receive.is_none();
            let sleep = Sleep { listening, full: self.full || send.is_some() };
            let has_more = core.has_frame() && !sleep.full || sleep.listening && self.backend.holds_frames();
            if is_busy || has_more {
                continue;
            }
            core.fall_asleep(sleep);
            // Whoever waits for its limits need not be woken for buffers.
            let due = [core.interrupts.due(), send, receive].into_iter().flatten().min();
            drop(core);
            self.wait(sleep, due);
        }
    }

    /// Goes on with the back end to which the card is switched, if it is.
    fn exchange(&mut self) {
        let Some(backend) = self.shared.card.take_backend(0) else { return };
        (self.offloads, self.backend) = (backend.offloads(), backend);
        (self.full, self.broken) = (false, false);
        // They were made for the other one.
        self.frame.clear();
        self.outgoing = None;
        if let Err(error) = self.backend.accept(Offloads::default()) {
            self.lose(&error);
        }
    }

    /// Sends some of the frames that wait. Returns whether there may be more to be sent now.
    fn send(&mut self) -> bool {
        self.limited.send = None;
        for _ in 0..BATCH {
            if self.frame.is_empty() && !self.make_frame() {
                return false;
            }
            self.limited.send = self.later(Way::Write);
            if self.limited.send.is_some() {
                return false;
            }
            if !self.broken {
                match self.backend.send(&[GuestSlice::from(self.frame.as_mut_slice())]) {
                    Ok(Sent::Taken) => {
                        let frame = self.frame.get(HEADER_SIZE..).unwrap_or_default();
                        self.shared.card.statistics().sent(frame.len());
                        self.shared.card.throttle().count(Way::Write, frame.len() as u64);
                        self.shared.lock().count_sent(frame);
                    }
                    Ok(Sent::Full) => {
                        self.full = true;
                        return false;
                    }
                    Err(error) => self.lose(&error),
                }
            }
            if self.broken {
                self.shared.card.statistics().dropped();
            }
            self.frame.clear();
        }
        true
    }

    /// Makes the next frame to be sent; `false` when there is none.
    fn make_frame(&mut self) -> bool {
        loop {
            let Some(outgoing) = &mut self.outgoing else {
                self.outgoing = self.shared.lock().take_frame();
                if self.outgoing.is_none() {
                    return false;
                }
                continue;
            };
            let is_first = outgoing.made == 0;
            if outgoing.next(self.offloads, &mut self.frame) {
                return true;
            }
            self.frame.clear();
            self.outgoing = None;
            if is_first {
                self.shared.card.statistics().dropped();
            }
        }
    }

    /// Receives some of the frames that wait. Returns whether there may be more to be taken now.
    fn receive(&mut self) -> bool {
        self.limited.receive = None;
        self.incoming.resize(FRAME_MAX, 0);
        for _ in 0..BATCH {
            if self.broken || !self.shared.lock().has_room() {
                return false;
            }
            self.limited.receive = self.later(Way::Read);
            if self.limited.receive.is_some() {
                return false;
            }
            let length = match self.backend.receive(&[GuestSlice::from(self.incoming.as_mut_slice())]) {
                Ok(Some(length)) => length,
                Ok(None) => return false,
                Err(error) => {
                    self.lose(&error);
                    return false;
                }
            };
            let frame = self.incoming.get(..length).unwrap_or_default();
            let Some((header, frame)) = frame.split_first_chunk::<HEADER_SIZE>() else {
                self.shared.card.statistics().dropped();
                continue;
            };
            self.shared.card.throttle().count(Way::Read, frame.len() as u64);
            let received = self.shared.lock().deliver(&mut frame.to_vec(), header[0] & IS_RIGHT != 0);
            match received {
                Received::Delivered => self.shared.card.statistics().received(frame.len()),
                Received::Dropped => self.shared.card.statistics().dropped(),
                Received::NotOurs => {}
            }
        }
        true
    }

    /// When the card's limits let the next frame through, if that is not now.
    fn later(&self, way: Way) -> Option<Instant> {
        let throttle = self.shared.card.throttle();
        if throttle.is_on() { throttle.look(way, Instant::now()).err() } else { None }
    }

    fn lose(&mut self, error: &io::Error) {
        tracing::warn!(%error, "the network back end is gone. The card's frames go nowhere");
        self.broken = true;
    }

    /// Waits until it is woken, until a frame or room comes, or until `due`.
    fn wait(&mut self, sleep: Sleep, due: Option<Instant>) {
        let Some(wake) = self.shared.card.wake(0) else { return };
        let mut sources = vec![PollFd::new(wake, PollFlags::IN)];
        let room = self.backend.room().filter(|_| self.full);
        let listening = sleep.listening.then(|| self.backend.descriptor());
        sources.extend(room.iter().chain(&listening).map(|source| PollFd::from_borrowed_fd(*source, PollFlags::IN)));
        let left = due.and_then(|due| Timespec::try_from(due.saturating_duration_since(Instant::now())).ok());
        // An interrupted wait is one that has ended.
        let _ = poll(&mut sources, left.as_ref());
        wake.clear();
        if self.full {
            match self.backend.flush() {
                Ok(has_room) => self.full = !has_room,
                Err(error) => {
                    self.full = false;
                    self.lose(&error);
                }
            }
        }
    }
}
