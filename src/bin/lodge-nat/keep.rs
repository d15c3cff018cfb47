//! libslirp takes apart what a guest sends, and has died of it. So it works in a process of its own; the one that was started stays
//! behind and begins anew when that is killed: the guest loses its connections then, but not its network.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    thread,
    time::{Duration, Instant},
};

use lodge::nat::{Forward, read_message, write_message};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Signal, set_parent_process_death_signal},
};

/// Between a death and the next beginning, at first and at most: whoever asks meanwhile waits longer than that.
const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// One that has lived for so long was not killed by what came first.
const SETTLED: Duration = Duration::from_secs(60);

/// The process that works, and its way to the one that stays behind.
pub struct Kept {
    line: OwnedFd,
    /// What is to be forwarded.
    pub forwards: Vec<Forward>,
    /// Whether another one has worked before.
    pub is_successor: bool,
}

impl Kept {
    /// Tells what is forwarded now, for a successor.
    pub fn tell(&self, forwards: &[Forward]) {
        // Without it a successor forwards what it was started with.
        let _ = write_message(&self.line, &forwards);
    }
}

/// Goes on in another process, and in one more each time that the one before was killed. This process stays behind, and ends as the
/// other one does.
pub fn stay_behind(mut forwards: Vec<Forward>) -> io::Result<Kept> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, line) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (mut is_successor, mut delay) = (false, DELAYS.0);
    loop {
        let begun = Instant::now();
        // SAFETY: this process has one thread, so that no other one holds anything that the new process needs.
        let child = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                return Ok(Kept { line, forwards, is_successor });
            }
            child => child,
        };
        let status = wait(child)?;
        while let Ok(told) = read_message(&ours, Some(Instant::now())) {
            forwards = told;
        }
        if status.signal().is_none() {
            std::process::exit(status.code().unwrap_or(1));
        }
        if begun.elapsed() > SETTLED {
            delay = DELAYS.0;
        }
        eprintln!("libslirp has ended ({status}): it begins anew in {delay:?}, and the guest's connections are cut");
        thread::sleep(delay);
        (is_successor, delay) = (true, (delay * 2).min(DELAYS.1));
    }
}

fn wait(child: libc::pid_t) -> io::Result<ExitStatus> {
    let mut status = 0;
    loop {
        // SAFETY: the call writes one int, which outlives it.
        if unsafe { libc::waitpid(child, &mut status, 0) } == child {
            return Ok(ExitStatus::from_raw(status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
