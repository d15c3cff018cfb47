//! Keeps one network card on its network: joins the network's switch, starts it when there is none, and joins again when it has
//! died.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Seek, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use lodge::{
    nat::{Carrier, Isolated, Reply, Request, State, Task, read_message, write_message},
    switch::{Answer, Ask, LAUNCH_FD, LAUNCH_VERSION, Launch, Member, Role, lock_name, log_name, socket_name},
    vmm::net::stream,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, FlockOperation, MemfdFlags, Mode, OFlags, openat, unlinkat},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with},
};

use super::Failure;

/// How long a switch may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between the death of a switch and the next attempt to join, at first and at most.
const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// Keepers that wait for a switch to accept them.
const BACKLOG: i32 = 128;

/// What the keeper was started with.
pub struct Sockets {
    pub folder: OwnedFd,
    pub feed: OwnedFd,
    pub control: OwnedFd,
}

/// Why a card is not on its network.
enum NotJoined {
    /// The switch does not want it; says how to mend that.
    Refused(String),
    /// There is no switch that answers.
    Failed(io::Error),
}

impl From<io::Error> for NotJoined {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<rustix::io::Errno> for NotJoined {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Failed(error.into())
    }
}

struct Keeper {
    network: String,
    member: Member,
    folder: OwnedFd,
    feed: OwnedFd,
    /// The connection to the switch, as long as the card is on the network.
    membership: Option<OwnedFd>,
    problem: Option<String>,
    /// When it joins again.
    next: Instant,
    delay: Duration,
}

/// Keeps the card on its network until the worker goes.
pub fn run(network: String, member: Member, sockets: Sockets, ready: OwnedFd) -> Result<(), Failure> {
    let Sockets { folder, feed, control } = sockets;
    let (next, delay) = (Instant::now(), DELAYS.0);
    let mut keeper = Keeper { network, member, folder, feed, membership: None, problem: None, next, delay };
    let joined = keeper.join();
    let result = match &joined {
        Ok(_) => Ok(keeper.state()),
        Err(NotJoined::Refused(message)) => Err(message.clone()),
        Err(NotJoined::Failed(error)) => Err(format!(
            "the isolated network {} cannot be joined: {error}. Look at its log beside its socket, and install Lodge again",
            keeper.network
        )),
    };
    // Whoever waits for it may have gone.
    let _ = write_message(&ready, &Reply { number: 0, result });
    drop(ready);
    if joined.is_err() {
        return Ok(());
    }
    while keeper.turn(&control)? {}
    Ok(())
}

impl Keeper {
    /// Waits for the worker's request, for the end of the switch and for the next attempt; `false` when the worker has gone.
    fn turn(&mut self, control: &OwnedFd) -> io::Result<bool> {
        let mut sources = vec![PollFd::new(control, PollFlags::IN)];
        sources.extend(self.membership.as_ref().map(|membership| PollFd::new(membership, PollFlags::empty())));
        let left = match self.membership {
            Some(_) => None,
            None => Timespec::try_from(self.next.saturating_duration_since(Instant::now())).ok(),
        };
        match poll(&mut sources, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_lost = sources.get(1).is_some_and(|membership| !membership.revents().is_empty());
        if sources.first().is_some_and(|control| !control.revents().is_empty()) {
            return Ok(self.answer(control));
        }
        if is_lost {
            self.membership = None;
            self.fail(format!("the switch of the isolated network {} has ended", self.network));
        }
        if self.membership.is_none() && Instant::now() >= self.next {
            match self.join() {
                Ok(()) => self.delay = DELAYS.0,
                Err(NotJoined::Refused(message)) => self.fail(message),
                Err(NotJoined::Failed(error)) => {
                    self.fail(format!("the isolated network {} cannot be joined: {error}", self.network));
                }
            }
        }
        Ok(true)
    }

    fn fail(&mut self, problem: String) {
        eprintln!("{problem}; {} joins again in {:?}", self.member.card, self.delay);
        self.problem = Some(problem);
        self.next = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(DELAYS.1);
    }

    /// Answers the worker's next request; `false` when it has gone.
    fn answer(&mut self, control: &OwnedFd) -> bool {
        let request: Request = match read_message(control, None) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return true,
            // Its end of the socket is closed, however it has ended.
            Err(_) => return false,
        };
        let result = match request.task {
            Task::Query => Ok(self.state()),
            Task::Add(_) | Task::Remove(_) => {
                Err("no port of the host leads into an isolated network. Give the guest a card with kind = \"nat\""
                    .to_owned())
            }
        };
        // It may have gone meanwhile, or may not take answers; that is seen at its next request.
        let _ = write_message(control, &Reply { number: request.number, result });
        true
    }

