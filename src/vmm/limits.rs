//! Limits on what a disk or a network card may move and how often it may be asked, as leaky buckets: what is served fills a bucket, time empties it,
//! and a request waits while the bucket is too full. A request of any size is served whole once its turn has come, and those
//! behind it wait for it.
//!
//! The six limits, their bursts and the rules between them are those of QEMU's throttling and libvirt's `iotune`.

#![forbid(unsafe_code)]

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// So much of a second may be served at once although no burst is allowed: the guest's requests do not come evenly.
const SLACK: f64 = 0.1;
/// Whoever waits looks again after so long at the latest: the limits may have changed meanwhile.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// The largest number that a limit can have.
pub const LARGEST: u64 = 1_000_000_000_000_000;

/// One limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limit {
    /// Units a second for as long as one likes; 0 for no limit.
    pub rate: u64,
    /// Units a second in a burst; 0 for no burst.
    pub burst: u64,
    /// How long a burst may take, in seconds, at least 1.
    pub burst_seconds: u64,
}

impl Limit {
    /// A limit without bursts.
    pub fn of(rate: u64) -> Self {
        Self { rate, ..Self::default() }
    }

    fn seconds(self) -> f64 {
        self.burst_seconds.max(1) as f64
    }

    fn problem(self) -> Option<&'static str> {
        match self {
            Self { rate: 0, burst: 0, burst_seconds: 0 } => None,
            Self { rate: 0, .. } => Some("a burst needs a limit beside it"),
            Self { burst: 0, burst_seconds: 2.., .. } => Some("the length of a burst needs a burst beside it"),
            Self { rate, burst, .. } if burst != 0 && burst < rate => Some("a burst cannot be slower than the limit"),
            Self { rate, burst, .. } if rate > LARGEST || burst > LARGEST => Some("it is too large"),
            Self { burst, burst_seconds, .. } if burst.saturating_mul(burst_seconds) > LARGEST => {
                Some("the burst is too long")
            }
            _ => None,
        }
    }
}

/// The limits of a disk, or of a network card: what it receives counts as read, what it sends as written, and a frame is an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes, read and written together.
    pub bytes: Limit,
    /// Bytes read.
    pub read_bytes: Limit,
    /// Bytes written.
    pub written_bytes: Limit,
    /// Requests, reads and writes together.
    pub operations: Limit,
    /// Reads.
    pub reads: Limit,
    /// Writes.
    pub writes: Limit,
    /// Requests larger than this many bytes count as several; 0 for all count as one.
    pub operation_size: u64,
}

/// Why limits make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}. Correct {what}")]
pub struct LimitsError {
    /// Which limit.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Limits {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.all().iter().all(|limit| limit.rate == 0)
    }

    /// Refuses what contradicts itself.
    pub fn check(&self) -> Result<(), LimitsError> {
        let names = ["the bytes", "the bytes read", "the bytes written", "the operations", "the reads", "the writes"];
        for (what, limit) in names.into_iter().zip(self.all()) {
            if let Some(reason) = limit.problem() {
                return Err(LimitsError { what, reason });
            }
        }
        let both = |total: Limit, parts: [Limit; 2]| total.rate != 0 && parts.iter().any(|part| part.rate != 0);
        let reason = "reads and writes are limited together or each for itself";
        if both(self.bytes, [self.read_bytes, self.written_bytes]) {
            return Err(LimitsError { what: "the bytes", reason });
        }
        if both(self.operations, [self.reads, self.writes]) {
            return Err(LimitsError { what: "the operations", reason });
        }
        if self.operation_size != 0 && [self.operations, self.reads, self.writes].iter().all(|limit| limit.rate == 0) {
            let reason = "a size of operations needs a limit on operations beside it";
            return Err(LimitsError { what: "the operations", reason });
        }
        Ok(())
    }

    fn all(&self) -> [Limit; 6] {
        [self.bytes, self.read_bytes, self.written_bytes, self.operations, self.reads, self.writes]
    }

    /// What a request counts for each limit.
    fn cost(&self, way: Way, bytes: u64) -> [f64; 6] {
        let operations = match self.operation_size {
            0 => 1.0,
            size => (bytes as f64 / size as f64).max(1.0),
        };
        let (read, write) = if way == Way::Read { (1.0, 0.0) } else { (0.0, 1.0) };
        let bytes = bytes as f64;
        [bytes, bytes * read, bytes * write, operations, operations * read, operations * write]
    }
}

/// Which way data go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the disk, or to the guest over a network.
    Read,
    /// To the disk, or from the guest.
    Write,
}

/// What a limit has let through lately, in its units.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    level: f64,
    /// The same, emptied as fast as a burst goes.
    burst_level: f64,
}

impl Bucket {
    fn leak(&mut self, limit: Limit, seconds: f64) {
        self.level = (self.level - limit.rate as f64 * seconds).max(0.0);
        self.burst_level = (self.burst_level - limit.burst as f64 * seconds).max(0.0);
    }

    fn fill(&mut self, amount: f64) {
        self.level += amount;
        self.burst_level += amount;
    }

