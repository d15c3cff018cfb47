//! A host's network of a test's own: a network namespace with a TAP interface, which ends with the thread that is in it.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
};

use super::linux::succeed;

/// The interface's name.
pub const TAP: &str = "tap0";

/// Runs `test` on a thread in a network namespace of its own, and so do the commands that it starts. Without the right to
/// make one the test is skipped, which it says; in CI that is a failure.
pub fn run(test: impl FnOnce() + Send) {
    let thread = || {
        // SAFETY: unshare takes no pointers; it changes this thread only, which ends with the test.
        if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } == 0 {
            // /sys shows the interfaces of the namespace in which it was mounted.
            succeed(Command::new("mount").args(["--make-rprivate", "/"]));
            succeed(Command::new("mount").args(["-t", "sysfs", "sysfs", "/sys"]));
            succeed(Command::new("ip").args(["link", "set", "lo", "up"]));
            return test();
        }
        let error = std::io::Error::last_os_error();
        assert!(std::env::var_os("CI").is_none(), "no network namespace could be made: {error}");
        println!("skipped: no network namespace could be made ({error}). Run the tests as root");
    };
    std::thread::scope(|scope| scope.spawn(thread).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Makes the TAP interface with these addresses, and opens so many queues of it.
pub fn tap(queues: usize, addresses: &[&str]) -> Vec<File> {
    let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let open = |_| {
        let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: all of it are plain numbers, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(TAP.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several) as libc::c_short;
        // SAFETY: the call reads and writes one ifreq, which outlives it.
        let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) };
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        file
    };
    let files = (0..queues).map(open).collect();
    for address in addresses {
        let nodad = address.contains(':').then_some("nodad");
        succeed(Command::new("ip").args(["address", "add", address, "dev", TAP]).args(nodad));
    }
    succeed(Command::new("ip").args(["link", "set", TAP, "up"]));
    files
}

/// A server of the host; ended when it is dropped.
pub struct Server(Child);

impl Server {
    /// Starts it, and waits until it prints `ready`.
    pub fn start(command: &mut Command, ready: &str) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let (output, errors) = (server.0.stdout.take().unwrap(), server.0.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        for output in [Box::new(output) as Box<dyn std::io::Read + Send>, Box::new(errors)] {
            let sender = sender.clone();
            // Reads on to the end, so that the server never waits for it.
            std::thread::spawn(move || {
                BufReader::new(output).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)))
            });
        }
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains(ready)) {
            match lines.recv_timeout(super::machine::PATIENCE) {
                Ok(line) => said.push(line),
                Err(error) => panic!("{command:?} does not say {ready:?} ({error}), but {said:#?}"),
            }
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
