//! Starting those who translate addresses: a `lodge-nat` for each network card of that kind, before the worker. It ends with the
//! worker, as the worker's end of its sockets is then closed.

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
use tokio::task::spawn_blocking;

use super::launch::{self, Inherited};
use crate::{
    manager::definition::{Definition, NetworkDefinition, Problem},
    nat::{LAUNCH_VERSION, Launch, Reply, read_message},
    worker::launch::Connection,
};

/// The program, beside the worker's.
const PROGRAM: &str = "lodge-nat";
/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where programs are looked for when nothing is said about it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One that is ready to be started.
pub(super) struct Translator {
    index: usize,
    inherited: Inherited,
    ready: OwnedFd,
}

/// Prepares that of card number `index`, and the worker's ends of its sockets.
pub(super) fn prepare(
    definition: &Definition,
    index: usize,
    network: &NetworkDefinition,
    inherited: &mut Inherited,
) -> io::Result<(Connection, Translator)> {
    let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let ((feed, its_feed), (control, its_control), (ready, its_ready)) = (pair()?, pair()?, pair()?);
    let mut its = Inherited::default();
    let launch = Launch {
        version: LAUNCH_VERSION,
        guest: definition.name.clone(),
        card: format!("net{index}"),
        mac: network.mac_bytes().unwrap_or_default(),
        backend: network.backend,
        forwards: network.forwards.clone(),
        feed: its.add(its_feed),
        control: its.add(its_control),
        ready: its.add(its_ready),
    };
    its.add_description(&serde_json::to_vec(&launch)?)?;
    let connection = Connection::Nat { feed: inherited.add(feed), control: inherited.add(control) };
    Ok((connection, Translator { index, inherited: its, ready }))
}

impl Translator {
    /// Starts it, and waits until it is ready. What it and its helpers have to say goes into the guest's log.
    pub async fn start(self, worker: &Path, log: File) -> Result<(), Problem> {
        let field = format!("network[{}]", self.index);
        let failed = |error: io::Error| {
            let message =
                format!("{PROGRAM} does not start: {error}. Look at the guest's log, and install Lodge again");
            Problem::new(&*field, message)
        };
        let mut command = launch::command(&worker.with_file_name(PROGRAM), self.inherited).map_err(failed)?;
        command.stderr(log).env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()));
        let mut child = command.spawn().map_err(failed)?;
        // With its sockets' ends: only it has them now.
        drop(command);
        // A child that has ended stays in the process table until its parent has asked for it.
        tokio::spawn(async move { child.wait().await });
        let ready = self.ready;
        let reply = spawn_blocking(move || read_message::<Reply>(&ready, Some(Instant::now() + PATIENCE))).await;
        match reply.map_err(io::Error::other).and_then(|reply| reply) {
            Ok(Reply { result: Ok(_), .. }) => Ok(()),
            Ok(Reply { result: Err(message), .. }) => Err(Problem::new(field, message)),
            Err(error) => Err(failed(error)),
        }
    }
}
