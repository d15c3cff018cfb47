//! `lodgectl change-media`: the medium of a CD-ROM drive.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Result, context::Context};
use crate::manager::drives::{self, Change, Changed};

#[derive(Debug, Args)]
pub(super) struct ChangeMedia {
    /// The guest
    name: String,
    /// The ISO image to put in
    #[arg(value_name = "ISO", required_unless_present = "eject", conflicts_with = "eject")]
    medium: Option<PathBuf>,
    /// Take out what is in the drive
    #[arg(long)]
    eject: bool,
    /// The drive; else the guest's first CD-ROM drive
    #[arg(long, value_name = "ID")]
    drive: Option<String>,
    /// Open the tray though the guest has locked it: it may be reading
    #[arg(long)]
    force: bool,
    /// Only for now: at its next start it has the medium of its definition
    #[arg(long)]
    live: bool,
}

impl ChangeMedia {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let medium = self.medium.map(std::path::absolute).transpose();
        let medium = medium.map_err(CliError::io("the path of the image", "Write a shorter or an absolute one"))?;
        let word = medium.as_ref().map(|path| format!("Put {} into", path.display()));
        let change = Change { drive: self.drive, medium, force: self.force, live_only: self.live };
        let Changed { drive, at_next_start } = drives::change(&context.supervisor, &name, &change).await?;
        let word = word.unwrap_or_else(|| "Ejected what was in".to_owned());
        let when = if at_next_start { super::FROM_NEXT_START } else { "" };
        context.output.line(format!("{word} {drive} of \"{name}\"{when}"))
    }
}
