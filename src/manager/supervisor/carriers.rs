//! Starting those who carry the frames of network cards, before the worker: a `lodge-nat` for each card with address
//! translation, a `lodge-switch` for each one on an isolated network. They end with the worker, as the worker's end of their
//! sockets is then closed.

#![forbid(unsafe_code)]

use std::{
    env,
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::fs::DirBuilderExt,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::launch::{self, Inherited};
use crate::{
    manager::{
        definition::{Definition, NetworkDefinition, NetworkKind, Problem},
        paths::Paths,
    },
    nat::{self, Reply, read_message},
    switch,
    worker::launch::NetworkModel,
};

/// The programs, beside the worker's.
const TRANSLATOR: &str = "lodge-nat";
const SWITCH: &str = "lodge-switch";
/// How long one may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where programs are looked for when nothing is said about it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One that is ready to be started.
pub(super) struct Carrier {
    index: usize,
    program: &'static str,
    inherited: Inherited,
    ready: OwnedFd,
}

/// The ends of sockets that belong to the worker.
pub(super) struct Ends {
    pub feed: OwnedFd,
    pub control: OwnedFd,
}

/// Those that belong to the carrier, by number.
struct Numbers {
    feed: RawFd,
    control: RawFd,
    ready: RawFd,
}

/// The longest packet that a card of this model takes from a translator. One that is booted from takes usual ones only: iPXE has a
/// buffer of the longest packet for each place in the queue, and not that much memory.
pub(super) fn translated_mtu(model: NetworkModel, is_booted_from: bool) -> u16 {
    match model {
        NetworkModel::Virtio if !is_booted_from => nat::MTU,
        _ => nat::USUAL_MTU,
    }
}

/// Prepares the carrier of card number `index`, whose packets may have `mtu` bytes if it is a translator.
pub(super) fn prepare(
    paths: &Paths,
    definition: &Definition,
    index: usize,
    network: &NetworkDefinition,
    mtu: u16,
) -> io::Result<(Ends, Carrier)> {
    let (guest, card) = (definition.name.clone(), format!("net{index}"));
    let mac = network.mac_bytes().unwrap_or_default();
    let mut its = Inherited::default();
    match network.kind {
        NetworkKind::Isolated => {
            let name = network.network.clone().unwrap_or_default();
            let (folder, dhcp) = (its.add(open_folder(&paths.networks())?), network.dhcp);
            let launch = |Numbers { feed, control, ready }| switch::Launch {
                version: switch::LAUNCH_VERSION,
                network: name,
                role: switch::Role::Keeper(switch::Keeper {
                    member: switch::Member { guest, card, mac, dhcp },
                    folder,
                    feed,
                    control,
                    ready,
                }),
            };
            connect(index, SWITCH, its, launch)
        }
        _ => {
            let (backend, forwards) = (network.backend, network.forwards.clone());
            let version = nat::LAUNCH_VERSION;
            let boot = nat::BootServer { bootfile: network.bootfile.clone(), folder: network.tftp.clone() };
            let launch = |Numbers { feed, control, ready }| nat::Launch {
                version,
                guest,
                card,
                mac,
                mtu,
                backend,
                forwards,
                boot,
                feed,
                control,
                ready,
            };
            connect(index, TRANSLATOR, its, launch)
        }
    }
}

/// Makes the sockets between worker and carrier, and what the carrier is told of them.
fn connect<T: Serialize>(
    index: usize,
    program: &'static str,
    mut inherited: Inherited,
    launch: impl FnOnce(Numbers) -> T,
) -> io::Result<(Ends, Carrier)> {
    let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let ((feed, its_feed), (control, its_control), (ready, its_ready)) = (pair()?, pair()?, pair()?);
    let [feed_fd, control_fd, ready_fd] = [its_feed, its_control, its_ready].map(|socket| inherited.add(socket));
    let launch = launch(Numbers { feed: feed_fd, control: control_fd, ready: ready_fd });
    inherited.add_description(&serde_json::to_vec(&launch)?)?;
    Ok((Ends { feed, control }, Carrier { index, program, inherited, ready }))
}

/// Opens a folder of this user's alone, and makes it when it is not there.
fn open_folder(path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    File::open(path)
}

impl Carrier {
    /// Starts it, and waits until it is ready. What it and its helpers have to say goes into the guest's log.
    pub async fn start(self, worker: &Path, log: File) -> Result<(), Problem> {
        let (field, program) = (format!("network[{}]", self.index), self.program);
        let failed = |error: io::Error| {
            let message =
                format!("{program} does not start: {error}. Look at the guest's log, and install Lodge again");
            Problem::new(&*field, message)
        };
        let mut command = launch::command(&worker.with_file_name(program), self.inherited).map_err(failed)?;
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
