//! A guest's screen and keyboard: `lodgectl screenshot`, `send-key` and `type`.

use std::{fs, io, path::PathBuf};

use clap::Args;

use super::{CliError, Result, context::Context, long};
use crate::input::keys;

#[derive(Debug, Args)]
pub(super) struct Screenshot {
    /// The guest
    name: String,
    /// The PNG file to write; - for stdout
    #[arg(value_name = "FILE.png")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SendKey {
    /// The guest
    name: String,
    /// Keys joined by dashes, named as in QMP, like ctrl-alt-delete; several are pressed one after the other
    #[arg(required = true, value_name = "KEYS")]
    combinations: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Type {
    /// The guest
    name: String,
    /// What to type, as on a US keyboard; a line break is the Enter key; - for what stdin says
    text: String,
    /// Press Enter afterwards
    #[arg(long)]
    enter: bool,
}

impl Screenshot {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let picture = guest.told(guest.client.screenshot().await)?;
        if self.file.as_os_str() == "-" {
            return context.output.bytes(&picture);
        }
        fs::write(&self.file, picture)
            .map_err(CliError::io(self.file.display(), "Choose a file in a folder that you may write to"))
    }
}

impl SendKey {
    pub async fn run(self, context: &Context) -> Result {
        // All of them are understood before the first is pressed.
        let combinations: Vec<_> = self
            .combinations
            .iter()
            .map(|text| keys::parse_combination(text))
            .collect::<std::result::Result<_, _>>()?;
        let guest = context.attach(&self.name).await?;
        for combination in combinations {
            guest.told(guest.client.send_keys(&combination).await)?;
        }
        Ok(())
    }
}

impl Type {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let mut text = self.text;
        if text == "-" {
            text = io::read_to_string(io::stdin()).map_err(CliError::io("stdin", "Write text to it, in UTF-8"))?;
        }
        if self.enter {
            text.push('\n');
        }
        let typed = long::wait("Typing", async |watch| guest.told(guest.client.type_text(&text, watch).await)).await?;
        match typed {
            true => Ok(()),
            false => Err(CliError::Other("stopped before all was typed. Look what has reached the guest".to_owned())),
        }
    }
}
