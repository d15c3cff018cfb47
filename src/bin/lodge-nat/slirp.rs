//! libslirp (<https://gitlab.freedesktop.org/slirp/libslirp>), a TCP/IP stack in this process that speaks to the host's with
//! ordinary sockets. It has the network that QEMU's users know: the guest is 10.0.2.15, the host 10.0.2.2, names are asked for at
//! 10.0.2.3; by IPv6 fec0::/64, fec0::2 and fec0::3.

mod timers;

use std::{
    cell::RefCell,
    ffi::CString,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
        unix::net::UnixStream,
    },
    rc::Rc,
};

use libslirp::{Context, Handler, PollEvents};
use libslirp_sys::{SlirpConfig, in_addr, slirp_add_hostfwd, slirp_remove_hostfwd};
use lodge::{
    nat::{BootServer, Carrier, Forward, Protocol, State},
    system_error::words,
    vmm::net::stream::{self, LONGEST, PREFIX},
};

use super::{
    keep::{self, Kept},
    ports, sandbox,
};
use timers::{Timer, Timers};

/// The version of `SlirpConfig` up to the last field that is filled in here.
const CONFIG_VERSION: u32 = 1;
/// What is read of the guest's frames at a time, in bytes.
const BUFFER: usize = 4 * (PREFIX + LONGEST);
/// Bytes that wait for the guest above which nothing more is taken from the host's sockets for it.
const ENOUGH: usize = 512 << 10;
/// Bytes that wait for the guest above which frames are dropped, as on a wire.
const TOO_MUCH: usize = 8 << 20;
/// The guest's faults that are told.
const FAULTS_TOLD: u32 = 10;

/// libslirp at work.
pub struct Slirp {
    context: Context<Rc<RefCell<Wire>>>,
    wire: Rc<RefCell<Wire>>,
    feed: OwnedFd,
    stream: UnixStream,
    /// Read from the guest and not given to libslirp yet.
    incoming: Vec<u8>,
    received: usize,
    forwards: Vec<Forward>,
    kept: Kept,
    problem: Option<String>,
    sources: Vec<libc::pollfd>,
}

/// What libslirp uses of us.
struct Wire {
    timers: Timers,
    /// Frames for the guest, as they go over the stream.
    outgoing: Vec<u8>,
    faults: u32,
}

impl Handler for Wire {
    type Timer = Rc<Timer>;

    fn clock_get_ns(&mut self) -> i64 {
        self.timers.nanoseconds()
    }

    fn send_packet(&mut self, frame: &[u8]) -> io::Result<usize> {
        if let Ok(length) = u32::try_from(frame.len())
            && self.outgoing.len() < TOO_MUCH
        {
            self.outgoing.extend(length.to_be_bytes());
            self.outgoing.extend(frame);
        }
        Ok(frame.len())
    }

    // What is to be waited for is asked for each time.
    fn register_poll_fd(&mut self, _: RawFd) {}

    fn unregister_poll_fd(&mut self, _: RawFd) {}

    fn guest_error(&mut self, message: &str) {
        self.faults = self.faults.saturating_add(1);
        if self.faults <= FAULTS_TOLD {
            eprintln!("the guest's network: {}", message.trim_end());
        }
    }

    // There is one thread, and it does not wait while libslirp works.
    fn notify(&mut self) {}

    fn timer_new(&mut self, function: Box<dyn FnMut()>) -> Box<Self::Timer> {
        Box::new(self.timers.add(function))
    }

    fn timer_mod(&mut self, timer: &mut Box<Self::Timer>, expires: i64) {
        timer.set(expires);
    }

    fn timer_free(&mut self, timer: Box<Self::Timer>) {
        drop(timer);
    }
}

/// What the guest's network is like.
pub struct Network<'a> {
    /// The longest packet, in bytes.
    pub mtu: u16,
    /// The host's ports that lead into the guest.
    pub forwards: &'a [Forward],
    /// What the guest finds to boot.
    pub boot: &'a BootServer,
}

