//! Where the screen is shown, and to whom.

use serde::{Deserialize, Serialize};

/// The answer to `query-vnc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VncInfo {
    /// Whether there is a server.
    pub enabled: bool,
    /// How viewers prove who they are: `none` on a Unix socket, whose folder only its owner can enter.
    pub auth: String,
    /// Always `unix`.
    pub family: String,
    /// The socket's path.
    pub service: String,
    /// Empty for a Unix socket.
    pub host: String,
    /// Who looks.
    pub clients: Vec<VncClientInfo>,
}

/// A viewer in the answer to `query-vnc`, and in the events about viewers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VncClientInfo {
    /// Empty for a Unix socket.
    pub host: String,
    /// The viewer's number; a Unix socket has no port.
    pub service: String,
    /// Always `unix`.
    pub family: String,
    /// Always false.
    pub websocket: bool,
}

/// An element of the answer to `query-vnc-servers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VncServers {
    /// `default` for the guest's own socket, `network` for what its definition opens to a network.
    pub id: String,
    /// Where viewers come in.
    pub server: Vec<VncServerInfo>,
    /// Who looks.
    pub clients: Vec<VncClientInfo>,
    /// How viewers prove who they are.
    pub auth: String,
    /// How within TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vencrypt: Option<String>,
}

/// A place where viewers come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VncServerInfo {
    /// The address; empty for a Unix socket.
    pub host: String,
    /// The port, or the socket's path.
    pub service: String,
    /// `ipv4`, `ipv6` or `unix`.
    pub family: String,
    /// Whether viewers speak RFB inside of a WebSocket.
    pub websocket: bool,
    /// `none`, `vnc` for a password, `vencrypt` for TLS.
    pub auth: String,
    /// Within TLS: `x509-vnc` or `x509-none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vencrypt: Option<String>,
}
