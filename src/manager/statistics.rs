//! Figures of guests over time, in rings of fixed size: the last minutes by the second, a day by the minute.

#![forbid(unsafe_code)]

use std::{collections::VecDeque, mem};

use crate::qmp::types::{DiskStatistics, NetworkStatistics, Statistics};

pub use crate::qmp::types::GuestMemory;

/// Points kept at one a second: ten minutes.
pub const FINE_POINTS: usize = 600;
/// Points kept at one a minute: a day.
pub const COARSE_POINTS: usize = 1440;
/// Seconds of a coarse point.
const MINUTE: u64 = 60;
/// Two readings closer together than this (in nanoseconds) give no useful rate.
const SHORTEST: u64 = 50_000_000;

/// What a guest used in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Seconds since 1970 (UTC) at the interval's end.
    pub time: u64,
    /// Host CPU, in percent of one CPU: two busy vCPUs are 200.
    pub cpu: f32,
    /// The worker's resident memory, in bytes; the guest's RAM that it has touched is in it.
    pub memory: u64,
    /// Bytes a second read from disks.
    pub disk_read: u64,
    /// Bytes a second written to disks.
    pub disk_written: u64,
    /// Bytes a second received from networks.
    pub network_received: u64,
    /// Bytes a second sent to networks.
    pub network_sent: u64,
}

/// What a worker's counters say at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    time_ns: u64,
    cpu_time_ns: u64,
    memory: u64,
    disk_read: u64,
    disk_written: u64,
    network_received: u64,
    network_sent: u64,
}

impl From<&Statistics> for Reading {
    fn from(statistics: &Statistics) -> Self {
        let disks = |figure: fn(&DiskStatistics) -> u64| sum(statistics.disks.iter().map(figure));
        let networks = |figure: fn(&NetworkStatistics) -> u64| sum(statistics.networks.iter().map(figure));
        Self {
            time_ns: statistics.time_ns,
            cpu_time_ns: statistics.cpu_time_ns,
            memory: statistics.memory.resident,
            disk_read: disks(|disk| disk.read_bytes),
            disk_written: disks(|disk| disk.written_bytes),
            network_received: networks(|card| card.received_bytes),
            network_sent: networks(|card| card.sent_bytes),
        }
    }
}

fn sum(figures: impl Iterator<Item = u64>) -> u64 {
    figures.fold(0, u64::saturating_add)
}

impl Reading {
    /// What was used between `earlier` and now; nothing when they are too close together, or of different workers.
    pub fn since(&self, earlier: &Self, time: u64) -> Option<Point> {
        let span = self.time_ns.checked_sub(earlier.time_ns).filter(|&span| span >= SHORTEST)?;
        let rate = |now: u64, before: u64| {
            let bytes = u128::from(now.checked_sub(before)?) * 1_000_000_000 / u128::from(span);
            u64::try_from(bytes).ok()
        };
        let cpu = self.cpu_time_ns.checked_sub(earlier.cpu_time_ns)?;
        Some(Point {
            time,
            cpu: (cpu as f64 / span as f64 * 100.0) as f32,
            memory: self.memory,
            disk_read: rate(self.disk_read, earlier.disk_read)?,
            disk_written: rate(self.disk_written, earlier.disk_written)?,
            network_received: rate(self.network_received, earlier.network_received)?,
            network_sent: rate(self.network_sent, earlier.network_sent)?,
        })
    }
}

/// A guest's history.
#[derive(Debug, Clone, Default)]
pub struct History {
    fine: VecDeque<Point>,
    coarse: VecDeque<Point>,
    /// The points of the minute that is not over.
    minute: Vec<Point>,
    guest_memory: Option<GuestMemory>,
}

impl History {
    /// The last [`FINE_POINTS`] points, oldest first, one a second.
    pub fn fine(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.fine.iter()
    }

    /// The last [`COARSE_POINTS`] points, oldest first, one a minute.
    pub fn coarse(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.coarse.iter()
    }