impl Slirp {
    /// Goes on in a process that may be killed by what a guest sends ([`keep`]), hands the card a stream through `feed`, begins to
    /// translate and shuts the process in. A port that cannot be had is an error when `strict`, else it is told of in the state.
    pub fn start(feed: OwnedFd, network: &Network<'_>, strict: bool) -> Result<Self, String> {
        let failed =
            |error: &dyn std::fmt::Display| format!("libslirp cannot be started: {error}. Look at what is said");
        let wire = Rc::new(RefCell::new(Wire { timers: Timers::default(), outgoing: Vec::new(), faults: 0 }));
        let Network { mtu, forwards, boot } = *network;
        let mut kept = keep::stay_behind(forwards.to_vec()).map_err(|error| failed(&error))?;
        let forwards = std::mem::take(&mut kept.forwards);
        let strict = strict && !kept.is_successor;
        let text =
            |bytes: Option<&[u8]>| bytes.map(|bytes| CString::new(bytes).map_err(|error| failed(&error))).transpose();
        // It makes copies of these.
        let folder = text(boot.folder.as_ref().map(|folder| folder.as_os_str().as_bytes()))?;
        let bootfile = text(boot.bootfile.as_ref().map(String::as_bytes))?;
        let context = Context::new_with_config(&config(mtu, [&folder, &bootfile]), Rc::clone(&wire));
        let stream = connect(&feed).map_err(|error| failed(&error))?;
        let mut slirp = Self {
            context,
            wire,
            feed,
            stream,
            incoming: vec![0; BUFFER],
            received: 0,
            forwards: Vec::new(),
            kept,
            problem: None,
            sources: Vec::new(),
        };
        for forward in &forwards {
            match slirp.add(forward) {
                Err(error) if strict => return Err(error),
                Err(error) => slirp.problem = Some(error),
                Ok(()) => {}
            }
        }
        sandbox::enter(boot.folder.as_deref()).map_err(|error| failed(&error))?;
        Ok(slirp)
    }

    /// Waits for something to do, and does it. Returns whether the worker asks for something, or has gone.
    pub fn turn(&mut self, control: &OwnedFd) -> io::Result<bool> {
        let waiting = self.wire.borrow().outgoing.len();
        let mut timeout = self.wire.borrow().timers.next().unwrap_or(u32::MAX);
        let out = if waiting > 0 { libc::POLLOUT } else { 0 };
        let source = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut sources = std::mem::take(&mut self.sources);
        sources.clear();
        sources.push(source(control.as_raw_fd(), libc::POLLIN));
        sources.push(source(self.stream.as_raw_fd(), libc::POLLIN | out));
        // More for the guest only when it takes what there is.
        let is_host_heard = waiting < ENOUGH;
        if is_host_heard {
            self.context.pollfds_fill(&mut timeout, |fd, events| {
                sources.push(source(fd, to_poll(events)));
                i32::try_from(sources.len() - 1).unwrap_or(-1)
            });
        }
        let timeout = i32::try_from(timeout).unwrap_or(-1);
        // SAFETY: the list is ours for as long as the call lasts, and has this many members.
        let ready = unsafe { libc::poll(sources.as_mut_ptr(), sources.len() as libc::nfds_t, timeout) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            sources.iter_mut().for_each(|source| source.revents = 0);
        }
        if is_host_heard {
            let events = |index: i32| {
                let source = usize::try_from(index).ok().and_then(|index| sources.get(index));
                source.map_or_else(PollEvents::empty, |source| from_poll(source.revents))
            };
            self.context.pollfds_poll(false, events);
        }
        // Not while the wire is borrowed: what is due calls back.
        let due = self.wire.borrow_mut().timers.due();
        due.into_iter().for_each(|timer| timer.run());
        let has_frames = sources.get(1).is_some_and(|stream| stream.revents & !libc::POLLOUT != 0);
        let has_request = sources.first().is_some_and(|control| control.revents != 0);
        self.sources = sources;
        if has_frames {
            self.take_frames()?;
        }
        self.send_frames()?;
        Ok(has_request)
    }

    /// Gives libslirp what the guest has sent.
    fn take_frames(&mut self) -> io::Result<()> {
        match self.stream.read(self.incoming.get_mut(self.received..).unwrap_or_default()) {
            Ok(0) => return self.reconnect(),
            Ok(length) => self.received += length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(_) => return self.reconnect(),
        }
        let mut rest = self.incoming.get(..self.received).unwrap_or_default();
        while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX>() {
            let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
            if length > LONGEST {
                // No worker of ours says so.
                return self.reconnect();
            }
            let Some((frame, next)) = behind.split_at_checked(length) else { break };
            self.context.input(frame);
            rest = next;
        }
        let left = rest.len();
        self.incoming.copy_within(self.received - left..self.received, 0);
        self.received = left;
        Ok(())
    }

