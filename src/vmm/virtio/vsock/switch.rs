//! All connections of a guest: which packet belongs to which, who listens, and what the host's programs have ready.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    os::{fd::AsRawFd, unix::net::UnixListener},
};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::{
    connection::{Connection, Ports},
    host::{Greeting, Listener, Progress, Wish},
    packet::{HOST_CID, Header, Operation, STREAM},
};
use crate::vmm::memory::GuestSlice;

/// Connections and greetings at once, at most.
const CONNECTIONS_MAX: usize = 1024;
/// Refusals that wait for the guest's buffers before its packets have to wait.
const REFUSALS_MAX: usize = 64;
/// The first port of the host that its programs' connections seem to come from.
const FIRST_HOST_PORT: u32 = 1 << 30;
const EVENTS: usize = 32;
/// The token of the listening socket; tokens of programs are larger.
const LISTENER: u64 = 0;

/// What a file descriptor of the epoll set is.
enum Peer {
    Greeting(Greeting),
    Listener(u32),
    Connection(Ports),
}

/// The connections.
pub struct Switch {
    cid: u64,
    listener: UnixListener,
    epoll: Epoll,
    peers: BTreeMap<u64, Peer>,
    next_token: u64,
    next_port: u32,
    connections: BTreeMap<Ports, (u64, Connection)>,
    listeners: BTreeMap<u32, (u64, Listener)>,
    /// Resets for packets that belong to no connection.
    refusals: VecDeque<Header>,
    /// Connections that may have something for the guest.
    pending: Turns,
}

/// Connections in the order of their turns. Each has one at most, however often it is asked for: a guest that sends without
/// receiving must not make them pile up.
#[derive(Default)]
struct Turns {
    order: VecDeque<Ports>,
    waiting: BTreeSet<Ports>,
}

impl Turns {
    fn push_back(&mut self, ports: Ports) {
        if self.waiting.insert(ports) {
            self.order.push_back(ports);
        }
    }

    fn pop_front(&mut self) -> Option<Ports> {
        let ports = self.order.pop_front()?;
        self.waiting.remove(&ports);
        Some(ports)
    }

