//! Devices of a running guest: `lodgectl set-link` and `lodgectl set-memory`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time;

use super::{
    CliError, Result,
    context::{Context, Guest},
};
use crate::manager::{
    definition::{Definition, NetworkDefinition},
    size::Size,
};

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
        let definition = context.library().load(&guest.name)?.definition;
        let running = context.library().running(&definition)?.unwrap_or_else(|| definition.clone());
        let is_named = |(index, card): (usize, &NetworkDefinition)| {
            let is_its_address = card.mac.as_ref().is_some_and(|mac| mac.eq_ignore_ascii_case(&self.card));
            (is_its_address || self.card == format!("net{index}")).then(|| card.clone())
        };
        let stored = definition.networks.iter().enumerate().find_map(is_named);
        let place = match &stored {
            Some(card) => running.place_of_card(card),
            None => self.address(&guest, &running).await?,
        };
        let Some(place) = place else {
            let (name, wanted) = (guest.name, self.card);
            if stored.is_some() {
                let mend = "Shut it down and start it";
                return Err(CliError::Other(format!("\"{name}\" has {wanted} from its next start only. {mend}")));
            }
            let known: Vec<_> = (0..definition.networks.len()).map(|index| format!("net{index}")).collect();
            let known = if known.is_empty() { "no card at all".to_owned() } else { known.join(", ") };
            return Err(CliError::Other(format!("\"{name}\" has no network card {wanted}. It has {known}")));
        };
        let id = format!("net{place}");
        guest.told(guest.client.set_link(&id, matches!(self.link, Link::Up)).await)?;
        let word = if matches!(self.link, Link::Up) { "Plugged in" } else { "Unplugged" };
        let card = definition.name_of_card(&running, &id);
        context.output.line(format!("{word} {card} of \"{}\"", guest.name))
    }

    /// The number of the running guest's card with the address that was written: one that was taken out, or has another address in the
    /// guest.
    async fn address(&self, guest: &Guest, running: &Definition) -> Result<Option<usize>> {
        let is_it = |mac: &str| mac.eq_ignore_ascii_case(&self.card);
        if let Some(place) = running.networks.iter().position(|card| card.mac.as_deref().is_some_and(is_it)) {
            return Ok(Some(place));
        }
        let cards = guest.told(guest.client.statistics().await)?.networks;
        let card = cards.iter().find(|card| is_it(&card.mac));
        Ok(card.and_then(|card| card.id.strip_prefix("net")?.parse().ok()))
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