    /// How the network is.
    fn state(&self) -> State {
        let state = State::new(Carrier::Switch);
        match self.membership.as_ref().map(query) {
            None => State { problem: self.problem.clone(), ..state },
            Some(Ok(isolated)) => State { isolated: Some(isolated), ..state },
            Some(Err(error)) => {
                let problem = format!("the switch of the isolated network {} does not answer ({error})", self.network);
                State { problem: Some(problem), ..state }
            }
        }
    }

    /// Joins the network, and hands the card its stream.
    fn join(&mut self) -> Result<(), NotJoined> {
        // Held until the card is on the network: until then the switch does not end.
        let lock = self.open(&lock_name(&self.network), OFlags::RDWR)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))?;
        let membership = match self.connect() {
            Ok(membership) => membership,
            Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => {
                self.start_switch()?;
                self.connect()?
            }
            Err(error) => return Err(error.into()),
        };
        ask(&membership, &Ask::Join(self.member.clone()))?.map_err(NotJoined::Refused)?;
        let (theirs, cards) = UnixStream::pair()?;
        stream::hand_over(&membership, &theirs)?;
        hear(&membership)?.map_err(NotJoined::Refused)?;
        stream::hand_over(&self.feed, &cards)?;
        (self.membership, self.problem) = (Some(membership), None);
        Ok(())
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// A path of any length is too long for a socket.
    fn address(&self) -> rustix::io::Result<SocketAddrUnix> {
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{}", self.folder.as_raw_fd(), socket_name(&self.network)))
    }

    fn connect(&self) -> rustix::io::Result<OwnedFd> {
        let socket = seqpacket()?;
        connect(&socket, &self.address()?)?;
        Ok(socket)
    }

    /// Starts the network's switch, which takes over the listening socket.
    fn start_switch(&self) -> io::Result<()> {
        match unlinkat(&self.folder, socket_name(&self.network), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let listener = seqpacket()?;
        bind(&listener, &self.address()?)?;
        listen(&listener, BACKLOG)?;
        let lock = self.open(&lock_name(&self.network), OFlags::RDWR)?;
        let log = self.open(&log_name(&self.network), OFlags::WRONLY | OFlags::TRUNC)?;
        let (listener_fd, lock_fd) = (LAUNCH_FD + 1, LAUNCH_FD + 2);
        let role = Role::Switch { listener: listener_fd, lock: lock_fd };
        let launch = Launch { version: LAUNCH_VERSION, network: self.network.clone(), role };
        let mut description = File::from(rustix::fs::memfd_create("launch", MemfdFlags::CLOEXEC)?);
        description.write_all(&serde_json::to_vec(&launch)?)?;
        description.rewind()?;
        // This program, even when it was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        let kept = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with("LODGE_"));
        command.env_clear().envs(env::vars_os().filter(|(name, _)| kept(name)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir("/");
        let handed = [(description.into(), LAUNCH_FD), (listener, listener_fd), (lock.into(), lock_fd)];
        let mappings = handed.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.into()).map_err(io::Error::other)?;
        // SAFETY: the closure runs between fork and exec. It only makes a system call, and allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
        }
        let mut switch = command.spawn()?;
        // A child that has ended stays in the process table until its parent has asked for it.
        std::thread::Builder::new().spawn(move || switch.wait())?;
        Ok(())
    }
}

fn seqpacket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Asks how the network is.
fn query(membership: &OwnedFd) -> io::Result<Isolated> {
    // Answers that came too late.
    while read_message::<Answer>(membership, Some(Instant::now())).is_ok() {}
    ask(membership, &Ask::Query)?.map_err(io::Error::other)
}

fn ask(membership: &OwnedFd, ask: &Ask) -> io::Result<Answer> {
    write_message(membership, ask)?;
    hear(membership)
}

fn hear(membership: &impl AsFd) -> io::Result<Answer> {
    read_message(membership, Some(Instant::now() + PATIENCE))
}
