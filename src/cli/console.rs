//! `lodgectl console`: this terminal becomes the terminal at the guest's serial port. It works with pipes, too: input that
//! ends is typed to its end, and the guest's answer to it is waited for.

use std::{
    io::{self, IsTerminal, Read},
    time::Duration,
};

use clap::Args;
use rustix::termios::{self, OptionalActions, Termios};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time,
};

use super::{CliError, Result, context::Context, error};
use crate::manager::socket;

/// Ctrl+], as in telnet and virsh.
const ESCAPE: u8 = 0x1d;
/// After the input's end: how long the guest must be silent.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes that are moved at once.
const CHUNK: usize = 4096;

#[derive(Debug, Args)]
pub(super) struct Console {
    /// The guest
    name: String,
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

impl Console {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let uuid = context.library().load(&guest.name)?.definition.uuid;
        let path = context.paths().running(uuid).serial();
        let stream = socket::connect_async(&path)
            .await
            .map_err(CliError::io(format!("the serial port of \"{}\"", guest.name), "Start it again"))?;
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
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
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
