//! Programs of Lodge's that go with a guest's worker: they are started before it, and end with it, as its ends of their sockets are
//! closed then.

#![forbid(unsafe_code)]

use std::{
    env,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::de::IgnoredAny;
use tokio::task::spawn_blocking;

use super::launch::{self, Inherited};
use crate::{
    manager::definition::Problem,
    nat::{Reply, read_message},
    system_error::words,
};

/// How long one may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where programs are looked for when nothing is said about it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One that is ready to be started.
pub(super) struct Companion {
    /// What of the definition it is for.
    pub field: String,
    /// Its program, beside the worker's.
    pub program: &'static str,
    /// What it has, with its launch description.
    pub inherited: Inherited,
    /// The other end of the socket by which it says that it is ready.
    pub ready: OwnedFd,
}

/// Two ends of a socket of messages.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Companion {
    /// Starts it, and waits until it is ready. What it and its helpers have to say goes into the guest's log.
    pub async fn start(self, worker: &Path, log: File) -> Result<(), Problem> {
        let (field, program) = (self.field, self.program);
        let failed = |error: io::Error| {
            let message = format!(
                "{program} does not start: {}. Look at the guest's log, and install Lodge again",
                words(&error)
            );
            Problem::new(&*field, message)
        };
        let mut command = launch::command(&worker.with_file_name(program), self.inherited).map_err(failed)?;
        command.stderr(log).env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()));
        let mut child = command.spawn().map_err(failed)?;
        // With its sockets' ends: only it has them now.
        drop(command);
        // A child that has ended stays in the process table until its parent has asked for it.
        tokio::spawn(async move { child.wait().await });
        let (ready, deadline) = (self.ready, Instant::now() + PATIENCE);
        let reply = spawn_blocking(move || read_message::<Reply<IgnoredAny>>(&ready, Some(deadline))).await;
        match reply.map_err(io::Error::other).and_then(|reply| reply) {
            Ok(Reply { result: Ok(_), .. }) => Ok(()),
            Ok(Reply { result: Err(message), .. }) => Err(Problem::new(field, message)),
            Err(error) => Err(failed(error)),
        }
    }
}
