//! `lodgectl network forward`: the host's ports that lead into guests.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::super::{
    CliError, FROM_NEXT_START, Result,
    context::{Context, Guest},
};
use crate::{
    manager::{
        definition::{Definition, Forward, NetworkDefinition, NetworkKind},
        editing::EditError,
    },
    qmp::types::ConnectionInfo,
};

#[derive(Debug, Subcommand)]
pub enum ForwardVerb {
    /// Lead a port of the host to a port of a guest
    Add(Change),
    /// No longer lead a port of the host to a guest
    Remove(Change),
    /// Show which ports of the host lead into a guest
    #[command(alias = "ls")]
    List(List),
}

#[derive(Debug, Args)]
pub struct Change {
    /// The guest
    name: String,
    /// [tcp:|udp:][ADDRESS:]HOST_PORT:GUEST_PORT, like tcp:2222:22; without an address only the host itself gets there
    forward: Forward,
    /// The network card, when it is not the first one with address translation
    #[arg(long, value_name = "net0")]
    card: Option<String>,
    /// Only until the guest is stopped
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Args)]
pub struct List {
    /// The guest
    name: String,
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

/// A forward in a list.
#[derive(Debug, Serialize)]
struct Row {
    card: String,
    #[serde(flatten)]
    forward: Forward,
    /// Who translates, while the guest runs.
    backend: Option<String>,
}

impl ForwardVerb {
    pub async fn run(self, context: &Context) -> Result {
        match self {
            Self::Add(change) => change.run(context, true).await,
            Self::Remove(change) => change.run(context, false).await,
            Self::List(list) => list.run(context).await,
        }
    }
}

impl Change {
    async fn run(self, context: &Context, add: bool) -> Result {
        let name = context.library().resolve(&self.name)?;
        let stored = context.library().load(&name)?;
        let mut definition = stored.definition;
        let index = self.card_in(&name, &definition.networks)?;
        let is_running = context.library().is_running(&name)?;
        if self.live && !is_running {
            return Err(CliError::Other(format!("\"{name}\" is not running. Leave --live out")));
        }
        let place = |running: &Definition| {
            let place = running.place_of_card(definition.networks.get(index)?)?;
            running.networks.get(place).filter(|card| card.kind == NetworkKind::Nat).map(|_| place)
        };
        let running = context.library().running(&definition)?;
        let place = running.as_ref().and_then(place);
        if self.live && place.is_none() {
            return Err(EditError::NotYet { name, device: format!("net{index}") }.into());
        }
        if !self.live {
            // Looked at before anything is done.
            self.apply(&name, &mut definition.networks, index, add, place.is_some())?;
            definition.validate().map_err(|problems| CliError::Other(format!("\"{name}\": {problems}")))?;
        }
        if let Some((place, mut running)) = place.zip(running) {
            let guest = context.attach(&name).await?;
            let info = guest.told(guest.client.forward(&format!("net{place}"), &self.forward, add).await)?;
            if info.restarted {
                let note = "passt begins anew for other ports: connections that the guest had are cut";
                crate::cli::error::say("warning", note);
            }
            if let Some((card, now)) = running.networks.get_mut(place).zip(definition.networks.get(index))
                && !self.live
            {
                card.forwards.clone_from(&now.forwards);
                context.library().record(&running)?;
            }
        }
        if !self.live {
            context.library().save(&definition, &stored.revision)?;
        }
        let when = if is_running && place.is_none() { FROM_NEXT_START } else { "" };
        let Forward { guest_port, .. } = self.forward;
        let (protocol, host) = (self.forward.protocol.name(), self.forward.host());
        context.output.line(match add {
            true => format!("{protocol} port {host} leads to port {guest_port} of \"{name}\"{when}"),
            false => format!("{protocol} port {host} no longer leads to \"{name}\"{when}"),
        })
    }

    /// The card's number.
    fn card_in(&self, name: &str, networks: &[NetworkDefinition]) -> Result<usize> {
        let mut translated =
            networks.iter().enumerate().filter(|(_, network)| network.kind == NetworkKind::Nat).map(|(index, _)| index);
        let found = match &self.card {
            None => translated.next(),
            Some(card) => translated.find(|index| format!("net{index}") == *card),
        };
        found.ok_or_else(|| {
            let which = self.card.as_ref().map_or_else(|| "no network card".to_owned(), |card| format!("no card {card}"));
            CliError::Other(format!(
                "\"{name}\" has {which} with address translation. Give it one: write kind = \"nat\" below [[network]] with \
                 \"lodgectl edit {name}\""
            ))
        })
    }

    fn apply(
        &self,
        name: &str,
        networks: &mut [NetworkDefinition],
        index: usize,
        add: bool,
        is_running: bool,
    ) -> Result {
        let Some(network) = networks.get_mut(index) else { return Ok(()) };
        if add {
            network.forwards.push(self.forward);
            return Ok(());
        }
        let before = network.forwards.len();
        network.forwards.retain(|other| !other.is_at(&self.forward));
        // One that was added with --live is the worker's alone.
        if network.forwards.len() == before && !is_running {
            let (protocol, host) = (self.forward.protocol.name(), self.forward.host());
            let message =
                format!("{protocol} port {host} does not lead to \"{name}\". Look at those that do with \"list\"");
            return Err(CliError::Other(message));
        }
        Ok(())
    }
}

impl List {
    async fn run(self, context: &Context) -> Result {
        let name = context.library().resolve(&self.name)?;
        let definition = context.library().load(&name)?.definition;
        let runs = context.library().running(&definition)?;
        let mut rows = match &runs {
            Some(runs) => running(&context.attach(&name).await?, runs, &definition).await?,
            None => Vec::new(),
        };
        // Of a guest that is off, or of a card that it has from its next start.
        let cards = definition.networks.into_iter().enumerate();
        let waiting = cards.filter(|(_, card)| runs.as_ref().is_none_or(|runs| runs.place_of_card(card).is_none()));
        rows.extend(waiting.flat_map(|(index, card)| {
            let row = move |forward| Row { card: format!("net{index}"), forward, backend: None };
            card.forwards.into_iter().map(row)
        }));
        if self.json {
            return context.output.json(&rows);
        }
        let cells = |row: &Row| {
            let Forward { protocol, guest_port, .. } = row.forward;
            let backend = row.backend.clone().unwrap_or_else(|| "-".to_owned());
            [
                row.card.clone(),
                protocol.name().to_owned(),
                row.forward.host().to_string(),
                guest_port.to_string(),
                backend,
            ]
        };
        let rows: Vec<_> = rows.iter().map(cells).collect();
        context.output.table(["CARD", "PROTOCOL", "HOST", "GUEST PORT", "BY"], &rows)
    }
}

/// What is forwarded at this moment, by the names that the definition has for the cards.
async fn running(guest: &Guest, runs: &Definition, definition: &Definition) -> Result<Vec<Row>> {
    let infos = guest.told(guest.client.connections().await)?;
    let named = |info: ConnectionInfo| ConnectionInfo { id: definition.name_of_card(runs, &info.id), ..info };
    Ok(infos.into_iter().map(named).flat_map(rows).collect())
}

fn rows(info: ConnectionInfo) -> impl Iterator<Item = Row> {
    let ConnectionInfo { id, backend, forwards, .. } = info;
    forwards.into_iter().filter_map(move |forward| {
        let (protocol, address) = (forward.protocol.parse().ok()?, forward.address.parse().ok()?);
        let forward = Forward { protocol, address, port: forward.port, guest_port: forward.guest_port };
        Some(Row { card: id.clone(), forward, backend: Some(backend.clone()) })
    })
}
