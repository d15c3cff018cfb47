//! Commands for what the network cards are connected to: `x-lodge-query-networks`, `x-lodge-network-attach`,
//! `x-lodge-network-forward-add` and `-remove`. A translator
//! may have to begin anew, so they run in the client's thread.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, Session, answer, network, no_arguments, nothing};
use crate::{
    nat::{Control, Forward, Isolated, State, Task, localhost},
    qmp::{
        arguments,
        message::ErrorClass,
        types::{ConnectionInfo, Forward as QmpForward, IsolatedInfo},
    },
    switch,
    vmm::machine::Connection,
    worker::connections::Connected,
};

/// How long the cable is out when a card is switched to another network: when it is in again, guests ask for an address.
const REPLUG: Duration = Duration::from_secs(1);

/// The arguments of both commands about forwards.
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

/// The arguments of `x-lodge-network-attach`. The file descriptors are named by their sets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AttachArguments {
    /// The card.
    id: String,
    /// What it is to be connected to, in words.
    source: String,
    /// The name of the TAP interface.
    interface: Option<String>,
    /// The queues of a TAP interface.
    #[serde(default)]
    queues: Vec<String>,
    /// Where streams come from who carries the frames.
    feed: Option<String>,
    /// Where that takes requests.
    control: Option<String>,
}

/// Switches a card to another network.
pub(super) fn attach(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let AttachArguments { id, source, interface, queues, feed, control } = arguments::parse(arguments)?;
    let open = |name: &String| session.fd_sets().open(name, "use lodgectl network attach");
    let mut connected = Connected { source, interface, control: None };
    let connection = match (&feed, &control, &queues[..]) {
        (None, None, []) => Connection::Nothing,
        (None, None, queues) => Connection::Tap(queues.iter().map(open).collect::<Result<_, _>>()?),
        (Some(feed), Some(control), []) => {
            connected.control = Some(Control::new(open(control)?.into()));
            Connection::Stream { feed: open(feed)?.into(), mtu: switch::MTU }
        }
        _ => return Err(Error::generic("Expected 'queues', or 'feed' and 'control', or none of them")),
    };
    let is_connected = !matches!(connection, Connection::Nothing);
    let failed = |error| Error::generic(format!("'{}' cannot be used: {error}", connected.source));
    let backends = connection.open().map_err(failed)?;
    let name = id.clone();
    let card = session.driver().call(move |driver| {
        let card = network::find(driver, &name)?;
        if !card.exchange(backends) {
            return Err(Error::generic(format!("Device '{name}' has another number of queues")));
        }
        card.set_link(false);
        Ok(card)
    })?;
    session.connections().set(&id, connected);
    if is_connected {
        std::thread::sleep(REPLUG);
        card.set_link(true);
    }
    nothing()
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
