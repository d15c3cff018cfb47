//! What `lodge-gate` is told, which shows a guest's screen on a network from its start to its end: one JSON document, read from
//! file descriptor [`LAUNCH_FD`]. It opens nothing by name: files and sockets are named by their numbers.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

pub use crate::worker::launch::LAUNCH_FD;

/// The version of the description; supervisor and gate come from one package, so it must be equal.
pub const LAUNCH_VERSION: u32 = 1;

/// A gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// [`LAUNCH_VERSION`].
    pub version: u32,
    /// The guest's name.
    pub guest: String,
    /// What viewers must know.
    pub password: Option<String>,
    /// The certificate with its chain and its private key (PEM), for TLS.
    pub tls: Option<CertificateFiles>,
    /// Whether viewers speak RFB inside of a WebSocket.
    pub websocket: bool,
    /// Whether viewers only look.
    pub view_only: bool,
    /// The listening TCP socket, which does not block.
    pub listener: RawFd,
    /// The guest's runtime folder, where the screen's own socket is.
    pub folder: RawFd,
    /// A stream socket that does not block, whose other end the worker holds: the gate ends with it.
    pub control: RawFd,
    /// Where a [`Reply`](crate::nat::Reply) tells whoever has started it that it is ready, or why not.
    pub ready: RawFd,
}

/// The files of a [`Certificate`](crate::manager::certificate::Certificate), open for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: RawFd,
    /// Its private key.
    pub key: RawFd,
}
