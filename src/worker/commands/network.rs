//! Commands for the network cards: `set_link`, `x-lodge-set-network-limits`, `x-lodge-query-netstats`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, answer, no_arguments, nothing};
use crate::{
    qmp::{
        arguments,
        message::ErrorClass,
        types::{NetworkLimits, NetworkStatistics},
    },
    vmm::{limits::Limits, machine::NetworkInfo, net::card::NetHandle},
};

/// The arguments of `set_link`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkArguments {
    /// The card.
    name: String,
    /// Whether the cable is plugged in.
    up: bool,
}

pub(super) fn set_link(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let LinkArguments { name, up } = arguments::parse(arguments)?;
    find(driver, &name)?.set_link(up);
    nothing()
}

/// The arguments of `x-lodge-set-network-limits`.
#[derive(Deserialize)]
struct LimitArguments {
    /// The card.
    #[serde(default)]
    id: String,
    /// What remains must be limits: [`NetworkLimits`].
    #[serde(flatten)]
    limits: Map<String, Value>,
}

pub(super) fn set_limits(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let LimitArguments { id, limits } = arguments::parse(arguments)?;
    let limits = Limits::from(&arguments::parse::<NetworkLimits>(limits)?);
    limits.check().map_err(|error| Error::generic(error.to_string()))?;
    find(driver, &id)?.set_limits(limits);
    nothing()
}

/// The card of this name.
pub(super) fn find(driver: &Driver, name: &str) -> Result<NetHandle, Error> {
    let found = driver.machine().networks().into_iter().find(|network| network.id == name);
    let missing = || Error { class: ErrorClass::DeviceNotFound, desc: format!("Device '{name}' not found") };
    Ok(found.ok_or_else(missing)?.card)
}

pub(super) fn query_netstats(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    answer(figures(driver))
}

/// The figures of all cards.
pub(super) fn figures(driver: &Driver) -> Vec<NetworkStatistics> {
    driver.machine().networks().into_iter().map(card_figures).collect()
}

fn card_figures(network: NetworkInfo) -> NetworkStatistics {
    let NetworkInfo { id, card } = network;
    let counters = card.statistics();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    NetworkStatistics {
        id,
        mac: card.mac().map(|byte| format!("{byte:02x}")).join(":"),
        link: card.link(),
        received_frames: count(&counters.received_frames),
        received_bytes: count(&counters.received_bytes),
        sent_frames: count(&counters.sent_frames),
        sent_bytes: count(&counters.sent_bytes),
        dropped_frames: count(&counters.dropped_frames),
    }
}
