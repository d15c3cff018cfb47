//! Virtio-vsock (virtio 1.2, section 5.10): stream sockets between the guest and programs on the host, without a network.
//!
//! On the host's side there is one Unix socket, `vsock.sock` ([`host`] says what is spoken there); on the guest's side the
//! addresses of `AF_VSOCK`. [`connection`] is one stream, [`switch`] knows all of them, and this file is the device.

#![deny(unsafe_code)]

mod connection;
mod host;
#[allow(unsafe_code)]
mod packet;
mod switch;
#[cfg(test)]
mod tests;

use std::{io, os::unix::net::UnixListener};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmm_sys_util::epoll::EventSet;

use super::{
    device::{Activation, DeviceType, VirtioDevice, read_config_bytes},
    queue::{QueueError, Queues, Virtqueue},
    worker::{Engine, Handler, Io},
};
use crate::vmm::{
    device::{StateError, restore_state, save_state},
    memory::GuestMemory,
};
use packet::{HEADER_SIZE, Header};
use switch::Switch;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const EVENT: u16 = 2;
const QUEUE_SIZE: u16 = 256;
/// The most data that one packet of the guest may carry, in bytes.
const DATA_MAX: usize = 64 * 1024;
/// The least address that a guest can have: those below have a meaning of their own.
pub const FIRST_GUEST_CID: u32 = 3;
const SOURCE_STREAMS: u16 = 0;
/// The event by which the guest learns that all its connections are gone (VIRTIO_VSOCK_EVENT_TRANSPORT_RESET).
const TRANSPORT_RESET: u32 = 0;
const STATE_VERSION: u32 = 1;

/// The device.
pub struct VirtioVsock {
    label: String,
    cid: u32,
    engine: Engine<Traffic>,
}

#[derive(Serialize, Deserialize)]
struct State {
    cid: u32,
}

impl VirtioVsock {
    /// A device by which the guest has address `cid`, at least [`FIRST_GUEST_CID`], and programs on the host reach it through
    /// `listener`.
    pub fn new(cid: u32, listener: UnixListener) -> io::Result<Self> {
        if cid < FIRST_GUEST_CID {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the guest's socket address is below 3"));
        }
        let label = "virtio-vsock0".to_owned();
        let traffic = Traffic { switch: Switch::new(cid.into(), listener)?, data: Vec::new(), reset_untold: false };
        Ok(Self { engine: Engine::new(&label, traffic), label, cid })
    }
}

impl VirtioDevice for VirtioVsock {
    fn label(&self) -> &str {
        &self.label
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Vsock
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE; 3]
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&u64::from(self.cid).to_le_bytes(), offset, data);
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.engine.start(activation)
    }

    fn deactivate(&mut self) -> Queues {
        self.engine.stop()
    }

    fn reset(&mut self) {
        if let Some(traffic) = self.engine.handler_mut() {
            traffic.switch.disconnect_all();
            traffic.reset_untold = false;
        }
    }

    /// Connections do not survive: the programs at their ends are not part of the state. A restored guest is told so.
    fn save(&self) -> Result<Value, StateError> {
        save_state(&self.label, STATE_VERSION, State { cid: self.cid })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        let state: State = restore_state(&self.label, STATE_VERSION, state)?;
        if state.cid != self.cid {
            return Err(StateError::damaged(&self.label, format_args!("address {}, not {}", state.cid, self.cid)));
        }
        if let Some(traffic) = self.engine.handler_mut() {
            traffic.switch.disconnect_all();
            traffic.reset_untold = true;
        }
        Ok(())
    }
}

/// Moves packets between the queues and the connections.
struct Traffic {
    switch: Switch,
    /// The data of the packet at hand.
    data: Vec<u8>,
    /// The guest still has to be told that its connections are gone.
    reset_untold: bool,
}

impl Traffic {
    /// Takes the guest's packets, unless too many answers wait already: then its queue has to wait as well.
    fn transmit(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(TRANSMIT) else { return Ok(()) };
        loop {
            queue.suppress_kicks(memory)?;
            while !self.switch.is_congested() {
                let Some(mut chain) = queue.pop(memory)? else { break };
                let header: Header = chain.readable.read_object()?;
                let length = header.length.to_native() as usize;
                if length > DATA_MAX || length > chain.readable.len() {
                    return Err(QueueError::Request("a socket packet is longer than its buffers"));
                }
                self.data.resize(length, 0);
                chain.readable.read(&mut self.data)?;
                self.switch.receive(&header, &self.data);
                queue.complete(memory, chain.head(), 0)?;
            }
            queue.announce(memory)?;
            if self.switch.is_congested() || !queue.want_kicks(memory)? {
                return Ok(());
            }
        }
    }

    /// Fills the guest's buffers with answers and data.
    fn receive(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(RECEIVE) else { return Ok(()) };
        loop {
            queue.suppress_kicks(memory)?;
            while self.switch.has_packet() && self.fill_one(queue, memory)? {}
            queue.announce(memory)?;
            if !self.switch.has_packet() || !queue.want_kicks(memory)? {
                return Ok(());
            }
        }
    }

    /// Fills one buffer; returns whether there was one.
    fn fill_one(&mut self, queue: &mut Virtqueue, memory: &GuestMemory) -> Result<bool, QueueError> {
        let Some(mut chain) = queue.pop(memory)? else { return Ok(false) };
        if chain.writable.len() < HEADER_SIZE {
            return Err(QueueError::Request("a buffer has no room for a socket packet"));
        }
        let mut data = chain.writable.split_off(HEADER_SIZE)?;
        data.truncate(DATA_MAX);
        match self.switch.next_packet(data.slices()) {
            Some(header) => {
                chain.writable.write(vm_memory::ByteValued::as_slice(&header))?;
                queue.complete(memory, chain.head(), HEADER_SIZE + header.length.to_native() as usize)?;
            }
            None => queue.undo_pop(),
        }
        Ok(true)
    }

    /// Tells the guest that its connections are gone, if it is to be told, as soon as it has a buffer for that.
    fn tell_reset(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(EVENT) else { return Ok(()) };
        while self.reset_untold {
            match queue.pop(memory)? {
                Some(mut chain) => {
                    let event = TRANSPORT_RESET.to_le_bytes();
                    chain.writable.write(&event)?;
                    queue.complete(memory, chain.head(), event.len())?;
                    self.reset_untold = false;
                }
                None if queue.want_kicks(memory)? => {}
                None => return Ok(()),
            }
        }
        queue.announce(memory)
    }

    /// Everything that may be possible now. Answers make room for packets, packets make answers.
    fn move_all(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        loop {
            let congested = self.switch.is_congested();
            self.receive(io)?;
            self.transmit(io)?;
            self.receive(io)?;
            if !congested || self.switch.is_congested() {
                break;
            }
        }
        Ok(self.switch.update_interest()?)
    }
}

impl Handler for Traffic {
    fn started(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        Ok(io.add_source(self.switch.poll(), SOURCE_STREAMS, EventSet::IN)?)
    }

    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        // Other buffers of the event queue are kept for ever: the guest's address does not change.
        if queue == EVENT { self.tell_reset(io) } else { self.move_all(io) }
    }

    fn ready(&mut self, _source: u16, _events: EventSet, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        self.switch.take_events()?;
        self.move_all(io)
    }
}
