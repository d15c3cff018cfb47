//! `lodgectl network limit`: how much a guest's network card may carry.

use clap::Args;
use serde::Serialize;

use super::super::{CliError, FROM_NEXT_START, Result, context::Context, error};
use crate::manager::{definition::NetworkLimitsDefinition, editing::EditError, size::Size};

#[derive(Debug, Args)]
pub struct Limit {
    /// The guest
    name: String,
    /// The network card, when it is not the first one
    #[arg(long, default_value = "net0", value_name = "net0")]
    card: String,
    /// Take all limits away that are not given here
    #[arg(long)]
    none: bool,
    /// Only until the guest is stopped
    #[arg(long)]
    live: bool,
    /// Write the limits as JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    changes: Changes,
}

/// What is left out stays as it is; 0 takes a limit away.
#[derive(Debug, Args)]
struct Changes {
    /// Bytes a second that the guest receives, like 10MiB
    #[arg(long, value_name = "SIZE")]
    inbound_bytes_sec: Option<Size>,
    /// Bytes a second that the guest sends
    #[arg(long, value_name = "SIZE")]
    outbound_bytes_sec: Option<Size>,
    /// Frames a second that the guest receives
    #[arg(long, value_name = "COUNT")]
    inbound_packets_sec: Option<u64>,
    /// Frames a second that the guest sends
    #[arg(long, value_name = "COUNT")]
    outbound_packets_sec: Option<u64>,
    /// Bytes a second that the guest receives, in a burst of a second
    #[arg(long, value_name = "SIZE")]
    inbound_bytes_sec_max: Option<Size>,
    /// Bytes a second that the guest sends, in a burst of a second
    #[arg(long, value_name = "SIZE")]
    outbound_bytes_sec_max: Option<Size>,
    /// Frames a second that the guest receives, in a burst of a second
    #[arg(long, value_name = "COUNT")]
    inbound_packets_sec_max: Option<u64>,
    /// Frames a second that the guest sends, in a burst of a second
    #[arg(long, value_name = "COUNT")]
    outbound_packets_sec_max: Option<u64>,
}

impl Changes {
    fn apply(&self, limits: &mut NetworkLimitsDefinition) {
        let sizes = [
            (&mut limits.inbound_bytes_sec, self.inbound_bytes_sec),
            (&mut limits.outbound_bytes_sec, self.outbound_bytes_sec),
            (&mut limits.inbound_bytes_sec_max, self.inbound_bytes_sec_max),
            (&mut limits.outbound_bytes_sec_max, self.outbound_bytes_sec_max),
        ];
        for (limit, wanted) in sizes {
            *limit = wanted.or(*limit).filter(|size| size.bytes() > 0);
        }
        let counts = [
            (&mut limits.inbound_packets_sec, self.inbound_packets_sec),
            (&mut limits.outbound_packets_sec, self.outbound_packets_sec),
            (&mut limits.inbound_packets_sec_max, self.inbound_packets_sec_max),
            (&mut limits.outbound_packets_sec_max, self.outbound_packets_sec_max),
        ];
        for (limit, wanted) in counts {
            *limit = wanted.or(*limit).filter(|count| *count > 0);
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    card: &'a str,
    limits: NetworkLimitsDefinition,
}

impl Limit {
    pub async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let mut stored = context.library().load(&name)?;
        let running = context.library().running(&stored.definition)?;
        let mut cards = stored.definition.networks.iter_mut().enumerate();
        let found = cards.find(|(index, _)| format!("net{index}") == self.card);
        let (_, card) = found.ok_or_else(|| {
            CliError::Other(format!(
                "\"{name}\" has no network card {}. Look at those that it has with \"lodgectl info {name}\"",
                self.card
            ))
        })?;
        let before = card.limits;
        if self.none {
            card.limits = NetworkLimitsDefinition::default();
        }
        self.changes.apply(&mut card.limits);
        let limits = card.limits;
        let place = running.as_ref().and_then(|running| running.place_of_card(card));
        let waits = running.is_some() && place.is_none();
        if self.none || limits != before || self.live {
            if let Some(problem) = limits.problem() {
                return Err(CliError::Other(problem));
            }
            if self.live && waits {
                return Err(EditError::NotYet { name, device: self.card }.into());
            }
            if !self.live {
                context.library().save(&stored.definition, &stored.revision)?;
            }
            if self.live || place.is_some() {
                let guest = context.attach(&name).await?;
                let id = place.map_or_else(|| self.card.clone(), |place| format!("net{place}"));
                guest.told(guest.client.limit_card(&id, &limits.limits()).await)?;
            }
            if let Some((place, mut running)) = place.zip(running)
                && !self.live
                && let Some(card) = running.networks.get_mut(place)
            {
                card.limits = limits;
                context.library().record(&running)?;
            }
            if waits {
                error::say("note", format!("\"{name}\" has {}{FROM_NEXT_START}", self.card));
            }
        }
        if self.json {
            return context.output.json(&Shown { card: &self.card, limits });
        }
        let rows = rows(&limits);
        match rows.is_empty() {
            true => context.output.line(format!("{} of \"{name}\" has no limits", self.card)),
            false => context.output.pairs(&rows),
        }
    }
}

fn rows(limits: &NetworkLimitsDefinition) -> Vec<(&'static str, String)> {
    let size = |size: Option<Size>| size.map(|size| size.to_string());
    let count = |count: Option<u64>| count.map(|count| count.to_string());
    let all = [
        ("inbound-bytes-sec", size(limits.inbound_bytes_sec)),
        ("outbound-bytes-sec", size(limits.outbound_bytes_sec)),
        ("inbound-packets-sec", count(limits.inbound_packets_sec)),
        ("outbound-packets-sec", count(limits.outbound_packets_sec)),
        ("inbound-bytes-sec-max", size(limits.inbound_bytes_sec_max)),
        ("outbound-bytes-sec-max", size(limits.outbound_bytes_sec_max)),
        ("inbound-packets-sec-max", count(limits.inbound_packets_sec_max)),
        ("outbound-packets-sec-max", count(limits.outbound_packets_sec_max)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
