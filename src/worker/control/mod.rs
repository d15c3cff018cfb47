//! The control server: QMP for any number of clients at once.
//!
//! Each client has two threads: one reads its commands and has them carried out one after the other ([`session`]), the other
//! writes responses and events ([`outbox`]). A client that hangs, floods or talks nonsense holds up only itself; one that
//! takes nothing for [`PATIENCE`] is cut off.

#![forbid(unsafe_code)]

pub mod events;
pub mod outbox;
pub mod session;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use self::{events::EventHub, outbox::Outbox, session::Session};
use super::{connections::Connections, driver::DriverHandle, fdset::FdSets};
use crate::screen::Screen;

/// How many clients there can be at once.
pub const CLIENTS: usize = 32;

/// How long a client may take nothing of what is written to it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A reading thread's stack, in bytes: JSON is parsed recursively. What is not touched takes no memory.
const READER_STACK: usize = 256 << 10;

/// A writing thread's stack, in bytes.
const WRITER_STACK: usize = 64 << 10;

/// What the sessions share.
pub struct Services {
    /// The way to the driver.
    pub driver: DriverHandle,
    /// Who gets events.
    pub events: Arc<EventHub>,
    /// The guest's screen.
    pub screen: Arc<dyn Screen>,
    /// Who translates addresses for the guest's network cards.
    pub connections: Connections,
    fd_sets: Mutex<FdSets>,
}

impl Services {
    fn fd_sets(&self) -> MutexGuard<'_, FdSets> {
        self.fd_sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server; see the module.
pub struct ControlServer {
    services: Arc<Services>,
    clients: Arc<Mutex<Clients>>,
}

#[derive(Default)]
struct Clients {
    next: u64,
    /// Every client's queue.
    outboxes: BTreeMap<u64, Arc<Outbox>>,
}

impl ControlServer {
    /// A server whose commands go to `driver`.
    pub fn new(driver: DriverHandle, events: Arc<EventHub>, screen: Arc<dyn Screen>, connections: Connections) -> Self {
        let services = Services { driver, events, screen, connections, fd_sets: Mutex::default() };
        Self { services: Arc::new(services), clients: Arc::default() }
    }

    /// Takes a client that has connected, and returns at once. The greeting is on its way then.
    pub fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let outbox = Arc::new(Outbox::default());
        let number = {
            let mut clients = lock(&self.clients);
            if clients.outboxes.len() >= CLIENTS {
                return Err(io::Error::other(format!("{CLIENTS} clients are connected already")));
            }
            clients.next += 1;
            let number = clients.next;
            clients.outboxes.insert(number, Arc::clone(&outbox));
            number
        };
        let started = self.start(number, stream, &outbox);
        if started.is_err() {
            outbox.end();
            lock(&self.clients).outboxes.remove(&number);
        }
        started
    }

    fn start(&self, number: u64, stream: UnixStream, outbox: &Arc<Outbox>) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let writing = stream.try_clone()?;
        let mut session = Session::new(number, Arc::clone(&self.services), Arc::clone(outbox));
        session.greet();
        thread::Builder::new().name(format!("qmp-out-{number}")).stack_size(WRITER_STACK).spawn({
            let outbox = Arc::clone(outbox);
            move || write_messages(&outbox, writing)
        })?;
        let clients = Arc::clone(&self.clients);
        thread::Builder::new().name(format!("qmp-in-{number}")).stack_size(READER_STACK).spawn(move || {
            session.serve(&stream);
            drop(session);
            lock(&clients).outboxes.remove(&number);
        })?;
        Ok(())
    }

    /// Ends every session and gives what still waits for its clients until the deadline to go out.
    pub fn drain(&self, deadline: Instant) {
        let outboxes: Vec<_> = lock(&self.clients).outboxes.values().cloned().collect();
        outboxes.iter().for_each(|outbox| outbox.close());
        outboxes.iter().for_each(|outbox| outbox.wait_for_end(deadline));
    }
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing thread of a client.
fn write_messages(outbox: &Outbox, mut stream: UnixStream) {
    while let Some(message) = outbox.take() {
        if stream.write_all(&message).is_err() {
            break;
        }
    }
    outbox.end();
    // The reading thread, if it waits, sees the end. When the client has gone there is nothing left to shut.
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests;
