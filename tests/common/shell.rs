//! The shell of a Linux test guest, at its serial port.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use lodge::manager::socket;

use super::home::Home;

/// A connection to the serial port.
pub struct Shell {
    stream: UnixStream,
    /// What it has said since the last line was sent.
    pub said: String,
    asked: u32,
}

impl Shell {
    /// Connects to the guest `name`, which runs.
    pub fn new(home: &Home, name: &str) -> Self {
        let info = home.json(&["info", name, "--json"]);
        let stream = socket::connect(Path::new(info["sockets"]["serial"].as_str().unwrap())).unwrap();
        stream.set_read_timeout(Some(super::machine::PATIENCE)).unwrap();
        Self { stream, said: String::new(), asked: 1000 }
    }

    /// Waits until the guest says `wanted`.
    pub fn wait_for(&mut self, wanted: &str) {
        while !self.said.contains(wanted) {
            let mut bytes = [0; 4096];
            let length =
                self.stream.read(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}: {}", self.said));
            assert!(length > 0, "the guest has ended: {}", self.said);
            self.said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) {
        self.said.clear();
        writeln!(self.stream, "{line}").unwrap();
    }

    /// Has a command done, and returns what it has printed.
    pub fn ask(&mut self, command: &str) -> String {
        self.asked += 1;
        let number = self.asked;
        self.send(&format!("{command}; echo done$(({number}))"));
        self.wait_for(&format!("done{number}"));
        self.said.replace('\r', "")
    }
}
