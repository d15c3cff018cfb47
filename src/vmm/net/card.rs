//! What every network card has in common, whatever its model: what it shares with the outside.

#![forbid(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use rustix::event::EventfdFlags;

use super::NetBackend;
use crate::vmm::limits::{Limits, Throttle};

/// An Ethernet address.
pub type MacAddress = [u8; 6];

/// Frames and bytes so far, without headers.
#[derive(Debug, Default)]
pub struct NetStatistics {
    /// Frames that the guest has received.
    pub received_frames: AtomicU64,
    /// Bytes that the guest has received.
    pub received_bytes: AtomicU64,
    /// Frames that the guest has sent.
    pub sent_frames: AtomicU64,
    /// Bytes that the guest has sent.
    pub sent_bytes: AtomicU64,
    /// Frames that were dropped for want of buffers, because the link was down or because they were malformed.
    pub dropped_frames: AtomicU64,
}

impl NetStatistics {
    /// The guest has received a frame of `bytes` bytes.
    pub fn received(&self, bytes: usize) {
        self.received_frames.fetch_add(1, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The guest has sent a frame of `bytes` bytes.
    pub fn sent(&self, bytes: usize) {
        self.sent_frames.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A frame was dropped.
    pub fn dropped(&self) {
        self.dropped_frames.fetch_add(1, Ordering::Relaxed);
    }
}

/// What wakes a card's thread: readable from [`Wake::signal`] to [`Wake::clear`].
pub struct Wake(OwnedFd);

impl Wake {
    fn new() -> io::Result<Self> {
        Ok(Self(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes the thread.
    pub fn signal(&self) {
        // A counter that is full wakes too.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// The thread is awake.
    pub fn clear(&self) {
        // It may not have been signalled.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Wake {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Who is told that the link has changed.
type LinkObserver = Box<dyn Fn() + Send>;

/// A card as the outside and its own threads see it: its address, its link and its counters.
pub struct Card {
    mac: Mutex<MacAddress>,
    link: AtomicBool,
    statistics: NetStatistics,
    throttle: Throttle,
    /// Signalled when the link, the limits or the back end change, one for each thread.
    wake: Vec<Wake>,
    /// Back ends that the threads are to take instead of theirs.
    exchange: Mutex<Vec<Option<Box<dyn NetBackend>>>>,
    observer: Mutex<Option<LinkObserver>>,
}

/// A shared [`Card`].
pub type NetHandle = Arc<Card>;

impl Card {
    /// A card with its link up, which so many threads work for.
    pub fn new(mac: MacAddress, threads: usize) -> io::Result<NetHandle> {
        let wake = (0..threads).map(|_| Wake::new()).collect::<io::Result<_>>()?;
        let (link, observer) = (AtomicBool::new(true), Mutex::new(None));
        let (statistics, throttle) = (NetStatistics::default(), Throttle::new(Limits::default(), Instant::now()));
        let (mac, exchange) = (Mutex::new(mac), Mutex::default());
        Ok(Arc::new(Self { mac, link, statistics, throttle, wake, exchange, observer }))
    }

    /// Whether the link is up.
    pub fn link(&self) -> bool {
        self.link.load(Ordering::Acquire)
    }

    /// Plugs the cable in (`true`) or out.
    pub fn set_link(&self, up: bool) {
        if self.link.swap(up, Ordering::AcqRel) == up {
            return;
        }
        self.wake.iter().for_each(Wake::signal);
        if let Some(observer) = &*self.observer.lock().unwrap_or_else(PoisonError::into_inner) {
            observer();
        }
    }

    /// Switches the card to other back ends, as many as it has threads; `false` when they are not, and nothing is done.
    pub fn exchange(&self, backends: Vec<Box<dyn NetBackend>>) -> bool {
        if backends.len() != self.wake.len() {
            return false;
        }
        let backends = backends.into_iter().map(Some).collect();
        *self.exchange.lock().unwrap_or_else(PoisonError::into_inner) = backends;
        self.wake.iter().for_each(Wake::signal);
        true
    }

    /// The back end that thread `thread` is to take instead of its own.
    pub(in crate::vmm) fn take_backend(&self, thread: usize) -> Option<Box<dyn NetBackend>> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner).get_mut(thread)?.take()
    }

    /// Puts the link into a saved state, of which nobody is told.
    pub(in crate::vmm) fn restore_link(&self, up: bool) {
        self.link.store(up, Ordering::Release);
    }

    /// Who is to be told, from now on, when the link has changed.
    pub(in crate::vmm) fn observe_link(&self, observer: Option<LinkObserver>) {
        *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = observer;
    }

    /// What wakes thread `thread`.
    pub(in crate::vmm) fn wake(&self, thread: usize) -> Option<&Wake> {
        self.wake.get(thread)
    }

    /// Keeps the card within other limits from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.throttle.set(limits);
        self.wake.iter().for_each(Wake::signal);
    }

    /// What keeps the card within its limits.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// The counters.
    pub fn statistics(&self) -> &NetStatistics {
        &self.statistics
    }

    /// The address in use: the driver may have set another one.
    pub fn mac(&self) -> MacAddress {
        *self.mac.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver uses another address.
    pub(in crate::vmm) fn set_mac(&self, mac: MacAddress) {
        *self.mac.lock().unwrap_or_else(PoisonError::into_inner) = mac;
    }
}
