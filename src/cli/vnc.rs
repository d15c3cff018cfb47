//! `lodgectl vnc`: where a viewer finds the screen, and a relay for viewers that know only TCP.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};

use super::{CliError, Result, context::Context, error};
use crate::manager::{paths::RunningPaths, socket};

#[derive(Debug, Args)]
pub(super) struct Vnc {
    /// The guest
    name: String,
    /// Relay this port of this computer to the screen until Ctrl+C; 0 chooses a free one. Everybody who is logged in to this
    /// computer can then see and drive the guest
    #[arg(long, value_name = "PORT")]
    listen: Option<u16>,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Place {
    socket: String,
    /// The relay's.
    address: Option<SocketAddr>,
}

impl Vnc {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let uuid = context.library().load(&guest.name)?.definition.uuid;
        let running = context.paths().running(uuid);
        let socket = running.vnc().display().to_string();
        let Some(port) = self.listen else {
            let place = Place { socket, address: None };
            return if self.json { context.output.json(&place) } else { context.output.line(place.socket) };
        };
        let bind = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind.await.map_err(CliError::io(format!("port {port}"), "Choose another one"))?;
        if self.json {
            context.output.json_line(&Place { socket, address: Some(address) })?;
        } else {
            context.output.line(format!("{address}"))?;
        }
        tokio::select! {
            () = guest.client.closed() => Ok(()),
            () = relay_all(listener, running) => Ok(()),
        }
    }
}

/// Serves every viewer that comes.
async fn relay_all(listener: TcpListener, running: RunningPaths) {
    loop {
        match listener.accept().await {
            Ok((viewer, _)) => {
                tokio::spawn(relay(viewer, running.clone()));
            }
            // The next viewer may have more luck; this one has gone.
            Err(error) => error::say("warning", format!("a viewer could not be served: {error}")),
        }
    }
}

async fn relay(mut viewer: TcpStream, running: RunningPaths) {
    let relayed = async {
        viewer.set_nodelay(true)?;
        let mut screen = socket::connect_async(&running.vnc()).await?;
        tokio::io::copy_bidirectional(&mut viewer, &mut screen).await
    };
    if let Err(error) = relayed.await {
        tracing::debug!("a viewer has gone: {error}");
    }
}
