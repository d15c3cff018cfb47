//! The debug port of Bochs and QEMU (`isa-debugcon`, port 0x402): firmware writes its messages there, byte by byte.
//!
//! A read answers 0xE9, by which the firmware knows that somebody listens.

#![forbid(unsafe_code)]

use std::io::Write;

use serde_json::Value;

use crate::vmm::device::{Device, StateError, restore_state, save_state};

/// What the port reads as.
const PRESENT: u8 = 0xe9;

/// A line longer than this is passed on in pieces.
const LINE: usize = 1024;

const STATE_VERSION: u32 = 1;

/// The debug port.
pub struct DebugPort {
    log: Box<dyn Write + Send>,
    /// What has come of the current line. It belongs to the log, not to the guest's state.
    line: Vec<u8>,
}

impl DebugPort {
    /// A port whose lines go to `log`.
    pub fn new(log: Box<dyn Write + Send>) -> Self {
        Self { log, line: Vec::new() }
    }

    fn pass_on(&mut self) {
        // A log that cannot be written must not stop the guest.
        let _ = self.log.write_all(&self.line);
        self.line.clear();
    }
}

impl Device for DebugPort {
    fn label(&self) -> &str {
        "debug-port"
    }

    fn read(&mut self, _region: usize, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(first) = data.first_mut() {
            *first = PRESENT;
        }
    }

    fn write(&mut self, _region: usize, _offset: u64, data: &[u8]) {
        for &byte in data {
            self.line.push(byte);
            if byte == b'\n' || self.line.len() >= LINE {
                self.pass_on();
            }
        }
    }

    fn reset(&mut self) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.pass_on();
        }
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(self.label(), STATE_VERSION, ())
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        restore_state(self.label(), STATE_VERSION, state)
    }
}

impl Drop for DebugPort {
    fn drop(&mut self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn port() -> (DebugPort, Log) {
        let log = Log::default();
        (DebugPort::new(Box::new(log.clone())), log)
    }

    #[test]
    fn it_says_that_somebody_listens() {
        let (mut port, _) = port();
        let mut data = [0; 2];

        port.read(0, 0, &mut data);
        port.read(0, 0, &mut []);

        assert_eq!(data, [0xe9, 0xff]);
    }

    #[test]
    fn bytes_are_passed_on_line_by_line() {
        let (mut port, log) = port();

        for byte in b"SeaBIOS\nBooting" {
            port.write(0, 0, &[*byte]);
        }
        let before_the_end = log.0.lock().unwrap().clone();
        drop(port);

        assert_eq!(before_the_end, ["SeaBIOS\n"]);
        assert_eq!(*log.0.lock().unwrap(), ["SeaBIOS\n", "Booting\n"]);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory() {
        let (mut port, log) = port();

        for _ in 0..3 * LINE {
            port.write(0, 0, b"a");
        }

        assert_eq!(log.0.lock().unwrap().len(), 3);
        assert!(port.line.is_empty());
    }

    #[test]
    fn its_state_is_empty_but_versioned() {
        let (mut port, _) = port();
        let state = port.save().unwrap();

        assert!(port.restore(state).is_ok());
        assert!(port.restore(serde_json::json!({"version": 2})).is_err());
    }
}