    /// The newest point.
    pub fn latest(&self) -> Option<&Point> {
        self.fine.back()
    }

    /// How the guest uses its memory now, if it tells.
    pub fn guest_memory(&self) -> Option<GuestMemory> {
        self.guest_memory
    }

    /// The guest has told, or (`None`) tells no longer, how it uses its memory.
    pub fn set_guest_memory(&mut self, memory: Option<GuestMemory>) {
        self.guest_memory = memory;
    }

    /// Adds a point, and drops the oldest ones.
    pub fn push(&mut self, point: Point) {
        if self.minute.first().is_some_and(|first| first.time / MINUTE != point.time / MINUTE) {
            let minute = mem::take(&mut self.minute);
            keep(&mut self.coarse, mean(&minute), COARSE_POINTS);
        }
        self.minute.push(point);
        keep(&mut self.fine, point, FINE_POINTS);
    }
}

fn keep(ring: &mut VecDeque<Point>, point: Point, most: usize) {
    while ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(point);
}

fn mean(points: &[Point]) -> Point {
    let count = points.len().max(1) as u64;
    let of = |figure: fn(&Point) -> u64| points.iter().map(|point| figure(point) / count).fold(0, u64::saturating_add);
    Point {
        time: points.last().map_or(0, |point| point.time),
        cpu: points.iter().map(|point| point.cpu).sum::<f32>() / count as f32,
        memory: of(|point| point.memory),
        disk_read: of(|point| point.disk_read),
        disk_written: of(|point| point.disk_written),
        network_received: of(|point| point.network_received),
        network_sent: of(|point| point.network_sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time: u64, cpu: f32) -> Point {
        Point { time, cpu, ..Point::default() }
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let earlier = Reading { time_ns: 1_000_000_000, cpu_time_ns: 500, disk_read: 100, ..Reading::default() };
        let now = Reading {
            time_ns: 3_000_000_000,
            cpu_time_ns: 3_000_000_500,
            disk_read: 2_100,
            memory: 7,
            network_received: 500,
            ..Reading::default()
        };

        let point = now.since(&earlier, 9).unwrap();

        assert_eq!((point.time, point.cpu, point.disk_read, point.memory), (9, 150.0, 1000, 7));
        assert_eq!((point.network_received, point.network_sent), (250, 0));
    }

    #[test]
    fn counters_that_went_back_are_another_workers() {
        let earlier = Reading { time_ns: 0, cpu_time_ns: 500, ..Reading::default() };
        let now = Reading { time_ns: 1_000_000_000, cpu_time_ns: 100, ..Reading::default() };

        assert_eq!(now.since(&earlier, 0), None);
        assert_eq!(earlier.since(&now, 0), None);
    }

    #[test]
    fn a_day_is_kept_by_the_minute_and_ten_minutes_by_the_second() {
        let mut history = History::default();

        for time in 0..2 * 24 * 60 * 60 {
            history.push(point(time, if time % 2 == 0 { 100.0 } else { 0.0 }));
        }

        assert_eq!((history.fine().len(), history.coarse().len()), (FINE_POINTS, COARSE_POINTS));
        assert_eq!(history.latest().unwrap().time, 2 * 24 * 60 * 60 - 1);
        assert!(history.coarse().all(|point| (point.cpu - 50.0).abs() < 0.01));
        let kept = (history.fine.capacity() + history.coarse.capacity()) * size_of::<Point>();
        assert!(kept < 256 << 10, "{kept} bytes are too many for one guest");
    }

    #[test]
    fn a_pause_in_the_figures_makes_no_minute_of_its_own() {
        let mut history = History::default();

        history.push(point(30, 10.0));
        history.push(point(600, 20.0));
        history.push(point(660, 30.0));

        let minutes: Vec<_> = history.coarse().map(|point| point.cpu).collect();
        assert_eq!(minutes, [10.0, 20.0]);
    }
}
