//! `lodgectl vnc`: where a viewer finds the screen, and a gate for viewers that come over TCP.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;

use super::{CliError, Result, context::Context, error};
use crate::{
    manager::{
        certificate::Certificate,
        client::Client,
        definition::Definition,
        network_screen::{Listening, ViewerTrouble, admit_all},
        paths::Paths,
    },
    rfb::gate::{Gate, Password, Rules},
    system_error::{not_listening, words},
};

/// A password file is not longer, in bytes: a password and the end of its line.
const PASSWORD_FILE: u64 = 64;

#[derive(Debug, Args)]
pub(super) struct Vnc {
    /// The guest
    name: String,
    /// Let viewers in by TCP until Ctrl+C or the guest's end. Without an address only those on this computer; port 0 chooses a
    /// free one
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    listen: Option<Listen>,
    #[command(flatten)]
    gate: GateOptions,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct GateOptions {
    /// The first line of this file, at most 8 bytes, is the password; "-" is the standard input. Without it a new one is made
    /// and written
    #[arg(long, value_name = "FILE", requires = "listen")]
    password_file: Option<PathBuf>,
    /// Ask for no password: everybody who is logged in to this computer can see and drive the guest
    #[arg(long, requires = "listen", conflicts_with = "password_file")]
    no_password: bool,
    /// Encrypt with TLS, as is always done for viewers on other computers. Without --certificate with a certificate of your own,
    /// which is made the first time
    #[arg(long, requires = "listen")]
    tls: bool,
    /// The certificate for TLS, with those that vouch for it (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["listen", "key"])]
    certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Encrypt nothing, though viewers come from other computers: others on the network can see what they see and type
    #[arg(long, requires = "listen", conflicts_with_all = ["tls", "certificate"])]
    no_tls: bool,
    /// For viewers in web browsers, as noVNC: RFB inside of a WebSocket
    #[arg(long, requires = "listen")]
    websocket: bool,
    /// Viewers see the screen, and their keys, pointer and clipboard go nowhere
    #[arg(long, requires = "listen")]
    view_only: bool,
}

/// Where viewers come in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let port = text.parse().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let address = port.or_else(|_| text.parse());
        address
            .map(Self)
            .map_err(|_| "write a port, or an address and a port: 5900, 192.0.2.1:5900, [::]:5900".to_owned())
    }
}

#[derive(Debug, Default, Serialize)]
struct Place {
    socket: String,
    /// The gate's.
    address: Option<SocketAddr>,
    /// The one that was made.
    password: Option<String>,
    /// The certificate that viewers may have.
    certificate: Option<PathBuf>,
    /// By what viewers know it.
    fingerprint: Option<String>,
}

impl Vnc {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let definition = context.library().load(&guest.name)?.definition;
        let running = context.paths().running(definition.uuid);
        let mut place = Place { socket: running.vnc().display().to_string(), ..Place::default() };
        let Some(Listen(address)) = self.listen else {
            place.add_network(&guest.client, context, definition).await?;
            return if self.json { context.output.json(&place) } else { context.output.line(place.for_people()) };
        };
        let gate = Gate::new(self.gate.rules(address.ip(), context.paths(), &mut place)?);
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bind.await.map_err(|error| CliError::Other(not_listening(address, &error)))?;
        place.address = Some(address);
        if self.json {
            context.output.json_line(&place)?;
        } else {
            context.output.line(place.gate_for_people())?;
        }
        tokio::select! {
            () = guest.client.closed() => Ok(()),
            () = admit_all(listener, gate, running.vnc(), report) => Ok(()),
        }
    }
}

impl Place {
    /// Adds where viewers on a network come in because the guest's definition has it so.
    async fn add_network(&mut self, client: &Client, context: &Context, definition: Definition) -> Result {
        if let Some(listening) = Listening::ask(client, context.paths(), &definition).await? {
            (self.address, self.password) = (listening.address, listening.password);
            let (certificate, fingerprint) = listening.certificate.unzip();
            self.fingerprint = fingerprint;
            self.certificate = certificate.map(|own| own.certificate);
        }
        Ok(())
    }

    fn for_people(&self) -> String {
        match self.address {
            None => self.socket.clone(),
            Some(_) => format!("{}\n{}", self.socket, self.gate_for_people()),
        }
    }

    fn gate_for_people(&self) -> String {
        let address = self.address.map(|address| address.to_string());
        let password = self.password.iter().map(|password| format!("\nPassword: {password}"));
        let certificate = self.certificate.iter().map(|file| format!("\nCertificate: {}", file.display()));
        let fingerprint = self.fingerprint.iter().map(|text| format!("\nSHA-256 fingerprint: {text}"));
        address.into_iter().chain(password).chain(certificate).chain(fingerprint).collect()
    }
}

impl GateOptions {
    /// What viewers must do that come to an address. What a person must know of it is noted in `place`.
    fn rules(&self, address: IpAddr, paths: &Paths, place: &mut Place) -> Result<Rules> {
        let is_here = address.to_canonical().is_loopback();
        if self.no_password && !is_here {
            let refused = "viewers on other computers need a password. Leave --no-password or the address out";
            return Err(CliError::Other(refused.to_owned()));
        }
        let password = match &self.password_file {
            _ if self.no_password => None,
            Some(file) => Some(password_in(file)?.0),
            None => {
                let (password, text) = Password::random().map_err(|error| CliError::Other(error.to_string()))?;
                place.password = Some(text);
                Some(password)
            }
        };
        let certificate = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(Certificate { certificate: certificate.clone(), key: key.clone() }),
            _ if self.tls || !(is_here || self.no_tls) => Some(Certificate::own(paths)?),
            _ => None,
        };
        if certificate.is_none() && !is_here {
            error::say("warning", "others on the network can see what viewers see and type, and find the password out");
        }
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
        place.fingerprint = certificate.as_ref().map(Certificate::fingerprint).transpose()?;
        place.certificate = certificate.map(|certificate| certificate.certificate);
        Ok(Rules { password, tls, websocket: self.websocket, view_only: self.view_only })
    }
}

/// The password in the first line of a file, and its text.
pub(super) fn password_in(file: &Path) -> Result<(Password, String)> {
    let read = || {
        let mut text = String::new();
        if file == Path::new("-") {
            std::io::stdin().take(PASSWORD_FILE).read_to_string(&mut text)?;
        } else {
            std::fs::File::open(file)?.take(PASSWORD_FILE).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    let text = read().map_err(CliError::io(file.display(), "Name a file with a password"))?;
    let text = text.lines().next().unwrap_or_default().to_owned();
    match Password::new(&text) {
        Ok(password) => Ok((password, text)),
        Err(error) => Err(CliError::Other(format!("{}: {error}. Choose another password", file.display()))),
    }
}

fn report(trouble: ViewerTrouble) {
    match trouble {
        ViewerTrouble::NotTaken(error) => {
            error::say("warning", format!("a viewer could not be served: {}", words(&error)))
        }
        ViewerTrouble::Gone(address, error) => {
            error::say("note", format!("the viewer at {address} has gone: {error}"));
        }
    }
}
