//! The messages by which driver and device agree on ports (virtio 1.2, section 5.3.6.2).

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::CONTROL_TO_DRIVER;
use crate::vmm::virtio::{
    queue::{Buffers, QueueError},
    worker::Io,
};

/// Messages that wait for a driver that takes none. A driver that works needs a few for each port.
const MAX_WAITING: usize = 512;
const SIZE: usize = 8;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Event {
    /// The driver is ready to hear of ports.
    DeviceReady = 0,
    /// There is a port.
    PortAdd = 1,
    /// The driver is ready to use a port.
    PortReady = 3,
    /// The port is a terminal.
    ConsolePort = 4,
    /// Somebody has opened (1) or closed (0) the sender's side of a port.
    PortOpen = 6,
    /// The port's name follows.
    PortName = 7,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The port's number.
    pub port: u32,
    /// What it is about; `None` when it is nothing a driver sends.
    pub event: Option<Event>,
    /// Depends on that.
    pub value: u16,
}

impl Message {
    /// Reads a driver's message; one that is too short is none.
    pub fn read(buffers: &mut Buffers<'_>) -> Option<Self> {
        let mut bytes = [0; SIZE];
        buffers.read(&mut bytes).ok()?;
        let [a, b, c, d, event, event_high, value @ ..] = bytes;
        let event = match u16::from_le_bytes([event, event_high]) {
            0 => Some(Event::DeviceReady),
            3 => Some(Event::PortReady),
            6 => Some(Event::PortOpen),
            _ => None,
        };
        Some(Self { port: u32::from_le_bytes([a, b, c, d]), event, value: u16::from_le_bytes(value) })
    }
}

/// The messages that wait to be sent. They are part of the saved state.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    waiting: VecDeque<Vec<u8>>,
}

impl Control {
    /// Queues a message about port `port`.
    pub fn send(&mut self, port: usize, event: Event, value: u16) {
        self.push(message(port, event, value));
    }

    /// Queues the name of port `port`.
    pub fn send_name(&mut self, port: usize, name: &str) {
        let mut bytes = message(port, Event::PortName, 1);
        bytes.extend(name.as_bytes());
        self.push(bytes);
    }

    /// Whether the state can be one of ours.
    pub fn is_sound(&self) -> bool {
        self.waiting.len() <= MAX_WAITING
    }

    /// Sends what the driver has room for.
    pub fn flush(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(CONTROL_TO_DRIVER) else { return Ok(()) };
        while !self.waiting.is_empty() {
            let Some(mut chain) = queue.pop(memory)? else {
                if queue.want_kicks(memory)? {
                    continue;
                }
                break;
            };
            let Some(bytes) = self.waiting.pop_front() else { break };
            let length = bytes.len().min(chain.writable.len());
            chain.writable.write(bytes.get(..length).unwrap_or_default())?;
            queue.complete(memory, chain.head(), length)?;
        }
        queue.announce(memory)
    }

    fn push(&mut self, bytes: Vec<u8>) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(bytes);
        }
    }
}

fn message(port: usize, event: Event, value: u16) -> Vec<u8> {
    [&(port as u32).to_le_bytes()[..], &(event as u16).to_le_bytes(), &value.to_le_bytes()].concat()
}
