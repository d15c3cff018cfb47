//! What new guests get where nothing else is chosen: the pool of their disks, and their network. What there is to choose from is
//! read while the window is shown.

use adw::prelude::*;
use lodge::manager::definition::NetworkDefinition;

use super::{change, get, window::choice};
use crate::ui::{backend::Backend, i18n::gettext, operations::on_tokio, wording};

/// The group; it gets its rows when the pools and networks are known.
pub fn group(backend: &Backend) -> adw::PreferencesGroup {
    let group = adw::PreferencesGroup::builder().title(gettext("New Guests")).build();
    let (backend, filled) = (backend.clone(), group.clone());
    relm4::spawn_local(async move {
        let looking = backend.clone();
        if let Ok(pools) = on_tokio(async move { looking.folder_pools().await }).await {
            filled.add(&pool(pools));
        }
        if let Ok(around) = on_tokio(async move { backend.surroundings(None).await }).await {
            filled.add(&network(around.networks));
        }
    });
    group
}

fn pool(pools: Vec<String>) -> adw::ComboRow {
    let preferred = get().new_guest_pool;
    let now = pools.iter().position(|pool| Some(pool) == preferred.as_ref());
    choice(&gettext("Pool for Disks"), &pools.clone(), now, move |place| {
        let chosen = pools.get(place).cloned();
        change(|preferences| preferences.new_guest_pool = chosen);
    })
}

fn network(networks: Vec<NetworkDefinition>) -> adw::ComboRow {
    let preferred = get().new_guest_network.unwrap_or_else(NetworkDefinition::nat);
    let now = networks.iter().position(|network| *network == preferred);
    let labels: Vec<_> = networks.iter().map(wording::network).collect();
    choice(&gettext("Network"), &labels, now, move |place| {
        let chosen = networks.get(place).cloned();
        change(|preferences| preferences.new_guest_network = chosen);
    })
}
