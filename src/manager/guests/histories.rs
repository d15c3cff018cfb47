//! Histories between two runs of the application: read at the start, written seldom.

#![forbid(unsafe_code)]

use std::{collections::HashMap, sync::Arc};

use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{GuestId, table::Table, watcher::now};
use crate::manager::statistics::store::Store;

/// The name of the host's history; no UUID looks like it.
const HOST: &str = "host";

/// Reads every history that is there.
pub(super) async fn load(store: Store, table: Arc<Table>) {
    let read = spawn_blocking(move || {
        let now = now();
        let of_guest = |name: String| {
            let id = GuestId::Known(Uuid::parse_str(&name).ok()?);
            Some((id, store.read(&name, now)?))
        };
        let guests: HashMap<_, _> = store.names().into_iter().filter_map(of_guest).collect();
        table.restore(guests, store.read(HOST, now));
    });
    if let Err(error) = read.await {
        tracing::warn!("histories cannot be read: {error}");
    }
}

/// Writes what is new. Blocks.
pub(super) fn save(store: &Store, table: &Table) {
    let unsaved = table.take_unsaved();
    let guests = unsaved.guests.iter().filter_map(|(id, rings)| match id {
        GuestId::Known(uuid) => Some(store.write(&uuid.to_string(), rings)),
        GuestId::Broken(_) => None,
    });
    let host = unsaved.host.map(|rings| store.write(HOST, &rings));
    // One that cannot be written may be the first of many: it is said once.
    if let Some(error) = guests.chain(host).find_map(Result::err) {
        tracing::warn!("histories cannot be kept: {error}");
    }
}
