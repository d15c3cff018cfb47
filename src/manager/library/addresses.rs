//! Addresses of network cards: no two cards of one network can have the same.

use super::{Library, LibraryError, Stored};
use crate::manager::definition::{Definition, NetworkKind, Problem, Problems};

impl Library {
    /// Refuses addresses of network cards that other guests have, unless they had them `before`: it may be meant so.
    pub(super) fn check_addresses(
        &self,
        definition: &Definition,
        before: Option<&Definition>,
    ) -> Result<(), LibraryError> {
        let has = |guest: &Definition, mac| guest.networks.iter().any(|card| card.mac_bytes() == Some(mac));
        let wanted =
            definition.networks.iter().enumerate().filter_map(|(index, card)| Some((index, card.mac_bytes()?)));
        let new: Vec<_> = wanted.filter(|(_, mac)| !before.is_some_and(|before| has(before, *mac))).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut problems = Vec::new();
        for name in self.names()?.into_iter().filter(|name| *name != definition.name) {
            // One that cannot be read has none.
            let Ok(Stored { definition: other, .. }) = self.load(&name) else { continue };
            for (index, _) in new.iter().filter(|(_, mac)| has(&other, *mac)) {
                let message =
                    format!("a card of the guest \"{name}\" has this address. Change it, or leave it out to get one");
                problems.push(Problem::new(format!("network[{index}].mac"), message));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems).into()) }
    }

    /// A running guest that has an address which a card of `definition` would have in the same network, as far as that can be
    /// known.
    pub fn address_conflict(&self, definition: &Definition) -> Result<Option<Problem>, LibraryError> {
        if definition.networks.iter().all(|card| card.kind == NetworkKind::None) {
            return Ok(None);
        }
        for name in self.names()?.into_iter().filter(|name| *name != definition.name) {
            if !self.is_running(&name).unwrap_or(false) {
                continue;
            }
            let Ok(Stored { definition: other, .. }) = self.load(&name) else { continue };
            let clash =
                definition.networks.iter().position(|card| other.networks.iter().any(|theirs| card.clashes(theirs)));
            if let Some(index) = clash {
                let message = format!(
                    "a card of the running guest \"{name}\" has this address. Turn that guest off, or change one"
                );
                return Ok(Some(Problem::new(format!("network[{index}].mac"), message)));
            }
        }
        Ok(None)
    }
}
