//! Starting those who carry the frames of network cards: a `lodge-nat` for each card with address translation, a `lodge-switch` for
//! each one on an isolated network.

#![forbid(unsafe_code)]

use std::{
    fs::{DirBuilder, File},
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::fs::DirBuilderExt,
    },
    path::Path,
};

use serde::Serialize;

use super::{
    companions::{Companion, pair},
    launch::Inherited,
};
use crate::{
    manager::{
        definition::{Definition, NetworkDefinition, NetworkKind},
        paths::Paths,
    },
    nat, switch,
    worker::launch::NetworkModel,
};

/// The programs, beside the worker's.
const TRANSLATOR: &str = "lodge-nat";
const SWITCH: &str = "lodge-switch";

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
) -> io::Result<(Ends, Companion)> {
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
) -> io::Result<(Ends, Companion)> {
    let ((feed, its_feed), (control, its_control), (ready, its_ready)) = (pair()?, pair()?, pair()?);
    let [feed_fd, control_fd, ready_fd] = [its_feed, its_control, its_ready].map(|socket| inherited.add(socket));
    let launch = launch(Numbers { feed: feed_fd, control: control_fd, ready: ready_fd });
    inherited.add_description(&serde_json::to_vec(&launch)?)?;
    let field = format!("network[{index}]");
    Ok((Ends { feed, control }, Companion { field, program, inherited, ready }))
}

/// Opens a folder of this user's alone, and makes it when it is not there.
fn open_folder(path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    File::open(path)
}
