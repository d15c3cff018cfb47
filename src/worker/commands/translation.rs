//! Commands for cards whose addresses are translated, or that are on an isolated network: `x-lodge-query-nat`, `x-lodge-network-forward-add` and `-remove`. A translator
//! may have to begin anew, so they run in the client's thread.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, Session, answer, no_arguments};
use crate::{
    nat::{Backend, Forward, State, Task, localhost},
    qmp::{
        arguments,
        message::ErrorClass,
        types::{Forward as QmpForward, IsolatedInfo, NatInfo},
    },
};

/// The arguments of both commands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ForwardArguments {
    /// The card.
    id: String,
    /// `tcp`, when left out, or `udp`.
    protocol: Option<String>,
    /// The host's address; 127.0.0.1 when left out.
    address: Option<String>,
    /// The host's port.
    port: u16,
    /// The guest's port; it does not matter when a forward is removed.
    guest_port: Option<u16>,
}

pub(super) fn query(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let infos = session.translators().states().map(|(id, state)| match state {
        Ok(state) => info(id, state),
        Err(problem) => NatInfo {
            id: id.to_owned(),
            backend: Backend::Auto.name().to_owned(),
            problem: Some(problem),
            forwards: Vec::new(),
            restarted: false,
            isolated: None,
        },
    });
    answer(infos.collect::<Vec<_>>())
}

pub(super) fn add(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let arguments: ForwardArguments = arguments::parse(arguments)?;
    let guest_port = arguments.guest_port.ok_or_else(|| Error::generic("Parameter 'guest-port' is missing"))?;
    change(session, &arguments, guest_port, Task::Add)
}

pub(super) fn remove(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let arguments: ForwardArguments = arguments::parse(arguments)?;
    change(session, &arguments, arguments.guest_port.unwrap_or(arguments.port), Task::Remove)
}

fn change(
    session: &Session,
    arguments: &ForwardArguments,
    guest_port: u16,
    task: fn(Forward) -> Task,
) -> Result<Value, Error> {
    let ForwardArguments { id, protocol, address, port, .. } = arguments;
    let protocol = protocol.as_deref().map_or_else(|| Ok(Default::default()), str::parse).map_err(Error::generic)?;
    let address = address.as_deref().map_or_else(|| Ok(localhost()), str::parse);
    let address = address.map_err(|_| Error::generic("Parameter 'address' expects an IP address"))?;
    if *port == 0 || guest_port == 0 {
        return Err(Error::generic("0 is no port. Choose 1 to 65535"));
    }
    let forward = Forward { protocol, address, port: *port, guest_port };
    let state = session.translators().ask(id, task(forward)).ok_or_else(|| Error {
        class: ErrorClass::DeviceNotFound,
        desc: format!("Device '{id}' has no address translation"),
    })?;
    answer(info(id, state.map_err(Error::generic)?))
}

fn info(id: &str, state: State) -> NatInfo {
    let forward = |forward: Forward| QmpForward {
        protocol: forward.protocol.name().to_owned(),
        address: forward.address.to_string(),
        port: forward.port,
        guest_port: forward.guest_port,
    };
    NatInfo {
        id: id.to_owned(),
        backend: state.carrier.name().to_owned(),
        problem: state.problem,
        forwards: state.forwards.into_iter().map(forward).collect(),
        restarted: state.restarted,
        isolated: state.isolated.map(|isolated| IsolatedInfo {
            network: isolated.network,
            cards: isolated.cards,
            dhcp: isolated.dhcp.map(|subnet| subnet.to_string()),
            address: isolated.address.map(|address| address.to_string()),
        }),
    }
}
