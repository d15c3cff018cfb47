//! What running guests may use together, beside what the host has.

#![forbid(unsafe_code)]

use super::Counters;
use crate::manager::definition::Definition;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Commitment {
    /// The memory of all running guests, in bytes: they may use that much.
    pub memory: u64,
    /// The host's memory, in bytes.
    pub host_memory: u64,
    /// The virtual CPUs of all running guests.
    pub vcpus: u32,
    /// The host's CPUs.
    pub host_cpus: u32,
}

impl Commitment {
    /// Of these running guests on this host.
    pub fn of<'a>(guests: impl IntoIterator<Item = &'a Definition>, host: &Counters) -> Self {
        let alone = Self { host_memory: host.memory_total, host_cpus: host.cpus, ..Self::default() };
        guests.into_iter().fold(alone, |all, guest| Self {
            memory: all.memory.saturating_add(guest.memory.bytes()),
            vcpus: all.vcpus.saturating_add(guest.vcpus),
            ..all
        })
    }

    /// Whether the guests may use more memory than there is.
    pub fn exceeds_memory(&self) -> bool {
        self.host_memory > 0 && self.memory > self.host_memory
    }

    /// The guests' memory as a share of the host's: 1 is all of it.
    pub fn memory_share(&self) -> f64 {
        self.memory as f64 / self.host_memory.max(1) as f64
    }

    /// The guests' virtual CPUs as a share of the host's CPUs.
    pub fn cpu_share(&self) -> f64 {
        f64::from(self.vcpus) / f64::from(self.host_cpus.max(1))
    }
}

/// What running guests may take of the host's memory beyond what they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// So many bytes more.
    pub more: u64,
    /// The memory that the host has left, in bytes.
    pub available: u64,
}

impl Demand {
    /// Of guests with so much memory, of which their processes have so much already; both in bytes.
    pub fn of(guests: impl IntoIterator<Item = (u64, u64)>, available: u64) -> Self {
        let more = guests.into_iter().map(|(memory, used)| memory.saturating_sub(used));
        Self { more: more.fold(0, u64::saturating_add), available }
    }

    /// Whether that is more than there is. A host that tells nothing warns of nothing.
    pub fn is_too_much(&self) -> bool {
        self.available > 0 && self.more > self.available
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::size::{GIB, Size};

    #[test]
    fn guests_may_use_more_than_there_is() {
        let mut guest = Definition::new("web");
        (guest.memory, guest.vcpus) = (Size(3 * GIB), 2);
        let host = Counters { memory_total: 4 * GIB, cpus: 2, ..Counters::default() };

        let (one, two) = (Commitment::of([&guest], &host), Commitment::of([&guest, &guest], &host));

        assert!(!one.exceeds_memory() && two.exceeds_memory());
        assert_eq!((one.memory_share(), two.memory_share(), two.cpu_share()), (0.75, 1.5, 2.0));
    }

    #[test]
    fn what_guests_have_already_is_not_asked_for_again() {
        let demand = |available| Demand::of([(3 * GIB, 2 * GIB), (GIB, 2 * GIB), (2 * GIB, 0)], available);

        assert_eq!(demand(GIB).more, 3 * GIB);
        assert!(demand(2 * GIB).is_too_much());
        assert!(!demand(3 * GIB).is_too_much() && !demand(0).is_too_much());
    }

    #[test]
    fn a_host_that_tells_nothing_warns_of_nothing() {
        assert!(!Commitment::of([&Definition::new("web")], &Counters::default()).exceeds_memory());
    }
}
