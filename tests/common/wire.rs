//! Interfaces, bridges and other computers in the test's network namespace.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use super::linux::succeed;

/// A computer at a port of the bridge: a namespace with one card, for as long as it lives.
pub struct Neighbour(Child);

impl Neighbour {
    /// One with this address in this bridge.
    pub fn new(bridge: &str, address: &str) -> Self {
        let child = Command::new("unshare").args(["-n", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
        let neighbour = Self(child);
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = || fs::read_link(format!("/proc/{}/ns/net", neighbour.pid()));
        while theirs().unwrap() == own {
            std::thread::yield_now();
        }
        let pid = neighbour.pid();
        // A bridge has the lowest address of its ports'. One by chance could be above that of a guest's interface, as no real card's is.
        ip("link add port1 address 02:00:00:00:00:01 type veth peer name eth0 netns", &[&pid]);
        ip(&format!("link set port1 master {bridge} up"), &[]);
        for arguments in ["link set eth0 up", &format!("address add {address} dev eth0")] {
            let inside = ["-t", &pid, "-n", "ip"].into_iter().chain(arguments.split(' '));
            succeed(Command::new("nsenter").args(inside));
        }
        neighbour
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs `ip`.
pub fn ip(arguments: &str, more: &[&str]) {
    succeed(Command::new("ip").args(arguments.split(' ')).args(more));
}
