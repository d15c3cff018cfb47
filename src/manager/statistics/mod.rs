//! Figures of guests and of the host over time.
//!
//! - [`rings`]: how they are kept. [`store`]: how they outlive the application.
//! - [`Reading`]: what a worker's counters say at one moment. [`Point`]: what was used between two of them.
//! - [`host`]: the same of the host. [`csv`]: for spreadsheets.

#![forbid(unsafe_code)]

pub mod csv;
pub mod host;
pub mod rings;
pub mod store;

use serde::{Deserialize, Serialize};

use crate::{
    manager::definition::MAX_VCPUS,
    qmp::types::{DiskStatistics, NetworkStatistics, Statistics, VcpuStatistics},
};
use rings::{Rings, Sample};

pub use crate::qmp::types::GuestMemory;

/// Two readings closer together than this (in nanoseconds) give no useful rate.
const SHORTEST: u64 = 50_000_000;
/// How a vCPU's load is kept: this many steps are one percent.
const LOAD_STEPS: f32 = 2.0;

/// What a guest used in one interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Point {
    /// Seconds since 1970 (UTC) at the interval's end.
    pub time: u64,
    /// Host CPU, in percent of one CPU: two busy vCPUs are 200.
    pub cpu: f32,
    /// The worker's resident memory, in bytes; the guest's RAM that it has touched is in it.
    pub memory: u64,
    /// What is in use inside the guest, in bytes, if it tells.
    pub guest_memory: Option<u64>,
    /// Bytes a second read from disks.
    pub disk_read: u64,
    /// Bytes a second written to disks.
    pub disk_written: u64,
    /// Reads a second from disks.
    pub disk_reads: u32,
    /// Writes a second to disks.
    pub disk_writes: u32,
    /// Bytes a second received from networks.
    pub network_received: u64,
    /// Bytes a second sent to networks.
    pub network_sent: u64,
    /// How often a second the guest has left to the worker, if that tells.
    pub exits: Option<u32>,
    /// The load of each virtual CPU in half percents, if there are several.
    vcpus: Box<[u8]>,
}

/// A [`Point`] in a file, as an array: time, CPU, memory, guest's memory, disks' bytes (read, written) and operations (reads,
/// writes), networks' bytes (received, sent), exits, the vCPUs' loads in half percents as two hexadecimal digits each.
#[derive(Clone, Serialize, Deserialize)]
struct Row(u64, f32, u64, Option<u64>, [u64; 2], [u32; 2], [u64; 2], Option<u32>, String);

impl From<Point> for Row {
    fn from(point: Point) -> Self {
        let loads = point.vcpus.iter().map(|load| format!("{load:02x}")).collect();
        Self(
            point.time,
            // More digits say nothing and fill the file.
            (point.cpu * 10.0).round() / 10.0,
            point.memory,
            point.guest_memory,
            [point.disk_read, point.disk_written],
            [point.disk_reads, point.disk_writes],
            [point.network_received, point.network_sent],
            point.exits,
            loads,
        )
    }
}

impl From<Row> for Point {
    fn from(row: Row) -> Self {
        let Row(time, cpu, memory, guest_memory, disk_bytes, disk_operations, network, exits, loads) = row;
        let load = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
        Self {
            time,
            cpu,
            memory,
            guest_memory,
            disk_read: disk_bytes[0],
            disk_written: disk_bytes[1],
            disk_reads: disk_operations[0],
            disk_writes: disk_operations[1],
            network_received: network[0],
            network_sent: network[1],
            exits,
            vcpus: loads.as_bytes().chunks(2).map_while(load).collect(),
        }
    }
}

impl Point {
    /// Nothing was used.
    pub fn nothing(time: u64) -> Self {
        Self { time, ..Self::default() }
    }

    /// The load of each virtual CPU in percent, if there are several.
    pub fn vcpu_loads(&self) -> impl ExactSizeIterator<Item = f32> {
        self.vcpus.iter().map(|load| f32::from(*load) / LOAD_STEPS)
    }
}

impl Sample for Point {
    fn time(&self) -> u64 {
        self.time
    }

