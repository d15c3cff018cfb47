use std::{net::SocketAddr, os::fd::RawFd};

use serde::{Deserialize, Serialize};

/// Where viewers on a network come in at first: a `lodge-gate` lets them in. But for `gate` this is for answers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListeningScreen {
    /// The socket whose other end the gate has. The worker only keeps it open, so that the gate ends with the worker.
    pub gate: RawFd,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether they need a password.
    pub has_password: bool,
    /// Whether they talk over TLS (VeNCrypt, or `wss`).
    pub tls: bool,
    /// Whether they speak RFB inside of a WebSocket.
    pub websocket: bool,
}
