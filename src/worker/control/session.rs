//! One QMP client: reads its messages, has its commands carried out in order, and answers each.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, MutexGuard},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Services, outbox::Outbox};
use crate::{
    qmp::{
        arguments,
        codec::{self, Decoder},
        message::{Command, Error, ErrorClass, ErrorResponse, Greeting, GreetingBody, Return},
    },
    screen::Screen,
    worker::{
        commands::{self, Handler},
        connections::Connections,
        driver::DriverHandle,
        fdset::FdSets,
    },
};

/// How many file descriptors wait at most for a command that takes one.
const RECEIVED_FDS: usize = 16;

/// A client's connection.
pub struct Session {
    number: u64,
    services: Arc<Services>,
    outbox: Arc<Outbox>,
    /// `qmp_capabilities` has been executed.
    negotiated: bool,
    /// File descriptors that came with messages and that no command has taken yet.
    received: VecDeque<OwnedFd>,
}

impl Session {
    pub(super) fn new(number: u64, services: Arc<Services>, outbox: Arc<Outbox>) -> Self {
        Self { number, services, outbox, negotiated: false, received: VecDeque::new() }
    }

    /// Puts the greeting on its way.
    pub(super) fn greet(&self) {
        let greeting = Greeting { qmp: GreetingBody { version: commands::version(), capabilities: Vec::new() } };
        if self.outbox.begin() {
            self.outbox.respond(codec::encode(&greeting));
        }
    }

    /// Serves the client until it goes, or nothing can be sent to it any more.
    pub(super) fn serve(&mut self, stream: &UnixStream) {
        let mut decoder = Decoder::new();
        let mut bytes = [0; 4096];
        loop {
            match self.receive(stream, &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(length) => decoder.push(bytes.get(..length).unwrap_or_default()),
            }
            while let Some(message) = decoder.next_message() {
                if !self.outbox.begin() {
                    return;
                }
                let response = self.answer(message);
                self.outbox.respond(response);
            }
        }
    }

    /// Reads what has come, and keeps the file descriptors that came with it.
    fn receive(&mut self, stream: &UnixStream, bytes: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(RECEIVED_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let buffers = &mut [IoSliceMut::new(bytes)];
        let received = rustix::io::retry_on_intr(|| recvmsg(stream, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.received.extend(fds);
            }
        }
        // What nobody asks for is closed, the oldest first.
        self.received.drain(..self.received.len().saturating_sub(RECEIVED_FDS));
        Ok(received.bytes)
    }

    fn answer(&mut self, message: Result<Value, Error>) -> Vec<u8> {
        let command = message.map_err(|error| ErrorResponse { error, id: None }).and_then(Command::from_message);
        let response = command.and_then(|Command { execute, arguments, id }| match self.execute(&execute, arguments) {
            Ok(value) => Ok(Return { value, id }),
            Err(error) => Err(ErrorResponse { error, id }),
        });
        match response {
            Ok(response) => codec::encode(&response),
            Err(response) => codec::encode(&response),
        }
    }

    fn execute(&mut self, name: &str, arguments: Map<String, Value>) -> Result<Value, Error> {
        match (self.negotiated, name == "qmp_capabilities") {
            (false, false) => {
                return Err(not_now("Expecting capabilities negotiation with 'qmp_capabilities'"));
            }
            (true, true) => {
                return Err(not_now("Capabilities negotiation is already complete, command ignored"));
            }
            _ => {}
        }
        match commands::find(name)? {
            Handler::Driver(run) => self.services.driver.execute(run, arguments),
            Handler::Session(run) => run(self, arguments),
        }
    }

    /// The command `qmp_capabilities`: nothing is offered, so nothing can be enabled.
    pub(in crate::worker) fn qmp_capabilities(&mut self, arguments: Map<String, Value>) -> Result<Value, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Arguments {
            #[serde(default)]
            enable: Vec<String>,
        }
        let Arguments { enable } = arguments::parse(arguments)?;
        if let Some(capability) = enable.first() {
            return Err(Error::generic(format!("Capability '{capability}' not available")));
        }
        self.negotiated = true;
        self.services.events.subscribe(&self.outbox);
        Ok(json!({}))
    }

    /// The connection's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The guest's screen.
    pub fn screen(&self) -> &dyn Screen {
        &*self.services.screen
    }

    /// Who translates addresses for the guest's network cards.
    pub fn connections(&self) -> &Connections {
        &self.services.connections
    }

    /// The way to the driver.
    pub fn driver(&self) -> &DriverHandle {
        &self.services.driver
    }

    /// The file descriptors that clients have added.
    pub fn fd_sets(&self) -> MutexGuard<'_, FdSets> {
        self.services.fd_sets()
    }

    /// The oldest file descriptor that came with a message.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.received.pop_front()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.services.events.unsubscribe(&self.outbox);
        self.services.fd_sets().remove_owner(self.number);
        // The writer sends what is there, then ends too.
        self.outbox.close();
    }
}

fn not_now(desc: &str) -> Error {
    Error { class: ErrorClass::CommandNotFound, desc: desc.to_owned() }
}