    fn mean(points: &[Self]) -> Self {
        let count = points.len().max(1) as u64;
        let of = |figure: fn(&Self) -> u64| sum(points.iter().map(figure)) / count;
        let small = |figure: fn(&Self) -> u32| narrow(sum(points.iter().map(|point| figure(point).into())) / count);
        let newest = points.last();
        let vcpus = newest.map_or(0, |point| point.vcpus.len());
        let load = |index: usize| {
            mean_of(points.iter().filter_map(|point| Some(u64::from(*point.vcpus.get(index)?)))).unwrap_or(0)
        };
        Self {
            time: newest.map_or(0, |point| point.time),
            cpu: points.iter().map(|point| point.cpu).sum::<f32>() / count as f32,
            memory: of(|point| point.memory),
            guest_memory: mean_of(points.iter().filter_map(|point| point.guest_memory)),
            disk_read: of(|point| point.disk_read),
            disk_written: of(|point| point.disk_written),
            disk_reads: small(|point| point.disk_reads),
            disk_writes: small(|point| point.disk_writes),
            network_received: of(|point| point.network_received),
            network_sent: of(|point| point.network_sent),
            exits: mean_of(points.iter().filter_map(|point| point.exits.map(u64::from))).map(narrow),
            vcpus: (0..vcpus).map(|index| u8::try_from(load(index)).unwrap_or(u8::MAX)).collect(),
        }
    }
}

/// The mean of what there is, if there is anything.
fn mean_of(figures: impl Iterator<Item = u64>) -> Option<u64> {
    let (count, total) = figures.fold((0, 0_u64), |(count, total), figure| (count + 1, total.saturating_add(figure)));
    total.checked_div(count)
}

fn narrow(figure: u64) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}

fn sum(figures: impl Iterator<Item = u64>) -> u64 {
    figures.fold(0, u64::saturating_add)
}

/// What a worker's counters say at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    time_ns: u64,
    cpu_time_ns: u64,
    vcpu_times_ns: Vec<u64>,
    memory: u64,
    guest_memory: Option<u64>,
    disk_read: u64,
    disk_written: u64,
    disk_reads: u64,
    disk_writes: u64,
    network_received: u64,
    network_sent: u64,
    exits: Option<u64>,
}

impl From<&Statistics> for Reading {
    fn from(statistics: &Statistics) -> Self {
        let disks = |figure: fn(&DiskStatistics) -> u64| sum(statistics.disks.iter().map(figure));
        let networks = |figure: fn(&NetworkStatistics) -> u64| sum(statistics.networks.iter().map(figure));
        let vcpus: &[VcpuStatistics] = if statistics.vcpus.len() > 1 { &statistics.vcpus } else { &[] };
        // A worker may say whatever it likes, and it is kept for a day.
        let vcpus = vcpus.iter().take(MAX_VCPUS as usize);
        Self {
            time_ns: statistics.time_ns,
            cpu_time_ns: statistics.cpu_time_ns,
            vcpu_times_ns: vcpus.map(|vcpu| vcpu.cpu_time_ns).collect(),
            memory: statistics.memory.resident,
            guest_memory: statistics.memory.guest.map(|memory| memory.used()),
            disk_read: disks(|disk| disk.read_bytes),
            disk_written: disks(|disk| disk.written_bytes),
            disk_reads: disks(|disk| disk.reads),
            disk_writes: disks(|disk| disk.writes),
            network_received: networks(|card| card.received_bytes),
            network_sent: networks(|card| card.sent_bytes),
            exits: statistics.vcpus.iter().map(|vcpu| vcpu.exits).sum(),
        }
    }
}

impl Reading {
    /// What was used between `earlier` and now; nothing when they are too close together, or of different workers.
    pub fn since(&self, earlier: &Self, time: u64) -> Option<Point> {
        let span = self.time_ns.checked_sub(earlier.time_ns).filter(|&span| span >= SHORTEST)?;
        let rate = |now: u64, before: u64| {
            let bytes = u128::from(now.checked_sub(before)?) * 1_000_000_000 / u128::from(span);
            u64::try_from(bytes).ok()
        };
        let percent = |nanoseconds: u64| (nanoseconds as f64 / span as f64 * 100.0) as f32;
        let vcpus = self.vcpu_times_ns.iter().zip(&earlier.vcpu_times_ns);
        // A busy thread's clock may be ahead a little: never more than all of a CPU. As a number it saturates.
        let load = |(now, before): (&u64, &u64)| (percent(now.saturating_sub(*before)).min(100.0) * LOAD_STEPS) as u8;
        let exits = self.exits.zip(earlier.exits).and_then(|(now, before)| rate(now, before));
        Some(Point {
            time,
            cpu: percent(self.cpu_time_ns.checked_sub(earlier.cpu_time_ns)?),
            memory: self.memory,
            guest_memory: self.guest_memory,
            disk_read: rate(self.disk_read, earlier.disk_read)?,
            disk_written: rate(self.disk_written, earlier.disk_written)?,
            disk_reads: narrow(rate(self.disk_reads, earlier.disk_reads).unwrap_or(0)),
            disk_writes: narrow(rate(self.disk_writes, earlier.disk_writes).unwrap_or(0)),
            network_received: rate(self.network_received, earlier.network_received)?,
            network_sent: rate(self.network_sent, earlier.network_sent)?,
            exits: exits.map(narrow),
            vcpus: vcpus.map(load).collect(),
        })
    }
}

