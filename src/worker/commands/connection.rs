//! Commands for what the network cards are connected to: `x-lodge-query-networks`, `x-lodge-network-forward-add` and `-remove`. A translator
//! may have to begin anew, so they run in the client's thread.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, Session, answer, no_arguments};
use crate::{
    nat::{Forward, Isolated, State, Task, localhost},
    qmp::{
        arguments,
        message::ErrorClass,
        types::{ConnectionInfo, Forward as QmpForward, IsolatedInfo},
    },
    worker::connections::Connected,
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
    let infos = session.connections().all().into_iter().map(|(id, connected)| {
        let state = connected.ask(Task::Query);
        info(&id, &connected, state)
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
    let not_found =
        || Error { class: ErrorClass::DeviceNotFound, desc: format!("Device '{id}' has no address translation") };
    let connected = session.connections().find(id).ok_or_else(not_found)?;
    let state = connected.ask(task(forward)).ok_or_else(not_found)?.map_err(Error::generic)?;
    answer(info(id, &connected, Some(Ok(state))))
}

/// What a card is connected to, and what those who carry its frames say of it.
fn info(id: &str, connected: &Connected, state: Option<Result<State, String>>) -> ConnectionInfo {
    let Connected { source, interface, .. } = connected;
    let info = ConnectionInfo {
        id: id.to_owned(),
        source: source.clone(),
        interface: interface.clone(),
        backend: if interface.is_some() { "tap" } else { "none" }.to_owned(),
        problem: None,
        forwards: Vec::new(),
        restarted: false,
        isolated: None,
    };
    match state {
        None => info,
        Some(Err(problem)) => ConnectionInfo { problem: Some(problem), ..info },
        Some(Ok(state)) => ConnectionInfo {
            backend: state.carrier.name().to_owned(),
            problem: state.problem,
            forwards: state.forwards.into_iter().map(forward_info).collect(),
            restarted: state.restarted,
            isolated: state.isolated.map(isolated_info),
            ..info
        },
    }
}

fn forward_info(forward: Forward) -> QmpForward {
    QmpForward {
        protocol: forward.protocol.name().to_owned(),
        address: forward.address.to_string(),
        port: forward.port,
        guest_port: forward.guest_port,
    }
}

fn isolated_info(isolated: Isolated) -> IsolatedInfo {
    IsolatedInfo {
        network: isolated.network,
        cards: isolated.cards,
        dhcp: isolated.dhcp.map(|subnet| subnet.to_string()),
        address: isolated.address.map(|address| address.to_string()),
    }
}
