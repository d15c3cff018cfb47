//! Figures of guests over time, in rings of fixed size: the last minutes by the second, a day by the minute.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Points kept at one a second: ten minutes.
pub const FINE_POINTS: usize = 600;
/// Points kept at one a minute: a day.
pub const COARSE_POINTS: usize = 1440;

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

/// A guest's history.
#[derive(Debug, Clone, Default)]
pub struct History {
    fine: VecDeque<Point>,
    coarse: VecDeque<Point>,
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
}
