//! Saving guests' states, and removing them.

use clap::Args;

use super::{Result, context::Context, lifecycle::Names, long};

#[derive(Debug, Args)]
pub(super) struct Save {
    #[command(flatten)]
    names: Names,
}

impl Save {
    pub async fn run(self, context: &Context) -> Result {
        let save = async |name: String| {
            let name = context.library().resolve(&name)?;
            long::wait("Saving", async |watch| Ok(context.supervisor.save(&name, watch).await?)).await?;
            context.output.line(format!("Saved \"{name}\""))
        };
        self.names.each(save).await
    }
}

#[derive(Debug, Args)]
pub(super) struct DiscardSaved {
    #[command(flatten)]
    names: Names,
}

impl DiscardSaved {
    pub async fn run(self, context: &Context) -> Result {
        let discard = async |name: String| {
            let name = context.library().resolve(&name)?;
            let said = match context.supervisor.discard_saved(&name).await? {
                true => format!("Removed the saved state of \"{name}\""),
                false => format!("\"{name}\" has no saved state"),
            };
            context.output.line(said)
        };
        self.names.each(discard).await
    }
}
