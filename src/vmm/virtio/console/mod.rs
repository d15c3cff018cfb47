//! virtio-console (virtio 1.2, section 5.3): a terminal (`hvc0` in Linux) and named ports for programs in the guest
//! (`/dev/virtio-ports/NAME`).
//!
//! Port 0 is the terminal's, even when there is none; a driver that knows only one port sees that one. Each named port is
//! a Unix socket on the host, for one program at a time, or belongs to a part of this process; the driver is told when it
//! comes and goes.

#![forbid(unsafe_code)]

mod control;
mod port;
mod program;
mod terminal;
#[cfg(test)]
mod tests;

use std::{io, os::unix::net::UnixListener, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmm_sys_util::epoll::EventSet;

use self::{
    control::{Control, Event, Message},
    port::{Host, NamedPort, Port},
    program::ProgramPort,
    terminal::{Terminal, TerminalInput},
};
use super::{
    device::{Activation, DeviceType, VirtioDevice, read_config_bytes},
    queue::{QueueError, Queues},
    worker::{Engine, Handler, Io},
};
use crate::vmm::{
    device::{StateError, restore_state, save_state},
    devices::serial::{SerialInput, SerialOutput},
};

pub use program::PortProgram;

const STATE_VERSION: u32 = 1;
const QUEUE_SIZE: u16 = 128;
/// The most named ports.
pub const MAX_NAMED_PORTS: usize = 30;

/// There are more ports than one, and queues to talk about them (VIRTIO_CONSOLE_F_MULTIPORT).
const MULTIPORT: u64 = 1 << 1;

/// The queues of port 0, then those for control, then those of the other ports.
const CONTROL_TO_DRIVER: u16 = 2;
const CONTROL_TO_DEVICE: u16 = 3;

/// Which of a port's queues one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToGuest,
    ToHost,
}

/// The port of queue `queue` and which of its queues that is.
fn port_of(queue: u16) -> Option<(usize, Direction)> {
    let port = match queue {
        0 | 1 => 0,
        CONTROL_TO_DRIVER | CONTROL_TO_DEVICE => return None,
        other => usize::from(other) / 2 - 1,
    };
    Some((port, if queue.is_multiple_of(2) { Direction::ToGuest } else { Direction::ToHost }))
}

/// The number of a port's queue.
fn queue_of(port: usize, direction: Direction) -> u16 {
    let first = if port == 0 { 0 } else { port as u16 * 2 + 2 };
    first + u16::from(direction == Direction::ToHost)
}

/// A port for programs in the guest.
pub struct NamedPortConfig {
    /// By which the guest knows it: `org.qemu.guest_agent.0`.
    pub name: String,
    /// What is at the host's side.
    pub host: PortHost,
}

/// The host's side of a port.
pub enum PortHost {
    /// Where a program of the host connects.
    Listener(UnixListener),
    /// A part of this process.
    Program(Arc<dyn PortProgram>),
}

impl From<UnixListener> for PortHost {
    fn from(listener: UnixListener) -> Self {
        Self::Listener(listener)
    }
}

impl NamedPortConfig {
    fn open(self) -> io::Result<Host> {
        Ok(match self.host {
            PortHost::Listener(listener) => Host::Named(NamedPort::new(self.name, listener)?),
            PortHost::Program(program) => Host::Program(ProgramPort::new(self.name, program)),
        })
    }
}

/// The console.
pub struct Console {
    label: String,
    queue_sizes: Vec<u16>,
    input: Option<Arc<TerminalInput>>,
    engine: Engine<Ports>,
}

