//! What the host uses over time: of its CPUs, its memory, and what of that its guests have.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::rings::Sample;
use crate::manager::host::{Counters, Root};

/// What the host used in one interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct HostPoint {
    /// Seconds since 1970 (UTC) at the interval's end.
    pub time: u64,
    /// In percent of all of its CPUs.
    pub cpu: f32,
    /// What its guests have used of them, in percent of all.
    pub guests_cpu: f32,
    /// Memory that is neither free nor can be freed at once, in bytes.
    pub memory: u64,
    /// What its guests keep in memory, in bytes.
    pub guests_memory: u64,
    /// What is in swap space, in bytes.
    pub swap: u64,
    /// What is saved by keeping equal pages once (KSM), in bytes.
    pub saved: u64,
}

/// A [`HostPoint`] in a file, as an array of its figures in their order.
#[derive(Clone, Serialize, Deserialize)]
struct Row(u64, f32, f32, u64, u64, u64, u64);

impl From<HostPoint> for Row {
    fn from(point: HostPoint) -> Self {
        let HostPoint { time, cpu, guests_cpu, memory, guests_memory, swap, saved } = point;
        let round = |percent: f32| (percent * 10.0).round() / 10.0;
        Self(time, round(cpu), round(guests_cpu), memory, guests_memory, swap, saved)
    }
}

impl From<Row> for HostPoint {
    fn from(row: Row) -> Self {
        let Row(time, cpu, guests_cpu, memory, guests_memory, swap, saved) = row;
        Self { time, cpu, guests_cpu, memory, guests_memory, swap, saved }
    }
}

impl Sample for HostPoint {
    fn time(&self) -> u64 {
        self.time
    }

    fn mean(points: &[Self]) -> Self {
        let count = points.len().max(1);
        let percent = |figure: fn(&Self) -> f32| points.iter().map(figure).sum::<f32>() / count as f32;
        let bytes = |figure: fn(&Self) -> u64| super::sum(points.iter().map(figure)) / count as u64;
        Self {
            time: points.last().map_or(0, |point| point.time),
            cpu: percent(|point| point.cpu),
            guests_cpu: percent(|point| point.guests_cpu),
            memory: bytes(|point| point.memory),
            guests_memory: bytes(|point| point.guests_memory),
            swap: bytes(|point| point.swap),
            saved: bytes(|point| point.saved),
        }
    }
}

/// What all guests have used in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GuestsUse {
    /// In percent of one CPU.
    pub cpu: f32,
    /// What they keep in the host's memory, in bytes.
    pub memory: u64,
}

/// Measures the host again and again.
#[derive(Debug, Default)]
pub struct HostSampler {
    root: Root,
    last: Option<Counters>,
}

impl HostSampler {
    /// Reads the host's counters: a few small files. The first time there is nothing to compare them with.
    pub fn sample(&mut self, guests: GuestsUse, time: u64) -> Option<HostPoint> {
        let now = Counters::read(&self.root);
        let last = self.last.replace(now)?;
        let (busy, all) = (now.busy.checked_sub(last.busy)?, now.all.checked_sub(last.all)?);
        let cpus = now.cpus.max(1) as f32;
        (all > 0).then(|| HostPoint {
            time,
            cpu: busy as f32 / all as f32 * 100.0,
            guests_cpu: guests.cpu / cpus,
            memory: now.memory_total.saturating_sub(now.memory_available),
            guests_memory: guests.memory,
            swap: now.swap,
            saved: now.merging.saved,
        })
    }
}
