//! Switching a network card to another network, while the guest runs and for its next start.

use super::{EditError, blocking};
use crate::manager::{
    client::Client,
    definition::{Definition, NetworkDefinition},
    library::LibraryError,
    supervisor::{Supervisor, SupervisorError},
};

/// Connects card number `card` of the guest `name` to another network: at once when it runs, and, unless it is for the running guest
/// only, from its next start on. The card keeps its address, its model and its queues. `false`: the guest runs, and has this card from
/// its next start only.
pub async fn attach(
    supervisor: &Supervisor,
    name: &str,
    card: usize,
    network: NetworkDefinition,
    live_only: bool,
) -> Result<bool, EditError> {
    let (library, guest) = (supervisor.library().clone(), name.to_owned());
    let (stored, running) = blocking(move || {
        let stored = library.load(&guest)?;
        let running = library.running(&stored.definition)?;
        Ok((stored, running))
    })
    .await?;
    let mut definition = stored.definition;
    let count = definition.networks.len();
    let Some(place) = definition.networks.get_mut(card) else {
        return Err(EditError::NoCard { name: name.to_owned(), card, count });
    };
    *place = place.connected_to(network.clone());
    let wanted = place.clone();
    definition.validate().map_err(LibraryError::from)?;
    let place = running.as_ref().and_then(|running| running.place_of_card(&wanted));
    let is_running = running.is_some();
    match (running, place) {
        (Some(mut running), Some(place)) => {
            if let Some(card) = running.networks.get_mut(place) {
                *card = card.connected_to(network);
            }
            let client = supervisor.attach(name).await?;
            switch(supervisor, &client, &running, place).await?;
            if !live_only {
                let library = supervisor.library().clone();
                blocking(move || library.record(&running)).await?;
            }
        }
        (None, _) if live_only => return Err(SupervisorError::NotRunning { name: name.to_owned() }.into()),
        _ if live_only => {
            return Err(EditError::NotYet { name: name.to_owned(), device: format!("net{card}") });
        }
        _ => {}
    }
    if !live_only {
        let library = supervisor.library().clone();
        blocking(move || library.save(&definition, &stored.revision).map(drop)).await?;
    }
    Ok(!is_running || place.is_some())
}

/// Switches card number `card` of the running guest to what `definition` says.
pub(super) async fn switch(
    supervisor: &Supervisor,
    client: &Client,
    definition: &Definition,
    card: usize,
) -> Result<(), EditError> {
    let source = definition.networks.get(card).map(NetworkDefinition::source).unwrap_or_default();
    let end = supervisor.connect(definition, card).await?;
    let attached = client.attach_network(&format!("net{card}"), &source, end).await;
    attached.map_err(|source| EditError::Refused { name: definition.name.clone(), source })
}
