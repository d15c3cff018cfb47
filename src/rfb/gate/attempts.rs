//! How often somebody may give a wrong password: after a few times the address has to wait, and longer each time.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// So many wrong passwords cost nothing.
const FREE: u32 = 5;
/// How long the first wait is; each wrong password doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Only so many addresses are remembered; those that have waited longest are forgotten first.
const ADDRESSES: usize = 4096;

/// The wrong passwords of each address since its last right one.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How long after the last one nobody may try.
    fn wait(self) -> Duration {
        let doublings = self.count.checked_sub(FREE);
        doublings.map_or(Duration::ZERO, |doublings| {
            FIRST_WAIT.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST_WAIT)
        })
    }
}

impl Attempts {
    fn all(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the address has to wait.
    pub(super) fn is_blocked(&self, address: IpAddr) -> bool {
        self.is_blocked_at(address, Instant::now())
    }

    fn is_blocked_at(&self, address: IpAddr, now: Instant) -> bool {
        self.all().get(&network(address)).is_some_and(|failures| now < failures.last + failures.wait())
    }

    /// Notes a password that was right or wrong.
    pub(super) fn note(&self, address: IpAddr, right: bool) {
        self.note_at(address, right, Instant::now());
    }

    fn note_at(&self, address: IpAddr, right: bool, now: Instant) {
        let (address, mut all) = (network(address), self.all());
        if right {
            all.remove(&address);
            return;
        }
        if all.len() >= ADDRESSES && !all.contains_key(&address) {
            let oldest = all.iter().min_by_key(|(_, failures)| failures.last).map(|(address, _)| *address);
            oldest.map(|oldest| all.remove(&oldest));
        }
        let failures = all.entry(address).or_insert(Failures { count: 0, last: now });
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }
}

/// Whoever has one IPv6 address has as a rule all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_waits_longer_with_each_wrong_password_and_others_do_not() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let (guesser, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 1..FREE {
            attempts.note_at(guesser, false, start);
        }
        assert!(!attempts.is_blocked_at(guesser, start));

        attempts.note_at(guesser, false, start);
        assert!(attempts.is_blocked_at(guesser, start + Duration::from_secs(9)));
        assert!(!attempts.is_blocked_at(guesser, start + Duration::from_secs(10)));
        attempts.note_at(guesser, false, start);

        assert!(attempts.is_blocked_at(guesser, start + Duration::from_secs(19)));
        assert!(!attempts.is_blocked_at(other, start));
        (0..100).for_each(|_| attempts.note_at(guesser, false, start));
        assert!(!attempts.is_blocked_at(guesser, start + LONGEST_WAIT));
    }

    #[test]
    fn a_right_password_forgives() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let person = address("192.0.2.1");
        (0..FREE).for_each(|_| attempts.note_at(person, false, start));

        attempts.note_at(person, true, start);

        assert!(!attempts.is_blocked_at(person, start));
    }

    #[test]
    fn other_addresses_of_the_same_network_help_nobody_and_memory_is_bounded() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        (0..FREE).for_each(|n| attempts.note_at(address(&format!("2001:db8::{n}")), false, start));

        assert!(attempts.is_blocked_at(address("2001:db8::99"), start));
        assert!(!attempts.is_blocked_at(address("2001:db8:0:1::99"), start));
        (0..2 * ADDRESSES as u32).for_each(|n| attempts.note_at(IpAddr::V4(n.into()), false, start));
        assert!(attempts.all().len() <= ADDRESSES);
    }
}
