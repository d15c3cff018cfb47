//! The switch as a process: keepers that join with their cards' streams, and its end.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use lodge::{
    nat::{Isolated, read_message, write_message},
    switch::{Answer, Ask, Member},
    vmm::net::stream,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FlockOperation,
    net::{SocketFlags, accept_with, sockopt},
};

use super::{
    Failure,
    switch::{PORTS_MAX, Switch},
    table::PortNumber,
};

/// Between two looks whether somebody still joins, while nobody is on the network.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The most keepers that are connected, joined or not.
const KEEPERS_MAX: usize = 2 * PORTS_MAX;

/// A keeper's connection.
struct Keeper {
    socket: OwnedFd,
    /// Whom it keeps on the network.
    member: Option<Member>,
    /// The card's port, once its stream is here.
    port: Option<PortNumber>,
}

/// What is ready.
#[derive(Clone, Copy)]
enum Source {
    Listener,
    Keeper(u64),
    Port(PortNumber),
}

struct Server {
    network: String,
    listener: OwnedFd,
    lock: OwnedFd,
    keepers: BTreeMap<u64, Keeper>,
    last: u64,
    switch: Switch,
}

/// Serves until nobody is on the network.
pub fn run(network: String, listener: OwnedFd, lock: OwnedFd) -> Result<(), Failure> {
    rustix::io::ioctl_fionbio(&listener, true)?;
    let mut server = Server { network, listener, lock, keepers: BTreeMap::new(), last: 0, switch: Switch::default() };
    // Whoever has started it holds the lock until it has joined.
    while !server.may_end()? {
        for source in server.wait()? {
            server.serve(source);
        }
        for port in server.switch.flush() {
            server.remove(port);
        }
    }
    Ok(())
}

impl Server {
    /// Whether nobody is on the network and nobody is about to join: then nobody can until this process has ended.
    fn may_end(&self) -> io::Result<bool> {
        if self.switch.len() > 0 {
            return Ok(false);
        }
        match rustix::fs::flock(&self.lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::Listener];
        let mut polled = vec![PollFd::new(&self.listener, PollFlags::IN)];
        for (&number, keeper) in &self.keepers {
            sources.push(Source::Keeper(number));
            polled.push(PollFd::new(&keeper.socket, PollFlags::IN));
        }
        for (number, stream, is_waiting) in self.switch.ports() {
            let out = if is_waiting { PollFlags::OUT } else { PollFlags::empty() };
            sources.push(Source::Port(number));
            polled.push(PollFd::from_borrowed_fd(stream, PollFlags::IN | out));
        }
        let timeout = (self.switch.len() == 0).then(|| Timespec::try_from(LOOK_AGAIN).ok()).flatten();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = sources.into_iter().zip(polled).filter(|(_, polled)| !polled.revents().is_empty());
        // One that has only room for frames is flushed anyway.
        Ok(ready.filter(|(_, polled)| polled.revents() != PollFlags::OUT).map(|(source, _)| source).collect())
    }

    fn serve(&mut self, source: Source) {
        match source {
            Source::Listener => self.accept(),
            Source::Keeper(number) => {
                if self.listen_to(number).is_err() {
                    // Its card's port stays: the guest goes on.
                    self.keepers.remove(&number);
                }
            }
            Source::Port(port) => match self.switch.receive(port, Instant::now()) {
                Ok(true) => {}
                Ok(false) => self.remove(port),
                Err(error) => {
                    eprintln!("a card's stream is given up: {error}");
                    self.remove(port);
                }
            },
        }
    }

    fn accept(&mut self) {
        // It may have gone meanwhile.
        let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
        let is_own = sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid == rustix::process::getuid());
        if is_own && self.keepers.len() < KEEPERS_MAX {
            self.last += 1;
            self.keepers.insert(self.last, Keeper { socket, member: None, port: None });
        }
    }

    /// Takes a keeper's message; an error means that it is gone.
    fn listen_to(&mut self, number: u64) -> io::Result<()> {
        let now = Instant::now();
        let Some(keeper) = self.keepers.get_mut(&number) else { return Ok(()) };
        let answer: Answer = if keeper.member.is_some() && keeper.port.is_none() {
            let stream = stream::take_over(&keeper.socket)?.ok_or(io::ErrorKind::InvalidData)?;
            keeper.port = Some(self.switch.add(stream, now)?);
            Ok(self.state(number, now))
        } else {
            match read_message(&keeper.socket, Some(now))? {
                Ask::Join(member) => self.admit(number, member).map(|()| self.state(number, now)),
                Ask::Query => Ok(self.state(number, now)),
            }
        };
        let Some(keeper) = self.keepers.get(&number) else { return Ok(()) };
        write_message(&keeper.socket, &answer)
    }

    /// Whether a card can join, apart from its stream.
    fn admit(&mut self, number: u64, member: Member) -> Result<(), String> {
        let network = &self.network;
        if self.switch.len() >= PORTS_MAX {
            return Err(format!("the isolated network {network} has {PORTS_MAX} cards already. Use another one"));
        }
        if let Some(Err(other)) = member.dhcp.map(|subnet| self.switch.serve(subnet)) {
            return Err(format!(
                "the isolated network {network} has the addresses {other} already. Write dhcp = \"{other}\", or leave it out"
            ));
        }
        if let Some(keeper) = self.keepers.get_mut(&number) {
            keeper.member = Some(member);
        }
        Ok(())
    }

    fn state(&self, number: u64, now: Instant) -> Isolated {
        let keeper = self.keepers.get(&number);
        let card = keeper.and_then(|keeper| Some((keeper.port?, keeper.member.as_ref()?.mac)));
        Isolated {
            network: self.network.clone(),
            cards: self.switch.len(),
            dhcp: self.switch.subnet(),
            address: card.and_then(|(port, mac)| self.switch.address(port, mac, now)),
        }
    }

    /// Takes a port away, and lets its keeper know.
    fn remove(&mut self, port: PortNumber) {
        self.switch.remove(port);
        self.keepers.retain(|_, keeper| keeper.port != Some(port));
    }
}