    /// Sends what waits for the guest, as far as there is room.
    fn send_frames(&mut self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        let mut done = 0;
        let ended = loop {
            match wire.outgoing.get(done..).filter(|rest| !rest.is_empty()).map(|rest| self.stream.write(rest)) {
                None => break false,
                Some(Ok(length)) => done += length,
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        wire.outgoing.drain(..done);
        drop(wire);
        if ended { self.reconnect() } else { Ok(()) }
    }

    /// The card has let the stream go: it gets another.
    fn reconnect(&mut self) -> io::Result<()> {
        self.received = 0;
        self.wire.borrow_mut().outgoing.clear();
        match connect(&self.feed) {
            Ok(stream) => self.stream = stream,
            // The worker has gone, which the control socket tells next.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Forwards another port.
    pub fn add(&mut self, forward: &Forward) -> Result<(), String> {
        let address = address_of(forward)?;
        let is_udp = (forward.protocol == Protocol::Udp).into();
        // The address that the guest gets by DHCP.
        let guest = in_addr::from(Ipv4Addr::UNSPECIFIED);
        let (port, guest_port) = (forward.port.into(), forward.guest_port.into());
        // SAFETY: the context lives; the call takes numbers only.
        let added =
            unsafe { slirp_add_hostfwd(self.context.inner.context, is_udp, address.into(), port, guest, guest_port) };
        if added < 0 {
            let error = io::Error::last_os_error();
            ports::check(forward)?;
            return Err(format!("{forward} could not be forwarded: {}. Choose another port", words(&error)));
        }
        self.forwards.push(*forward);
        self.kept.tell(&self.forwards);
        Ok(())
    }

    /// No longer forwards a port.
    pub fn remove(&mut self, forward: &Forward) -> Result<(), String> {
        let is_udp = (forward.protocol == Protocol::Udp).into();
        let (address, port) = (address_of(forward)?, forward.port.into());
        // SAFETY: as above.
        let removed = unsafe { slirp_remove_hostfwd(self.context.inner.context, is_udp, address.into(), port) };
        if removed < 0 {
            return Err(format!("{forward} could not be removed. Stop the guest and start it again"));
        }
        self.forwards.retain(|other| other != forward);
        self.kept.tell(&self.forwards);
        Ok(())
    }

    /// What it does.
    pub fn state(&self) -> State {
        let (problem, forwards) = (self.problem.clone(), self.forwards.clone());
        State { problem, forwards, ..State::new(Carrier::Slirp) }
    }
}

/// The host's address of a forward.
fn address_of(forward: &Forward) -> Result<Ipv4Addr, String> {
    match forward.address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => {
            Err(format!("libslirp forwards nothing from {address}. Write an IPv4 address, like 127.0.0.1"))
        }
    }
}

/// A new stream, whose other end is on its way to the card.
fn connect(feed: &OwnedFd) -> io::Result<UnixStream> {
    let (theirs, ours) = UnixStream::pair()?;
    stream::hand_over(feed, &theirs)?;
    ours.set_nonblocking(true)?;
    Ok(ours)
}

fn config(mtu: u16, texts: [&Option<CString>; 2]) -> SlirpConfig {
    let [tftp_path, bootfile] = texts.map(|text| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()));
    let prefix = |last| in6(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, last));
    SlirpConfig {
        version: CONFIG_VERSION,
        restricted: 0,
        in_enabled: true,
        vnetwork: Ipv4Addr::new(10, 0, 2, 0).into(),
        vnetmask: Ipv4Addr::new(255, 255, 255, 0).into(),
        vhost: Ipv4Addr::new(10, 0, 2, 2).into(),
        in6_enabled: true,
        vprefix_addr6: prefix(0),
        vprefix_len: 64,
        vhost6: prefix(2),
        vhostname: std::ptr::null(),
        tftp_server_name: std::ptr::null(),
        tftp_path,
        bootfile,
        vdhcp_start: Ipv4Addr::new(10, 0, 2, 15).into(),
        vnameserver: Ipv4Addr::new(10, 0, 2, 3).into(),
        vnameserver6: prefix(3),
        vdnssearch: std::ptr::null_mut(),
        vdomainname: std::ptr::null(),
        if_mtu: mtu.into(),
        if_mru: mtu.into(),
        disable_host_loopback: false,
        enable_emu: false,
        outbound_addr: std::ptr::null(),
        outbound_addr6: std::ptr::null(),
        disable_dns: false,
        disable_dhcp: false,
    }
}

fn in6(address: Ipv6Addr) -> libslirp_sys::in6_addr {
    address.into()
}

/// The pairs of libslirp's events and poll(2)'s.
fn pairs() -> [(PollEvents, libc::c_short); 5] {
    [
        (PollEvents::poll_in(), libc::POLLIN),
        (PollEvents::poll_out(), libc::POLLOUT),
        (PollEvents::poll_pri(), libc::POLLPRI),
        (PollEvents::poll_err(), libc::POLLERR),
        (PollEvents::poll_hup(), libc::POLLHUP),
    ]
}

fn to_poll(events: PollEvents) -> libc::c_short {
    pairs().into_iter().filter(|(event, _)| events.contains(*event)).fold(0, |all, (_, bit)| all | bit)
}

fn from_poll(events: libc::c_short) -> PollEvents {
    let mut found = PollEvents::empty();
    pairs().into_iter().filter(|(_, bit)| events & bit != 0).for_each(|(event, _)| found |= event);
    found
}
