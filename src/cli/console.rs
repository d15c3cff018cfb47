//! `lodgectl console`: this terminal becomes the terminal at the guest's serial port, or at another of its ports. It works with pipes, too: input that
//! ends is typed to its end, and the guest's answer to it is waited for.

use std::{
    io::{self, IsTerminal, Read},
    iter,
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use rustix::termios::{self, OptionalActions, Termios};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time,
};

use super::{CliError, Result, context::Context, error};
use crate::manager::{
    definition::{AGENT_PORT, Definition},
    paths::RunningPaths,
    socket,
};

/// Ctrl+], as in telnet and virsh.
const ESCAPE: u8 = 0x1d;
/// The terminal that virtio's console gives to Linux.
const HVC: &str = "hvc0";
/// After the input's end: how long the guest must be silent.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes that are moved at once.
const CHUNK: usize = 4096;

#[derive(Debug, Args)]
pub(super) struct Console {
    /// The guest
    name: String,
    /// The terminal hvc0 instead of the serial port: much faster, for systems with a driver
    #[arg(long, conflicts_with = "port")]
    hvc: bool,
    /// Another port instead, by its name in --list
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// List the guest's ports and their sockets, whether it runs or not
    #[arg(long, conflicts_with_all = ["hvc", "port", "follow"])]
    list: bool,
    /// Write the list as JSON, for programs
    #[arg(long, requires = "list")]
    json: bool,
    /// Stay after the input's end, until the guest ends
    #[arg(long)]
    follow: bool,
}

/// Why the console ended.
enum End {
    Escape,
    Guest,
    Silence,
}

/// A port that a program or a person can talk to.
#[derive(Debug, Serialize)]
struct Port {
    name: &'static str,
    what: &'static str,
    socket: PathBuf,
}

/// The ports of a guest; the serial port comes first.
fn ports(definition: &Definition, running: &RunningPaths) -> Vec<Port> {
    let devices = &definition.devices;
    let serial = Port { name: "ttyS0", what: "the serial port", socket: running.serial() };
    let hvc = Port { name: HVC, what: "the virtio terminal", socket: running.console() };
    let agent = Port { name: AGENT_PORT, what: "the guest agent's port", socket: running.agent() };
    let more = [(devices.console, hvc), (devices.agent, agent)];
    iter::once(serial).chain(more.into_iter().filter_map(|(there, port)| there.then_some(port))).collect()
}

impl Console {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let definition = context.library().load(&name)?.definition;
        let mut ports = ports(&definition, &context.paths().running(definition.uuid));
        if self.list {
            return list(context, &ports, self.json);
        }
        let wanted = self.port.as_deref().unwrap_or(if self.hvc { HVC } else { "ttyS0" });
        let Some(index) = ports.iter().position(|port| port.name == wanted) else {
            let known: Vec<_> = ports.iter().map(|port| port.name).collect();
            return Err(CliError::Other(format!(
                "\"{name}\" has no port {wanted}. Choose one of {}, or give it one with \"lodgectl edit {name}\"",
                known.join(", ")
            )));
        };
        let Port { what, socket, .. } = ports.swap_remove(index);
        let guest = context.attach(&name).await?;
        let stream = socket::connect_async(&socket).await.map_err(CliError::io(
            format!("{what} of \"{name}\""),
            "It may not have had it when it started: start it again",
        ))?;
        let terminal = io::stdin().is_terminal();
        if terminal {
            error::say("Connected", format!("\"{}\". Ctrl+] leaves", guest.name));
        }
        let raw = terminal.then(RawTerminal::enter).transpose();
        let raw = raw.map_err(CliError::io("the terminal", "Use another terminal, or pipes"))?;
        let end = talk(context, stream.into_split(), terminal, self.follow).await;
        drop(raw);
        let end = end?;
        if terminal {
            let why = if matches!(end, End::Guest) { "The guest has ended" } else { "Left" };
            error::say("\nDisconnected", why);
        }
        Ok(())
    }
}

fn list(context: &Context, ports: &[Port], json: bool) -> Result {
    if json {
        return context.output.json(&ports);
    }
    let rows: Vec<_> = ports
        .iter()
        .map(|port| [port.name.to_owned(), port.what.to_owned(), port.socket.display().to_string()])
        .collect();
    context.output.table(["PORT", "WHAT", "SOCKET"], &rows)
}

async fn talk(
    context: &Context,
    (mut from_guest, mut to_guest): (OwnedReadHalf, OwnedWriteHalf),
    terminal: bool,
    follow: bool,
) -> Result<End> {
    let mut typed = read_stdin();
    let mut input_ended = false;
    let mut buffer = vec![0; CHUNK];
    loop {
        tokio::select! {
            bytes = typed.recv(), if !input_ended => match bytes {
                Some(bytes) => {
                    let escape = bytes.iter().position(|&byte| terminal && byte == ESCAPE);
                    let typed = bytes.get(..escape.unwrap_or(bytes.len())).unwrap_or_default();
                    if to_guest.write_all(typed).await.is_err() {
                        return Ok(End::Guest);
                    }
                    if escape.is_some() {
                        return Ok(End::Escape);
                    }
                }
                None => input_ended = true,
            },
            length = from_guest.read(&mut buffer) => match length {
                Ok(length) if length > 0 => context.output.bytes(buffer.get(..length).unwrap_or_default())?,
                _ => return Ok(End::Guest),
            },
            () = time::sleep(SILENCE), if input_ended && !follow => return Ok(End::Silence),
        }
    }
}

/// What is typed, or comes from a pipe. A thread of its own reads it, since a read of a terminal cannot be given up.
pub(super) fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = [0; CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    if sender.blocking_send(buffer.get(..length).unwrap_or_default().to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    });
    receiver
}

/// The terminal hands over every key as it is typed. Dropped, it is as before.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
