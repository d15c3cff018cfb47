//! The I/O thread of a virtio device: one loop for all of them.
//!
//! A device's [`Handler`] owns what does its work. An [`Engine`] keeps it while the device stands still and lends it, with the
//! queues, to a thread while the device is active. The thread waits for the driver's kicks and for the handler's own
//! sources (a tap, a timer, an eventfd of the host's side). When the engine is stopped the handler completes what is in
//! flight and everything comes back: a device that is stopped has no I/O anywhere.
//!
//! A handler that finds the driver breaking the rules returns an error; then the device asks for a reset
//! (DEVICE_NEEDS_RESET) and the thread serves nothing until it is stopped.

#![forbid(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    thread::{self, JoinHandle},
};

use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::{epoll::EventSet, eventfd::EventFd};

use super::{
    device::Activation,
    interrupt::VirtioInterrupt,
    queue::{QueueError, Queues, Virtqueue},
};
use crate::vmm::memory::GuestMemory;

/// What wakes the loop, in the data of an epoll event: a queue's number, a source of the handler's, or the end.
const SOURCE: u32 = 1 << 16;
const STOP: u32 = u32::MAX;
/// Linux's limit for the name of a thread.
const THREAD_NAME: usize = 15;

/// What a device does on its own thread.
pub trait Handler: Send + 'static {
    /// The thread begins. Sources are added here; every queue counts as kicked right afterwards.
    fn started(&mut self, _io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        Ok(())
    }

    /// The driver has made buffers available in queue `queue`, or may have.
    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError>;

    /// A source that was added as `source` is ready for `events`.
    fn ready(&mut self, _source: u16, _events: EventSet, _io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        Ok(())
    }

    /// The thread ends: complete or give up what is in flight.
    fn stopping(&mut self, _io: &mut Io<'_, '_>) {}
}

/// What a handler works with.
pub struct Io<'a, 'b> {
    /// The guest's memory.
    pub memory: &'a Arc<GuestMemory>,
    /// The queues that are enabled.
    pub queues: &'a mut Queues,
    /// The features that were negotiated.
    pub features: u64,
    /// The way to tell the driver of changes in the configuration.
    pub interrupt: &'a VirtioInterrupt,
    events: Option<&'a mut EventOps<'b>>,
}

impl Io<'_, '_> {
    /// Waits for `events` on `fd` as well, as source `source` of the handler's own numbering.
    pub fn add_source(&mut self, fd: &impl AsRawFd, source: u16, events: EventSet) -> io::Result<()> {
        let events = Events::with_data(fd, SOURCE | u32::from(source), events);
        self.events.as_mut().map_or(Ok(()), |ops| ops.add(events)).map_err(io::Error::other)
    }

    /// Waits for other events on a source.
    pub fn change_source(&mut self, fd: &impl AsRawFd, source: u16, events: EventSet) -> io::Result<()> {
        let events = Events::with_data(fd, SOURCE | u32::from(source), events);
        self.events.as_mut().map_or(Ok(()), |ops| ops.modify(events)).map_err(io::Error::other)
    }

    /// No longer waits for a source.
    pub fn remove_source(&mut self, fd: &impl AsRawFd) -> io::Result<()> {
        self.events.as_mut().map_or(Ok(()), |ops| ops.remove(Events::empty(fd))).map_err(io::Error::other)
    }

    /// Queue `index`, if it is enabled.
    pub fn queue(&mut self, index: u16) -> Option<&mut Virtqueue> {
        self.queues.get(index)
    }
}

/// A handler with its thread.
pub struct Engine<H> {
    name: String,
    state: State<H>,
}

enum State<H> {
    Idle(H),
    Running(Running<H>),
    /// The handler was lost with a thread that panicked.
    Lost,
}

struct Running<H> {
    thread: JoinHandle<Loop<H>>,
    stop: EventFd,
}

impl<H: Handler> Engine<H> {
    /// An engine that stands still. `name` is that of the device, for logs; its end names the thread.
    pub fn new(name: &str, handler: H) -> Self {
        Self { name: name.to_owned(), state: State::Idle(handler) }
    }

    /// The handler, while the engine stands still.
    pub fn handler(&self) -> Option<&H> {
        match &self.state {
            State::Idle(handler) => Some(handler),
            _ => None,
        }
    }

    /// The handler, while the engine stands still.
    pub fn handler_mut(&mut self) -> Option<&mut H> {
        match &mut self.state {
            State::Idle(handler) => Some(handler),
            _ => None,
        }
    }

    /// Starts the thread. On an error the engine stands still as before, but the queues are lost.
    pub fn start(&mut self, activation: Activation) -> io::Result<()> {
        let lost = || io::Error::other("its thread has crashed before");
        let handler = match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(handler) => handler,
            other => {
                self.state = other;
                return Err(lost());
            }
        };
        match spawn(&self.name, handler, activation) {
            Ok(running) => {
                self.state = State::Running(running);
                Ok(())
            }
            Err((error, handler)) => {
                self.state = handler.map_or(State::Lost, State::Idle);
                Err(error)
            }
        }
    }

    /// Stops the thread when everything in flight is complete, and returns the queues.
    pub fn stop(&mut self) -> Queues {
        let running = match std::mem::replace(&mut self.state, State::Lost) {
            State::Running(running) => running,
            other => {
                self.state = other;
                return Queues::new();
            }
        };
        // The counter cannot overflow: it is written once.
        let _ = running.stop.write(1);
        match running.thread.join() {
            Ok(finished) => {
                self.state = State::Idle(finished.handler);
                finished.activation.queues
            }
            Err(_) => {
                tracing::error!(device = self.name, "the device's thread has crashed. The device is gone");
                Queues::new()
            }
        }
    }
}