    /// Seconds until it is empty enough for a request.
    fn wait(&self, limit: Limit) -> f64 {
        let (rate, burst) = (limit.rate as f64, limit.burst as f64);
        if limit.rate == 0 {
            return 0.0;
        }
        if limit.burst == 0 {
            return (self.level - rate * SLACK).max(0.0) / rate;
        }
        let lasting = (self.level - burst * limit.seconds()).max(0.0) / rate;
        let at_once = (self.burst_level - burst * SLACK).max(0.0) / burst;
        // A burst of one second is only bounded in all: it may come at once.
        if limit.burst_seconds > 1 { lasting.max(at_once) } else { lasting }
    }
}

/// Keeps a disk or a network card within its limits. Several threads may ask.
#[derive(Debug)]
pub struct Throttle {
    /// Whether there is any limit: nearly always there is none.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    buckets: [Bucket; 6],
    /// Up to when the buckets have leaked.
    leaked: Instant,
}

impl Throttle {
    /// With these limits, from now on.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let state = State { limits, buckets: Default::default(), leaked: now };
        Self { is_on: AtomicBool::new(!limits.is_none()), state: Mutex::new(state) }
    }

    /// Whether there is any limit.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Other limits. What was let through before still counts.
    pub fn set(&self, limits: Limits) {
        self.state().limits = limits;
        self.is_on.store(!limits.is_none(), Ordering::Release);
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.state().limits
    }

    /// Lets a request through, and counts it. Otherwise says when to ask again.
    pub fn admit(&self, way: Way, bytes: u64, now: Instant) -> Result<(), Instant> {
        if !self.is_on() {
            return Ok(());
        }
        let mut state = self.state();
        state.look(way, bytes, now)?;
        state.count(way, bytes);
        Ok(())
    }

    /// Whether something would be let through, of which nobody knows yet how large it is. Otherwise says when to ask again.
    pub fn look(&self, way: Way, now: Instant) -> Result<(), Instant> {
        if self.is_on() { self.state().look(way, 1, now) } else { Ok(()) }
    }

    /// Counts what was let through after [`Throttle::look`].
    pub fn count(&self, way: Way, bytes: u64) {
        if self.is_on() {
            self.state().count(way, bytes);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, way: Way, bytes: u64, now: Instant) -> Result<(), Instant> {
        let seconds = now.saturating_duration_since(self.leaked).as_secs_f64();
        self.leaked = self.leaked.max(now);
        let cost = self.limits.cost(way, bytes);
        let mut wait: f64 = 0.0;
        for ((bucket, limit), cost) in self.buckets.iter_mut().zip(self.limits.all()).zip(cost) {
            bucket.leak(limit, seconds);
            if cost > 0.0 {
                wait = wait.max(bucket.wait(limit));
            }
        }
        if wait > 0.0 {
            // Rounded up, so that it is time when it is time.
            let wait = Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_WAIT) + Duration::from_micros(1);
            return Err(now + wait.min(LONGEST_WAIT));
        }
        Ok(())
    }

    fn count(&mut self, way: Way, bytes: u64) {
        let cost = self.limits.cost(way, bytes);
        for ((bucket, limit), cost) in self.buckets.iter_mut().zip(self.limits.all()).zip(cost) {
            if limit.rate != 0 {
                bucket.fill(cost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Asks as often as it is allowed for `duration` of a clock that only this test moves, and returns how many requests were let
    /// through.
    fn served(throttle: &Throttle, from: Instant, duration: Duration, requests: &[(Way, u64)]) -> usize {
        let (mut now, mut count) = (from, 0);
        let mut next = requests.iter().cycle();
        let (mut way, mut bytes) = *next.next().unwrap();
        while now < from + duration {
            match throttle.admit(way, bytes, now) {
                Ok(()) => {
                    count += 1;
                    (way, bytes) = *next.next().unwrap();
                }
                Err(later) => {
                    assert!(later > now, "whoever waits does so for a while");
                    now = later;
                }
            }
        }
        count
    }

    fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits.check().unwrap();
        limits
    }

    fn near(count: usize, expected: usize) -> bool {
        count.abs_diff(expected) * 50 <= expected
    }

    #[test]
    fn each_limit_holds_over_time() {
        let (minute, start) = (Duration::from_secs(60), Instant::now());
        let both = [(Way::Read, 64 << 10), (Way::Write, 64 << 10)];
        for (limits, requests, expected) in [
            (limits(|l| l.bytes = Limit::of(MIB)), &both[..], 16 * 60),
            (limits(|l| l.read_bytes = Limit::of(MIB)), &both[..1], 16 * 60),
            (limits(|l| l.written_bytes = Limit::of(MIB)), &both[1..], 16 * 60),
            // Half of what is asked for is not limited, but waits for the other half.
            (limits(|l| l.read_bytes = Limit::of(MIB)), &both[..], 2 * 16 * 60),
            (limits(|l| l.operations = Limit::of(100)), &both[..], 100 * 60),
            (limits(|l| l.reads = Limit::of(100)), &both[..1], 100 * 60),
            (limits(|l| (l.operations, l.operation_size) = (Limit::of(100), 4096)), &both[..], 100 * 60 / 16),
            // The narrower one counts.
            (limits(|l| (l.bytes, l.operations) = (Limit::of(MIB), Limit::of(5))), &both[..], 5 * 60),
        ] {
            let throttle = Throttle::new(limits, start);

            let count = served(&throttle, start, minute, requests);

            assert!(near(count, expected), "{limits:?}: {count} instead of {expected}");
        }
    }

    #[test]
    fn what_is_not_limited_never_waits() {
        let start = Instant::now();
        let throttle = Throttle::new(limits(|l| l.writes = Limit::of(1)), start);

        assert!((0..1000).all(|_| throttle.admit(Way::Read, MIB, start).is_ok()));
        assert!(throttle.admit(Way::Write, 0, start).is_ok());
        assert!((0..1000).any(|_| throttle.admit(Way::Write, 0, start).is_err()));
        assert!((0..1000).all(|_| Throttle::new(Limits::default(), start).admit(Way::Write, u64::MAX, start).is_ok()));
    }

    #[test]
    fn a_request_larger_than_the_limit_is_served_and_paid_for() {
        let start = Instant::now();
        let throttle = Throttle::new(limits(|l| l.bytes = Limit::of(MIB)), start);
        let minute = Duration::from_secs(60);

        let count = served(&throttle, start, minute, &[(Way::Write, 10 * MIB)]);

        assert!((6..=7).contains(&count), "{count}");
    }

    #[test]
    fn a_burst_is_faster_for_its_time_and_comes_back_after_a_rest() {
        let start = Instant::now();
        let burst = Limit { rate: 100, burst: 1000, burst_seconds: 10 };
        let throttle = Throttle::new(limits(|l| l.operations = burst), start);
        let second = Duration::from_secs(1);
        let of = |from: Duration, seconds| served(&throttle, start + from, second * seconds, &[(Way::Read, 0)]);

        let beginning = of(Duration::ZERO, 5);
        let later = of(second * 60, 0) + of(second * 60, 5);
        let mut all = Vec::new();
        for minute in 0..3 {
            all.push(of(second * (1000 + minute * 60), 60));
        }

        assert!(near(beginning, 5 * 1000 + 100), "{beginning}");
        assert!(near(later, 5 * 1000 + 100), "{later}");
        // 10 seconds of 1000 less 100 that are always allowed, and then 100.
        assert!(near(all[0], 10_000 + 60 * 100), "{all:?}");
        assert!(near(all[1], 60 * 100) && near(all[2], 60 * 100), "{all:?}");
    }

    #[test]
    fn a_limit_that_is_lifted_or_changed_counts_from_then_on() {
        let start = Instant::now();
        let throttle = Throttle::new(limits(|l| l.bytes = Limit::of(1)), start);
        throttle.admit(Way::Write, MIB, start).unwrap();

        let later = throttle.admit(Way::Write, MIB, start).unwrap_err();
        assert!(later <= start + LONGEST_WAIT, "it would have to wait for a week");
        throttle.set(Limits::default());
        assert!(throttle.admit(Way::Write, MIB, start).is_ok());
        throttle.set(limits(|l| l.operations = Limit::of(50)));

        assert_eq!(throttle.limits().operations.rate, 50);
        let count = served(&throttle, start, Duration::from_secs(10), &[(Way::Write, MIB)]);
        assert!(near(count, 505), "{count}");
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_hurts_nobody() {
        let start = Instant::now();
        let throttle = Throttle::new(limits(|l| l.operations = Limit::of(10)), start + Duration::from_secs(5));

        assert!(throttle.admit(Way::Read, 0, start).is_ok());
        while throttle.admit(Way::Read, 0, start).is_ok() {}
        assert!(throttle.admit(Way::Read, 0, start + Duration::from_secs(7)).is_ok());
    }

    #[test]
    fn limits_that_contradict_themselves_are_refused() {
        let wrong = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.check().unwrap_err().to_string()
        };

        assert!(wrong(|l| (l.bytes, l.read_bytes) = (Limit::of(1), Limit::of(1))).contains("together"));
        assert!(wrong(|l| (l.operations, l.writes) = (Limit::of(1), Limit::of(1))).contains("together"));
        assert!(wrong(|l| l.reads = Limit { rate: 0, burst: 5, burst_seconds: 0 }).contains("needs a limit"));
        assert!(wrong(|l| l.reads = Limit { rate: 9, burst: 5, burst_seconds: 1 }).contains("slower"));
        assert!(wrong(|l| l.reads = Limit { rate: 9, burst: 0, burst_seconds: 3 }).contains("needs a burst"));
        assert!(wrong(|l| l.bytes = Limit::of(u64::MAX)).contains("too large"));
        assert!(wrong(|l| l.bytes = Limit { rate: 1, burst: LARGEST, burst_seconds: 9 }).contains("too long"));
        assert!(wrong(|l| l.operation_size = 1).contains("beside it"));
    }
}
