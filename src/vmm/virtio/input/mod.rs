//! Virtio-input (virtio 1.2, section 5.8): a keyboard, and a tablet whose pointer goes where it is told.
//!
//! Events may come from any thread; they wait in a bounded backlog until the driver has buffers for them. When the backlog is
//! full the oldest movements give way, never a release of a key, so that no key stays down.

#![forbid(unsafe_code)]

mod config;
mod event;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmm_sys_util::{epoll::EventSet, eventfd::EventFd};

use super::{
    device::{Activation, DeviceType, VirtioDevice, read_config_bytes},
    queue::{QueueError, Queues},
    worker::{Engine, Handler, Io},
};
use crate::{
    input::{InputEvent, InputSink},
    vmm::device::{StateError, restore_state, save_state},
};
use config::InputConfig;
use event::{EV_ABS, EV_REL, EVENT_SIZE, Event, translate};

const EVENTS: u16 = 0;
const STATUS: u16 = 1;
const QUEUE_SIZE: u16 = 64;
/// Events that wait for buffers, at most.
const BACKLOG: usize = 512;
const SOURCE_WAKE: u16 = 0;
const STATE_VERSION: u32 = 1;

/// What the device is. The number is its product ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Keys and LEDs.
    Keyboard = 1,
    /// Buttons, wheels and a position.
    Tablet = 2,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Keyboard => "Lodge virtio keyboard",
            Self::Tablet => "Lodge virtio tablet",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Keyboard => "virtio-keyboard",
            Self::Tablet => "virtio-tablet",
        }
    }
}

/// The way into the device.
pub struct VirtioInputSink {
    kind: Kind,
    backlog: Mutex<VecDeque<Event>>,
    wake: EventFd,
    ready: AtomicBool,
}

impl VirtioInputSink {
    /// Whether the guest's driver takes events.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn backlog(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InputSink for VirtioInputSink {
    fn send(&self, events: &[InputEvent]) {
        let translated: Vec<Event> = events.iter().flat_map(|event| translate(self.kind, event)).collect();
        if translated.is_empty() || !self.is_ready() {
            return;
        }
        let mut backlog = self.backlog();
        backlog.extend(translated);
        backlog.push_back(Event::REPORT);
        if backlog.len() > BACKLOG {
            backlog.retain(|event| !matches!(event.kind, EV_ABS | EV_REL));
            let excess = backlog.len().saturating_sub(BACKLOG);
            backlog.drain(..excess);
        }
        drop(backlog);
        // The counter cannot overflow: the thread empties it.
        let _ = self.wake.write(1);
    }

    fn follows_position(&self) -> bool {
        self.kind == Kind::Tablet && self.is_ready()
    }
}

/// The device.
pub struct VirtioInput {
    config: InputConfig,
    sink: Arc<VirtioInputSink>,
    engine: Engine<Feeder>,
}

#[derive(Serialize, Deserialize)]
struct State {
    select: u8,
    subselect: u8,
}

impl VirtioInput {
    /// A device of `kind`, and the way into it.
    pub fn new(kind: Kind) -> io::Result<(Self, Arc<VirtioInputSink>)> {
        let sink = Arc::new(VirtioInputSink {
            kind,
            backlog: Mutex::default(),
            wake: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            ready: AtomicBool::new(false),
        });
        let engine = Engine::new(kind.label(), Feeder { sink: sink.clone() });
        Ok((Self { config: InputConfig::new(kind), sink: sink.clone(), engine }, sink))
    }
}

impl VirtioDevice for VirtioInput {
    fn label(&self) -> &str {
        self.sink.kind.label()
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Input
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE; 2]
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.config.bytes(), offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.config.write(offset, data);
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.engine.start(activation)?;
        self.sink.ready.store(true, Ordering::Release);
        Ok(())
    }

    fn deactivate(&mut self) -> Queues {
        self.sink.ready.store(false, Ordering::Release);
        self.engine.stop()
    }

    fn reset(&mut self) {
        self.config.select(0, 0);
        self.sink.backlog().clear();
    }

    fn save(&self) -> Result<Value, StateError> {
        let (select, subselect) = self.config.selected();
        save_state(self.label(), STATE_VERSION, State { select, subselect })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        let state: State = restore_state(self.label(), STATE_VERSION, state)?;
        self.config.select(state.select, state.subselect);
        Ok(())
    }
}

/// Gives events to the driver as it has buffers.
struct Feeder {
    sink: Arc<VirtioInputSink>,
}

impl Feeder {
    fn feed(&self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(EVENTS) else { return Ok(()) };
        loop {
            queue.suppress_kicks(memory)?;
            let mut backlog = self.sink.backlog();
            while let Some(event) = backlog.front() {
                let Some(mut chain) = queue.pop(memory)? else { break };
                chain.writable.write(&event.to_bytes())?;
                queue.complete(memory, chain.head(), EVENT_SIZE)?;
                backlog.pop_front();
            }
            let hungry = !backlog.is_empty();
            drop(backlog);
            queue.announce(memory)?;
            // Kicks matter only while something waits for buffers.
            if !hungry || !queue.want_kicks(memory)? {
                return Ok(());
            }
        }
    }
}

