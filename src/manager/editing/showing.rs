//! Showing a running guest's screen on the network as its definition says, or no longer.

use super::EditError;
use crate::manager::{client::Client, definition::Definition, supervisor::Supervisor};

/// Makes what `before` says what `after` says. Viewers that are there are put out. Where it fails, new ones come in as before. `false`: the
/// guest's worker is of an older Lodge, so it is at the next start only.
pub(super) async fn show(
    supervisor: &Supervisor,
    client: &Client,
    before: &Definition,
    after: &Definition,
) -> Result<bool, EditError> {
    let refused = |source| EditError::Refused { name: after.name.clone(), source };
    let Some(wanted) = &after.display.listen else { return client.show_on_network(None).await.map_err(refused) };
    let shown = client.network_screen().await.map_err(refused)?;
    // The port is the other gate's, whose password, say, is to be another.
    let freed = shown.is_some_and(|shown| wanted.port != 0 && shown.service == wanted.port.to_string());
    if freed && !client.show_on_network(None).await.map_err(refused)? {
        return Ok(false);
    }
    match supervisor.open_gate(after, freed).await {
        Ok(gate) => client.show_on_network(gate).await.map_err(refused),
        Err(problem) => {
            if freed && let Ok(gate) = supervisor.open_gate(before, true).await {
                client.show_on_network(gate).await.map_err(refused)?;
            }
            Err(EditError::NotShown { name: after.name.clone(), problem })
        }
    }
}
