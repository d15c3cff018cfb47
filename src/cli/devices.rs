//! Devices of a running guest: `lodgectl set-link` and `lodgectl set-memory`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time;

use super::{
    CliError, Result,
    context::{Context, Guest},
};
use crate::manager::size::Size;

/// Bytes of a page of the balloon.
const PAGE: u64 = 4096;
/// Between two looks at how far the guest is.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct SetLink {
    /// The guest
    name: String,
    /// The network card: net0 for the first one, or its address
    card: String,
    /// Plug the cable in (up) or out (down); at the guest's next start it is in again
    link: Link,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Link {
    Up,
    Down,
}

impl SetLink {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let cards = guest.told(guest.client.statistics().await)?.networks;
        let card = cards.iter().find(|card| card.id == self.card || card.mac.eq_ignore_ascii_case(&self.card));
        let Some(card) = card else {
            let known: Vec<_> = cards.iter().map(|card| card.id.as_str()).collect();
            let known = if known.is_empty() { "no card at all".to_owned() } else { known.join(", ") };
            let (name, wanted) = (guest.name, self.card);
            return Err(CliError::Other(format!("\"{name}\" has no network card {wanted}. It has {known}")));
        };
        guest.told(guest.client.set_link(&card.id, matches!(self.link, Link::Up)).await)?;
        let word = if matches!(self.link, Link::Up) { "Plugged in" } else { "Unplugged" };
        context.output.line(format!("{word} {} of \"{}\"", card.id, guest.name))
    }
}

#[derive(Debug, Args)]
pub(super) struct SetMemory {
    /// The guest
    name: String,
    /// How much of its memory it is to keep, like 512MiB; at its next start it has all of it again
    #[arg(value_name = "SIZE")]
    keep: Size,
    /// Wait until it has done so, at most so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl SetMemory {
    pub async fn run(self, context: &Context) -> Result {
        let guest = context.attach(&self.name).await?;
        let (name, keep) = (&guest.name, self.keep);
        let memory = guest.told(guest.client.statistics().await)?.memory;
        if memory.balloon.is_none() {
            return Err(CliError::Other(format!(
                "\"{name}\" has no balloon, which takes memory from a guest that runs. Write \"balloon = true\" below [devices] with \
                 \"lodgectl edit {name}\" and start it again"
            )));
        }
        if keep.bytes() == 0 || keep.bytes() > memory.total {
            let all = Size(memory.total);
            return Err(CliError::Other(format!(
                "\"{name}\" cannot keep {keep}. Choose less than its {all}, or all of it"
            )));
        }
        guest.told(guest.client.set_balloon(keep.bytes()).await)?;
        let Some(seconds) = self.timeout else {
            return context.output.line(format!("Asked \"{name}\" to keep {keep}"));
        };
        if time::timeout(Duration::from_secs(seconds), reach(&guest, keep)).await.is_ok_and(|reached| reached.is_ok()) {
            return context.output.line(format!("\"{name}\" keeps {keep}"));
        }
        let now = Size(guest.told(guest.client.balloon().await)?).approximate();
        Err(CliError::Other(format!(
            "\"{name}\" still keeps {now} after {seconds} s: its system has no driver for the balloon, or needs its memory. Wait, or let \
             it keep more"
        )))
    }
}

/// Waits until the guest keeps what it was asked to keep.
async fn reach(guest: &Guest, keep: Size) -> Result {
    // The balloon is made of pages.
    while guest.told(guest.client.balloon().await)?.abs_diff(keep.bytes()) >= PAGE {
        time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