/// A guest's history, and what it says of its memory now.
#[derive(Debug, Clone, Default)]
pub struct History {
    rings: Rings<Point>,
    guest_memory: Option<GuestMemory>,
    balloon: Option<u64>,
    balloon_driver: Option<bool>,
}

impl History {
    /// A history that begins with what was kept.
    pub fn new(rings: Rings<Point>) -> Self {
        Self { rings, ..Self::default() }
    }

    /// All points.
    pub fn rings(&self) -> &Rings<Point> {
        &self.rings
    }

    /// The last points, oldest first, one a second.
    pub fn fine(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.rings.fine()
    }

    /// The newest point.
    pub fn latest(&self) -> Option<&Point> {
        self.rings.latest()
    }

    /// How the guest uses its memory now, if it tells.
    pub fn guest_memory(&self) -> Option<GuestMemory> {
        self.guest_memory
    }

    /// What the balloon has left to the guest, in bytes, if there is one.
    pub fn balloon(&self) -> Option<u64> {
        self.balloon
    }

    /// Whether the guest has a driver for its balloon, if that is known.
    pub fn balloon_driver(&self) -> Option<bool> {
        self.balloon_driver
    }

    /// Takes over what figures say of now: how the guest uses its memory, and its balloon. `None`: it runs no longer.
    pub fn set_now(&mut self, figures: Option<&Statistics>) {
        self.guest_memory = figures.and_then(|figures| figures.memory.guest);
        self.balloon = figures.and_then(|figures| figures.memory.balloon);
        self.balloon_driver = figures.and_then(|figures| figures.memory.balloon_driver);
    }

    /// Adds a point, and drops the oldest ones.
    pub fn push(&mut self, point: Point) {
        self.rings.push(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let earlier = Reading {
            time_ns: 1_000_000_000,
            cpu_time_ns: 500,
            vcpu_times_ns: vec![0, 0],
            disk_read: 100,
            exits: Some(10),
            ..Reading::default()
        };
        let now = Reading {
            time_ns: 3_000_000_000,
            cpu_time_ns: 3_000_000_500,
            vcpu_times_ns: vec![2_500_000_000, 500_000_000],
            disk_read: 2_100,
            disk_reads: 8,
            memory: 7,
            network_received: 500,
            exits: Some(1010),
            ..Reading::default()
        };

        let point = now.since(&earlier, 9).unwrap();

        assert_eq!((point.time, point.cpu, point.disk_read, point.memory), (9, 150.0, 1000, 7));
        assert_eq!((point.network_received, point.network_sent, point.disk_reads), (250, 0, 4));
        assert_eq!((point.exits, point.vcpu_loads().collect()), (Some(500), vec![100.0, 25.0]));
    }

    #[test]
    fn counters_that_went_back_are_another_workers() {
        let earlier = Reading { time_ns: 0, cpu_time_ns: 500, ..Reading::default() };
        let now = Reading { time_ns: 1_000_000_000, cpu_time_ns: 100, ..Reading::default() };

        assert_eq!(now.since(&earlier, 0), None);
        assert_eq!(earlier.since(&now, 0), None);
    }

    #[test]
    fn a_mean_is_of_what_is_known() {
        let known = Point { time: 1, cpu: 10.0, guest_memory: Some(8), exits: Some(6), ..Point::default() };
        let unknown = Point { time: 2, cpu: 30.0, disk_reads: 4, ..Point::default() };
        let point = |vcpus: &[u8]| Point { vcpus: vcpus.into(), ..unknown.clone() };

        let mean = Point::mean(&[known, unknown.clone()]);

        assert_eq!((mean.time, mean.cpu, mean.disk_reads), (2, 20.0, 2));
        assert_eq!((mean.guest_memory, mean.exits), (Some(8), Some(6)));
        assert_eq!(Point::mean(&[point(&[0, 200]), point(&[100, 200])]), point(&[50, 200]));
    }

    #[test]
    fn a_day_of_the_widest_guest_takes_less_than_two_mebibytes() {
        let mut history = History::default();
        for time in 0..24 * 60 * 60 {
            history.push(Point { time, vcpus: vec![0; 255].into(), ..Point::default() });
        }

        let kept = rings::LEVELS.map(|level| level.samples + level.step as usize).iter().sum::<usize>();
        let bytes = kept * (size_of::<Point>() + 255 + 16);
        assert_eq!(history.fine().len(), 600);
        assert!(bytes < 2 << 20, "{bytes} bytes");
    }
}
