//! Commands for the balloon: `balloon`, `query-balloon`, and by [`qom`](super::qom) its properties `guest-stats` and
//! `guest-stats-polling-interval`.

use std::time::{Instant, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Driver, Error, answer, no_arguments, nothing};
use crate::{
    qmp::{
        arguments,
        message::ErrorClass,
        types::{BalloonInfo, GuestStats},
    },
    vmm::virtio::balloon::{BalloonHandle, MemoryStatistics},
};

/// What QEMU's `guest-stats` always has, whether the guest tells it or not.
const ALWAYS: [&str; 10] = [
    "stat-available-memory",
    "stat-disk-caches",
    "stat-free-memory",
    "stat-htlb-pgalloc",
    "stat-htlb-pgfail",
    "stat-major-faults",
    "stat-minor-faults",
    "stat-swap-in",
    "stat-swap-out",
    "stat-total-memory",
];

/// The arguments of `balloon`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalloonArguments {
    /// The memory that the guest is to keep, in bytes.
    value: u64,
}

pub(super) fn balloon(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let BalloonArguments { value } = arguments::parse(arguments)?;
    let balloon = active(driver)?;
    if value == 0 {
        return Err(Error::generic("Parameter 'target' expects a size"));
    }
    balloon.set_target(driver.guest().memory.saturating_sub(value));
    nothing()
}

pub(super) fn query_balloon(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let taken = active(driver)?.actual();
    answer(BalloonInfo { actual: driver.guest().memory.saturating_sub(taken) })
}

fn active(driver: &Driver) -> Result<BalloonHandle, Error> {
    driver.machine().balloon().ok_or_else(|| Error {
        class: ErrorClass::DeviceNotActive,
        desc: "No balloon device has been activated".to_owned(),
    })
}

/// The property `guest-stats`.
pub(super) fn guest_stats(balloon: &BalloonHandle) -> Result<Value, Error> {
    let told = balloon.statistics();
    let mut stats = GuestStats {
        stats: ALWAYS.into_iter().map(|name| (name.to_owned(), u64::MAX)).collect(),
        last_update: told.as_ref().map_or(0, seconds),
    };
    stats.stats.extend(told.iter().flat_map(MemoryStatistics::values).map(|(name, value)| (name.to_owned(), value)));
    answer(stats)
}

fn seconds(told: &MemoryStatistics) -> u64 {
    told.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Sets the property `guest-stats-polling-interval`, in seconds.
pub(super) fn set_polling_interval(driver: &mut Driver, value: Value) -> Result<Value, Error> {
    let seconds: i64 = arguments::parse_part(value, "guest-stats-polling-interval")?;
    if seconds < 0 {
        return Err(Error::generic("timer value must be greater than zero"));
    }
    let seconds = u32::try_from(seconds).map_err(|_| Error::generic("timer value is too big"))?;
    driver.balloon_watch().set_interval(Instant::now(), seconds);
    nothing()
}
