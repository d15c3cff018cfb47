//! A disk as part of a machine, whatever bus it is on: its content, what is counted, and what is done when the host fails.
//!
//! A device asks its drive for a [`Verdict`] on every request that has failed. One that is to be kept stays with the device,
//! which begins nothing else; the drive tells its observer, and the machine is paused. When it goes on, the device serves
//! what it has kept again, before anything else. So a guest never learns of a disk that was full.

#![forbid(unsafe_code)]

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    BlockError, Disk, Durability, NoDisk, Slot,
    errors::{DiskError, ErrorPolicy, Verdict, is_full},
    limits::{Limits, Throttle},
    statistics::{Operation, Statistics},
};

/// Errors that do not stop the machine are told of so often at most: a guest may ask a broken disk again and again.
const QUIET: Duration = Duration::from_secs(1);

/// Who is told of what the host could not do. It only notes it down.
pub type Observer = Arc<dyn Fn(DiskError) + Send + Sync>;

/// A disk of a machine.
pub struct Drive {
    id: String,
    slot: Slot,
    durability: Durability,
    policy: ErrorPolicy,
    observer: Option<Observer>,
    statistics: Arc<Statistics>,
    throttle: Throttle,
    /// The disk has another size, which the guest has not been told of.
    has_grown: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// Why the machine has to stop.
    trouble: Option<DiskError>,
    /// When an error was told of last.
    told: Option<Instant>,
}

impl Drive {
    /// The disk `disk` as `id`, which is written to as the guest asks, and whose errors are the guest's but for a full disk.
    pub fn new(id: &str, disk: impl Into<Slot>) -> Self {
        let state = State { trouble: None, told: None };
        Self {
            id: id.to_owned(),
            slot: disk.into(),
            durability: Durability::default(),
            policy: ErrorPolicy::default(),
            observer: None,
            statistics: Arc::default(),
            throttle: Throttle::new(Limits::default(), Instant::now()),
            has_grown: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// With another durability.
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// With another policy, whose outcome `observer` is told of.
    pub fn with_policy(self, policy: ErrorPolicy, observer: Observer) -> Self {
        Self { policy, observer: Some(observer), ..self }
    }

    /// With limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        self.throttle.set(limits);
        self
    }

    /// The disk's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its content. A device that serves requests keeps it for as long as it does.
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.slot.disk()
    }

    /// Puts another disk with the same content there. No device may be serving requests.
    pub fn exchange(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        self.slot.exchange(disk)
    }

    /// Gives the disk `size` bytes, which are more than it has. No device may be serving requests. When the image cannot be opened
    /// again there is no disk any more: what is known of the image may be outdated, and would harm it.
    pub fn grow(&self, size: u64) -> Result<(), BlockError> {
        let disk = self.disk();
        let grown = disk.grow(size);
        let again = disk.reopen();
        let outcome = grown.and(again.as_ref().map(drop).map_err(|_| BlockError::NoImage));
        self.exchange(again.unwrap_or_else(|_| Arc::new(NoDisk)));
        self.has_grown.fetch_or(outcome.is_ok(), Ordering::Relaxed);
        outcome
    }

    /// Whether the disk has another size since this was asked last.
    pub fn take_has_grown(&self) -> bool {
        self.has_grown.swap(false, Ordering::Relaxed)
    }

    /// When what is written is on stable storage.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// What it has been asked for.
    pub fn statistics(&self) -> &Arc<Statistics> {
        &self.statistics
    }

    /// What keeps it within its limits: a device asks before it begins a request.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Says what is to be done with a request that the host could not carry out, and tells of it.
    pub fn failed(&self, operation: Operation, error: &io::Error) -> Verdict {
        let full = is_full(error);
        // With nobody there to stop the machine it would wait forever.
        let verdict = match (self.policy.verdict(operation, full), &self.observer) {
            (Verdict::Keep, None) => Verdict::Report,
            (verdict, _) => verdict,
        };
        let told = DiskError { disk: self.id.clone(), operation, verdict, full, reason: error.to_string() };
        tracing::warn!("the host has failed: {told}");
        let mut state = self.state();
        let now = Instant::now();
        let is_first = match verdict {
            Verdict::Keep => state.trouble.replace(told.clone()).is_none(),
            _ => state.told.is_none_or(|last| now.duration_since(last) >= QUIET),
        };
        state.told = Some(now);
        drop(state);
        if let (true, Some(observer)) = (is_first, &self.observer) {
            observer(told);
        }
        verdict
    }

    /// Why the machine has to stop, if it has to.
    pub fn trouble(&self) -> Option<DiskError> {
        self.state().trouble.clone()
    }

    /// The machine goes on: what was kept is about to be served again.
    pub fn retry(&self) {
        self.state().trouble = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("id", &self.id).finish_non_exhaustive()
    }
}