impl Handler for Feeder {
    fn started(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        Ok(io.add_source(&self.sink.wake, SOURCE_WAKE, EventSet::IN)?)
    }

    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        match queue {
            EVENTS => self.feed(io),
            // The guest's LEDs: the host's keyboard keeps its own, so the messages are only given back.
            STATUS => {
                let memory = io.memory;
                io.queue(STATUS).map_or(Ok(()), |queue| queue.serve_all(memory, |_| Ok(0)))
            }
            _ => Ok(()),
        }
    }

    fn ready(&mut self, _source: u16, _events: EventSet, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        // Only empties the counter.
        let _ = self.sink.wake.read();
        self.feed(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        input::Key,
        vmm::virtio::testing::{Bench, EVENT_INDEX, TestQueue},
    };

    fn started(kind: Kind) -> (Bench, Vec<TestQueue>, Arc<VirtioInputSink>) {
        let (device, sink) = VirtioInput::new(kind).unwrap();
        let (bench, queues) = Bench::started(device, EVENT_INDEX, 16);
        (bench, queues, sink)
    }

    fn key(code: u16, down: bool) -> InputEvent {
        InputEvent::Key { key: Key(code), down }
    }

    #[test]
    fn a_key_arrives_with_a_report_behind_it() {
        let (mut bench, mut queues, sink) = started(Kind::Keyboard);
        let buffers: Vec<_> = (0..2).map(|_| queues[0].send(&[], &[8])).collect();
        bench.kick(0);

        sink.send(&[key(30, true)]);

        assert_eq!(queues[0].wait(), (buffers[0].head, 8));
        assert_eq!(queues[0].wait(), (buffers[1].head, 8));
        assert_eq!(buffers[0].answer(), [1, 0, 30, 0, 1, 0, 0, 0]);
        assert_eq!(buffers[1].answer(), [0; 8]);
    }

    #[test]
    fn events_wait_for_buffers_and_keep_their_order() {
        let (mut bench, mut queues, sink) = started(Kind::Keyboard);
        sink.send(&[key(30, true)]);
        sink.send(&[key(30, false)]);

        let buffers: Vec<_> = (0..4).map(|_| queues[0].send(&[], &[8])).collect();
        bench.kick(0);

        for buffer in &buffers {
            assert_eq!(queues[0].wait().0, buffer.head);
        }
        assert_eq!((buffers[0].answer()[4], buffers[2].answer()[4]), (1, 0));
    }

    #[test]
    fn a_flood_of_movements_never_drops_the_release_of_a_key() {
        let (_bench, _queues, sink) = started(Kind::Tablet);
        let button = |down| InputEvent::Button { button: crate::input::Button::Left, down };
        sink.send(&[button(true)]);
        for x in 0..10_000 {
            sink.send(&[InputEvent::Absolute { x, y: 1 }]);
        }
        sink.send(&[button(false)]);

        let backlog = sink.backlog();
        assert!(backlog.len() <= BACKLOG + 2);
        assert!(backlog.contains(&Event { kind: event::EV_KEY, code: 0x110, value: 0 }));
    }

    #[test]
    fn nothing_is_kept_for_a_guest_without_a_driver() {
        let (_device, sink) = VirtioInput::new(Kind::Tablet).unwrap();

        sink.send(&[InputEvent::Absolute { x: 1, y: 1 }]);

        assert!(sink.backlog().is_empty());
        assert!(!sink.follows_position());
    }

    #[test]
    fn the_guests_leds_are_taken_and_given_back() {
        let (mut bench, mut queues, _sink) = started(Kind::Keyboard);
        let sent = queues[1].send(&[&[0x11, 0, 1, 0, 1, 0, 0, 0]], &[]);

        bench.kick(1);

        assert_eq!(queues[1].wait(), (sent.head, 0));
    }

    #[test]
    fn a_buffer_too_small_for_an_event_stops_the_device() {
        let (mut bench, mut queues, sink) = started(Kind::Keyboard);
        queues[0].send(&[], &[4]);
        bench.kick(0);

        sink.send(&[key(30, true)]);

        bench.wait_failed();
    }

    #[test]
    fn the_driver_reads_the_name_it_has_asked_for() {
        let (mut bench, _queues, _sink) = started(Kind::Tablet);

        bench.write_config(0, 1, 1);

        let size = bench.config(2, 1);
        let name: Vec<u8> = (0..size).map(|at| bench.config(8 + at, 1) as u8).collect();
        assert_eq!(name, b"Lodge virtio tablet");
    }
}
