//! `passt` (<https://passt.top>), which translates without root: a child of this process that gets one end of a stream, while
//! the guest's card gets the other. It ends by itself when that end is closed.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt, FdMapping};
use lodge::{
    nat::{Carrier, Forward, Protocol, State},
    vmm::net::stream,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// One that dies sooner cannot run on this host.
const SETTLED: Duration = Duration::from_secs(2);
/// Between its death and the next start, at first and at most.
const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// The type of frames that mean nothing to anybody (IEEE 802, local experiments).
const EXPERIMENTAL: u16 = 0x88b5;
/// The stream's descriptor in the child.
const STREAM_FD: i32 = 3;

/// What a wait has ended with.
pub enum Passed {
    /// The worker asks for something, or has gone.
    Request,
    /// Something was seen to.
    Time,
    /// It does not run on this host. [`Passt::go_on`] tries it again and again all the same.
    Unusable,
}

/// The child and what it is to do.
pub struct Passt {
    feed: OwnedFd,
    mac: [u8; 6],
    mtu: u16,
    forwards: Vec<Forward>,
    child: Option<Running>,
    /// Whether it has run for a while.
    settled: bool,
    /// When it is started again.
    next: Instant,
    delay: Duration,
    problem: Option<String>,
}

struct Running {
    child: Child,
    /// Readable when it has ended.
    end: OwnedFd,
    since: Instant,
}

impl Passt {
    /// Starts it, and hands the card its stream through `feed`.
    pub fn start(feed: OwnedFd, mac: [u8; 6], mtu: u16, forwards: Vec<Forward>) -> io::Result<Self> {
        let (delay, next) = (DELAYS.0, Instant::now());
        let mut passt = Self { feed, mac, mtu, forwards, child: None, settled: false, next, delay, problem: None };
        passt.child = Some(passt.spawn()?);
        Ok(passt)
    }

    fn spawn(&self) -> io::Result<Running> {
        let (theirs, mut stream) = UnixStream::pair()?;
        stream.write_all(&introduction(self.mac))?;
        let mut command = Command::new("passt");
        command.args(["--foreground", "--quiet", "--mtu", &self.mtu.to_string(), "--fd", &STREAM_FD.to_string()]);
        for forward in &self.forwards {
            let option = match forward.protocol {
                Protocol::Tcp => "--tcp-ports",
                Protocol::Udp => "--udp-ports",
            };
            let Forward { address, port, guest_port, .. } = forward;
            command.args([option, &format!("{address}/{port}:{guest_port}")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mapping = FdMapping { parent_fd: theirs.into(), child_fd: STREAM_FD };
        command.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
        // SAFETY: the closure runs between fork and exec. It only makes a system call, and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                // Where it keeps its user: else it ends with the worker.
                Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?)
            });
        }
        let mut child = command.spawn()?;
        let end = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData.into());
        let watched = end.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
        let running = watched.and_then(|end| stream::hand_over(&self.feed, &stream).map(|()| end));
        match running {
            Ok(end) => Ok(Running { child, end, since: Instant::now() }),
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Waits for the worker's request, for the child's end and for its next start.
    pub fn wait(&mut self, control: &OwnedFd) -> io::Result<Passed> {
        let end = self.child.as_ref().map(|running| running.end.as_fd());
        let mut sources = vec![PollFd::new(control, PollFlags::IN)];
        sources.extend(end.as_ref().map(|end| PollFd::new(end, PollFlags::IN)));
        let left = match end {
            Some(_) => None,
            None => Timespec::try_from(self.next.saturating_duration_since(Instant::now())).ok(),
        };
        match poll(&mut sources, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_ended = sources.get(1).is_some_and(|end| !end.revents().is_empty());
        if sources.first().is_some_and(|control| !control.revents().is_empty()) {
            return Ok(Passed::Request);
        }
        if has_ended && let Some(mut running) = self.child.take() {
            let status = running.child.wait()?;
            return Ok(self.ended(status, running.since));
        }
        if self.child.is_none() && Instant::now() >= self.next {
            match self.spawn() {
                Ok(running) => self.child = Some(running),
                Err(error) => self.fail(format!("passt cannot be started ({error})")),
            }
        }
        Ok(Passed::Time)
    }

    fn ended(&mut self, status: ExitStatus, since: Instant) -> Passed {
        let has_settled = since.elapsed() >= SETTLED;
        if has_settled {
            self.delay = DELAYS.0;
        }
        self.settled |= has_settled;
        self.fail(format!("passt has ended ({status})"));
        // A death by signal says nothing about the host.
        let gave_up = status.code().is_some_and(|code| code != 0);
        if gave_up && !self.settled { Passed::Unusable } else { Passed::Time }
    }

    fn fail(&mut self, problem: String) {
        eprintln!("{problem}; it is started again in {:?}", self.delay);
        self.problem = Some(problem);
        self.next = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(DELAYS.1);
    }

    /// Takes it that it may run later.
    pub fn go_on(&mut self) {
        self.settled = true;
    }

    /// Begins anew with one forward more or less.
    pub fn change(&mut self, forward: &Forward, add: bool) -> Result<(), String> {
        let before = self.forwards.clone();
        match add {
            true => self.forwards.push(*forward),
            false => self.forwards.retain(|other| other != forward),
        }
        self.stop();
        match self.spawn() {
            Ok(running) => {
                // It has run before, so it can.
                self.settled = true;
                self.child = Some(running);
                Ok(())
            }
            Err(error) => {
                self.forwards = before;
                self.fail(format!("passt cannot be started ({error})"));
                Err(format!("passt cannot be started again: {error}. Look at what is said"))
            }
        }
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.child.take() {
            // It may have ended by itself; then nobody else has its number, as it was not waited for.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// What it does.
    pub fn state(&self) -> State {
        let problem = self.problem.clone().filter(|_| self.child.is_none());
        State { problem, forwards: self.forwards.clone(), ..State::new(Carrier::Passt) }
    }

    /// The way to the card, for another translator.
    pub fn feed(&self) -> io::Result<OwnedFd> {
        self.feed.try_clone()
    }

    /// The longest packet, in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// What it forwards.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }
}

/// A frame from the guest's card that nobody answers. passt takes the card's address from what comes from it, and until then
/// leads nobody to the guest, which may be silent for long.
fn introduction(mac: [u8; 6]) -> Vec<u8> {
    let content = [0; 46];
    let frame = [&[0xff; 6][..], &mac, &EXPERIMENTAL.to_be_bytes(), &content].concat();
    // It has 60 bytes.
    [&(frame.len() as u32).to_be_bytes()[..], &frame].concat()
}

impl Drop for Passt {
    fn drop(&mut self) {
        self.stop();
    }
}
