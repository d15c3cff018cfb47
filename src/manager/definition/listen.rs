//! How a definition says that its guest's screen is shown to viewers on a network, from the guest's start to its end. A change applies to
//! a running guest at once: viewers that are there are put out, and come in again as it says now.
//!
//! ```toml
//! [display.listen]
//! address = "0.0.0.0"      # all of this computer's; 127.0.0.1, which other computers do not reach, when left out
//! port = 5901              # 0 chooses a free one at each start and change
//! password = "vkq4xm7p"    # one to eight bytes
//! tls = true               # VeNCrypt with the user's own certificate
//! websocket = false        # for viewers in web browsers
//! view_only = false        # viewers' keys, pointers and clipboards go nowhere
//! ```

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Problem;
use crate::rfb::gate::Password;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenDefinition {
    /// The address of this computer that viewers come to.
    #[serde(default = "here")]
    pub address: IpAddr,
    /// The TCP port; 0 chooses a free one.
    #[serde(default)]
    pub port: u16,
    /// What viewers must know. Only those on this computer may come without.
    #[serde(default)]
    pub password: Option<String>,
    /// Whether all is encrypted.
    #[serde(default = "yes")]
    pub tls: bool,
    /// Whether viewers speak RFB inside of a WebSocket.
    #[serde(default)]
    pub websocket: bool,
    /// Whether viewers only look.
    #[serde(default)]
    pub view_only: bool,
}

fn here() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

fn yes() -> bool {
    true
}

impl ListenDefinition {
    /// For viewers at this address, over TLS and without a password yet.
    pub fn at(address: SocketAddr) -> Self {
        let (address, port) = (address.ip(), address.port());
        Self { address, port, password: None, tls: true, websocket: false, view_only: false }
    }

    /// Where viewers come in.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        let wrong = match &self.password {
            Some(password) => Password::new(password).err().map(|error| format!("{error}. Choose another password")),
            None if self.address.to_canonical().is_loopback() => None,
            None => {
                Some("viewers on other computers need a password. Write one, or address = \"127.0.0.1\"".to_owned())
            }
        };
        problems.extend(wrong.map(|message| Problem::new("display.listen.password", message)));
    }

    pub(super) fn warn(&self, warnings: &mut Vec<Problem>) {
        if !self.tls && !self.address.to_canonical().is_loopback() {
            let message = "others on the network can see what viewers see and type, and find the password out. \
                Write tls = true, unless viewers cannot do that";
            warnings.push(Problem::new("display.listen.tls", message));
        }
    }
}
