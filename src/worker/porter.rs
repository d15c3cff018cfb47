//! The porter: one thread that takes the connections of QMP clients and viewers, and the signals to the worker.

#![forbid(unsafe_code)]

use std::{io, os::fd::OwnedFd, sync::Arc, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    acceptor::Acceptor,
    control::ControlServer,
    driver::{DriverHandle, Request},
    process::Signals,
};
use crate::rfb;

/// The thread's stack, in bytes.
const STACK: usize = 64 << 10;

/// What comes in, and to whom it goes.
pub struct Porter {
    /// Where QMP clients knock.
    pub control: Acceptor,
    /// Where viewers knock.
    pub vnc: Acceptor,
    /// The signals that end the worker.
    pub signals: Signals,
    /// Who serves QMP clients.
    pub control_server: Arc<ControlServer>,
    /// Who serves viewers.
    pub vnc_server: Arc<rfb::server::Server>,
    /// Who is told of signals.
    pub driver: DriverHandle,
}

impl Porter {
    /// Wraps up the listening sockets.
    pub fn acceptors(control: OwnedFd, vnc: OwnedFd) -> io::Result<(Acceptor, Acceptor)> {
        Ok((Acceptor::new(control)?, Acceptor::new(vnc)?))
    }

    /// Starts the thread. It ends with the process.
    pub fn start(mut self) -> io::Result<()> {
        let thread = thread::Builder::new().name("porter".to_owned()).stack_size(STACK);
        thread.spawn(move || {
            loop {
                if let Err(error) = self.attend() {
                    tracing::error!("no more connections are taken: {error}");
                    return;
                }
            }
        })?;
        Ok(())
    }

    fn attend(&mut self) -> io::Result<()> {
        let patience = [self.control.patience(), self.vnc.patience()].into_iter().flatten().min();
        let timeout = patience.and_then(|limit| Timespec::try_from(limit).ok());
        let mut waits = [PollFd::new(&self.signals, PollFlags::IN), self.control.interest(), self.vnc.interest()];
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [signal, control, vnc] = waits.map(|wait| !wait.revents().is_empty());
        if signal && let Some(signal) = self.signals.arrived() {
            self.driver.send(Request::Terminate { signal });
        }
        if control && let Some(client) = self.control.accept() {
            report(self.control_server.serve(client), "a QMP client");
        }
        if vnc && let Some(viewer) = self.vnc.accept() {
            report(self.vnc_server.serve(viewer), "a viewer");
        }
        Ok(())
    }
}

fn report(served: io::Result<()>, who: &str) {
    if let Err(error) = served {
        tracing::warn!("{who} was turned away: {error}");
    }
}
