//! The worker as a process: its session and name, the standard streams, the signals that end it, the allocator's thrift.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// The signals that ask a worker to end.
const SIGNALS: [(libc::c_int, &str); 3] =
    [(libc::SIGTERM, "SIGTERM"), (libc::SIGINT, "SIGINT"), (libc::SIGHUP, "SIGHUP")];

/// The longest name that Linux keeps for a thread, in bytes.
const NAME: usize = 15;

/// Takes leave of whoever started the worker: a session of its own, no working directory, and a name that tells in `top`
/// whose worker it is.
pub fn detach(guest: &str) {
    // The launcher may have made the session already; then this fails, and all is as it should be.
    let _ = rustix::process::setsid();
    // There is always a root directory.
    let _ = rustix::process::chdir("/");
    name_after("lodge", guest);
}

/// Names this process after what it is and whose.
pub fn name_after(what: &str, guest: &str) {
    let mut name = format!("{what}:{guest}").replace('\0', "");
    while name.len() > NAME {
        name.pop();
    }
    if let Ok(name) = CString::new(name) {
        // Only for people to look at.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Makes the log take what is written to standard output and standard error, such as the last words of a failing library,
/// and leaves nothing to read from standard input.
pub fn redirect_standard_streams(log: &File) -> io::Result<()> {
    for stream in 0..3 {
        // SAFETY: the three numbers are those of the standard streams, which nothing owns.
        if unsafe { libc::dup2(log.as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Keeps the C library's allocator from holding on to memory: one arena for all threads, and freed memory goes back.
pub fn save_memory() {
    const KIBIBYTE: libc::c_int = 1 << 10;
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 64 * KIBIBYTE), (libc::M_TRIM_THRESHOLD, 64 * KIBIBYTE)]
    {
        // SAFETY: it only sets a number inside the allocator.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// The signals that ask a worker to end, as something to wait for.
pub struct Signals(File);

impl Signals {
    /// Takes them from now on, in this thread and in those that it makes.
    pub fn take() -> io::Result<Self> {
        // SAFETY: an all-zero set is what sigemptyset makes; it is only written to through the C library.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for (signal, _) in SIGNALS {
                libc::sigaddset(&mut set, signal);
            }
            let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            if blocked != 0 {
                return Err(io::Error::from_raw_os_error(blocked));
            }
            libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made it, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }.into()))
    }

    /// The name of the next signal that has come.
    pub fn arrived(&mut self) -> Option<&'static str> {
        let mut information = [0; size_of::<libc::signalfd_siginfo>()];
        self.0.read_exact(&mut information).ok()?;
        // The structure begins with the signal's number (signalfd(2)).
        let number = information.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))?;
        Some(SIGNALS.iter().find(|(signal, _)| *signal == number).map_or("a signal", |(_, name)| name))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_can_be_waited_for() {
        // In a thread of its own, so that the others go on as they are.
        let thread = std::thread::spawn(|| {
            let mut signals = Signals::take().unwrap();
            let before = signals.arrived();
            // SAFETY: the signal is blocked in this thread, to which it goes.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) };
            (before, signals.arrived())
        });

        assert_eq!(thread.join().unwrap(), (None, Some("SIGTERM")));
    }
}
