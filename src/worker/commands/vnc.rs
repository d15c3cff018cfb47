//! `query-vnc`, `query-vnc-servers` and `x-lodge-set-network-screen`, and what events tell of viewers.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    sync::PoisonError,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Driver, Error, Session, answer, no_arguments, nothing};
use crate::{
    qmp::{
        arguments,
        types::{VncClientInfo, VncInfo, VncServerInfo, VncServers},
    },
    worker::{
        guest::{Guest, Listening},
        launch::ListeningScreen,
    },
};

pub(super) fn query_vnc(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    answer(VncInfo {
        enabled: true,
        auth: "none".to_owned(),
        family: "unix".to_owned(),
        service: driver.guest().vnc_socket.to_string_lossy().into_owned(),
        host: String::new(),
        clients: clients(driver),
    })
}

pub(super) fn query_vnc_servers(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let own = own_server(driver.guest());
    let mut servers = vec![VncServers {
        id: "default".to_owned(),
        auth: own.auth.clone(),
        vencrypt: None,
        server: vec![own],
        clients: clients(driver),
    }];
    let listening = driver.guest().listening.lock().unwrap_or_else(PoisonError::into_inner);
    servers.extend(listening.as_ref().map(|listening| {
        let server = network_server(listening.screen);
        let (auth, vencrypt) = (server.auth.clone(), server.vencrypt.clone());
        // They come through the gate, and are among those of the socket.
        VncServers { id: "network".to_owned(), auth, vencrypt, server: vec![server], clients: Vec::new() }
    }));
    answer(servers)
}

/// The arguments of `x-lodge-set-network-screen`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowArguments {
    /// Nobody comes in any more when it is left out.
    screen: Option<ShownScreen>,
}

/// Where viewers on a network come in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownScreen {
    /// The set of the socket whose other end a `lodge-gate` has: that ends when this is closed.
    gate: String,
    address: SocketAddr,
    password: bool,
    tls: bool,
    websocket: bool,
}

/// Has another gate let viewers in, or none. Those that came through the one before are put out.
pub(super) fn set_network_screen(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let ShowArguments { screen } = arguments::parse(arguments)?;
    let listening = match screen {
        None => None,
        Some(ShownScreen { gate, address, password, tls, websocket }) => {
            let gate = OwnedFd::from(session.fd_sets().open(&gate, "use lodgectl edit")?);
            let screen = ListeningScreen { gate: gate.as_raw_fd(), address, has_password: password, tls, websocket };
            Some(Listening { screen, gate })
        }
    };
    session.driver().call(move |driver| {
        *driver.guest().listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
        nothing()
    })
}

fn clients(driver: &Driver) -> Vec<VncClientInfo> {
    driver.viewers.iter().map(|&viewer| viewer_info(viewer)).collect()
}

fn own_server(guest: &Guest) -> VncServerInfo {
    VncServerInfo {
        host: String::new(),
        service: guest.vnc_socket.to_string_lossy().into_owned(),
        family: "unix".to_owned(),
        websocket: false,
        auth: "none".to_owned(),
        vencrypt: None,
    }
}

fn network_server(ListeningScreen { address, has_password, tls, websocket, .. }: ListeningScreen) -> VncServerInfo {
    // TLS is around the WebSocket, not inside of it.
    let is_vencrypt = tls && !websocket;
    VncServerInfo {
        host: address.ip().to_string(),
        service: address.port().to_string(),
        family: if address.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
        websocket,
        auth: match (is_vencrypt, has_password) {
            (true, _) => "vencrypt",
            (false, true) => "vnc",
            (false, false) => "none",
        }
        .to_owned(),
        vencrypt: is_vencrypt.then(|| if has_password { "x509-vnc" } else { "x509-none" }.to_owned()),
    }
}

fn viewer_info(viewer: u64) -> VncClientInfo {
    VncClientInfo { host: String::new(), service: viewer.to_string(), family: "unix".to_owned(), websocket: false }
}

/// The data of the events about viewers (`VNC_CONNECTED` and so on).
pub fn viewer_event_data(guest: &Guest, viewer: u64) -> Value {
    json!({ "server": own_server(guest), "client": viewer_info(viewer) })
}
