//! Starting, pausing, resetting and ending guests.

use clap::Args;

use super::{CliError, Result, context::Context, error};

#[derive(Debug, Args)]
pub(super) struct Names {
    /// The guests
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Names {
    pub async fn start(self, context: &Context) -> Result {
        let start = async |name: String| {
            let name = context.library().resolve(&name)?;
            context.supervisor.start(&name).await?;
            context.output.line(format!("Started \"{name}\""))
        };
        self.each(start).await
    }

    pub async fn suspend(self, context: &Context) -> Result {
        let suspend = async |name: String| {
            let guest = context.attach(&name).await?;
            guest.told(guest.client.pause().await)?;
            context.output.line(format!("Paused \"{}\"", guest.name))
        };
        self.each(suspend).await
    }

    pub async fn resume(self, context: &Context) -> Result {
        let resume = async |name: String| {
            let guest = context.attach(&name).await?;
            guest.told(guest.client.resume().await)?;
            context.output.line(format!("Resumed \"{}\"", guest.name))
        };
        self.each(resume).await
    }

    pub async fn reset(self, context: &Context) -> Result {
        let reset = async |name: String| {
            let guest = context.attach(&name).await?;
            guest.told(guest.client.reset().await)?;
            context.output.line(format!("Reset \"{}\"", guest.name))
        };
        self.each(reset).await
    }

    pub async fn destroy(self, context: &Context) -> Result {
        let destroy = async |name: String| {
            let name = context.library().resolve(&name)?;
            context.supervisor.force_off(&name).await?;
            context.output.line(format!("Forced \"{name}\" off"))
        };
        self.each(destroy).await
    }

    /// Does it to every guest; one that refuses keeps none of the others from it.
    async fn each(self, act: impl AsyncFn(String) -> Result) -> Result {
        let all = self.names.len();
        let mut failed = 0;
        for name in self.names {
            match act(name).await {
                Ok(()) => {}
                Err(error) if all == 1 => return Err(error),
                Err(error) => {
                    error::say("error", error);
                    failed += 1;
                }
            }
        }
        if failed == 0 { Ok(()) } else { Err(CliError::Several { failed, all }) }
    }
}