impl Console {
    /// A console named `label`: with a terminal whose output goes to `terminal`, and with `named` ports.
    pub fn new(label: &str, terminal: Option<Box<dyn SerialOutput>>, named: Vec<NamedPortConfig>) -> io::Result<Self> {
        if named.len() > MAX_NAMED_PORTS {
            let text = format!("{} named ports are more than the {MAX_NAMED_PORTS} that there can be", named.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let terminal = terminal.map(Terminal::new).transpose()?;
        let input = terminal.as_ref().map(Terminal::input);
        let mut ports = vec![terminal.map(|terminal| Port::new(Host::Terminal(terminal)))];
        for port in named {
            ports.push(Some(Port::new(port.open()?)));
        }
        let queues = 2 * ports.len() + 2;
        let engine = Engine::new(label, Ports { ports, control: Control::default() });
        Ok(Self { label: label.to_owned(), queue_sizes: vec![QUEUE_SIZE; queues], input, engine })
    }

    /// The way into the terminal, if there is one.
    pub fn input(&self) -> Option<Arc<dyn SerialInput>> {
        self.input.clone().map(|input| input as Arc<dyn SerialInput>)
    }

    /// Ports, the terminal's included.
    fn port_count(&self) -> u32 {
        // At most 31.
        (self.queue_sizes.len() / 2 - 1) as u32
    }
}

/// What serves all ports.
struct Ports {
    /// By their numbers.
    ports: Vec<Option<Port>>,
    control: Control,
}

/// What [`Io::add_source`] knows a port's file descriptors by.
fn source(port: usize, stream: bool) -> u16 {
    port as u16 * 2 + u16::from(stream)
}

impl Ports {
    fn existing(&mut self) -> impl Iterator<Item = (usize, &mut Port)> {
        self.ports.iter_mut().enumerate().filter_map(|(index, port)| Some((index, port.as_mut()?)))
    }

    fn port(&mut self, index: usize) -> Option<&mut Port> {
        self.ports.get_mut(index)?.as_mut()
    }

    /// The driver has sent a control message (section 5.3.6.2).
    fn control_message(&mut self, message: Message) {
        let index = usize::try_from(message.port).unwrap_or(usize::MAX);
        let Some(event) = message.event else { return };
        match (event, message.value) {
            (Event::DeviceReady, 1) => {
                let existing: Vec<usize> = self.existing().map(|(index, _)| index).collect();
                existing.into_iter().for_each(|index| self.control.send(index, Event::PortAdd, 1));
            }
            (Event::PortReady, 1) => {
                let Some(port) = self.ports.get_mut(index).and_then(Option::as_mut) else { return };
                port.ready = true;
                match &mut port.host {
                    Host::Terminal(_) => self.control.send(index, Event::ConsolePort, 1),
                    Host::Named(named) => self.control.send_name(index, &named.name),
                    Host::Program(program) => {
                        self.control.send_name(index, &program.name);
                        program.change();
                    }
                }
                if port.host.is_connected() {
                    self.control.send(index, Event::PortOpen, 1);
                }
            }
            (Event::PortReady, _) => {
                if let Some(port) = self.port(index) {
                    port.ready = false;
                }
            }
            (Event::PortOpen, value) => {
                if let Some(port) = self.port(index) {
                    port.set_open(value != 0);
                }
            }
            _ => {}
        }
    }

    /// Reads the driver's messages, then does what they make possible.
    fn receive_control(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        let Some(queue) = io.queue(CONTROL_TO_DEVICE) else { return Ok(()) };
        queue.serve_all(memory, |chain| {
            if let Some(message) = Message::read(&mut chain.readable) {
                self.control_message(message);
            }
            Ok(0)
        })?;
        for index in 0..self.ports.len() {
            self.update_connection(index, io)?;
            self.deliver(index, io)?;
        }
        self.control.flush(io)
    }

    fn deliver(&mut self, index: usize, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let multiport = io.features & MULTIPORT != 0;
        if let Some(port) = self.port(index)
            && port.takes_input(multiport)
        {
            port.deliver(queue_of(index, Direction::ToGuest), io)?;
            self.update_connection(index, io)?;
        }
        Ok(())
    }

    fn collect(&mut self, index: usize, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        if let Some(port) = self.port(index) {
            port.collect(queue_of(index, Direction::ToHost), io)?;
            self.update_connection(index, io)?;
        }
        Ok(())
    }

    /// Goes on waiting for a program, or for what it sends, and tells the driver when that has changed.
    fn update_connection(&mut self, index: usize, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let Some(Port { host, ready, .. }) = self.ports.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        let change = match host {
            Host::Terminal(_) => None,
            Host::Named(named) => named.watch(io, source(index, false), source(index, true))?,
            Host::Program(program) => program.change(),
        };
        if let Some(connected) = change
            && *ready
        {
            self.control.send(index, Event::PortOpen, connected.into());
            self.control.flush(io)?;
        }
        Ok(())
    }
}

impl Handler for Ports {
    fn started(&mut self, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        for (index, port) in self.existing() {
            match &mut port.host {
                Host::Terminal(terminal) => terminal.watch(io, source(index, false))?,
                Host::Program(program) => program.watch(io, source(index, false))?,
                Host::Named(named) => {
                    named.forget_watches();
                    named.watch(io, source(index, false), source(index, true))?;
                }
            }
        }
        Ok(())
    }

    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        match port_of(queue) {
            Some((port, Direction::ToGuest)) => self.deliver(port, io),
            Some((port, Direction::ToHost)) => self.collect(port, io),
            None if queue == CONTROL_TO_DRIVER => self.control.flush(io),
            None => self.receive_control(io),
        }
    }

    fn ready(&mut self, source: u16, events: EventSet, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let index = usize::from(source / 2);
        if let Some(Port { host: Host::Named(named), open, .. }) = self.port(index) {
            named.notice_end(events, *open);
        }
        self.update_connection(index, io)?;
        if let Some(Port { host: Host::Named(named), .. }) = self.port(index) {
            named.accept();
            self.update_connection(index, io)?;
        }
        self.collect(index, io)?;
        self.deliver(index, io)
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    ports: Vec<PortState>,
    control: Control,
    /// What waits for the guest to read it from its terminal.
    terminal: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct PortState {
    ready: bool,
    open: bool,
    connected: bool,
    sent: u32,
}

impl VirtioDevice for Console {
    fn label(&self) -> &str {
        &self.label
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        MULTIPORT
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        // Columns and rows are for a feature that is not offered: nobody knows how large the viewers' terminals are.
        let mut config = [0; 12];
        config[4..8].copy_from_slice(&self.port_count().to_le_bytes());
        read_config_bytes(&config, offset, data);
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.engine.start(activation)
    }

    fn deactivate(&mut self) -> Queues {
        self.engine.stop()
    }

    /// Programs stay connected, and what waits for the terminal stays too.
    fn reset(&mut self) {
        if let Some(handler) = self.engine.handler_mut() {
            handler.control = Control::default();
            handler.existing().for_each(|(_, port)| port.reset());
        }
    }

    fn save(&self) -> Result<Value, StateError> {
        let Some(handler) = self.engine.handler() else {
            let reason = "its thread has crashed".to_owned();
            return Err(StateError::Unsupported { device: self.label.clone(), reason });
        };
        let state = State {
            ports: handler.ports.iter().flatten().map(Port::save).collect(),
            control: handler.control.clone(),
            terminal: self.input.as_ref().map(|input| input.waiting()).unwrap_or_default(),
        };
        save_state(&self.label, STATE_VERSION, state)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        let state: State = restore_state(&self.label, STATE_VERSION, state)?;
        let damaged = |reason: &str| StateError::damaged(&self.label, reason);
        let Some(handler) = self.engine.handler_mut() else { return Err(damaged("its thread has crashed")) };
        if state.ports.len() != handler.existing().count() {
            return Err(damaged(
                "it has another number of ports: the guest's console, agent or clipboard was switched on or off since",
            ));
        }
        if !state.control.is_sound() {
            return Err(damaged("too many control messages wait"));
        }
        match &self.input {
            Some(input) if !input.restore(state.terminal) => return Err(damaged("too much waits for the terminal")),
            _ => {}
        }
        handler.control = state.control;
        for ((index, port), saved) in handler
            .ports
            .iter_mut()
            .enumerate()
            .zip(state.ports)
            .filter_map(|((index, port), saved)| Some(((index, port.as_mut()?), saved)))
        {
            port.restore(&saved);
            // Programs do not come along with a saved state; the driver learns that they are gone, or there again.
            let connected = port.host.is_connected();
            if saved.ready && saved.connected != connected {
                handler.control.send(index, Event::PortOpen, connected.into());
            }
        }
        Ok(())
    }
}
