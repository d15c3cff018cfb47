//! Starting, pausing, resetting and ending guests.

use std::time::Duration;

use clap::Args;

use super::{CliError, Result, context::Context, error};
use crate::manager::{
    host::Demand,
    size::Size,
    supervisor::{Begin, StartOptions},
};

#[derive(Debug, Args)]
pub(super) struct Names {
    /// The guests
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Start {
    /// The guests
    #[arg(required_unless_present = "autostart", value_name = "NAME")]
    names: Vec<String>,
    /// Those that are to be started when you log in, unless they run already
    #[arg(long, conflicts_with = "names")]
    autostart: bool,
    /// Remove their saved states, and begin at power-on
    #[arg(long)]
    discard_saved: bool,
    /// Leave them paused
    #[arg(long)]
    paused: bool,
}

impl Start {
    pub async fn run(self, context: &Context) -> Result {
        let Self { names, autostart, discard_saved, paused } = self;
        let names = if autostart { off_and_autostarting(context).await? } else { names };
        let start = async |name: String| {
            let name = context.library().resolve(&name)?;
            let goes_on = !discard_saved && context.supervisor.has_saved(&name).await;
            let begin = if discard_saved { Begin::PowerOn } else { Begin::Saved };
            context.supervisor.start_with(&name, StartOptions { begin, paused }).await?;
            let done = if goes_on { "Restored" } else { "Started" };
            context.output.line(format!("{done} \"{name}\""))
        };
        let started = Names { names }.each(start).await;
        warn_of_demand(context).await;
        started
    }
}

/// Says when the guests that run may take more memory than the host has left.
pub(super) async fn warn_of_demand(context: &Context) {
    // A guest that has started is not refused for what cannot be told of the others.
    if let Some(demand) = context.supervisor.memory_demand().await.ok().filter(Demand::is_too_much) {
        let (more, left) = (Size(demand.more).approximate(), Size(demand.available).approximate());
        let text = format!(
            "running guests may take {more} more, and the host has {left} of memory left. Shut some of them down, or give them less"
        );
        error::say("warning", text);
    }
}

/// The guests to start at login.
async fn off_and_autostarting(context: &Context) -> Result<Vec<String>> {
    let library = context.library();
    let names = library.autostarting()?;
    if names.is_empty() {
        library.tidy_login();
    }
    let mut off = Vec::new();
    for name in names {
        if !context.supervisor.state(&name).await.is_ok_and(|state| state.is_active()) {
            off.push(name);
        }
    }
    Ok(off)
}

#[derive(Debug, Args)]
pub(super) struct PowerOff {
    #[command(flatten)]
    names: Names,
    /// Wait until they are off, at most so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl PowerOff {
    pub async fn run(self, context: &Context) -> Result {
        let shut_down = async |name: String| {
            let Some(seconds) = self.timeout else {
                let guest = context.attach(&name).await?;
                guest.told(guest.client.press_power_button().await)?;
                return context.output.line(format!("Pressed the power button of \"{}\"", guest.name));
            };
            let name = context.library().resolve(&name)?;
            power_off(context, &name, seconds).await?;
            context.output.line(format!("Shut \"{name}\" down"))
        };
        self.names.each(shut_down).await
    }
}

#[derive(Debug, Args)]
pub(super) struct Reboot {
    #[command(flatten)]
    names: Names,
    /// How long their systems may take to shut down
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

impl Reboot {
    pub async fn run(self, context: &Context) -> Result {
        let reboot = async |name: String| {
            let name = context.library().resolve(&name)?;
            power_off(context, &name, self.timeout).await?;
            context.supervisor.start(&name).await?;
            context.output.line(format!("Rebooted \"{name}\""))
        };
        self.names.each(reboot).await
    }
}

/// Has the guest shut down, within so many seconds.
async fn power_off(context: &Context, name: &str, seconds: u64) -> Result {
    if context.supervisor.shut_down(name, Duration::from_secs(seconds)).await? {
        return Ok(());
    }
    Err(CliError::Other(format!(
        "\"{name}\" still runs after {seconds} s: its system ignores the power button, or needs longer. Wait, or force it off with \
         \"lodgectl destroy {name}\""
    )))
}

impl Names {
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
    pub(super) async fn each(self, act: impl AsyncFn(String) -> Result) -> Result {
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