    fn clear(&mut self) {
        self.order.clear();
        self.waiting.clear();
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl Switch {
    /// No connection yet; programs come through `listener`.
    pub fn new(cid: u64, listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new()?;
        epoll.ctl(ControlOperation::Add, listener.as_raw_fd(), EpollEvent::new(EventSet::IN, LISTENER))?;
        Ok(Self {
            cid,
            listener,
            epoll,
            peers: BTreeMap::new(),
            next_token: LISTENER + 1,
            next_port: FIRST_HOST_PORT,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            refusals: VecDeque::new(),
            pending: Turns::default(),
        })
    }

    /// Readable when a program has something to say.
    pub fn poll(&self) -> &Epoll {
        &self.epoll
    }

    /// Whether the guest must take answers before more of its packets are read.
    pub fn is_congested(&self) -> bool {
        self.refusals.len() >= REFUSALS_MAX
    }

    /// Ends every connection; who listens goes on to.
    pub fn disconnect_all(&mut self) {
        self.refusals.clear();
        self.pending.clear();
        for (_, (token, connection)) in std::mem::take(&mut self.connections) {
            self.peers.remove(&token);
            self.forget(connection.stream());
        }
    }

    /// Takes a packet of the guest.
    pub fn receive(&mut self, header: &Header, data: &[u8]) {
        let ports = Ports { guest: header.source_port.to_native(), host: header.destination_port.to_native() };
        let addressed = header.source_cid.to_native() == self.cid && header.destination_cid.to_native() == HOST_CID;
        let operation = Operation::from_number(header.operation.to_native());
        if !addressed || header.kind.to_native() != STREAM {
            return self.refuse(header, operation);
        }
        if let Some((_, connection)) = self.connections.get_mut(&ports) {
            connection.receive(header, data);
            self.pending.push_back(ports);
        } else if operation == Some(Operation::Request) {
            self.connect(ports, header);
        } else {
            self.refuse(header, operation);
        }
    }

    /// Whether something waits for the guest.
    pub fn has_packet(&self) -> bool {
        !self.refusals.is_empty() || !self.pending.is_empty()
    }

    /// The next packet for the guest; its data, if any, is read straight into `room`.
    pub fn next_packet(&mut self, room: &[GuestSlice<'_>]) -> Option<Header> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Some(refusal);
        }
        while let Some(ports) = self.pending.pop_front() {
            let Some((_, connection)) = self.connections.get_mut(&ports) else { continue };
            let header = match connection.next_control() {
                Some(header) => Some(header),
                None if connection.wants_input() => {
                    connection.read_into(room).map(|length| connection.header(Operation::Data, 0, length))
                }
                None => None,
            };
            let more = connection.has_control() || header.is_some();
            if more {
                // Behind the others, so that a busy connection starves none.
                self.pending.push_back(ports);
            }
            self.drop_if_over(ports);
            if let Some(header) = header {
                return Some(Header { destination_cid: self.cid.into(), ..header });
            }
        }
        None
    }

    /// Takes what the host's programs have said.
    pub fn take_events(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::default(); EVENTS];
        let count = match self.epoll.wait(0, &mut events) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        for event in events.iter().take(count) {
            match event.data() {
                LISTENER => self.accept(),
                token => self.peer_ready(token, event.event_set()),
            }
        }
        Ok(())
    }

    /// Waits for what each connection can use now: a program that talks while the guest has no room must not wake anybody.
    pub fn update_interest(&mut self) -> io::Result<()> {
        let gone: Vec<Ports> = self
            .connections
            .iter()
            .filter(|(_, (_, connection))| connection.is_over())
            .map(|(&ports, _)| ports)
            .collect();
        gone.into_iter().for_each(|ports| self.drop_if_over(ports));
        for (token, connection) in self.connections.values() {
            let mut interest = EventSet::empty();
            interest.set(EventSet::IN, connection.wants_input());
            interest.set(EventSet::OUT, connection.wants_output());
            let event = EpollEvent::new(interest, *token);
            self.epoll.ctl(ControlOperation::Modify, connection.stream().as_raw_fd(), event)?;
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // Beyond the limit the program is hung up on.
            if self.peers.len() < CONNECTIONS_MAX && stream.set_nonblocking(true).is_ok() {
                self.watch(&stream.as_raw_fd(), |_| Some(Peer::Greeting(Greeting::new(stream))));
            }
        }
    }

    /// Adds a file descriptor to the set under a new token, which `peer` gets.
    fn watch(&mut self, fd: &impl AsRawFd, peer: impl FnOnce(u64) -> Option<Peer>) -> Option<u64> {
        let token = self.next_token;
        self.next_token += 1;
        let event = EpollEvent::new(EventSet::IN, token);
        self.epoll.ctl(ControlOperation::Add, fd.as_raw_fd(), event).ok()?;
        self.peers.insert(token, peer(token)?);
        Some(token)
    }

    fn forget(&self, stream: &impl AsRawFd) {
        // It is closed right afterwards; then the kernel forgets it as well.
        let _ = self.epoll.ctl(ControlOperation::Delete, stream.as_raw_fd(), EpollEvent::default());
    }

    fn peer_ready(&mut self, token: u64, events: EventSet) {
        match self.peers.remove(&token) {
            Some(Peer::Greeting(greeting)) => match greeting.advance() {
                Progress::Waiting(greeting) => {
                    self.peers.insert(token, Peer::Greeting(greeting));
                }
                Progress::Understood(wish, stream) => self.grant(token, wish, stream),
                Progress::Refused => {}
            },
            // A listener has nothing to say: it hangs up.
            Some(Peer::Listener(port)) => {
                self.listeners.remove(&port);
            }
            Some(Peer::Connection(ports)) => {
                self.peers.insert(token, Peer::Connection(ports));
                let Some((_, connection)) = self.connections.get_mut(&ports) else { return };
                if events.contains(EventSet::OUT) {
                    connection.flush();
                }
                if events.intersects(EventSet::HANG_UP | EventSet::ERROR) && !connection.wants_input() {
                    connection.hang_up();
                }
                self.pending.push_back(ports);
            }
            None => {}
        }
    }

    fn grant(&mut self, token: u64, wish: Wish, stream: std::os::unix::net::UnixStream) {
        match wish {
            Wish::Connect(guest) => {
                let Some(host) = self.free_port(guest) else { return };
                let ports = Ports { guest, host };
                self.peers.insert(token, Peer::Connection(ports));
                self.connections.insert(ports, (token, Connection::from_host(ports, stream)));
                self.pending.push_back(ports);
            }
            // A port has one listener: a second one is hung up on.
            Wish::Listen(port) if !self.listeners.contains_key(&port) => {
                if let Ok(listener) = Listener::new(stream, port) {
                    self.peers.insert(token, Peer::Listener(port));
                    self.listeners.insert(port, (token, listener));
                }
            }
            Wish::Listen(_) => {}
        }
    }

    fn free_port(&mut self, guest: u32) -> Option<u32> {
        for _ in 0..=CONNECTIONS_MAX {
            let host = self.next_port;
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_HOST_PORT);
            if !self.connections.contains_key(&Ports { guest, host }) {
                return Some(host);
            }
        }
        None
    }

    fn connect(&mut self, ports: Ports, request: &Header) {
        let room = self.peers.len() < CONNECTIONS_MAX;
        let stream = self.listeners.get(&ports.host).filter(|_| room).and_then(|(_, listener)| listener.connect().ok());
        let Some(stream) = stream else { return self.refuse(request, Some(Operation::Request)) };
        let Some(token) = self.watch(&stream.as_raw_fd(), |_| Some(Peer::Connection(ports))) else {
            return self.refuse(request, Some(Operation::Request));
        };
        self.connections.insert(ports, (token, Connection::from_guest(ports, stream, request)));
        self.pending.push_back(ports);
    }

    fn refuse(&mut self, header: &Header, operation: Option<Operation>) {
        // A reset is never answered by a reset.
        if operation != Some(Operation::Reset) {
            self.refusals.push_back(Header {
                source_cid: header.destination_cid,
                destination_cid: header.source_cid,
                source_port: header.destination_port,
                destination_port: header.source_port,
                kind: header.kind,
                operation: (Operation::Reset as u16).into(),
                ..Default::default()
            });
        }
    }

    fn drop_if_over(&mut self, ports: Ports) {
        let over = self.connections.get(&ports).is_some_and(|(_, connection)| connection.is_over());
        if over && let Some((token, connection)) = self.connections.remove(&ports) {
            self.peers.remove(&token);
            self.forget(connection.stream());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_one_turn_however_often_it_asks() {
        let [one, other] = [1, 2].map(|guest| Ports { guest, host: 5 });
        let mut turns = Turns::default();

        for ports in [one, other, one, one, other] {
            turns.push_back(ports);
        }

        assert_eq!(turns.pop_front(), Some(one));
        turns.push_back(one);
        assert_eq!([turns.pop_front(), turns.pop_front(), turns.pop_front()], [Some(other), Some(one), None]);
    }
}
