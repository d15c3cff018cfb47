//! A guest's screen on a network: viewers that come over TCP are let in by a [`gate`](crate::rfb::gate) and relayed to the
//! guest's own socket. A [`NetworkScreen`] ends with the program that opened it. Where the definition says that the screen is shown,
//! `lodge-gate` does it from the guest's start to its end; [`launch`] is what it is told.

#![forbid(unsafe_code)]

pub mod launch;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use super::{
    certificate::{Certificate, CertificateError},
    client::Client,
    definition::Definition,
    paths::{Paths, RunningPaths},
    socket,
};
use crate::{
    rfb::gate::{Gate, GateError, Password, Rules},
    system_error::not_listening,
};

/// More viewers than anybody has; those that still log in count, too.
const MAX_VIEWERS: usize = 64;
/// How long nobody is taken after one could not be.
const RECOVERY: Duration = Duration::from_millis(200);

/// Why a screen is not shown.
#[derive(Debug, thiserror::Error)]
pub enum NetworkScreenError {
    /// The address cannot be listened at.
    #[error("{}", not_listening(*.0, .1))]
    Listen(SocketAddr, io::Error),
    /// There is no certificate for TLS.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Who may see a screen, and how.
#[derive(Clone)]
pub struct Showing {
    /// Whether viewers may come from other computers too.
    pub to_others: bool,
    /// Where they come in; 0 chooses a free port.
    pub port: u16,
    /// What they must know.
    pub password: Password,
    /// Whether all is encrypted, with the user's own certificate.
    pub tls: bool,
    /// Whether their keys, pointer and clipboard go nowhere.
    pub view_only: bool,
}

/// What happens to viewers.
#[derive(Debug)]
pub enum ViewerTrouble {
    /// One could not be taken.
    NotTaken(io::Error),
    /// One was not let in, or has gone.
    Gone(SocketAddr, GateError),
}

/// A screen that is shown, until this is dropped.
#[derive(Debug)]
pub struct NetworkScreen {
    /// Where viewers come in.
    pub address: SocketAddr,
    /// By what they know this computer, where they come over TLS.
    pub fingerprint: Option<String>,
    task: AbortHandle,
}

impl NetworkScreen {
    /// Shows the screen of the guest that runs in a folder. Must be called within a tokio runtime.
    pub async fn open(paths: &Paths, running: RunningPaths, showing: Showing) -> Result<Self, NetworkScreenError> {
        let certificate = showing.tls.then(|| Certificate::own(paths)).transpose()?;
        let fingerprint = certificate.as_ref().map(Certificate::fingerprint).transpose()?;
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
        let rules = Rules { password: Some(showing.password), tls, websocket: false, view_only: showing.view_only };
        let host = if showing.to_others { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let address = SocketAddr::new(IpAddr::V4(host), showing.port);
        let listen = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen.await.map_err(|error| NetworkScreenError::Listen(address, error))?;
        let serving = admit_all(listener, Gate::new(rules), running.vnc(), |trouble| match trouble {
            ViewerTrouble::NotTaken(error) => tracing::warn!(%error, "a viewer could not be served"),
            ViewerTrouble::Gone(address, error) => tracing::info!(%address, %error, "a viewer has gone"),
        });
        Ok(Self { address, fingerprint, task: tokio::spawn(serving).abort_handle() })
    }
}

impl Drop for NetworkScreen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where viewers on a network come in because a guest's definition has it so.
#[derive(Debug)]
pub struct Listening {
    /// The address.
    pub address: Option<SocketAddr>,
    /// What they must know.
    pub password: Option<String>,
    /// The certificate that they may have, and by what they know it, where they come over TLS.
    pub certificate: Option<(Certificate, String)>,
}

impl Listening {
    /// Asks the running guest of `definition`. `None`: its screen is not shown, or not by its definition.
    pub async fn ask(
        client: &Client,
        paths: &Paths,
        definition: &Definition,
    ) -> Result<Option<Self>, CertificateError> {
        // A worker that an older Lodge has started does not know the question.
        let Some(server) = client.network_screen().await.unwrap_or_default() else { return Ok(None) };
        let address = server.host.parse::<IpAddr>().ok().zip(server.service.parse().ok());
        let listen = definition.display.listen.as_ref().filter(|_| server.auth != "none");
        let certificate = match server.vencrypt {
            Some(_) => {
                let own = Certificate::own(paths)?;
                let fingerprint = own.fingerprint()?;
                Some((own, fingerprint))
            }
            None => None,
        };
        Ok(Some(Self {
            address: address.map(SocketAddr::from),
            password: listen.and_then(|listen| listen.password.clone()),
            certificate,
        }))
    }
}

/// Serves every viewer that comes from the socket `screen`, and tells what happens to them. Those that are there end with it.
pub async fn admit_all(
    listener: TcpListener,
    gate: Gate,
    screen: PathBuf,
    told: impl Fn(ViewerTrouble) + Clone + Send + 'static,
) {
    let gate = Arc::new(gate);
    let mut viewers = JoinSet::new();
    loop {
        let (viewer, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The next viewer may have more luck; this one has gone.
            Err(error) => {
                told(ViewerTrouble::NotTaken(error));
                tokio::time::sleep(RECOVERY).await;
                continue;
            }
        };
        while viewers.try_join_next().is_some() {}
        if viewers.len() >= MAX_VIEWERS {
            continue;
        }
        let (gate, screen, told) = (Arc::clone(&gate), screen.clone(), told.clone());
        viewers.spawn(async move {
            if let Err(error) = admit(viewer, address, &gate, &screen).await {
                told(ViewerTrouble::Gone(address, error));
            }
        });
    }
}

async fn admit(viewer: TcpStream, address: SocketAddr, gate: &Gate, screen: &Path) -> Result<(), GateError> {
    viewer.set_nodelay(true)?;
    gate.serve(viewer, address.ip(), socket::connect_async(screen)).await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn viewers_come_in_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        paths.create().unwrap();
        let running = paths.running(uuid::Uuid::nil());
        let password = Password::new("secret").unwrap();
        let showing = Showing { to_others: false, port: 0, password, tls: true, view_only: false };

        let screen = NetworkScreen::open(&paths, running.clone(), showing.clone()).await.unwrap();
        let mut viewer = TcpStream::connect(screen.address).await.unwrap();
        let mut greeting = [0; 12];
        viewer.read_exact(&mut greeting).await.unwrap();
        let taken = Showing { port: screen.address.port(), ..showing };
        let refused = NetworkScreen::open(&paths, running, taken).await.unwrap_err();

        assert!(screen.address.ip().is_loopback());
        assert_eq!(screen.fingerprint.as_ref().map(String::len), Some(95), "{:?}", screen.fingerprint);
        assert_eq!(&greeting, b"RFB 003.008\n");
        assert!(matches!(refused, NetworkScreenError::Listen(..)), "{refused}");
        drop(screen);
        assert_eq!(viewer.read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);
    }
}
