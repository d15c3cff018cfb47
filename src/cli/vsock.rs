//! `lodgectl vsock`: standard input and output become a connection to a program in the guest, without any network. So
//! `ssh -o ProxyCommand="lodgectl vsock %h 22" root@NAME` reaches a guest that has no card.

use std::{io, time::Duration};

use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time,
};

use super::{CliError, Result, console, context::Context};
use crate::manager::socket;

/// How long the guest may take to accept or refuse.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are moved at once.
const CHUNK: usize = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct Vsock {
    /// The guest
    name: String,
    /// The port that a program in the guest listens at
    port: u32,
}

impl Vsock {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let (name, port) = (&guest.name, self.port);
        let definition = context.library().load(name)?.definition;
        if definition.devices.vsock.is_none() {
            return Err(CliError::Other(format!(
                "\"{name}\" has no vsock. Write \"vsock = 3\" below [devices] with \"lodgectl edit {name}\" and start it again"
            )));
        }
        let path = context.paths().running(definition.uuid).vsock();
        let mend = "It may not have had it when it started: start it again";
        let mut stream =
            socket::connect_async(&path).await.map_err(CliError::io(format!("the vsock of \"{name}\""), mend))?;
        match time::timeout(PATIENCE, greet(&mut stream, port)).await {
            Ok(Ok(())) => relay(context, stream).await,
            Ok(Err(_)) => Err(CliError::Other(format!(
                "nobody in \"{name}\" listens at port {port} of vsock. Start the program there, or choose another port"
            ))),
            Err(_) => Err(CliError::Other(format!(
                "\"{name}\" does not answer by vsock. Wait until its system is up, or load its driver for virtio-vsock"
            ))),
        }
    }
}

/// Asks for a connection. What follows the answer belongs to the guest's program.
async fn greet(stream: &mut UnixStream, port: u32) -> io::Result<()> {
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
    while stream.read_u8().await? != b'\n' {}
    Ok(())
}

/// Moves bytes until the guest's program has closed its end. The end of the input is handed on.
async fn relay(context: &Context, stream: UnixStream) -> Result {
    let (mut from_guest, to_guest) = stream.into_split();
    let mut to_guest = Some(to_guest);
    let mut input = console::read_stdin();
    let mut buffer = vec![0; CHUNK];
    loop {
        tokio::select! {
            bytes = input.recv(), if to_guest.is_some() => {
                let written = match (&mut to_guest, bytes) {
                    (Some(writer), Some(bytes)) => writer.write_all(&bytes).await.is_ok(),
                    _ => false,
                };
                if !written {
                    // Dropped, it is shut down.
                    to_guest = None;
                }
            }
            length = from_guest.read(&mut buffer) => match length {
                Ok(length) if length > 0 => context.output.bytes(buffer.get(..length).unwrap_or_default())?,
                _ => return Ok(()),
            },
        }
    }
}
