//! Commands about the screen.

use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::fs::FileExt},
    time::Duration,
};

use rustix::fs::MemfdFlags;
use serde_json::{Value, json};

use super::{Client, ClientError, DEFAULT_TIMEOUT};
use crate::{
    qmp::{
        message::ErrorClass,
        types::{VncServerInfo, VncServers},
    },
    worker::launch::ListeningScreen,
};

/// How long a screenshot may take.
const SCREENSHOT_TIMEOUT: Duration = Duration::from_secs(20);

impl Client {
    /// Where viewers on a network come in because the guest's definition has it so (`query-vnc-servers`).
    pub async fn network_screen(&self) -> Result<Option<VncServerInfo>, ClientError> {
        let servers: Vec<VncServers> = self.query("query-vnc-servers", DEFAULT_TIMEOUT).await?;
        let network = servers.into_iter().find(|servers| servers.id == "network");
        Ok(network.and_then(|network| network.server.into_iter().next()))
    }

    /// Has viewers on a network come in through this gate, or through none, from now on (`x-lodge-set-network-screen`). Those that came
    /// through another are put out. `false`: the guest's worker is of an older Lodge, and nothing has changed.
    pub async fn show_on_network(&self, gate: Option<(OwnedFd, ListeningScreen)>) -> Result<bool, ClientError> {
        let Some((control, screen)) = gate else { return self.set_network_screen(json!({})).await };
        let handed = self.hand_over(control, None).await?;
        let ListeningScreen { address, has_password, tls, websocket, .. } = screen;
        let set = self
            .set_network_screen(json!({ "screen": {
                "gate": handed.name(), "address": address, "password": has_password, "tls": tls, "websocket": websocket,
            } }))
            .await;
        self.take_back(handed).await?;
        set
    }

    async fn set_network_screen(&self, arguments: Value) -> Result<bool, ClientError> {
        match self.execute("x-lodge-set-network-screen", arguments).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { class: ErrorClass::CommandNotFound, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The screen as a PNG file's bytes. The worker opens nothing by name, so it is handed memory to write to.
    pub async fn screenshot(&self) -> Result<Vec<u8>, ClientError> {
        let memory = rustix::fs::memfd_create("screenshot", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
        let file = File::from(memory);
        let theirs = OwnedFd::from(file.try_clone()?);
        let handed = self.hand_over(theirs, None).await?;
        let arguments = json!({ "filename": handed.name(), "format": "png" });
        let dumped = self.execute_within("screendump", arguments, SCREENSHOT_TIMEOUT).await;
        dumped.and(self.take_back(handed).await)?;
        let mut picture = Vec::new();
        // From the beginning: the offset is shared with the worker, who has written.
        Whole { file: &file, at: 0 }.read_to_end(&mut picture)?;
        Ok(picture)
    }
}

/// Reads a file from its beginning, whatever its offset.
struct Whole<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}
