//! Which station is behind which port, learned from what the stations send (IEEE 802.1Q, section 8.7 and 8.8).

#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The number of a port; never used again.
pub type PortNumber = u64;
/// The address of a station.
pub type Mac = [u8; 6];

/// How long a station that is silent is remembered: the standard's recommendation.
const AGE: Duration = Duration::from_secs(300);
/// The most stations behind one port. Frames to more of them are flooded.
const STATIONS_MAX: usize = 256;
/// Between two looks for those that have been silent, at least.
const SWEEP: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub struct Table {
    stations: HashMap<Mac, Station>,
    /// How many are behind each port.
    counts: HashMap<PortNumber, usize>,
    swept: Option<Instant>,
}

struct Station {
    port: PortNumber,
    heard: Instant,
}

impl Table {
    /// A station has sent something through `port`.
    pub fn learn(&mut self, mac: Mac, port: PortNumber, now: Instant) {
        if let Some(station) = self.stations.get_mut(&mac)
            && station.port == port
        {
            station.heard = now;
            return;
        }
        if self.count(port) >= STATIONS_MAX {
            self.sweep(now);
            if self.count(port) >= STATIONS_MAX {
                return;
            }
        }
        if let Some(before) = self.stations.insert(mac, Station { port, heard: now }) {
            self.uncount(before.port);
        }
        *self.counts.entry(port).or_default() += 1;
    }

    /// The port behind which a station is.
    pub fn find(&self, mac: &Mac, now: Instant) -> Option<PortNumber> {
        let station = self.stations.get(mac)?;
        (now.saturating_duration_since(station.heard) < AGE).then_some(station.port)
    }

    /// The port is gone.
    pub fn forget(&mut self, port: PortNumber) {
        self.stations.retain(|_, station| station.port != port);
        self.counts.remove(&port);
    }

    fn count(&self, port: PortNumber) -> usize {
        self.counts.get(&port).copied().unwrap_or_default()
    }

    fn uncount(&mut self, port: PortNumber) {
        if let Some(count) = self.counts.get_mut(&port) {
            *count = count.saturating_sub(1);
        }
    }

    /// Forgets who has been silent for long.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.counts.clear();
        let counts = &mut self.counts;
        self.stations.retain(|_, station| {
            let stays = now.saturating_duration_since(station.heard) < AGE;
            if stays {
                *counts.entry(station.port).or_default() += 1;
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn station(number: usize) -> Mac {
        let [.., a, b] = number.to_be_bytes();
        [0x52, 0x54, 0, 0, a, b]
    }

    #[test]
    fn a_station_is_where_it_was_heard_last_until_it_has_been_silent_for_long() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.learn(station(1), 1, now);
        table.learn(station(2), 1, now);
        table.learn(station(2), 2, now);

        assert_eq!([1, 2, 3].map(|number| table.find(&station(number), now)), [Some(1), Some(2), None]);
        assert_eq!(table.find(&station(1), now + AGE), None);
        table.forget(2);
        assert_eq!(table.find(&station(2), now), None);
    }

    #[test]
    fn one_port_cannot_push_the_stations_of_others_out() {
        let (mut table, now) = (Table::default(), Instant::now());
        table.learn(station(60_000), 2, now);
        (0..10_000).for_each(|number| table.learn(station(number), 1, now));

        assert_eq!(table.stations.len(), STATIONS_MAX + 1);
        assert_eq!(table.find(&station(60_000), now), Some(2));
        assert_eq!(table.find(&station(9_999), now), None);
        // Silent ones make room.
        let later = now + AGE;
        table.learn(station(9_999), 1, later);
        assert_eq!((table.find(&station(9_999), later), table.stations.len()), (Some(1), 1));
    }
}