impl<H> Drop for Engine<H> {
    fn drop(&mut self) {
        if let State::Running(Running { thread, stop }) = std::mem::replace(&mut self.state, State::Lost) {
            let _ = stop.write(1);
            let _ = thread.join();
        }
    }
}

/// Starts the thread of a handler; on an error gives the handler back unless it is gone with the thread.
fn spawn<H: Handler>(name: &str, handler: H, activation: Activation) -> Result<Running<H>, (io::Error, Option<H>)> {
    let prepare = || -> io::Result<_> {
        let stop = EventFd::new(libc::EFD_CLOEXEC)?;
        let manager = EventManager::new_with_capacity(16).map_err(io::Error::other)?;
        Ok((stop.try_clone()?, stop, manager))
    };
    let (stop, its_stop, manager) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => return Err((error, Some(handler))),
    };
    // The handler is handed over once the thread is there, so that it is not lost when there is none.
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let short = name.get(name.len().saturating_sub(THREAD_NAME)..).unwrap_or(name).to_owned();
    let thread = thread::Builder::new().name(short).spawn(move || {
        let work: Loop<H> = receiver.recv().expect("whoever starts the thread sends its work at once");
        work.run(manager)
    });
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => return Err((error, Some(handler))),
    };
    let work = Loop { name: name.to_owned(), handler, activation, stop: its_stop, ended: false, outcome: Ok(()) };
    match sender.send(work) {
        Ok(()) => Ok(Running { thread, stop }),
        Err(unsent) => Err((io::Error::other("its thread has ended at once"), Some(unsent.0.handler))),
    }
}

struct Loop<H> {
    name: String,
    handler: H,
    activation: Activation,
    stop: EventFd,
    ended: bool,
    outcome: Result<(), QueueError>,
}

impl<H: Handler> Loop<H> {
    fn run(self, mut manager: EventManager<Self>) -> Self {
        let id = manager.add_subscriber(self);
        let outcome = loop {
            match manager.subscriber_mut(id) {
                Ok(work) if work.ended || work.outcome.is_err() => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            if let Err(error) = manager.run() {
                break Err(error);
            }
        };
        let mut work = manager.remove_subscriber(id).expect("the subscriber was added above and never removed");
        if let Err(error) = outcome {
            work.outcome = Err(io::Error::other(error).into());
        }
        work.finish();
        work
    }

    fn finish(&mut self) {
        if let Err(error) = std::mem::replace(&mut self.outcome, Ok(())) {
            tracing::warn!(device = self.name, %error, "the device stops. Its driver has to reset it");
            self.activation.interrupt.device_failed();
            while !self.ended {
                self.ended = self.stop.read().is_ok();
            }
        }
        self.with_io(None, |handler, io| handler.stopping(io));
    }

    fn with_io<'b, R>(
        &mut self,
        events: Option<&mut EventOps<'b>>,
        call: impl FnOnce(&mut H, &mut Io<'_, 'b>) -> R,
    ) -> R {
        let Activation { features, memory, queues, interrupt } = &mut self.activation;
        let mut io = Io { memory, queues, features: *features, interrupt, events };
        call(&mut self.handler, &mut io)
    }

    fn begin(&mut self, ops: &mut EventOps) -> Result<(), QueueError> {
        let watch = |ops: &mut EventOps, fd: RawFd, data: u32, events| {
            ops.add(Events::with_data_raw(fd, data, events)).map_err(io::Error::other)
        };
        watch(ops, self.stop.as_raw_fd(), STOP, EventSet::IN)?;
        let queues: Vec<u16> = self.activation.queues.iter().map(Virtqueue::index).collect();
        for queue in self.activation.queues.iter() {
            // Edge-triggered: each kick wakes, and nothing has to be read to quieten the eventfd.
            watch(ops, queue.kick().as_raw_fd(), queue.index().into(), EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        }
        self.with_io(Some(ops), |handler, io| {
            handler.started(io)?;
            queues.into_iter().try_for_each(|queue| handler.kicked(queue, io))
        })
    }
}

impl<H: Handler> MutEventSubscriber for Loop<H> {
    fn init(&mut self, ops: &mut EventOps) {
        self.outcome = self.begin(ops);
    }

    fn process(&mut self, events: Events, ops: &mut EventOps) {
        if self.ended || self.outcome.is_err() {
            return;
        }
        let (data, set) = (events.data(), events.event_set());
        if data == STOP {
            self.ended = true;
            return;
        }
        self.outcome = self.with_io(Some(ops), |handler, io| match (data & SOURCE != 0, data as u16) {
            (false, queue) => handler.kicked(queue, io),
            (true, source) => handler.ready(source, set, io),
        });
    }
}

/// The thread's share of an activation: the features, memory and interrupts of `activation` with the queues `indices`.
pub fn share(activation: &mut Activation, indices: impl IntoIterator<Item = u16>) -> Activation {
    let mut queues = Queues::new();
    indices.into_iter().filter_map(|index| activation.queues.take(index)).for_each(|queue| queues.insert(queue));
    Activation {
        features: activation.features,
        memory: Arc::clone(&activation.memory),
        queues,
        interrupt: Arc::clone(&activation.interrupt),
    }
}
